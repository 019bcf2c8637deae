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
# # How well does equilibrium propagation align with the gradient?
#
# Theorem 1 of Scellier et al. (2018), with $J = \partial\mu/\partial s$ at the free equilibrium:
#
# $$\nu = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top} J^{-1} \frac{\partial C}{\partial s},
#   \qquad -\frac{dJ}{d\theta} = \Big(\frac{\partial\mu}{\partial\theta}\Big)^{\!\top} J^{-\top}
#   \frac{\partial C}{\partial s} .$$
#
# The update $\nu$ is the negative gradient where $J$ is symmetric. Nothing in a brain or on a chip makes it so; this
# notebook measures what the asymmetry costs.

# %%
# %matplotlib inline
import jax
import numpy as np

import eqprop_field as epf

jax.config.update("jax_enable_x64", True)

# %% [markdown]
# ## One sweep
#
# Eleven weight symmetries $c$, ten random networks each, twenty samples a network: 2200 settled networks, 2200 exact
# gradients, one compiled computation. A pair of neurons has $W_{ji} = c\,W_{ij} + \sqrt{1-c^2}\,R_{ij}$. On the command
# line this is `eqprop-field align`.

# %%
x_key, y_key, key = jax.random.split(jax.random.key(0), 3)
x, y = jax.random.uniform(x_key, (20, 10)), jax.random.uniform(y_key, (20, 10))
sweep = {
    "rules": epf.named_rules(["eqprop"], epf.Nudging.symmetric(1e-4), epf.Equilibrium(tol=1e-11)),
    "symmetries": np.linspace(-1.0, 1.0, 11),
    "keys": jax.random.split(key, 10),
}
graph = {"neurons": 50, "inputs": 10, "outputs": 10}
clipped = epf.align(epf.GraphField.create(key, **graph, activation=epf.activation("hard_sigmoid")), x, y, **sweep)
print(clipped)

# %%
clipped.plot().figure

# %% [markdown]
# The whole update points along the gradient even where the weights are antisymmetric, because the output neurons see
# their error directly. **The hidden layer shows the asymmetry:** its cosine follows c, and changes sign with it.

# %%
print("\n".join(clipped.table("hidden")))

# %% [markdown]
# ## Symmetric weights are not a symmetric Jacobian
#
# $J = W D - I$ with $D = \mathrm{diag}\,\rho'(s)$. For the clipped hard sigmoid $\rho'$ is 1 for every neuron that can
# move, so a symmetric $W$ gives a symmetric $J$ and a cosine of 1. For a smooth $\rho$ the slopes differ from neuron to
# neuron, and even a symmetric $W$ leaves $J$ asymmetric: the cosine at $c = 1$ stays below 1.

# %%
smooth = epf.align(epf.GraphField.create(key, **graph, activation=epf.activation("tanh")), x, y, **sweep)
print(smooth)
for name, result in (("hard sigmoid", clipped), ("tanh", smooth)):
    at_one = result.cosine[0, -1, :, :, 0]
    asymmetry = result.jacobian_asymmetry[-1].mean()
    print(f"{name:12s} at c = 1: cosine {np.nanmean(at_one):.6f}, Jacobian asymmetry {asymmetry:.4f}")

# %%
smooth.plot().figure
