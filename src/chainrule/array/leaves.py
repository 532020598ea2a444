"""How Arrays come about: recorded nodes, constants, variables, placeholders, and cut values."""

from __future__ import annotations

import mmap
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array.value import Array, leaf
from chainrule.errors import ArgumentError
from chainrule.graph import Node
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype, as_dtype
from chainrule.ops.origin import here
from chainrule.ops.record import Op, Shape


def record(op: Op, inputs: tuple[Array, ...], attributes: dict[str, Any]) -> Any:
    """Record ``op`` on ``inputs``: check it, make its node, return its output or outputs."""
    specs = op.infer(*inputs, **attributes)
    tracked = traced = False
    weak = bool(inputs) and op.name != "cast"
    for x in inputs:
        if x.node.tracked:
            tracked = True
            traced = traced or x.node.traced
        weak = weak and x.weak
    if op.multiple:
        node = Node(op, inputs, attributes, tuple(specs), tracked, traced)
        return tuple(Array(node, i) for i in range(len(specs)))
    return Array(Node(op, inputs, attributes, (specs,), tracked, traced), 0, weak)


def constant(data: np.ndarray) -> Array:
    """A leaf that holds ``data``, copied if anybody could still write to it."""
    dtype = as_dtype(data.dtype)
    if data.dtype != dtype:
        data = data.astype(dtype)
    elif not _is_frozen(data):
        data = data.copy()
    return leaf(data)


def _is_frozen(data: np.ndarray) -> bool:
    """True if neither the array nor what it is a view of can be written to."""
    base: Any = data
    while isinstance(base, np.ndarray):
        if base.flags.writeable:
            return False
        base = base.base
    return base is None or isinstance(base, bytes | mmap.mmap)


def placeholder(shape: Shape, dtype: Dtype, name: str = "", weak: bool = False) -> Array:
    """An input of a trace: a leaf without a value."""
    node = Node(None, (), {}, ((shape, as_dtype(dtype)),), tracked=True, traced=True, name=name)
    return Array(node, 0, weak)


def asarray(x: Any, /, *, dtype: Any = None, copy: bool | None = None) -> Array:
    """Turn numbers, lists, NumPy arrays or anything with DLPack into an Array.

    NumPy arrays keep their dtype; Python floats become float32, ints int64.

    Args:
        x: What to turn.
        dtype: Element type; None keeps that of ``x``.
        copy: True gives an Array of its own; False refuses to copy data; None copies what somebody
            else could still write to.

    Raises:
        DtypeError: No supported element type.
        ArgumentError: ``copy=False``, and the data must be copied.

    >>> asarray([1, 2]).dtype
    dtype('int64')
    """
    target = None if dtype is None else as_dtype(dtype)
    if not isinstance(x, Array | np.ndarray | np.generic | int | float | list | tuple):
        if hasattr(x, "__dlpack__"):
            x = np.from_dlpack(x)
        elif hasattr(x, "__array__"):
            x = np.asarray(x)
    if copy is False and not _shareable(x, target):
        raise ArgumentError(
            "asarray: the data must be copied",
            expected="an Array or a NumPy array that nobody can write to, of the same type",
            got=type(x).__name__,
            fix="leave copy out",
            where=str(here()),
        )
    array: Array = ops.as_value(x, target)
    return ops.identity(array) if copy and array is x else array


def _shareable(x: Any, target: Dtype | None) -> bool:
    if isinstance(x, Array):
        return target is None or target == x.dtype
    return isinstance(x, np.ndarray) and _is_frozen(x) and target in (None, x.dtype)


def variable(value: Any, *, name: str = "", dtype: Any = None) -> Array:
    """A leaf that gradients may be asked for: what it came from is cut off.

    Args:
        value: Floating numbers; integers from Python become float32.
        name: How ``explain`` and messages call it.
        dtype: Element type; None keeps that of ``value``.

    >>> variable(2.0, name="w")
    Array(2., float32, name='w')
    """
    array = asarray(value, dtype=dtype)
    if dtype is None and not hasattr(value, "dtype") and array.dtype == dtypes.default_integer:
        array = ops.astype(array, dtypes.default_float)
    return _fresh_leaf(array, tracked=True, name=name)


def cut(x: Array, *, tracked: bool = False, name: str = "", owned: bool = False) -> Array:
    """The value of ``x`` as a leaf without history; traced Arrays pass unchanged."""
    node = x.node
    if node.traced:
        return x
    if node.op is None and (node.tracked, node.name, node.owned) == (tracked, name, owned):
        return x
    return _fresh_leaf(x, tracked, name, owned)


def _fresh_leaf(x: Array, tracked: bool, name: str, owned: bool = False) -> Array:
    """A leaf of its own that shares the buffer of ``x``."""
    made = leaf(x.data, tracked=tracked, name=name, owned=owned)
    made.node.values = (x.node.values[x.index],)  # type: ignore[index]
    return made
