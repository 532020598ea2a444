"""Bernoulli cross-entropy: losses for yes or no, from probabilities and from logits."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import DataError, ShapeError
from chainrule.nn.functional.reduction import reduce_loss, same_shape, visible
from chainrule.nn.functional.suspicions import BEFORE_SIGMOID, warn_of_activation
from chainrule.ops import composite
from chainrule.ops.origin import here

LOG_FLOOR = -100.0  # ln 0 counts as −100, as in PyTorch, so that a wrong certainty stays finite
SMALLEST_SPREAD = 1e-12  # what p (1 − p) is held above in the derivative, as in PyTorch


def _held_logs(p: Array) -> tuple[Array, Array]:
    """ln p and ln(1 − p), neither below ``LOG_FLOOR``."""
    return ops.maximum(ops.log(p), LOG_FLOOR), ops.maximum(ops.log1p(-p), LOG_FLOOR)


@composite("binary_cross_entropy_pullback", formula="{x}·({y} − {z}) / ({y}·(1 − {y}))")
def _pullback(g: Array, p: Array, t: Array) -> Array:
    spread = max(SMALLEST_SPREAD, float(ops.finfo(p.dtype).smallest_normal))
    return g * ((p - t) / ops.maximum(p * (1 - p), spread))


@composite("binary_cross_entropy_target_pullback", formula="{x}·(ln(1 − {y}) − ln {y})")
def _target_pullback(g: Array, p: Array) -> Array:
    one, zero = _held_logs(p)
    return g * (zero - one)


# the derivative is a rule of its own: through the held logarithms it would be 0 · ∞ at p = 0 and 1,
# which a saturated sigmoid does reach
@composite(
    "binary_cross_entropy",
    vjp=lambda g, y, p, t: (_pullback(g, p, t), _target_pullback(g, p)),
    formula="−{y}·ln {x} − (1 − {y})·ln(1 − {x})",
    derivative=("({x} − {y}) / ({x}·(1 − {x}))", "ln(1 − {x}) − ln {x}"),
)
def _binary_cross_entropy(p: Array, t: Array) -> Array:
    one, zero = _held_logs(p)
    return -(t * one + (1 - t) * zero)


def binary_cross_entropy(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """−t ln p − (1 − t) ln(1 − p): the negative log-likelihood of Bernoulli targets.

    Logarithms are held at −100 and, in the derivative (p − t) / (p (1 − p)), the divisor at 1e-12,
    so that probabilities of exactly 0 and 1 give finite numbers.

    Args:
        prediction: Probabilities in [0, 1], any shape.
        target: Same shape, in [0, 1].
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).

    Raises:
        DataError: Probabilities or targets outside [0, 1].
    """
    p, t = same_shape("binary_cross_entropy", prediction, target)
    check_unit_interval(p, "probabilities", "logits want nn.BCEWithLogitsLoss")
    check_unit_interval(t, "targets", "turn −1/+1 labels into 0/1: (t + 1) / 2")
    return reduce_loss(_binary_cross_entropy(p, t), reduction, sample_weight)


def check_unit_interval(x: Array, what: str, fix: str) -> None:
    """Raise DataError unless all of ``x`` is in [0, 1] (checked where the values are known)."""
    if visible(x) and x.size:
        values = x.numpy().astype(np.float64)
        if values.min() < 0 or values.max() > 1:
            raise DataError(
                f"binary cross-entropy: the {what} leave [0, 1]",
                expected="numbers in [0, 1]",
                got=f"{values.min():.4g} to {values.max():.4g}",
                fix=fix,
                where=str(here()),
            )


@composite("binary_cross_entropy_with_logits_pullback", formula="{x}·(σ({y}) − {z})")
def _logits_pullback(g: Array, z: Array, t: Array) -> Array:
    return g * (ops.sigmoid(z) - t)


# relu′(0) = abs′(0) = 0 would make the derivative −t at z = 0, where it is ½ − t: a rule of its own
@composite(
    "binary_cross_entropy_with_logits",
    vjp=lambda g, y, z, t: (_logits_pullback(g, z, t), -(g * z)),
    formula="max({x}, 0) − {x}·{y} + ln(1 + exp(−|{x}|))",
    derivative=("σ({x}) − {y}", "−{x}"),
)
def _binary_cross_entropy_with_logits(z: Array, t: Array) -> Array:
    return ops.relu(z) - z * t + ops.log1p(ops.exp(-ops.abs(z)))


def binary_cross_entropy_with_logits(
    prediction: Any,
    target: Any,
    *,
    pos_weight: Any = None,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """Bernoulli cross-entropy of σ(z), computed from z without overflow.

    Its derivative is σ(z) − t.

    Args:
        prediction: Logits z, any shape.
        target: Same shape, in [0, 1].
        pos_weight: Factor of the term of target 1; a number, or one for each of the last axes.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).

    Raises:
        DataError: Targets outside [0, 1].
        ShapeError: ``pos_weight`` does not fit the last axes of the logits.
    """
    z, t = same_shape("binary_cross_entropy_with_logits", prediction, target)
    warn_of_activation("binary_cross_entropy_with_logits", z, "logits", BEFORE_SIGMOID)
    check_unit_interval(t, "targets", "turn −1/+1 labels into 0/1: (t + 1) / 2")
    if pos_weight is None:
        values = _binary_cross_entropy_with_logits(z, t)
    else:
        weight = 1 + (_fitting_weight(pos_weight, z) - 1) * t
        values = (1 - t) * z + weight * ops.logaddexp(-z, 0.0)
    return reduce_loss(values, reduction, sample_weight)


def _fitting_weight(pos_weight: Any, z: Array) -> Array:
    """``pos_weight`` as an Array that broadcasts to the logits without making them larger."""
    weight: Array = ops.astype(pos_weight, z.dtype)
    pairs = zip(reversed(weight.shape), reversed(z.shape), strict=False)
    if weight.ndim > z.ndim or any(own not in (1, size) for own, size in pairs):
        raise ShapeError(
            "binary_cross_entropy_with_logits: pos_weight does not fit the logits",
            expected=f"a number, or sizes that end those of {z.shape}",
            got=str(weight.shape),
            fix="give one weight for each label (the last axis)",
            where=str(here()),
        )
    return weight
