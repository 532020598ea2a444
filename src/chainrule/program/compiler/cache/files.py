"""Reading files that may be anything, and writing them whole or not at all."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from chainrule.program.compiler.cache.folder import is_open_to_others, is_own

TEMPORARY = ".writing-"

# a FIFO must not make the reader wait, a link not be followed; Windows knows neither
_READ = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NOCTTY", 0)
    | getattr(os, "O_BINARY", 0)
)
_WRITE = (
    os.O_WRONLY
    | os.O_CREAT
    | os.O_EXCL
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)


def open_own(path: Path) -> tuple[int, os.stat_result]:
    """Open a plain file of the user's own to read; the caller closes the descriptor.

    Raises:
        OSError: It is not there, is a link, no plain file, another user's, or open to others.
    """
    descriptor = os.open(path, _READ)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(f"{path} is no plain file")
        if not is_own(status) or is_open_to_others(status):
            raise OSError(f"{path} could have been written by others")
    except OSError:
        os.close(descriptor)
        raise
    return descriptor, status


def read_own(path: Path, most: int) -> bytes:
    """The bytes of a plain file of the user's own; marks it as used now.

    Args:
        path: The file.
        most: Refuse a larger one.

    Raises:
        OSError: As ``open_own``, or the file is too large.
    """
    descriptor, status = open_own(path)
    try:
        if status.st_size > most:
            raise OSError(f"{path} is too large")
        # one read is enough but for signals; a file that shrinks meanwhile ends early
        data = os.read(descriptor, status.st_size)
        while len(data) < status.st_size and (more := os.read(descriptor, status.st_size)):
            data += more
        mark_used(descriptor, status)
    finally:
        os.close(descriptor)
    return data


def mark_used(descriptor: int, status: os.stat_result) -> None:
    """Set the time of access, which some file systems are told not to keep, to now."""
    if os.utime in os.supports_fd:
        with contextlib.suppress(OSError):  # a read-only file system
            os.utime(descriptor, ns=(time.time_ns(), status.st_mtime_ns))


def last_used(status: os.stat_result) -> int:
    """When a file was written or read last, in nanoseconds since 1970."""
    return max(status.st_atime_ns, status.st_mtime_ns)


def write_own(
    path: Path, pieces: Iterable[bytes | memoryview], *, durable: bool = False, time_ns: int = 0
) -> None:
    """Write a file that only the user may read, so that it is there whole or not at all.

    Args:
        path: The file; what stands there is replaced, an empty folder included.
        pieces: Its bytes.
        durable: Wait until the bytes are on the disk.
        time_ns: Time of modification to set, in nanoseconds since 1970; 0: now.

    Raises:
        OSError: The folder or the disk does not take it.
    """
    temporary = path.parent / f"{TEMPORARY}{os.getpid()}-{os.urandom(8).hex()}"
    descriptor = os.open(temporary, _WRITE, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.writelines(pieces)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if time_ns:
            os.utime(temporary, ns=(time_ns, time_ns))
        _replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise


def _replace(temporary: Path, path: Path) -> None:
    try:
        os.replace(temporary, path)
    except OSError:
        if not path.is_dir():
            raise
        os.rmdir(path)  # nothing but an empty folder goes away by this
        os.replace(temporary, path)
