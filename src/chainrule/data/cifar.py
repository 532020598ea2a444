"""CIFAR-10 and CIFAR-100: small photographs, in the authors' binary format.

A. Krizhevsky, "Learning multiple layers of features from tiny images", 2009. A record is one byte
of label (CIFAR-100: one for the kind, one for the class), then 1024 bytes of red, of green and of
blue, row by row. The Python form of these data sets is pickled, could run anything, and is not
read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from chainrule.data.catalog import located
from chainrule.data.dataset import ArrayDataset
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

PIXELS = 3 * 32 * 32
CIFAR10_CLASSES = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)
FILES_10 = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}
FILES_100 = {"train": ("train.bin",), "test": ("test.bin",)}
#: records of a file; four times as many are refused
MOST_RECORDS = 200_000
MOST_NAME_BYTES = 10_000


def cifar10(split: str = "train", *, folder: str | Path | None = None) -> ArrayDataset:
    """Photographs of ten kinds of animals and vehicles, uint8 (n, 3, 32, 32), and labels 0–9.

    Args:
        split: ``"train"`` (50,000) or ``"test"`` (10,000).
        folder: With ``data_batch_1.bin`` ... and ``test_batch.bin``; None: where
            ``chainrule data download cifar10`` puts them.

    Raises:
        ArgumentError: No such split.
        DataError: The files are not there, or damaged.
    """
    own = located("cifar10", folder)
    labels, pixels = read_records([own / name for name in _files(FILES_10, split, "cifar10")], 1)
    _check_labels(labels[:, 0], 10, own)
    return ArrayDataset(
        pixels,
        labels[:, 0].astype(np.int64),
        class_names=CIFAR10_CLASSES,
        name=f"cifar10 {split}",
    )


def cifar100(
    split: str = "train",
    *,
    labels: Literal["fine", "coarse"] = "fine",
    folder: str | Path | None = None,
) -> ArrayDataset:
    """Photographs of a hundred classes, uint8 (n, 3, 32, 32), and their labels.

    Args:
        split: ``"train"`` (50,000) or ``"test"`` (10,000).
        labels: ``"fine"``: classes 0–99; ``"coarse"``: the 20 kinds that they belong to.
        folder: With ``train.bin``, ``test.bin`` and the names of the labels; None: where
            ``chainrule data download cifar100`` puts them.

    Raises:
        ArgumentError: No such split or labels.
        DataError: The files are not there, or damaged.
    """
    if labels not in ("fine", "coarse"):
        raise ArgumentError(
            f"cifar100 has no labels {labels!r}",
            expected="'fine' or 'coarse'",
            got=repr(labels),
            where=str(here()),
        )
    own = located("cifar100", folder)
    names = _names(own / f"{labels}_label_names.txt", 100 if labels == "fine" else 20)
    found, pixels = read_records([own / name for name in _files(FILES_100, split, "cifar100")], 2)
    column = found[:, 1 if labels == "fine" else 0]
    _check_labels(column, len(names), own)
    return ArrayDataset(
        pixels, column.astype(np.int64), class_names=names, name=f"cifar100 {split}"
    )


def read_records(paths: Sequence[Path], n_labels: int) -> tuple[np.ndarray, np.ndarray]:
    """Labels and pixels of files of the binary format.

    Sizes are looked at before anything is allocated.

    Args:
        paths: The files, in order.
        n_labels: Bytes of label in front of each picture.

    Shape: uint8 (n, n_labels) and (n, 3, 32, 32).

    Raises:
        DataError: A file can not be read, or is no whole number of records.
    """
    size = n_labels + PIXELS
    counts = [_n_records(path, size) for path in paths]
    labels = np.empty((sum(counts), n_labels), np.uint8)
    pixels = np.empty((sum(counts), PIXELS), np.uint8)
    start = 0
    for path, count in zip(paths, counts, strict=True):
        records = np.fromfile(path, np.uint8, count * size).reshape(-1, size)
        if len(records) != count:
            raise DataError(f"{path} became shorter while it was read")
        labels[start : start + count] = records[:, :n_labels]
        pixels[start : start + count] = records[:, n_labels:]
        start += count
    return labels, pixels.reshape(-1, 3, 32, 32)


def _n_records(path: Path, size: int) -> int:
    try:
        n_bytes = path.stat().st_size
    except OSError as error:
        raise DataError(f"{path} can not be read: {error.strerror}") from None
    if not n_bytes or n_bytes % size or n_bytes > MOST_RECORDS * size:
        raise DataError(
            f"{path} is no file of CIFAR's binary version",
            expected=f"1 to {MOST_RECORDS:,} records of {size:,} bytes",
            got=f"{n_bytes:,} bytes",
            fix="the download or copy was cut short, or this is another version of the data set",
            where=str(here()),
        )
    return n_bytes // size


def _files(parts: Mapping[str, tuple[str, ...]], split: str, name: str) -> tuple[str, ...]:
    if split not in parts:
        raise ArgumentError(
            f"{name} has no split {split!r}",
            expected="'train' or 'test'",
            got=repr(split),
            where=str(here()),
        )
    return parts[split]


def _check_labels(labels: np.ndarray, n_classes: int, folder: Path) -> None:
    if labels.max() >= n_classes:
        row = int(labels.argmax())
        raise DataError(
            f"a file in {folder} is damaged: a label is no class",
            expected=f"0 to {n_classes - 1}",
            got=f"{labels[row]} in record {row}",
            where=str(here()),
        )


def _names(path: Path, n_names: int) -> list[str]:
    text = path.read_bytes()[: MOST_NAME_BYTES + 1]
    names = text.decode("ascii", "replace").split()
    if len(text) > MOST_NAME_BYTES or len(set(names)) != n_names:
        raise DataError(
            f"{path} does not name the classes",
            expected=f"{n_names} different names, one a line",
            got=f"{len(set(names))} in {path.stat().st_size:,} bytes",
            where=str(here()),
        )
    return names
