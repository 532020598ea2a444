"""Callbacks: what happens beside the steps, each with a state that checkpoints keep."""

from chainrule.training.callbacks.base import Callback, LambdaCallback
from chainrule.training.callbacks.best import BestWeights, EarlyStopping
from chainrule.training.callbacks.language import LanguageFigures, language_figures
from chainrule.training.callbacks.limits import StopOnTarget, TimeLimit
from chainrule.training.callbacks.loggers import CSVLogger, JSONLinesLogger
from chainrule.training.callbacks.monitors import (
    GradientNormMonitor,
    LossWatch,
    ParameterHistogram,
    ReportToSchedule,
    Timer,
)
from chainrule.training.callbacks.pictures import (
    ConfusionMatrixPicture,
    LearningCurvePicture,
    WeightImages,
)
from chainrule.training.callbacks.progress import EpochLine, ProgressBar
from chainrule.training.callbacks.saving import ModelCheckpoint

__all__ = [
    "BestWeights",
    "CSVLogger",
    "Callback",
    "ConfusionMatrixPicture",
    "EarlyStopping",
    "EpochLine",
    "GradientNormMonitor",
    "JSONLinesLogger",
    "LambdaCallback",
    "LanguageFigures",
    "LearningCurvePicture",
    "LossWatch",
    "ModelCheckpoint",
    "ParameterHistogram",
    "ProgressBar",
    "ReportToSchedule",
    "StopOnTarget",
    "TimeLimit",
    "Timer",
    "WeightImages",
    "language_figures",
]
