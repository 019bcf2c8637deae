"""Every rule on every substrate: refused when it is made, with the missing capability named, or served."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.analysis.budget import FixedDuration
from eqprop_field.circuits import Chip, NgspiceSubstrate, Noise, NoisyTrajectory, OnChip, Transistor, Variation
from eqprop_field.learning.catalogue import RULES
from eqprop_field.substrates.clamping import RateClamp
from eqprop_field.substrates.transposing import TransposingNudge

FIELD = epf.GraphField.create(
    jax.random.key(0), neurons=8, inputs=3, outputs=2, symmetry=1.0, activation=epf.activation("tanh"), gain=0.4
)
X, Y = np.full((3, 3), 0.5) * np.arange(1, 4)[:, None] / 3, np.full((3, 2), 0.4)
CHIP = Chip.draw(jax.random.key(1), FIELD, Variation())
SUBSTRATES = {
    "equilibrium": epf.Equilibrium(check_stability=False),
    "trajectory": epf.Trajectory(check_stability=False),
    "steps": epf.EulerSteps(),
    "fixed duration": FixedDuration(epf.Trajectory(check_stability=False)),
    "noisy": NoisyTrajectory(Noise(jax.random.key(0), 0.1)),
    "on chip": OnChip(CHIP, epf.EulerSteps()),
    "circuit": NgspiceSubstrate(),
    "circuit on chip": NgspiceSubstrate(chip=CHIP),
    "transistors": NgspiceSubstrate(level=Transistor()),
}
# What each substrate lacks, sensitivities apart; single steps are what BPTT alone needs, and brings where JAX computes.
LACKS = {
    "equilibrium": {"single_steps"},
    "trajectory": {"single_steps"},
    "steps": set(),
    "fixed duration": {"single_steps"},
    "noisy": {
        "single_steps",
        "relaxation",
        "oscillating_nudge",
        "clamped_outputs",
        "complex_states",
        "transposed_synapses",
    },
    "on chip": {"single_steps", "relaxation"},
    "circuit": {"single_steps", "complex_states", "jax"},
    "circuit on chip": {
        "single_steps",
        "relaxation",
        "clamped_outputs",
        "complex_states",
        "jax",
        "transposed_synapses",
    },
    "transistors": set(epf.Capability.__members__) - {"nudged_phases", "sensitivities"},
}
LACKS = {where: lacks if "jax" in lacks else lacks | {"sensitivities"} for where, lacks in LACKS.items()}


@pytest.mark.parametrize("where", SUBSTRATES)
@pytest.mark.parametrize("name", RULES)
def test_a_rule_is_refused_when_it_is_made_or_served(name, where):
    substrate, entry = SUBSTRATES[where], RULES[name]
    assert {one.name for one in epf.Capability} - {one.name for one in substrate.provides} == LACKS[where]
    missing = [one for one in epf.Capability if one in entry.needs and one.name in LACKS[where]]
    assert entry.lacks(substrate) == missing
    if missing and not (name == "bptt" and substrate.traceable):
        with pytest.raises(ValueError) as refused:
            entry.make(0.05, substrate, epf.Quadratic())
        rule = type(entry.make(0.05, epf.Equilibrium(), epf.Quadratic())).__name__
        assert str(refused.value) == (
            f"{rule} does not run on {type(substrate).__name__}, which does not provide {missing[0].value}: "
            f"use {missing[0].found_in}"
        )
        return
    rule = entry.make(0.05, substrate, epf.Quadratic())
    if substrate.traceable:  # nothing settles: it is only traced
        estimate = eqx.filter_eval_shape(lambda f: rule.estimate(f, X, Y, throw=False), FIELD)
        assert estimate.verdict.shape == (3,)
        assert jax.tree.structure(estimate.gradient) == jax.tree.structure(FIELD.parameters())


def test_a_substrate_that_was_replaced_is_looked_at_again():
    rule = eqx.tree_at(lambda r: r.substrate, epf.DyadicEqProp(), NgspiceSubstrate(level=Transistor()))
    with pytest.raises(ValueError, match="DyadicEqProp does not run on NgspiceSubstrate"):
        rule.estimate(FIELD, X, Y)


@pytest.mark.parametrize(
    ("nudge", "lacking"),
    [
        (RateClamp(jnp.asarray(Y)), "clamped outputs"),
        (epf.CostNudge(jnp.asarray(0.1j, complex), jnp.asarray(Y), epf.Quadratic()), "complex states"),
        (TransposingNudge(RateClamp(jnp.asarray(Y))), "transposed synapses"),
    ],
)
def test_a_nudge_is_refused_where_the_substrate_cannot_follow_it(nudge, lacking):
    for run in (lambda s: s.phases(FIELD, X, [nudge]), lambda s: s.settle(FIELD, X, nudge)):
        with pytest.raises(ValueError, match=f"{type(nudge).__name__} does not run on .*provide {lacking}"):
            run(NgspiceSubstrate(chip=CHIP))


def test_what_a_substrate_lacks_is_refused_by_itself_too():
    circuit, nudge = NgspiceSubstrate(level=Transistor()), epf.CostNudge(0.1, jnp.asarray(Y), epf.Quadratic())
    calls = {
        "an auxiliary system": lambda: circuit.auxiliary(FIELD, X, Y, lambda *_: None),
        "an oscillating nudge": lambda: circuit.oscillate(
            FIELD, X, nudge, epf.Oscillation(jnp.asarray(1.0), jnp.arange(2.0))
        ),
    }
    for what, call in calls.items():
        with pytest.raises(ValueError, match=f"{what} does not run on NgspiceSubstrate"):
            call()


def test_what_a_circuit_switches_does_not_oscillate():
    oscillation = epf.Oscillation(jnp.asarray(1.0), jnp.arange(2.0))
    with pytest.raises(ValueError, match="only a cost's pull oscillates"):
        NgspiceSubstrate(free_time=1.0).oscillate(FIELD, X, RateClamp(jnp.asarray(Y)), oscillation)


def test_a_nudge_oscillates_on_the_chip_and_not_beside_it():
    chip = Chip.draw(jax.random.key(2), FIELD, Variation.everywhere(0.3, offset=0.2))
    rule = epf.SinusoidalEqProp(1e-4, 0.5, transient=3, tol=1e-6, substrate=OnChip(chip, epf.Equilibrium()))
    estimate = rule.estimate(FIELD, X, Y)
    nominal = SUBSTRATES["equilibrium"].settle(FIELD, X).state
    assert np.abs(np.subtract(estimate.free.state, nominal)).max() > 0.05
    np.testing.assert_allclose(estimate.nudged[0].state, estimate.free.state, atol=1e-3)


class Decay(epf.AbstractVectorField):
    """A field of four members, with asymmetric couplings and no weights that the package knows of."""

    w: jax.Array
    n_inputs: int = eqx.field(static=True, default=3)
    n_outputs: int = eqx.field(static=True, default=2)

    def initial_state(self, batch):
        return {"a": jnp.zeros((batch, 3), self.w.dtype), "b": jnp.zeros((batch, 2), self.w.dtype)}

    def velocity(self, drive):
        def mu(s):
            both = jnp.concatenate([s["a"], s["b"]], axis=1)
            pull = jnp.tanh(both) @ self.w - both - 0.1 * both**3
            return {"a": pull[:, :3] + drive, "b": pull[:, 3:]}

        return mu


@pytest.mark.parametrize("name", RULES)
def test_four_members_are_enough_for_every_rule_that_needs_no_rate_neurons(name):
    field = Decay(0.3 * jax.random.normal(jax.random.key(0), (5, 5)))
    place = epf.Equilibrium(tol=1e-11, check_stability=False)
    rule = RULES[name].make(0.05, place, epf.Quadratic())
    if name in ("generec", "generec-midpoint", "chl", "nonlinear-backprop"):
        with pytest.raises(ValueError, match="needs leaky integrators"):
            rule.estimate(field, X, Y)
        return
    found = rule.estimate(field, X, Y)
    truth = epf.ImplicitGradient(place).estimate(field, X, Y)
    assert np.all(found.verdict == epf.Verdict.converged)
    a, b = (np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(e.gradient)]) for e in (found, truth))
    error = np.linalg.norm(a - b) / np.linalg.norm(b)
    exact = name in ("aep", "dyadic", "recurrent-backprop", "implicit", "bptt")
    assert error < (0.01 if exact else 1.0)


def subclasses(cls):
    return {cls}.union(*(subclasses(sub) for sub in cls.__subclasses__()))


@pytest.mark.parametrize(
    ("base", "final"),
    [
        (epf.AbstractSubstrate, ("settle", "phases", "oscillate", "auxiliary", "steps_of", "lacks", "require")),
        (epf.AbstractLearningRule, ("estimate", "at")),
    ],
)
def test_there_is_one_way_through(base, final):
    ours = [cls for cls in subclasses(base) if cls.__module__.startswith("eqprop_field") and cls is not base]
    assert len(ours) > 5
    assert [(cls.__name__, name) for cls in ours for name in final if name in vars(cls)] == []
