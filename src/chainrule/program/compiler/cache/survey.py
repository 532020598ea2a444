"""What is in the cache, whether it is whole, and how it is emptied."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from chainrule.program.compiler.cache import arrays, entries
from chainrule.program.compiler.cache.files import TEMPORARY, read_own
from chainrule.program.compiler.cache.folder import (
    CODE,
    DATA,
    PARTS,
    check,
    limit,
    location,
)

CODE_KINDS = ("graph", "ir", "sources")
#: kinds of files: levels of code, unpacked data, and what a writer has not finished
KINDS = (*CODE_KINDS, "data", "unfinished")


@dataclass
class Amount:
    """Files of one kind.

    Args:
        files: How many.
        bytes: How much they hold.
    """

    files: int = 0
    bytes: int = 0


def problem() -> str:
    """Why the cache can not be used; ``""`` if it can."""
    root = location()
    if root is None:
        return "the cache is off"
    for folder in (root, root / CODE, root / DATA):
        try:
            check(folder)
        except FileNotFoundError:
            continue
        except OSError as error:
            return str(error)
        effective = os.access in os.supports_effective_ids
        if not os.access(folder, os.W_OK | os.X_OK, effective_ids=effective):
            return f"{folder} can not be written to"
    return ""


def amounts() -> dict[str, Amount]:
    """How many files of each kind there are, and how large they are."""
    found = {kind: Amount() for kind in KINDS}
    for kind, entry in _own_files():
        with contextlib.suppress(OSError):  # another process deleted it
            found[kind].bytes += entry.stat(follow_symlinks=False).st_size
            found[kind].files += 1
    return found


def delete_damaged() -> list[Path]:
    """Hash every file; delete, and return, those that are not as they were written."""
    damaged = [
        Path(entry.path)
        for kind, entry in _own_files()
        if kind != "unfinished" and not _is_whole(kind, Path(entry.path))
    ]
    for path in damaged:
        with contextlib.suppress(OSError):
            path.unlink()
    return [path for path in damaged if not os.path.lexists(path)]


def _is_whole(kind: str, path: Path) -> bool:
    if kind == "data":
        return arrays.is_whole(path)
    try:
        return entries.parse(path.name, read_own(path, limit())) is not None
    except OSError:
        return False


def clear() -> Amount:
    """Delete the files that the cache made, and its folders where nothing else is in them."""
    gone = Amount()
    for _, entry in _own_files():
        with contextlib.suppress(OSError):
            size = entry.stat(follow_symlinks=False).st_size
            os.unlink(entry.path)
            gone.files += 1
            gone.bytes += size
    root = location()
    if root is not None:
        for part in PARTS:
            with contextlib.suppress(OSError):
                os.rmdir(root / part)
    return gone


def _own_files() -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Kind and entry of all that has a name as the cache gives it, and is no folder."""
    root = location()
    if root is None:
        return
    for part in PARTS:
        try:
            check(root)
            check(root / part)
            with os.scandir(root / part) as listed:
                found = list(listed)
        except OSError:  # not there, or not to be touched: ``problem`` says why
            continue
        for entry in found:
            kind = _kind(part, entry.name)
            if kind and not entry.is_dir(follow_symlinks=False):
                yield kind, entry


def _kind(part: str, name: str) -> str:
    if name.startswith(TEMPORARY):
        return "unfinished"
    if part == DATA:
        return "data" if arrays.FILE_NAME.fullmatch(name) else ""
    match = entries.NAME.fullmatch(name)
    return match[1] if match and match[1] in CODE_KINDS else ""
