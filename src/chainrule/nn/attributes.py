"""What a Module's attributes become: parameters, buffers, inner layers, static settings."""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array, cut
from chainrule.errors import DtypeError, ShapeError, StateError
from chainrule.nn.parameter import Parameter, is_deferred
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.scope import is_outermost


def containers(value: Any) -> Iterator[Any]:
    """Objects of the tree protocol inside lists, tuples and dicts."""
    if isinstance(value, list | tuple | dict):
        for part in value.values() if isinstance(value, dict) else value:
            yield from containers(part)
    elif hasattr(value, "__tree_children__"):
        yield value


def refuse_bare_arrays(module: Any, name: str, value: Any) -> None:
    """Arrays inside a list would be neither parameters nor buffers."""
    stack = [value]
    while stack:
        part = stack.pop()
        if isinstance(part, Array):
            raise StateError(
                f"{type(module).__name__}.{name} holds Arrays in a {type(value).__name__}, where "
                "they are neither parameters nor buffers",
                expected="Arrays as attributes; lists, tuples and dicts of Modules only",
                fix='setattr(self, f"weight_{i}", nn.Parameter(...)), or a small Module for each',
                where=str(here()),
            )
        if isinstance(part, list | tuple | dict):
            stack += part.values() if isinstance(part, dict) else part


def hashable(value: Any) -> Hashable:
    """Static attributes as part of a signature: lists and dicts by their content."""
    if isinstance(value, list | tuple):
        return type(value), tuple(hashable(part) for part in value)
    if isinstance(value, dict):
        return dict, tuple((key, hashable(part)) for key, part in value.items())
    if isinstance(value, set):
        return frozenset(value)
    try:
        hash(value)
    except TypeError:
        return id(value)
    return type(value), value  # 1, 1.0 and True are equal but compute differently


def is_variable(value: Array) -> bool:
    """True for ``cr.variable`` and for parameters, also those whose value was replaced."""
    node = value.node
    return node.op is None and node.tracked and dtypes.is_floating(value.dtype)


def name_parameter(value: Parameter, name: str) -> None:
    """The first attribute that holds a parameter gives it its name."""
    node = value.node
    if node.op is None and node.owned and not node.name:
        node.name = name


def stored_value(value: Array, name: str, *, tracked: bool) -> Array:
    """What an attribute keeps of an Array: outside traces its value, without history."""
    node = value.node
    if is_deferred(value) or not is_outermost():
        return value
    if node.op is None and node.owned and node.values is not None and node.tracked == tracked:
        return value  # state already, perhaps another Module's: this ties the two
    return cut(value, tracked=tracked, name=name, owned=True)


def replacement(module: Any, name: str, value: Any) -> Any:
    """Check a new value of a parameter; NumPy arrays are cast to its type."""
    known = module.__dict__[name]
    label = f"{type(module).__name__}.{name}"
    if is_outermost() and tuple(value.shape) != known.shape:
        raise ShapeError(
            f"{label}: the new value has another shape than the parameter",
            expected=str(known.shape),
            got=str(tuple(value.shape)),
            fix=f"self.{name} = nn.Parameter(value) registers a parameter of another shape",
            where=str(here()),
        )
    if isinstance(value, np.ndarray):
        return ops.as_value(value).astype(known.dtype)
    if value.dtype != known.dtype and is_outermost():
        raise DtypeError(
            f"{label}: the new value has another type than the parameter",
            expected=str(known.dtype),
            got=str(value.dtype),
            fix=f"value.astype({str(known.dtype)!r}), or model.astype(...) for the whole model",
            where=str(here()),
        )
    return value
