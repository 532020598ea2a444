"""Entries of the code cache: what is kept under a key, and its form on disk.

A file is the magic, a SHA-256 over all that follows, the length of the header (8 bytes, least
first), the header as JSON (key, metadata, and name, start and size of each blob), the blobs.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from chainrule.program.compiler.cache.files import read_own
from chainrule.program.compiler.cache.folder import CODE, limit, usable
from chainrule.program.compiler.cache.room import keep

MAGIC = b"chainrule code 1"
DIGEST_BYTES = 32
LENGTH_BYTES = 8
PREFIX = len(MAGIC) + DIGEST_BYTES + LENGTH_BYTES
NAME = re.compile(r"([a-z]+)-[0-9a-f]{64}")


@dataclass(frozen=True)
class Entry:
    """What was stored under a key.

    Args:
        key: As ``make_key`` made it.
        metadata: What JSON can hold; tuples come back as lists.
        blobs: Name → bytes, such as object code.
    """

    key: str
    metadata: dict[str, Any]
    blobs: dict[str, bytes]


def lookup(key: str) -> Entry | None:
    """Find an entry; None if there is none that is whole, unchanged and the user's own.

    Args:
        key: Made by ``make_key``.
    """
    _check_key(key)
    folder = usable(CODE, make=False)
    if folder is None:
        return None
    try:
        return parse(key, read_own(folder / key, limit()))
    except OSError:
        return None


def store(key: str, metadata: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bool:
    """Keep an entry for later processes; the least recently used ones make room.

    Args:
        key: Made by ``make_key``.
        metadata: What JSON can hold.
        blobs: Name → bytes.

    Returns:
        False if there is no cache, the entry is too large for it, or the disk refused.
    """
    _check_key(key)
    data = serialize(key, metadata, blobs)
    folder = usable(CODE)
    return folder is not None and keep(folder / key, [data])


def serialize(key: str, metadata: Mapping[str, Any], blobs: Mapping[str, bytes]) -> bytes:
    """The bytes of an entry's file."""
    places: dict[str, tuple[int, int]] = {}
    start = 0
    for name, blob in blobs.items():
        places[name] = (start, len(blob))
        start += len(blob)
    content = {"key": key, "metadata": dict(metadata), "blobs": places}
    header = json.dumps(content, separators=(",", ":")).encode()
    rest = b"".join([len(header).to_bytes(LENGTH_BYTES, "little"), header, *blobs.values()])
    return b"".join([MAGIC, hashlib.sha256(rest).digest(), rest])


def parse(key: str, data: bytes) -> Entry | None:
    """Read the bytes of an entry's file; None unless they are what ``serialize`` made for ``key``.

    Args:
        key: The key that the file's name promises.
        data: The whole file.
    """
    if len(data) < PREFIX or not data.startswith(MAGIC):
        return None
    view = memoryview(data)
    rest = view[len(MAGIC) + DIGEST_BYTES :]
    if hashlib.sha256(rest).digest() != view[len(MAGIC) : len(MAGIC) + DIGEST_BYTES]:
        return None
    # from here on the bytes are those that were written
    first = PREFIX + int.from_bytes(rest[:LENGTH_BYTES], "little")
    header = json.loads(data[PREFIX:first])
    if header["key"] != key:  # a file that was renamed
        return None
    blobs = {
        name: data[first + start : first + start + size]
        for name, (start, size) in header["blobs"].items()
    }
    return Entry(key, header["metadata"], blobs)


def _check_key(key: str) -> None:
    if not NAME.fullmatch(key):
        raise ValueError(f"{key!r} is no key; make_key makes them")
