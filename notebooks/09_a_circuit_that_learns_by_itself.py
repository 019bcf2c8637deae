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
# # A circuit that learns by itself
#
# Every weight is the voltage of a capacitor. Samples come and go on voltage sources; in the second part of each, beta
# pulls the output towards its target, and a current of *presynaptic rate times change of the postsynaptic membrane*
# charges the weight: $dW_{ij} = \eta\,\rho(s_j)\,ds_i$. No computer takes part. ngspice runs ONE transient, from random
# weights to a learnt task.

# %%
# %matplotlib inline
import jax
import matplotlib.pyplot as plt
import numpy as np

from eqprop_field import circuits

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## Exclusive or, with ideal elements
#
# Two inputs, six hidden neurons, one output; inputs at plus and minus 0.8, targets at plus and minus 0.5. The biases
# are synapses from an input that never changes. The four samples are shown 60 times over, and once more with the gate
# shut.

# %%
xor = circuits.learn_in_circuit("xor", seeds=[7], epochs=60)
(record,) = xor.records
circuit = record.plastic.circuit
print(f"{circuit.total_time:.0f} time constants, {len(record.plastic.bounds)} capacitors")
for x, y, s in zip(xor.task.test_x, xor.task.test_y, record.tested, strict=True):
    print(f"{x}  target {y[0]:+.1f}  output {s[0]:+.3f}")

# %% [markdown]
# The same differential equations, integrated without ngspice, edges of the gate included, learn the same (grey).

# %%
print(xor)
xor.plot().figure

# %% [markdown]
# What the capacitors hold at the end is a network like any other: it can be saved, trained on, or analysed.

# %%
learnt = record.field(xor.network)
print({name: np.round(np.asarray(tensor), 2).tolist() for name, tensor in learnt.tensors().items() if "b" not in name})

# %% [markdown]
# ## In transistors
#
# Synapses are Gilbert cells in weak inversion, whose weight is the voltage of a capacitor; neurons are a capacitor and
# a leak; the nudge is a differential pair. First an ideal source multiplies rate and change; then a second Gilbert cell
# does, and the membrane's change is sensed by a capacitor and a resistor: transistors, capacitors, resistors and bias
# currents are all there is.

# %%
options = {"seeds": [7], "epochs": 12, "level": circuits.Transistor(cell="gilbert", accuracy=circuits.LEARNING)}
mos = circuits.learn_in_circuit("xor", **options)
all_mos = circuits.learn_in_circuit("xor", **options, multiplier="transistor", with_reference=False)
figure, ax = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, losses in {
    "ODE": mos.reference_losses,
    "MOS neurons and synapses": mos.losses,
    "plasticity in MOS too": all_mos.losses,
}.items():
    ax.plot(np.arange(1, 13), losses[0], "o-", markersize=3, label=name)
ax.set(xlabel="epoch", ylabel="loss / variance", yscale="log")
ax.legend()
ax.grid(alpha=0.3)
plt.close(figure)
figure

# %% [markdown]
# ## Why the gate
#
# The gate opens just before beta rises and shuts just before it falls. Were it open when beta falls, the membranes' way
# back would unlearn what their way there taught: all of dW would be taken away again.

# %%
phase = xor.schedule.plasticity
times, opened = np.array([-0.3, -0.02, -0.01, 3.98, 3.99, 4.3]), np.array([0, 0, 1, 1, 0, 0])
figure, ax = plt.subplots(figsize=(6, 2.2), layout="constrained")
ax.step([-0.3, 0, phase.nudged_time, 4.3], [0, phase.beta, 0, 0], where="post", label="beta")
ax.plot(times, opened, label="gate")
ax.set(xlabel="time since the nudge began, in time constants")
ax.legend(loc="center")
plt.close(figure)
figure
