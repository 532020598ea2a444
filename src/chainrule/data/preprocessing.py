"""Preprocessing whose constants are fitted on the training part only."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from chainrule.errors import DataError, ShapeError, StateError
from chainrule.ops.origin import here


class Standardizer:
    """Subtract each column's mean and divide by its standard deviation.

    ``fit`` it on the training part and ``transform`` all parts with it. Constant columns are
    centred and not scaled.

    >>> scaler = Standardizer().fit(np.array([[0.0, 5.0], [2.0, 5.0]]))
    >>> scaler.transform(np.array([[1.0, 6.0]]))
    array([[0., 1.]], dtype=float32)
    """

    def __init__(self) -> None:
        self.mean: np.ndarray | None = None
        self.scale: np.ndarray | None = None

    def fit(self, inputs: Any) -> Standardizer:
        """Measure mean and deviation over the first axis; returns itself.

        Raises:
            DataError: There is no sample, or a number is not finite.
        """
        x = np.asarray(inputs, dtype=np.float64)
        if not x.ndim or not len(x) or not np.isfinite(x).all():
            raise DataError(
                "these inputs can not be standardised",
                expected="at least one row of finite numbers",
                got=f"shape {x.shape}, {int((~np.isfinite(x)).sum())} not finite",
            )
        # the deviation of a constant column may come out as 1e-17, and would blow up its noise
        low, constant = x.min(axis=0), x.min(axis=0) == x.max(axis=0)
        self.mean = np.where(constant, low, x.mean(axis=0))
        self.scale = np.where(constant, 1.0, x.std(axis=0))
        return self

    def transform(self, inputs: Any) -> np.ndarray:
        """Standardised float32 numbers of the same shape.

        Raises:
            StateError: Not fitted yet.
            ShapeError: The columns differ from those fitted.
        """
        mean, scale = self._fitted(inputs)
        standard: np.ndarray = (np.asarray(inputs, dtype=np.float64) - mean) / scale
        return standard.astype(np.float32)

    def inverse_transform(self, standardized: Any) -> np.ndarray:
        """Back to the original units, float64; raises as ``transform`` does."""
        mean, scale = self._fitted(standardized)
        original: np.ndarray = np.asarray(standardized, dtype=np.float64) * scale + mean
        return original

    def _fitted(self, inputs: Any) -> tuple[np.ndarray, np.ndarray]:
        if self.mean is None or self.scale is None:
            raise StateError(
                "the Standardizer is not fitted",
                fix="call fit(training inputs) first",
                where=str(here()),
            )
        if not np.ndim(inputs) or np.shape(inputs)[1:] != self.mean.shape:
            raise ShapeError(
                "the columns differ from those that were fitted",
                expected=f"(n_samples, {', '.join(map(str, self.mean.shape))})",
                got=str(np.shape(inputs)),
            )
        return self.mean, self.scale

    def state_dict(self) -> dict[str, np.ndarray]:
        """Mean and scale by name; empty before ``fit``."""
        if self.mean is None or self.scale is None:
            return {}
        return {"mean": self.mean.copy(), "scale": self.scale.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take mean and scale from ``state_dict`` of another.

        Raises:
            StateError: These are not a mean and a scale of one shape, with scales above 0.
        """
        if not state:
            self.mean = self.scale = None
            return
        if set(state) != {"mean", "scale"}:
            raise StateError(
                "this is no Standardizer's state", expected="mean, scale", got=", ".join(state)
            )
        mean, scale = (np.array(state[name], dtype=np.float64) for name in ("mean", "scale"))
        if mean.shape != scale.shape or not (scale > 0).all():
            raise StateError(
                "this Standardizer's state does not fit together",
                expected="mean and scale of one shape, scales above 0",
                got=f"mean {mean.shape}, scale {scale.shape}",
            )
        self.mean, self.scale = mean, scale


def scale_images(images: Any) -> np.ndarray:
    """Whole-number pixels 0–255 as float32 in [0, 1].

    Raises:
        DataError: The pixels are not uint8.
    """
    pixels = np.asarray(images)
    if pixels.dtype != np.uint8:
        raise DataError("pixels must be uint8", expected="uint8, 0 to 255", got=str(pixels.dtype))
    return pixels.astype(np.float32) / np.float32(255)


def one_hot(labels: Any, n_classes: int) -> np.ndarray:
    """Labels as rows with a single 1, float32 (n_samples, n_classes).

    Raises:
        DataError: A label is no whole number in 0 .. n_classes − 1.
    """
    numbers = np.asarray(labels)
    if not numbers.size:  # an empty list is float64 to NumPy
        numbers = numbers.astype(np.int64)
    whole = numbers.dtype.kind in "iu"
    if not whole or (numbers.size and not 0 <= numbers.min() <= numbers.max() < n_classes):
        raise DataError(
            "these labels can not be encoded",
            expected=f"whole numbers 0 to {n_classes - 1}",
            got=f"{numbers.dtype}" + (f", {numbers.min()} to {numbers.max()}" if whole else ""),
        )
    rows: np.ndarray = np.eye(n_classes, dtype=np.float32)[numbers]
    return rows
