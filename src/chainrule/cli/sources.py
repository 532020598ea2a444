"""What ``chainrule train`` learns from: data sets by name, and folders of pictures."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from chainrule import data
from chainrule.cli.console import meant
from chainrule.data import ArrayDataset
from chainrule.data.folders import survey
from chainrule.errors import ArgumentError, DataError

#: folders of these names hold the parts of a data set
TRAINING, VALIDATION, TEST = ("train", "training"), ("val", "valid", "validation"), ("test",)
#: shares of a folder without parts that are held out, for validation and for the test
HELD_OUT = 0.15


class Parts(NamedTuple):
    """A data set cut in parts.

    Args:
        train: What is learned.
        validation: Chooses the best epoch; None: nothing does.
        test: Measured once, at the end.
    """

    train: ArrayDataset
    validation: ArrayDataset | None
    test: ArrayDataset


@dataclass(frozen=True)
class Source:
    """Where samples come from.

    Args:
        name: Short name, for run folders and messages.
        kind: ``"digits"``, ``"clothes"`` or ``"photos"``: which settings are usual.
        shape: Of one sample: (channels, height, width).
        classes: Reads the names of the classes, in the order of their numbers.
        read: Reads the parts, given how many samples to validate on (None: as is usual), how many
            training samples to use (0: all), and the seed of the splits.
    """

    name: str
    kind: str
    shape: tuple[int, int, int]
    classes: Callable[[], tuple[str, ...]]
    read: Callable[[int | None, int, int], Parts]


class Known(NamedTuple):
    """A data set with a name.

    Args:
        reader: Reads its part ``"train"`` or ``"test"``.
        kind: As for ``Source``.
        shape: As for ``Source``.
    """

    reader: Callable[[str], ArrayDataset]
    kind: str
    shape: tuple[int, int, int]


KNOWN: dict[str, Known] = {
    "mnist": Known(data.mnist, "digits", (1, 28, 28)),
    "fashion-mnist": Known(data.fashion_mnist, "clothes", (1, 28, 28)),
    "cifar10": Known(data.cifar10, "photos", (3, 32, 32)),
    "cifar100": Known(data.cifar100, "photos", (3, 32, 32)),
}
#: held out of the training part of a data set with a name
VALIDATION_SAMPLES = 5000


def find_source(what: str, image_size: int = 0, grey: bool = False) -> Source:
    """The source that a user means: a known name, or the path of a folder of pictures.

    Args:
        what: Known names win; a folder needs a path: ``./pictures``.
        image_size: Height and width that a folder's pictures are scaled to.
        grey: A folder's pictures lose their colours.

    Raises:
        ArgumentError: It is neither, or a known data set is to be scaled.
        DataError: The folder holds no classes.
    """
    if what in KNOWN:
        if image_size or grey:
            raise ArgumentError(
                f"the pictures of {what} have their size and colours",
                got=f"--image-size {image_size}" if image_size else "--grey",
                fix="leave --image-size and --grey to folders of pictures",
            )
        return _by_name(what)
    if is_path(what):
        path = Path(what).expanduser()
        if not path.exists():
            raise DataError(
                f"there is nothing at {what}",
                expected="a folder with a folder of pictures a class; to train on text, a file or "
                "a folder of texts",
                got="no such file or folder",
            )
        return _folder(path, image_size, grey)
    there = Path(what).exists()
    raise ArgumentError(
        f"chainrule does not know {what!r}",
        expected=f"{', '.join(KNOWN)}, shakespeare, or a path: a folder of pictures ./pictures, "
        "texts ./text.txt or ./reviews.csv",
        got=repr(what),
        fix=f".{os.sep}{what}" if there else meant(what, [*KNOWN, "shakespeare"]),
    )


def is_path(what: str) -> bool:
    """Whether a text is written as a path: with a slash, or ``.`` or ``~`` in front."""
    separators = {os.sep, "/"} | ({os.altsep} if os.altsep else set())
    return what.startswith((".", "~")) or any(sign in what for sign in separators)


def _by_name(name: str) -> Source:
    known = KNOWN[name]

    def read(validation: int | None, limit: int, seed: int) -> Parts:
        whole, test = (_with_channels(known.reader(part)) for part in ("train", "test"))
        if limit:
            whole = whole.subset(np.arange(min(limit, len(whole))))
        count = VALIDATION_SAMPLES if validation is None else validation
        return _held_out(whole, count, seed, test)

    def classes() -> tuple[str, ...]:
        return tuple(known.reader("test").class_names or ())

    return Source(name, known.kind, known.shape, classes, read)


def _with_channels(dataset: ArrayDataset) -> ArrayDataset:
    """Grey pictures get an axis of one channel; others have theirs."""
    return dataset.map_inputs(lambda x: x[:, None] if x.ndim == 3 else x)


def _held_out(whole: ArrayDataset, count: int, seed: int, test: ArrayDataset) -> Parts:
    if not count:
        return Parts(whole, None, test)
    train, validation = data.holdout(whole, count / len(whole), seed)
    return Parts(train, validation, test)


def _folder(path: Path, size: int, grey: bool) -> Source:
    root = path.resolve()
    parts = _parts(root)
    names = tuple(survey(parts["train"] if parts else root)[0])

    def images(folder: Path) -> ArrayDataset:
        return data.image_folder(
            folder, size=size, mode="grey" if grey else "RGB", class_names=names
        )

    def read(validation: int | None, limit: int, seed: int) -> Parts:
        whole = images(parts["train"] if parts else root)
        test = images(parts["test"]) if "test" in parts else None
        if test is None:
            whole, test = data.holdout(whole, HELD_OUT, seed)
        if limit and limit < len(whole):  # files lie class by class: some of each
            whole = data.holdout(whole, limit / len(whole), seed)[1]
        if "validation" in parts and validation is None:
            return Parts(whole, images(parts["validation"]), test)
        usual = round(len(whole) * HELD_OUT / (1 - HELD_OUT))
        return _held_out(whole, usual if validation is None else validation, seed + 1, test)

    shape = (1 if grey else 3, size, size)
    return Source(root.name or "pictures", "photos", shape, lambda: names, read)


def _parts(root: Path) -> dict[str, Path]:
    """Folders of a data set that is cut in parts already; empty if this is none."""
    if not root.is_dir():
        return {}
    found: dict[str, Path] = {}
    for part, known in (("train", TRAINING), ("validation", VALIDATION), ("test", TEST)):
        for folder in sorted(root.iterdir()):
            if folder.name.lower() in known and folder.is_dir():
                found[part] = folder
    return found if "train" in found and len(found) > 1 else {}
