"""Folders of pictures: one folder a class, decoded once into one array of pixels."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule.data.dataset import ArrayDataset
from chainrule.data.pictures import (
    ENDINGS,
    MAX_PIXELS,
    MODES,
    Fitting,
    Mode,
    as_pair,
    check_options,
    decode,
)
from chainrule.errors import DataError
from chainrule.ops.origin import here
from chainrule.program.compiler.cache.arrays import kept_array

#: refuse what would not fit into most machines' memory before anything is decoded
MAX_BYTES = 8 << 30
#: damaged files that a message names; it counts the others
MOST_NAMED = 10
#: folders of these names are parts of a data set, no classes
PARTS = {"train", "training", "val", "valid", "validation", "test", "testing"}
#: changes whenever the same files give other pixels
VERSION = 1


Allocate = Callable[[tuple[int, ...]], np.ndarray]


class Picture(NamedTuple):
    """A file of a folder of pictures.

    Args:
        name: Path below the folder, with slashes.
        label: Number of its class.
        n_bytes: Its size.
        time_ns: Its time of modification, in nanoseconds since 1970.
    """

    name: str
    label: int
    n_bytes: int
    time_ns: int


def image_folder(
    path: str | Path,
    *,
    size: int | tuple[int, int] | None = None,
    mode: Mode = "RGB",
    fit: Fitting = "crop",
    class_names: Sequence[str] | None = None,
    max_pixels: int = MAX_PIXELS,
    max_bytes: int = MAX_BYTES,
    keep: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> ArrayDataset:
    """Read a folder that holds one folder of PNG and JPEG files for each class.

    Classes are numbered in the order of their names, and files come in the order of theirs, so
    the same folder gives the same data set on every machine. Files with other endings, hidden
    ones and links to folders are passed over. The pixels are kept in the cache, if they fit, and
    mapped into memory as long as no file changes.

    Args:
        path: The folder; a class's files may lie in folders of its own.
        size: Height and width to scale to, or one number for both. None: as they are, if all
            have one size.
        mode: ``"RGB"`` or ``"grey"``.
        fit: ``"crop"`` keeps the proportions and cuts the middle out; ``"stretch"`` does not.
        class_names: The classes in the order of their numbers, for a part that lacks some of
            them; None: those that are there.
        max_pixels: Refuse pictures with more.
        max_bytes: Refuse data sets that take more.
        keep: Folder for a file with the decoded pixels, which is mapped into memory: for data sets
            that are too large for the cache, or for memory. None: the cache.
        progress: Called with how many files are decoded, and how many there are.

    Returns:
        Inputs uint8 (n, 3 or 1, height, width), targets int64 (n,).

    Raises:
        ArgumentError: An option is unknown or out of range.
        DataError: There are no classes or no pictures; or some can not be read, all of which the
            message lists; or they differ in size and ``size`` is not given.
    """
    check_options(size, mode, fit)
    root = Path(path)
    names, pictures = survey(root, class_names)
    pair = as_pair(size)
    if pair is not None:
        _check_amount(len(pictures), (MODES[mode][1], *pair), max_bytes)

    def unpack(allocate: Allocate = _in_memory) -> np.ndarray:
        options = pair, mode, fit, max_pixels
        return _decode_all(root, pictures, options, max_bytes, progress, allocate)

    digest = _digest(root, pictures, (pair, mode, fit))
    if keep is None:
        pixels = kept_array("images", digest, unpack)
    else:
        pixels = _kept_file(Path(keep) / f"images-{digest[:32]}.npy", len(pictures), unpack)
    labels = np.array([picture.label for picture in pictures], dtype=np.int64)
    return ArrayDataset(pixels, labels, class_names=names, name=root.resolve().name)


def survey(root: Path, class_names: Sequence[str] | None = None) -> tuple[list[str], list[Picture]]:
    """The classes and the files of a folder of pictures, nothing opened.

    Raises:
        DataError: There are no classes, or one that is not expected, or one without pictures.
    """
    found = _folders(root)
    names = sorted(found) if class_names is None else list(class_names)
    foreign = sorted(set(found) - set(names))
    if foreign:
        raise DataError(
            f"{root} holds a class that is not among class_names",
            expected=", ".join(names),
            got=", ".join(foreign),
            where=str(here()),
        )
    pictures = []
    for label, name in enumerate(names):
        own = _pictures(root, name, label) if name in found else []
        if name in found and not own:
            raise DataError(
                f"the class {name!r} has no pictures",
                expected=f"files ending in {', '.join(ENDINGS)} in {root / name}",
                got=_listed(sorted(os.listdir(root / name))),
                fix="remove the folder, or convert its files to PNG",
                where=str(here()),
            )
        pictures += own
    return names, pictures


def _folders(root: Path) -> list[str]:
    if not root.is_dir():
        raise DataError(
            f"{root} is no folder of pictures",
            expected="a folder that holds one folder for each class",
            got="a file" if root.exists() else "no such folder",
            where=str(here()),
        )
    with os.scandir(root) as entries:
        found = [e.name for e in entries if e.is_dir() and not e.name.startswith(".")]
    parts = sorted(name for name in found if name.lower() in PARTS)
    if len(parts) > 1 and len(parts) == len(found):
        raise DataError(
            f"{root} holds the parts of a data set, not its classes",
            expected="one folder for each class",
            got=", ".join(parts),
            fix=f"read the parts one by one: image_folder({str(root / parts[-1])!r})",
            where=str(here()),
        )
    if not found:
        raise DataError(
            f"{root} holds no folders, so there are no classes",
            expected="one folder for each class, with its pictures in it",
            got=_listed(sorted(os.listdir(root))),
            where=str(here()),
        )
    return found


def _pictures(root: Path, name: str, label: int) -> list[Picture]:
    pictures = []
    for folder, inner, files in os.walk(root / name):
        inner[:] = [n for n in inner if not n.startswith(".")]
        for file in files:
            path = Path(folder) / file
            if file.startswith(".") or path.suffix.lower() not in ENDINGS or not path.is_file():
                continue
            status = path.stat()
            relative = path.relative_to(root).as_posix()
            pictures.append(Picture(relative, label, status.st_size, status.st_mtime_ns))
    return sorted(pictures)


def _check_amount(n: int, shape: tuple[int, ...], max_bytes: int) -> None:
    n_bytes = n * math.prod(shape)
    if n_bytes > max_bytes:
        raise DataError(
            "the pictures would take too much memory",
            expected=f"at most {max_bytes:,} bytes",
            got=f"{n:,} pictures of {' × '.join(map(str, shape))}: {n_bytes:,} bytes",
            fix="give a smaller size, or a larger max_bytes if there is room",
            where=str(here()),
        )


def _decode_all(
    root: Path,
    pictures: Sequence[Picture],
    options: tuple[Any, ...],
    max_bytes: int,
    progress: Callable[[int, int], None] | None,
    allocate: Allocate,
) -> np.ndarray:
    pixels: np.ndarray | None = None
    damaged: list[str] = []
    for number, picture in enumerate(pictures):
        try:
            image = decode(root / picture.name, *options)
        except ValueError as error:
            damaged.append(f"{picture.name}: {error}")
            continue
        if pixels is None:
            _check_amount(len(pictures), image.shape, max_bytes)
            pixels = allocate((len(pictures), *image.shape))
            first = picture
        if image.shape != pixels.shape[1:]:
            _refuse_sizes(first.name, pixels.shape[1:], picture.name, image.shape)
        pixels[number] = image
        if progress is not None:
            progress(number + 1, len(pictures))
    if damaged or pixels is None:
        more = len(damaged) - MOST_NAMED
        raise DataError(
            f"{len(damaged)} of {len(pictures)} pictures in {root} can not be read",
            expected="intact PNG and JPEG files",
            got="\n             ".join(damaged[:MOST_NAMED])
            + (f"\n             and {more} more" if more > 0 else ""),
            fix="delete these files, or replace them",
            where=str(here()),
        )
    return pixels


def _in_memory(shape: tuple[int, ...]) -> np.ndarray:
    return np.empty(shape, np.uint8)


def _kept_file(path: Path, n: int, make: Callable[[Allocate], np.ndarray]) -> np.ndarray:
    """The pixels in a file, mapped into memory, read-only; made picture by picture if need be."""
    try:
        found = np.load(path, mmap_mode="r", allow_pickle=False)
        if found.dtype == np.uint8 and found.ndim == 4 and len(found) == n:
            return np.asarray(found)
    except (OSError, ValueError):  # not there, or no file that was written here
        pass
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")

    def on_disk(shape: tuple[int, ...]) -> np.ndarray:
        return np.lib.format.open_memmap(temporary, "w+", np.dtype(np.uint8), shape)

    try:
        pixels = make(on_disk)
        pixels.flush()  # type: ignore[attr-defined]
        del pixels  # Windows renames no file that is mapped
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))


def _refuse_sizes(
    first: str, shape: tuple[int, ...], other: str, other_shape: tuple[int, ...]
) -> None:
    raise DataError(
        "the pictures differ in size",
        expected=f"{shape[1]} × {shape[2]} pixels, as {first}",
        got=f"{other_shape[1]} × {other_shape[2]} in {other}",
        fix="scale them: image_folder(..., size=64)",
        where=str(here()),
    )


def _digest(root: Path, pictures: Sequence[Picture], options: tuple[Any, ...]) -> str:
    """SHA-256 of what decides the pixels: which files, when they were written, how they are read.

    The contents are not hashed: reading them all would take as long as decoding them.
    """
    import PIL

    digest = hashlib.sha256(repr((VERSION, PIL.__version__, options)).encode())
    digest.update(str(root.resolve()).encode(errors="surrogateescape"))
    for picture in pictures:
        digest.update(repr(picture).encode(errors="surrogateescape"))
    return digest.hexdigest()


def _listed(names: Sequence[str]) -> str:
    if not names:
        return "nothing"
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
