"""From what users pass to what primitives take: arrays of one dtype and one shape."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Operand, Value, hooks
from chainrule.ops.origin import here
from chainrule.ops.record import Shape, bind

_NUMPY = (np.ndarray, np.generic)
_SCALAR_DTYPES = {
    bool: dtypes.bool_,
    int: dtypes.default_integer,
    float: dtypes.default_float,
}


def is_value(x: Any) -> bool:
    """True if ``x`` already is an Array."""
    return isinstance(x, hooks.array_type)


def as_value(x: Operand, dtype: Dtype | None = None) -> Value:
    """Turn a NumPy array, list or scalar into an Array; Arrays pass (cast if ``dtype`` is given).

    Python floats become the default float32, Python ints int64; NumPy arrays keep their dtype.
    Lists may hold Arrays, which are then stacked and stay part of the graph.
    """
    if not isinstance(x, hooks.array_type):
        if isinstance(x, _NUMPY):
            x = hooks.constant(np.asarray(x, dtype=dtype))
        elif isinstance(x, list | tuple) and _holds_values(x):
            x = _stack(x)
        else:
            x = _from_python(x, dtype)
    if dtype is not None and x.dtype != dtype:
        return bind("cast", x, dtype=dtype)
    return x


def _from_python(x: Any, dtype: Dtype | None) -> Value:
    data = np.asarray(x)
    if dtype is None and data.dtype == np.float64 and not _holds_numpy(x):
        dtype = dtypes.default_float
    if dtype is None:
        dtype = dtypes.as_dtype(data.dtype)
    elif data.dtype != dtype:
        dtypes.as_dtype(data.dtype)
        data = data.astype(dtype)
    return hooks.constant(data)


def _holds_numpy(x: Any) -> bool:
    """Lists of NumPy float64 arrays keep float64; lists of Python floats become float32."""
    while isinstance(x, list | tuple) and x:
        x = x[0]
    return isinstance(x, _NUMPY)


def _holds_values(x: Any) -> bool:
    if isinstance(x, list | tuple):
        return any(_holds_values(part) for part in x)
    return isinstance(x, hooks.array_type)


def _stack(parts: Any) -> Value:
    """Stack a (nested) list with Arrays in it along a new first axis."""
    values = promote_operands(*(as_value(part) if isinstance(part, list | tuple) else part
                                for part in parts))  # fmt: skip
    rows = [bind("reshape", x, shape=(1, *x.shape)) for x in values]
    return bind("concatenate", *rows, axis=0)


@functools.lru_cache(maxsize=4096)
def _cached_scalar(x: float, dtype: Dtype, weak: bool, negative_zero: bool) -> Value:
    if isinstance(x, int) and dtypes.is_integer(dtype):
        limits = np.iinfo(dtype)
        if not limits.min <= x <= limits.max:
            raise DtypeError(
                f"the integer {x} does not fit the array's type {dtype}",
                expected=f"{limits.min} to {limits.max}",
                where=str(here()),
            )
    made = hooks.constant(np.asarray(x, dtype=dtype))
    made.weak = weak
    return made


def scalar(x: float, dtype: Dtype, weak: bool = False) -> Value:
    """The constant ``x`` as a scalar of ``dtype``: one node for all its uses.

    For operands only: a result that users may hold as state must be a node of its own.
    """
    return _cached_scalar(x, dtype, weak, x == 0 and math.copysign(1.0, x) < 0)


def promote_operands(*operands: Operand, floating: bool = False) -> list[Value]:
    """Bring operands to one dtype by the promotion rules.

    Python scalars and weak Arrays (traced hyper-parameters) take the dtype of the strong ones.

    Args:
        operands: Arrays, NumPy arrays or Python scalars.
        floating: The op takes floating inputs only: integers become the default float.
    """
    array_type = hooks.array_type
    shared: Dtype | None = None
    for x in operands:
        if not isinstance(x, array_type) or x.dtype is not (shared or x.dtype):
            break
        shared = x.dtype
    else:  # the common case: Arrays of one dtype
        if not floating or shared in dtypes.FLOATS:
            return list(operands)
    common = common_dtype(operands)
    if floating and not dtypes.is_floating(common):
        common = dtypes.default_float
    promoted = []
    for x in operands:
        if type(x) in _SCALAR_DTYPES:
            # scalar arithmetic stays weak: 1 − rate takes the dtype of what it meets
            x = scalar(x, common, weak=True)
        elif not isinstance(x, array_type):
            x = as_value(x, common)
        elif x.dtype != common:
            x = bind("cast", x, dtype=common)
        promoted.append(x)
    return promoted


def common_dtype(operands: Sequence[Operand]) -> Dtype:
    """The dtype that arrays, weak Arrays and Python scalars take together."""
    array_type = hooks.array_type
    strong: Dtype | None = None
    weak: Dtype | None = None
    for x in operands:
        kind = _SCALAR_DTYPES.get(type(x))
        is_weak = kind is not None
        if isinstance(x, array_type):
            kind, is_weak = x.dtype, x.weak
        elif kind is None:
            kind = dtypes.as_dtype(x.dtype) if isinstance(x, _NUMPY) else as_value(x).dtype
        if is_weak:
            weak = kind if weak is None else dtypes.promote(weak, kind)
        else:
            strong = kind if strong is None else dtypes.promote(strong, kind)
    if strong is None:
        assert weak is not None
        return weak
    if weak is None or weak is dtypes.bool_:
        return strong
    if dtypes.is_floating(weak):
        return strong if dtypes.is_floating(strong) else dtypes.default_float
    return weak if strong is dtypes.bool_ else strong


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape that all broadcast to, by NumPy's rules; ShapeError where there is none."""
    result = shapes[0]
    for shape in shapes[1:]:
        if shape != result:
            result = _broadcast_pair(result, shape, shapes)
    return result


def _broadcast_pair(a: Shape, b: Shape, shapes: Sequence[Shape]) -> Shape:
    if len(a) < len(b):
        a, b = b, a
    missing = len(a) - len(b)
    if not b or a[missing:] == b:
        return a
    sizes = list(a)
    for axis, size in enumerate(b, missing):
        if sizes[axis] == 1:
            sizes[axis] = size
        elif size not in (1, sizes[axis]):
            raise ShapeError(
                "these shapes do not broadcast: " + " and ".join(str(shape) for shape in shapes),
                expected=f"equal sizes, or 1, in axis {axis - len(a)}",
                got=f"{sizes[axis]} and {size}",
                fix="reshape or transpose one of them; x[:, None] adds an axis",
                where=str(here()),
            )
    return tuple(sizes)


def broadcast_operands(operands: list[Value]) -> list[Value]:
    """Give all operands one shape; broadcasting is an op of its own, so that its derivative is."""
    shape = operands[0].shape
    for x in operands:
        if x.shape != shape:
            shape = broadcast_shapes(*[each.shape for each in operands])
            break
    else:
        return operands
    aligned = []
    for x in operands:
        aligned.append(x if x.shape == shape else bind("broadcast_to", x, shape=shape))
    return aligned


def normalize_axis(axis: int, rank: int, what: str = "axis") -> int:
    """Turn a negative axis into its position; ShapeError if it is outside ``-rank .. rank - 1``."""
    if not -rank <= axis < rank:
        raise ShapeError(
            f"{what} {axis} does not exist",
            expected=f"{-rank} to {rank - 1} for an array of {rank} dimensions",
            got=str(axis),
            where=str(here()),
        )
    return axis % rank if rank else 0


def normalize_axes(axis: int | tuple[int, ...] | None, rank: int) -> tuple[int, ...]:
    """Turn ``axis`` (None: all) into a sorted tuple of distinct positions."""
    if axis is None:
        return tuple(range(rank))
    axes = (axis,) if isinstance(axis, int | np.integer) else tuple(axis)
    positions = tuple(sorted(normalize_axis(a, rank) for a in axes))
    if len(set(positions)) != len(positions):
        raise ShapeError(f"axis {axes} names an axis twice", where=str(here()))
    return positions
