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
# # Free and nudged phases
#
# A network of leaky integrators has no energy function and no symmetric weights. It has a **vector field**
#
# $$\tau\,\frac{ds_i}{dt} = \mu_i(\theta, x, s) = \sum_j W_{ij}\,\rho(s_j) + (W_{in}\,x)_i + b_i - s_i .$$
#
# With the input clamped it settles: the **free phase**. Then its outputs are pulled a little towards a target,
# $\mu^\beta = \mu - \beta\,\partial C/\partial s$, and it settles again: the **nudged phase**. The difference of the
# two states is all that a synapse needs in order to learn.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

import eqprop_field as epf
from eqprop_field import plotting

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## A network and a handwritten digit
#
# 64 pixels, 32 hidden neurons, 10 outputs; the forward and the feedback weights are drawn independently.

# %%
digits = epf.digits(seed=0)
x, y = digits.test.x[:1], digits.test.y[:1]
field = epf.LayeredField.create(jax.random.key(0), (64, 32, 10), gain=1.0)
print(f"the digit {digits.test.labels[0]}; weight symmetry {float(epf.weight_symmetry(field)):+.3f}")

# %% [markdown]
# ## Both phases over time
#
# `Trajectory` integrates the ODE with any diffrax solver. The hard sigmoid confines the states to [0, 1]: neurons that
# are pushed against a bound stay there until something pulls them back.

# %%
beta = 0.5
times = np.linspace(0.0, 20.0, 2001)
substrate = epf.Trajectory(tol=1e-9, free_times=times, nudged_times=times)
phases = epf.simulate(field, x, y, nudging=epf.Nudging.one_sided(beta), substrate=substrate)
estimate = phases.estimate
free, (nudged,) = estimate.free, estimate.nudged
phases.plot().figure

# %% [markdown]
# Every settled state comes with its residual and a verdict, sample by sample. Nothing that is still moving is ever
# passed off as an equilibrium.

# %%
for name, solution in (("free", free), ("nudged", nudged)):
    verdict = epf.Verdict(int(solution.verdict[0]))
    residual, steps = float(solution.residual[0]), int(solution.steps[0])
    print(f"{name:7s} residual {residual:.1e} after {steps} steps: {verdict.advice}")

# %% [markdown]
# ## Three ways to the same equilibrium
#
# The adaptive solver, the paper's own clipped Euler steps (equation 77), and a fixed-point iteration that skips the
# way.

# %%
ways = {
    "Tsit5, adaptive": epf.Trajectory(tol=1e-9),
    "Euler, step 0.5 (equation 77)": epf.Trajectory(solver=epf.ProjectedEuler(), step=0.5, tol=1e-9),
    "fixed-point iteration": epf.Equilibrium(tol=1e-9),
}
for name, way in ways.items():
    solution = way.settle(field, x)
    apart = max(float(jnp.max(jnp.abs(a - b))) for a, b in zip(solution.state, free.state, strict=True))
    print(f"{name:30s} {int(solution.evaluations[0]):5d} evaluations, {apart:.0e} from the trajectory's end")

# %% [markdown]
# ## What a synapse sees
#
# While the nudge pulls, a synapse can integrate $\rho(s_j)\,ds_i$ as it goes, the **trajectory form** that a circuit
# measures, or compare the two ends, $\rho(s_j^0)\,(s_i^\beta - s_i^0)$, the **end-point form**. They meet as
# $\beta \to 0$.

# %%
print("beta   ||trajectory form - end-point form|| / ||end-point form||")
for b in (0.8, 0.4, 0.2, 0.1, 0.05):
    small = epf.EqProp(epf.Nudging.one_sided(b), substrate).estimate(field, x, y)
    print(f"{b:4.2f}   {float(small.path_difference):.4f}")

# %%
named = {name: np.asarray(change) for name, change in estimate.update.tensors().items()}
shown = {"W_0_1: hidden to output": named["W_0_1"], "W_1_2: input to hidden": named["W_1_2"]}
axes = plotting.heat_maps(shown, label="change")
axes[0].figure

# %% [markdown]
# ## And a network that does not settle
#
# Three neurons that inhibit each other in a ring oscillate. The verdict says so, and `estimate` would leave the sample
# out.

# %%
ring = epf.GraphField(
    weights=-6.0 * jnp.roll(jnp.eye(3), 1, axis=0),
    input_weights=jnp.zeros((3, 1)),
    biases=jnp.array([0.1, 0.0, -0.1]),
    mask=~jnp.eye(3, dtype=bool),
    tau=jnp.ones(3),
    n_outputs=1,
    activation=epf.activation("tanh"),
    projected=False,
)
solution = epf.Trajectory(free_time=30.0).settle(ring, np.zeros((1, 1)), throw=False)
print(f"residual {float(solution.residual[0]):.2f}. {epf.Verdict(int(solution.verdict[0])).advice}")
