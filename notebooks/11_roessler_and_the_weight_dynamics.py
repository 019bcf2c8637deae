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
# # Which weights move when a recurrent network learns a signal?
#
# Schiller & Steil (2003) take the learning rule of Atiya and Parlos to continuous time, and show that it makes a
# reservoir of a network: with one output neuron, the synapses among all others change in proportions that the initial
# weights fix. Only the output neuron's own synapses learn freely, and much faster. This notebook does their experiment.

# %%
# %matplotlib inline
import jax
import numpy as np

from eqprop_field import plotting
from eqprop_field.sequence import (
    APRL,
    BPTT,
    RTRL,
    BatchAPRL,
    accumulated_update,
    fully_recurrent,
    learn_online,
    roessler,
    roessler_task,
)

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## The task
#
# $x_1$ of the Roessler attractor goes in, $x_2$ is to come out; 1001 samples, 0.1 apart. The network is $\dot x = -x +
# W\varphi$ with $\varphi = [\tanh x; u]$, taken in Euler steps of 0.1.

# %%
task = roessler_task()
field = fully_recurrent(jax.random.key(0), neurons=10, inputs=1, outputs=1)
print("samples", len(task.targets), " variance of the target", float(np.var(task.targets)))

# %% [markdown]
# ## Forwards and backwards: one gradient
#
# Real-time recurrent learning carries the sensitivity of every state to every synapse along; backpropagation through
# time goes back. With the weights held still they are the same to rounding. Atiya-Parlos learning is another direction
# altogether.

# %%
backwards = BPTT().estimate(field, task).gradient
forwards = accumulated_update(RTRL(rate=1.0), field, task)
difference = (
    np.abs(np.asarray(forwards.weights + backwards.weights)).max() / np.abs(np.asarray(backwards.weights)).max()
)
print(f"RTRL and BPTT differ by {difference:.1e}")

step = -BatchAPRL().estimate(field, task).gradient.weights
cosine = np.sum(step * -backwards.weights) / np.linalg.norm(step) / np.linalg.norm(backwards.weights)
print(f"cosine of the Atiya-Parlos step with the negative gradient: {cosine:.3f}")

# %% [markdown]
# ## The lemma
#
# One epoch of online learning, every weight moved a thousand times: divide each internal row's change by that neuron's
# initial synapse from the output neuron, and all rows are one.

# %%
run = learn_online(APRL(), field, task)
moved = np.asarray(run.last.weights - field.weights)[1:]
scaled = moved / np.asarray(field.weights)[1:, :1]
print(f"largest spread between the nine rows: {np.ptp(scaled, axis=0).max() / np.abs(scaled).max():.1e}")
print("singular values of the internal change:", np.linalg.svd(moved, compute_uv=False)[:3])

# %%
plotting.heat_maps({"Change of W, one epoch of APRL": np.asarray(run.last.weights - field.weights)})[0].figure

# %% [markdown]
# ## The figure
#
# Eight networks, sixty epochs. APRL (V kept over epochs, B reset; the paper does not say) has a clear minimum and rises
# again; RTRL goes on improving. The output neuron's synapses move faster throughout.

# %%
found = roessler(jax.random.split(jax.random.key(0), 8))
print(found)
found.figure().plot().figure
