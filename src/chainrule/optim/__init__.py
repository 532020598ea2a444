"""Floor 3: optimizers and learning-rate schedules."""

from typing import TYPE_CHECKING as _TYPE_CHECKING
from typing import Any as _Any

from chainrule.ops.habits import missing as _missing
from chainrule.optim.adadelta import AdaDelta
from chainrule.optim.adagrad import AdaGrad
from chainrule.optim.adam import Adam
from chainrule.optim.adamax import Adamax
from chainrule.optim.adamw import AdamW
from chainrule.optim.amsgrad import AMSGrad
from chainrule.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from chainrule.optim.hyperparameters import ParameterGroup, group
from chainrule.optim.lamb import LAMB
from chainrule.optim.lbfgs import LBFGS, Outcome
from chainrule.optim.lion import Lion
from chainrule.optim.momentum import Momentum
from chainrule.optim.nadam import NAdam
from chainrule.optim.nesterov import Nesterov
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.radam import RAdam
from chainrule.optim.rmsprop import RMSProp
from chainrule.optim.rprop import Rprop
from chainrule.optim.schedules import (
    Chain,
    Constant,
    Cosine,
    CosineWarmRestarts,
    Exponential,
    FunctionSchedule,
    InverseTime,
    Linear,
    MultiStep,
    OneCycle,
    OneCycleMomentum,
    Polynomial,
    Product,
    ReduceOnPlateau,
    Schedule,
    StepDecay,
    Warmup,
)
from chainrule.optim.sgd import SGD

__all__ = [
    "LAMB",
    "LBFGS",
    "SGD",
    "AMSGrad",
    "AdaDelta",
    "AdaGrad",
    "Adam",
    "AdamW",
    "Adamax",
    "Chain",
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Exponential",
    "FunctionSchedule",
    "InverseTime",
    "Linear",
    "Lion",
    "Momentum",
    "MultiStep",
    "NAdam",
    "Nesterov",
    "OneCycle",
    "OneCycleMomentum",
    "Optimizer",
    "Outcome",
    "ParameterGroup",
    "Polynomial",
    "Product",
    "RAdam",
    "RMSProp",
    "ReduceOnPlateau",
    "Rprop",
    "Schedule",
    "StepDecay",
    "Warmup",
    "clip_by_global_norm",
    "clip_by_value",
    "global_norm",
    "group",
]


if not _TYPE_CHECKING:  # a type checker shall still know which names there are

    def __getattr__(name: str) -> _Any:
        raise _missing("chainrule.optim", name, {}, lambda: __all__)
