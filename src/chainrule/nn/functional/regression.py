"""Losses for numbers, distributions and distances."""

from __future__ import annotations

import math
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DataError
from chainrule.nn.functional.reduction import (
    REDUCTIONS,
    as_weight,
    check_positive,
    check_reduction,
    check_signs,
    reduce_loss,
    same_shape,
    visible,
)
from chainrule.ops.origin import here
from chainrule.ops.spelling import answers_spelling

KL_REDUCTIONS = (*REDUCTIONS, "batchmean")


def mse_loss(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """(y − t)², averaged; derivative 2 (y − t) / n."""
    y, t = same_shape("mse_loss", prediction, target)
    error = y - t
    return reduce_loss(error * error, reduction, sample_weight)


def half_squared_error(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """½ (y − t)², averaged; derivative (y − t) / n: the delta rule's loss."""
    y, t = same_shape("half_squared_error", prediction, target)
    error = y - t
    return reduce_loss(error * error * 0.5, reduction, sample_weight)


def sum_squared_error(prediction: Any, target: Any, *, sample_weight: Any = None) -> Array:
    """Σ (y − t)²: the total sum squared error."""
    y, t = same_shape("sum_squared_error", prediction, target)
    error = y - t
    return reduce_loss(error * error, "sum", sample_weight)


def l1_loss(
    prediction: Any, target: Any, *, reduction: str = "mean", sample_weight: Any = None
) -> Array:
    """|y − t|; derivative 0 where they are equal."""
    y, t = same_shape("l1_loss", prediction, target)
    return reduce_loss(ops.abs(y - t), reduction, sample_weight)


def huber_loss(
    prediction: Any,
    target: Any,
    *,
    delta: float = 1.0,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """½ e² where |e| ≤ δ, else δ (|e| − ½ δ) (Huber 1964).

    Args:
        prediction: Any shape.
        target: Same shape.
        delta: Where the parabola becomes a line, > 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
    """
    check_positive("huber_loss: delta", delta)
    y, t = same_shape("huber_loss", prediction, target)
    return reduce_loss(_parabola_then_line(y - t, delta), reduction, sample_weight)


def _parabola_then_line(error: Array, width: Any) -> Array:
    """½ e² within ±width, width·(|e| − ½ width) outside; no |e|, whose derivatives stop at 0."""
    inside = ops.maximum(ops.minimum(error, width), -width)
    return inside * (error - inside * 0.5)


def smooth_l1_loss(
    prediction: Any,
    target: Any,
    *,
    beta: float = 1.0,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """Huber's loss divided by its width β: ½ e² / β where |e| < β, else |e| − ½ β."""
    check_positive("smooth_l1_loss: beta", beta)
    y, t = same_shape("smooth_l1_loss", prediction, target)
    values = _parabola_then_line(y - t, beta) * (1.0 / beta)
    return reduce_loss(values, reduction, sample_weight)


def pinball_loss(
    prediction: Any,
    target: Any,
    *,
    quantile: float = 0.5,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """max(q e, (q − 1) e) with e = t − y: minimal at the q-quantile (Koenker and Bassett 1978).

    At e = 0 the derivative in y is −q.

    Args:
        prediction: Any shape.
        target: Same shape.
        quantile: q in (0, 1).
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
    """
    if not isinstance(quantile, Array) and not 0 < quantile < 1:
        raise ArgumentError(
            "pinball_loss: quantile is out of range",
            expected="(0, 1)",
            got=str(quantile),
            where=str(here()),
        )
    y, t = same_shape("pinball_loss", prediction, target)
    error = t - y
    return reduce_loss(
        ops.maximum(error * quantile, error * (quantile - 1.0)), reduction, sample_weight
    )


def gaussian_nll_loss(
    prediction: Any,
    target: Any,
    variance: Any,
    *,
    full: bool = False,
    epsilon: float = 1e-6,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """½ (ln v + (t − y)² / v): the network predicts mean and variance (Nix and Weigend 1994).

    Args:
        prediction: Means, any shape.
        target: Same shape.
        variance: Same shape, ≥ 0; a value below ``epsilon`` counts as ``epsilon``, but gets the
            gradient there, so that it can grow again (as in PyTorch).
        full: Add ½ ln 2π.
        epsilon: Smallest variance.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).

    Raises:
        DataError: A variance is negative (checked where the values are known).
    """
    y, t = same_shape("gaussian_nll_loss", prediction, target)
    _, v = same_shape("gaussian_nll_loss (variance)", y, variance)
    if visible(v) and v.size and float(v.numpy().min()) < 0:
        raise DataError(
            "gaussian_nll_loss: a variance is negative",
            expected="≥ 0",
            got=f"{v.numpy().min():.4g}",
            fix="let the network predict its logarithm: cr.exp(output), or use softplus",
            where=str(here()),
        )
    # the gradient passes the clamp as if it were not there
    v = v + ops.stop_gradient(ops.maximum(v, epsilon) - v)
    values = 0.5 * (ops.log(v) + (t - y) ** 2 / v)
    if full:
        values = values + 0.5 * math.log(2 * math.pi)
    return reduce_loss(values, reduction, sample_weight)


def kl_div_loss(
    prediction: Any,
    target: Any,
    *,
    log_target: bool = False,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """Σ t (ln t − ln q): how far log-probabilities lie from a distribution.

    Args:
        prediction: ln q, any shape.
        target: t of the same shape, or ln t with ``log_target``; 0 ln 0 counts as 0.
        log_target: The target is given as logarithms.
        reduction: ``"batchmean"`` divides the sum by the batch (or the sum of the weights), which
            is the divergence; ``"mean"`` divides by all elements, as in PyTorch; ``"sum"``;
            ``"none"``.
        sample_weight: (batch,).

    Raises:
        DataError: A target probability is negative (checked where the values are known).
    """
    check_reduction(reduction, KL_REDUCTIONS)
    q, t = same_shape("kl_div_loss", prediction, target)
    if not log_target and visible(t) and t.size and float(t.numpy().min()) < 0:
        raise DataError(
            "kl_div_loss: a target probability is negative",
            expected="≥ 0",
            got=f"{t.numpy().min():.4g}",
            fix="if the targets are logarithms, say so: log_target=True",
            where=str(here()),
        )
    if log_target:
        values = ops.exp(t) * (t - q)
    else:
        positive = t > 0
        log_t = ops.log(ops.where(positive, t, ops.ones_like(t)))
        values = ops.where(positive, t * (log_t - q), ops.zeros_like(t))
    if reduction == "batchmean":
        if not values.ndim:
            return reduce_loss(values, "sum", sample_weight)
        rows = ops.ones((values.shape[0],), dtype=values.dtype)
        counted = rows if sample_weight is None else as_weight(sample_weight, values)
        return reduce_loss(values, "mean", sample_weight, counted)
    return reduce_loss(values, reduction, sample_weight)


@answers_spelling
def cosine_similarity(a: Any, b: Any, *, axis: int = -1, epsilon: float = 1e-8) -> Array:
    """a·b / (|a| |b|) along ``axis``, in [−1, 1]; norms below ``epsilon`` count as it."""
    x, y = same_shape("cosine_similarity", a, b)
    # held under the root, whose derivative at 0 is infinite; each by itself, for their product
    # leaves the range of float32 much sooner
    least = max(epsilon * epsilon, float(ops.finfo(x.dtype).smallest_normal))
    first, second = (ops.sqrt(ops.maximum(ops.sum(v * v, axis=axis), least)) for v in (x, y))
    return ops.sum(x * y, axis=axis) / first / second


def cosine_embedding_loss(
    first: Any,
    second: Any,
    target: Any,
    *,
    margin: float = 0.0,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """1 − cos for pairs that belong together (t = 1), max(0, cos − margin) for others (t = −1).

    Args:
        first: (batch, features).
        second: (batch, features).
        target: (batch,) of ±1.
        margin: In [−1, 1].
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
    """
    similarity = cosine_similarity(first, second)
    _, t = same_shape("cosine_embedding_loss", similarity, target)
    check_signs("cosine_embedding_loss", t)
    values = ops.where(t > 0, 1 - similarity, ops.relu(similarity - margin))
    return reduce_loss(values, reduction, sample_weight)


def triplet_margin_loss(
    anchor: Any,
    positive: Any,
    negative: Any,
    *,
    margin: float = 1.0,
    epsilon: float = 1e-6,
    reduction: str = "mean",
    sample_weight: Any = None,
) -> Array:
    """max(0, |a − p| − |a − n| + margin) (Schroff et al. 2015; distances as in PyTorch).

    Args:
        anchor: (batch, features).
        positive: Belongs with the anchor; same shape.
        negative: Does not; same shape.
        margin: How much further the negative must be, > 0.
        epsilon: Added to each difference, which keeps the derivative finite at distance 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        sample_weight: (batch,).
    """
    check_positive("triplet_margin_loss: margin", margin)
    a, p = same_shape("triplet_margin_loss (positive)", anchor, positive)
    a, n = same_shape("triplet_margin_loss (negative)", a, negative)

    def distance(x: Array, y: Array) -> Array:
        difference = x - y + epsilon
        return ops.sqrt(ops.sum(difference * difference, axis=-1))

    values = ops.relu(distance(a, p) - distance(a, n) + margin)
    return reduce_loss(values, reduction, sample_weight)
