"""What the demo says about its findings: the table, the summary and the report, in words with measured numbers."""

import platform
from typing import Any

import jax
import numpy as np

from .. import plotting
from .findings import BETA, TOL, Findings
from .report import Section, page


def summarise(found: Findings) -> dict[str, Any]:
    """What `summary.json` and `--json` hold."""
    failed = failures(found)
    run = found.run.summary()
    del run["history"]
    return {
        "verdict": "held" if not failed else "failed",
        "failures": failed,
        "training": run,
        "phases": found.phases.summary() | {"tol": TOL},
        "trained_update_cosine": found.trained_cosine,
        "alignment": {
            key: value for key, value in found.alignment.summary().items() if key in ("samples_used", "left_out")
        }
        | {"mean_cosine": {f"{c:g}": mean for c, mean in _means(found)}},
        "agreement": None if found.agreement is None else found.agreement.summary(),
        "no_circuit": found.no_circuit,
        "seconds": {name: round(seconds, 2) for name, seconds in found.seconds.items()},
        "table": _table(found),
    }


def failures(found: Findings) -> list[str]:
    """What did not hold, a sentence each."""
    sentences = [found.run.failure, found.phases.failure]
    if found.agreement is None:
        sentences.append(f"the circuit was left out: {found.no_circuit}")
    elif found.agreement.verdict.name != "agrees":
        sentences.append(f"ODE and circuit: {found.agreement.verdict.value}")
    return [sentence for sentence in sentences if sentence is not None]


def _means(found: Findings) -> list[tuple[float, float | None]]:
    """Symmetry and mean cosine of the whole update."""
    return [(e["symmetry"], e["mean_cosine"]) for e in found.alignment.means() if e["layer"] == "all"]


def _mean_at(found: Findings, symmetry: float) -> str:
    value = dict(_means(found))[symmetry]
    return "none" if value is None else f"{value:.4f}"


def _table(found: Findings) -> list[tuple[str, str]]:
    run, said = found.run, found.phases.summary()
    settled = sum(int(v == 0) for v in np.asarray(found.phases.estimate.verdict))
    rows = [
        (f"digits recognised ({len(found.dataset.test)} never seen)", f"{100 * (1 - run.test_error):.1f} %"),
        (
            "objective, first and last epoch",
            f"{run.history[0]['train_objective']:.4f} -> {run.history[-1]['train_objective']:.4f}",
        ),
        ("both phases settled", f"{settled} of {said['samples']} digits, residual {_e(_worst_residual(said))}"),
        ("trajectory against end-point update", f"{_percent(said['path_difference'])} apart"),
        ("update against gradient, trained net", f"cosine {found.trained_cosine:.4f}"),
        ("update against gradient, c = -1, 0, 1", "cosine " + ", ".join(_mean_at(found, c) for c in (-1.0, 0.0, 1.0))),
    ]
    if found.agreement is None:
        rows.append(("ODE against ngspice", "left out: no ngspice"))
    else:
        both = found.agreement
        rows += [
            ("ODE against ngspice, free states", f"{_e(both.max_abs_free)} apart"),
            ("ODE against ngspice, nudged states", f"{_e(both.max_abs_nudged)} apart"),
            ("ODE against ngspice, trajectories", f"{_e(both.max_abs_trajectory)} apart"),
            ("ODE against ngspice, updates", _from_one(both.update_cosine)),
            ("verdict of the comparison", both.verdict.name),
        ]
    return [*rows, ("time", f"{sum(found.seconds.values()):.0f} s")]


def _worst_residual(said: dict[str, Any]) -> float:
    return max(np.inf if said[name] is None else said[name] for name in ("residual_free", "residual_nudged"))


def _from_one(cosine: float) -> str:
    if not np.isfinite(cosine):
        return "no update to compare"
    return f"cosine 1 - {_e(1 - cosine)}" if cosine < 1 - 1e-15 else "cosine 1, to rounding"


def _percent(share: float | None) -> str:
    return "not measurably" if share is None else f"{100 * share:.2f} %"


def _e(value: float) -> str:
    return f"{value:.1e}" if np.isfinite(value) else "not finite"


def tell(found: Findings, summary: dict[str, Any]) -> str:
    """The report as one HTML page."""
    failed = summary["failures"]
    verdict = (
        "Everything held: the network learnt, both phases settled, and the circuit in ngspice does what the ODE does."
        if not failed
        else "Not everything held: " + "; ".join(failed)
    )
    sections = [_digits(found), _training(found), _phases(found), _update(found), _alignment(found), _circuit(found)]
    return page(
        title="One network, two simulators",
        lead=(
            "A network of leaky integrators with independent forward and feedback weights learns handwritten digits by "
            "equilibrium propagation in a vector field (Scellier et al. 2018). Then its two phases run as an ordinary "
            "differential equation and as a circuit in ngspice, and the two are compared."
        ),
        verdict=verdict,
        held=not failed,
        table=[(name, value.replace("->", "→")) for name, value in summary["table"]],
        sections=[section for section in sections if section is not None],
        files=_files(found),
        footer=_footer(found),
    )


def _footer(found: Findings) -> str:
    device = jax.devices()[0]
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in found.seconds.items())
    return (
        f"Made by eqprop-field demo with JAX {jax.__version__} on {device.platform} ({platform.system()}, Python "
        f"{platform.python_version()}): {parts}, compilation included."
    )


def _digits(found: Findings) -> Section:
    side = int(np.sqrt(found.x.shape[1]))
    answers = np.argmax(np.asarray(found.field.output(found.phases.estimate.free.state)), axis=1)
    labels = np.argmax(found.y, axis=1)
    axes = plotting.digits(found.x.reshape(-1, side, side), labels, answers, columns=5)
    right = int((answers == labels).sum())
    return Section(
        "What the network sees",
        [
            "Ten handwritten digits of 8 × 8 pixels that took no part in training, and the network's answer above "
            "each: "
            f"the output neuron whose state is highest when the free phase has settled. {right} of 10 are right here, "
            f"{100 * (1 - found.run.test_error):.1f} % of all {len(found.dataset.test)} test digits."
        ],
        plotting.png(axes[0].figure),
        f"Ten digits with the network's answers, {right} of them right.",
    )


def _training(found: Findings) -> Section:
    run = found.run
    best = run.history[run.best_epoch - 1]
    wrong = 100 * run.test_error
    return Section(
        f"It learns: {wrong:.1f} % of unseen digits wrong",
        [
            f"A {'-'.join(map(str, found.field.sizes))} network, weights not tied, learnt for {len(run.history)} "
            "epochs from "
            "the difference of its settled states alone. The objective fell from "
            f"{run.history[0]['train_objective']:.3f} in "
            f"the first epoch to {run.history[-1]['train_objective']:.4f} in the last. The network kept is that of "
            "epoch "
            f"{run.best_epoch}, best on the validation digits ({100 * best['validation_error']:.1f} % wrong); the test "
            f"digits had no say. {100 * run.unsettled:.2f} % of the last epoch's samples did not settle and taught "
            "nothing."
        ],
        plotting.png(*run.pictures().values()),
        f"Objective and errors fall over {len(run.history)} epochs; test error {wrong:.1f} percent.",
    )


def _phases(found: Findings) -> Section:
    said = found.phases.summary()
    label = int(np.argmax(found.y[found.phases.pictured]))
    return Section(
        "It settles, and a nudge moves it",
        [
            f"Every line is one neuron's state while the network looks at the {label} above, of the ten the digit it "
            "has most to learn from. In the free phase (white) it relaxes from rest; then (shaded) the output neurons "
            f"are pulled towards their targets with β = {BETA:g}, and all neurons answer. The lowest panel magnifies "
            "that answer: it is all that learning reads.",
            f"All ten digits together came to rest after {_time(said['time_free'])} and "
            f"{_time(said['time_nudged'])} time "
            f"constants, with residuals of at most {_e(_worst_residual(said))}. The change of the weights "
            "accumulated along the nudged trajectory, as a circuit would do it, and the one from the end points "
            "differ "
            f"by {_percent(said['path_difference'])}; the difference vanishes with β.",
        ],
        plotting.png(*found.phases.pictures().values()),
        "States of the output and hidden neurons through the free and the nudged phase, and the nudge's displacement.",
    )


def _time(value: float | None) -> str:
    return "an unknown number of" if value is None else f"{value:.0f}"


def _update(found: Findings) -> Section:
    weights, changes = found.field.tensors(), found.phases.estimate.update.tensors()
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
            "The trained weights from the hidden layer to the output and back (left), and the STDP-compatible "
            "change that "
            "these ten digits ask for (right): presynaptic rate times postsynaptic displacement, for every synapse "
            "from "
            "what its own two neurons do. Forward and feedback weights are separate and learn separately.",
            f"Taken together, this update and the true negative gradient have a cosine of {found.trained_cosine:.3f}: "
            + _direction(found.trained_cosine),
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


def _alignment(found: Findings) -> Section:
    said = found.alignment.summary()
    left_out = ", ".join(f"{count} {why.replace('_', ' ')}" for why, count in said["left_out"].items()) or "none"
    picture = found.alignment.pictures()["alignment.png"]
    at = {c: mean for c, mean in _means(found) if mean is not None}
    return Section(
        "The more symmetric, the closer to the gradient",
        [
            f"Random networks of the same architecture, {said['seeds']} for each of {len(said['symmetries'])} weight "
            f"symmetries c, each with {said['samples']} test digits: the cosine between equilibrium propagation's "
            "update "
            f"and the negative gradient. It is {at.get(-1.0, np.nan):.3f} on average for antisymmetric feedback (c "
            "= −1), "
            f"{at.get(0.0, np.nan):.3f} for independent feedback (c = 0) and {at.get(1.0, np.nan):.6f} for symmetric "
            "feedback (c = 1).",
            "The lowest panel shows why: what counts is the asymmetry of the Jacobian J (theorem 1). With the hard "
            "sigmoid a "
            "symmetric weight matrix makes it symmetric among the neurons that can move; with a smooth activation it "
            "does not.",
            f"Samples without a direction to compare are left out by name, never averaged in: {left_out} of "
            f"{said['samples_used'] + sum(said['left_out'].values())}.",
        ],
        plotting.png(picture),
        "Cosine between update and gradient against weight symmetry, by layer, and against Jacobian asymmetry.",
    )


def _circuit(found: Findings) -> Section:
    both = found.agreement
    if both is None:
        return Section("The circuit was left out", [f"There is no ngspice to run it: {found.no_circuit}."])
    held = both.verdict.name == "agrees"
    pictures = list(both.pictures().values())
    return Section(
        "The circuit does the same" if held else "The circuit does not do the same",
        [
            "The same network as a netlist: one capacitor and leak a neuron, one transconductance a synapse, the "
            "nudge "
            "switched on within one transient. ngspice simulated it for the "
            f"{len(both.netlists)} digits with most to learn from. Lines are the ODE, circles are node voltages "
            "measured in ngspice.",
            f"The free states differ by at most {_e(both.max_abs_free)}, the nudged states by "
            f"{_e(both.max_abs_nudged)}, the "
            f"trajectories by {_e(both.max_abs_trajectory)} state units. Between the updates of the parameters: "
            f"{_from_one(both.update_cosine)}. {both.verdict.value}",
        ],
        plotting.png(pictures[0]) if pictures else None,
        "States in both simulators lie on each other; their difference on a logarithmic scale.",
    )


def _files(found: Findings) -> list[tuple[str, str]]:
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
        *([] if found.agreement is None else circuit),
    ]
