# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#       jupytext_version: 1.19.6
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Chips and mismatch
#
# No two devices on a chip are alike. Here a chip is drawn from a key, and is the same chip in the differential
# equation and in ngspice. Two questions: how far do its updates point from where they should, and does a network that
# learns ON its chip care?

# %%
# %matplotlib inline
import dataclasses

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits
from eqprop_field.training import Settings, train
from eqprop_field.training.metrics import error_rate

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## Chip number 7
#
# Every capacitance, leak, synapse, bias, gain and nudge is 5 % off (log-normal), every neuron and nudge has an offset
# of 0.02 state units. `Chip.draw` with `fold_in(key, 7)` is chip 7 on any machine.

# %%
field = epf.LayeredField.create(
    jax.random.key(0), (2, 4, 1), activation=epf.activation("sigmoid"), symmetry=1.0, gain=1.0
)
x, y = np.array([[0.1, 0.8], [0.9, 0.3], [0.6, 0.7], [0.2, 0.1]]), np.array([[1.0], [0.0], [1.0], [0.0]])
variation = circuits.Variation.everywhere(0.05, offset=0.02)


def number(k, field=field, variation=variation):
    return circuits.Chip.draw(jax.random.fold_in(jax.random.key(2026), k), field, variation)


chip = number(7)
agreement = circuits.verify(field, x, y, 0.1, chip=chip)
nominal = circuits.verify(field, x, y, 0.1)
apart = np.abs(agreement.samples[0].circuit[0].end - nominal.samples[0].circuit[0].end).max()
print(f"chip 7, ODE against ngspice: free states {agreement.max_abs_free:.1e} apart, {agreement.verdict.name}")
print(f"chip 7 against the nominal circuit: free states {apart:.1e} apart")

# %% [markdown]
# ## Many chips
#
# `circuits.montecarlo`, like the command of that name, draws chips, runs both nudged phases of every sample in ngspice,
# and compares each update with that of ideal equilibrium propagation, with the gradient of the chip itself, and with
# that of the nominal network.

# %%
conditions = circuits.Conditions(variation=variation, time=30.0, tol=1e-3)
# One process: it is through with chips as small as these before a second one has started.
chips = circuits.montecarlo(field, x, y, 20, conditions=conditions, seed=2026, workers=1)
print(chips)
chips.plot().figure

# %% [markdown]
# ## One parameter: mismatch
#
# `circuits.fidelity` sweeps a parameter of the circuit: here the spread of all devices, two chips at each value.

# %%
measures = {"chips": 2, "conditions": conditions, "workers": 1}
sweep = circuits.fidelity(field, x, y, ["mismatch"], values=[0.01, 0.05, 0.2], **measures)
print(sweep)
sweep.plot().figure

# %% [markdown]
# ## The same noise twice
#
# Noise is drawn from a key too: a piecewise linear current into every neuron, the same in both simulators. Here it is
# a hundred times what the thermal noise of the leaks would be at the scale of the transistor level.

# %%
scaling = circuits.Transistor().scaling
thermal = circuits.Noise.thermal(jax.random.key(1), scaling, interval=0.25)
noise = dataclasses.replace(thermal, rms=100 * thermal.rms)
print(f"thermal noise: {float(thermal.rms):.1e} state units rms at corners {thermal.interval} time constants apart")
nudge = [epf.CostNudge(0.5, jnp.asarray(y), epf.Quadratic())]
times = {"free_time": 15.0, "nudged_time": 15.0, "tol": 10.0}
measured = circuits.NgspiceSubstrate(noise=noise, chip=chip, keep_trajectories=True, saved_points=400, **times)
free, (nudged,) = measured.phases(field, x, nudge)
ode = circuits.OnChip(chip, circuits.NoisyTrajectory(noise, **times))
apart = jax.tree.map(lambda a, b: np.abs(a - b).max(), free.state, ode.phases(field, x, nudge)[0].state)
print(f"at the end of the free phase ODE and ngspice are {max(jax.tree.leaves(apart)):.1e} apart")
figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
for begun, phase in ((0.0, free), (15.0, nudged)):
    ax.plot(begun + np.asarray(phase.times), np.asarray(phase.trajectory[0])[:, :2, 0])
    ax.set_prop_cycle(None)
ax.axvline(15.0, color="k", linewidth=0.8, linestyle="--")
ax.set(xlabel="time (τ)", ylabel="output of two samples", title="Free and nudged phase under noise, in ngspice")
plt.close(figure)
figure

# %% [markdown]
# ## Learning on the chip
#
# Handwritten digits, 64-10-10. A network is trained on nominal devices, and its weights are programmed into three
# chips. Each chip then learns on for five epochs by its own phases: the rule sees the programmed weights and the
# chip's voltages, and nothing of what is wrong with the devices. Dashed: the nominal network, five epochs further.
# (The phases run on the ODE of each chip; `NgspiceSubstrate(chip=...)` in its place would give the same numbers,
# later.)

# %%
digits = epf.digits()
settles = epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(200))
network = epf.LayeredField.create(jax.random.key(0), (64, 10, 10), gain=0.5, symmetry=1.0)
network = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), network)


def rule(chip=None):
    substrate = settles if chip is None else circuits.OnChip(chip, settles)
    return epf.EqProp(epf.Nudging.symmetric(0.2), substrate)


ideal = train(network, rule(), digits, Settings(epochs=20, learning_rates=(0.1,)), progress=False)
further = Settings(epochs=5, learning_rates=(0.05,))
longer = train(ideal.field, rule(), digits, further, progress=False).test_error  # what more epochs do by themselves
print(f"nominal devices: {ideal.test_error:.1%} of the test digits wrong, {longer:.1%} after five more epochs")
errors = {}
for name, spread in {"5 %, 0.02": variation, "20 %, 0.1": circuits.Variation.everywhere(0.2, offset=0.1)}.items():
    chips = [number(k, network, spread) for k in range(3)]
    before = [error_rate(rule(chip), ideal.field, digits.test) for chip in chips]
    after = [train(ideal.field, rule(chip), digits, further, progress=False).test_error for chip in chips]
    errors[name] = before, after
    print(f"three chips, {name}: {np.mean(before):.1%} with nominal weights, {np.mean(after):.1%} after learning on")

# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True, layout="constrained")
for ax, (name, (before, after)) in zip(axes, errors.items(), strict=True):
    for pair in zip(before, after, strict=True):
        ax.plot([0, 1], 100 * np.array(pair), "o-", color="tab:blue", alpha=0.6)
    ax.axhline(100 * longer, color="k", linewidth=0.9, linestyle="--")
    ax.set_xticks([0, 1], ["nominal weights", "after learning on the chip"])
    ax.set(xlim=(-0.3, 1.3), title=f"mismatch, offsets: {name}")
axes[0].set(ylabel="test error (%)", ylim=(0, None))
plt.close(figure)
figure
