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
# # The same network as a circuit
#
# A leaky integrator is a capacitor with a leak resistor; a synapse is a transconductance; the nudge is one more
# current. The vector field becomes a netlist, ngspice runs free and nudged phase in ONE transient, and the measured
# node voltages come back as the same states. The same learning code turns them into the same update.

# %%
# %matplotlib inline
import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits, plotting

jax.config.update("jax_enable_x64", True)

# %%
digits = epf.digits(seed=0)
x, y = digits.test.x[:2], digits.test.y[:2]
field = epf.LayeredField.create(jax.random.key(1), (64, 32, 10), gain=1.0)
beta = 0.5

# %% [markdown]
# ## The netlist
#
# Node names are generated, numbers are exact, and the analysis is inside: any ngspice runs the file as it is.

# %%
netlist = circuits.export(field, x[0], y[0], beta, "net.cir")
lines = netlist.text.splitlines()
print("\n".join(lines[:14]), "\n...", f"\n({len(lines)} lines)")

# %% [markdown]
# ## ODE and circuit, side by side
#
# `verify` runs the same phases on both, the ODE in float64 at ngspice's own time points, and compares everything that
# matters. The result knows its table, its picture and its files, as every result does.

# %%
agreement = circuits.verify(field, x, y, beta)
print(agreement)
for row in agreement.rows():
    print(row)

# %%
agreement.plot().figure

# %% [markdown]
# ## ngspice as a substrate
#
# `NgspiceSubstrate` takes the place of any other substrate, so every learning rule runs on the circuit.

# %%
nudging = epf.Nudging.symmetric(0.2)
in_circuit = epf.EqProp(nudging, circuits.NgspiceSubstrate()).estimate(field, x, y)
by_ode = epf.EqProp(nudging, epf.Equilibrium(tol=1e-10)).estimate(field, x, y)
print("objective  circuit", float(in_circuit.objective), " ODE", float(by_ode.objective))
print("\ntensor   cosine(update of the circuit, update of the ODE)")
for name, measured in in_circuit.update.tensors().items():
    expected = by_ode.update.tensors()[name]
    cosine = float((measured * expected).sum()) / float(np.linalg.norm(measured) * np.linalg.norm(expected))
    print(f"{name:8s} {cosine:.9f}")

# %%
axes = plotting.heat_maps(
    {
        "circuit: change of W_0_1": np.asarray(in_circuit.update.tensors()["W_0_1"]),
        "ODE: change of W_0_1": np.asarray(by_ode.update.tensors()["W_0_1"]),
    },
    label="change",
)
axes[0].figure
