"""Functions that rearrange arrays, composed of the movement ops, and the makers of new arrays."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Operand, Value, hooks
from chainrule.ops.operands import (
    as_value,
    broadcast_shapes,
    normalize_axes,
    normalize_axis,
    promote_operands,
    scalar,
)
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, bind, register
from chainrule.ops.spelling import answers_spelling

_builtin_range = range


def _iota(*, shape: Shape, axis: int, dtype: Dtype) -> np.ndarray:
    line = np.arange(shape[axis]).astype(dtype)
    column = line.reshape([-1 if a == axis else 1 for a in range(len(shape))])
    return np.broadcast_to(column, shape)


IOTA = register(
    Op(
        name="iota",
        family="creation",
        arity=0,
        infer=lambda *, shape, axis, dtype: (shape, dtype),
        evaluate=_iota,
        vjp=None,
        nondifferentiable=True,
        batch=lambda inputs, batched, **attributes: bind("iota", **attributes),
        formula="0, 1, 2, …",
        cases=(
            Case((), {"shape": (3, 4), "axis": 1, "dtype": dtypes.int32}),
            Case((), {"shape": (3,), "axis": 0, "dtype": dtypes.float32}),
        ),
    )
)


def as_shape(shape: int | Sequence[int]) -> Shape:
    """A tuple of non-negative sizes."""
    sizes = (shape,) if isinstance(shape, int | np.integer) else tuple(shape)
    result = tuple(int(n) for n in sizes)
    if any(n < 0 for n in result):
        raise ShapeError("a size is negative", expected="sizes ≥ 0", got=str(result))
    return result


def reshape(x: Operand, /, shape: int | Sequence[int]) -> Value:
    """The same elements in row-major order in another shape; one size may be −1."""
    value = as_value(x)
    target = [int(n) for n in ((shape,) if isinstance(shape, int | np.integer) else shape)]
    if min(target, default=0) < 0:
        known = math.prod(n for n in target if n != -1)
        count = math.prod(value.shape)
        wrong = min(target) < -1 or target.count(-1) > 1
        if wrong or (known == 0 and count) or (known and count % known):
            raise ShapeError(
                f"reshape: {value.shape} with {count} elements does not fit {tuple(target)}",
                expected="one size −1, the others dividing the number of elements",
                got=str(tuple(target)),
                where=str(here()),
            )
        target[target.index(-1)] = count // known if known else 0
    result = tuple(target)
    return value if result == value.shape else bind("reshape", value, shape=result)


@answers_spelling
def permute_dims(x: Operand, /, axes: Sequence[int]) -> Value:
    """Axes in a new order: axis i of the result is axis ``axes[i]`` of x."""
    value = as_value(x)
    order = tuple(normalize_axis(a, len(value.shape)) for a in axes)
    return (
        value if order == tuple(range(len(value.shape))) else bind("transpose", value, axes=order)
    )


def moveaxis(x: Operand, source: int, destination: int, /) -> Value:
    """Move one axis; the others keep their order."""
    value = as_value(x)
    rank = len(value.shape)
    start, end = normalize_axis(source, rank), normalize_axis(destination, rank)
    order = [a for a in range(rank) if a != start]
    order.insert(end, start)
    return permute_dims(value, order)


def broadcast_to(x: Operand, /, shape: int | Sequence[int]) -> Value:
    """Copies of ``x`` along new and size-1 axes."""
    value = as_value(x)
    target = as_shape(shape)
    return value if value.shape == target else bind("broadcast_to", value, shape=target)


def broadcast_arrays(*arrays: Operand) -> list[Value]:
    """All arrays broadcast to one shape, dtypes kept."""
    values = [as_value(x) for x in arrays]
    shape = broadcast_shapes(*(v.shape for v in values))
    return [broadcast_to(v, shape) for v in values]


@answers_spelling
def expand_dims(x: Operand, /, *, axis: int | tuple[int, ...] = 0) -> Value:
    """New axes of size 1 at the positions ``axis`` of the result."""
    value = as_value(x)
    count = 1 if isinstance(axis, int) else len(axis)
    rank = len(value.shape) + count
    places = normalize_axes(axis, rank)
    sizes = iter(value.shape)
    return reshape(value, tuple(1 if a in places else next(sizes) for a in range(rank)))


@answers_spelling
def squeeze(x: Operand, /, axis: int | tuple[int, ...] | None = None) -> Value:
    """Without the axes ``axis`` of size 1 (None: all such)."""
    value = as_value(x)
    if axis is None:
        axes: tuple[int, ...] = tuple(a for a, n in enumerate(value.shape) if n == 1)
    else:
        axes = normalize_axes(axis, len(value.shape))
    for a in axes:
        if value.shape[a] != 1:
            raise ShapeError(
                f"squeeze: axis {a} of {value.shape} is not of size 1",
                expected="1",
                got=str(value.shape[a]),
                where=str(here()),
            )
    return reshape(value, tuple(n for a, n in enumerate(value.shape) if a not in axes))


@answers_spelling
def concat(arrays: Sequence[Operand], /, *, axis: int | None = 0) -> Value:
    """Arrays one after the other along ``axis`` (None: flattened)."""
    if not arrays:
        raise ArgumentError("concat needs at least one array")
    values = promote_operands(*arrays)
    if axis is None:
        values = [reshape(v, (-1,)) for v in values]
    position = normalize_axis(axis or 0, len(values[0].shape))
    return values[0] if len(values) == 1 else bind("concatenate", *values, axis=position)


@answers_spelling
def stack(arrays: Sequence[Operand], /, *, axis: int = 0) -> Value:
    """Arrays of one shape along a new axis."""
    values = [as_value(x) for x in arrays]
    shapes = {v.shape for v in values}
    if len(shapes) != 1:
        raise ShapeError(
            "stack: the arrays' shapes differ", got=", ".join(map(str, sorted(shapes)))
        )
    return concat([expand_dims(v, axis=axis) for v in values], axis=axis)


@answers_spelling
def unstack(x: Operand, /, *, axis: int = 0) -> tuple[Value, ...]:
    """The slices along ``axis``."""
    value = moveaxis(as_value(x), axis, 0)
    return tuple(value[i] for i in _builtin_range(value.shape[0]))


@answers_spelling
def flip(x: Operand, /, *, axis: int | tuple[int, ...] | None = None) -> Value:
    """Reversed order along ``axis`` (None: all)."""
    value = as_value(x)
    return bind("flip", value, axes=normalize_axes(axis, len(value.shape)))


@answers_spelling
def roll(x: Operand, /, shift: int | Sequence[int], *, axis: Any = None) -> Value:
    """Elements moved by ``shift`` places; those that fall off come in on the other side."""
    value = as_value(x)
    if axis is None:
        return reshape(roll(reshape(value, (-1,)), shift, axis=0), value.shape)
    shifts = (shift,) if isinstance(shift, int) else tuple(shift)
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    for by, a in zip(shifts, axes, strict=True):
        position = normalize_axis(a, len(value.shape))
        size = value.shape[position]
        if size and by % size:
            before = (slice(None),) * position
            cut = size - by % size
            parts = [value[(*before, slice(cut, None))], value[(*before, slice(None, cut))]]
            value = concat(parts, axis=position)
    return value


def tile(x: Operand, repetitions: Sequence[int], /) -> Value:
    """Copies of ``x`` side by side, ``repetitions[i]`` along axis i."""
    value = as_value(x)
    rank = max(len(value.shape), len(repetitions))
    counts = (1,) * (rank - len(repetitions)) + tuple(repetitions)
    sizes = (1,) * (rank - len(value.shape)) + value.shape
    split = [n for size in sizes for n in (1, size)]
    spread = [n for count, size in zip(counts, sizes, strict=True) for n in (count, size)]
    copies = broadcast_to(reshape(value, split), spread)
    return reshape(copies, [c * n for c, n in zip(counts, sizes, strict=True)])


@answers_spelling
def repeat(x: Operand, repeats: int, /, *, axis: int | None = None) -> Value:
    """Each element ``repeats`` times along ``axis`` (None: flattened)."""
    value = as_value(x)
    if axis is None:
        return repeat(reshape(value, (-1,)), repeats, axis=0)
    position = normalize_axis(axis, len(value.shape))
    lead, tail = value.shape[: position + 1], value.shape[position + 1 :]
    copies = broadcast_to(reshape(value, (*lead, 1, *tail)), (*lead, repeats, *tail))
    return reshape(copies, (*lead[:-1], lead[-1] * repeats, *tail))


def pad(x: Operand, widths: Any, /, *, value: float = 0.0) -> Value:
    """A border of ``value`` around ``x``.

    Args:
        widths: Elements added: an int for all sides, or ``(before, after)`` for each axis.
        value: What the border holds.
    """
    array = as_value(x)
    rank = len(array.shape)
    pairs = [(widths, widths)] * rank if isinstance(widths, int) else [tuple(w) for w in widths]
    low, high = tuple(a for a, _ in pairs), tuple(b for _, b in pairs)
    padded = bind("pad", array, low=low, high=high, interior=(0,) * rank)
    if value == 0:
        return padded
    inside = bind(
        "pad", ones_like(array, dtype=dtypes.bool_), low=low, high=high, interior=(0,) * rank
    )
    return bind("where", inside, padded, full(padded.shape, value, dtype=array.dtype))


def full(shape: int | Sequence[int], fill_value: Operand, *, dtype: Any = None) -> Value:
    """An array of ``shape`` in which every element is ``fill_value``."""
    target = as_shape(shape)
    kind = None if dtype is None else dtypes.as_dtype(dtype)
    if target and kind is not None and type(fill_value) in (bool, int, float):
        return bind("broadcast_to", scalar(fill_value, kind), shape=target)
    return broadcast_to(as_value(fill_value, kind), target)


def zeros(shape: int | Sequence[int], *, dtype: Any = dtypes.default_float) -> Value:
    """An array of zeros."""
    return full(shape, 0, dtype=dtype)


def ones(shape: int | Sequence[int], *, dtype: Any = dtypes.default_float) -> Value:
    """An array of ones."""
    return full(shape, 1, dtype=dtype)


empty = zeros


def full_like(x: Operand, /, fill_value: Operand, *, dtype: Any = None) -> Value:
    """An array like ``x`` in which every element is ``fill_value``."""
    value = as_value(x)
    return full(value.shape, fill_value, dtype=value.dtype if dtype is None else dtype)


def zeros_like(x: Operand, /, *, dtype: Any = None) -> Value:
    """Zeros in the shape and dtype of ``x``."""
    return full_like(x, 0, dtype=dtype)


def ones_like(x: Operand, /, *, dtype: Any = None) -> Value:
    """Ones in the shape and dtype of ``x``."""
    return full_like(x, 1, dtype=dtype)


empty_like = zeros_like


def arange(
    start: float, /, stop: float | None = None, step: float = 1, *, dtype: Any = None
) -> Value:
    """Numbers from ``start`` (0 if only one is given) below ``stop``, ``step`` apart."""
    if stop is None:
        start, stop = 0, start
    whole = all(isinstance(n, int) for n in (start, stop, step))
    default = dtypes.default_integer if whole else dtypes.default_float
    return hooks.constant(
        np.arange(start, stop, step).astype(default if dtype is None else dtypes.as_dtype(dtype))
    )


def linspace(
    start: float,
    stop: float,
    /,
    num: int,
    *,
    dtype: Any = dtypes.default_float,
    endpoint: bool = True,
) -> Value:
    """``num`` evenly spaced numbers from ``start`` to ``stop``."""
    line = np.linspace(start, stop, num, endpoint=endpoint)
    return hooks.constant(line.astype(dtypes.as_dtype(dtype)))


def eye(
    n_rows: int, n_cols: int | None = None, /, *, k: int = 0, dtype: Any = dtypes.default_float
) -> Value:
    """Ones on diagonal ``k``, zeros elsewhere."""
    return hooks.constant(np.eye(n_rows, n_cols, k, dtype=dtypes.as_dtype(dtype)))


def _band(x: Operand, k: int, lower: bool) -> Value:
    value = as_value(x)
    rank = len(value.shape)
    if rank < 2:
        raise ShapeError(
            "tril and triu take matrices",
            expected="at least two axes",
            got=str(value.shape),
            where=str(here()),
        )
    rows = bind("iota", shape=value.shape, axis=rank - 2, dtype=dtypes.int64)
    columns = bind("iota", shape=value.shape, axis=rank - 1, dtype=dtypes.int64)
    inside = columns - rows <= k if lower else columns - rows >= k
    return bind("where", inside, value, full(value.shape, 0, dtype=value.dtype))


def tril(x: Operand, /, *, k: int = 0) -> Value:
    """The part on and below diagonal ``k``; zeros above."""
    return _band(x, k, lower=True)


def triu(x: Operand, /, *, k: int = 0) -> Value:
    """The part on and above diagonal ``k``; zeros below."""
    return _band(x, k, lower=False)


def meshgrid(*arrays: Operand, indexing: str = "xy") -> list[Value]:
    """Coordinate grids of one-dimensional arrays."""
    values = [as_value(x) for x in arrays]
    rank = len(values)
    shaped = []
    for i, value in enumerate(values):
        axis = {0: 1, 1: 0}.get(i, i) if indexing == "xy" and rank > 1 else i
        shaped.append(reshape(value, [-1 if a == axis else 1 for a in range(rank)]))
    return broadcast_arrays(*shaped)
