"""Safetensors files with a checksum a tensor; reading those that may be damaged or hostile: nothing is believed before
it is checked.
"""

import hashlib
import json
import math
import os
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeGuard

import numpy as np

_CHECKSUMS = "sha256"
_DIGEST = re.compile("[0-9a-f]{64}")
_HEAD = "its description"
_DTYPES = {"F32": "<f4", "F64": "<f8", "BOOL": "|b1", "I32": "<i4", "I64": "<i8", "U32": "<u4"}
_KINDS = {form: kind for kind, form in _DTYPES.items()}
_LONGEST_HEADER = 2**25  # bytes; the largest run's history needs far less


class TensorFileError(ValueError):
    """What is wrong with a file, as the end of a sentence."""


def tensor_file(key: str, description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> bytes:
    """The content of a safetensors file whose metadata have a description as JSON under `key`, and checksums.

    These stand as JSON under the metadata key `sha256`: for every tensor by its name that of its NumPy type, shape and
    bytes (`b"<f8 (3, 2)" + bytes`), and under `""` that of the description, as JSON with sorted keys.

    Equal contents give equal bytes.

    Raises:
        TypeError: for a description that JSON has no form for.
        ValueError: for a tensor of a type that is not read again.
    """
    metadata = {key: json.dumps(description), _CHECKSUMS: json.dumps(_checksums(description, tensors))}
    # Not the library of the format: it writes metadata in an order that changes from run to run.
    header: dict[str, Any] = {"__metadata__": metadata}
    ordered = dict(sorted(tensors.items(), key=lambda item: -item[1].itemsize))  # so that each begins at a whole word
    end = 0
    for name, tensor in ordered.items():
        if tensor.dtype.str not in _KINDS:
            raise ValueError(f"tensor {name} holds {tensor.dtype} values, where a file holds {', '.join(_DTYPES)}")
        start, end = end, end + tensor.nbytes
        header[name] = {"dtype": _KINDS[tensor.dtype.str], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *(tensor.tobytes() for tensor in ordered.values())])


def described_tensors(path: str | os.PathLike, key: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description under a metadata key and the tensors, as `tensor_file` wrote them.

    What has no checksums, as files of other programs and of earlier versions, is taken as it is.

    Raises:
        TensorFileError: as `read_tensor_file`, for a file without such a description, and where a checksum differs.
    """
    metadata, tensors = read_tensor_file(path)
    if key not in metadata:
        raise TensorFileError(f"is a safetensors file without the metadata {key!r}")
    description = _json_object(metadata.pop(key), key)
    if _CHECKSUMS in metadata:
        _compare(_json_object(metadata[_CHECKSUMS], _CHECKSUMS), _checksums(description, tensors))
    elif any(map(_DIGEST.search, metadata.values())):  # else one damaged letter would take all checksums away
        raise TensorFileError("is damaged: its checksums have lost their name")
    return description, tensors


def _json_object(text: str, key: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise TensorFileError(f"has metadata {key!r} that is not JSON") from error
    if not isinstance(found, dict):
        raise TensorFileError(f"has metadata {key!r} that is not a JSON object")
    return found


def _compare(said: dict[str, Any], found: dict[str, str]) -> None:
    for name in sorted(said.keys() | found.keys()):
        if said.get(name) != found.get(name):
            raise TensorFileError(f"is damaged: a checksum differs at {f'tensor {name!r:.40}' if name else _HEAD}")


def _checksums(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> dict[str, str]:
    # Once through JSON, which is what a reader has: tuples are lists there, and every key is text.
    plain = json.dumps(json.loads(json.dumps(description)), sort_keys=True)
    contents = {"": plain.encode()}
    contents |= {name: f"{t.dtype.str} {t.shape}".encode() + t.tobytes() for name, t in tensors.items()}
    return {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}


def read_tensor_file(path: str | os.PathLike) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    """The metadata and the tensors of a safetensors file.

    The header is checked against the file's size before anything is allocated, so a small file costs little memory
    whatever it claims.

    Raises:
        TensorFileError: if the file is not a whole safetensors file of the types used here.
    """
    path = Path(path)
    try:
        # A device or a pipe could go on for ever, or block the opening.
        if not stat.S_ISREG(path.stat().st_mode):
            raise TensorFileError("is not a file (a folder or a device)")
        with path.open("rb") as file:
            return _read(file, path.stat().st_size)
    except OSError as error:
        raise TensorFileError(f"cannot be read ({error.strerror or error})") from error
    except MemoryError as error:
        raise TensorFileError("is larger than this machine's memory") from error


def _read(file: BinaryIO, size: int) -> tuple[dict[str, str], dict[str, np.ndarray]]:
    header, start = _header(file, size)
    metadata = header.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise TensorFileError("has metadata that is not text")
    plan = {name: _checked_entry(name, entry) for name, entry in header.items()}
    end = 0
    for name, (dtype, shape, first, last) in sorted(plan.items(), key=lambda item: item[1][2:]):
        if first != end or last - first != math.prod(shape) * dtype.itemsize:
            raise TensorFileError(f"has a header that does not fit itself at tensor {name!r}")
        end = last
    if start + end != size:
        raise TensorFileError(
            f"is {size} bytes long where its header promises {start + end}: it is truncated or damaged"
        )
    tensors = {}
    for name, (dtype, shape, first, last) in plan.items():
        file.seek(start + first)
        content = file.read(last - first)
        if dtype.kind == "b" and content.strip(b"\0\1"):
            raise TensorFileError(f"has values other than true and false in tensor {name!r}")
        tensors[name] = np.frombuffer(content, dtype).reshape(shape)
    return metadata, tensors


def _header(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header as JSON, and where the tensors begin."""
    length = int.from_bytes(file.read(8), "little")
    if size < 8 or not 2 <= length <= min(size - 8, _LONGEST_HEADER):
        raise TensorFileError("is not a safetensors file, or is truncated")
    try:
        header = json.loads(file.read(length).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise TensorFileError("is not a safetensors file: it has no JSON header") from error
    if not isinstance(header, dict):
        raise TensorFileError("is not a safetensors file: its header is not a JSON object")
    return header, 8 + length


def _checked_entry(name: str, entry: Any) -> tuple[np.dtype, tuple[int, ...], int, int]:
    """Type, shape, first and last byte of one tensor, all of them sane."""
    fields = entry if isinstance(entry, Mapping) else {}
    shape, offsets, kind = fields.get("shape"), fields.get("data_offsets"), fields.get("dtype")
    if not (_whole_numbers(shape) and _whole_numbers(offsets) and len(offsets) == 2 and len(shape) <= 8):
        raise TensorFileError(f"describes tensor {name!r} without a proper shape and place")
    if not isinstance(kind, str) or kind not in _DTYPES:
        raise TensorFileError(f"holds tensor {name!r} as {kind!r}, where {', '.join(_DTYPES)} are allowed")
    return np.dtype(_DTYPES[kind]), tuple(shape), offsets[0], offsets[1]


def _whole_numbers(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and 0 <= n < 2**63 for n in value)
