# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # On a real process
#
# The same network on transistors of three processes: model cards of our own, and those of two open foundries,
# SkyWater's SKY130 and GlobalFoundries' GF180MCU. `make pdk` installs the foundries' model files; a process that is not
# there is left out, and the rest runs.

# %%
# %matplotlib inline
import dataclasses

import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## What ngspice finds out first
#
# Supplies and the volts of a state unit follow from the transistors themselves.

# %%
processes = {"generic": circuits.Process.find("generic")}
for name in ("gf180mcu", "sky130"):
    try:
        processes[name] = circuits.Process.find(name)
    except ValueError as reason:
        print(f"left out: {reason}")
for name, process in processes.items():
    print(f"{name:9s} vdd {process.vdd:.3f} V, vss {process.vss:.3f} V, a unit is {1e3 * process.volt_per_unit:.1f} mV")

# %% [markdown]
# ## Does an update survive?
#
# Both phases of two samples in ngspice and by the ODE, on each process.

# %%
field = epf.LayeredField.create(jax.random.key(0), (2, 4, 1), activation=epf.activation("tanh"), gain=0.5, symmetry=1.0)
x, y = np.array([[0.3, -0.8], [0.9, 0.5]]), np.array([[0.5], [-0.5]])
levels = {name: circuits.Transistor(process=process) for name, process in processes.items()}
times = {"free_time": 40.0, "nudged_time": 30.0}
agreements = circuits.verify_each(field, x, y, 0.5, levels, **times)
print(agreements)
agreements.plot().figure

# %% [markdown]
# ## Which transistors matter?
#
# ngspice's own derivatives of the cost, by the threshold and the current of every transistor. The two of a mirror
# cancel: it is their difference that costs.

# %%
last = list(levels)[-1]
substrate = circuits.NgspiceSubstrate(level=levels[last], tol=1e-4, **times)
ranking = circuits.rank_devices(field, x, y, 0.5, substrate=substrate)
print(f"{last}: the update's cosine with the gradient of its own transistors is {ranking.cosine_update:.4f}")
ranking.plot().figure

# %% [markdown]
# ## Chips
#
# Where a foundry states its mismatch, every transistor of a chip is drawn by it. States move, the update hardly turns.

# %%
for name in [name for name, process in processes.items() if process.mismatch]:
    for chip in range(2):
        process = processes[name].fabricated(jax.random.key(chip))
        level = dataclasses.replace(levels[name], process=process)
        found = circuits.verify(field, x, y, 0.5, level=level, **times)
        print(f"{name}, chip {chip}: free states {found.max_abs_free:.3f} apart, cosine {found.update_cosine:.4f}")

# %% [markdown]
# ## Learning inside, and its energy
#
# Weights on capacitors, no computation outside: see notebook 09. Two epochs of exclusive or, to see what they cost; how
# many circuits learn it in sixty is in `docs/silicon.md`.

# %%
level = dataclasses.replace(levels[last], cell="gilbert", accuracy=circuits.LEARNING)
learning = circuits.learn_in_circuit("xor", seeds=[7], epochs=2, level=level, with_reference=False)
(circuit,) = learning.circuits()
first, second = learning.losses[0]
print(
    f"{last}: {1e9 * circuit['joules_training']:.1f} nJ for two epochs: the loss goes from {first:.1f} to {second:.1f}"
)
print(f"of the variance. An inference takes {1e12 * circuit['joules_inference']:.0f} pJ.")
