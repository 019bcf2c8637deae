"""An activation of your own: a name, the function, its derivative, its range, and how SPICE writes it.

The contrast response of a neuron in the visual cortex (Naka & Rushton 1966; Albrecht & Hamilton 1982, with n = 2):

    rho(s) = s^2 / (1 + s^2) for s > 0, else 0

Once it stands in `epf.ACTIVATIONS`, its name works in network files, for `--activation`, and in the netlists of every
level that has ideal activations: behavioural, crossbar, opamp, ota.
"""

import shutil

import jax
import jax.numpy as jnp

import eqprop_field as epf


def rate(s):
    power = jnp.maximum(s, 0) ** 2
    return power / (1 + power)


def slope(s):
    return 2 * jnp.maximum(s, 0) / (1 + s**2) ** 2


naka_rushton = epf.Activation(
    name="naka_rushton",
    function=rate,
    derivative=slope,
    range=(0.0, 1.0),
    holomorphic=False,  # the kink at 0 has no continuation to complex states
    is_projection=False,  # it is no clipping: states stay free
    spice="max({v},0)^2/(1+max({v},0)^2)",
)
epf.ACTIVATIONS[naka_rushton.name] = naka_rushton


if __name__ == "__main__":
    field = epf.LayeredField.create(jax.random.key(2), (4, 6, 2), activation=naka_rushton, gain=3.0)
    x, y = jnp.array([[0.9, 0.1, 0.8, 0.3]]), jnp.array([[0.7, 0.1]])
    print("output, ODE        ", *(f"{s:.4f}" for s in epf.Equilibrium().settle(field, x).state[0][0]))
    if shutil.which("ngspice"):
        measured = epf.circuits.NgspiceSubstrate(level=epf.circuits.OpAmp()).settle(field, x)
        print("output, op-amps    ", *(f"{s:.4f}" for s in measured.state[0][0]))
    for rule in (epf.ImplicitGradient(), epf.AEP(nudging=epf.Nudging.symmetric(0.02))):
        gradient = rule.estimate(field, x, y).gradient.tensors()["b_0"]
        print(f"{type(rule).__name__:16} dJ/db_0", *(f"{g:.4f}" for g in gradient))
