"""Floor 4: the Trainer, its callbacks, checkpoints, run folders and histories."""

from chainrule.training.callbacks import (
    BestWeights,
    Callback,
    ConfusionMatrixPicture,
    CSVLogger,
    EarlyStopping,
    EpochLine,
    GradientNormMonitor,
    JSONLinesLogger,
    LambdaCallback,
    LearningCurvePicture,
    LossWatch,
    ModelCheckpoint,
    ParameterHistogram,
    ProgressBar,
    ReportToSchedule,
    StopOnTarget,
    TimeLimit,
    Timer,
    WeightImages,
)
from chainrule.training.fit import Chunk, Fit
from chainrule.training.history import History
from chainrule.training.run import RunFolder, load_best, new_run_folder
from chainrule.training.trainer import Trainer

__all__ = [
    "BestWeights",
    "CSVLogger",
    "Callback",
    "Chunk",
    "ConfusionMatrixPicture",
    "EarlyStopping",
    "EpochLine",
    "Fit",
    "GradientNormMonitor",
    "History",
    "JSONLinesLogger",
    "LambdaCallback",
    "LearningCurvePicture",
    "LossWatch",
    "ModelCheckpoint",
    "ParameterHistogram",
    "ProgressBar",
    "ReportToSchedule",
    "RunFolder",
    "StopOnTarget",
    "TimeLimit",
    "Timer",
    "Trainer",
    "WeightImages",
    "load_best",
    "new_run_folder",
]
