"""Plays by Shakespeare, 1,115,394 characters of 65 kinds, shipped here.

The text is in the public domain; A. Karpathy collected it for char-rnn.
"""

from __future__ import annotations

import functools
import hashlib
import lzma
from pathlib import Path

from chainrule.errors import ArgumentError, DataError

FILE = Path(__file__).parents[1] / "files" / "shakespeare" / "tinyshakespeare.txt.xz"
SHA256 = "21b40ccf4999c004256d116655824719001352dbc22636354d9cd0c645d03a4a"
#: share of the text, from its begin, that is trained on
TRAINING_SHARE = 0.9
SPLITS = ("train", "validation", "all")


def shakespeare(split: str = "train") -> str:
    """The plays as one text: lines of speakers' names, verses, empty lines between speeches.

    Args:
        split: ``"train"``, the first 90 % (1,003,854 characters); ``"validation"``, the last 10 %
            (111,540); or ``"all"``, both.

    Raises:
        ArgumentError: No such split.
        DataError: The shipped file is damaged.

    >>> print(shakespeare()[:26])
    First Citizen:
    Before we p
    >>> len(set(shakespeare("all")))
    65
    """
    if split not in SPLITS:
        raise ArgumentError(
            f"shakespeare has no split {split!r}",
            expected="'train', 'validation' or 'all'",
            got=repr(split),
        )
    text = _text()
    border = int(TRAINING_SHARE * len(text))
    return {"train": text[:border], "validation": text[border:], "all": text}[split]


@functools.cache
def _text() -> str:
    """Check and unpack the shipped file."""
    packed = FILE.read_bytes() if FILE.is_file() else b""
    digest = hashlib.sha256(packed).hexdigest() if packed else "no file"
    if digest != SHA256:
        raise DataError(
            f"the shipped file {FILE.name} is damaged",
            expected=f"SHA-256 {SHA256}",
            got=digest,
            fix="install chainrule again",
        )
    return lzma.decompress(packed).decode("ascii")
