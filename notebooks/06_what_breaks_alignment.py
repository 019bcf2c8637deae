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
# # What breaks alignment, and what repairs it
#
# On paper the update of equilibrium propagation is the gradient where the Jacobian is symmetric, phases end in
# equilibria, and $\beta \to 0$. On a machine none of this holds quite. This notebook takes the causes apart: finite
# $\beta$, unfinished settling, kinks, asymmetry. Then it looks at what training does to the asymmetry, and at ways to
# repair it.

# %%
# %matplotlib inline
import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import plotting

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## An error budget
#
# A practical update: every phase lasts 12 time constants, $\beta$ is what it is. `budget` removes one imperfection
# after the other, until the gradient is left; what goes with each step is its contribution.

# %%
key, x_key, y_key = jax.random.split(jax.random.key(1), 3)
x, y = jax.random.uniform(x_key, (8, 20)), jax.random.uniform(y_key, (8, 5))
tanh = epf.activation("tanh")
asymmetric = epf.LayeredField.create(key, (20, 15, 10, 5), activation=tanh)
practical = {
    "betas": [0.01, 0.03, 0.1, 0.3],
    "substrate": epf.Trajectory(tol=1e-7, free_time=12.0, nudged_time=12.0),
}
plain, exact = epf.RULES["eqprop"].make, epf.RULES["aep"].make
found = epf.budget(asymmetric, x, y, rule=plain, **practical)
print(found)
found.plot().figure

# %% [markdown]
# Independent feedback weights drown everything else: no better solver, no smaller $\beta$ would help. Take the
# asymmetry away, here by AEP, and the other causes come to light: too large a $\beta$ costs $\beta^2$, and too short
# a phase sets a floor beneath which no $\beta$ leads. A share below 0 makes up for a part of the others.

# %%
found = epf.budget(asymmetric, x, y, rule=exact, **practical)
print(found)
found.plot().figure

# %% [markdown]
# ## How long is long enough?
#
# The free phase forgets its beginning like $e^{\lambda t}$, with the spectral abscissa $\lambda$ of the Jacobian. The
# nudged phase starts from what is left, and divides by $\beta$. `stability` measures the abscissa; the straight line
# below is drawn with it, not fitted.

# %%
abscissa = epf.stability(asymmetric, x, key=key, starts=2).summary()["largest_abscissa"]
times = np.array([4.0, 10.0, 16.0, 22.0])
lost = []
for time in times:
    clocked = epf.Trajectory(tol=1e-13, accuracy=1e-13, free_time=time, nudged_time=time)
    found = epf.budget(asymmetric, x, y, rule=exact, betas=[0.03], substrate=clocked)
    lost.append(found.error[0, found.contributions.index("unfinished settling")])


@plotting.styled
def draw():
    """The error against the time of the phases."""
    ax = plotting.panels([2.8])[0]
    ax.semilogy(times, lost, "o", markersize=7, label="unfinished settling")
    ax.semilogy(times, lost[-1] * np.exp(abscissa * (times - times[-1])), label=f"exp({abscissa:.2f} t)")
    ax.set(xlabel="length of both phases, in time constants", ylabel="error / ‖gradient‖")
    ax.set_title("What the slowest direction leaves undone")
    ax.legend(loc="upper right")
    return ax.figure


draw()

# %% [markdown]
# ## Kinks
#
# A clipped neuron that rests at its bound has no slope, and no part in the gradient. If a nudge lifts it off the bound,
# or pushes another one onto it, the two nudged phases are no longer those of one smooth system. As long as no neuron
# changes sides the error falls as $\beta^2$, as for the smooth activation; at the $\beta$ where the first one does, it
# jumps by orders of magnitude. That $\beta$ differs from sample to sample, and may be small.

# %%
finer = np.geomspace(1e-4, 0.5, 7)
tight = epf.Equilibrium(tol=1e-13, solver=epf.Sweeps(20_000))
clipped = epf.LayeredField.create(key, (20, 15, 10, 5), gain=1.0)


def deviation(field):
    """By sample and beta: the distance of AEP's update from the gradient, relative."""

    def flat(rule, n):
        gradient = rule.estimate(field, x[n : n + 1], y[n : n + 1]).gradient
        return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(gradient)])

    rows = []
    for n in range(3):
        true = flat(epf.ImplicitGradient(tight), n)
        errors = [np.linalg.norm(flat(exact(beta, tight, epf.Quadratic()), n) - true) for beta in finer]
        rows.append(np.array(errors) / np.linalg.norm(true))
    return np.array(rows)


@plotting.styled
def draw():
    """One line a sample; smooth above, clipped below."""
    axes = plotting.panels([2.5, 2.5], share_x=True)
    for ax, field, title in ((axes[0], asymmetric, "tanh"), (axes[1], clipped, "Clipped hard sigmoid")):
        for n, row in enumerate(deviation(field)):
            ax.loglog(finer, np.maximum(row, 1e-9), marker="os^D"[n], markersize=5, label=f"sample {n}")
        ax.set(ylabel="error / ‖gradient‖", ylim=(3e-10, None))
        ax.set_title(title)
    axes[1].set_xlabel("influence parameter β")
    axes[1].legend(loc="lower right", ncols=2)
    return axes[0].figure


draw()

# %% [markdown]
# ## Asymmetry, over training
#
# The symmetry of the weights is not fixed. Every synapse changes by presynaptic rate times postsynaptic error, and the
# two directions of a pair are taught by the same correlations. `align_training` trains networks on handwritten digits
# and measures them after every epoch. Beside the plain rule: both weights of a pair decaying (Kolen & Pollack),
# feedback that never changes, and a pull on the Jacobian itself (homeostasis). One network each, from one and the same
# start.

# %%
rule = epf.EqProp(epf.Nudging.symmetric(0.1), epf.Equilibrium(tol=1e-6, solver=epf.Sweeps(1000)))
repairs = {
    "no repair": epf.SymmetryRepair(),
    "fixed feedback": epf.SymmetryRepair("fixed"),
    "Kolen-Pollack": epf.SymmetryRepair("kolen_pollack", decay=1e-3),
    "homeostasis": epf.SymmetryRepair(homeostasis=0.1),
}
training = {"epochs": 4, "learning_rates": (0.05,), "schedule": "constant"}
found = epf.align_training(
    [epf.LayeredField.create(jax.random.key(0), (64, 32, 10), activation=tanh, gain=0.5)],
    dict.fromkeys(repairs, rule),
    epf.digits(seed=0),
    {name: epf.Settings(**training, repair=repair) for name, repair in repairs.items()},
)
print(found)

# %%
found.plot().figure

# %% [markdown]
# Learning alone makes the weights more symmetric, and the update better aligned: the two directions of a pair are
# taught by correlated signals, and with fixed feedback the forward weights come to meet it. Homeostasis works on the
# Jacobian, which is what theorem 1 asks for, and gets there within an epoch or two. Kolen-Pollack is slower than its
# reputation here only because its decay is weak: the difference of a pair shrinks by 1 - decay a step, whatever the
# rule does.
#
# The same from the shell, for any rules: `eqprop-field align-training --rules eqprop,aep --homeostasis 0.1`.
