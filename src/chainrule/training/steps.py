"""The functions that Programs are made of: a training step, an evaluation step, a prediction."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.autodiff import value_and_grad
from chainrule.errors import ArgumentError
from chainrule.metrics import Metric
from chainrule.ops import dtypes
from chainrule.ops.origin import layer_scope


class LossMean(Metric):
    """The mean loss over samples, from batch losses and what they were divided by.

    Args:
        reduction: The loss's own: ``"mean"``, or ``"sum"`` for the total.
    """

    higher_is_better = False

    def __init__(self, reduction: str) -> None:
        super().__init__("loss")
        self.reduction = reduction

    def of_batch(self, loss: Array, share: Array) -> Array:
        """The batch's statistics.

        Args:
            loss: Scalar.
            share: What a mean was divided by.
        """
        total = ops.astype(loss, dtypes.float64)
        if self.reduction == "sum":
            sums: Array = ops.stack([total, ops.ones((), dtype=dtypes.float64)])
            return sums
        weight = ops.astype(share, dtypes.float64)
        weighted: Array = ops.stack([total * weight, weight])
        return weighted

    def result(self, sums: np.ndarray) -> float:
        """The mean, or the total."""
        if self.reduction == "sum":
            return float(sums[0])
        return float(sums[0] / sums[1]) if sums[1] else float("nan")


def reduction_of(loss: Any) -> str:
    """How a loss reduces a batch: ``"mean"`` or ``"sum"``.

    Raises:
        ArgumentError: It does not reduce at all.
    """
    reduction = getattr(loss, "reduction", "mean")
    if reduction not in ("mean", "sum"):
        raise ArgumentError(
            f"the loss {loss!r} returns one number a sample",
            expected="reduction='mean' or 'sum'",
            got=f"reduction={reduction!r}",
            fix="make the loss without reduction='none'",
        )
    return str(reduction)


def takes_weights(loss: Callable[..., Any]) -> bool:
    """True if the loss has an argument ``sample_weight``."""
    function = getattr(loss, "forward", loss)
    try:
        parameters = inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False
    return "sample_weight" in parameters


def call_loss(loss: Callable[..., Any], prediction: Array, target: Array, weight: Any) -> Array:
    """The loss of a batch, weighted where weights are given; messages call its place ``loss``."""
    with layer_scope("loss"):
        if weight is None:
            return loss(prediction, target)
        return loss(prediction, target, sample_weight=weight)


def _measure(
    metrics: Sequence[Metric], prediction: Array, target: Array, weight: Array | None
) -> list[Array]:
    """What the metrics sum up of a batch."""
    with layer_scope("metrics"):
        return [metric.statistics(prediction, target, weight) for metric in metrics]


def share_of(loss: Any, target: Array, weight: Array | None, reduction: str) -> Array:
    """What a batch's mean loss was divided by: the weight of all that counted in it.

    Args:
        loss: May have ``ignore_index`` and class weights ``weight``, as cross-entropy has.
        target: The batch's targets.
        weight: Sample weights, (batch,).
        reduction: The loss's own.
    """
    if reduction == "sum":
        one: Array = ops.ones(())
        return one
    ignored = getattr(loss, "ignore_index", None)
    class_weight = getattr(loss, "weight", None)
    labels = dtypes.is_integer(target.dtype) and (ignored is not None or class_weight is not None)
    if not labels:
        share: Array = ops.full((), float(target.shape[0])) if weight is None else ops.sum(weight)
        return share
    kept = target != (-1 if ignored is None else ignored)
    counted = ops.astype(kept, dtypes.default_float)
    if class_weight is not None:
        counted = counted * ops.take(class_weight, ops.where(kept, target, 0))
    if weight is not None:
        counted = counted * ops.reshape(weight, (-1,) + (1,) * (target.ndim - 1))
    total: Array = ops.sum(counted)
    return total


def training_step(
    loss_mean: LossMean,
    metrics: Sequence[Metric],
    observers: Sequence[Any],
    micro_batch: int,
    n_inputs: int,
) -> Callable[..., Any]:
    """Make ``step(model, loss, optimizer, *inputs, targets[, weights])``.

    A batch of more than ``micro_batch`` rows is worked through in pieces, whose gradients are
    averaged by their weight before the one update.

    Args:
        loss_mean: Collects the loss.
        metrics: Measured on the predictions that the gradients were taken of.
        observers: Callbacks that look at the gradients.
        micro_batch: Rows of a piece.
        n_inputs: How many arguments the model takes.
    """

    def step(model: Any, loss: Any, optimizer: Any, *batch: Array) -> Any:
        _, y, weight = _parts(batch, n_inputs)

        def objective(m: Any, *piece: Array) -> tuple[Array, Array]:
            x, y, weight = _parts(piece, n_inputs)
            prediction = m(*x)
            return call_loss(loss, prediction, y, weight), prediction

        differentiate = value_and_grad(objective, has_aux=True)
        predictions, losses, shares, gradients = [], [], [], []
        for start in range(0, y.shape[0], micro_batch):
            stop = min(start + micro_batch, y.shape[0])
            piece = [x if stop - start == y.shape[0] else x[start:stop] for x in batch]
            (value, prediction), found = differentiate(model, *piece)
            predictions.append(prediction)
            losses.append(value)
            with layer_scope("loss"):
                share = share_of(loss, *_parts(piece, n_inputs)[1:], loss_mean.reduction)
                shares.append(ops.astype(share, value.dtype))
            gradients.append(found)
        value, gradient, share = _combine(losses, shares, gradients, loss_mean.reduction)
        prediction = predictions[0] if len(predictions) == 1 else ops.concat(predictions)
        seen = [observer.observe(gradient) for observer in observers]
        with layer_scope("optimizer"):
            optimizer.update(model, gradient)
        sums = _measure(metrics, prediction, y, weight)
        with layer_scope("loss"):
            total = loss_mean.of_batch(value, share)
        return [value, total, *sums, *seen]

    return step


def _combine(
    losses: list[Array], shares: list[Array], gradients: list[dict[str, Array]], reduction: str
) -> tuple[Array, dict[str, Array], Array]:
    """Loss, gradient and share of the whole batch from those of its pieces."""
    if len(losses) == 1:
        return losses[0], gradients[0], shares[0]
    share = _total(shares)
    if reduction == "sum":
        factors = [ops.ones_like(s) for s in shares]
    else:
        # a piece without weight has no mean: its 0/0 must not reach the sum
        safe = ops.where(share > 0, share, 1.0)
        factors = [s / safe for s in shares]

    def mix(parts: list[Array]) -> Array:
        return _total(
            [
                ops.where(f > 0, part * ops.astype(f, part.dtype), 0.0)
                for f, part in zip(factors, parts, strict=True)
            ]
        )

    return mix(losses), {name: mix([g[name] for g in gradients]) for name in gradients[0]}, share


def _total(parts: list[Array]) -> Array:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def _parts(batch: Sequence[Array], n_inputs: int) -> tuple[Sequence[Array], Array, Array | None]:
    """Inputs, target and weight of a batch."""
    weight = batch[n_inputs + 1] if len(batch) > n_inputs + 1 else None
    return batch[:n_inputs], batch[n_inputs], weight


def evaluation_step(
    loss_mean: LossMean, metrics: Sequence[Metric], n_inputs: int
) -> Callable[..., Any]:
    """Make ``step(model, loss, *inputs, targets[, weights])``, which changes nothing.

    Args:
        loss_mean: Collects the loss.
        metrics: Measured on the predictions.
        n_inputs: How many arguments the model takes.
    """

    def evaluate(model: Any, loss: Any, *batch: Array) -> Any:
        x, y, weight = _parts(batch, n_inputs)
        prediction = model(*x)
        value = call_loss(loss, prediction, y, weight)
        sums = _measure(metrics, prediction, y, weight)
        with layer_scope("loss"):
            share = share_of(loss, y, weight, loss_mean.reduction)
            total = loss_mean.of_batch(value, share)
        return [value, total, *sums]

    return evaluate


def predict_step(model: Any, *x: Array) -> Array:
    """The model's output for a batch."""
    return model(*x)


def epoch_chunks(n: int, batch_size: int, order: np.ndarray) -> list[np.ndarray]:
    """An epoch's order as full batches, (steps, batch), and the last partial one, (1, rest).

    Args:
        n: Samples.
        batch_size: Samples a step.
        order: Sample numbers, (n,).
    """
    full = n // batch_size
    parts = [order[: full * batch_size].reshape(full, batch_size)]
    if n % batch_size:
        parts.append(order[full * batch_size :].reshape(1, -1))
    return [part for part in parts if len(part)]
