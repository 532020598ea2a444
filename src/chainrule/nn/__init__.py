"""Floor 3: ``Module``, layers, losses and initialisers, under PyTorch's names."""

from chainrule.nn import init
from chainrule.nn.calls import observe_calls
from chainrule.nn.container import Sequential
from chainrule.nn.dropout import Dropout
from chainrule.nn.embedding import Embedding
from chainrule.nn.linear import Flatten, Identity, Linear
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.nn.perceptron import Perceptron
from chainrule.nn.standardize import Standardize
from chainrule.nn.summary import Summary

__all__ = [
    "Dropout",
    "Embedding",
    "Flatten",
    "Identity",
    "Linear",
    "Module",
    "Parameter",
    "Perceptron",
    "Sequential",
    "Standardize",
    "Summary",
    "init",
    "observe_calls",
]
