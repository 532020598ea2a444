"""Transforms that move pixels by fractions: rotation, scaling, shear, elastic distortion."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule.data.augmentation.base import (
    Transform,
    as_range,
    as_size,
    in_range,
    like,
)
from chainrule.data.augmentation.draws import Draws


class RandomAffine(Transform):
    """Turn, shift, scale, shear and bend images; pixels between pixels are interpolated linearly.

    An output pixel at p from the centre shows the input at ``R⁻¹(p − shift) + bend(p)``, where R
    turns by an angle, scales and shears. All is done in one interpolation.

    Args:
        degrees: Turn by up to this angle, either way.
        translate: Shift by up to this share of height and width.
        scale: Smallest and largest factor; evenly drawn on a logarithmic scale.
        shear: Slant rows by up to this angle in degrees, either way, below 90.
        displacement: Bend: points of a grid are moved by up to so many pixels down and to the
            right, or up and to the left; pixels between them follow a cubic B-spline.
        spacing: Pixels between the points of that grid, ≥ 1.
        fill: What is shown from outside of the image, in the images' own units.

    Reference: elastic distortion after Simard et al. 2003; with a grid of points as Ronneberger
    et al. 2015, section 3.1.
    """

    def __init__(
        self,
        degrees: float = 0.0,
        translate: float = 0.0,
        scale: tuple[float, float] = (1.0, 1.0),
        shear: float = 0.0,
        displacement: float = 0.0,
        spacing: float = 8.0,
        fill: float = 0.0,
    ) -> None:
        name = type(self).__name__
        self.degrees = in_range(f"{name}: degrees", degrees, 0, 180)
        self.translate = in_range(f"{name}: translate", translate, 0, 1)
        self.scale = as_range(f"{name}: scale", scale, 1e-3, 1e3)
        self.shear = in_range(f"{name}: shear", shear, 0, 89)
        self.displacement = in_range(f"{name}: displacement", displacement, 0)
        self.spacing = in_range(f"{name}: spacing", spacing, 1)
        self.fill = float(fill)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Every image in a way of its own."""
        height, width = images.shape[-2:]
        matrices, shifts = self._maps(draws, height, width)
        down = (np.arange(height, dtype=np.float32) - (height - 1) / 2)[:, None]
        right = (np.arange(width, dtype=np.float32) - (width - 1) / 2)[None, :]
        places = []
        for axis, length in ((0, height), (1, width)):
            by_down, by_right = (matrices[:, axis, k, None, None] for k in (0, 1))
            middle = np.float32((length - 1) / 2) - shifts[:, axis, None, None]
            places.append(by_down * down + (by_right * right + middle))
        if self.displacement:
            for place, bend in zip(places, self._bends(draws, height, width), strict=True):
                place += bend
        return resampled(images, places[0], places[1], self.fill)

    def _maps(self, draws: Draws, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
        """R⁻¹, (n, 2, 2), and R⁻¹ shift, (n, 2), of axes (down, right), float32."""
        turns, slants, logs = (
            draws.between(-self.degrees, self.degrees),
            draws.between(-self.shear, self.shear),
            draws.between(math.log(self.scale[0]), math.log(self.scale[1])),
        )
        moves = draws.between(-self.translate, self.translate, 2) * (height, width)
        matrices = np.empty((len(draws), 2, 2))
        # math, not NumPy: the same bits whatever the number of samples
        for matrix, turn, slant, log in zip(matrices, turns, slants, logs, strict=True):
            angle, grown = math.radians(turn), math.exp(-log)
            cosine, sine, tangent = math.cos(angle), math.sin(angle), math.tan(math.radians(slant))
            matrix[0] = cosine * grown, sine * grown
            matrix[1] = (tangent * cosine - sine) * grown, (tangent * sine + cosine) * grown
        shifts = matrices[:, :, 0] * moves[:, :1] + matrices[:, :, 1] * moves[:, 1:]
        return matrices.astype(np.float32), shifts.astype(np.float32)

    def _bends(self, draws: Draws, height: int, width: int) -> list[np.ndarray]:
        """How far each pixel looks away, down and to the right: two of (n, height, width)."""
        (rows, row_weights), (columns, column_weights) = (
            spline(length, self.spacing) for length in (height, width)
        )
        shape = int(rows.max()) + 1, int(columns.max()) + 1
        points = draws.between(-self.displacement, self.displacement, 2, *shape)
        points = points.astype(np.float32)
        tall = sum(points[:, :, rows[k]] * row_weights[k][:, None] for k in range(4))
        bent = sum(tall[..., columns[k]] * column_weights[k] for k in range(4))
        return [bent[:, 0], bent[:, 1]]


class RandomRotation(RandomAffine):
    """Turn images about their centre.

    Args:
        degrees: Largest angle, either way.
        fill: What is shown from outside of the image.
    """

    def __init__(self, degrees: float, fill: float = 0.0) -> None:
        super().__init__(degrees=degrees, fill=fill)


class ElasticTransform(RandomAffine):
    """Bend images as rubber.

    Args:
        displacement: Points of a grid are moved by up to so many pixels along each axis.
        spacing: Pixels between the points, ≥ 1.
        fill: What is shown from outside of the image.
    """

    def __init__(self, displacement: float = 3.0, spacing: float = 8.0, fill: float = 0.0) -> None:
        super().__init__(displacement=displacement, spacing=spacing, fill=fill)


class RandomResizedCrop(Transform):
    """Cut a part of random area and proportions out, and scale it to one size.

    Pixels are interpolated linearly between four neighbours, so parts should not be much more
    than twice as large as ``size``. Where nothing is random, it is the largest part in the middle.

    Args:
        size: Height and width that all parts are scaled to, or one number for both.
        scale: Smallest and largest share of the image's area.
        ratio: Smallest and largest width divided by height; evenly drawn on a logarithmic scale.

    Reference: Szegedy et al. 2015, section 6; a part too high or wide is cut to the image instead
    of drawn again.
    """

    def __init__(
        self,
        size: Any,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
    ) -> None:
        self.size = as_size("RandomResizedCrop: size", size)
        self.scale = as_range("RandomResizedCrop: scale", scale, 1e-6, 1)
        self.ratio = as_range("RandomResizedCrop: ratio", ratio, 1e-3, 1e3)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Parts from anywhere."""
        rows, columns = images.shape[-2:]
        areas = draws.between(*self.scale) * (rows * columns)
        logs = draws.between(math.log(self.ratio[0]), math.log(self.ratio[1]))
        # math, not NumPy: the same bits whatever the number of samples
        ratios = np.array([math.exp(log) for log in logs])
        heights = np.minimum(np.sqrt(areas / ratios), rows)
        widths = np.minimum(np.sqrt(areas * ratios), columns)
        corners = draws.uniform(2)
        top, left = corners[:, 0] * (rows - heights), corners[:, 1] * (columns - widths)
        return self._cut(images, top, left, heights, widths)

    def settle(self, images: np.ndarray) -> np.ndarray:
        """The largest part in the middle."""
        rows, columns = images.shape[-2:]
        factor = min(rows / self.size[0], columns / self.size[1])
        height, width = (np.full(len(images), factor * length) for length in self.size)
        return self._cut(images, (rows - height) / 2, (columns - width) / 2, height, width)

    def _cut(
        self,
        images: np.ndarray,
        top: np.ndarray,
        left: np.ndarray,
        heights: np.ndarray,
        widths: np.ndarray,
    ) -> np.ndarray:
        """Parts with these corners and sides, (n,) each, in pixels of the images."""
        places = []
        for start, side, length, most in (
            (top, heights, self.size[0], images.shape[-2]),
            (left, widths, self.size[1], images.shape[-1]),
        ):
            # centres of the new pixels, among the centres of the old ones
            steps = (np.arange(length) + 0.5) / length
            place = start[:, None] + side[:, None] * steps - 0.5
            places.append(np.clip(place, 0, most - 1).astype(np.float32))
        shape = len(images), *self.size
        down = np.broadcast_to(places[0][:, :, None], shape)
        return resampled(images, down, np.broadcast_to(places[1][:, None, :], shape), 0.0)


def spline(length: int, spacing: float) -> tuple[np.ndarray, np.ndarray]:
    """Which four points of a grid bear on each pixel of a row, and by how much.

    Args:
        length: Pixels.
        spacing: Pixels between points.

    Returns:
        Numbers of the points and their weights by the uniform cubic B-spline, (4, length) each;
        the weights of a pixel add up to 1.

    >>> points, weights = spline(9, 4.0)
    >>> points[:, 4].tolist(), (weights[:, 4] * 6).round(5).tolist()
    ([1, 2, 3, 4], [1.0, 4.0, 1.0, 0.0])
    """
    place = np.arange(length) / spacing
    first = np.floor(place)
    t = place - first
    weights = np.stack(
        [
            (1 - t) ** 3,
            3 * t**3 - 6 * t**2 + 4,
            -3 * t**3 + 3 * t**2 + 3 * t + 1,
            t**3,
        ]
    )
    points = first.astype(np.int64) + np.arange(4)[:, None]
    return points, (weights / 6).astype(np.float32)


def resampled(images: np.ndarray, down: np.ndarray, right: np.ndarray, fill: Any) -> np.ndarray:
    """Images looked at between their pixels.

    Args:
        images: (n, [channels,] height, width).
        down: Row that each output pixel shows, (n, rows, columns), float32.
        right: Column that each output pixel shows.
        fill: What lies outside.

    Returns:
        Bilinear interpolation, in the images' type.
    """
    n, height, width = len(images), *images.shape[-2:]
    channels = images.reshape(n, -1, height, width)
    # a border of fill, one pixel wide, stands for all that lies outside
    rows, columns = height + 2, width + 2
    down, right = (
        np.clip(place + np.float32(1), 0, size + 1)
        for place, size in ((down, height), (right, width))
    )
    top, left = np.minimum(down.astype(np.int32), height), np.minimum(right.astype(np.int32), width)
    down -= top
    right -= left
    corner = top.astype(np.int64)
    corner *= columns
    corner += left
    corner += (np.arange(n) * (rows * columns))[:, None, None]
    out = np.empty((n, channels.shape[1], *corner.shape[1:]), images.dtype)
    plane = np.full((n, rows, columns), fill, np.float32)
    flat = plane.reshape(-1)
    for channel in range(channels.shape[1]):
        plane[:, 1:-1, 1:-1] = channels[:, channel]
        upper = _between(flat.take(corner), flat.take(corner + 1), right)
        lower = _between(flat.take(corner + columns), flat.take(corner + (columns + 1)), right)
        out[:, channel] = like(_between(upper, lower, down), images)
    return out.reshape(*images.shape[:-2], *corner.shape[1:])


def _between(a: np.ndarray, b: np.ndarray, share: np.ndarray) -> np.ndarray:
    """a + share · (b − a), in the memory of ``b``."""
    b -= a
    b *= share
    b += a
    return b
