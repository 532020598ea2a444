"""Data sets of the catalogue, downloaded, checked, unpacked: whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from chainrule.data.archives import unpack
from chainrule.data.catalog import RemoteFile, data_folder, entry, is_there
from chainrule.data.fetching import fetch
from chainrule.errors import DataError

#: SHA-256 of what was downloaded first, by address
RECORD = "checksums.json"


class Checked(NamedTuple):
    """A file that was downloaded.

    Args:
        name: Its name.
        sha256: Of its content.
        how: What it was checked by, in words.
    """

    name: str
    sha256: str
    how: str


def download(
    name: str,
    *,
    folder: Path | None = None,
    mirror: str = "",
    progress: Callable[[str, int, int], None] | None = None,
) -> list[Checked]:
    """Bring a data set of the catalogue to this machine.

    A download that was cut off is gone on with. Each file must have the checksum that its authors
    publish. Its SHA-256 is kept in ``checksums.json``, and every later download of the same
    address must have it too: where nothing is published, the first one is trusted.

    Args:
        name: Of the catalogue.
        folder: Below which the data set gets its folder; None: ``data_folder()``.
        mirror: Address of a folder with files of the same names, for the authors' server.
        progress: Called with a file's name, the bytes that are there, and how many there will be.

    Returns:
        What was downloaded; empty if all was there.

    Raises:
        ArgumentError: The catalogue has no such data set.
        DataError: A file can not be downloaded, or has another checksum.
    """
    wanted, root = entry(name), folder or data_folder()
    if is_there(name, root):
        return []
    own = root / name
    own.mkdir(parents=True, exist_ok=True)
    done = []
    for file in wanted.files:
        target, part = own / file.name, own / f"{file.name}.part"
        if not wanted.members and target.is_file():
            continue
        url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
        fetch(url, part, file.n_bytes, _told(progress, file.name))
        done.append(_check(file, part, root / RECORD))
        if wanted.members:
            _unpack(part, own, wanted.members)
        else:
            os.replace(part, target)
        _remember(file.url, done[-1].sha256, root / RECORD)
    return done


def _told(
    progress: Callable[[str, int, int], None] | None, name: str
) -> Callable[[int, int], None] | None:
    return None if progress is None else lambda n, total: progress(name, n, total)


def _check(file: RemoteFile, part: Path, record: Path) -> Checked:
    """Compare with all that is known of the file; a wrong one is deleted.

    Raises:
        DataError: A checksum differs.
    """
    found = _digests(part)
    first = read_record(record).get(file.url, "")
    published = [f"its authors' {k.upper()}" for k in found if getattr(file, k)]
    for kind, expected, whose in (
        ("md5", file.md5, "its authors publish"),
        ("sha256", file.sha256, "its authors publish"),
        ("sha256", first, f"the first download had, by {record}"),
    ):
        if expected and found[kind] != expected:
            part.unlink()
            raise DataError(
                f"{file.name} is not the file whose checksum {whose}",
                expected=f"{kind.upper()} {expected}",
                got=found[kind],
                fix="download again; if it stays so, the server has another file"
                + (f": to trust it, delete the line in {record}" if expected == first else ""),
            )
    how = [*published, *(["the SHA-256 of the first download"] if first else [])]
    said = f"checked by {' and '.join(how)}" if how else "trusted, for it is the first download"
    return Checked(file.name, found["sha256"], said)


def _digests(path: Path) -> dict[str, str]:
    digests = {"md5": hashlib.md5(usedforsecurity=False), "sha256": hashlib.sha256()}
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            for digest in digests.values():
                digest.update(piece)
    return {kind: digest.hexdigest() for kind, digest in digests.items()}


def _unpack(archive: Path, own: Path, members: dict[str, int]) -> None:
    with tempfile.TemporaryDirectory(prefix=".unpacking-", dir=own) as folder:
        unpack(archive, Path(folder), members)
        for name in members:
            os.replace(Path(folder) / name, own / name)
    archive.unlink()


def read_record(record: Path) -> dict[str, str]:
    """SHA-256 of the first downloads, by address.

    Raises:
        DataError: The file is damaged: what it knew must not be forgotten unseen.
    """
    try:
        known: Any = json.loads(record.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise DataError(
            f"{record} can not be read",
            expected="addresses and SHA-256 checksums, as JSON",
            got=str(error),
            fix="delete it, to trust the next downloads anew",
        ) from None
    return known if isinstance(known, dict) else {}


def _remember(url: str, sha256: str, record: Path) -> None:
    known = {**read_record(record), url: sha256}
    temporary = record.with_name(f".{record.name}-{os.getpid()}")
    temporary.write_text(json.dumps(known, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, record)
