"""Metrics read from how often each class was said and meant: precision, recall, F1, kappa, ..."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.metrics.base import Metric, ratio
from chainrule.metrics.classification import decide
from chainrule.ops import dtypes

Average = Literal["auto", "binary", "macro", "micro", "weighted"]
AVERAGES = ("auto", "binary", "macro", "micro", "weighted")


class ClassCounts(NamedTuple):
    """Weights of samples, class by class, each (classes,).

    Args:
        hits: Meant and said (true positives).
        said: Predicted so (true and false positives).
        meant: Truly so (true positives and false negatives).
    """

    hits: np.ndarray
    said: np.ndarray
    meant: np.ndarray

    @property
    def total(self) -> float:
        """Weight of all samples."""
        return float(self.meant.sum())


class _ByClass(Metric):
    """Statistics: hits, said and meant of each class, 3 × classes numbers."""

    def __init__(self, name: str, threshold: float = 0.0) -> None:
        super().__init__(name)
        self.threshold = threshold

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Hits, said and meant of each class, one after the other."""
        d = decide(prediction, target, sample_weight, self.name, self.threshold)
        weight = ops.reshape(d.weight, (-1, 1))
        said = ops.one_hot(d.predicted, d.n_classes, dtype=dtypes.float64)
        meant = ops.one_hot(d.actual, d.n_classes, dtype=dtypes.float64) * weight
        sums: Array = ops.concat(
            [
                ops.sum(said * meant, axis=0),
                ops.sum(said * weight, axis=0),
                ops.sum(meant, axis=0),
            ]
        )
        return sums

    def result(self, sums: np.ndarray) -> float:
        """The value; NaN over no samples."""
        counts = ClassCounts(*np.reshape(sums, (3, -1)))
        return float(self._value(counts)) if counts.total else float("nan")

    def _value(self, counts: ClassCounts) -> float:
        raise NotImplementedError


class _Averaged(_ByClass):
    """A ratio for each class, averaged.

    Args:
        average: ``"binary"``: class 1 alone, for two classes. ``"macro"``: mean over the classes
            that occur among targets or predictions. ``"weighted"``: the same, weighted by how
            often each class is meant. ``"micro"``: one ratio of the totals. ``"auto"``: binary
            for two classes, macro for more.
        threshold: Where a single output says class 1: 0 for logits, 0.5 for probabilities.
        name: Column name.

    Raises:
        ArgumentError: No such average; or ``"binary"`` for more than two classes.
    """

    def __init__(self, average: Average = "auto", threshold: float = 0.0, name: str = "") -> None:
        if average not in AVERAGES:
            raise ArgumentError(
                f"there is no average {average!r}",
                expected=", ".join(repr(known) for known in AVERAGES),
                got=repr(average),
            )
        super().__init__(name or self.default_name, threshold)
        self.average = average

    default_name = ""

    def _fraction(self, counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
        """Numerator and denominator of each class."""
        raise NotImplementedError

    def _value(self, counts: ClassCounts) -> float:
        numerator, denominator = self._fraction(counts)
        n_classes = len(numerator)
        average = self.average
        if average == "auto":
            average = "binary" if n_classes == 2 else "macro"
        if average == "micro":
            return float(ratio(numerator.sum(), denominator.sum()))
        values = ratio(numerator, denominator)
        if average == "binary":
            if n_classes != 2:
                raise ArgumentError(
                    f"{self.name}: the average 'binary' is for two classes",
                    got=f"{n_classes} classes",
                    fix="average='macro'",
                )
            return float(values[1])
        weight = counts.meant if average == "weighted" else counts.said + counts.meant > 0
        return float(np.average(values, weights=weight))


class Precision(_Averaged):
    """Of the samples said to be of a class, the share that is; 0 for a class never said.

    Args:
        average: ``"auto"``, ``"binary"`` (class 1 of two), ``"macro"``, ``"micro"``,
            ``"weighted"``.
        threshold: Where a single output says class 1: 0 for logits, 0.5 for probabilities.
        name: Column name.

    >>> Precision()(np.float32([2, 3, -1]), np.array([1, 0, 1]))
    0.5
    """

    default_name = "precision"

    def _fraction(self, counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
        return counts.hits, counts.said


class Recall(_Averaged):
    """Of the samples of a class, the share found (sensitivity); 0 for a class without samples.

    Args:
        average: As for ``Precision``.
        threshold: As for ``Precision``.
        name: Column name.
    """

    default_name = "recall"

    def _fraction(self, counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
        return counts.hits, counts.meant


class Specificity(_Averaged):
    """Of the samples not of a class, the share not said to be; 0 where all are of the class.

    Args:
        average: As for ``Precision``.
        threshold: As for ``Precision``.
        name: Column name.
    """

    default_name = "specificity"

    def _fraction(self, counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
        others = counts.total - counts.meant
        return others - counts.said + counts.hits, others


class F1(_Averaged):
    """Harmonic mean of precision and recall, ``2 hits / (said + meant)``; 0 where both are 0.

    Args:
        average: As for ``Precision``.
        threshold: As for ``Precision``.
        name: Column name.
    """

    default_name = "f1"

    def _fraction(self, counts: ClassCounts) -> tuple[np.ndarray, np.ndarray]:
        return 2 * counts.hits, counts.said + counts.meant


class BalancedAccuracy(_ByClass):
    """Mean recall of the classes that have samples: rare classes count as much as frequent ones.

    Args:
        threshold: As for ``Precision``.
        name: Column name.
    """

    def __init__(self, threshold: float = 0.0, name: str = "balanced_accuracy") -> None:
        super().__init__(name, threshold)

    def _value(self, counts: ClassCounts) -> float:
        present = counts.meant > 0
        return float(np.mean(counts.hits[present] / counts.meant[present]))


class CohenKappa(_ByClass):
    """Agreement beyond chance, ``(p_o − p_e) / (1 − p_e)``.

    Where chance alone agrees always (one class on both sides) there is nothing to measure: NaN.

    Args:
        threshold: As for ``Precision``.
        name: Column name.

    Reference: Cohen 1960, A coefficient of agreement for nominal scales.
    """

    def __init__(self, threshold: float = 0.0, name: str = "cohen_kappa") -> None:
        super().__init__(name, threshold)

    def _value(self, counts: ClassCounts) -> float:
        observed = counts.hits.sum() / counts.total
        expected = float(counts.said @ counts.meant) / counts.total**2
        return float(ratio(observed - expected, 1.0 - expected, float("nan")))


class MatthewsCorrelation(_ByClass):
    """Correlation of what was said with what was meant, −1 to 1; 0 where either never varies.

    Args:
        threshold: As for ``Precision``.
        name: Column name.

    Reference: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation
    coefficient.
    """

    def __init__(self, threshold: float = 0.0, name: str = "matthews") -> None:
        super().__init__(name, threshold)

    def _value(self, counts: ClassCounts) -> float:
        squared = counts.total**2
        covariance = counts.hits.sum() * counts.total - counts.said @ counts.meant
        spread_said = squared - counts.said @ counts.said
        spread_meant = squared - counts.meant @ counts.meant
        return float(ratio(covariance, np.sqrt(spread_said * spread_meant)))


class ConfusionMatrix(Metric):
    """How often each class (row) was taken for each class (column).

    Its result is a matrix, so it is evaluated, not tracked: no column of a history.

    Args:
        threshold: As for ``Precision``.
        name: Key in the results of ``Trainer.evaluate``.

    Shape: result (classes, classes), rows true, columns predicted.

    >>> ConfusionMatrix()(np.float32([[2, 1], [0, 3], [1, 0]]), np.array([0, 1, 1]))
    array([[1., 0.],
           [1., 1.]])
    """

    scalar = False

    def __init__(self, threshold: float = 0.0, name: str = "confusion_matrix") -> None:
        super().__init__(name)
        self.threshold = threshold

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """The matrix as one row, (classes²,)."""
        d = decide(prediction, target, sample_weight, self.name, self.threshold)
        said = ops.one_hot(d.predicted, d.n_classes, dtype=dtypes.float64)
        meant = ops.one_hot(d.actual, d.n_classes, dtype=dtypes.float64)
        weighted = meant * ops.reshape(d.weight, (-1, 1))
        sums: Array = ops.reshape(ops.matmul(ops.matrix_transpose(weighted), said), (-1,))
        return sums

    def result(self, sums: np.ndarray) -> Any:
        """The matrix."""
        side = round(len(sums) ** 0.5)
        return np.reshape(sums, (side, side)).copy()
