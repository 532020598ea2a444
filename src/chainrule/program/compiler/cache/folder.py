"""Where the cache is, how large it may grow, and whether the folder can be trusted.

Machine code is read from here and run, so nobody else may be able to put anything in: the folder
and its parts must belong to the user, must not be writable by others, and must not be links.
"""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

from chainrule.errors import ArgumentError

DEFAULT_MEGABYTES = 256
MEGABYTE = 1_000_000
CODE = "code"
DATA = "data"
PARTS = (CODE, DATA)
#: the group and all others
WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH

_told: set[str] = set()


class UnusableFolder(OSError):
    """The cache folder can not be made, or not be trusted; the message says why."""


def location() -> Path | None:
    """The cache folder as set, made or not; None where there is none.

    ``CHAINRULE_CACHE`` names it, or is ``off``; else it is ``chainrule`` in the folder that the
    platform has for caches.
    """
    asked = os.environ.get("CHAINRULE_CACHE", "").strip()
    if asked.lower() == "off":
        return None
    if asked:
        return Path(os.path.abspath(os.path.expanduser(asked)))
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Caches")
    else:
        base = os.environ.get("XDG_CACHE_HOME", "")
        if not os.path.isabs(base):  # the XDG specification ignores relative ones
            base = os.path.join(home, ".cache")
    return Path(base) / "chainrule" if os.path.isabs(base) else None


def limit() -> int:
    """Bytes that the cache may take: ``CHAINRULE_CACHE_SIZE`` in megabytes, 256 unless set.

    Raises:
        ArgumentError: The variable holds no number, or a negative one.
    """
    asked = os.environ.get("CHAINRULE_CACHE_SIZE", "").strip()
    if not asked:
        return DEFAULT_MEGABYTES * MEGABYTE
    if not asked.isdecimal():
        raise ArgumentError(
            "CHAINRULE_CACHE_SIZE is not a whole number of megabytes",
            expected="0, 1, 2, ...",
            got=repr(asked),
            fix=f"unset it for {DEFAULT_MEGABYTES} megabytes",
        )
    return int(asked) * MEGABYTE


def is_enabled() -> bool:
    """False if there is no cache: set ``off``, or its folder can not be used."""
    return usable(CODE) is not None


def usable(part: str, *, make: bool = True) -> Path | None:
    """The folder of one part of the cache, if it can be trusted; None, told once, if not.

    Args:
        part: One of ``PARTS``.
        make: Make it if it is not there.
    """
    root = location()
    if root is None:
        return None
    try:
        check(root, make)
        check(root / part, make)
    except FileNotFoundError:  # only where nothing is to be made
        return None
    except OSError as error:
        tell_once(f"no cache on disk: {error}")
        return None
    return root / part


def check(folder: Path, make: bool = False) -> None:
    """Refuse a folder into which others could put files.

    Args:
        folder: The folder; what it lies in may be reached by links, itself must not be one.
        make: Make it, for the user alone, if it is not there.

    Raises:
        FileNotFoundError: It is not there and is not to be made.
        UnusableFolder: It can not be trusted, or not be made.
    """
    try:
        status = os.lstat(folder)
    except (FileNotFoundError, NotADirectoryError):
        if not make:
            raise FileNotFoundError(f"{folder} does not exist") from None
        status = _make(folder)
    if not stat.S_ISDIR(status.st_mode):
        kind = "a symbolic link" if stat.S_ISLNK(status.st_mode) else "no folder"
        raise UnusableFolder(f"{folder} is {kind}")
    if not is_own(status):
        raise UnusableFolder(f"{folder} belongs to another user")
    if is_open_to_others(status):
        raise UnusableFolder(f"others may write to {folder} (chmod go-w mends that)")


def _make(folder: Path) -> os.stat_result:
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        return os.lstat(folder)
    except OSError as error:
        raise UnusableFolder(f"{folder} can not be made: {error.strerror}") from None


def is_own(status: os.stat_result) -> bool:
    """True if the file belongs to the user whose rights this process has."""
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def is_open_to_others(status: os.stat_result) -> bool:
    """True if somebody else may write to the file; Windows has other means than modes."""
    return hasattr(os, "geteuid") and bool(status.st_mode & WRITABLE_BY_OTHERS)


def tell_once(text: str) -> None:
    """Log a line, once a process."""
    if text not in _told:
        import logging  # takes longer to load than a whole Program from the cache

        _told.add(text)
        logging.getLogger("chainrule.cache").warning("%s", text)
