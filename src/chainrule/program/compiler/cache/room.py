"""The bound on the cache's size: what was not used for longest makes room."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from chainrule.program.compiler.cache.files import TEMPORARY, last_used, write_own
from chainrule.program.compiler.cache.folder import PARTS, limit, tell_once, usable

#: a file that a writer left behind when it was killed
ABANDONED_SECONDS = 3600
#: after making room, this share of the limit is taken: the next stores need no clearing
FILLED = 0.9
#: the folder is listed again when this share of the limit was written since
LISTED_EVERY = 1 / 32

_lock = threading.Lock()
_unlisted = float("inf")  # bytes written since the folder was listed; at first, it never was


def keep(
    path: Path, pieces: Sequence[bytes | memoryview], *, durable: bool = False, time_ns: int = 0
) -> bool:
    """Write a file of the cache, and make room where it needs some; False if that failed.

    Args:
        path: The file, in a part of the cache that was checked.
        pieces: Its bytes.
        durable: As for ``write_own``.
        time_ns: As for ``write_own``.
    """
    n_bytes = sum(len(piece) for piece in pieces)
    if n_bytes > limit() // 2:
        return False
    try:
        write_own(path, pieces, durable=durable, time_ns=time_ns)
    except FileNotFoundError:  # another process clears the cache
        return False
    except OSError as error:
        tell_once(f"the cache in {path.parent.parent} can not be written: {error.strerror}")
        return False
    make_room(n_bytes)
    return True


def make_room(n_bytes: int) -> None:
    """Count ``n_bytes`` just written, and now and then delete what exceeds the limit.

    Each process lists the folder after its first store and then when it has written a share of the
    limit; with many processes at once the cache is above its limit by that share for each.
    """
    global _unlisted
    most = limit()
    if not _lock.acquire(blocking=False):
        return  # another thread is at it
    try:
        _unlisted += n_bytes
        if _unlisted >= most * LISTED_EVERY:
            _unlisted = 0.0
            delete_oldest(most)
    finally:
        _lock.release()


def delete_oldest(most: int) -> None:
    """Delete the least recently used files if all together take more than ``most`` bytes."""
    now = time.time_ns()
    found = []
    for path, status in listing():
        if path.name.startswith(TEMPORARY) and now - last_used(status) > ABANDONED_SECONDS * 10**9:
            _delete(path)
        else:
            found.append((last_used(status), status.st_size, path))
    total = sum(size for _, size, _ in found)
    if total <= most:
        return
    for _, size, path in sorted(found):
        if total <= most * FILLED:
            break
        _delete(path)
        total -= size


def listing() -> Iterator[tuple[Path, os.stat_result]]:
    """All plain files in the cache's parts."""
    for part in PARTS:
        folder = usable(part, make=False)
        if folder is None:
            continue
        with contextlib.suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                # other processes delete too
                with contextlib.suppress(FileNotFoundError):
                    status = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(status.st_mode):
                        yield Path(entry.path), status


def _delete(path: Path) -> None:
    # another process was faster, or the file system can only be read
    with contextlib.suppress(OSError):
        path.unlink()
