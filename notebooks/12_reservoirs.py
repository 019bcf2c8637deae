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
# # Reservoirs: learn the readout, leave the network alone
#
# In an echo state network, a random recurrent network, only a linear readout is trained, in closed form. This notebook
# measures the echo state property, predicts one coordinate of a chaotic attractor from another, generates a signal by
# feedback, and reads a liquid state machine of spiking neurons.

# %%
# %matplotlib inline
import jax
import jax.numpy as jnp
import numpy as np

from eqprop_field import plotting
from eqprop_field.datasets import roessler
from eqprop_field.sequence import ContinuousEchoStateNetwork, EchoStateNetwork, Liquid, Reservoir, Signal, echo_distance

jax.config.update("jax_enable_x64", True)
key = jax.random.key(0)


@plotting.styled
def axes(rows=1):
    """New Axes in the house style, one below another."""
    return plotting.panels([2.6] * rows)


path = roessler(3000) / 12
signal = Signal.sampled(path[:, :1], 0.1)

# %% [markdown]
# ## The echo state property
#
# Two copies of a reservoir start from different states and receive the same input. If their states converge, the state
# is an echo of the input alone. The spectral radius decides, roughly: with a larger one the initial state is forgotten
# more slowly, and from somewhere above 1 never.

# %%
(ax,) = axes()
start = jax.random.uniform(key, (100,), minval=-1.0, maxval=1.0)
for radius in (0.5, 0.9, 1.2, 2.0):
    pool = Reservoir.create(key, neurons=100, inputs=1, radius=radius, input_scale=0.5)
    apart = echo_distance(EchoStateNetwork(pool, 0.3), signal, jnp.stack([start, -start]))
    print(
        f"radius {radius}: distance {float(apart[0]):.1e} at first, {float(apart[-1]):.1e} after {len(apart)} samples"
    )
    ax.semilogy(np.maximum(apart, 1e-17), label=f"radius {radius}")
ax.set(xlabel="sample", ylabel="distance of two states")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4)
ax.figure

# %% [markdown]
# ## One coordinate from another
#
# $x_1$ of the Roessler attractor goes in, $x_2$ comes out. Fitted on 2000 samples, tested on the next 1000; discrete
# and continuous time.

# %%
(ax,) = axes()
pool = Reservoir.create(key, neurons=300, inputs=1, radius=0.9, input_scale=0.5)
train = Signal.sampled(path[:2000, :1], 0.1)
for name, network in {
    "discrete": EchoStateNetwork(pool, 0.3),
    "continuous": ContinuousEchoStateNetwork(pool, 0.3),
}.items():
    fitted = network.fit(train, path[:2000, 1:2], washout=200)
    outputs = np.asarray(fitted.run(signal).outputs)[2000:, 0, 0]
    error = np.mean((outputs - path[2000:, 1]) ** 2) / np.var(path[2000:, 1])
    print(f"{name}: normalised test error {error:.1e}")
    ax.plot(outputs[:300], label=name)
ax.plot(path[2000:2300, 1], "k:", label="target")
ax.set(xlabel="sample after the training", ylabel="x2")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=3)
ax.figure

# %% [markdown]
# ## Generating a signal by feedback
#
# The target is fed back while the readout is fitted (teacher forcing), and the network's output takes its place
# afterwards. A little noise on the teacher makes the loop stable.

# %%
t = 0.2 * np.arange(800)
wave = (0.6 * np.sin(t) + 0.2 * np.sin(2 * t + 1))[:, None]
silence = Signal.sampled(np.zeros((800, 1)), 0.2)
pool = Reservoir.create(key, neurons=100, inputs=1, feedback=1, radius=0.8, bias_scale=0.2)
fitted = EchoStateNetwork(pool, 0.5).fit(silence, wave, noise=1e-4, key=key, ridge=1e-8)
last = fitted.run(silence, teacher=Signal.sampled(wave, 0.2)).states[-1]
free = np.asarray(fitted.run(Signal.sampled(np.zeros((300, 1)), 0.2), start=last).outputs)[:, 0, 0]
later = t[-1] + 0.2 * np.arange(1, 301)
expected = 0.6 * np.sin(later) + 0.2 * np.sin(2 * later + 1)
print(f"largest error over {len(free)} free steps: {np.abs(free - expected).max():.3f}")
(ax,) = axes()
ax.plot(free, label="free-running")
ax.plot(expected, "k:", label="target")
ax.set(xlabel="sample after the end of the teacher", ylabel="output")
ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
ax.figure

# %% [markdown]
# ## A liquid state machine
#
# 135 leaky integrate-and-fire neurons on a grid, 80 % excitatory. The input is a level that changes every 50 ms; the
# readout estimates the level of 20 ms ago from filtered spikes.

# %%
rng = np.random.default_rng(0)
level = np.repeat(rng.uniform(size=(160, 1)), 50, axis=0)
wanted = np.roll(level, 20, axis=0)
signal = Signal.sampled(level, 1.0, "hold")
liquid = Liquid.create(key).fit(Signal(signal.values[:6000], signal.step, "hold"), jnp.asarray(wanted[:6000]))
outputs = np.asarray(liquid.run(signal).outputs)[:, 0, 0]
spikes = np.asarray(liquid.spikes(signal))[:, 0]
error = np.mean((outputs[6000:] - wanted[6000:, 0]) ** 2) / np.var(wanted[6000:])
print(f"normalised test error {error:.2f}; mean rate {1000 * spikes.mean():.0f} Hz")
top, bottom = axes(2)
times, cells = np.nonzero(spikes[6000:6600])
top.plot(times, cells, "k.", markersize=1.5)
top.set(ylabel="neuron")
bottom.plot(outputs[6000:6600], label="readout")
bottom.plot(wanted[6000:6600, 0], "k:", label="level 20 ms ago")
bottom.set(xlabel="ms", ylabel="level")
bottom.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
top.figure
