"""Metrics by name, so that ``metrics=["accuracy"]`` says what is meant."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Sequence
from typing import Any

from chainrule.errors import ArgumentError
from chainrule.metrics.agreement import (
    F1,
    BalancedAccuracy,
    CohenKappa,
    ConfusionMatrix,
    MatthewsCorrelation,
    Precision,
    Recall,
    Specificity,
)
from chainrule.metrics.base import MeanOf, Metric
from chainrule.metrics.classification import Accuracy, LogLoss, TopKAccuracy
from chainrule.metrics.regression import (
    R2,
    MaxError,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)
from chainrule.ops.origin import here

#: every metric by name; a value makes the metric
METRICS: dict[str, Callable[..., Metric]] = {
    "accuracy": Accuracy,
    "balanced_accuracy": BalancedAccuracy,
    "cohen_kappa": CohenKappa,
    "confusion_matrix": ConfusionMatrix,
    "f1": F1,
    "f1_macro": lambda **options: F1("macro", name="f1_macro", **options),
    "f1_micro": lambda **options: F1("micro", name="f1_micro", **options),
    "log_loss": LogLoss,
    "mae": MeanAbsoluteError,
    "matthews": MatthewsCorrelation,
    "max_error": MaxError,
    "mse": MeanSquaredError,
    "precision": Precision,
    "r2": R2,
    "recall": Recall,
    "rmse": RootMeanSquaredError,
    "sensitivity": lambda **options: Recall(name="sensitivity", **options),
    "specificity": Specificity,
    "top_3_accuracy": lambda: TopKAccuracy(3),
    "top_5_accuracy": lambda: TopKAccuracy(5),
}
#: names whose decision on a single output depends on a threshold
THRESHOLDED = frozenset(METRICS) - {
    "log_loss",
    "mae",
    "max_error",
    "mse",
    "r2",
    "rmse",
    "top_3_accuracy",
    "top_5_accuracy",
}


def get_metric(spec: Any, *, threshold: float | None = None) -> Metric:
    """A metric from its name, a Metric, or a function of prediction and target.

    Args:
        spec: ``"accuracy"``, ``Accuracy()``, or ``f(prediction, target)`` → one number a sample,
            whose mean is taken.
        threshold: Where a single output says class 1, for metrics given by name; None: 0.

    Raises:
        ArgumentError: No metric has this name; the message lists those that do.

    >>> get_metric("accuracy")
    Accuracy(name='accuracy')
    """
    if isinstance(spec, Metric):
        return spec
    if isinstance(spec, str):
        key = spec.lower().replace("-", "_").replace(" ", "_")
        if key in METRICS:
            options = {"threshold": threshold} if threshold and key in THRESHOLDED else {}
            return METRICS[key](**options)
        close = difflib.get_close_matches(key, METRICS, n=1, cutoff=0.5)
        raise ArgumentError(
            f"there is no metric {spec!r}" + (f"; did you mean {close[0]!r}?" if close else ""),
            expected=", ".join(METRICS),
            got=repr(spec),
            where=str(here()),
        )
    if callable(spec) and not isinstance(spec, type):
        return MeanOf(spec)
    raise ArgumentError(
        "a metric is a name, a Metric or a function",
        got=repr(spec),
        fix="metrics=['accuracy'] or metrics=[Accuracy()]",
        where=str(here()),
    )


def get_metrics(specs: Sequence[Any], *, threshold: float | None = None) -> list[Metric]:
    """Several metrics, as ``get_metric``; names must differ.

    Raises:
        ArgumentError: A name is unknown, or two metrics share one; or ``specs`` is one string.
    """
    if isinstance(specs, str):
        specs = [specs]
    found = [get_metric(spec, threshold=threshold) for spec in specs]
    names = [metric.name for metric in found]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ArgumentError(
            f"two metrics are named {sorted(twice)[0]!r}",
            fix="give one of them another name: Accuracy(name='...')",
            where=str(here()),
        )
    return found
