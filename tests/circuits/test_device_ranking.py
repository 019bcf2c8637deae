"""The ranking of devices, against central differences of plain ngspice in which one element of one part is another."""

import re
import subprocess

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import eqprop_field as epf
from eqprop_field.circuits import (
    OpAmp,
    OtaC,
    Process,
    ScheduleSegment,
    Transistor,
    compile_circuit,
    parse_raw,
    rank_devices,
)

X, Y = jnp.array([[0.6, -0.4], [0.2, 0.9]]), jnp.array([[0.5], [-0.5]])
OURS = ".model own{kind} {kind}mos level=3 vto={vto} tox=4n uo={uo} gamma=0.4 phi=0.8 nfs=1e12 theta=0.1 vmax=1e5"
OURS += " eta=0.01 kappa=0.2 is=1e-18"


VALUES = {("value", "r"), ("value", "i"), ("value", "v")}
FIRSTS = {"opamp": {("m", "b"), ("value", "r"), ("gain", "g"), ("gain", "e")}, "ota": {("m", "b")}}


@pytest.fixture(scope="module")
def field():
    return epf.LayeredField.create(jax.random.key(0), (2, 3, 1), activation=epf.activation("tanh"), gain=0.8)


def _substrate(level):
    return epf.circuits.NgspiceSubstrate(level=level, free_time=25.0, nudged_time=20.0, tol=1e-4)


def _foundry(name):
    try:
        return Transistor(process=Process.find(name))
    except ValueError as error:
        pytest.skip(str(error))


def _cost(ngspice, folder, field, level, samples, changed):
    """The mean cost at the operating points, of netlists that `changed` has changed."""
    costs = []
    for x, y in zip(X[:samples], Y[:samples], strict=True):
        text = level.emit(compile_circuit(field, x, y, (ScheduleSegment(1.0),))).text
        kept = [line for line in changed(text).splitlines() if not line.startswith((".tran", ".save", ".ic", ".end\n"))]
        options = ".options reltol=1e-10 abstol=1e-18 vntol=1e-12"
        (folder / "d.cir").write_text("\n".join([*kept[:-1], options, ".op", ".end"]) + "\n")
        subprocess.run([ngspice, "-n", "-b", "d.cir", "-r", "o.raw"], cwd=folder, capture_output=True, timeout=30)
        found = parse_raw((folder / "o.raw").read_bytes())
        costs.append(0.5 * (found["v(s0)"][0] / level.scaling.volt(1.0) - float(y[0])) ** 2)
    return np.mean(costs)


def _alone(text, device, edit):
    """The netlist with one element edited: in copies of the subcircuits that it is in, which its own calls get."""
    *path, own = device.split(".")[1:] or [device]
    copies = []

    def within(scope, calls):
        if not calls:
            return re.sub(rf"(?im)^{own}\b.*$", lambda found: edit(found[0]), scope, count=1)
        called = re.search(rf"(?im)^{calls[0]} .*?\b(\w+)(?: +\w+=\S+)*$", scope)
        definition = re.search(rf"(?ims)^\.subckt {called[1]} .*?^\.ends", text)[0]
        copies.append(within(definition.replace(called[1], f"{called[1]}_alone", 1), calls[1:]))
        return scope.replace(called[0], re.sub(rf" {called[1]}\b", f" {called[1]}_alone", called[0]))

    title, rest = within(text, path).split("\n", 1)
    return "\n".join([title, *copies, rest])


def _edit(device, parameter, level, h):
    """How the line of an element is written where its number is larger by h of itself (a threshold by h volts)."""
    foundry = level.name == "transistor" and level.process.name != "generic"
    options = {"threshold": f" delvto={h!r}", "current": f" mulu0={1 + h!r}"}
    if foundry and parameter in options:
        return lambda line: line + options[parameter]
    if parameter in options:

        def with_own_card(line):
            kind = re.search(r" ([np])ch ", line)[1]
            vto = (0.45 if kind == "n" else -0.45) + h * (parameter == "threshold")
            uo = (350 if kind == "n" else 100) * (1 + h * (parameter == "current"))
            return OURS.format(kind=kind, vto=vto, uo=uo) + "\n" + line.replace(f" {kind}ch ", f" own{kind} ")

        return with_own_card
    if parameter == "m":
        return lambda line: line + f" m={1 + h!r}"
    return lambda line: re.sub(r"\S+$", lambda last: f"{{({last[0].strip('{}')})*{1 + h!r}}}", line)


@pytest.mark.parametrize("name", ["opamp", "ota", "generic", "sky130", "gf180mcu"])
def test_first_ranks_are_central_differences_of_plain_ngspice(ngspice, field, name, tmp_path):
    """Of every kind of number the first one of the ranking."""
    levels = {"opamp": OpAmp(), "ota": OtaC(), "generic": Transistor()}
    level = levels.get(name) or _foundry(name)
    samples = 2 if name == "generic" else 1
    ranking = rank_devices(field, X[:samples], Y[:samples], 0.1, substrate=_substrate(level))
    sizes = [abs(device.relative) for device in ranking.devices]
    assert sizes == sorted(sizes, reverse=True) and ranking.samples == samples
    firsts = {}
    for device in filter(lambda device: device.value, ranking.devices):  # offsets are 0
        firsts.setdefault((device.parameter, device.device[0]), device)
    assert {*firsts} == FIRSTS.get(name, {("threshold", "m"), ("current", "m"), *VALUES})
    for (parameter, _), device in firsts.items():
        unit, h = (1.0, 1e-4) if parameter == "threshold" else (device.value, 1e-3)

        def cost(h, device=device.device, parameter=parameter):
            edited = lambda text: _alone(text, device, _edit(device, parameter, level, h))  # noqa: E731
            return _cost(ngspice, tmp_path, field, level, samples, edited)

        assert device.sensitivity == pytest.approx((cost(h) - cost(-h)) / (2 * h * unit), rel=0.02), device


def test_the_gradient_is_the_circuits_own_and_verdicts_are_told(ngspice, field, tmp_path):
    substrate = _substrate(Transistor())
    ranking = rank_devices(field, X, Y, epf.Nudging.symmetric(0.05), substrate=substrate)
    own = epf.circuits.CircuitGradient(substrate).estimate(field, X, Y)
    for ours, theirs in zip(jax.tree.leaves(ranking.gradient), jax.tree.leaves(own.gradient), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-7)
    assert ranking.cost == pytest.approx(float(own.objective), rel=1e-4)
    flat = [np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(g)]) for g in (ranking.gradient, own.gradient)]
    ode = epf.ImplicitGradient().estimate(field, X, Y).gradient
    ode = np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(ode)])
    expected = flat[1] @ ode / np.linalg.norm(flat[1]) / np.linalg.norm(ode)
    assert ranking.cosine_ode_gradient == pytest.approx(expected, abs=1e-6)
    saved = ranking.save(tmp_path)
    assert {"devices.csv", "devices.png", "gradient.npz", "sensitivity.json"} <= {*saved["files"]}
    with np.load(tmp_path / "gradient.npz") as written:
        np.testing.assert_array_equal(written["gradient_W_0_1"], ranking.gradient.tensors()["W_0_1"])
    short = epf.circuits.NgspiceSubstrate(level=Transistor(), free_time=0.5, nudged_time=20.0, tol=1e-4)
    unsettled = rank_devices(field, X, Y, 0.1, substrate=short)
    assert unsettled.devices == () and "not_settled" in unsettled.failure
    assert unsettled.pictures() == {} and unsettled.summary()["cost"] is None
