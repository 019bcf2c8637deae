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
# # Backward tuning: finding a network again from what it does
#
# Vieville, Hinaut, Drumond and Alexandre (RR-9100, 2017) write every recurrent unit as a sum of kernels,
# $x_n(t) = \Phi_{n0t} + \sum_d W_{nd}\,\Phi_{ndt}$, and fit the weights in three steps: simulate, tune backwards,
# adjust every node by itself. This notebook takes the three steps one by one, and asks how far they lead.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from eqprop_field import plotting
from eqprop_field.kernel_networks import (
    AIF,
    LBFGS,
    LNL,
    BackwardTuning,
    KernelNetwork,
    LeastSquares,
    Linear,
    Problem,
    RobustBounded,
    SecondOrder,
    check_unit,
    delayed_product,
    fit_decay,
    reverse_problem,
    with_outliers,
)
from eqprop_field.signals import Signal, Task

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## A network of kernels
#
# A leaky unit is three groups of nodes: the unit x, its leak l and its summed input z. A unit of your own is a class
# with one method; `check_unit` holds its derivatives against finite differences.

# %%
network = KernelNetwork.create(LNL(units=4), jax.random.key(0))
print(
    "groups",
    list(network.structure.groups),
    " kernels",
    dict(network.structure.kernel_counts),
    " parameters",
    network.parameters.size,
)
check_unit(AIF(units=3))

# %% [markdown]
# ## Errors tuned backwards
#
# A root network gives input and output; the learner must find weights that do the same. The tuning errors
# $\varepsilon$ say what every node should have done, hidden ones too; their sum with the kernels is the gradient.

# %%
problem = reverse_problem("LNL", 4, 1)
theta = problem.network.parameters
backward = problem.backward_pass(theta)
print("gradient against JAX's own:", float(jnp.abs(backward.gradient - jax.grad(problem.cost)(theta)).max()))
for name, errors in problem.network.structure.split(backward.errors).items():
    print(f"  nodes {name}: root mean square tuning error {float(jnp.sqrt(jnp.mean(errors**2))):.2e}")

# %% [markdown]
# ## The second-order step, and its sign
#
# Equation 6 solves a small linear system for each node. For an observed linear node without feedback it is exact in one
# step; with the sign of the print it climbs, to four times the cost that was to be lost. Elsewhere it is a direction to
# search along.

# %%
u = np.random.default_rng(1).normal(size=(40, 3))
line = KernelNetwork.create(Linear(units=1, inputs=3), jax.random.key(1)).freeze("x", 0.0, np.s_[:, 1])
observed = Problem(line, Task.of(u, np.concatenate([[0.0], np.sin(u[:-1].sum(1))])[:, None]))
theta = line.parameters
step = SecondOrder().step(observed, theta, observed.backward_pass(theta))
least = float(observed.cost(theta + step))
for share in (-1.0, 0.0, 0.5, 1.0):
    above = float(observed.cost(theta + share * step)) - least
    print(
        f"{share:5.1f} of the step: {above:.3e} above the least cost; gradient there "
        f"{float(jnp.abs(observed.backward_pass(theta + share * step).gradient).max()):.1e}"
    )

# %% [markdown]
# ## How far each rule comes
#
# The report's text and its program for 100 iterations; what this library adds (a quasi-Newton memory on the same tuned
# gradient); and L-BFGS by scipy. All work on the same problem object.

# %%
variance = float(jnp.nanvar(problem.task.targets[1:]))
rules = {
    "second, then first order": BackwardTuning(strategy="second_then_first", limit_errors=True),
    "best of all": BackwardTuning(strategy="best_of", limit_errors=True),
    "with memory": BackwardTuning(strategy="quasi_newton", iterations=400, target=1e-5 * variance),
    "L-BFGS": LBFGS(iterations=400, target=1e-5 * variance),
}
fits = {name: rule.fit(problem) for name, rule in rules.items()}
for name, fit in fits.items():
    decay = fit_decay(fit.costs)
    print(
        f"{name:25s} NRMSE {(2 * fit.cost / variance) ** 0.5:.4f} after {fit.iterations} iterations, "
        f"{fit.simulations} simulations; decay time {decay.time:.1f}; {fit.advice}"
    )


@plotting.styled
def falls():
    ax = plotting.panels([3.4])[0]
    for (name, fit), colour in zip(fits.items(), plotting.CYCLE, strict=False):
        ax.semilogy(np.minimum.accumulate(np.sqrt(2 * fit.costs / variance)), color=colour, label=name)
    ax.set(xlabel="iteration", ylabel="NRMSE")
    ax.set_title("A root network of four leaky units is found again")
    ax.legend()
    return ax.figure


falls()

# %% [markdown]
# ## Outliers
#
# A tenth of the targets is far away. The bounded criterion does not see them.

# %%
spoiled = with_outliers(problem.task, jax.random.key(5), share=0.1)
for criterion in (LeastSquares(), RobustBounded(1e-3)):
    fit = BackwardTuning(strategy="quasi_newton", iterations=200).fit(Problem(problem.network, spoiled, (criterion,)))
    outputs = fit.network.run(problem.task.inputs).outputs
    error = float(problem.task.mean_squared_error(outputs) / variance) ** 0.5
    print(f"{type(criterion).__name__:15s} NRMSE against the clean targets {error:.3f}")

# %% [markdown]
# ## Some networks need no learning
#
# Clocks, latches and products are networks in closed form. This one answers, at sample 40, with the product of what it
# was shown at samples 3 and 9, whatever came between.

# %%
u = np.random.default_rng(0).normal(size=(50, 1))
answer = delayed_product(3, 9, 40).run(Signal.sampled(u)).outputs[40, 0, 0]
print(float(answer), "=", u[3, 0], "*", u[9, 0])
