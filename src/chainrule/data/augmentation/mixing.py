"""Transforms that mix two samples, targets included: mixup and CutMix."""

from __future__ import annotations

import functools
import math

import numpy as np

from chainrule.data.augmentation.base import Transform, by_sample, in_range
from chainrule.data.augmentation.draws import Draws

#: points of the table that Beta's quantiles are interpolated in
TABLE_SIZE = 4097


class Mixing(Transform):
    """Mixes each sample with a partner that is drawn from the whole data set.

    The partner went through the transforms before this one, with random numbers of its own.
    Labels become rows of shares, (n, classes).

    Args:
        alpha: The share λ that a sample keeps is drawn from Beta(α, α); above 0.
        p: Probability that a sample is mixed at all.
    """

    def __init__(self, alpha: float, p: float = 1.0) -> None:
        name = type(self).__name__
        self.alpha = in_range(f"{name}: alpha", alpha, 1e-2, 1e3)
        self.p = in_range(f"{name}: p", p, 0, 1)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Nothing: a sample alone is not mixed."""
        return images

    def blend(
        self, images: np.ndarray, partners: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """Mixed images, and the share that each sample keeps, (n,) float64.

        Args:
            images: May be written into.
            partners: One for each, of the same type.
            draws: Random numbers for each.
        """
        raise NotImplementedError

    def output_dtype(self, dtype: np.dtype) -> np.dtype:
        """Type of the mixed images."""
        return dtype


class MixUp(Mixing):
    """λ x + (1 − λ) x' and λ y + (1 − λ) y'; whole-number pixels become float32, as large.

    Args:
        alpha: λ is drawn from Beta(α, α); above 0.
        p: Probability that a sample is mixed at all.

    Reference: Zhang et al. 2018, "mixup: beyond empirical risk minimization", section 2.
    """

    def __init__(self, alpha: float = 0.2, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def blend(
        self, images: np.ndarray, partners: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the class says."""
        share = beta(draws.uniform(), self.alpha)
        own = by_sample(share.astype(np.float32), images)
        other = by_sample((1 - share).astype(np.float32), images)
        mixed = images * own + partners * other
        return mixed.astype(self.output_dtype(images.dtype), copy=False), share

    def output_dtype(self, dtype: np.dtype) -> np.dtype:
        """Floating."""
        return dtype if dtype.kind == "f" else np.dtype(np.float32)


class CutMix(Mixing):
    """Paste a rectangle of the partner; targets are mixed by the areas.

    Args:
        alpha: The share λ of the area that is kept is drawn from Beta(α, α), before the rectangle
            is cut at the image's border; above 0.
        p: Probability that a sample is mixed at all.

    Reference: Yun et al. 2019, "CutMix", section 3.1.
    """

    def __init__(self, alpha: float = 1.0, p: float = 1.0) -> None:
        super().__init__(alpha, p)

    def blend(
        self, images: np.ndarray, partners: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """As the class says."""
        rows, columns = images.shape[-2:]
        shares = beta(draws.uniform(), self.alpha)
        places = draws.uniform(2)
        for number, share in enumerate(shares.tolist()):
            side = math.sqrt(1 - share)
            y, x = places[number, 0] * rows, places[number, 1] * columns
            top, bottom = _around(y, side * rows, rows)
            left, right = _around(x, side * columns, columns)
            part = ..., slice(top, bottom), slice(left, right)
            images[number][part] = partners[number][part]
            shares[number] = 1 - (bottom - top) * (right - left) / (rows * columns)
        return images, shares


def _around(middle: float, length: float, most: int) -> tuple[int, int]:
    return max(0, round(middle - length / 2)), min(most, round(middle + length / 2))


def beta(uniform: np.ndarray, alpha: float) -> np.ndarray:
    """Quantiles of Beta(α, α), by table; exact to about seven digits.

    Args:
        uniform: Numbers in [0, 1].
        alpha: α > 0.

    >>> beta(np.array([0.25, 0.5]), 1.0).round(6).tolist()
    [0.25, 0.5]
    """
    roots, shares = _table(alpha)
    lower = np.minimum(uniform, 1 - uniform)
    root = np.interp(lower, shares, roots)
    # a Python power each: the same bits whatever the number of samples
    power = 1 / min(alpha, 1.0)
    small = np.array([r**power for r in root.ravel().tolist()]).reshape(root.shape)
    return np.where(uniform < 0.5, small, 1 - small)


@functools.cache
def _table(alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """x, or xᵅ for α < 1, and the distribution function there, for x from 0 to ½.

    For α < 1 the density xᵅ⁻¹(1 − x)ᵅ⁻¹ has a pole at 0; with r = xᵅ it is (1 − x)ᵅ⁻¹ dr / α.
    """
    root = min(alpha, 1.0)
    roots = np.linspace(0, 0.5**root, TABLE_SIZE)
    x = roots ** (1 / root)
    # 4x(1 − x) is 1 at ½, where the density is largest: no underflow for large α
    heights = (1 - x) ** (alpha - 1) if alpha < 1 else (4 * x * (1 - x)) ** (alpha - 1)
    areas = np.concatenate([[0.0], np.cumsum((heights[1:] + heights[:-1]) / 2)])
    return roots, areas / (2 * areas[-1])
