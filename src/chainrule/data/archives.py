"""Unpacking of archives that come from elsewhere: only what is expected, and no more of it."""

from __future__ import annotations

import gzip
import os
import tarfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from chainrule.errors import DataError

#: bytes of headers, padding and other members that an archive may have beside what is wanted
OTHER_BYTES = 16 << 20
CHUNK_BYTES = 1 << 20


class _Bounded:
    """A stream that ends in an error after so many bytes: a small archive may unpack to terabytes.

    Args:
        stream: What is read.
        most: Bytes that may come.
    """

    def __init__(self, stream: IO[bytes], most: int) -> None:
        self._stream = stream
        self._left = most

    def read(self, size: int = -1) -> bytes:
        """The next bytes; ``tarfile`` asks for some kilobytes at a time."""
        piece = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(piece)
        if self._left < 0:
            raise OSError("it unpacks to more than it may")
        return piece


def unpack(archive: Path, target: Path, members: Mapping[str, int]) -> None:
    """Take some files out of a ``.tar.gz`` archive.

    Members are found by their last name; all others are passed over. Nothing but plain files is
    written, and nothing outside of ``target``, whatever names the archive has.

    Args:
        archive: The file.
        target: A folder, for the files.
        members: Name of a file → the most bytes that it may have.

    Raises:
        DataError: The archive is damaged, lacks a file, or one is larger than it may be or no
            plain file.
    """
    found: set[str] = set()
    try:
        with gzip.open(archive) as unpacked:
            bounded = _Bounded(unpacked, sum(members.values()) + OTHER_BYTES)  # type: ignore[arg-type]
            with tarfile.open(fileobj=bounded, mode="r|") as tar:  # type: ignore[call-overload]
                for member in tar:
                    name = member.name.rpartition("/")[2]
                    if name not in members or name in found:
                        continue
                    _check(member, members[name], archive)
                    content = tar.extractfile(member)
                    assert content is not None  # of a plain file there always is
                    _copy(content, target / name)
                    found.add(name)
    except (OSError, EOFError, zlib.error, tarfile.TarError) as error:
        raise DataError(
            f"{archive.name} can not be unpacked", expected="an intact .tar.gz file", got=f"{error}"
        ) from None
    missing = [name for name in members if name not in found]
    if missing:
        raise DataError(
            f"{archive.name} is not the archive that was expected",
            expected=", ".join(members),
            got=f"no {missing[0]}",
        )


def _check(member: tarfile.TarInfo, most: int, archive: Path) -> None:
    if not member.isreg():
        raise DataError(
            f"{archive.name} holds {member.name!r} as something other than a plain file",
            expected="a plain file",
            got="a link" if member.issym() or member.islnk() else "a special file",
        )
    if member.size > most:
        raise DataError(
            f"{member.name} in {archive.name} is larger than it may be",
            expected=f"at most {most:,} bytes",
            got=f"{member.size:,}",
        )


def _copy(content: IO[bytes], path: Path) -> None:
    with path.open("xb") as file:
        while piece := content.read(CHUNK_BYTES):
            file.write(piece)
        file.flush()
        os.fsync(file.fileno())
