"""A circuit level of your own: which parts a neuron and a synapse are made of, as lines of SPICE.

Transconductances with an output resistance: a synapse of the intrinsic gain A = g_m r_o gives the current of the ideal
one and, beside it, loads its neuron with |W_ij| / A of a leak, so that the circuit settles where

    W rho(s) + W_in x + b = s_i (1 + sum_j |W_ij| / A)

A level starts from the one nearest to it, here the behavioural one, and says what is different. Its name is one that
`--level` knows, and an option that other levels have too, such as `gain`, has their flag, `--amplifier-gain`.
"""

import dataclasses
import shutil
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np

import eqprop_field as epf
from eqprop_field import circuits


@circuits.register_level
@dataclasses.dataclass(frozen=True)
class FiniteGain(circuits.Behavioural):
    name: ClassVar[str] = "finite_gain"
    ideal: ClassVar[bool] = False  # its equilibria are not those of the vector field
    gain: float = 50.0  # A

    @property
    def specification(self):  # what a healthy circuit keeps to, in state units; `verify` judges by it
        return circuits.Thresholds(state=0.1, trajectory=0.1, cosine=0.99)

    def synapses(self, circuit, parts):
        yield from super().synapses(circuit, parts)
        for kind, synapses in (("g", circuit.synapses), ("h", circuit.input_synapses)):
            load = np.bincount(synapses.post, np.abs(synapses.weight), circuit.n_neurons) / self.gain
            for i, of_leak in enumerate(load.tolist()):
                if of_leak > 0:
                    yield f"Ro{kind}{i} s{i} 0 {self.scaling.leak_ohm / of_leak:.12g}"


if __name__ == "__main__":
    field = epf.GraphField.create(jax.random.key(1), neurons=8, inputs=3, outputs=2, activation=epf.activation("tanh"))
    x, y = jnp.array([[0.2, 0.9, 0.6]]), jnp.array([[0.3, -0.1]])
    if shutil.which("ngspice"):
        for gain in (10.0, 30.0, 100.0):
            agreement = circuits.verify(field, x, y, 0.1, level=FiniteGain(gain=gain)).summary()
            apart, cosine = agreement["max_abs_free"], agreement["update_cosine"]
            print(f"A = {gain:3.0f}: free states {apart:.4f} from the ODE's, cosine of the updates {cosine:.5f}")
    else:
        circuit = circuits.compile_circuit(field, x[0], y[0], circuits.schedule(30.0, 30.0, [0.1]))
        print(FiniteGain().emit(circuit).text)
