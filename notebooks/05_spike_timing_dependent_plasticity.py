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
# # Spike-timing dependent plasticity, found in a rate rule
#
# Equilibrium propagation changes a synapse by
#
# $$\frac{dW_{ij}}{dt} \propto \rho(s_j)\,\frac{ds_i}{dt} :$$
#
# the presynaptic rate times the CHANGE of the postsynaptic one. Nothing in it speaks of spikes. Yet it predicts what
# experimenters measure with pairs of spikes: potentiation where the presynaptic spike comes first, depression where it
# comes last. Three protocols show it; `eqprop-field stdp`, or `epf.stdp`, runs them all.

# %%
# %matplotlib inline
import jax
import numpy as np

import eqprop_field as epf
from eqprop_field import plotting

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## 1. One pair of spikes
#
# A spike leaves a trace in its neuron's rate, $r(t) = e^{-t/\tau_d} - e^{-t/\tau_r}$. The postsynaptic one comes $u$
# later: $\Delta W(u) = \int r(t)\,\tfrac{d}{dt} r(t-u)\,dt$. Where the postsynaptic rate RISES while the presynaptic
# one is high, the synapse grows.

# %%
times = np.arange(-20.0, 100.0, 0.1)


def trace(t):
    """The rate that a spike at time 0 leaves, with rise 2 ms and decay 20 ms."""
    late = np.maximum(t, 0.0)
    return np.exp(-late / 20.0) - np.exp(-late / 2.0)


@plotting.styled
def draw():
    """Both traces, and what the synapse makes of them."""
    axes = plotting.panels([2.2, 2.2], share_x=True)
    for ax, u in zip(axes, (15.0, -15.0), strict=True):
        pre, post = trace(times - max(-u, 0.0)), trace(times - max(u, 0.0))
        change = pre * np.gradient(post, times)
        ax.plot(times, pre, label="presynaptic rate")
        ax.plot(times, post, label="postsynaptic rate")
        ax.fill_between(times, 5 * change, color=plotting.COLOURS["green"], alpha=0.35, linewidth=0, label="5 dW/dt")
        total = np.sum(change) * 0.1
        ax.set_title(f"The postsynaptic spike {abs(u):.0f} ms {'later' if u > 0 else 'earlier'}: ΔW = {total:+.3f}")
        ax.legend(loc="upper right", fontsize=9)
    axes[1].set_xlabel("time (ms)")
    return axes[0].figure


draw()

# %% [markdown]
# For every interval $u$, beside the closed form
# $\mathrm{sgn}(u)\,\frac{\tau_d-\tau_r}{2(\tau_d+\tau_r)}\,(e^{-|u|/\tau_d} - e^{-|u|/\tau_r})$:

# %%
pairs = epf.spike_pairs(np.arange(-80.0, 81.0, 4.0))
furthest = np.abs(pairs.change - pairs.closed_form).max()
print(f"odd within {pairs.oddness:.1e}; off the closed form by at most {furthest:.1e}")

pairs.plot().figure

# %% [markdown]
# ## 2. And back: the curve on Poisson trains is the rate rule
#
# Take the curve $F(u) = \mathrm{sgn}(u)\,e^{-|u|/\tau}$ as all that a synapse knows, sum it over all pairs of spikes of
# two random trains, and average. Expected is $C\,\nu_{pre}\,\dot\nu_{post}\,T$ with $C = \int F(u)\,u\,du = 2\tau^2$:
# the rate rule again. The postsynaptic rate has to CHANGE; between two steady rates nothing is learnt.

# %%
trains = epf.poisson_pairs(jax.random.key(0), trials=1500)
steady = trains.slope == 0
print(f"slope of the regression {trains.regression:.3f}, R² {trains.r_squared:.4f}")
of_chance = np.abs(trains.measured[steady] / trains.error[steady]).max()
print(f"steady rates: changes of {of_chance:.1f} standard errors at most")

trains.plot().figure

# %% [markdown]
# ## 3. Sorted by an experimenter
#
# At last the rate rule runs on random trains, and an experimenter who knows nothing of it sorts its changes by the
# interval of the pairs of spikes that happened to be there. Out comes the curve.

# %%
rates = epf.rate_histogram(jax.random.key(1), trials=1500)

rates.plot().figure

# %% [markdown]
# ## 4. The same rule, learning
#
# In the nudged phase the postsynaptic neuron moves from $s_i^0$ to $s_i^\beta$ while the presynaptic one hardly does:
# $\int \rho(s_j)\,ds_i \approx \rho(s_j^0)\,(s_i^\beta - s_i^0)$, the update of equilibrium propagation. The path form
# is what an STDP synapse would accumulate; the end-point form is what theory speaks of. They meet as $\beta \to 0$.

# %%
field = epf.LayeredField.create(jax.random.key(2), (64, 32, 10), activation=epf.activation("tanh"))
digits = epf.digits(seed=0).test
times = np.linspace(0.0, 30.0, 3001)
betas = np.array([0.05, 0.1, 0.2, 0.4])
apart = []
for beta in betas:
    substrate = epf.Trajectory(tol=1e-9, nudged_times=times)
    estimate = epf.EqProp(epf.Nudging.one_sided(beta), substrate).estimate(field, digits.x[:4], digits.y[:4])
    apart.append(float(estimate.path_difference))
    print(f"β = {beta:4.2f}: path form and end-point form differ by {100 * apart[-1]:.2f} %")


@plotting.styled
def draw():
    """The difference against beta."""
    ax = plotting.panels([2.6])[0]
    ax.loglog(betas, 100 * np.array(apart), "o-")
    ax.set(xlabel="influence parameter β", ylabel="difference (%)")
    ax.set_xticks(betas, [f"{beta:g}" for beta in betas])
    ax.set_yticks([1, 2, 4], ["1", "2", "4"])
    ax.minorticks_off()
    ax.set_title(f"Path form against end-point form: order {np.polyfit(np.log(betas), np.log(apart), 1)[0]:.2f} in β")
    return ax.figure


draw()
