"""Learning-rate schedules: a rate for every step, counted in steps or in epochs."""

from chainrule.optim.schedules.base import Schedule
from chainrule.optim.schedules.combinations import Chain, Product, Warmup
from chainrule.optim.schedules.curves import (
    Constant,
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
