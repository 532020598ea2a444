"""From what users pass to what primitives take: arrays of one dtype and one shape."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Operand, Value, hooks
from chainrule.ops.origin import here
from chainrule.ops.record import Shape, bind

_SCALARS = (bool, int, float, np.bool_)


def is_value(x: Any) -> bool:
    """True if ``x`` already is an Array."""
    return isinstance(x, hooks.array_type)


def as_value(x: Operand, dtype: Dtype | None = None) -> Value:
    """Turn a NumPy array, list or scalar into an Array; Arrays pass (cast if ``dtype`` is given).

    Python floats become the default float32, Python ints int64; NumPy arrays keep their dtype.
    """
    if not isinstance(x, hooks.array_type):
        if dtype is None and not isinstance(x, np.ndarray | np.generic):
            x = _from_python(x)
        else:
            x = hooks.constant(np.asarray(x, dtype=dtype))
    if dtype is not None and x.dtype != dtype:
        return bind("cast", x, dtype=dtype)
    return x


def _from_python(x: Any) -> Value:
    data = np.asarray(x)
    if data.dtype == np.float64 and not _holds_numpy_float64(x):
        data = data.astype(np.float32)
    dtypes.as_dtype(data.dtype)
    return hooks.constant(data)


def _holds_numpy_float64(x: Any) -> bool:
    """Lists of NumPy float64 arrays keep float64; lists of Python floats become float32."""
    while isinstance(x, list | tuple) and x:
        x = x[0]
    return isinstance(x, np.ndarray | np.generic)


def promote_operands(*operands: Operand, floating: bool = False) -> list[Value]:
    """Bring operands to one dtype by the promotion rules.

    Python scalars and weak Arrays (traced hyper-parameters) take the dtype of the strong ones.

    Args:
        operands: Arrays, NumPy arrays or Python scalars.
        floating: The op takes floating inputs only: integers become the default float.
    """
    array_type = hooks.array_type
    first = operands[0]
    if (
        isinstance(first, array_type)
        and not (floating and first.dtype not in dtypes.FLOATS)
        and all(
            isinstance(x, array_type) and x.dtype == first.dtype and x.weak == first.weak
            for x in operands
        )
    ):
        return list(operands)
    common = common_dtype(operands)
    if floating and not dtypes.is_floating(common):
        common = dtypes.default_float
    return [_to_dtype(x, common) for x in operands]


def common_dtype(operands: tuple[Operand, ...]) -> Dtype:
    strong: Dtype | None = None
    weak: Dtype | None = None
    for x in operands:
        if isinstance(x, _SCALARS) and not isinstance(x, np.generic):
            kind = _scalar_dtype(x)
            weak = kind if weak is None else dtypes.promote(weak, kind)
        elif is_value(x) and x.weak:
            weak = x.dtype if weak is None else dtypes.promote(weak, x.dtype)
        else:
            kind = x.dtype if is_value(x) else dtypes.as_dtype(np.asarray(x).dtype)
            strong = kind if strong is None else dtypes.promote(strong, kind)
    if strong is None:
        assert weak is not None
        return weak
    if weak is None or weak == dtypes.bool_:
        return strong
    if dtypes.is_floating(weak):
        return strong if dtypes.is_floating(strong) else dtypes.default_float
    return weak if strong == dtypes.bool_ else strong


def _scalar_dtype(x: Any) -> Dtype:
    if isinstance(x, bool):
        return dtypes.bool_
    return dtypes.default_integer if isinstance(x, int) else dtypes.default_float


def _to_dtype(x: Operand, dtype: Dtype) -> Value:
    if not is_value(x):
        if isinstance(x, int) and not isinstance(x, bool) and dtypes.is_integer(dtype):
            limits = np.iinfo(dtype)
            if not limits.min <= x <= limits.max:
                raise DtypeError(
                    f"the integer {x} does not fit the array's type {dtype}",
                    expected=f"{limits.min} to {limits.max}",
                    where=str(here()),
                )
        made = hooks.constant(np.asarray(x, dtype=dtype))
        # a Python scalar keeps scalar arithmetic weak: 1 − rate takes the dtype of what it meets
        made.weak = isinstance(x, _SCALARS) and not isinstance(x, np.generic)
        return made
    return x if x.dtype == dtype else bind("cast", x, dtype=dtype)


def broadcast_shapes(*shapes: Shape) -> Shape:
    """Return the shape that all broadcast to, by NumPy's rules; ShapeError where there is none."""
    rank = max(len(shape) for shape in shapes)
    result = []
    for axis in range(-rank, 0):
        sizes = {shape[axis] for shape in shapes if len(shape) >= -axis} - {1}
        if len(sizes) > 1:
            raise ShapeError(
                "these shapes do not broadcast: " + " and ".join(str(shape) for shape in shapes),
                expected=f"equal sizes, or 1, in axis {axis}",
                got=" and ".join(str(size) for size in sorted(sizes)),
                fix="reshape or transpose one of them; x[:, None] adds an axis",
                where=str(here()),
            )
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def broadcast_operands(operands: list[Value]) -> list[Value]:
    """Give all operands one shape; broadcasting is an op of its own, so that its derivative is."""
    first = operands[0].shape
    if all(x.shape == first for x in operands):
        return operands
    shape = broadcast_shapes(*(x.shape for x in operands))
    return [x if x.shape == shape else bind("broadcast_to", x, shape=shape) for x in operands]


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
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    positions = tuple(sorted(normalize_axis(a, rank) for a in axes))
    if len(set(positions)) != len(positions):
        raise ShapeError(f"axis {axes} names an axis twice", where=str(here()))
    return positions
