"""Trying a model on a few rows before training: mistakes surface at the user's line, not later."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from chainrule.array import Array, asarray
from chainrule.errors import ArgumentError, IndexRangeError, TeachingWarning
from chainrule.execution import evaluate
from chainrule.graph import topological
from chainrule.ops.origin import here, stack_level
from chainrule.training.doors import Samples
from chainrule.training.steps import call_loss, takes_weights

#: labels that are checked in one go
LABELS_AT_ONCE = 1 << 22
#: rows that are tried; enough for a mean and a deviation
N_ROWS = 256
#: but of sequences of tokens no more than these, for each has a prediction of its own
N_TOKENS = 4096
#: inputs of the first weights that spread wider than this learn badly
LARGEST_DEVIATION = 10.0
#: measured targets whose root mean square is larger learn badly
LARGEST_TARGET = 1000.0


@contextmanager
def mode(model: Any, training: bool) -> Iterator[None]:
    """Put a model into training or evaluation mode, and every layer back to its own afterwards."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, flag in before:
            module.training = flag


def try_out(model: Any, loss: Any, samples: Samples) -> Array:
    """Call the model and the loss on the first rows; returns the prediction.

    Raises:
        ArgumentError: The model returns no Array, or the loss no single number.
        IndexRangeError: A label is no class of the model.
        ChainruleError: What the layers and the loss have to say.
    """
    few = samples.first(_rows_to_try(samples))
    inputs = [asarray(x) for x in few.inputs]
    with mode(model, False):
        prediction = model(*inputs)
    if not isinstance(prediction, Array):
        raise ArgumentError(
            "the model returns no Array, so no loss can be taken of it",
            expected="an Array with the samples in front",
            got=type(prediction).__name__,
            fix="did forward forget its return?"
            if prediction is None
            else "return one Array from forward, or give the Trainer a Module that picks one",
            where=str(here()),
        )
    evaluate([prediction])  # losses look closer at values that they can see
    check_labels(prediction, loss, samples)
    weight = None if few.weights is None else asarray(few.weights)
    if weight is not None and not takes_weights(loss):
        raise ArgumentError(
            f"the loss {getattr(loss, '__name__', loss)!r} takes no sample weights",
            expected="an argument sample_weight=",
            got="data or class_weight with weights",
            fix="use a loss of nn, or give your function that argument",
            where=str(here()),
        )
    value = call_loss(loss, prediction, asarray(few.targets), weight)
    if not isinstance(value, Array) or value.shape != ():
        shape = value.shape if isinstance(value, Array) else type(value).__name__
        raise ArgumentError(
            "the loss is no single number",
            expected="a scalar Array: a mean or sum over the batch",
            got=f"shape {shape}",
            fix="reduction='mean', or loss.mean() in your function",
            where=str(here()),
        )
    return prediction


def _rows_to_try(samples: Samples) -> int:
    inputs, targets = samples.inputs[0], samples.targets
    if inputs.dtype.kind in "iu" and inputs.ndim == 2 and targets.shape == inputs.shape:
        return max(2, min(N_ROWS, N_TOKENS // max(1, inputs.shape[1])))
    return N_ROWS


def check_labels(prediction: Array, loss: Any, samples: Samples) -> None:
    """Class numbers must be below the number of outputs; all rows are looked at.

    Raises:
        IndexRangeError: One is not; the message names its row.
    """
    labels = samples.targets
    if labels.dtype.kind not in "iu" or prediction.ndim != labels.ndim + 1:
        return
    n_classes = prediction.shape[-1]
    if n_classes < 2:
        return
    ignored = getattr(loss, "ignore_index", -100)
    place = _first_wrong(labels, n_classes, ignored)
    if place is None:
        return
    low, high = int(labels.min()), int(labels.max())
    raise IndexRangeError(
        f"the {samples.role} label {int(labels[place])} in row {place[0]} is no class of the model",
        expected=f"labels from 0 to {n_classes - 1}, for the model has {n_classes} outputs",
        got=f"labels from {low} to {high}",
        fix=_label_fix(low, high, n_classes),
        where=str(here()),
    )


def _first_wrong(labels: np.ndarray, n_classes: int, ignored: int) -> tuple[int, ...] | None:
    """Where the first label is that is no class; block by block, for labels may be larger files."""
    rows = max(1, LABELS_AT_ONCE // max(1, labels[:1].size))
    for start in range(0, len(labels), rows):
        block = labels[start : start + rows]
        bad = (block >= n_classes) | ((block < 0) & (block != ignored))
        if bad.any():
            row, *rest = (int(i) for i in np.argwhere(bad)[0])
            return (start + row, *rest)
    return None


def _label_fix(low: int, high: int, n_classes: int) -> str:
    if low >= 1 and high == n_classes:
        return "classes count from 0: labels - 1"
    if low < 0:
        return "map the labels to 0, 1, 2, ...: names, labels = np.unique(y, return_inverse=True)"
    return f"give the last layer {high + 1} outputs, or map the labels to 0, 1, 2, ..."


def warn_if_idle(optimizer: Any) -> None:
    """Warn of a learning rate that is and stays 0."""
    rate = getattr(optimizer, "learning_rate", None)
    if rate == 0 and "learning_rate" not in getattr(optimizer, "schedules", ()):
        warnings.warn(
            TeachingWarning(
                "the learning rate is 0, so nothing is learned: "
                f"{type(optimizer).__name__}(learning_rate=0.001) is a start (at {here()})"
            ),
            stacklevel=stack_level(),
        )


def warn_of_large_targets(samples: Samples) -> None:
    """Warn if measured targets spread so widely that the first steps are dominated by it."""
    targets = samples.targets
    if targets.dtype.kind != "f":
        return
    spread = float(np.sqrt(np.mean(np.square(targets, dtype=np.float64))))
    if LARGEST_TARGET < spread < np.inf:
        warnings.warn(
            TeachingWarning(
                f"the training targets are large: mean {targets.mean(dtype=np.float64):.3g}, "
                f"deviation {targets.std(dtype=np.float64):.3g}. A network starts with outputs "
                "near 0 and reaches such numbers slowly or diverges: standardise them, with "
                f"data.Standardizer().fit(targets), and turn predictions back (at {here()})"
            ),
            stacklevel=stack_level(),
        )


def warn_if_unscaled(model: Any, samples: Samples, prediction: Array) -> None:
    """Warn if the numbers that meet the first weights are spread far wider than 1.

    Args:
        model: Looked through for a normalising first layer.
        samples: For the fix in the message.
        prediction: Result of ``try_out``; its graph is still there.
    """
    first = _first_layer(model)
    if "Norm" in first or "Embedding" in first:
        return
    met = _meets_weights(prediction)
    if met is None:
        return
    values = np.asarray(met.numpy(), dtype=np.float64)
    spread = float(np.sqrt(np.mean(values**2)))
    if spread <= LARGEST_DEVIATION or not np.isfinite(spread):
        return
    raw = samples.inputs[0]
    cure = "x / 255" if raw.dtype == np.uint8 or (raw.min() >= 0 and 2 < raw.max() <= 255) else ""
    warnings.warn(
        TeachingWarning(
            f"the inputs reach the first weights unscaled: mean {values.mean():.3g}, deviation "
            f"{values.std():.3g}. Networks learn best from inputs of mean 0 and deviation 1: "
            + (f"divide by 255 ({cure}), or " if cure else "")
            + "standardise with the training part's mean and deviation: "
            f"data.Standardizer().fit(training inputs) (at {here()})"
        ),
        stacklevel=stack_level(),
    )


def _first_layer(model: Any) -> str:
    """Class name of the first layer that holds parameters."""
    for module in model.modules():
        if next(module.children(), None) is None and next(module.parameters(), None) is not None:
            return type(module).__name__
    return ""


def _meets_weights(prediction: Array) -> Array | None:
    """The operand that the first product with a parameter multiplies."""
    from_parameter: set[Any] = set()
    for node in topological([prediction]):
        if node.op is None:
            if node.tracked:
                from_parameter.add(node)
            continue
        flags = [x.node in from_parameter for x in node.inputs]
        if node.op.family == "contraction" and any(flags) and not all(flags):
            data: Array = next(x for x, flag in zip(node.inputs, flags, strict=True) if not flag)
            return data
        if any(flags) and all(flags):
            from_parameter.add(node)
    return None
