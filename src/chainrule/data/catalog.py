"""Data sets that can be downloaded: where their authors keep them, and what they are checked by.

Checksums are those that the authors publish, which are MD5: enough against damage. Whatever the
author, the SHA-256 of the first download is kept, and later downloads must have the same.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path

from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


@dataclass(frozen=True)
class RemoteFile:
    """A file of a data set on its authors' server.

    Args:
        url: Where it is.
        n_bytes: The most bytes that it may have.
        md5: As its authors publish it; "" if they do not.
        sha256: The same.
    """

    url: str
    n_bytes: int
    md5: str = ""
    sha256: str = ""

    @property
    def name(self) -> str:
        """Its name without folders."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Entry:
    """A data set of the catalogue.

    Args:
        title: What it is, in one line.
        files: What is downloaded.
        members: Files that are unpacked from an archive, with the bytes that each has; empty: what
            is downloaded is what is read.
        terms: Under which terms it may be used, as its authors say.
    """

    title: str
    files: tuple[RemoteFile, ...]
    members: dict[str, int]
    terms: str

    @property
    def n_bytes(self) -> int:
        """Bytes to download, at most."""
        return sum(file.n_bytes for file in self.files)

    @property
    def needed(self) -> tuple[str, ...]:
        """Names of the files that a reader opens."""
        return tuple(self.members) or tuple(file.name for file in self.files)


_TORONTO = "https://www.cs.toronto.edu/~kriz/"
_ZALANDO = "https://raw.githubusercontent.com/zalandoresearch/fashion-mnist/master/data/fashion/"

#: data sets by name; ``mnist`` is not among them, for it is shipped
CATALOG: dict[str, Entry] = {
    "fashion-mnist": Entry(
        "70,000 pictures of clothes in 10 classes, grey, 28 × 28",
        (
            RemoteFile(
                _ZALANDO + "train-images-idx3-ubyte.gz",
                30_000_000,
                md5="8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            ),
            RemoteFile(
                _ZALANDO + "train-labels-idx1-ubyte.gz",
                100_000,
                md5="25c81989df183df01b3e8a0aad5dffbe",
            ),
            RemoteFile(
                _ZALANDO + "t10k-images-idx3-ubyte.gz",
                5_000_000,
                md5="bef4ecab320f06d8554ea6380940ec79",
            ),
            RemoteFile(
                _ZALANDO + "t10k-labels-idx1-ubyte.gz",
                20_000,
                md5="bb300cfdad3c16e7a12a480ee83cd310",
            ),
        ),
        {},
        "MIT",
    ),
    "cifar10": Entry(
        "60,000 photographs in 10 classes, colour, 32 × 32",
        (
            RemoteFile(
                _TORONTO + "cifar-10-binary.tar.gz",
                171_000_000,
                md5="c32a1d4ab5d03f1284b67883e8d87530",
            ),
        ),
        {
            **{f"data_batch_{number}.bin": 30_730_000 for number in range(1, 6)},
            "test_batch.bin": 30_730_000,
        },
        "none stated; cite A. Krizhevsky 2009",
    ),
    "cifar100": Entry(
        "60,000 photographs in 100 classes of 20 kinds, colour, 32 × 32",
        (
            RemoteFile(
                _TORONTO + "cifar-100-binary.tar.gz",
                170_000_000,
                md5="03b5dce01913d631647c71ecec9e9cb8",
            ),
        ),
        {
            "train.bin": 153_700_000,
            "test.bin": 30_740_000,
            "fine_label_names.txt": 10_000,
            "coarse_label_names.txt": 10_000,
        },
        "none stated; cite A. Krizhevsky 2009",
    ),
}


def entry(name: str) -> Entry:
    """The catalogue's entry.

    Raises:
        ArgumentError: There is none of this name.
    """
    if name not in CATALOG:
        raise ArgumentError(
            f"there is no data set {name!r} to download",
            expected=", ".join(CATALOG),
            got=repr(name),
            fix="mnist needs no download: it is shipped" if name == "mnist" else "",
        )
    return CATALOG[name]


def data_folder() -> Path:
    """Where downloaded data sets are: ``CHAINRULE_DATA``, or the platform's folder for data.

    Raises:
        ArgumentError: There is no home folder either.
    """
    asked = os.environ.get("CHAINRULE_DATA", "").strip()
    if asked:
        return Path(os.path.abspath(os.path.expanduser(asked)))
    home = os.path.expanduser("~")
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA", "") or os.path.join(home, "AppData", "Local")
    elif sys.platform == "darwin":
        base = os.path.join(home, "Library", "Application Support")
    else:
        base = os.environ.get("XDG_DATA_HOME", "")
        if not os.path.isabs(base):  # the XDG specification ignores relative ones
            base = os.path.join(home, ".local", "share")
    if not os.path.isabs(base):
        raise ArgumentError(
            "there is no folder for data", fix="set CHAINRULE_DATA to one", got="no home folder"
        )
    return Path(base) / "chainrule" / "data"


def is_there(name: str, folder: Path | None = None) -> bool:
    """True if all files of a data set that are read lie in its folder."""
    own = (folder or data_folder()) / name
    return all((own / file).is_file() for file in entry(name).needed)


def located(name: str, folder: str | Path | None) -> Path:
    """The folder with a data set's files.

    Args:
        name: Of the catalogue.
        folder: The folder itself; None: where ``chainrule data download`` puts it.

    Raises:
        DataError: A file is not there.
    """
    own = data_folder() / name if folder is None else Path(folder)
    missing = [file for file in entry(name).needed if not (own / file).is_file()]
    if missing:
        raise DataError(
            f"{name} is not on this machine",
            expected=f"its files in {own}",
            got=f"no {missing[0]}",
            fix=f"chainrule data download {name}"
            if folder is None
            else "name the folder that holds the files themselves",
            where=str(here()),
        )
    return own
