"""Floor 3: ``Module``, layers, losses and initialisers, under PyTorch's names."""

from chainrule.nn import init
from chainrule.nn.calls import observe_calls
from chainrule.nn.container import Sequential
from chainrule.nn.linear import Flatten, Identity, Linear
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.nn.standardize import Standardize

__all__ = [
    "Flatten",
    "Identity",
    "Linear",
    "Module",
    "Parameter",
    "Sequential",
    "Standardize",
    "init",
    "observe_calls",
]
