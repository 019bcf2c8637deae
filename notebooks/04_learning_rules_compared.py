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
# # Learning rules compared
#
# Fourteen rules, one network, one truth. Every rule of the fixed-point family answers the same question: which way
# should the parameters $\theta$ of a settled network go, so that its cost falls? The true answer is
#
# $$-\frac{dJ}{d\theta} = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top} J^{-\top}
#   \frac{\partial C}{\partial s}, \qquad J = \frac{\partial\mu}{\partial s} .$$
#
# The rules differ in how they come by $J^{-\top}$, in what that costs, and in whether a synapse could do it.

# %%
# %matplotlib inline
import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import plotting

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## One interface
#
# A rule has a substrate, on which its phases settle, and `estimate(field, x, y)`. Here is an asymmetric network of 50
# neurons (every $W_{ij}$ is independent of $W_{ji}$), and what six rules make of one batch.

# %%
key, x_key, y_key = jax.random.split(jax.random.key(4), 3)
field = epf.GraphField.create(key, neurons=50, inputs=10, outputs=10, activation=epf.activation("tanh"))
x, y = jax.random.uniform(x_key, (20, 10)), jax.random.uniform(y_key, (20, 10))

tight = epf.Equilibrium(tol=1e-12, solver=epf.Sweeps(10_000))
rules = {
    "equilibrium propagation": epf.EqProp(epf.Nudging.symmetric(1e-3), tight),
    "holomorphic EqProp": epf.EqProp(epf.Nudging.holomorphic(0.1, 8), tight),
    "AEP": epf.AEP(epf.Nudging.symmetric(1e-3), tight),
    "dyadic EqProp": epf.DyadicEqProp(0.5, tight),
    "recurrent backpropagation": epf.RecurrentBackpropagation(tight),
    "BPTT, 300 steps": epf.BPTT(epf.EulerSteps(steps=300)),
}


def flat(gradient):
    """All entries of a gradient in one vector."""
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])


true = flat(epf.ImplicitGradient(tight).estimate(field, x, y).gradient)
found = {name: flat(rule.estimate(field, x, y).gradient) for name, rule in rules.items()}
for name, gradient in found.items():
    cosine = gradient @ true / np.linalg.norm(gradient) / np.linalg.norm(true)
    error = np.linalg.norm(gradient - true) / np.linalg.norm(true)
    print(f"{name:26s} cosine {cosine:.7f}   relative error {error:.1e}")

# %% [markdown]
# The first two use $J^{-1}$ where $J^{-\top}$ belongs, and no finer nudging helps them: holomorphic nudging removes the
# error of a finite $\beta$ and nothing else. The others carry a transposed Jacobian with them.
#
# ## The picture of the whole family
#
# The same against the symmetry of the weights, $W_{ji} = c\,W_{ij} + \sqrt{1-c^2}\,R_{ij}$. On the command line this is
# `eqprop-field align --rules all`, and [the table of rules](../docs/rules.md) shows its picture.

# %%
compared = epf.named_rules(["eqprop", "aep", "generec"], epf.Nudging.symmetric(1e-3), epf.Equilibrium(tol=1e-9))
sweep = {"symmetries": np.linspace(-1, 1, 9), "keys": jax.random.split(key, 6)}
epf.align(field, x[:8], y[:8], rules=compared, **sweep).plot().figure

# %% [markdown]
# **Two families.** Equilibrium propagation and GeneRec ask the network's own feedback for the error, and get an answer
# as good as that feedback is symmetric: for the hidden neurons the cosine follows $c$ and changes its sign with it. AEP
# stays at 1 whatever $c$ is.
#
# Mind that GeneRec is not even at $c = 1$ on the gradient: it follows an error of the output's firing RATES, and
# difference of rates stands in for a slope. Rules of that kind (contrastive Hebbian learning and nonlinear
# back-propagation too) compare with the others one to one only where $\rho(s) = s$.
#
# ## Why: one transpose
#
# Recurrent backpropagation sends the error $\partial C/\partial s$ through $\dot{\bar S} = J^\top \bar S$; along the
# nudged phase of equilibrium propagation, per unit of $\beta$, it goes through $\dot{\tilde S} = J \tilde S$
# (equations 39 and 46). Both begin alike. Three neurons, watched over time:

# %%
times = np.linspace(0.0, 8.0, 81)
both = epf.error_processes(field, x[:1], y[:1], times, substrate=tight)
transposed, plain = (np.asarray(process.error)[:, 0] for process in (both.recurrent_backpropagation, both.eqprop))
hidden = np.argsort(-np.abs(transposed[:, 10:]).max(axis=0))[:3] + 10


@plotting.styled
def draw():
    """Lines for recurrent backpropagation, dashes for equilibrium propagation."""
    axes = plotting.panels([2.6, 2.6], share_x=True)
    for ax, neurons, title in ((axes[0], [0, 1, 2], "Output neurons"), (axes[1], hidden, "Hidden neurons")):
        for neuron, colour in zip(neurons, plotting.CYCLE, strict=False):
            ax.plot(times, transposed[:, neuron], color=colour)
            ax.plot(times, plain[:, neuron], color=colour, linestyle=(0, (4, 2)))
        ax.set_title(title)
        ax.set_ylabel("error")
    axes[0].plot([], [], color="black", label="recurrent backpropagation, through Jᵀ")
    axes[0].plot([], [], color="black", linestyle=(0, (4, 2)), label="equilibrium propagation, through J")
    axes[0].legend(loc="lower right")
    axes[1].set_xlabel("time, in time constants")
    return axes[0].figure


draw()

# %% [markdown]
# Output neurons receive their error directly, and agree at first. Hidden neurons hear of it through the synapses:
# through the transposed ones it reaches those that caused it, through the plain ones those that it happens to lead to.
#
# ## What exactness costs
#
# The error in $\beta$ tells the rules apart too. One-sided nudging errs with $\beta$, symmetric with $\beta^2$,
# holomorphic with $r^N$; dyadic EqProp has no error at any $\beta$. Each is measured against its own limit.

# %%
betas = np.geomspace(0.02, 0.4, 6)
static = flat(epf.EqProp(epf.Nudging.symmetric(1e-5), tight).estimate(field, x, y).gradient)
families = {
    "EqProp one-sided": (lambda b: epf.EqProp(epf.Nudging.one_sided(b), tight), static),
    "EqProp symmetric": (lambda b: epf.EqProp(epf.Nudging.symmetric(b), tight), static),
    "EqProp holomorphic, N = 4": (lambda b: epf.EqProp(epf.Nudging.holomorphic(b, 4), tight), static),
    "AEP symmetric": (lambda b: epf.AEP(epf.Nudging.symmetric(b), tight), true),
    "dyadic": (lambda b: epf.DyadicEqProp(b, tight), true),
}


def errors(make, limit):
    """The relative distance from the limit, for every beta."""
    return np.array([np.linalg.norm(flat(make(b).estimate(field, x, y).gradient) - limit) for b in betas]) / (
        np.linalg.norm(limit)
    )


@plotting.styled
def draw():
    """One line a rule, with the order that a fit finds."""
    ax = plotting.panels([4.2])[0]
    for number, (name, family) in enumerate(families.items()):
        found = errors(*family)
        order = f"order {np.polyfit(np.log(betas), np.log(found), 1)[0]:.1f}" if found.max() > 1e-7 else "no error"
        ax.plot(betas, found, marker="os^Dv"[number], label=f"{name}: {order}")
    ax.set(xscale="log", yscale="log", xlabel="influence parameter β, or radius r", ylabel="relative error")
    ax.set_xticks(betas, [f"{b:.2g}" for b in betas])
    ax.set_xticks([], minor=True)
    ax.set_title("Distance from the rule's own limit")
    ax.legend(loc="center", bbox_to_anchor=(0.6, 0.3))
    return ax.figure


draw()

# %% [markdown]
# `eqprop-field rules` prints the whole family with its conditions, costs and sources.
