"""Checkpoints: one safetensors file with JSON beside the tensors, written whole or not at all.

A file holds a tree of dicts, lists, numbers, texts and arrays. Arrays become tensors of the
safetensors format; the rest is JSON in the file's metadata, where ``{"$tensor": name}`` stands for
an array. The metadata also says the format version and a SHA-256 over everything, so that a
damaged file is refused. Nothing in it is executed when it is read: no pickle.

Format version 1:

* ``metadata["format"]`` is ``"chainrule-checkpoint"``, ``metadata["format_version"]`` a number;
* ``metadata["state"]`` the JSON text; ``metadata["sha256"]`` the digest over that text and every
  tensor's name, type, shape and bytes, in the order of names.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

from chainrule.array import Array
from chainrule.errors import StateError
from chainrule.ops.origin import here

FORMAT = "chainrule-checkpoint"
FORMAT_VERSION = 1
SUFFIX = ".safetensors"
#: a header above this size is refused before it is read; a checkpoint's has some kilobytes
LARGEST_HEADER = 100_000_000

logger = logging.getLogger("chainrule.training")

_DTYPES = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
#: what turns the state of an older format version into that of the next one
MIGRATIONS: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {}


def save(state: Mapping[str, Any], path: str | os.PathLike[str]) -> Path:
    """Write a checkpoint so that ``path`` holds it whole, or what it held before.

    The file is written beside its place under a temporary name, synced to disk and renamed; then
    the folder is synced too.

    Args:
        state: Dicts with text keys, lists, tuples, numbers, texts, None, and Arrays or ndarrays.
        path: File to write; its folder must exist.

    Raises:
        StateError: The state holds something else.

    >>> import tempfile, pathlib
    >>> folder = tempfile.mkdtemp()
    >>> path = save({"epoch": 3, "w": np.arange(2.0)}, pathlib.Path(folder) / "a.safetensors")
    >>> load(path)
    {'epoch': 3, 'w': array([0., 1.])}
    """
    write_atomically(Path(path), serialize(state))
    return Path(path)


def serialize(state: Mapping[str, Any]) -> bytes:
    """The bytes of a checkpoint file."""
    from safetensors.numpy import save as to_bytes

    tensors: dict[str, np.ndarray] = {}
    text = json.dumps(_pack(state, "", tensors), allow_nan=False, separators=(",", ":"))
    metadata = {
        "format": FORMAT,
        "format_version": str(FORMAT_VERSION),
        "state": text,
        "sha256": _digest(text, tensors),
    }
    return bytes(to_bytes(tensors, metadata))


def _pack(x: Any, path: str, tensors: dict[str, np.ndarray]) -> Any:
    """The JSON form of ``x``; its arrays go to ``tensors`` under their paths."""
    if isinstance(x, Array | np.ndarray | np.generic):
        array = np.ascontiguousarray(x.numpy() if isinstance(x, Array) else x)
        if array.dtype not in _NAMES:
            raise StateError(f"state {path!r} holds {array.dtype}, which a checkpoint can not hold")
        # ascontiguousarray makes a scalar a vector of one
        tensors[path] = array.reshape(np.shape(x))
        return {"$tensor": path}
    if isinstance(x, float) and not math.isfinite(x):
        return {"$float": repr(x)}
    if x is None or isinstance(x, bool | int | float | str):
        return x
    if isinstance(x, Mapping):
        strange = [key for key in x if not isinstance(key, str) or key in ("$tensor", "$float")]
        if strange:
            raise StateError(f"state {path!r} has the key {strange[0]!r}; keys must be plain texts")
        return {key: _pack(value, _join(path, key), tensors) for key, value in x.items()}
    if isinstance(x, list | tuple):
        return [_pack(value, _join(path, str(i)), tensors) for i, value in enumerate(x)]
    raise StateError(
        f"state {path!r} holds a {type(x).__name__}, which a checkpoint can not hold",
        expected="dicts, lists, numbers, texts, None and arrays",
        got=repr(x)[:80],
    )


def _join(path: str, name: str) -> str:
    return f"{path}/{name}" if path else name


def _unpack(x: Any, tensors: Mapping[str, np.ndarray]) -> Any:
    if isinstance(x, dict):
        if "$tensor" in x:
            return tensors[x["$tensor"]]
        if "$float" in x:
            return float(x["$float"])
        return {key: _unpack(value, tensors) for key, value in x.items()}
    if isinstance(x, list):
        return [_unpack(value, tensors) for value in x]
    return x


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        array = tensors[name]
        digest.update(f"|{name}|{_NAMES[array.dtype]}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def write_atomically(path: Path, content: bytes) -> None:
    """Give ``path`` new content so that a reader, or a power cut, sees the old or the new."""
    temporary = path.parent / f".writing-{secrets.token_hex(8)}{path.suffix}"
    # the mode is what open() would give, which mkstemp's is not
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    handle = os.open(temporary, flags, 0o666)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename durable; Windows has no such call and needs none."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a checkpoint; every tensor is checked against the digest.

    Raises:
        StateError: The file is missing, truncated, damaged, no checkpoint of ours, or of a newer
            format version; the message says which.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise StateError(
            f"checkpoint {path} can not be read: {error.strerror}",
            expected="a run folder, or a file of its checkpoints/",
            fix="list your runs: ls runs/",
            where=str(here()),
        ) from None
    return deserialize(content, str(path))


def deserialize(content: bytes, label: str = "checkpoint") -> dict[str, Any]:
    """The state held by the bytes of a checkpoint file.

    Args:
        content: The file.
        label: How messages call it.

    Raises:
        StateError: As for ``load``.
    """
    metadata, tensors = read_header(content, label), read_tensors(content, label)
    if metadata.get("format") != FORMAT:
        raise StateError(
            f"{label} is a safetensors file, but no checkpoint of chainrule",
            expected=f"metadata format={FORMAT!r}",
            got=f"metadata {sorted(metadata) or 'empty'}",
            fix="load weights alone with model.load_state_dict",
        )
    version = _version(metadata, label)
    text = metadata.get("state", "")
    if _digest(text, tensors) != metadata.get("sha256"):
        raise StateError(
            f"{label} is damaged: its content does not match its SHA-256",
            fix="use an older checkpoint of the run",
        )
    try:
        state = _unpack(json.loads(text), tensors)
    except (ValueError, KeyError, RecursionError) as error:
        raise StateError(f"{label} is damaged: its state can not be read ({error})") from None
    if not isinstance(state, dict):
        raise StateError(f"{label} is damaged: its state is no table")
    for older in range(version, FORMAT_VERSION):
        state = MIGRATIONS[older](state)
    answer: dict[str, Any] = state
    return answer


def _version(metadata: Mapping[str, str], label: str) -> int:
    given = metadata.get("format_version", "")
    if not (given.isascii() and given.isdigit() and int(given) >= 1):
        raise StateError(f"{label} is damaged: its format version is {given!r}")
    if int(given) > FORMAT_VERSION:
        raise StateError(
            f"{label} was written by a newer chainrule",
            expected=f"format version up to {FORMAT_VERSION}",
            got=f"format version {given}",
            fix="update chainrule",
        )
    return int(given)


def read_tensors(content: bytes, label: str = "file") -> dict[str, np.ndarray]:
    """The tensors of any safetensors file.

    Raises:
        StateError: The file is truncated, damaged or something else.
    """
    import safetensors

    read_header(content, label)
    try:
        entries = safetensors.deserialize(content)
    except safetensors.SafetensorError as error:
        raise StateError(
            f"{label} is damaged or truncated",
            expected="a whole safetensors file",
            got=str(error),
            fix="use an older checkpoint of the run",
        ) from None
    tensors = {}
    for name, entry in entries:
        dtype = _DTYPES.get(entry["dtype"])
        if dtype is None:
            raise StateError(f"{label}: tensor {name!r} has the unknown type {entry['dtype']}")
        # an own copy, for the caller may keep it longer than the file's bytes
        tensors[name] = np.frombuffer(bytearray(entry["data"]), dtype).reshape(entry["shape"])
    return tensors


def read_header(content: bytes, label: str = "file") -> dict[str, str]:
    """The metadata of a safetensors file, its sizes checked before anything is allocated."""
    if len(content) < 8:
        raise StateError(f"{label} is truncated: {len(content)} bytes are no safetensors file")
    size = int.from_bytes(content[:8], "little")
    if size > LARGEST_HEADER:
        raise StateError(f"{label} is no safetensors file: its header claims {size} bytes")
    if 8 + size > len(content):
        raise StateError(
            f"{label} is truncated",
            expected=f"a header of {size} bytes",
            got=f"{len(content) - 8} bytes",
            fix="use an older checkpoint of the run",
        )
    try:
        metadata = json.loads(content[8 : 8 + size]).get("__metadata__", {})
    except (ValueError, AttributeError, RecursionError):
        raise StateError(f"{label} is no safetensors file: its header is no JSON") from None
    if not isinstance(metadata, dict):
        raise StateError(f"{label} is damaged: its metadata is no table")
    return {str(key): str(value) for key, value in metadata.items()}


def file_name(epoch: int, step: int) -> str:
    """Name of the checkpoint after ``epoch`` whole epochs and ``step`` steps of the next one.

    >>> file_name(3, 120)
    'epoch-000003-step-000000120.safetensors'
    """
    return f"epoch-{epoch:06d}-step-{step:09d}{SUFFIX}"


def checkpoints(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoint files of a folder, latest first."""
    return sorted(Path(folder).glob(f"epoch-*-step-*{SUFFIX}"), reverse=True)


def load_latest(folder: str | os.PathLike[str]) -> tuple[dict[str, Any], Path]:
    """The latest valid checkpoint of a folder; damaged ones are skipped, and the log says so.

    Raises:
        StateError: There is none; the message lists what is wrong with each.
    """
    complaints = []
    for path in checkpoints(folder):
        try:
            return load(path), path
        except StateError as error:
            logger.warning("skipped a checkpoint: %s", error.message)
            complaints.append(error.message)
    raise StateError(
        f"{folder} holds no valid checkpoint",
        expected=f"a file named like {file_name(1, 0)}",
        got="; ".join(complaints) or "no checkpoint files",
        fix="name the folder that was given as run_dir; list your runs: ls runs/",
    )


def prune(folder: str | os.PathLike[str], keep: int) -> None:
    """Delete all but the latest ``keep`` checkpoints, and what an interrupted write left behind."""
    for path in checkpoints(folder)[keep:]:
        path.unlink(missing_ok=True)
    for path in Path(folder).glob(f".writing-*{SUFFIX}"):
        path.unlink(missing_ok=True)
