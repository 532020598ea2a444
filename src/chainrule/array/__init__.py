"""Floor 1: ``Array``, how Arrays come about, and traces. Installs the hooks that ops record by."""

from sys import modules as _modules
from types import ModuleType as _ModuleType
from typing import NoReturn as _NoReturn

from chainrule.array.leaves import asarray, constant, cut, placeholder, record, variable
from chainrule.array.tracing import CapturedGraph, close, require_concrete, trace
from chainrule.array.value import Array, UpdateHelper, leaf
from chainrule.ops.habits import PACKAGE as _HABITS
from chainrule.ops.habits import missing as _missing
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


class _Package(_ModuleType):
    """Answers ``cr.array([1.0])``, once this package hides the name from ``cr.__getattr__``."""

    def __call__(self, *arguments: object, **keywords: object) -> _NoReturn:
        raise _missing("chainrule", "array", _HABITS)


_modules[__name__].__class__ = _Package
