"""Any field as a circuit: ngspice against scipy, which integrates the same equations written in numpy."""

import dataclasses
import json
import subprocess
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp
from scipy.optimize import root

import eqprop_field as epf
from eqprop_field.circuits import (
    TIGHT,
    Accuracy,
    AgreementVerdict,
    Behavioural,
    NgspiceSubstrate,
    OpAmp,
    export,
    verify,
)
from eqprop_field.circuits.ngspice.rawfile import parse_raw
from eqprop_field.learning.base import tree_dot, tree_norm
from eqprop_field.substrates.clamping import RateClamp
from eqprop_field.vector_fields.base import flatten_state, unflatten_state

X, Y, BETA = np.array([[0.4, -0.7], [0.9, 0.2]]), np.array([[0.5], [-0.3]]), 0.2
RNG = np.random.default_rng(7)
W, U = 0.5 * RNG.normal(size=(5, 5)), RNG.normal(size=(5, 2))
ODE = epf.Equilibrium(tol=1e-12, check_stability=False)
CIRCUIT = NgspiceSubstrate(level=Behavioural(accuracy=TIGHT), free_time=25.0, nudged_time=20.0, workers=1)


class Own(epf.AbstractVectorField):
    """mu of one sample, in jax.numpy or in numpy."""

    W: jax.Array
    U: jax.Array
    mu: Callable[..., Any] = eqx.field(static=True)
    tau: tuple[float, ...] = eqx.field(static=True, default=(1.0,) * 5)
    interval: tuple[float, float] = eqx.field(static=True, default=(-np.inf, np.inf))
    n_inputs: int = eqx.field(static=True, default=2)
    n_outputs: int = eqx.field(static=True, default=1)

    @property
    def projected(self):
        return np.isfinite(self.interval[0])

    @property
    def leaf_bounds(self):
        return (self.interval,)

    def initial_state(self, batch):
        return jnp.full((batch, 5), 0.1)

    def time_constants(self):
        return jnp.asarray(self.tau)

    def velocity(self, drive):
        return lambda s: jax.vmap(lambda x, s: self.mu(jnp, self.W, self.U, x, s))(drive, s)


def own(mu, **options) -> Own:
    return Own(jnp.asarray(W), jnp.asarray(U), mu, **options)


def wilson_cowan(np, W, U, x, s):
    """Excitation (3) and inhibition (2) that are refractory, with Dale's law."""
    signed = abs(W) * np.array([1, 1, 1, -1, -1])
    return (1 - 0.5 * s) / (1 + np.exp(-(signed @ s + U @ x))) - s


def fitzhugh_nagumo(np, W, U, x, s):
    """Two quiet neurons with a slow recovery each, and a third that listens."""
    v, w = s[:2], s[2:4]
    fast = v - v**3 / 3 - w - 0.4 + 0.1 * np.tanh(U @ x)[:2]
    return np.concatenate([fast, 0.3 * (v + 0.7 - 0.8 * w), np.tanh(v[:1] * v[1:]) - s[4:]])


def divisive(np, W, U, x, s):
    """Excitation that the sum of all squares divides."""
    driven = np.maximum(W @ s + U @ x, 0) ** 2
    return driven / (0.3 + np.sum(driven)) - s


def gated(np, W, U, x, s):
    """A gate that the state opens: a recurrent unit in continuous time."""
    gate = 1 / (1 + np.exp(-(W.T @ s)))
    return gate * (np.tanh(W @ s + U @ x) - s)


def softmax(np, W, U, x, s):
    """Attention to itself: the largest entry is subtracted, as in every numerically sound softmax."""
    u = 2 * (W @ s + U @ x)
    weight = np.exp(u - np.max(u))
    return weight / np.sum(weight) + 0.5 * np.where(s > 0.2, s - 0.2, 0) - s


def clipped(np, W, U, x, s):
    """States that are confined to [0, 1]: some rest at their bounds."""
    return W @ np.clip(s, 0, 1) + U @ x - s


GALLERY = {
    "wilson_cowan": own(wilson_cowan, tau=(1.0, 1.0, 1.0, 2.0, 2.0)),
    "fitzhugh_nagumo": own(fitzhugh_nagumo),
    "divisive": own(divisive),
    "gated": own(gated),
    "softmax": own(softmax),
    "clipped": own(clipped, interval=(0.0, 1.0)),
}


def by_scipy(field: Own, x, y, beta, start, times):
    """States at the times; those with bounds by short steps, clipped."""
    low, high = field.interval

    def ds(_, s):
        mu = field.mu(np, W, U, x, s)
        mu[:1] += beta * (y - s[:1])
        return mu / np.array(field.tau)

    if not field.projected:
        return solve_ivp(ds, (0, times[-1]), start, "LSODA", times, rtol=1e-11, atol=1e-13).y.T
    found, s, t = [], start, 0.0
    for until in times:
        count = max(1, int(np.ceil((until - t) / 5e-3)))
        for _ in range(count if until > t else 0):
            h = (until - t) / count
            s = np.clip(s + h * ds(0, np.clip(s + 0.5 * h * ds(0, s), low, high)), low, high)
        t = until
        found.append(s)
    return np.array(found)


@pytest.mark.parametrize("name", GALLERY)
def test_any_field_moves_as_scipy_says(ngspice, name):
    """Both phases of two samples, clamped one after another in one transient of two circuits."""
    field = GALLERY[name]
    nudges = epf.Nudging.one_sided(BETA).nudges(epf.Quadratic(), jnp.asarray(Y))
    for phases, x, y in zip(CIRCUIT.transients(field, X, nudges).samples, X, Y, strict=True):
        state = np.full(5, 0.1)
        assert phases is not None
        for phase, beta in zip(phases, (0.0, BETA), strict=True):
            times = np.linspace(0, phase.times[-1], 60)
            expected = by_scipy(field, x, y, beta, state, times)
            np.testing.assert_allclose(phase.at(times), expected, atol=1e-4)
            np.testing.assert_allclose(phase.at(times[-1:]), expected[-1:], atol=1e-6)
            state = expected[-1]


def test_any_cost_nudges(ngspice):
    field, nudges = GALLERY["divisive"], epf.Nudging.one_sided(BETA).nudges(epf.Huber(0.1), jnp.asarray(Y))
    _, (nudged,) = CIRCUIT.phases(field, X, nudges)
    for x, y, found in zip(X, Y, nudged.state, strict=True):
        nudged_mu = lambda s: divisive(np, W, U, x, s) + BETA * np.pad(np.clip(y - s[:1], -0.1, 0.1), (0, 4))  # noqa: B023, E731
        np.testing.assert_allclose(found, root(nudged_mu, found + 0.01, tol=1e-13).x, atol=1e-6)


def test_clamped_outputs_fire_at_their_targets(ngspice):
    """The plus phase of contrastive rules: a switch, and everybody feels the clamped rates, as scipy computes them."""
    graph = epf.GraphField.create(
        jax.random.key(3), neurons=6, inputs=2, outputs=2, activation=epf.activation("tanh"), gain=0.4
    )
    clamp = np.array([[0.6, -0.2], [-0.5, 0.9]])
    circuit = dataclasses.replace(CIRCUIT, samples_per_run=2, nudged_time=40.0)
    free, (plus,) = circuit.phases(graph, X, [RateClamp(jnp.asarray(clamp))])
    w, (u, b) = np.asarray(graph.recurrent_matrix()), map(np.asarray, graph.input_matrix())
    for x, y, before, after in zip(X, clamp, free.state, plus.state, strict=True):
        rest = root(lambda s: w @ np.tanh(s) + u @ x + b - s, np.zeros(6), tol=1e-13).x  # noqa: B023
        np.testing.assert_allclose(before, rest, atol=1e-6)
        rates = lambda s: np.concatenate([y, np.tanh(s[2:])])  # noqa: B023, E731
        rest = root(lambda s: w @ rates(s) + u @ x + b - s, np.zeros(6), tol=1e-13).x  # noqa: B023
        np.testing.assert_allclose(after, rest, atol=1e-6)


def cosine(a, b) -> float:
    return float(tree_dot(a, b) / tree_norm(a) / tree_norm(b))


@pytest.mark.parametrize("rule", [epf.DyadicEqProp, epf.RecurrentBackpropagation])
@pytest.mark.parametrize("name", ["wilson_cowan", "divisive"])
def test_auxiliary_systems_settle_in_circuits(ngspice, name, rule):
    field = GALLERY[name]
    measured = rule(substrate=CIRCUIT).estimate(field, X, Y)
    truth = epf.ImplicitGradient(substrate=ODE).estimate(field, X, Y)
    assert cosine(measured.gradient, truth.gradient) > 0.999999
    assert float(tree_norm(measured.gradient)) == pytest.approx(float(tree_norm(truth.gradient)), rel=1e-4)


@pytest.mark.parametrize("rule", [epf.EqProp, epf.AEP])
def test_rules_run_on_any_field(ngspice, rule):
    field, nudging = GALLERY["wilson_cowan"], epf.Nudging.one_sided(0.01)
    measured = rule(nudging=nudging, substrate=CIRCUIT).estimate(field, X, Y)
    expected = rule(nudging=nudging, substrate=ODE).estimate(field, X, Y)
    assert cosine(measured.gradient, expected.gradient) > 0.999999
    if rule is epf.AEP:
        assert cosine(measured.gradient, epf.ImplicitGradient(substrate=ODE).estimate(field, X, Y).gradient) > 0.9999


def test_verify_and_export_take_any_field(ngspice, tmp_path):
    """The agreement of both phases and of the update, and the netlist that plain ngspice runs as it is."""
    field = GALLERY["gated"]
    agreement = verify(field, X, Y, BETA, level=CIRCUIT.level, free_time=80.0, nudged_time=60.0)
    assert agreement.verdict is AgreementVerdict.agrees
    assert agreement.max_abs_free < 1e-6 and agreement.max_abs_trajectory < 1e-4
    export(field, X, Y, BETA, tmp_path / "net.cir")
    subprocess.run(["ngspice", "-n", "-b", "net.cir", "-r", "out.raw"], cwd=tmp_path, check=True, capture_output=True)
    assert (tmp_path / "out.raw").stat().st_size > 1000


def test_the_map_names_the_leaves_of_a_state(ngspice, tmp_path):
    """tau v' = x - v - g, g' = v - g: v and g rest at x / 2, and g_1 is pulled by w to (x_1 - w) / 2."""
    mu = lambda w, x, s: {"v": x - s["v"] - s["g"], "g": s["v"] - s["g"] - w}  # noqa: E731
    field = epf.field(mu, np.array([0.0, 0.3]), state={"v": 2, "g": 2}, inputs=2, outputs=1)
    export(field, X[:1, :2], np.zeros((1, 1)), 1e-9, tmp_path / "net.cir", free_time=60.0)
    subprocess.run(["ngspice", "-n", "-b", "net.cir", "-r", "out.raw"], cwd=tmp_path, check=True, capture_output=True)
    vectors = parse_raw((tmp_path / "out.raw").read_bytes())
    nodes = json.loads((tmp_path / "net.map.json").read_text())["nodes"]
    found = {(node["leaf"], node["index"]): vectors[f"v({node['state']})"][-1] for node in nodes}
    (a, b), w = X[0, :2], 0.3
    rest = {("v", 0): a / 2, ("g", 0): a / 2, ("v", 1): (b + w) / 2, ("g", 1): (b - w) / 2}
    assert found == pytest.approx(rest, abs=1e-6)


def test_samples_in_sequence_and_explicit_inputs_change_nothing(ngspice):
    field = GALLERY["divisive"]
    nudges = epf.Nudging.symmetric(BETA).nudges(epf.Quadratic(), jnp.asarray(Y))
    free, nudged = CIRCUIT.phases(field, X, nudges)
    together = NgspiceSubstrate(
        level=CIRCUIT.level, free_time=25.0, nudged_time=20.0, workers=1, samples_per_run=2, fold_inputs=False
    )
    (circuit,) = together.circuits(field, X, nudges)
    assert "Vx1 x1 0 PWL" in together.level.emit(circuit).text
    other_free, others = together.phases(field, X, nudges)
    for one, other in zip((free, *nudged), (other_free, *others), strict=True):
        np.testing.assert_allclose(one.state, other.state, atol=1e-6)


def scipy_rest(field, x, start):
    """Where mu of a field of the project vanishes, and nothing moves any more."""
    drive = field.drive(jnp.asarray(x[None]))
    shapes = field.initial_state(1)
    mu = jax.jit(lambda s: flatten_state(field(unflatten_state(shapes, s[None]), drive))[0])
    tau = np.concatenate([np.ravel(t) for t in jax.tree.leaves(field.time_constants())])
    return solve_ivp(lambda _, s: np.asarray(mu(s)) / tau, (0, 40), start, "LSODA", rtol=1e-11, atol=1e-13).y[:, -1]


def hopfield():
    sigmoid = epf.activation("sigmoid")
    return epf.HopfieldField.create(jax.random.key(1), neurons=7, inputs=3, outputs=2, activation=sigmoid)


def linear_outputs():
    tanh = epf.activation("tanh")
    return epf.LayeredField.create(jax.random.key(2), (3, 4, 2), activation=tanh, free_outputs=True)


@pytest.mark.parametrize("make", [hopfield, linear_outputs])
def test_our_own_fields_that_no_part_describes(ngspice, make):
    field, x = make(), np.array([0.2, 0.9, 0.5])
    free = CIRCUIT.settle(field, x[None])
    start = np.asarray(flatten_state(field.initial_state(1)))[0]
    np.testing.assert_allclose(flatten_state(free.state)[0], scipy_rest(field, x, start), atol=1e-6)


def values(x):
    """Every function that has an element, at numbers of both signs and at kinks."""
    a, b = x[:1], x[1:]
    scalars = [
        a + b, a - b, a * b, a / (2 + b), -a, jnp.abs(a), jnp.sign(a), jnp.maximum(a, b), jnp.minimum(a, b), a**2, a**3,
        a**-2, (2 + a) ** b, jnp.sqrt(2 + a), jax.lax.rsqrt(2 + b), jnp.cbrt(a), jnp.exp(a), jnp.exp2(b), jnp.expm1(a),
        jnp.log(2 + a), jnp.log1p(b * b), jnp.tanh(a), jax.nn.sigmoid(b), jnp.sin(a), jnp.cos(b), jnp.tan(a),
        jnp.arcsin(a), jnp.arccos(b), jnp.arctan(a), jnp.arctan2(a, b), jnp.arctan2(-a, -b),
        jnp.sinh(a), jnp.cosh(b), jnp.arcsinh(a),
        jnp.arctanh(b), jnp.floor(3 * a), jnp.ceil(3 * b), jax.lax.rem(5 * a, b), jax.scipy.special.erf(a),
        jax.scipy.special.erfc(b), jnp.where(a > b, a, b), jnp.clip(a, -0.1, 0.1), jax.nn.softplus(a), jax.nn.gelu(b),
        jax.nn.silu(a), jax.nn.elu(b), jax.nn.leaky_relu(a), jnp.where((a >= 0) & ~(b < 0), a, b), jax.nn.relu6(9 * a),
    ]  # fmt: skip
    grid = jnp.concatenate([x, 2 * x, -x]).reshape(2, 3)
    arrays = [
        jnp.cumsum(grid, 1), jnp.cumprod(grid, 1), jax.lax.cummax(grid, 1), jnp.max(grid, 0), jnp.min(grid, 1),
        jnp.prod(grid, 0), jnp.mean(grid, 0), jnp.var(grid, 1), jax.nn.softmax(grid), jax.nn.logsumexp(grid, 1),
        grid @ grid.T, jnp.roll(grid, 1), grid[:, ::-1], jnp.pad(grid, 1), jnp.linalg.norm(grid, axis=1),
        jnp.einsum("ij,kj->ik", grid, W[:, :3]), jnp.take(grid, jnp.array([2, 0]), axis=1), jnp.tile(x, 2),
        jax.lax.fori_loop(0, 3, lambda k, s: jnp.sin(s) + k * x[0], grid), grid.at[0].add(x[1]),
        jax.lax.reduce_window(grid, -jnp.inf, jax.lax.max, (1, 2), (1, 1), "VALID"),
        jax.lax.conv(grid[None, None], jnp.asarray(W)[None, None, :2, :2], (1, 1), "SAME"),
        jax.grad(lambda g: jnp.sum(jnp.tanh(g) ** 2))(grid),
    ]  # fmt: skip
    return jnp.concatenate([jnp.ravel(one) for one in [*scalars, *arrays]])


class Evaluating(epf.AbstractVectorField):
    """u follows the input; v follows a function of u."""

    n_inputs: int = eqx.field(static=True, default=2)
    n_outputs: int = eqx.field(static=True, default=1)

    def initial_state(self, batch):
        return jnp.zeros((batch, 2)), jnp.zeros((batch, len(values(jnp.ones(2)))))

    def velocity(self, drive):
        return lambda s: (drive - s[0], jax.vmap(values)(s[0]) - s[1])


@pytest.mark.parametrize("x", [(0.4, -0.7), (-0.45, 0.6)])
def test_every_function_is_what_jax_says(ngspice, x):
    circuit = NgspiceSubstrate(level=Behavioural(accuracy=Accuracy(1e-6, 0.1)), free_time=20.0, workers=1)
    u, v = jnp.asarray([x]), Evaluating().initial_state(1)[1]  # u stays: on its way it would cross poles
    measured = circuit.settle(Evaluating(), u, start=(u, v)).state[1][0]
    np.testing.assert_allclose(measured, values(u[0]), rtol=1e-6, atol=1e-6)


def test_a_sum_that_is_used_twice_has_every_element_once():
    """ngspice refuses two elements of one name, and keeps the first."""

    def twice(np, W, U, x, s):
        total = np.sum(s) + np.sum(2 * s)
        return np.stack([total, total * s[0], total, total, total]) - s

    (circuit, _) = CIRCUIT.circuits(own(twice), X, ())
    names = [line.split()[0].lower() for line in CIRCUIT.level.emit(circuit).text.splitlines() if line[:1] in "GBRIC"]
    assert len(names) == len(set(names)) > 5


def looping(np, W, U, x, s):
    return jax.lax.while_loop(lambda s: jnp.sum(s) > 1, lambda s: 0.5 * s, s) - s


def sorting(np, W, U, x, s):
    return jnp.sort(s) - s


def branching(np, W, U, x, s):
    return s - 1 if s[0] > 0 else -s


def indexing(np, W, U, x, s):
    return jnp.take(x, jnp.int32(s[0])) - s


def nan(np, W, U, x, s):
    return s * jnp.log(-1.0)


@pytest.mark.parametrize(
    "mu, told",
    [
        (looping, r"`while`.*test_any_field.py, line \d+: return jax.lax.while_loop.*fixed number of steps"),
        (sorting, r"`sort`.*jnp.sort\(s\)"),
        (branching, r"Python branches.*if s\[0\] > 0.*jnp.where"),
        (indexing, r"jnp.take.*place of an entry depends on the state"),
        (nan, "NaN or infinity"),
    ],
)
def test_what_has_no_circuit_is_refused_with_its_line(mu, told):
    with pytest.raises(ValueError, match=told):
        CIRCUIT.circuits(own(mu), X, ())


def test_other_levels_are_built_of_neurons_and_synapses(ngspice):
    with pytest.raises(ValueError, match="opamp"):
        NgspiceSubstrate(level=OpAmp(), free_time=1.0).circuits(GALLERY["gated"], X, ())
