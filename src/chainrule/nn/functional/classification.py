"""Losses for classes: from probabilities, from logits, from margins."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import (
    ArgumentError,
    DataError,
    DtypeError,
    IndexRangeError,
    ShapeError,
)
from chainrule.nn.functional.activations import log_softmax, softmax
from chainrule.nn.functional.reduction import (
    as_weight,
    check_bits,
    check_signs,
    floating,
    reduce_loss,
    same_shape,
    visible,
)
from chainrule.nn.functional.suspicions import (
    BEFORE_PICKING,
    BEFORE_SIGMOID,
    BEFORE_SOFTMAX,
    warn_of_activation,
    warn_of_one_class,
    warn_of_positive_logs,
    warn_of_probabilities,
)
from chainrule.ops import composite, dtypes
from chainrule.ops.origin import here


@composite("softmax_cross_entropy_pullback", formula="{x}·(softmax({y}) − onehot({z}))")
def _cross_entropy_pullback(g: Array, logits: Array, labels: Array) -> Array:
    # a scatter, for it checks the labels: a Program that wants the gradient alone skips the loss
    less = -ops.ones(labels.shape, dtype=logits.dtype)
    error = ops.bind("scatter", softmax(logits, axis=-1), _places(labels), less, mode="add")
    return g.reshape((*g.shape, 1)) * error


@composite(
    "softmax_cross_entropy",
    vjp=lambda g, y, logits, labels: (_cross_entropy_pullback(g, logits, labels), None),
    formula="ln Σ exp({x}) − {x}[{y}]",
    derivative=("softmax({x}) − onehot({y})",),
)
def _softmax_cross_entropy(logits: Array, labels: Array) -> Array:
    return -_pick(log_softmax(logits, axis=-1), labels)


def _pick(rows: Array, labels: Array) -> Array:
    """The entry of each row at its label; labels are range-checked when evaluated."""
    return ops.bind("gather", rows, _places(labels))


def _places(labels: Array) -> Array:
    """Index of each label's entry in its row: (*labels.shape, ndim + 1)."""
    columns = [_counter((*labels.shape, 1), axis) for axis in range(labels.ndim)]
    last = ops.astype(labels.reshape((*labels.shape, 1)), dtypes.int64)
    return ops.concat([*columns, last], axis=-1)


def _counter(shape: tuple[int, ...], axis: int) -> Array:
    return ops.bind("iota", shape=shape, axis=axis, dtype=dtypes.int64)


def cross_entropy(
    prediction: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
    sample_weight: Any = None,
    axis: int = 1,
) -> Array:
    """Softmax cross-entropy of logits: −Σ t ln softmax(z); its gradient in z is softmax(z) − t.

    Args:
        prediction: Logits (batch, classes) or (batch, classes, *positions).
        target: Whole-number labels (batch, *positions), or probabilities like ``prediction``.
        weight: (classes,) factor of each class; the mean divides by the sum of those met.
        ignore_index: Label that counts for nothing; only with labels.
        label_smoothing: Share of the truth that is spread over all classes, in [0, 1].
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
        axis: Where the classes are, if there are positions: 1, or −1 for (batch, *positions,
            classes) as language models give them.

    Raises:
        ShapeError: Target and prediction do not fit.
        IndexRangeError: A label is no class.
        DataError: A class probability is negative.
        ArgumentError: ``axis`` or ``label_smoothing`` is something else.
    """
    t = ops.as_value(target)
    z = floating(prediction, "cross_entropy: the logits", swapped=dtypes.is_floating(t.dtype))
    if not 0.0 <= label_smoothing <= 1.0:
        raise ArgumentError(
            "label_smoothing is out of range", expected="[0, 1]", got=str(label_smoothing)
        )
    check_axis("cross_entropy", axis)
    warn_of_probabilities(z)
    if axis == 1:
        z = _classes_last(z)
    warn_of_one_class("cross_entropy", z)
    if dtypes.is_floating(t.dtype) and t.ndim == z.ndim:
        _refuse_ignoring(ignore_index)
        truth = _classes_last(t) if axis == 1 else t
        return _soft_cross_entropy(z, truth, weight, label_smoothing, reduction, sample_weight)
    check_labels("cross_entropy", z, t, ignore_index, classes_axis=axis)
    labels, kept = _without_ignored(t, ignore_index)
    class_weight = _class_weights(weight, z)
    if label_smoothing == 0.0:
        values = _softmax_cross_entropy(z, labels)
    else:
        logs = log_softmax(z, axis=-1)
        even = -ops.mean(logs if class_weight is None else logs * class_weight, axis=-1)
        values = -_pick(logs, labels) * (1.0 - label_smoothing)
    mask: Array | None = None
    if class_weight is not None:
        mask = ops.take(class_weight, labels)
        values = values * mask
    if label_smoothing:
        values = values + even * label_smoothing
    if kept is not None:
        present = ops.astype(kept, z.dtype)
        values = values * present
        mask = present if mask is None else mask * present
    return _reduce_masked(values, mask, reduction, sample_weight)


def _without_ignored(labels: Array, ignore_index: int) -> tuple[Array, Array | None]:
    """Labels with the ignored ones as 0, and which are kept; None if none can be ignored."""
    if ignore_index < 0 and labels.dtype in dtypes.UNSIGNED:
        return labels, None
    if visible(labels) and not bool((labels.numpy() == ignore_index).any()):
        return labels, None
    kept = labels != ignore_index
    return ops.where(kept, labels, ops.zeros_like(labels)), kept


def _reduce_masked(values: Array, mask: Array | None, reduction: str, sample_weight: Any) -> Array:
    if mask is None:
        return reduce_loss(values, reduction, sample_weight)
    counted = mask if sample_weight is None else mask * as_weight(sample_weight, values)
    return reduce_loss(values, reduction, sample_weight, counted)


def _refuse_ignoring(ignore_index: int) -> None:
    if ignore_index >= 0:
        raise ArgumentError(
            "cross_entropy: class probabilities have no label that could be ignored",
            expected="ignore_index with whole-number labels only",
            got=f"ignore_index={ignore_index} and floating targets",
            fix="give samples a sample_weight of 0 instead",
            where=str(here()),
        )


def _soft_cross_entropy(
    z: Array, t: Array, weight: Any, smoothing: float, reduction: str, sample_weight: Any
) -> Array:
    if t.shape != z.shape:
        raise ShapeError(
            "cross_entropy: the class probabilities do not fit the logits",
            expected=str(z.shape),
            got=str(t.shape),
            where=str(here()),
        )
    if visible(t) and t.size and float(t.numpy().min()) < 0:
        raise DataError(
            "cross_entropy: a class probability is negative",
            expected="≥ 0, and a sum of 1 for each sample",
            got=f"{t.numpy().min():.4g}",
            fix="turn logits into probabilities first: nn.functional.softmax(target)",
            where=str(here()),
        )
    truth = ops.astype(t, z.dtype)
    if smoothing:
        truth = truth * (1.0 - smoothing) + smoothing / z.shape[-1]
    logs = log_softmax(z, axis=-1)
    class_weight = _class_weights(weight, z)
    values = -ops.sum(truth * (logs if class_weight is None else logs * class_weight), axis=-1)
    return reduce_loss(values, reduction, sample_weight)


def check_axis(name: str, axis: int) -> None:
    """The classes are axis 1 or the last one.

    Raises:
        ArgumentError: ``axis`` is something else.
    """
    if axis not in (1, -1):
        raise ArgumentError(
            f"{name}: axis is out of range",
            expected="1 for (batch, classes, *positions), −1 for (batch, *positions, classes)",
            got=repr(axis),
            where=str(here()),
        )


def _classes_last(z: Array) -> Array:
    return z if z.ndim <= 2 else ops.moveaxis(z, 1, -1)


def _class_weights(weight: Any, z: Array) -> Array | None:
    if weight is None:
        return None
    value: Array = ops.astype(weight, z.dtype)
    if value.shape != (z.shape[-1],):
        raise ShapeError(
            "class weights need one number a class",
            expected=f"({z.shape[-1]},)",
            got=str(value.shape),
            where=str(here()),
        )
    return value


def check_labels(
    name: str, z: Array, t: Array, ignore_index: int | None = None, *, classes_axis: int = -1
) -> None:
    """Check labels against scores whose classes are the last axis.

    Args:
        name: The loss, for the message.
        z: Scores (batch, ..., classes).
        t: Labels.
        ignore_index: A label that may lie outside; None for none.
        classes_axis: Where the classes were when the loss was called; messages show that shape.

    Raises:
        DtypeError: The labels are floating.
        ShapeError: One-hot rows came, or another number of labels.
        IndexRangeError: A label is no class (checked here where the values are known).
    """
    if z.ndim == 0 or t.shape != z.shape[:-1]:
        given = z.shape
        if classes_axis == 1 and z.ndim > 2:
            given = (z.shape[0], z.shape[-1], *z.shape[1:-1])
        fix = "one label a sample"
        if t.shape == given:
            fix = "these look one-hot: pass target.argmax(1), or floats as class probabilities"
        elif t.ndim == z.ndim and t.shape[-1] == 1:
            fix = "drop the last axis: target.reshape(-1)"
        elif z.ndim > 2 and t.shape == z.shape[:1]:
            fix = "for one label a sample the scores are (batch, classes): nn.Flatten() comes first"
        elif z.ndim > 2 and t.shape == given[:-1]:
            fix = "the classes are axis 1; if yours are the last: " + (
                "cross_entropy(..., axis=-1)"
                if name == "cross_entropy"
                else "cr.moveaxis(scores, -1, 1)"
            )
        raise ShapeError(
            f"{name}: labels {t.shape} do not fit scores {given}",
            expected=f"labels of shape {z.shape[:-1]}",
            got=str(t.shape),
            fix=fix,
            where=str(here()),
        )
    if not dtypes.is_integer(t.dtype):
        raise DtypeError(
            f"{name}: labels must be whole numbers",
            expected="an integer type",
            got=str(t.dtype),
            fix="target.astype('int64')",
            where=str(here()),
        )
    if visible(t) and t.size:
        values = t.numpy()
        wrong = (values < 0) | (values >= z.shape[-1])
        if ignore_index is not None:
            wrong &= values != ignore_index
        if wrong.any():
            place = tuple(int(i) for i in np.argwhere(wrong)[0])
            raise IndexRangeError(
                f"{name}: label {values[place]} in row {place[0]} is no class",
                expected=f"0 to {z.shape[-1] - 1} for {z.shape[-1]} classes",
                got=str(values[place]),
                fix=_label_fix(int(values[place]), int(values.min()), z.shape[-1]),
                where=str(here()),
            )


def _label_fix(wrong: int, lowest: int, n_classes: int) -> str:
    if n_classes == 1:
        return "one output tells no classes apart: nn.Linear(..., 2), or nn.BCEWithLogitsLoss"
    if wrong >= 0:
        return "count labels from 0, or give the last layer more outputs"
    if lowest == -1 and n_classes == 2:
        return "turn labels of −1/+1 into 0/1: (target + 1) // 2"
    return "count labels from 0; rows without a label can be passed over: ignore_index=-1"


def nll_loss(
    prediction: Any,
    target: Any,
    *,
    weight: Any = None,
    ignore_index: int = -100,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """−(log-probability of the label): cross-entropy after a log-softmax of your own.

    Args:
        prediction: Log-probabilities (batch, classes) or (batch, classes, *positions).
        target: Labels (batch, *positions).
        weight: (classes,) factor of each class.
        ignore_index: Label that counts for nothing.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
    """
    given = floating(prediction, "nll_loss: the log-probabilities")
    warn_of_activation("nll_loss", given, "log-probabilities", BEFORE_PICKING)
    warn_of_positive_logs(given)
    logs = _classes_last(given)
    t = ops.as_value(target)
    check_labels("nll_loss", logs, t, ignore_index, classes_axis=1)
    labels, kept = _without_ignored(t, ignore_index)
    mask = _class_weights(weight, logs)
    mask = None if mask is None else ops.take(mask, labels)
    if kept is not None:
        present = ops.astype(kept, logs.dtype)
        mask = present if mask is None else mask * present
    values = -_pick(logs, labels)
    return _reduce_masked(values if mask is None else values * mask, mask, reduction, sample_weight)


def focal_loss(
    prediction: Any,
    target: Any,
    *,
    gamma: float = 2.0,
    alpha: Any = None,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """−α (1 − p)^γ ln p of the true class: easy samples count less (Lin et al. 2017).

    Args:
        prediction: Logits: (batch, classes) with labels (batch,), or binary ones of the target's
            shape.
        target: Labels, or 0/1 of the prediction's shape.
        gamma: How much easy samples are held back, ≥ 0; 0 is cross-entropy.
        alpha: Weight of class 1 (binary), or (classes,) weights; None for equal ones.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).

    Raises:
        ArgumentError: ``gamma`` is negative.
        DataError: A binary target is neither 0 nor 1 (checked where the values are known).
    """
    if not isinstance(gamma, Array) and not gamma >= 0:
        raise ArgumentError(
            "focal_loss: gamma is negative", expected="≥ 0", got=str(gamma), where=str(here())
        )
    z, t = floating(prediction, "focal_loss: the logits"), ops.as_value(target)
    binary = z.shape == t.shape
    warn_of_activation("focal_loss", z, "logits", BEFORE_SIGMOID if binary else BEFORE_SOFTMAX)
    if binary:
        z, t = same_shape("focal_loss", z, t)
        check_bits("focal_loss", t)
        log_p = -ops.logaddexp(z * (1 - 2 * t), 0.0)
        factor = None if alpha is None else alpha * t + (1 - alpha) * (1 - t)
    else:
        check_labels("focal_loss", z, t)
        log_p = _pick(log_softmax(z, axis=-1), t)
        weights = _class_weights(alpha, z)
        factor = None if weights is None else ops.take(weights, t)
    # 1 − p, held above 0, where the power has no derivative for γ < 1
    miss = ops.maximum(-ops.expm1(log_p), float(ops.finfo(z.dtype).smallest_normal))
    values = -(miss**gamma) * log_p
    return reduce_loss(values if factor is None else factor * values, reduction, sample_weight)


def hinge_loss(
    prediction: Any,
    target: Any,
    *,
    margin: float = 1.0,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """max(0, margin − t·z) for targets t = ±1; the derivative at the corner is 0.

    Raises:
        DataError: A target is neither −1 nor +1 (checked where the values are known).
    """
    z, t = same_shape("hinge_loss", prediction, target)
    check_signs("hinge_loss", t)
    return reduce_loss(ops.relu(margin - t * z), reduction, sample_weight)


def multi_margin_loss(
    prediction: Any,
    target: Any,
    *,
    margin: float = 1.0,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """Σⱼ≠ₜ max(0, margin − z[t] + z[j]) / classes: the hinge for several classes."""
    z, t = floating(prediction, "multi_margin_loss: the scores"), ops.as_value(target)
    check_labels("multi_margin_loss", z, t)
    own = _pick(z, t).reshape((*t.shape, 1))
    others = 1 - ops.one_hot(t, z.shape[-1], dtype=z.dtype)
    gaps = ops.relu(margin - own + z) * others
    return reduce_loss(ops.sum(gaps, axis=-1) * (1.0 / z.shape[-1]), reduction, sample_weight)


def miss_probability(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """1 − k[T]: the softmax probability of not choosing the label T."""
    z, t = floating(prediction, "miss_probability: the logits"), ops.as_value(target)
    warn_of_activation("miss_probability", z, "logits", BEFORE_SOFTMAX)
    check_labels("miss_probability", z, t)
    return reduce_loss(1 - _pick(softmax(z, axis=-1), t), reduction, sample_weight)


def expected_squared_distance(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """Σⱼ k[j] (j − T)²: how far, squared, a class drawn from the softmax lies from the label T."""
    z, t = floating(prediction, "expected_squared_distance: the logits"), ops.as_value(target)
    warn_of_activation("expected_squared_distance", z, "logits", BEFORE_SOFTMAX)
    check_labels("expected_squared_distance", z, t)
    classes = _counter((z.shape[-1],), 0)
    # the label itself, by way of a gather, which checks it when evaluated and lets no −1 through
    truth = ops.bind("gather", classes, ops.astype(t, dtypes.int64).reshape((*t.shape, 1)))
    distance = ops.astype(classes - truth.reshape((*t.shape, 1)), z.dtype)
    values = ops.sum(softmax(z, axis=-1) * distance * distance, axis=-1)
    return reduce_loss(values, reduction, sample_weight)
