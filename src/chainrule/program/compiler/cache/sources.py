"""The digest of the compiler's own sources, by which code of another state of them is not used."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator
from pathlib import Path

from chainrule.program.compiler.cache.encoding import digest_of
from chainrule.program.compiler.cache.entries import lookup, store

#: what decides the code of a canonical graph, beside the graph: paths in the package
SOURCES = ("ops", "program", "graph.py", "execution.py")
SETTLED_SECONDS = 2.0

_PACKAGE = Path(__file__).parents[3]
_LOADED = time.time()


@functools.cache
def sources_digest() -> str:
    """SHA-256 of the source files that decide the code of a graph, found once a process.

    Reading them all takes 10 ms, so the cache remembers the digest under the files' names, sizes,
    times and inodes. A file that changed after this process began may not be what was imported:
    then the answer is good for this process alone.
    """
    files = list(_source_files(_PACKAGE))
    if not files or any(_LOADED - SETTLED_SECONDS < _changed(s) <= time.time() for _, s in files):
        return f"this process {os.urandom(16).hex()}"
    state = [
        (str(path), s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_ino, s.st_dev)
        for path, s in files
    ]
    key = f"sources-{digest_of(repr(state))}"
    known = lookup(key)
    if known is not None:
        return str(known.metadata["digest"])
    try:
        digest = _read_all([path for path, _ in files])
    except OSError:
        return f"this process {os.urandom(16).hex()}"
    store(key, {"digest": digest}, {})
    return digest


def _changed(status: os.stat_result) -> float:
    return max(status.st_mtime, status.st_ctime)


def _read_all(paths: list[Path]) -> str:
    return digest_of([(path.relative_to(_PACKAGE).as_posix(), path.read_bytes()) for path in paths])


def _source_files(package: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """The files under ``SOURCES`` and their status, in the order of their paths."""
    for name in SOURCES:
        path = package / name
        if path.is_dir():
            yield from _folder_files(path)
        elif path.is_file():
            yield path, path.stat()


def _folder_files(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    with os.scandir(folder) as listed:
        for entry in sorted(listed, key=lambda entry: entry.name):
            if entry.name.endswith(".py"):
                yield folder / entry.name, entry.stat()
            elif entry.name[0] not in "._" and entry.is_dir():
                yield from _folder_files(folder / entry.name)
