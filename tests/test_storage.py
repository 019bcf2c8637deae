"""Network files, phases and atomic writing, against safetensors, numpy and json themselves."""

import errno
import hashlib
import inspect
import json
import os
import pathlib
import pickle
import struct
import subprocess
import sys
import tracemalloc

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors
import safetensors.numpy

import eqprop_field as epf
from eqprop_field import _files, storage
from eqprop_field.storage import NetworkFileError, load_network, save_network, save_phases


def layered(sizes=(4, 3, 2), **options):
    return epf.LayeredField.create(jax.random.key(0), sizes, **options)


def graph(**options):
    return epf.GraphField.create(jax.random.key(1), neurons=5, inputs=3, outputs=2, **options)


FIELDS = {
    "layered": layered(),
    "deep": layered((4, 3, 3, 2), symmetry=0.5, gain=0.7),
    "shallow": layered((4, 2), activation=epf.activation("tanh")),
    "slow": layered(tau=(1.0, 2.5)),
    "relu": layered(activation=epf.activation("relu"), projected=True),
    "graph": graph(),
    "sparse": graph(density=0.4, tau=jnp.arange(1.0, 6.0)),
    "skip": epf.GraphField.from_layers(jax.random.key(1), (4, 3, 3, 2), skips=[(0, 2), (3, 0)], lateral=[1]),
    "hopfield": epf.HopfieldField.create(jax.random.key(1), neurons=5, inputs=3, outputs=2),
    "hopfield in layers": epf.HopfieldField.from_layers(jax.random.key(1), (4, 3, 2), lateral=[0]),
}


def identical(a, b):
    return bool(eqx.tree_equal(a, b, typematch=True))


@pytest.mark.parametrize("name", FIELDS)
def test_round_trip_is_bit_identical(name, tmp_path):
    path = tmp_path / "net.safetensors"
    save_network(path, FIELDS[name])
    assert identical(load_network(path), FIELDS[name])


def test_float32_stays_float32(tmp_path):
    single = jax.tree.map(lambda a: a.astype(jnp.float32), layered())
    save_network(tmp_path / "net", single)
    loaded = load_network(tmp_path / "net")
    assert loaded.dtype == jnp.float32 and identical(loaded, single)


def test_float64_file_is_cast_where_jax_has_no_float64(tmp_path):
    save_network(tmp_path / "net", layered())
    with jax.enable_x64(False):
        loaded = load_network(tmp_path / "net")
        assert loaded.dtype == jnp.float32


def test_layered_file_as_safetensors_reads_it(tmp_path):
    field = layered((64, 32, 10))
    save_network(tmp_path / "net", field)
    with safetensors.safe_open(tmp_path / "net", "numpy") as file:
        said = json.loads(file.metadata()["eqprop_field"])
        shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
        np.testing.assert_array_equal(file.get_tensor("W_1_2"), field.forward[1])
    assert said == {
        "format": 1,
        "field": "layered",
        "config": {"sizes": [64, 32, 10], "activation": "hard_sigmoid", "projected": True, "gain": field.gain},
    }
    assert shapes == {"W_0_1": (10, 32), "W_1_0": (32, 10), "W_1_2": (32, 64), "b_0": (10,), "b_1": (32,)}


def test_graph_file_holds_mask_and_tau_only_where_they_say_something(tmp_path):
    for field, extra in ((FIELDS["graph"], set()), (FIELDS["sparse"], {"mask", "tau"})):
        save_network(tmp_path / "net", field)
        tensors = safetensors.numpy.load_file(tmp_path / "net")
        assert set(tensors) == {"W", "W_in", "b"} | extra
        assert not tensors["W"].diagonal().any()


def test_a_file_written_by_hand_computes_equation_7(tmp_path):
    rng = np.random.default_rng(0)
    tensors = {n: rng.normal(size=s) for n, s in (("W_0_1", (1, 2)), ("W_1_0", (2, 1)), ("W_1_2", (2, 3)))}
    tensors |= {"b_0": rng.normal(size=1), "b_1": rng.normal(size=2)}
    config = {"sizes": [3, 2, 1], "activation": "tanh", "projected": False, "gain": 1.0}
    metadata = {"eqprop_field": json.dumps({"format": 1, "field": "layered", "config": config}), "author": "somebody"}
    safetensors.numpy.save_file(tensors, tmp_path / "net", metadata)
    field = load_network(tmp_path / "net")
    x, s0, s1 = rng.uniform(size=(1, 3)), rng.normal(size=(1, 1)), rng.normal(size=(1, 2))
    mu = field((jnp.asarray(s0), jnp.asarray(s1)), field.drive(jnp.asarray(x)))
    expected = x @ tensors["W_1_2"].T + np.tanh(s0) @ tensors["W_1_0"].T + tensors["b_1"] - s1
    np.testing.assert_allclose(mu[1], expected, rtol=1e-12)


def parts(field):
    """The description and the tensors of a good file, to be spoilt."""
    tensors = {name: np.array(tensor) for name, tensor in field.tensors().items()}
    return json.loads(json.dumps(storage.describe(field))), tensors


def spoilt(tmp_path, field, spoil):
    said, tensors = parts(field)
    spoil(said, tensors)
    path = tmp_path / "spoilt"
    safetensors.numpy.save_file(tensors, path, {"eqprop_field": json.dumps(said)})
    return path


def with_value(name, index, value):
    def spoil(said, tensors):
        del said
        tensors[name][index] = value

    return spoil


SPOILT_LAYERED = {
    "lacks tensor 'b_0'": lambda said, t: t.pop("b_0"),
    "unexpected tensor 'W_2_1'": lambda said, t: t.update(W_2_1=np.zeros((4, 3))),
    "tensor b_1 of shape": lambda said, t: t.update(b_1=np.zeros(4)),
    "NaN or infinity in tensor W_0_1": with_value("W_0_1", (0, 0), np.nan),
    "NaN or infinity in tensor b_0": with_value("b_0", 0, np.inf),
    "tensor b_1 as float32": lambda said, t: t.update(b_1=np.zeros(3, np.float32)),
    "where float": lambda said, t: [t.update({n: np.zeros(a.shape, np.int64)}) for n, a in list(t.items())],
    "as 'F16'": lambda said, t: t.update(b_1=np.zeros(3, np.float16)),
    "'tau_1'": lambda said, t: t.update(tau_0=np.ones(2)),
    "tau_0 that is not positive": lambda said, t: t.update(tau_0=np.zeros(2), tau_1=np.ones(3)),
    "format 2": lambda said, t: said.update(format=2),
    "field 'perceptron'": lambda said, t: said.update(field="perceptron"),
    "field \\[": lambda said, t: said.update(field=[]),
    "unknown activation 'step'": lambda said, t: said["config"].update(activation="step"),
    "clip": lambda said, t: said["config"].update(activation="tanh"),
    "which activation": lambda said, t: said["config"].pop("activation"),
    "projected": lambda said, t: said["config"].update(projected="yes"),
    "gain='big'": lambda said, t: said["config"].update(gain="big"),
    "gain=inf": lambda said, t: said["config"].update(gain=float("inf")),
    "gain=1000": lambda said, t: said["config"].update(gain=10**400),
    "gain=-1": lambda said, t: said["config"].update(gain=-1),
    "sizes=1000": lambda said, t: said["config"].update(sizes=[4, 10**400, 2]),
    "sizes=0": lambda said, t: said["config"].update(sizes=[4, 0, 2]),
    "sizes=True": lambda said, t: said["config"].update(sizes=[4, True, 2]),
    "sizes=\\[4\\]": lambda said, t: said["config"].update(sizes=[4]),
    "of shape": lambda said, t: said["config"].update(sizes=[10**18, 3, 2]),
    "description of a network": lambda said, t: said.pop("config"),
}


@pytest.mark.parametrize("message", SPOILT_LAYERED)
def test_a_spoilt_layered_file_is_refused_by_name(message, tmp_path):
    message_pattern = "must be float32" if message == "where float" else message
    with pytest.raises(NetworkFileError, match=message_pattern):
        load_network(spoilt(tmp_path, layered(), SPOILT_LAYERED[message]))


SPOILT_GRAPH = {
    "6 output neurons": lambda said, t: said["config"].update(outputs=6),
    "neurons=None": lambda said, t: said["config"].pop("neurons"),
    "zero diagonal": with_value("W", (1, 1), 0.5),
    "\\(5, 5\\) booleans": lambda said, t: t.update(mask=np.zeros((5, 5))),
    "no synapse": lambda said, t: t.update(mask=np.zeros((5, 5), bool)),
}


@pytest.mark.parametrize("message", SPOILT_GRAPH)
def test_a_spoilt_graph_file_is_refused_by_name(message, tmp_path):
    with pytest.raises(NetworkFileError, match=message):
        load_network(spoilt(tmp_path, graph(), SPOILT_GRAPH[message]))


def file_with_header(header, data=b""):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + data


def entry(shape, first, last, dtype="F64"):
    return {"dtype": dtype, "shape": shape, "data_offsets": [first, last]}


HOSTILE = {
    "empty": b"",
    "pickle": pickle.dumps({"W": np.zeros(3)}),
    "zip": b"PK\x03\x04" + bytes(100),
    "text": b"hello, this is no network at all",
    "header longer than the file": struct.pack("<Q", 2**62) + b"{}",
    "no JSON": file_with_header(b"\xff\xfe{}"),
    "JSON list": file_with_header([]),
    "deep JSON": file_with_header(b"[" * 100_000 + b"]" * 100_000),
    "long number": file_with_header(b'{"a":' + b"9" * 10_000 + b"}"),
    "huge shape": file_with_header({"W": entry([2**31, 2**31], 0, 8)}, bytes(8)),
    "huge shape and place": file_with_header({"W": entry([2**40], 0, 2**43)}, bytes(8)),
    "overflowing shape": file_with_header({"W": entry([2**62, 4], 0, 0)}),
    "negative shape": file_with_header({"W": entry([-1], 0, 8)}, bytes(8)),
    "negative place": file_with_header({"W": entry([1], -8, 0)}, bytes(8)),
    "overlap": file_with_header({"W": entry([1], 0, 8), "b": entry([1], 0, 8)}, bytes(8)),
    "gap": file_with_header({"W": entry([1], 8, 16)}, bytes(16)),
    "rest": file_with_header({"W": entry([1], 0, 8)}, bytes(16)),
    "odd type": file_with_header({"W": entry([1], 0, 8, dtype=["F64"])}, bytes(8)),
    "no entry": file_with_header({"W": 3}),
    "odd metadata": file_with_header({"__metadata__": {"eqprop_field": 3}}),
    "other safetensors": safetensors.numpy.save({"W": np.zeros(3)}),
    "no JSON inside": safetensors.numpy.save({"W": np.zeros(3)}, {"eqprop_field": "{"}),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_content_is_one_clear_sentence(name, tmp_path):
    path = tmp_path / "net"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(NetworkFileError) as caught:
        load_network(path)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 500


def test_odd_places_are_refused(tmp_path):
    fifo = tmp_path / "pipe"
    os.mkfifo(fifo)
    for place in (tmp_path, tmp_path / "absent", fifo, "/dev/zero", tmp_path / "file" / "below"):
        with pytest.raises(NetworkFileError):
            load_network(place)


def test_every_truncation_is_refused(tmp_path):
    save_network(tmp_path / "net", layered())
    content = (tmp_path / "net").read_bytes()
    for length in range(0, len(content), 7):
        (tmp_path / "cut").write_bytes(content[:length])
        with pytest.raises(NetworkFileError):
            load_network(tmp_path / "cut")


def test_every_flipped_byte_is_refused_or_changes_nothing(tmp_path):
    field = graph(density=0.5)
    save_network(tmp_path / "net", field)
    content = (tmp_path / "net").read_bytes()
    refused = 0
    for position in range(len(content)):
        flipped = bytearray(content)
        flipped[position] ^= 1 << (position % 8)
        (tmp_path / "flipped").write_bytes(flipped)
        try:
            assert identical(load_network(tmp_path / "flipped"), field)
        except NetworkFileError:
            refused += 1
    assert refused > 0.95 * len(content)  # the rest is white space and hexadecimal digits of either case


def test_a_flipped_byte_of_a_tensor_is_named(tmp_path):
    save_network(tmp_path / "net", layered())
    content = bytearray((tmp_path / "net").read_bytes())
    content[-3] ^= 1
    (tmp_path / "net").write_bytes(content)
    with pytest.raises(NetworkFileError, match="a checksum differs at tensor 'b_1'|at tensor 'W_1_2'"):
        load_network(tmp_path / "net")


def test_checksums_are_those_that_another_program_computes(tmp_path):
    save_network(tmp_path / "net", layered())
    with safetensors.safe_open(tmp_path / "net", "numpy") as file:
        metadata = file.metadata()
        said = json.loads(metadata["sha256"])
        bias = file.get_tensor("b_0")
    assert said["b_0"] == hashlib.sha256(b"<f8 (2,)" + bias.tobytes()).hexdigest()
    description = json.dumps(json.loads(metadata["eqprop_field"]), sort_keys=True)
    assert said[""] == hashlib.sha256(description.encode()).hexdigest()


def test_checksums_that_lost_their_name_are_missed(tmp_path):
    save_network(tmp_path / "net", layered())
    content = (tmp_path / "net").read_bytes()
    (tmp_path / "net").write_bytes(content.replace(b'"sha256"', b'"shb256"'))
    with pytest.raises(NetworkFileError, match="lost their name"):
        load_network(tmp_path / "net")


@pytest.mark.parametrize(
    ("field", "sizes"),
    [(layered(), {"sizes": [3, 600_000_000, 2]}), (graph(), {"neurons": 600_000_000})],
    ids=["layered", "graph"],
)
def test_a_small_file_that_claims_much_costs_little(field, sizes, tmp_path):
    path = spoilt(tmp_path, field, lambda said, tensors: said["config"].update(sizes))
    tracemalloc.start()
    with pytest.raises(NetworkFileError, match="of shape"):
        load_network(path)
    assert tracemalloc.get_traced_memory()[1] < 1e7
    tracemalloc.stop()


def test_feature_maps_beyond_memory_are_refused_by_their_number(tmp_path):
    made = epf.ConvField.create(jax.random.key(0), (3, 3, 1), [(1, 1, 1), (1, 1, 3)], (1,))

    def claim(said, tensors):
        said["config"] |= {"image": [30_000, 30_000, 1], "convolutions": [[1, 1, 1], [1, 1, 30_000]]}

    with pytest.raises(NetworkFileError, match="more than"):
        load_network(spoilt(tmp_path, made, claim))


def test_what_is_no_field_is_not_described():
    describe = inspect.unwrap(storage.describe)  # without the tests' own check of types
    for wrong in (epf.kernel_networks.LNL, {"W": np.zeros(3)}, None):
        with pytest.raises(ValueError, match="give a vector field"):
            describe(wrong)


def test_what_would_not_be_read_is_not_saved(tmp_path):
    field = eqx.tree_at(lambda f: f.biases[0], layered(), jnp.array([1.0, jnp.nan]))
    with pytest.raises(ValueError, match="b_0 holds NaN"):
        save_network(tmp_path / "net", field)
    field = eqx.tree_at(lambda f: f.tau[0], layered(), jnp.zeros(2))
    with pytest.raises(ValueError, match="cannot save this network: it has a time constant in tau_0"):
        save_network(tmp_path / "net", field)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("kind", "name"), [("layered", "_0"), ("graph", "")])
def test_phases_file(kind, name, tmp_path):
    field = FIELDS[kind]
    x, y = np.full((3, field.n_inputs), 0.5), np.full((3, field.n_outputs), 0.9)
    times = jnp.linspace(0.0, 50.0, 201)
    rule = epf.EqProp(
        nudging=epf.Nudging.one_sided(0.1),
        substrate=epf.Trajectory(free_time=100.0, nudged_time=100.0, free_times=times, nudged_times=times),
    )
    estimate = rule.estimate(field, x, y)
    save_phases(tmp_path / "phases.npz", field, estimate.free, estimate.nudged[0], estimate)
    with np.load(tmp_path / "phases.npz", allow_pickle=False) as file:
        saved = dict(file)
    np.testing.assert_array_equal(saved[f"free{name}"].shape, (201, *saved[f"s0{name}"].shape))
    np.testing.assert_allclose(saved[f"nudged{name}"][-1], saved[f"sbeta{name}"], atol=1e-7)
    np.testing.assert_array_equal(saved["t_nudged"], times)
    assert saved["verdict_free"].tolist() == ["converged"] * 3
    assert saved["residual_nudged"].shape == (3,)
    bias = "b_0" if kind == "layered" else "b"
    change = (saved[f"sbeta{name}"] - saved[f"s0{name}"]).mean(0) / 0.1  # equation 18 for a bias, by hand
    np.testing.assert_allclose(saved[f"update_{bias}"], change, atol=1e-12)
    np.testing.assert_allclose(saved[f"update_path_{bias}"], change, atol=1e-6)


def test_phases_file_without_trajectories(tmp_path):
    field = FIELDS["layered"]
    estimate = epf.EqProp(nudging=epf.Nudging.one_sided(0.1)).estimate(field, np.zeros((2, 4)), np.zeros((2, 2)))
    save_phases(tmp_path / "p.npz", field, estimate.free, estimate.nudged[0], estimate)
    with np.load(tmp_path / "p.npz") as file:
        assert not {name for name in file if name.startswith(("t_", "free_", "nudged_", "update_path"))}


def test_json_has_no_nan_and_takes_arrays(tmp_path):
    value = {
        "a": np.float32("nan"),
        "b": jnp.array([1.0, jnp.inf]),
        "c": (True, None, "ä"),
        1: tmp_path,
        "n": np.int8(3),
    }
    _files.write_json(tmp_path / "x.json", value)
    said = json.loads((tmp_path / "x.json").read_text("utf-8"))
    assert said == {"a": None, "b": [1.0, None], "c": [True, None, "ä"], "1": str(tmp_path), "n": 3}
    with pytest.raises(TypeError):
        _files.json_text({"a": object()})


def test_npz_takes_any_name_and_no_objects(tmp_path):
    _files.write_npz(tmp_path / "x.npz", path=np.arange(3), file=np.eye(2))
    with np.load(tmp_path / "x.npz", allow_pickle=False) as file:
        assert file["path"].tolist() == [0, 1, 2] and file["file"].shape == (2, 2)
    with pytest.raises(ValueError, match="'odd' holds Python objects"):
        _files.write_npz(tmp_path / "y.npz", odd=np.array([{}, None]))


def test_what_a_killed_process_left_is_swept_and_what_is_being_written_is_not(tmp_path):
    script = f"""
import os, signal
from eqprop_field import _files
path, file = _files._new_temporary(__import__("pathlib").Path({str(tmp_path)!r}))
file.write(b"half")
file.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], cwd=pathlib.Path(__file__).parents[1], check=False)
    (left,) = tmp_path.iterdir()
    alive, file = _files._new_temporary(tmp_path)
    (tmp_path / ".mine.tmp").write_text("of another program")
    with file:
        _files.write_text(tmp_path / "new", "x")
    assert sorted(tmp_path.iterdir()) == sorted([alive, tmp_path / ".mine.tmp", tmp_path / "new"]) and left != alive


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EFBIG])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(number, tmp_path, monkeypatch):
    target = tmp_path / "file"
    _files.write_text(target, "old")

    def fail(descriptor):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="cannot write .*file: .*; ") as caught:
        _files.write_text(target, "new")
    assert caught.value.errno == number and str(target) in str(caught.value)
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_real_limit_on_file_size(tmp_path):
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError, match="ulimit -f"):
            _files.write_atomically(tmp_path / "big", bytes(10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not list(tmp_path.iterdir())


def test_where_a_file_may_be_written(tmp_path):
    _files.write_text(tmp_path / "new" / "folder" / "file", "x")
    assert (tmp_path / "new" / "folder" / "file").read_text() == "x"
    (tmp_path / "link").symlink_to(tmp_path / "real")
    _files.write_text(tmp_path / "link", "through")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "real").read_text() == "through"
    for place in (tmp_path, "/dev/null", tmp_path / "real" / "below"):
        with pytest.raises(OSError, match="cannot write"):
            _files.write_text(place, "x")
    assert not os.path.isfile("/dev/null")
