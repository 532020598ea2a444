"""Arrays that take long to unpack, kept as files that are mapped into memory.

A file is one page of header and the elements, in row-major order. The header is the magic, a
SHA-256 over the rest of the page, and JSON: name and digest of what was unpacked, type and shape,
SHA-256 of the elements, and the file's time of modification.

At each start header, size and time are checked, which costs nothing; a file that anything wrote to
has another time. ``is_whole`` hashes the elements too.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import math
import mmap
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.program.compiler.cache.files import mark_used, open_own
from chainrule.program.compiler.cache.folder import DATA, usable
from chainrule.program.compiler.cache.room import keep

MAGIC = b"chainrule data 1"
DIGEST_BYTES = 32
PREFIX = len(MAGIC) + DIGEST_BYTES
#: where the elements begin: aligned for any vector and any page
PAGE = 4096
FILE_NAME = re.compile(r"[\w.-]+-[0-9a-f]{16}\.array")
#: coarse enough for every file system
TIME_STEP_NS = 2_000_000_000


def kept_array(name: str, source: str, make: Callable[[], np.ndarray]) -> np.ndarray:
    """The array that ``make`` returns, from the cache if it was made before.

    Args:
        name: Of what is unpacked: letters, digits, dots, underscores, hyphens.
        source: SHA-256 of the packed form, in hexadecimal.
        make: Unpacks it.

    Returns:
        A read-only array; where there is no cache, the one that was made.
    """
    array = load(name, source)
    if array is None:
        array = make()
        if _store(name, source, array):
            mapped = load(name, source)
            array = array if mapped is None else mapped
    array.flags.writeable = False
    return array


def load(name: str, source: str) -> np.ndarray | None:
    """Map a kept array into memory; None if there is none that fits and can be trusted."""
    folder = usable(DATA, make=False)
    if folder is None:
        return None
    try:
        return _map(folder / _file_name(name, source), name, source)
    except OSError:
        return None


def is_whole(path: Path) -> bool:
    """True if the file is one that was written here, to the last element."""
    try:
        descriptor, status = open_own(path)
        with os.fdopen(descriptor, "rb") as file:
            header = _read_header(file.read(PAGE), status)
            return header is not None and (
                hashlib.file_digest(file, "sha256").hexdigest() == header["sha256"]
            )
    except OSError:
        return False


def _file_name(name: str, source: str) -> str:
    file_name = f"{name}-{source[:16]}.array"
    if not FILE_NAME.fullmatch(file_name):
        raise ValueError(f"{name!r}, {source!r} can not name a file")
    return file_name


def _map(path: Path, name: str, source: str) -> np.ndarray | None:
    descriptor, status = open_own(path)
    try:
        header = _read_header(os.read(descriptor, PAGE), status)
        if header is None or (header["name"], header["source"]) != (name, source):
            return None
        mark_used(descriptor, status)
        # the array holds the mapping; deleting the file does not harm it
        mapping = mmap.mmap(descriptor, status.st_size, access=mmap.ACCESS_READ)
    finally:
        os.close(descriptor)
    if hasattr(mmap, "MADV_WILLNEED"):
        with contextlib.suppress(OSError):
            mapping.madvise(mmap.MADV_WILLNEED)
    elements = np.frombuffer(mapping, dtype=np.dtype(header["dtype"]), offset=PAGE)
    return elements.reshape(header["shape"])


def _read_header(page: bytes, status: os.stat_result) -> dict[str, Any] | None:
    """The header of a file of this size and time; None if it is not what was written."""
    if len(page) != PAGE or not page.startswith(MAGIC):
        return None
    if hashlib.sha256(page[PREFIX:]).digest() != page[len(MAGIC) : PREFIX]:
        return None
    header: dict[str, Any] = json.loads(page[PREFIX:])
    n_bytes = math.prod(header["shape"]) * np.dtype(header["dtype"]).itemsize
    if status.st_size != PAGE + n_bytes or status.st_mtime_ns != header["time_ns"]:
        return None
    return header


def _store(name: str, source: str, array: np.ndarray) -> bool:
    """Write an array's file; False if there is no cache or no room in it."""
    folder = usable(DATA)
    if folder is None or not array.nbytes:  # nothing can not be mapped
        return False
    time_ns = time.time_ns() // TIME_STEP_NS * TIME_STEP_NS
    elements = np.ascontiguousarray(array).reshape(-1).view(np.uint8).data
    content = {
        "name": name,
        "source": source,
        "dtype": array.dtype.str,
        "shape": array.shape,
        "sha256": hashlib.sha256(elements).hexdigest(),
        "time_ns": time_ns,
    }
    rest = json.dumps(content).encode().ljust(PAGE - PREFIX)
    head = MAGIC + hashlib.sha256(rest).digest() + rest
    path = folder / _file_name(name, source)
    # durable: a power cut must not leave a right header before zeros
    return keep(path, [head, elements], durable=True, time_ns=time_ns)
