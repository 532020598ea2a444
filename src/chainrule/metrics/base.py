"""What a metric is: sums over a batch, built in the graph, and a result from the sums of many."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class Metric:
    """A streaming metric: ``statistics`` of each batch add up, ``result`` reads the total.

    The statistics are Arrays of float64, built from ops, so that a Program computes them beside
    the training step; the result is computed once, in NumPy, from their total. So the value over
    many batches equals the value over all samples at once.

    Over no samples every metric is NaN. Ratios whose own denominator is 0 follow the rule that the
    class states (mostly: the ratio is 0).

    Args:
        name: Column under which histories and logs show the value.
    """

    name: str
    #: how the statistics of two batches become those of both
    combine: Literal["sum", "max"] = "sum"
    #: which direction is better, for best weights and early stopping
    higher_is_better: bool = True
    #: False for metrics whose result is no single number (the confusion matrix)
    scalar: bool = True

    def __init__(self, name: str) -> None:
        self.name = name

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Sums over a batch.

        Args:
            prediction: What the model returned, samples in front.
            target: What it should have returned.
            sample_weight: One number ≥ 0 a sample; 0 leaves a sample out. None: all 1.

        Shape: output (k,), float64; ``k`` depends on the shapes only.
        """
        raise NotImplementedError

    def result(self, sums: np.ndarray) -> Any:
        """The metric's value from combined statistics.

        Args:
            sums: Statistics of all batches, combined, (k,).
        """
        raise NotImplementedError

    def __call__(self, prediction: Any, target: Any, sample_weight: Any = None) -> Any:
        """The value over one batch of Arrays or ndarrays."""
        weight = None if sample_weight is None else ops.as_value(sample_weight)
        sums = self.statistics(ops.as_value(prediction), ops.as_value(target), weight)
        return self.result(np.asarray(sums.numpy(), dtype=np.float64))

    def __repr__(self) -> str:
        return f"{type(self).__name__}(name={self.name!r})"


class Total:
    """The running statistics of one metric.

    Args:
        metric: Decides how batches are combined.
        sums: Where to go on from; None starts empty.

    >>> from chainrule.metrics import MeanAbsoluteError
    >>> total = Total(MeanAbsoluteError())
    >>> total.add([[3.0, 2.0], [1.0, 2.0]])
    >>> total.result()
    1.0
    """

    def __init__(self, metric: Metric, sums: np.ndarray | None = None) -> None:
        self.metric = metric
        self.sums = None if sums is None else np.asarray(sums, dtype=np.float64)

    def add(self, rows: Any) -> None:
        """Take in the statistics of some batches, one a row, strictly in order.

        The order makes the total independent of how many batches came in one call.
        """
        rows = np.asarray(rows, dtype=np.float64)
        if self.sums is not None:
            rows = np.concatenate([self.sums[None], rows])
        if self.metric.combine == "max":
            self.sums = rows.max(axis=0)
        else:
            # a running sum adds one row after the other; ``sum`` would add in pairs
            self.sums = np.add.accumulate(rows, axis=0)[-1]

    def result(self) -> Any:
        """The metric's value so far; NaN before the first batch."""
        return float("nan") if self.sums is None else self.metric.result(self.sums)


def ratio(numerator: Any, denominator: Any, otherwise: float = 0.0) -> Any:
    """``numerator / denominator``, elementwise, and ``otherwise`` where the denominator is 0."""
    numerator, denominator = np.broadcast_arrays(
        np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
    )
    answer = np.full(numerator.shape, otherwise)
    np.divide(numerator, denominator, out=answer, where=denominator != 0)
    return answer if answer.ndim else float(answer)


def mean_of(total: float, weight: float) -> float:
    """A weighted mean from its two sums; NaN over no samples."""
    return float(total / weight) if weight else float("nan")


def wide(x: Array) -> Array:
    """Cast to float64, the type of all statistics."""
    cast: Array = ops.astype(x, dtypes.float64)
    return cast


def weights_like(x: Array, sample_weight: Array | None) -> Array:
    """Float64 weights of the shape of ``x``: a sample's weight stands for all its places.

    Raises:
        ShapeError: There is not one weight a sample.
    """
    if sample_weight is None:
        ones: Array = ops.ones(x.shape, dtype=dtypes.float64)
        return ones
    flat = _without_ones(sample_weight)
    if flat.shape != x.shape[: flat.ndim] or (x.ndim and not flat.ndim and x.shape[0] != 1):
        raise ShapeError(
            "sample weights do not fit the predictions",
            expected=f"one number a sample: shape {x.shape[:1]}",
            got=str(sample_weight.shape),
            where=str(here()),
        )
    column = ops.reshape(wide(flat), (*flat.shape, *(1,) * (x.ndim - flat.ndim)))
    spread: Array = ops.broadcast_to(column, x.shape)
    return spread


def _without_ones(x: Array) -> Array:
    while x.ndim > 1 and x.shape[-1] == 1:
        x = ops.reshape(x, x.shape[:-1])
    return x


def same_shape(prediction: Array, target: Array, name: str) -> tuple[Array, Array]:
    """Both as (samples, outputs); a column (n, 1) and a vector (n,) count as equal.

    Raises:
        ShapeError: The shapes differ otherwise; a metric never broadcasts.
    """
    a, b = _without_ones(prediction), _without_ones(target)
    if a.shape != b.shape:
        raise ShapeError(
            f"{name}: prediction and target differ in shape",
            expected=f"a target of shape {prediction.shape}",
            got=str(target.shape),
            fix="give class labels to classification metrics only; reshape the target otherwise",
            where=str(here()),
        )
    shape = (a.shape[0] if a.ndim else 1, -1 if a.size else 1)
    return ops.reshape(a, shape), ops.reshape(b, shape)


class MeanOf(Metric):
    """The mean over samples of any function.

    Args:
        function: ``function(prediction, target)`` → one number a sample, (n,) or (n, ...).
        name: Column name; None takes the function's.
        higher_is_better: Direction, for best weights.

    >>> import numpy as np
    >>> gap = MeanOf(lambda prediction, target: abs(prediction - target), "gap")
    >>> gap(np.float32([1, 2]), np.float32([1, 4]))
    1.0
    """

    def __init__(
        self,
        function: Callable[[Array, Array], Array],
        name: str | None = None,
        higher_is_better: bool = False,
    ) -> None:
        super().__init__(name or str(getattr(function, "__name__", "metric")))
        self.function = function
        self.higher_is_better = higher_is_better

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Weighted total and weight."""
        values = wide(self.function(prediction, target))
        if not values.ndim:
            raise ShapeError(
                f"metric {self.name}: the function returned one number for the whole batch",
                expected=f"one number a sample: shape ({prediction.shape[0]},)",
                got=str(values.shape),
                fix="leave out the mean: the metric takes it over all batches",
                where=str(here()),
            )
        weight = weights_like(values, sample_weight)
        sums: Array = ops.stack([ops.sum(values * weight), ops.sum(weight)])
        return sums

    def result(self, sums: np.ndarray) -> float:
        """The weighted mean."""
        return mean_of(sums[0], sums[1])
