"""Transforms that move whole pixels: crops, flips, erased rectangles."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.data.augmentation.base import Transform, as_range, as_size, in_range
from chainrule.data.augmentation.draws import Draws
from chainrule.errors import ShapeError
from chainrule.ops.origin import here


class RandomCrop(Transform):
    """Cut a part out at a random place, after padding; where nothing is random, the middle.

    Args:
        size: Height and width of the part, or one number for both.
        padding: Pixels added at each side before.
        fill: What is added, in the images' own units.

    Reference: with padding 4, the recipe of He et al. 2016, section 4.2, for CIFAR.
    """

    def __init__(self, size: Any, padding: int = 0, fill: float = 0.0) -> None:
        self.size = as_size("RandomCrop: size", size)
        self.padding = int(in_range("RandomCrop: padding", padding, 0))
        self.fill = float(fill)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Parts from anywhere."""
        height, width = self.size
        whole = padded(images, self.padding, self.fill)
        free = _free(whole, self.size)
        top, left = (draws.uniform(2) * (np.array(free) + 1)).astype(np.int64).T
        out = np.empty((*images.shape[:-2], height, width), images.dtype)
        for target, source, y, x in zip(out, whole, top.tolist(), left.tolist(), strict=True):
            target[...] = source[..., y : y + height, x : x + width]
        return out

    def settle(self, images: np.ndarray) -> np.ndarray:
        """The middle."""
        height, width = self.size
        missing = max(0, height - images.shape[-2], width - images.shape[-1])
        needed = min(self.padding, -(-missing // 2))
        whole = padded(images, needed, self.fill)
        y, x = (free // 2 for free in _free(whole, self.size))
        return whole[..., y : y + height, x : x + width]


class CenterCrop(RandomCrop):
    """Cut the middle out, always.

    Args:
        size: Height and width of the part, or one number for both.
    """

    random = False

    def __init__(self, size: Any) -> None:
        super().__init__(size)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """The middle."""
        return np.ascontiguousarray(self.settle(images))


class RandomHorizontalFlip(Transform):
    """Swap left and right.

    Args:
        p: Probability, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = in_range("RandomHorizontalFlip: p", p, 0, 1)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Some are mirrored."""
        chosen = draws.chance(self.p)
        images[chosen] = images[chosen][..., ::-1]
        return images


class RandomVerticalFlip(Transform):
    """Swap top and bottom.

    Args:
        p: Probability, in [0, 1].
    """

    def __init__(self, p: float = 0.5) -> None:
        self.p = in_range("RandomVerticalFlip: p", p, 0, 1)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Some are turned upside down."""
        chosen = draws.chance(self.p)
        images[chosen] = images[chosen][..., ::-1, :]
        return images


class RandomErasing(Transform):
    """Fill a random rectangle.

    Args:
        p: Probability, in [0, 1].
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest height divided by width; evenly drawn on a logarithmic scale.
        fill: What it is filled with, in the images' own units.

    Reference: Zhong et al. 2020, "Random erasing data augmentation", algorithm 1; a rectangle too
    high or wide for the image is cut to it instead of drawn again.
    """

    def __init__(
        self,
        p: float = 0.5,
        scale: tuple[float, float] = (0.02, 0.33),
        ratio: tuple[float, float] = (0.3, 3.3),
        fill: float = 0.0,
    ) -> None:
        self.p = in_range("RandomErasing: p", p, 0, 1)
        self.scale = as_range("RandomErasing: scale", scale, 0, 1)
        self.ratio = as_range("RandomErasing: ratio", ratio, 1e-3, 1e3)
        self.fill = float(fill)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Some lose a rectangle."""
        chosen = np.flatnonzero(draws.chance(self.p))
        areas = draws.between(*self.scale)
        ratios = draws.between(math.log(self.ratio[0]), math.log(self.ratio[1]))
        places = draws.uniform(2)
        rows, columns = images.shape[-2:]
        for number in chosen.tolist():
            area, ratio = areas[number] * rows * columns, math.exp(ratios[number])
            height = min(rows, round(math.sqrt(area * ratio)))
            width = min(columns, round(math.sqrt(area / ratio)))
            y = int(places[number, 0] * (rows - height + 1))
            x = int(places[number, 1] * (columns - width + 1))
            images[number, ..., y : y + height, x : x + width] = self.fill
        return images


def padded(images: np.ndarray, padding: int, fill: float) -> np.ndarray:
    """The images with ``padding`` pixels of ``fill`` at each side."""
    if not padding:
        return images
    height, width = images.shape[-2:]
    out = np.full(
        (*images.shape[:-2], height + 2 * padding, width + 2 * padding), fill, images.dtype
    )
    out[..., padding:-padding, padding:-padding] = images
    return out


def _free(images: np.ndarray, size: tuple[int, int]) -> tuple[int, int]:
    """How many pixels a part can be moved down and to the right."""
    free = images.shape[-2] - size[0], images.shape[-1] - size[1]
    if min(free) < 0:
        raise ShapeError(
            "a crop is larger than the images",
            expected=f"images of {size[0]} × {size[1]} or more, padding included",
            got=f"{images.shape[-2]} × {images.shape[-1]}",
            fix="a smaller size, or more padding",
            where=str(here()),
        )
    return free
