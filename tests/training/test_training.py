"""The loop: it learns, it counts, and a stopped run goes on bit for bit."""

import dataclasses
import json
import os

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import eqprop_field as epf
from eqprop_field._files import locked_folder
from eqprop_field._tensor_file import TensorFileError, described_tensors, tensor_file
from eqprop_field.datasets import Dataset, Samples, batch_order, digits, xor
from eqprop_field.training import CHECKPOINT, RECIPES, CheckpointError, Settings, error_rate, loop, train
from scripts import kill


def few_digits(n=100):
    data = digits(0)
    part = lambda samples: Samples(samples.x[:n], samples.y[:n])  # noqa: E731
    return Dataset("few digits", part(data.train), part(data.validation), part(data.test), data.classes)


FEW = few_digits()
RULE = epf.EqProp(nudging=epf.Nudging.symmetric(0.2), substrate=epf.Equilibrium(tol=1e-3, solver=epf.Sweeps(100)))
SHORT = Settings(epochs=4, batch_size=16, learning_rates=(0.05, 0.2), schedule="constant")
# A step is compiled once for all tests with one of these; ADAM and COSINE are for the graph below.
ADAM = Settings(epochs=4, batch_size=16, learning_rates=(0.02,), optimiser="adam", schedule="constant")
COSINE = Settings(epochs=4, batch_size=16, learning_rates=(0.06,), optimiser="momentum", schedule="cosine")
HALVES = Settings(epochs=2, batch_size=50, schedule="constant")


def small(sizes=(64, 8, 10), seed=0, **options):
    return epf.LayeredField.create(jax.random.key(seed), sizes, gain=0.25, **options)


def graph():
    return epf.GraphField.create(jax.random.key(0), neurons=15, inputs=64, outputs=10, density=0.5, gain=0.3)


def go(settings=SHORT, *, field=None, rule=RULE, data=FEW, **options):
    return train(small() if field is None else field, rule, data, settings, progress=False, **options)


def identical(a, b):
    return bool(eqx.tree_equal(a, b, typematch=True))


class Blind(epf.AbstractSubstrate):
    """A substrate outside JAX: it refuses tracers, as a simulator would."""

    inside: epf.Equilibrium
    late: bool = eqx.field(static=True, default=False)

    @property
    def provides(self):
        return frozenset({epf.Capability.nudged_phases})

    def _settle(self, field, x, nudge, start, *, throw):
        np.asarray(x)
        solution = self.inside.settle(field, x, nudge, start, throw=False)
        if self.late:
            verdict = solution.verdict.at[0].set(epf.Verdict.simulator_failed.value)
            solution = eqx.tree_at(lambda s: s.verdict, solution, verdict)
        return solution


def test_an_epoch_of_gradient_descent_by_hand():
    settings = dataclasses.replace(HALVES, epochs=1, learning_rates=(0.03, 0.2), seed=4)
    run = go(settings)
    field, outputs, cost = small(), [], []
    order = batch_order(jax.random.fold_in(jax.random.key(4), 1), 0, 100, 50)
    unchecked = dataclasses.replace(RULE, substrate=RULE.substrate.unchecked())
    for rows in np.asarray(order):
        x, y = FEW.train.x[rows], FEW.train.y[rows]
        estimate = unchecked.estimate(field, x, y, throw=False)
        outputs.append(np.asarray(estimate.free.state[0]))
        cost.append(0.5 * np.sum((y - outputs[-1]) ** 2, 1))
        into = {"0": 0.03, "1": 0.2}
        steps = [-into[name.split("_")[1]] * step for name, step in estimate.gradient.tensors().items()]
        field = eqx.apply_updates(field, jax.tree.unflatten(jax.tree.structure(field.parameters()), steps))
    for name, tensor in run.last_field.tensors().items():
        np.testing.assert_allclose(tensor, field.tensors()[name], rtol=1e-9, atol=1e-12)
    entry = run.history[0]
    answers = np.argmax(np.concatenate(outputs), 1)
    assert entry["train_error"] == np.mean(answers != FEW.train.labels[np.ravel(order)])
    assert entry["train_objective"] == pytest.approx(float(np.mean(cost)))
    assert entry["verdicts"] == {"converged": 100}


def test_it_learns_and_reports_the_best_epoch():
    run = go(dataclasses.replace(SHORT, epochs=40, learning_rates=(0.2, 0.6)))
    assert run.history[-1]["train_objective"] < 0.5 * run.history[0]["train_objective"]
    errors = [entry["validation_error"] for entry in run.history]
    assert errors[run.best_epoch - 1] == min(errors)
    assert error_rate(RULE, run.field, FEW.validation) == min(errors)
    assert error_rate(RULE, run.field, FEW.test) == run.test_error
    assert json.loads(json.dumps(run.summary()))["best_epoch"] == run.best_epoch


def test_it_learns_xor():
    recipe = RECIPES["xor"]
    run = train(recipe.field(), recipe.learning_rule(), xor(), recipe.settings, progress=False)
    assert run.test_error == 0 and run.passed


@pytest.mark.parametrize("settings", [COSINE, dataclasses.replace(ADAM, epochs=10)], ids=["momentum", "adam"])
def test_other_optimisers_and_fields_learn(settings):
    field = graph()
    run = go(settings, field=field)
    assert run.history[-1]["train_objective"] < 0.7 * run.history[0]["train_objective"]
    synapses = np.asarray(run.last_field.weights) != 0
    assert not synapses[~np.asarray(field.mask)].any()
    assert identical(run.last_field.mask, field.mask) and identical(run.last_field.tau, field.tau)


def test_a_substrate_outside_jax_gives_the_same():
    rule = epf.EqProp(nudging=RULE.nudging, substrate=Blind(RULE.substrate))
    inside, outside = go(HALVES), go(HALVES, rule=rule)
    for a, b in zip(jax.tree.leaves(inside.last_field), jax.tree.leaves(outside.last_field), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-10)
    assert [e["verdicts"] for e in inside.history] == [e["verdicts"] for e in outside.history]


def test_samples_that_do_not_settle_are_named_and_fail_the_run():
    rule = epf.EqProp(nudging=RULE.nudging, substrate=Blind(RULE.substrate, late=True))
    run = go(dataclasses.replace(HALVES, epochs=1), rule=rule)
    assert run.history[0]["verdicts"] == {"converged": 98, "simulator_failed": 2}
    assert run.unsettled == 0.02 and not run.passed
    assert go(SHORT).passed


def test_an_unsettled_sample_counts_as_an_error():
    field = eqx.tree_at(lambda f: f.biases[0], small(), jnp.arange(10) / 10)  # the last class always wins
    samples = Samples(np.zeros((20, 64), np.float32), np.eye(10, dtype=np.float32)[np.full(20, 9)])
    assert error_rate(RULE, field, samples) == 0
    assert error_rate(epf.EqProp(substrate=Blind(RULE.substrate, late=True)), field, samples) == 0.05


def test_one_compilation_serves_every_batch_rate_and_beta():
    traces = []

    class Counted(epf.AbstractLearningRule):
        inner: epf.EqProp
        substrate: epf.AbstractSubstrate = RULE.substrate
        cost: epf.AbstractCost = RULE.cost
        needs = RULE.needs

        def _nudges(self, y):
            return self.inner._nudges(y)

        def _read(self, field, x, y, free, nudged):
            traces.append(x.shape)
            return self.inner._read(field, x, y, free, nudged)

    for beta, rate, seed in ((0.2, 0.1, 0), (0.3, 0.2, 1)):
        rule = Counted(epf.EqProp(nudging=epf.Nudging.symmetric(beta), substrate=RULE.substrate))
        go(Settings(epochs=2, batch_size=30, learning_rates=(rate,), seed=seed, schedule="constant"), rule=rule)
    assert traces == [(30, 64)]


@pytest.mark.parametrize(("settings", "field"), [(SHORT, None), (ADAM, "graph")], ids=["sgd", "adam-graph"])
def test_a_run_resumed_ends_in_the_same_bits(settings, field, tmp_path):
    field = graph() if field else None
    whole = go(settings, field=field)
    go(dataclasses.replace(settings, epochs=2), field=field, out=tmp_path)
    rest = go(settings, field=field, out=tmp_path, resume=True)
    assert identical(rest.last_field, whole.last_field) and identical(rest.field, whole.field)
    assert not identical(rest.last_field, small() if field is None else field)
    untimed = lambda run: [{k: v for k, v in e.items() if k != "seconds"} for e in run.history]  # noqa: E731
    assert untimed(rest) == untimed(whole) and rest.best_epoch == whole.best_epoch
    again = go(settings, field=field, out=tmp_path, resume=True)
    assert identical(again.last_field, whole.last_field) and again.test_error == whole.test_error


class Stopped(Exception):
    pass


def stop_after(monkeypatch, steps):
    """Makes training stop after so many steps; the list has one entry a step."""
    taken, advance = [], loop.advance

    def counted(*arguments):
        if len(taken) == steps:
            raise Stopped
        taken.append(1)
        return advance(*arguments)

    monkeypatch.setattr(loop, "advance", counted)
    return taken


def test_a_checkpoint_within_an_epoch_loses_nothing_and_ends_in_the_same_bits(tmp_path, monkeypatch):
    whole = go(COSINE, field=graph())
    with monkeypatch.context() as patch:
        stop_after(patch, 9)  # the third of six steps in the second epoch
        with pytest.raises(Stopped):
            go(COSINE, field=graph(), out=tmp_path, checkpoint_seconds=0.0)
    taken = stop_after(monkeypatch, 100)
    rest = go(COSINE, field=graph(), out=tmp_path, resume=True)
    assert len(taken) == 4 * 6 - 9
    assert identical(rest.last_field, whole.last_field) and identical(rest.field, whole.field)
    untimed = lambda run: [{k: v for k, v in e.items() if k != "seconds"} for e in run.history]  # noqa: E731
    assert untimed(rest) == untimed(whole)


def test_without_its_time_no_checkpoint_is_written_within_an_epoch(tmp_path, monkeypatch):
    stop_after(monkeypatch, 5)
    with pytest.raises(Stopped):
        go(COSINE, field=graph(), out=tmp_path, checkpoint_seconds=1000.0)
    assert not (tmp_path / CHECKPOINT).exists()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_killed_at_a_random_moment_it_ends_in_the_same_bits(tmp_path, capsys):
    """In short; `scripts/kill.py` kills fifty times."""
    assert kill.kill_at_random("train", kills=1, size=0.2, seed=0, work=tmp_path) == []
    assert "faults: none" in capsys.readouterr().out


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    go(dataclasses.replace(HALVES, epochs=1), out=folder)
    return (folder / CHECKPOINT).read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"settings": Settings(epochs=2, batch_size=25, schedule="constant")}, "batch_size=50, not batch_size=25"),
        ({"settings": Settings(epochs=2, batch_size=50, schedule="constant", seed=1)}, "seed=0"),
        ({"settings": Settings(epochs=2, batch_size=50)}, "schedule|epochs"),
        ({"settings": Settings(epochs=3, batch_size=50, schedule="cosine")}, "schedule"),
        ({"field": small((64, 9, 10))}, "network"),
        ({"field": small(seed=1)}, "first weights"),
        ({"field": small(symmetry=1.0)}, "first weights"),
        ({"field": jax.tree.map(lambda a: a.astype(jnp.float32), small())}, "not first weights='float32"),
        ({"rule": epf.EqProp(nudging=epf.Nudging.symmetric(0.3), substrate=RULE.substrate)}, "another rule"),
        ({"data": few_digits(99)}, "data"),
        ({"data": dataclasses.replace(FEW, validation=FEW.test)}, "validation data"),
        ({"data": dataclasses.replace(FEW, test=FEW.validation)}, "test data"),
    ],
)
def test_a_checkpoint_of_another_run_is_refused(change, message, checkpoint, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    settings = change.pop("settings", HALVES)
    with pytest.raises(CheckpointError, match=message):
        go(settings, out=tmp_path, resume=True, **change)
    assert (tmp_path / CHECKPOINT).read_bytes() == checkpoint


def test_epochs_that_a_run_cannot_have_are_refused(tmp_path):
    go(HALVES, out=tmp_path)
    with pytest.raises(CheckpointError, match="has 2 epochs behind it, and epochs=1"):
        go(dataclasses.replace(HALVES, epochs=1), out=tmp_path, resume=True)
    go(COSINE, field=graph(), out=tmp_path, overwrite=True)
    with pytest.raises(CheckpointError, match="epochs=4, not epochs=5; a cosine schedule is planned"):
        go(dataclasses.replace(COSINE, epochs=5), field=graph(), out=tmp_path, resume=True)


def test_a_run_is_overwritten_only_when_asked(checkpoint, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    with pytest.raises(ValueError, match="holds a run already: resume it, ask to overwrite it"):
        go(dataclasses.replace(HALVES, epochs=1), out=tmp_path)
    assert (tmp_path / CHECKPOINT).read_bytes() == checkpoint
    go(dataclasses.replace(SHORT, epochs=1), out=tmp_path, overwrite=True)
    assert (tmp_path / CHECKPOINT).read_bytes() != checkpoint


def test_a_folder_belongs_to_one_run_at_a_time(tmp_path):
    with locked_folder(tmp_path), pytest.raises(ValueError, match="another run is writing to"):
        go(out=tmp_path)
    assert not list(tmp_path.iterdir())


def test_flipped_bytes_of_a_checkpoint_are_refused_or_change_nothing(checkpoint, tmp_path):
    (tmp_path / "whole").write_bytes(checkpoint)
    said, tensors = described_tensors(tmp_path / "whole", "eqprop_field_checkpoint")
    for position in np.random.default_rng(0).choice(len(checkpoint), 400, replace=False):
        flipped = bytearray(checkpoint)
        flipped[position] ^= 1 << int(position) % 8
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            found = described_tensors(tmp_path / "flipped", "eqprop_field_checkpoint")
        except TensorFileError:
            continue
        assert found[0] == said and found[1].keys() == tensors.keys()
        assert all(found[1][name].tobytes() == tensors[name].tobytes() for name in tensors)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"history": [{"epoch": 2}]}, "history"),
        ({"history": [3]}, "history"),
        ({"batch": -1}, "batch"),
        ({"batch": 3}, "at batch 3 of 2"),
        ({"seconds": "long"}, "seconds"),
        ({"format": 2}, "format"),
        ({"run": None}, "format"),
    ],
)
def test_a_checkpoint_with_values_out_of_their_range_is_refused(change, message, checkpoint, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    said, tensors = described_tensors(tmp_path / CHECKPOINT, "eqprop_field_checkpoint")
    (tmp_path / CHECKPOINT).write_bytes(tensor_file("eqprop_field_checkpoint", said | change, tensors))
    with pytest.raises(CheckpointError, match=message):
        go(HALVES, out=tmp_path, resume=True)


def test_a_checkpoint_from_before_there_were_checksums_goes_on(checkpoint, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(checkpoint)
    said, tensors = described_tensors(tmp_path / CHECKPOINT, "eqprop_field_checkpoint")
    older = {name: said[name] for name in ("format", "run", "history")}
    for name in ("first weights", "validation data", "test data"):
        del older["run"][name]
    tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("tally")}
    safetensors.numpy.save_file(tensors, tmp_path / CHECKPOINT, {"eqprop_field_checkpoint": json.dumps(older)})
    assert identical(go(HALVES, out=tmp_path, resume=True).last_field, go(HALVES).last_field)


@pytest.mark.parametrize("damage", [lambda c: c[:-9], lambda c: b"", lambda c: b"no" * 500, lambda c: c + b"x"])
def test_a_damaged_checkpoint_is_refused_and_kept(damage, checkpoint, tmp_path):
    (tmp_path / CHECKPOINT).write_bytes(damage(checkpoint))
    with pytest.raises(CheckpointError, match="start without resuming"):
        go(HALVES, out=tmp_path, resume=True)
    assert (tmp_path / CHECKPOINT).read_bytes() == damage(checkpoint)


def test_a_network_file_is_not_a_checkpoint(tmp_path):
    epf.storage.save_network(tmp_path / CHECKPOINT, small())
    with pytest.raises(CheckpointError, match="without the metadata"):
        go(out=tmp_path, resume=True)


def test_what_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="begin with 64 and end with 10"):
        go(field=small((63, 8, 10)), out=tmp_path / "run")
    with pytest.raises(ValueError, match="resume=True needs out"):
        go(resume=True)
    with pytest.raises(ValueError, match="learning_rates"):
        go(Settings(learning_rates=(0.1, 0.1, 0.1)), out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="cannot write"):
        go(out=tmp_path / "file")


def test_the_bar_goes_to_stderr_and_only_when_asked(capfd):
    train(small(), RULE, FEW, SHORT, progress=True)
    captured = capfd.readouterr()
    assert captured.out == "" and "24/24" in captured.err
    go()
    assert capfd.readouterr().err == ""


@pytest.mark.slow
def test_the_shipped_recipe_learns_the_digits():
    recipe = RECIPES["digits"]
    run = train(recipe.field(), recipe.learning_rule(), digits(0), recipe.settings, progress=False)
    assert run.passed
    assert 1 - run.test_error >= 0.95
