"""Subclasses of built-in fields: each is what it computes, in settling, rules, chips, circuits, repairs and files."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.optimize

import eqprop_field as epf
from eqprop_field import circuits
from eqprop_field.activations import Activation
from eqprop_field.circuits.ir import ScheduleSegment
from eqprop_field.learning import ContrastiveHebbian, GeneRec, NonlinearBackprop
from eqprop_field.vector_fields.registry import FIELDS

KEY = jax.random.key(0)
TANH = epf.activation("tanh")
X = jnp.array([[0.3, 0.8, 0.1]])
Y = jnp.array([[0.2, -0.3]])


def as_subclass(cls, field, **own):
    return cls(**{one.name: getattr(field, one.name) for one in dataclasses.fields(field)}, **own)


@pytest.fixture(scope="module")
def graph():
    return epf.GraphField.create(KEY, neurons=5, inputs=3, outputs=2, activation=TANH, gain=1.0, symmetry=1.0)


@pytest.fixture(scope="module")
def layered():
    return epf.LayeredField.create(KEY, (3, 4, 2), activation=TANH, gain=1.0)


class Lateral(epf.LayeredField):
    """Hidden neurons that feel one another, which their colours deny."""

    lateral: float = eqx.field(static=True, default=-0.8)

    def velocity(self, drive):
        mu = super().velocity(drive)

        def with_lateral(s):
            output, hidden = mu(s)
            return output, hidden + self.lateral * jnp.roll(jnp.tanh(s[1]), 1, axis=1)

        return with_lateral


class Halved(epf.LayeredField):
    """Whose parent computes the velocity of its own blocks."""

    def recurrent_matrix(self):
        return 0.5 * super().recurrent_matrix()

    def input_matrix(self):
        weights, biases = super().input_matrix()
        return 2 * weights, biases


def test_the_velocity_of_layers_follows_from_matrices_that_a_subclass_changed(layered):
    own, drive = as_subclass(Halved, layered), layered.drive(X)
    state = (jnp.array([[0.3, -0.4]]), jnp.array([[0.1, 0.2, -0.5, 0.7]]))
    weights, biases = own.input_matrix()
    flat = np.concatenate([np.asarray(leaf) for leaf in state], axis=1)
    expected = np.tanh(flat) @ np.asarray(own.recurrent_matrix()).T + np.asarray(X @ weights.T + biases) - flat
    found = own.velocity(own.drive(X))(state)
    np.testing.assert_allclose(np.concatenate(found, axis=1), expected, atol=1e-12)
    assert not np.allclose(np.concatenate(layered.velocity(drive)(state), axis=1), expected, atol=1e-3)
    rest = epf.Equilibrium(tol=1e-12).settle(own, X).state
    np.testing.assert_allclose(np.concatenate(own.velocity(own.drive(X))(rest), axis=1), 0, atol=1e-11)


class Positive(epf.GraphField):
    def recurrent_matrix(self):
        return 0.3 * jax.nn.softplus(self.weights) * self.mask


class Slow(epf.GraphField):
    def time_constants(self):
        return 3 * self.tau


class WrittenOut(epf.GraphField):
    def recurrent_matrix(self):
        return super().recurrent_matrix()

    def velocity(self, drive):
        synapses = self.recurrent_matrix().T
        return lambda state: jnp.tanh(state) @ synapses + drive - state


class LastOutputs(epf.GraphField):
    def output(self, state):
        return state[:, -self.n_outputs :]

    def embed(self, output):
        return jnp.pad(output, ((0, 0), (self.n_neurons - self.n_outputs, 0)))


class Displaced(epf.GraphField):
    def initial_state(self, batch):
        return jnp.full((batch, self.n_neurons), -2.0)


class NarrowLeaf(epf.GraphField):
    @property
    def leaf_bounds(self):
        return ((-0.1, 0.1),)


def permuted(graph):
    """The same network with the neurons that are read at the end, and where each went."""
    order = np.array([2, 3, 4, 0, 1])
    parts = (
        graph.weights[order][:, order], graph.input_weights[order], graph.biases[order], graph.mask[order][:, order],
    )  # fmt: skip
    moved = as_subclass(LastOutputs, graph)
    return eqx.tree_at(lambda f: (f.weights, f.input_weights, f.biases, f.mask), moved, parts), order


def test_a_velocity_of_its_own_is_settled_whatever_the_parent_s_colours_say(layered):
    field = eqx.tree_at(lambda f: f.forward[0], as_subclass(Lateral, layered), jnp.zeros((2, 4)))
    state = epf.Equilibrium(tol=1e-10).settle(field, X).state
    drive = field.drive(X)

    def mu(flat):
        s = jnp.asarray(flat)[None]
        return np.concatenate([np.ravel(leaf) for leaf in field((s[:, :2], s[:, 2:]), drive)])

    root = scipy.optimize.fsolve(mu, np.zeros(6), xtol=1e-13)
    np.testing.assert_allclose(np.concatenate([np.ravel(s) for s in state]), root, atol=1e-8)


@pytest.mark.parametrize("rule", [GeneRec(), ContrastiveHebbian(), NonlinearBackprop()], ids=lambda r: type(r).__name__)
def test_rate_rules_take_the_matrices_whatever_the_velocity_writes_out(rule, graph):
    own = rule.estimate(as_subclass(WrittenOut, graph), X, Y).gradient
    np.testing.assert_allclose(own.weights, rule.estimate(graph, X, Y).gradient.weights, atol=1e-12)


@pytest.mark.parametrize("rule", [epf.EqProp(), GeneRec(), ContrastiveHebbian()], ids=lambda r: type(r).__name__)
def test_rules_follow_the_outputs_wherever_they_are(rule, graph):
    field, order = permuted(graph)
    expected = rule.estimate(graph, X, Y).gradient.biases[order]
    np.testing.assert_allclose(rule.estimate(field, X, Y).gradient.biases, expected, atol=1e-7)


@pytest.mark.parametrize("cls", [Positive, Slow, Displaced], ids=lambda cls: cls.__name__)
def test_a_chip_without_spread_is_the_subclass_itself(cls, graph):
    field = as_subclass(cls, graph)
    chip = circuits.Chip.draw(KEY, field, circuits.Variation()).field(field)
    np.testing.assert_allclose(chip.time_constants(), field.time_constants())
    np.testing.assert_allclose(chip.initial_state(1), field.initial_state(1))
    state = 0.3 * jax.random.normal(KEY, (1, 5))
    np.testing.assert_allclose(chip(state, chip.drive(X)), field(state, field.drive(X)), atol=1e-12)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda graph: permuted(graph)[0], "first 2 neurons"),
        (lambda graph: as_subclass(NarrowLeaf, graph), "leaf_bounds"),
        (lambda graph: dataclasses.replace(graph, activation=dataclasses.replace(TANH, spice="2*{v}")), "ACTIVATIONS"),
    ],
)
def test_a_circuit_of_parts_refuses_what_it_would_take_for_the_parent(make, said, graph):
    with pytest.raises(ValueError, match=said):
        circuits.compile_circuit(make(graph), X[0], Y[0], [])


def test_a_circuit_of_expressions_reads_and_nudges_the_outputs_wherever_they_are(ngspice, graph):
    field, _ = permuted(graph)
    agreement = circuits.verify(field, X, Y, 0.3, free_time=40.0, nudged_time=40.0)
    assert agreement.verdict is circuits.AgreementVerdict.agrees, agreement.summary()
    own = epf.EqProp(epf.Nudging.one_sided(0.3), epf.Trajectory(tol=1e-9)).estimate(field, X, Y).gradient
    np.testing.assert_allclose(agreement.circuit.gradient.biases, own.biases, atol=5e-6)


def test_a_circuit_starts_where_the_field_does(graph):
    circuit = circuits.compile_circuit(as_subclass(Displaced, graph), X[0], Y[0], [ScheduleSegment(1.0)])
    np.testing.assert_array_equal(circuit.start, -2)


def test_symmetry_repair_refuses_pairs_that_are_not_the_subclass_s(graph, layered):
    for field in (as_subclass(Positive, graph), as_subclass(Lateral, layered)):
        for repair in (epf.SymmetryRepair("tied"), epf.SymmetryRepair("kolen_pollack", decay=0.1)):
            with pytest.raises(ValueError, match="transposed"):
                repair.check(field)
    with pytest.raises(ValueError, match="layers"):
        epf.SymmetryRepair("fixed").check(as_subclass(Lateral, layered))


class Scaled(epf.GraphField):
    """An attribute that its parent's files do not know."""

    scale: float = eqx.field(static=True, default=1.0)

    def recurrent_matrix(self):
        return self.scale * super().recurrent_matrix()


class Awkward(epf.GraphField):
    held: np.ndarray = eqx.field(static=True, default=None)


@pytest.fixture
def named():
    """Names classes for one test."""
    before = dict(FIELDS)
    yield epf.register
    FIELDS.clear()
    FIELDS.update(before)


def test_files_keep_a_subclass_s_own_attributes(graph, named, tmp_path):
    named(Scaled)
    epf.save_network(tmp_path / "net.safetensors", as_subclass(Scaled, graph, scale=0.25))
    again = epf.load_network(tmp_path / "net.safetensors")
    assert isinstance(again, Scaled)
    np.testing.assert_array_equal(again.recurrent_matrix(), 0.25 * graph.recurrent_matrix())


def test_files_refuse_what_would_come_back_another(graph, named, tmp_path):
    named(Awkward)
    path = tmp_path / "net.safetensors"
    other = Activation("tanh", jnp.sin, jnp.cos, (-1.0, 1.0), True, False, "sin({v})")
    for field, said in (
        (as_subclass(Awkward, graph, held=np.ones(2)), "loaded again"),
        (dataclasses.replace(graph, activation=other), "ACTIVATIONS"),
    ):
        with pytest.raises(ValueError, match=said):
            epf.save_network(path, field)
    assert not path.exists()


class Small(epf.AbstractVectorField):
    """A field whose members can be spoilt one by one."""

    W: jax.Array = eqx.field(default_factory=lambda: 0.5 * jnp.eye(3))
    tau: tuple[float, ...] = eqx.field(static=True, default=(1.0, 1.0, 1.0))
    mu_columns: int = eqx.field(static=True, default=3)
    bounds: tuple[float, float] = eqx.field(static=True, default=(-1.0, 1.0))
    read_by: float = eqx.field(static=True, default=1.0)
    n_inputs: int = eqx.field(static=True, default=2)
    n_outputs: int = eqx.field(static=True, default=1)

    def initial_state(self, batch):
        return jnp.zeros((batch, 3))

    def velocity(self, drive):
        return lambda s: (jnp.tanh(s) @ self.W - s + drive[:, :1])[:, : self.mu_columns]

    def time_constants(self):
        return jnp.array(self.tau)

    @property
    def projected(self):
        return True

    @property
    def leaf_bounds(self):
        return (self.bounds,)

    def embed(self, output):
        return jnp.pad(self.read_by * output, ((0, 0), (0, 2)))


@pytest.mark.parametrize(
    ("spoilt", "said"),
    [
        ({"mu_columns": 1}, "velocity gives"),
        ({"n_outputs": 0}, "n_outputs is 0"),
        ({"n_outputs": 5}, "output gives"),
        ({"tau": (1.0, 0.0, 1.0)}, "time_constants"),
        ({"tau": (1.0, 1.0)}, "time_constants"),
        ({"bounds": (0.1, -0.1)}, "leaf_bounds"),
        ({"read_by": 2.0}, "transpose"),
    ],
)
def test_members_are_checked_before_the_first_phase(spoilt, said):
    x = jnp.ones((2, 2))
    assert epf.Equilibrium().settle(Small(), x).converged.all()
    for substrate in (epf.Equilibrium(), epf.Trajectory()):
        with pytest.raises(ValueError, match=said):
            substrate.settle(Small(**spoilt), x)


def test_equilibria_answer_to_the_input_alone_backwards_and_forwards(layered):
    def output(x):
        return epf.Equilibrium(tol=1e-12).settle(layered, x, throw=False).state[0].sum()

    step = 1e-5 * jnp.eye(3)[:, None]
    finite = [(output(X + h) - output(X - h)) / 2e-5 for h in step]
    np.testing.assert_allclose(jax.grad(output)(X)[0], finite, rtol=1e-6)
    np.testing.assert_allclose(jax.jacfwd(output)(X)[0], finite, rtol=1e-6)


class Modulus(Small):
    def velocity(self, drive):
        return lambda s: jnp.sqrt(jnp.abs(s) ** 2 + 0.01) @ self.W - s + drive[:, :1]

    @property
    def projected(self):
        return False

    @property
    def leaf_bounds(self):
        return ((-jnp.inf, jnp.inf),)


def test_holomorphic_nudging_is_refused_under_jit_too():
    rule = epf.EqProp(nudging=epf.Nudging.holomorphic(0.1, 4))
    estimate = eqx.filter_jit(lambda field: rule.estimate(field, jnp.ones((1, 2)), jnp.ones((1, 1)), throw=False))
    with pytest.raises(ValueError, match="complex-differentiable"):
        estimate(Modulus())


def test_solvers_and_expressions_without_meaning_are_refused():
    import optimistix as optx

    with pytest.raises(ValueError, match="interval"):
        epf.Equilibrium(solver=optx.Bisection(rtol=1e-6, atol=1e-6))
    with pytest.raises(ValueError, match="braces"):
        dataclasses.replace(TANH, spice="tanh({u})")
