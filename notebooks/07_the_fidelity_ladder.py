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
# # The fidelity ladder
#
# The same network built of ideal elements, resistive crossbars, op-amps, OTAs and MOS transistors. Each rung is one
# call, has the same nodes and is measured in the same way, so that there is one question: does the update still point
# where equilibrium propagation wants it?

# %%
# %matplotlib inline
import dataclasses

import jax
import matplotlib.pyplot as plt
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits

jax.config.update("jax_enable_x64", True)

# %%
field = epf.LayeredField.create(jax.random.key(0), (2, 10, 1), activation=epf.activation("tanh"), gain=0.8)
x, y = np.array([[0.3, -0.8], [0.9, 0.5]]), np.array([[0.5], [-0.5]])
beta, times = 0.5, {"free_time": 40.0, "nudged_time": 40.0}

# %% [markdown]
# ## One rung after another

# %%
rungs = {
    "behavioural": circuits.Behavioural(),
    "crossbar, 6 bits": circuits.Crossbar(bits=6),
    "op-amps, A0 = 1000": circuits.OpAmp(gain=1e3, gain_bandwidth=60.0),
    "OTAs, range 5": circuits.OtaC(linear_range=5.0),
    "MOS pairs, level 3": circuits.Transistor(),
    "MOS pairs, BSIM3": circuits.Transistor(process=circuits.Process.generic("bsim3")),
    "Gilbert cells, level 3": circuits.Transistor(cell="gilbert"),
    "Gilbert cells, BSIM3": circuits.Transistor(cell="gilbert", process=circuits.Process.generic("bsim3")),
}
found = {name: circuits.verify(field, x, y, beta, level=level, **times) for name, level in rungs.items()}
print(f"{'':24s}{'free states apart':>18s}{'1 - cosine':>12s}{'signs':>8s}  verdict")
for name, agreement in found.items():
    apart, short = agreement.max_abs_free, 1 - agreement.update_cosine
    print(f"{name:24s}{apart:18.1e}{short:12.1e}{agreement.update_signs:8.0%}  {agreement.verdict.name}")

# %% [markdown]
# ## What the states do
#
# Gate capacitances slow the transistors' membranes down; where they settle hardly changes.

# %%
found["MOS pairs, BSIM3"].plot().figure

# %% [markdown]
# ## What do the amplifiers have to be like?
#
# Each parameter alone, the others nearly ideal. 1 - cosine is half the square of the angle between the updates: it
# falls with the square of an op-amp's gain, with the fourth power of an OTA's linear range, and about fourfold with
# every bit.


# %%
def angle(level: circuits.AbstractLevel) -> float:
    return 1 - circuits.verify(field, x, y, beta, level=level, **times).update_cosine


gains, ranges, bits = [10.0, 30.0, 100.0, 1000.0], [1.5, 2.0, 4.0, 8.0], [2, 3, 4, 6]
sweeps = {
    "op-amp gain": (gains, [angle(circuits.OpAmp(gain=g, gain_bandwidth=1e3)) for g in gains]),
    "linear range of OTAs": (ranges, [angle(circuits.OtaC(linear_range=r)) for r in ranges]),
    "bits of a conductance": (bits, [angle(circuits.Crossbar(bits=b)) for b in bits]),
}
figure, axes = plt.subplots(1, 3, figsize=(10, 3), sharey=True, layout="constrained")
for ax, (name, (values, angles)) in zip(axes, sweeps.items(), strict=True):
    ax.plot(values, angles, "o-")
    ax.set(xlabel=name, yscale="log", xscale="linear" if name.startswith("bits") else "log")
    ax.set_xticks(values, [f"{value:g}" for value in values])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
axes[0].set_ylabel("1 - cosine of the updates")
plt.close(figure)
figure

# %% [markdown]
# ## A neuron of your own
#
# Any neuron or synapse can be replaced by a subcircuit with the same ports. This one's leak is 2 % too strong and its
# activation 20 % too steep; the file is scanned before ngspice sees it.

# %%
with open("my_neuron.sub", "w") as file:
    file.write("""* ports: s (membrane voltage), r (firing rate)
.subckt my_neuron s r capacitance=1n leak=1k unit=1 start=0
C1 s 0 {capacitance} ic={start}
R1 s 0 {leak/1.02}
Br r 0 V=unit*tanh(1.2*v(s)/unit)
.ends
""")
mine = circuits.Behavioural(neuron=circuits.read_subcircuit("my_neuron.sub"))
agreement = circuits.verify(field, x, y, beta, level=mine, **times)
print(agreement.verdict.value, f"cosine {agreement.update_cosine:.6f}, states {agreement.max_abs_free:.2g} apart")

# %%
with open("hostile.sub", "w") as file:
    file.write(".subckt a s r\nR1 s r 1\n.ends\n.control\nshell echo gone\n.endc\n")
try:
    circuits.read_subcircuit("hostile.sub")
except ValueError as refused:
    print(refused)

# %% [markdown]
# ## The netlist
#
# The same outside at every level, and everything in it can be read.

# %%
level = dataclasses.replace(rungs["MOS pairs, level 3"], cell="gilbert")
print(circuits.export(field, x[0], y[0], beta, "net.cir", level=level, **times).text[:2600])
