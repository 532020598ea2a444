"""Transforms of pixel values: normalisation, brightness, contrast."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.augmentation.base import Transform, by_sample, in_range, like
from chainrule.data.augmentation.draws import Draws
from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops.origin import here

#: whole-number pixels are taken as shares of this
WHITE = 255.0


class Normalize(Transform):
    """(x − mean) / deviation of each channel, float32; always, for training and measuring alike.

    Whole-number pixels are divided by 255 first, so the constants are those that are published.

    Args:
        mean: One number, or one a channel.
        std: The same, > 0.

    >>> Normalize(0.5, 0.25).settle(np.array([[[0, 255]]], np.uint8)).tolist()
    [[[-2.0, 2.0]]]
    """

    random = False

    def __init__(self, mean: Any, std: Any) -> None:
        self.mean = _constants(mean)
        self.std = _constants(std)
        if not all(value > 0 for value in self.std):
            raise ArgumentError(
                "Normalize: std is out of range", expected="numbers above 0", got=repr(std)
            )

    @classmethod
    def fit(cls, images: Any) -> Normalize:
        """Mean and deviation of each channel of the training images."""
        pixels = np.asarray(images)
        axes = (0, 1, 2) if pixels.ndim == 3 else (0, 2, 3)
        white = WHITE if pixels.dtype.kind == "u" else 1.0
        mean = pixels.mean(axis=axes, dtype=np.float64)
        std = pixels.std(axis=axes, dtype=np.float64)
        return cls(mean / white, np.where(std > 0, std, white) / white)

    def settle(self, images: np.ndarray) -> np.ndarray:
        """Normalised images."""
        mean, std = np.array(self.mean), np.array(self.std)
        n_channels = images.shape[1] if images.ndim == 4 else 1
        for name, values in (("mean", mean), ("std", std)):
            if len(values) not in (1, n_channels):
                raise ShapeError(
                    f"Normalize: {name} does not fit the images",
                    expected=f"one number, or {n_channels}: one a channel",
                    got=str(len(values)),
                    where=str(here()),
                )
        factor = 1 / (std * (WHITE if images.dtype.kind == "u" else 1.0))
        shape = (-1, 1, 1) if images.ndim == 4 else (-1,)
        out = images.astype(np.float32)
        out *= factor.astype(np.float32).reshape(shape)
        out -= (mean / std).astype(np.float32).reshape(shape)
        return out

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Normalised images."""
        return self.settle(images)


class ColorJitter(Transform):
    """Change brightness and contrast.

    Pixels become ``m·b + c·b·(x − m)``, with m the image's mean, b a factor of brightness and c
    one of contrast. Whole-number pixels stay within 0 and 255.

    Args:
        brightness: b is drawn evenly from 1 − brightness to 1 + brightness; in [0, 1].
        contrast: c likewise.
    """

    def __init__(self, brightness: float = 0.2, contrast: float = 0.2) -> None:
        self.brightness = in_range("ColorJitter: brightness", brightness, 0, 1)
        self.contrast = in_range("ColorJitter: contrast", contrast, 0, 1)

    def apply(self, images: np.ndarray, draws: Draws) -> np.ndarray:
        """Every image with factors of its own."""
        bright = draws.between(1 - self.brightness, 1 + self.brightness)
        contrast = draws.between(1 - self.contrast, 1 + self.contrast) * bright
        rows = images.reshape(len(images), -1)
        # one row at a time: a sum's order must not depend on how many there are
        means = np.array([row.mean(dtype=np.float64) for row in rows])
        offset = means * bright - means * contrast
        out = images * by_sample(contrast.astype(np.float32), images)
        out += by_sample(offset.astype(np.float32), images)
        return like(out, images)


def _constants(given: Any) -> tuple[float, ...]:
    return tuple(float(value) for value in np.ravel(given))
