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
# # Your own vector field
#
# From an equation to a netlist, and to a circuit that is trained. The equation is Wilson and Cowan's (1972): excitatory
# populations $e$ and inhibitory ones $i$, which are refractory, and slower where they inhibit,
#
# $$\tau_e\,\dot e = (1 - e)\,S(W_{ee}\,e - W_{ei}\,i + U x - h) - e, \qquad
#   \tau_i\,\dot i = (1 - i)\,S(W_{ie}\,e - W_{ii}\,i) - i,$$
#
# with $S$ the logistic function and all $W$ positive (Dale's law). These are no leaky integrators, there is no energy,
# and inhibition makes the Jacobian asymmetric.

# %%
# %matplotlib inline
import pathlib
import tempfile

import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The equation
#
# `epf.field` takes $\mu(\theta, x, s)$ of one sample in plain JAX. What stands in theta learns; `softplus` keeps
# weights positive.


# %%
def mu(theta, x, s):
    w, e, i = jax.tree.map(jax.nn.softplus, theta["W"]), s["e"], s["i"]
    to_e = jax.nn.sigmoid(w["ee"] @ e - w["ei"] @ i + theta["U"] @ x - theta["h"])
    to_i = jax.nn.sigmoid(w["ie"] @ e - w["ii"] @ i)
    return {"e": (1 - e) * to_e - e, "i": (1 - i) * to_i - i}


*keys, last = jax.random.split(jax.random.key(0), 5)
raw = {name: jax.random.normal(k, (4, 4)) for name, k in zip(("ee", "ei", "ie", "ii"), keys, strict=True)}
theta = {"W": raw, "U": 3 * jax.random.normal(last, (4, 2)), "h": np.ones(4)}
field = epf.field(mu, theta, state={"e": 4, "i": 4}, inputs=2, outputs=1, time_constants={"e": 1.0, "i": 2.0})

# %% [markdown]
# ## The netlist
#
# `export` walks what JAX traced. Each state is the voltage of a capacitor; sums are conductances, and whatever is not
# linear is one source.

# %%
x = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
y = np.array([[0.1], [0.1], [0.1], [0.4]])  # both inputs?
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "wilson_cowan.cir"
    netlist = circuits.export(field, x[:1], y[:1], 0.1, path, free_time=40.0, nudged_time=30.0)
elements = [line for line in netlist.text.splitlines() if line[0] in "BCGIR"]
print(f"{len(elements)} elements, among them those of the first excitatory population:")
print("\n".join(line if len(line) < 110 else line[:107] + "..." for line in elements[:4]))

# %% [markdown]
# ## The same in ngspice
#
# Both phases by the ODE solver and in ngspice, at ngspice's own time points.

# %%
agreement = circuits.verify(field, x[-1:], y[-1:], 0.1, free_time=40.0, nudged_time=30.0)
print(agreement)
agreement.plot().figure

# %% [markdown]
# ## What the circuit learns by
#
# Plain equilibrium propagation takes the Jacobian for symmetric. AEP adds, in the nudged phase, what it is not: in the
# circuit by elements that refer to the free state, which capacitors hold. Both run in ngspice; the truth is
# implicit differentiation of the ODE.

# %%
circuit = circuits.NgspiceSubstrate(
    level=circuits.Behavioural(accuracy=circuits.TIGHT), free_time=40.0, nudged_time=30.0
)
truth = epf.ImplicitGradient().estimate(field, x[-1:], y[-1:]).gradient
for name, rule in {"EqProp": epf.EqProp, "AEP": epf.AEP}.items():
    measured = rule(nudging=epf.Nudging.symmetric(0.02), substrate=circuit).estimate(field, x[-1:], y[-1:]).gradient
    parts = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(one)]) for one in (measured, truth)]
    cosine = parts[0] @ parts[1] / np.linalg.norm(parts[0]) / np.linalg.norm(parts[1])
    print(f"{name:7s} in ngspice: cosine with the gradient {cosine:.6f}")

# %% [markdown]
# ## Training, with the circuit in the loop
#
# The first excitatory population shall fire at 0.4 where both inputs are on, and at 0.1 otherwise. Every phase of
# every step runs in ngspice; only the update is computed.

# %%
both = epf.Samples(x, y)
rule = epf.AEP(nudging=epf.Nudging.symmetric(0.1), substrate=circuits.training_substrate(batch_size=4))
settings = epf.training.Settings(epochs=15, batch_size=4, learning_rates=0.2, optimiser="adam", schedule="constant")
run = epf.train(field, rule, epf.Dataset("both", both, both, both, ()), settings, progress=False)
for name, one in {"before": field, "after": run.last_field}.items():
    outputs = one.output(epf.Equilibrium().settle(one, x).state)
    print(f"{name:7s} outputs {np.round(np.ravel(outputs), 2)}")
run.plot().figure
