"""Floor 3: streaming metrics, whose batch statistics are graph."""

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
from chainrule.metrics.base import MeanOf, Metric, Total
from chainrule.metrics.classification import Accuracy, LogLoss, TopKAccuracy
from chainrule.metrics.registry import METRICS, get_metric, get_metrics
from chainrule.metrics.regression import (
    R2,
    MaxError,
    MeanAbsoluteError,
    MeanSquaredError,
    RootMeanSquaredError,
)

__all__ = [
    "F1",
    "METRICS",
    "R2",
    "Accuracy",
    "BalancedAccuracy",
    "CohenKappa",
    "ConfusionMatrix",
    "LogLoss",
    "MatthewsCorrelation",
    "MaxError",
    "MeanAbsoluteError",
    "MeanOf",
    "MeanSquaredError",
    "Metric",
    "Precision",
    "Recall",
    "RootMeanSquaredError",
    "Specificity",
    "TopKAccuracy",
    "Total",
    "get_metric",
    "get_metrics",
]
