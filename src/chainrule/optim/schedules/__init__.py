"""Learning-rate schedules: a rate for every step, counted in steps or in epochs."""

from chainrule.optim.schedules.base import Constant, Product, Schedule
from chainrule.optim.schedules.combinations import Chain, Warmup
from chainrule.optim.schedules.curves import (
    Exponential,
    FunctionSchedule,
    InverseTime,
    Linear,
    MultiStep,
    Polynomial,
    StepDecay,
)
from chainrule.optim.schedules.plateau import ReduceOnPlateau
from chainrule.optim.schedules.waves import (
    Cosine,
    CosineWarmRestarts,
    OneCycle,
    OneCycleMomentum,
)

__all__ = [
    "Chain",
    "Constant",
    "Cosine",
    "CosineWarmRestarts",
    "Exponential",
    "FunctionSchedule",
    "InverseTime",
    "Linear",
    "MultiStep",
    "OneCycle",
    "OneCycleMomentum",
    "Polynomial",
    "Product",
    "ReduceOnPlateau",
    "Schedule",
    "StepDecay",
    "Warmup",
]
