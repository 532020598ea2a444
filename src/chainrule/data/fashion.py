"""Fashion-MNIST: pictures of clothes in MNIST's format.

H. Xiao, K. Rasul, R. Vollgraf, "Fashion-MNIST", 2017; MIT.
"""

from __future__ import annotations

from pathlib import Path

from chainrule.data.catalog import located
from chainrule.data.dataset import ArrayDataset
from chainrule.data.idx import read_idx
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

FASHION_CLASSES = (
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)
STEMS = {"train": "train", "test": "t10k"}


def fashion_mnist(split: str = "train", *, folder: str | Path | None = None) -> ArrayDataset:
    """Pictures of clothes, uint8 (n, 28, 28), 0 background to 255, and labels 0–9.

    Args:
        split: ``"train"`` (60,000) or ``"test"`` (10,000).
        folder: With the four files ``train-images-idx3-ubyte.gz`` ...; None: where
            ``chainrule data download fashion-mnist`` puts them. Other files of MNIST's format,
            such as KMNIST's, are read by ``read_idx``.

    Raises:
        ArgumentError: No such split.
        DataError: The files are not there, or damaged.
    """
    if split not in STEMS:
        raise ArgumentError(
            f"fashion_mnist has no split {split!r}",
            expected="'train' or 'test'",
            got=repr(split),
            where=str(here()),
        )
    own = located("fashion-mnist", folder)
    images = read_idx(own / f"{STEMS[split]}-images-idx3-ubyte.gz")
    labels = read_idx(own / f"{STEMS[split]}-labels-idx1-ubyte.gz")
    if images.ndim != 3 or images.dtype.kind != "u" or labels.ndim != 1:
        raise DataError(
            f"the files in {own} are not those of Fashion-MNIST",
            expected="uint8 images (n, height, width) and labels (n,)",
            got=f"{images.dtype}{list(images.shape)} and {labels.dtype}{list(labels.shape)}",
            where=str(here()),
        )
    return ArrayDataset(images, labels, class_names=FASHION_CLASSES, name=f"fashion-mnist {split}")
