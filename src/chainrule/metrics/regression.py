"""Metrics of numbers: absolute, squared and largest error, and the share of variance explained."""

from __future__ import annotations

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.metrics.base import Metric, mean_of, same_shape, weights_like, wide


class _ErrorMean(Metric):
    """Weighted mean of an error over samples, then over outputs."""

    higher_is_better = False

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """The weight, then the weighted total of each output."""
        prediction, target = same_shape(prediction, target, self.name)
        values = self._error(wide(prediction) - wide(target))
        weight = weights_like(values, sample_weight)
        sums: Array = ops.concat([_one(ops.sum(weight[:, 0])), ops.sum(values * weight, axis=0)])
        return sums

    def _error(self, difference: Array) -> Array:
        raise NotImplementedError

    def result(self, sums: np.ndarray) -> float:
        """The mean over samples and outputs; NaN over no samples."""
        return mean_of(float(np.mean(sums[1:])), sums[0])


def _one(x: Array) -> Array:
    row: Array = ops.reshape(x, (1,))
    return row


class MeanAbsoluteError(_ErrorMean):
    """``mean |prediction − target|``, in the target's unit.

    >>> import numpy as np
    >>> MeanAbsoluteError()(np.float32([1, 2]), np.float32([2, 4]))
    1.5
    """

    def __init__(self, name: str = "mae") -> None:
        super().__init__(name)

    def _error(self, difference: Array) -> Array:
        size: Array = ops.abs(difference)
        return size


class MeanSquaredError(_ErrorMean):
    """``mean (prediction − target)²``, in the target's unit squared.

    >>> import numpy as np
    >>> MeanSquaredError()(np.float32([1, 2]), np.float32([2, 4]))
    2.5
    """

    def __init__(self, name: str = "mse") -> None:
        super().__init__(name)

    def _error(self, difference: Array) -> Array:
        return difference * difference


class RootMeanSquaredError(MeanSquaredError):
    """``√ mean (prediction − target)²``, in the target's unit; the mean of the outputs' roots.

    >>> import numpy as np
    >>> RootMeanSquaredError()(np.float32([1, 2]), np.float32([4, 6]))
    3.5355339059327378
    """

    def __init__(self, name: str = "rmse") -> None:
        super().__init__(name)

    def result(self, sums: np.ndarray) -> float:
        """Root for each output, then their mean."""
        if not sums[0]:
            return float("nan")
        return float(np.mean(np.sqrt(sums[1:] / sums[0])))


class R2(Metric):
    """Share of the variance explained: ``1 − Σ(t − y)² / Σ(t − mean t)²``, averaged over outputs.

    1 is perfect, 0 as good as the mean, negative worse than it. An output whose targets are all
    equal counts 1 if it is predicted exactly, otherwise 0. NaN over fewer than two samples, where
    there is no variance to explain.

    >>> import numpy as np
    >>> R2()(np.float32([1, 2, 3]), np.float32([1, 2, 4]))
    0.7857142857142858
    """

    def __init__(self, name: str = "r2") -> None:
        super().__init__(name)

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Number of samples, weight, then Σt, Σt² and Σ(t − y)² of each output."""
        prediction, target = same_shape(prediction, target, self.name)
        t = wide(target)
        residual = wide(prediction) - t
        weight = weights_like(t, sample_weight)
        counted = ops.astype(weight[:, 0] > 0, weight.dtype)
        sums: Array = ops.concat(
            [
                _one(ops.sum(counted)),
                _one(ops.sum(weight[:, 0])),
                ops.sum(t * weight, axis=0),
                ops.sum(t * t * weight, axis=0),
                ops.sum(residual * residual * weight, axis=0),
            ]
        )
        return sums

    def result(self, sums: np.ndarray) -> float:
        """The mean of the outputs' shares."""
        count, weight = sums[:2]
        if count < 2:
            return float("nan")
        total, squares, residual = sums[2:].reshape(3, -1)
        variation = squares - total**2 / weight
        # rounding leaves a hair above or below 0 where all targets are equal
        varies = variation > 1e-14 * np.abs(squares)
        unexplained = np.where(residual > 0, 1.0, 0.0)
        np.divide(residual, variation, out=unexplained, where=varies)
        return float(np.mean(1.0 - unexplained))


class MaxError(Metric):
    """The largest ``|prediction − target|``; batches combine by the maximum, weights only select.

    >>> import numpy as np
    >>> MaxError()(np.float32([1, 2]), np.float32([2, 5]))
    3.0
    """

    combine = "max"
    higher_is_better = False

    def __init__(self, name: str = "max_error") -> None:
        super().__init__(name)

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """The largest error, −1 where no sample has weight."""
        prediction, target = same_shape(prediction, target, self.name)
        values = ops.abs(wide(prediction) - wide(target))
        weight = weights_like(values, sample_weight)
        return _one(ops.max(ops.where(weight > 0, values, -1.0)))

    def result(self, sums: np.ndarray) -> float:
        """The largest error; NaN over no samples."""
        return float(sums[0]) if sums[0] >= 0 else float("nan")
