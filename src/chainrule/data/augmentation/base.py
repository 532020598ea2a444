"""What a transform of images is."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.augmentation.draws import Draws
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


class Transform:
    """Changes images at random, or always in the same way.

    Images are (n, height, width) or (n, channels, height, width), uint8 or floating. Several
    threads may call one transform at once, in any order: it keeps nothing between calls.
    """

    #: False: it also changes what is measured and predicted, always in the same way
    random = True

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Images as training sees them.

        Args:
            images: The transform's own: it may write into them.
            draws: Random numbers for each of them.
        """
        raise NotImplementedError

    def settle(self, images: np.ndarray) -> np.ndarray:
        """Images as measuring and predicting sees them: nothing at random.

        Args:
            images: Not to be written into.
        """
        return images

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({shown})"


def check_images(images: np.ndarray) -> None:
    """Refuse what is no batch of images.

    Raises:
        DataError: It is not.
    """
    if images.ndim not in (3, 4) or not (images.dtype == np.uint8 or images.dtype.kind == "f"):
        raise DataError(
            "only images can be augmented",
            expected="uint8 or floating numbers, (n, height, width) or "
            "(n, channels, height, width)",
            got=f"{images.dtype}{list(images.shape)}",
            fix="reshape flat rows: inputs.reshape(-1, 28, 28)" if images.ndim == 2 else "",
            where=str(here()),
        )


def in_range(name: str, value: Any, low: float, high: float = float("inf")) -> float:
    """The value as a float, if it lies in [low, high].

    Raises:
        ArgumentError: It does not.
    """
    if isinstance(value, bool | str) or not low <= value <= high:
        raise ArgumentError(
            f"{name} is out of range",
            expected=f"{low:g} to {high:g}" if high < float("inf") else f"at least {low:g}",
            got=repr(value),
            where=str(here()),
        )
    return float(value)


def as_range(name: str, value: Any, low: float, high: float = float("inf")) -> tuple[float, float]:
    """A pair (lowest, highest) within [low, high].

    Raises:
        ArgumentError: It is none.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else ()
    if len(pair) != 2 or not low <= pair[0] <= pair[1] <= high:
        raise ArgumentError(
            f"{name} is no range",
            expected=f"(lowest, highest), from {low:g}"
            + (f" to {high:g}" if high < float("inf") else ""),
            got=repr(value),
            where=str(here()),
        )
    return float(pair[0]), float(pair[1])


def as_size(name: str, value: Any) -> tuple[int, int]:
    """Height and width, from one number or two.

    Raises:
        ArgumentError: They are no whole numbers ≥ 1.
    """
    pair = tuple(value) if isinstance(value, tuple | list) else (value, value)
    if len(pair) != 2 or not all(isinstance(n, int | np.integer) and n >= 1 for n in pair):
        raise ArgumentError(
            f"{name} is out of range",
            expected="a number of pixels ≥ 1, or (height, width)",
            got=repr(value),
            where=str(here()),
        )
    return int(pair[0]), int(pair[1])


def like(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """Computed pixels in the type of the images: whole ones are rounded, and cut to their range."""
    if images.dtype.kind == "f":
        return values.astype(images.dtype, copy=False)
    np.rint(values, out=values)
    limits = np.iinfo(images.dtype)
    np.clip(values, limits.min, limits.max, out=values)
    return values.astype(images.dtype)


def by_sample(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    """One number a sample, shaped to meet its pixels."""
    return values.reshape((-1,) + (1,) * (images.ndim - 1))
