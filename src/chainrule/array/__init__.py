"""Floor 1: ``Array``, how Arrays come about, and traces. Installs the hooks that ops record by."""

from chainrule.array.leaves import asarray, constant, cut, placeholder, record, variable
from chainrule.array.tracing import CapturedGraph, close, require_concrete, trace
from chainrule.array.value import Array, UpdateHelper, leaf
from chainrule.ops.hooks import hooks

__all__ = [
    "Array",
    "CapturedGraph",
    "UpdateHelper",
    "asarray",
    "close",
    "constant",
    "cut",
    "leaf",
    "placeholder",
    "record",
    "require_concrete",
    "trace",
    "variable",
]

hooks.bind = record
hooks.constant = constant
hooks.trace = trace
hooks.require_concrete = require_concrete
hooks.array_type = Array
