"""The key figures of the demo, and its report as one HTML page with the pictures inside."""

import platform
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from .. import plotting
from .._page import Section, page

if TYPE_CHECKING:
    from .demonstration import Demo


def figures(demo: "Demo") -> list[tuple[str, str]]:
    """The key figures, names and values."""
    run, phases, cosines = demo.run, demo.phases.summary(), demo.mean_cosines()
    settled = sum(int(v == 0) for v in np.asarray(demo.phases.estimate.verdict))
    first, last = (run.history[k]["train_objective"] for k in (0, -1))
    at = ("none" if cosines[c] is None else f"{cosines[c]:.4f}" for c in (-1.0, 0.0, 1.0))
    rows = [
        (f"digits recognised ({len(demo.dataset.test)} never seen)", f"{100 * (1 - run.test_error):.1f} %"),
        ("objective, first and last epoch", f"{first:.4f} -> {last:.4f}"),
        ("both phases settled", f"{settled} of {phases['samples']} digits, residual {_e(_largest_residual(phases))}"),
        ("trajectory against end-point update", f"{_percent(phases['path_difference'])} apart"),
        ("update against gradient, trained net", f"cosine {demo.update_cosine:.4f}"),
        ("update against gradient, c = -1, 0, 1", "cosine " + ", ".join(at)),
    ]
    if demo.agreement is None:
        rows.append(("ODE against ngspice", "left out: no ngspice"))
    else:
        both = demo.agreement
        rows += [
            ("ODE against ngspice, free states", f"{_e(both.max_abs_free)} apart"),
            ("ODE against ngspice, nudged states", f"{_e(both.max_abs_nudged)} apart"),
            ("ODE against ngspice, trajectories", f"{_e(both.max_abs_trajectory)} apart"),
            ("ODE against ngspice, updates", _from_one(both.update_cosine)),
            ("verdict of the comparison", both.verdict.name),
        ]
    return [*rows, ("time", f"{sum(demo.seconds.values()):.0f} s")]


def _largest_residual(phases: dict[str, Any]) -> float:
    return max(np.inf if phases[name] is None else phases[name] for name in ("residual_free", "residual_nudged"))


def _from_one(cosine: float) -> str:
    if not np.isfinite(cosine):
        return "no update to compare"
    return f"cosine 1 - {_e(1 - cosine)}" if cosine < 1 - 1e-15 else "cosine 1, to rounding"


def _percent(share: float | None) -> str:
    return "not measurably" if share is None else f"{100 * share:.2f} %"


def _e(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "not finite"


def report(demo: "Demo") -> str:
    """The report as one HTML page."""
    verdict = (
        "Not everything held: " + "; ".join(demo.failures)
        if demo.failures
        else "Everything held: the network learnt, both phases settled, and the circuit in ngspice does what the ODE "
        "does."
    )
    return page(
        title="One network, two simulators",
        lead=(
            "A network of leaky integrators with independent forward and feedback weights learns handwritten digits by "
            "equilibrium propagation in a vector field (Scellier et al. 2018). Then its two phases run as an ordinary "
            "differential equation and as a circuit in ngspice, and the two are compared."
        ),
        verdict=verdict,
        held=not demo.failures,
        table=[(name, value.replace("->", "→")) for name, value in figures(demo)],
        sections=[section(demo) for section in (_digits, _training, _phases, _update, _alignment, _circuit)],
        files=_files(demo),
        footer=_footer(demo),
    )


def _footer(demo: "Demo") -> str:
    device = jax.devices()[0]
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in demo.seconds.items())
    return (
        f"Made by eqprop-field demo with JAX {jax.__version__} on {device.platform} ({platform.system()}, Python "
        f"{platform.python_version()}): {parts}, compilation included."
    )


def _digits(demo: "Demo") -> Section:
    side = int(np.sqrt(demo.x.shape[1]))
    answers = np.argmax(np.asarray(demo.field.output(demo.phases.estimate.free.state)), axis=1)
    labels = np.argmax(demo.y, axis=1)
    axes = plotting.digits(demo.x.reshape(-1, side, side), labels, answers, columns=5)
    right = int((answers == labels).sum())
    return Section(
        "What the network sees",
        [
            "Ten handwritten digits of 8 × 8 pixels that took no part in training, and the network's answer above "
            f"each: the output neuron whose state is highest when the free phase has settled. {right} of 10 are right "
            f"here, {100 * (1 - demo.run.test_error):.1f} % of all {len(demo.dataset.test)} test digits."
        ],
        plotting.png(axes[0].figure),
        f"Ten digits with the network's answers, {right} of them right.",
    )


def _training(demo: "Demo") -> Section:
    run, sizes = demo.run, demo.field.config()["sizes"]
    best = run.history[run.best_epoch - 1]
    wrong = 100 * run.test_error
    first, last = (run.history[k]["train_objective"] for k in (0, -1))
    return Section(
        f"It learns: {wrong:.1f} % of unseen digits wrong",
        [
            f"A {'-'.join(map(str, sizes))} network, weights not tied, learnt for {len(run.history)} epochs from the "
            f"difference of its settled states alone. The objective fell from {first:.3f} in the first epoch to "
            f"{last:.4f} in the last. The network kept is that of epoch {run.best_epoch}, best on the validation "
            f"digits ({100 * best['validation_error']:.1f} % wrong); the test digits had no say. "
            f"{100 * run.unsettled:.2f} % of the last epoch's samples did not settle and taught nothing."
        ],
        plotting.png(*run.pictures().values()),
        f"Objective and errors fall over {len(run.history)} epochs; test error {wrong:.1f} percent.",
    )


def _phases(demo: "Demo") -> Section:
    summary = demo.phases.summary()
    label, beta = int(np.argmax(demo.y[demo.phases.pictured])), float(demo.phases.nudging.betas[0])
    return Section(
        "It settles, and a nudge moves it",
        [
            f"Every line is one neuron's state while the network looks at the {label} above, of the ten the digit it "
            "has most to learn from. In the free phase (white) it relaxes from rest; then (shaded) the output neurons "
            f"are pulled towards their targets with β = {beta:g}, and all neurons answer. The lowest panel magnifies "
            "that answer: it is all that learning reads.",
            f"All ten digits together came to rest after {_time(summary['time_free'])} and "
            f"{_time(summary['time_nudged'])} time constants, with residuals of at most "
            f"{_e(_largest_residual(summary))}. The change of the weights accumulated along the nudged trajectory, as "
            "a circuit would do it, and the one from the end points differ by "
            f"{_percent(summary['path_difference'])}; the difference vanishes with β.",
        ],
        plotting.png(*demo.phases.pictures().values()),
        "States of the output and hidden neurons through the free and the nudged phase, and the nudge's displacement.",
    )


def _time(value: float | None) -> str:
    return "an unknown number of" if value is None else f"{value:.0f}"


def _update(demo: "Demo") -> Section:
    weights, changes = demo.field.tensors(), demo.phases.estimate.update.tensors()
    axes = plotting.heat_maps(
        {
            "Weights W₀₁": np.asarray(weights["W_0_1"]),
            "their change": np.asarray(changes["W_0_1"]),
            "Feedback W₁₀": np.asarray(weights["W_1_0"]),
            "its change": np.asarray(changes["W_1_0"]),
        },
        label="",
    )
    return Section(
        "What would change",
        [
            "The trained weights from the hidden layer to the output and back (left), and the STDP-compatible change "
            "that these ten digits ask for (right): presynaptic rate times postsynaptic displacement, for every "
            "synapse from what its own two neurons do. Forward and feedback weights are separate and learn separately.",
            f"Taken together, this update and the true negative gradient have a cosine of {demo.update_cosine:.3f}: "
            + _direction(demo.update_cosine),
        ],
        plotting.png(axes[0].figure),
        "Heat maps of the forward and feedback weights and of their changes.",
    )


def _direction(cosine: float) -> str:
    if not np.isfinite(cosine):
        return "there is nothing left to learn from these digits."
    if cosine > 0.99:
        return "nearly the gradient itself."
    return "not the gradient, yet downhill." if cosine > 0 else "on these few digits it does not point downhill."


def _alignment(demo: "Demo") -> Section:
    summary = demo.alignment.summary()
    left_out = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in summary["left_out"].items()) or "none"
    picture = demo.alignment.pictures()["alignment.png"]
    at = {c: mean for c, mean in demo.mean_cosines().items() if mean is not None}
    return Section(
        "The more symmetric, the closer to the gradient",
        [
            f"Random networks of the same architecture, {summary['seeds']} for each of {len(summary['symmetries'])} "
            f"weight symmetries c, each with {summary['samples']} test digits: the cosine between equilibrium "
            f"propagation's update and the negative gradient. It is {at.get(-1.0, np.nan):.3f} on average for "
            f"antisymmetric feedback (c = −1), {at.get(0.0, np.nan):.3f} for independent feedback (c = 0) and "
            f"{at.get(1.0, np.nan):.6f} for symmetric feedback (c = 1).",
            "The lowest panel shows why: what counts is the asymmetry of the Jacobian J (theorem 1). With the hard "
            "sigmoid a symmetric weight matrix makes it symmetric among the neurons that can move; with a smooth "
            "activation it does not.",
            f"Samples without a direction to compare are left out by name, never averaged in: {left_out} of "
            f"{summary['samples_used'] + sum(summary['left_out'].values())}.",
        ],
        plotting.png(picture),
        "Cosine between update and gradient against weight symmetry, by layer, and against Jacobian asymmetry.",
    )


def _circuit(demo: "Demo") -> Section:
    both = demo.agreement
    if both is None:
        return Section("The circuit was left out", [f"There is no ngspice to run it: {demo.no_circuit}."])
    held = both.verdict.name == "agrees"
    pictures = list(both.pictures().values())
    return Section(
        "The circuit does the same" if held else "The circuit does not do the same",
        [
            "The same network as a netlist: one capacitor and leak a neuron, one transconductance a synapse, the nudge "
            f"switched on within one transient. ngspice simulated it for the {len(both.netlists)} digits with most to "
            "learn from. Lines are the ODE, circles are node voltages measured in ngspice.",
            f"The free states differ by at most {_e(both.max_abs_free)}, the nudged states by "
            f"{_e(both.max_abs_nudged)}, the trajectories by {_e(both.max_abs_trajectory)} state units. Between the "
            f"updates of the parameters: {_from_one(both.update_cosine)}. {both.verdict.value}",
        ],
        plotting.png(pictures[0]) if pictures else None,
        "States in both simulators lie on each other; their difference on a logarithmic scale.",
    )


def _files(demo: "Demo") -> list[tuple[str, str]]:
    circuit = [
        ("circuit/net.cir", "the netlist: ngspice -n -b net.cir -r out.raw"),
        ("circuit/net.map.json", "what its nodes mean"),
        ("circuit/phases.npz", "the phases as measured in ngspice"),
        ("circuit/agreement.json", "the agreement with the ODE"),
    ]
    return [
        ("summary.json", "every number of this report"),
        ("training/net.safetensors", "the trained network"),
        ("x.npy", "the ten digits"),
        ("y.npy", "their targets"),
        ("phases/phases.npz", "both phases on the ODE, and the updates"),
        ("alignment/alignment.csv", "every cosine"),
        *([] if demo.agreement is None else circuit),
    ]
