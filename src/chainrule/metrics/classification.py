"""Metrics of classes, from logits: hits, hits among the best k, and log loss."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError, IndexRangeError, ShapeError
from chainrule.metrics.base import Metric, mean_of, weights_like, wide
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class Decisions(NamedTuple):
    """What a classifier said and what was right, as one row of samples.

    Args:
        predicted: Class numbers, (n,), int64.
        actual: Class numbers, (n,), int64; rows to ignore hold 0 and weigh 0.
        weight: (n,), float64.
        n_classes: How many classes there are; 2 for a single output.
        scores: Raw outputs, (n, classes), or (n,) for a single output.
    """

    predicted: Array
    actual: Array
    weight: Array
    n_classes: int
    scores: Array


def decide(
    prediction: Array,
    target: Array,
    sample_weight: Array | None,
    name: str,
    threshold: float = 0.0,
) -> Decisions:
    """Read predictions and targets as classes.

    A last axis of two or more outputs holds one score a class, and the largest wins (the first at
    a tie). One output a sample is class 1 where it exceeds ``threshold``. Targets are class
    numbers (negative ones are ignored), or one row a sample shaped like the prediction, whose
    largest entry is the class; for a single output, class 1 is a target above ½, so that 0/1 and
    −1/+1 both work.

    Raises:
        ShapeError: Prediction and target do not fit.
        IndexRangeError: A label (of a concrete target) is not below the number of classes.
    """
    if _is_single(prediction, target):
        rows = prediction.shape
        n_classes = 2
        scores = ops.reshape(prediction, (prediction.size,))
        labels = ops.reshape(target, (target.size,))
        predicted = ops.astype(scores > threshold, dtypes.int64)
        actual = ops.astype(wide(labels) > 0.5, dtypes.int64)
        kept = None
    else:
        rows = prediction.shape[:-1]
        n_classes = prediction.shape[-1]
        scores = ops.reshape(prediction, (-1, n_classes))
        labels = _class_numbers(prediction, target, name)
        predicted = ops.argmax(scores, axis=-1)
        kept = labels >= 0
        actual = ops.where(kept, labels, 0)
    weight = weights_like(ops.reshape(predicted, rows), sample_weight)
    weight = ops.reshape(weight, (weight.size,))
    if kept is not None:
        weight = ops.where(kept, weight, 0.0)
    return Decisions(predicted, actual, weight, n_classes, scores)


def _is_single(prediction: Array, target: Array) -> bool:
    if prediction.ndim <= 1 or prediction.shape[-1] == 1:
        if prediction.size == target.size:
            return True
        raise ShapeError(
            "a model with a single output needs one target a sample",
            expected=f"{prediction.size} targets",
            got=f"{target.size}, of shape {target.shape}",
            where=str(here()),
        )
    return False


def _class_numbers(prediction: Array, target: Array, name: str) -> Array:
    """The true classes as one row of int64."""
    n_classes = prediction.shape[-1]
    if prediction.shape == target.shape:
        likeliest: Array = ops.reshape(ops.argmax(target, axis=-1), (-1,))
        return likeliest
    if target.shape not in (prediction.shape[:-1], (*prediction.shape[:-1], 1)):
        raise ShapeError(
            f"{name}: targets do not fit the predictions",
            expected=f"class numbers of shape {prediction.shape[:-1]} "
            f"or one row a sample of shape {prediction.shape}",
            got=str(target.shape),
            where=str(here()),
        )
    if not dtypes.is_integer(target.dtype):
        raise DtypeError(
            f"{name}: class numbers must be integers",
            got=str(target.dtype),
            fix="cast them: labels.astype('int64')",
            where=str(here()),
        )
    labels: Array = ops.reshape(ops.astype(target, dtypes.int64), (target.size,))
    if labels.is_concrete and labels.size and int(labels.numpy().max()) >= n_classes:
        row = int(np.argmax(labels.numpy() >= n_classes))
        raise IndexRangeError(
            f"{name}: a label is no class of this model",
            expected=f"labels from 0 to {n_classes - 1}",
            got=f"{int(labels.numpy()[row])} in row {row}",
            fix="count classes from 0, or give the model's last layer more outputs",
            where=str(here()),
        )
    return labels


class Accuracy(Metric):
    """Share of samples whose class is right.

    Args:
        threshold: Where a single output says class 1: 0 for logits, 0.5 for probabilities.
        name: Column name.

    >>> import numpy as np
    >>> Accuracy()(np.float32([[2, 1], [0, 3], [1, 0]]), np.array([0, 1, 1]))
    0.6666666666666666
    """

    def __init__(self, threshold: float = 0.0, name: str = "accuracy") -> None:
        super().__init__(name)
        self.threshold = threshold

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Weight of the hits, weight of all."""
        d = decide(prediction, target, sample_weight, self.name, self.threshold)
        hits = ops.where(d.predicted == d.actual, d.weight, 0.0)
        sums: Array = ops.stack([ops.sum(hits), ops.sum(d.weight)])
        return sums

    def result(self, sums: np.ndarray) -> float:
        """The share; NaN over no samples."""
        return mean_of(sums[0], sums[1])


class TopKAccuracy(Metric):
    """Share of samples whose class is among the ``k`` largest scores.

    A class whose score ties with the k-th counts if fewer than ``k`` classes score higher or equal
    with a lower number, as in a stable sort.

    Args:
        k: How many classes may be named, 1 or more.
        name: Column name; None: ``top_<k>_accuracy``.

    Raises:
        ArgumentError: ``k`` is below 1.
    """

    def __init__(self, k: int = 5, name: str | None = None) -> None:
        if k < 1:
            raise ArgumentError("top-k accuracy: k is out of range", expected="k ≥ 1", got=str(k))
        super().__init__(name or f"top_{k}_accuracy")
        self.k = k

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Weight of the hits, weight of all."""
        d = decide(prediction, target, sample_weight, self.name)
        if d.scores.ndim == 1:
            raise ShapeError(
                f"{self.name} needs a score for each class",
                expected="predictions (n, classes)",
                got=str(prediction.shape),
                fix="use accuracy for a single output",
                where=str(here()),
            )
        own = ops.take_along_axis(d.scores, ops.reshape(d.actual, (-1, 1)), axis=1)
        classes = ops.reshape(ops.arange(d.n_classes), (1, -1))
        ahead = (d.scores > own) | ((d.scores == own) & (classes < ops.reshape(d.actual, (-1, 1))))
        rank = ops.sum(ahead, axis=1)
        hits = ops.where(rank < self.k, d.weight, 0.0)
        sums: Array = ops.stack([ops.sum(hits), ops.sum(d.weight)])
        return sums

    def result(self, sums: np.ndarray) -> float:
        """The share; NaN over no samples."""
        return mean_of(sums[0], sums[1])


class LogLoss(Metric):
    """Mean of ``−ln p(true class)``: how surprised the model is by the truth, in nats.

    Args:
        from_logits: The predictions are logits; False: probabilities, kept off 0 by ``epsilon``.
        epsilon: Smallest probability that is counted.
        name: Column name.
    """

    higher_is_better = False

    def __init__(
        self, from_logits: bool = True, epsilon: float = 2.0**-52, name: str = "log_loss"
    ) -> None:
        super().__init__(name)
        self.from_logits = from_logits
        self.epsilon = epsilon

    def statistics(
        self, prediction: Array, target: Array, sample_weight: Array | None = None
    ) -> Array:
        """Weighted total and weight."""
        d = decide(prediction, target, sample_weight, self.name)
        scores = wide(d.scores)
        if scores.ndim == 1:
            positive = ops.astype(d.actual, dtypes.float64)
            surprise = self._binary(scores, positive)
        else:
            own = ops.take_along_axis(scores, ops.reshape(d.actual, (-1, 1)), axis=1)[:, 0]
            surprise = self._multiclass(scores, own)
        total = ops.sum(ops.where(d.weight > 0, surprise * d.weight, 0.0))
        sums: Array = ops.stack([total, ops.sum(d.weight)])
        return sums

    def _binary(self, scores: Array, positive: Array) -> Array:
        if self.from_logits:
            return ops.logaddexp(scores, 0.0) - scores * positive
        p = ops.clip(scores, self.epsilon, 1.0 - self.epsilon)
        likelihood: Array = positive * ops.log(p) + (1.0 - positive) * ops.log(1.0 - p)
        return -likelihood

    def _multiclass(self, scores: Array, own: Array) -> Array:
        if self.from_logits:
            return ops.logsumexp(scores, axis=1) - own
        total = ops.sum(scores, axis=1)
        probability: Array = ops.clip(own / total, self.epsilon, 1.0)
        return -ops.log(probability)

    def result(self, sums: np.ndarray) -> float:
        """The mean; NaN over no samples."""
        return mean_of(sums[0], sums[1])
