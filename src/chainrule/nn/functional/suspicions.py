"""What a loss may suspect of its prediction: legal, and most likely a mistake."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import numpy as np

from chainrule.array import Array
from chainrule.errors import TeachingWarning
from chainrule.nn.functional.reduction import visible
from chainrule.ops.origin import here, stack_level

#: what the last op before softmax cross-entropy must not be, and what to do about it
BEFORE_SOFTMAX = {
    "softmax": "Its softmax would be a second one: leave out the softmax, or use nn.NLLLoss on "
    "cr.log(p)",
    "sigmoid": "Leave out the sigmoid; for several labels a sample use nn.BCEWithLogitsLoss",
    "relu": "Scores below 0 are lost, and units that are 0 do not learn: leave out the last ReLU",
}
BEFORE_SIGMOID = {
    "sigmoid": "Its sigmoid would be a second one: leave out the sigmoid, or use nn.BCELoss",
    "softmax": "Leave out the softmax; for one class of several use nn.CrossEntropyLoss",
    "relu": "Scores below 0 are lost, and units that are 0 do not learn: leave out the last ReLU",
}
BEFORE_PICKING = {
    "softmax": "Use nn.LogSoftmax, or leave it out and use nn.CrossEntropyLoss",
    "relu": "Use nn.LogSoftmax, or leave it out and use nn.CrossEntropyLoss",
    "sigmoid": "Use nn.LogSoftmax, or leave it out and use nn.CrossEntropyLoss",
}


def warn_of_one_class(name: str, z: Array) -> None:
    """The softmax of a single number is 1 whatever the number: there is nothing to learn."""
    if z.ndim and z.shape[-1] == 1:
        _teach(
            f"{name} of a single output is 0 whatever the network says, for the softmax of one "
            "number is 1. For two classes take two outputs, nn.Linear(..., 2), or one output with "
            f"nn.BCEWithLogitsLoss (at {here()})"
        )


def warn_of_activation(name: str, z: Array, wants: str, cures: Mapping[str, str]) -> None:
    """Look at the op that made the scores: a loss that brings its own must not follow another."""
    op = z.node.op
    if op is not None and op.name in cures:
        layer = f" (layer {z.node.origin.layer})" if z.node.origin.layer else ""
        _teach(
            f"{name} takes {wants}, but these come out of {op.name}{layer}. "
            f"{cures[op.name]} (at {here()})"
        )


def _teach(text: str) -> None:
    warnings.warn(TeachingWarning(text), stacklevel=stack_level())


def warn_of_probabilities(z: Array) -> None:
    """Rows that are all positive and sum to one are most likely a softmax already."""
    if z.node.op is not None and z.node.op.name in BEFORE_SOFTMAX:
        warn_of_activation("cross_entropy", z, "logits", BEFORE_SOFTMAX)
        return
    if not visible(z) or z.ndim != 2 or not z.shape[-1] > 1 or not z.shape[0]:
        return
    values = z.numpy()[:64].astype(np.float64)
    if (values >= 0).all() and np.allclose(values.sum(axis=1), 1.0, atol=1e-4):
        _teach(
            "cross_entropy takes logits, but these rows are probabilities (positive, sum 1): "
            "its softmax would be a second one. Leave out the softmax, or use "
            f"nn.NLLLoss on cr.log(p) (at {here()})"
        )


def warn_of_positive_logs(logs: Array) -> None:
    """Logarithms of probabilities are never above 0."""
    if logs.node.op is not None and logs.node.op.name in BEFORE_PICKING:
        return  # said already
    if visible(logs) and logs.size and float(logs.numpy().max()) > 1e-4:
        _teach(
            f"nll_loss takes log-probabilities, which are 0 at most, but {logs.numpy().max():.4g} "
            "is among these: logits want nn.CrossEntropyLoss, or nn.LogSoftmax before "
            f"(at {here()})"
        )
