"""What all losses share: shapes are compared, never broadcast; weights and reduction."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DataError, DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.scope import is_outermost

REDUCTIONS = ("mean", "sum", "none")


def check_reduction(reduction: str, valid: tuple[str, ...] = REDUCTIONS) -> str:
    """Return ``reduction``, or raise ArgumentError with the valid ones."""
    if reduction not in valid:
        raise ArgumentError(
            "unknown reduction",
            expected=" or ".join(map(repr, valid)),
            got=repr(reduction),
            where=str(here()),
        )
    return reduction


def check_positive(what: str, value: Any) -> None:
    """Raise ArgumentError unless ``value`` is above 0; Arrays (traced settings) pass unseen."""
    if not isinstance(value, Array) and not value > 0:
        raise ArgumentError(
            f"{what} must be positive", expected="> 0", got=str(value), where=str(here())
        )


def reduce_loss(
    values: Array, reduction: str = "mean", sample_weight: Any = None, counted: Array | None = None
) -> Array:
    """Weigh the loss of each element and reduce.

    Args:
        values: (batch, ...) losses.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,); a weighted mean divides by the sum of the weights, so that a weight
            of 2 counts like the sample twice.
        counted: Weights whose sum the mean divides by instead of the number of elements; None for
            that number.
    """
    check_reduction(reduction)
    if sample_weight is not None:
        weight = as_weight(sample_weight, values)
        values = values * weight
        if counted is None:
            counted = weight * float(math.prod(values.shape[1:]))
    if reduction == "none":
        return values
    if reduction == "sum":
        return ops.sum(values)
    # a sum of 16-bit numbers leaves their range long before their mean does
    wide = dtypes.float64 if values.dtype == dtypes.float64 else dtypes.float32
    total: Array = ops.sum(values, dtype=wide)
    if counted is None:
        total = total * (1.0 / values.size if values.size else math.nan)
    else:
        total = total / ops.sum(counted, dtype=wide)
    return ops.astype(total, values.dtype)


def as_weight(sample_weight: Any, values: Array) -> Array:
    """Sample weights shaped (batch, 1, ...), in the type of ``values``."""
    weight: Array = ops.astype(sample_weight, values.dtype)
    if weight.ndim != 1 or not values.ndim or weight.shape[0] != values.shape[0]:
        raise ShapeError(
            "sample_weight must hold one number a sample",
            expected=f"({values.shape[0] if values.ndim else 1},)",
            got=str(weight.shape),
            where=str(here()),
        )
    return weight.reshape((weight.shape[0],) + (1,) * (values.ndim - 1))


def floating(x: Any, what: str, swapped: bool = False) -> Array:
    """``x`` as a floating Array; DtypeError for integers.

    Args:
        x: What a loss was given.
        what: How the message names it.
        swapped: What came as the target could be the prediction.
    """
    if callable(x):
        raise ArgumentError(
            f"{what} is a {type(x).__name__}, not its output",
            expected="an Array",
            got=type(x).__name__,
            fix="call the model first: loss(model(x), target)",
            where=str(here()),
        )
    value: Array = ops.as_value(x)
    if not dtypes.is_floating(value.dtype):
        raise DtypeError(
            f"{what} must be floating numbers",
            expected="float32 or another floating type",
            got=str(value.dtype),
            fix="the prediction comes first: loss(model(x), target)"
            if swapped
            else "cast them: cr.astype(x, cr.float32)",
            where=str(here()),
        )
    return value


def same_shape(name: str, prediction: Any, target: Any) -> tuple[Array, Array]:
    """Prediction and target as floating Arrays of one shape; nothing is broadcast.

    Raises:
        ShapeError: The shapes differ, as (n, 1) and (n,) do.
    """
    p = floating(prediction, f"{name}: the prediction")
    t: Array = ops.as_value(target)
    if p.shape != t.shape:
        fix = "give both one shape"
        if p.size == t.size:
            fix = f"prediction.reshape({t.shape}), or target.reshape({p.shape})"
        elif p.ndim == t.ndim + 1 and dtypes.is_integer(t.dtype):
            fix = "labels want nn.CrossEntropyLoss; for this loss make them one-hot: cr.one_hot"
        raise ShapeError(
            f"{name}: prediction {p.shape} and target {t.shape} differ; a loss never broadcasts",
            expected=f"a target of shape {p.shape}",
            got=str(t.shape),
            fix=fix,
            where=str(here()),
        )
    return p, t if t.dtype == p.dtype else ops.astype(t, p.dtype)


def visible(x: Array) -> bool:
    """True if the values can be checked now at no cost: evaluated already, outside transforms."""
    return is_outermost() and x.node.values is not None


def check_signs(name: str, t: Array) -> None:
    """Raise DataError unless the targets are ±1 (checked where the values are known)."""
    _check_values(name, t, (-1, 1), "−1 or +1", "turn 0/1 labels into ±1: 2 * t - 1")


def check_bits(name: str, t: Array) -> None:
    """Raise DataError unless the targets are 0 or 1 (checked where the values are known)."""
    _check_values(name, t, (0, 1), "0 or 1", "turn −1/+1 labels into 0/1: (t + 1) / 2")


def _check_values(name: str, t: Array, valid: tuple[int, int], said: str, fix: str) -> None:
    if visible(t) and t.size and not np.isin(t.numpy(), valid).all():
        raise DataError(
            f"{name}: targets must be {said}",
            expected=said,
            got=", ".join(f"{v:g}" for v in np.unique(t.numpy())[:5]),
            fix=fix,
            where=str(here()),
        )
