"""Floor 3: optimizers and learning-rate schedules."""

from chainrule.optim.adam import Adam
from chainrule.optim.clipping import clip_by_global_norm, clip_by_value, global_norm
from chainrule.optim.hyperparameters import ParameterGroup, group
from chainrule.optim.optimizer import Optimizer
from chainrule.optim.schedules.base import Schedule
from chainrule.optim.sgd import SGD
