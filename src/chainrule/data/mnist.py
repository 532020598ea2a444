"""MNIST: 60,000 handwritten digits to learn from and 10,000 to be tested on, shipped here.

Y. LeCun, C. Cortes, C. J. C. Burges, "The MNIST database of handwritten digits"; CC BY-SA 3.0.
"""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path

import numpy as np

from chainrule.data.dataset import ArrayDataset
from chainrule.data.idx import read_idx
from chainrule.errors import ArgumentError, DataError
from chainrule.program.compiler.cache.arrays import kept_array

FOLDER = Path(__file__).parent / "files" / "mnist"
FILES = {
    "train": ("train-images-idx3-ubyte.xz", "train-labels-idx1-ubyte.xz"),
    "test": ("t10k-images-idx3-ubyte.xz", "t10k-labels-idx1-ubyte.xz"),
}
SHA256 = {
    "t10k-images-idx3-ubyte.xz": "d815adbb3188b5bafed15d649960a5dbcb0f9138b9a4205b88b175001cb394c9",
    "t10k-labels-idx1-ubyte.xz": "f2edae9ce0307abae4671a37b70e6e3858696b48b16c3cfdfef97388dc9925d5",
    "train-images-idx3-ubyte.xz": (
        "8f41e9b4abc124dc3d209e86f7ea714a81f80edea40b565a4781dec7bd67c6e2"
    ),
    "train-labels-idx1-ubyte.xz": (
        "dcd3d8184fe1a8be6231f172fb3390116f91c127282fd736ab55752c179963d8"
    ),
}


def mnist(split: str = "train") -> ArrayDataset:
    """The digits as they are: uint8 images (n, 28, 28), 0 background to 255 ink, and labels 0–9.

    Args:
        split: ``"train"`` (60,000) or ``"test"`` (10,000).

    Raises:
        ArgumentError: No such split.
        DataError: The shipped files are damaged.
    """
    if split not in FILES:
        raise ArgumentError(
            f"mnist has no split {split!r}", expected="'train' or 'test'", got=repr(split)
        )
    images, labels = (_load(name) for name in FILES[split])
    names = [str(digit) for digit in range(10)]
    return ArrayDataset(images, labels, class_names=names, name=f"mnist {split}")


@functools.cache
def _load(name: str) -> np.ndarray:
    """The array of a shipped file: found in the cache, or unpacked; it is read-only."""
    return kept_array(name, SHA256[name], lambda: _unpack(name))


def _unpack(name: str) -> np.ndarray:
    """Check and unpack a shipped file."""
    path = FOLDER / name
    digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
    if digest != SHA256[name]:
        raise DataError(
            f"the shipped file {name} is damaged",
            expected=f"SHA-256 {SHA256[name]}",
            got=digest,
            fix="install chainrule again",
        )
    return read_idx(path)
