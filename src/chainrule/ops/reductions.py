"""Reductions along axes, and running sums."""

from __future__ import annotations

import builtins
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.binary import equal, where
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.kernels.accumulation import accumulator
from chainrule.ops.operands import as_value, normalize_axes, normalize_axis
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, Spec, bind, register
from chainrule.ops.spelling import answers_spelling
from chainrule.ops.unary import astype, zeros_like

_CASES = (
    Case(shapes=((3, 4),), attributes={"axes": (0,)}),
    Case(shapes=((2, 3, 4),), attributes={"axes": (0, 2)}),
    Case(shapes=((5,),), attributes={"axes": (0,)}),
    Case(shapes=((2, 3),), attributes={"axes": ()}),
)


def _reduced(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(size for axis, size in enumerate(shape) if axis not in axes)


def _kept(shape: Shape, axes: tuple[int, ...]) -> Shape:
    return tuple(1 if axis in axes else size for axis, size in enumerate(shape))


def spread(y: Value, shape: Shape, axes: tuple[int, ...]) -> Value:
    """Copy a reduced value back along ``axes``, to ``shape``."""
    return bind("broadcast_to", bind("reshape", y, shape=_kept(shape, axes)), shape=shape)


def _batch(name: str) -> Callable[..., Value]:
    def batch(inputs: Sequence[Value], batched: Sequence[bool], *, axes: tuple[int, ...]) -> Value:
        return bind(name, inputs[0], axes=tuple(a + 1 for a in axes))

    return batch


def _sum(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.sum(x, axis=axes, dtype=accumulator(x.dtype))).astype(x.dtype)


SUM = register(
    Op(
        name="sum",
        family="reduction",
        arity=1,
        infer=lambda x, *, axes: (_reduced(x.shape, axes), x.dtype),
        evaluate=_sum,
        vjp=lambda g, y, x, *, axes: (spread(g, x.shape, axes),),
        batch=_batch("sum"),
        formula="Σ {x}",
        derivative=("1",),
        dtypes=dtypes.NUMERIC,
        cases=(*_CASES, Case(shapes=((0, 3),), attributes={"axes": (0,)})),
    )
)


def _prod(x: np.ndarray, *, axes: tuple[int, ...]) -> np.ndarray:
    return np.asarray(np.prod(x, axis=axes, dtype=accumulator(x.dtype))).astype(x.dtype)


def _prod_vjp(g: Value, y: Value, x: Value, *, axes: tuple[int, ...]) -> tuple[Value]:
    # the product of all others = product before · product after, right where elements are zero
    order = (*(a for a in range(len(x.shape)) if a not in axes), *axes)
    kept = tuple(x.shape[a] for a in order[: len(order) - len(axes)])
    flat = bind("transpose", x, axes=order)
    moved_shape = flat.shape
    count = math.prod(moved_shape[len(kept) :])
    flat = bind("reshape", flat, shape=(*kept, count))
    others = _running_product(flat, reverse=False) * _running_product(flat, reverse=True)
    moved = bind("reshape", others, shape=moved_shape)
    inverse = tuple(int(a) for a in np.argsort(order))
    return (spread(g, x.shape, axes) * bind("transpose", moved, axes=inverse),)


def _running_product(x: Value, reverse: bool) -> Value:
    """Exclusive running product along the last axis."""
    length = x.shape[-1]
    rank = len(x.shape)
    axes = (rank - 1,)
    if reverse:
        x = bind("flip", x, axes=axes)
    # log₂(n) doubling steps: after step s each place holds the product of the 2^s places before it
    one = as_value(1, x.dtype)
    result = _shift_right(x, 1, one)
    step = 1
    while step < length:
        result = result * _shift_right(result, step, one)
        step *= 2
    return bind("flip", result, axes=axes) if reverse else result


def _shift_right(x: Value, places: int, fill: Value) -> Value:
    length = x.shape[-1]
    places = builtins.min(places, length)
    lead = x.shape[:-1]
    head = bind("broadcast_to", fill, shape=(*lead, places))
    zeros = (0,) * len(lead)
    tail = bind(
        "slice", x, starts=(*zeros, 0), stops=(*lead, length - places),
        strides=(1,) * len(x.shape),
    )  # fmt: skip
    return bind("concatenate", head, tail, axis=len(lead))


PROD = register(
    Op(
        name="prod",
        family="reduction",
        arity=1,
        infer=lambda x, *, axes: (_reduced(x.shape, axes), x.dtype),
        evaluate=_prod,
        vjp=_prod_vjp,
        batch=_batch("prod"),
        formula="Π {x}",
        derivative=("Π of the others",),
        dtypes=dtypes.NUMERIC,
        cases=_CASES,
    )
)


def _extremum_vjp(g: Value, y: Value, x: Value, *, axes: tuple[int, ...]) -> tuple[Value]:
    """Send the cotangent to the first element that equals the extremum."""
    if not axes:
        return (g,)
    hit = equal(x, spread(y, x.shape, axes))
    order = (*(a for a in range(len(x.shape)) if a not in axes), *axes)
    moved = bind("transpose", hit, axes=order)
    kept = moved.shape[: len(order) - len(axes)]
    flat = bind("reshape", moved, shape=(*kept, math.prod(moved.shape[len(kept) :])))
    count = bind("cumsum", astype(flat, dtypes.int32), axis=len(kept))
    first = bind("reshape", flat & equal(count, 1), shape=moved.shape)
    chosen = bind("transpose", first, axes=tuple(int(a) for a in np.argsort(order)))
    spread_g = spread(g, x.shape, axes)
    return (where(chosen, spread_g, zeros_like(spread_g)),)


def _extremum(name: str, function: Any, word: str) -> Op:
    def infer(x: Value, *, axes: tuple[int, ...]) -> Spec:
        if builtins.any(x.shape[axis] == 0 for axis in axes):
            raise ShapeError(
                f"{name} of no elements: {x.shape} is empty along axes {axes}",
                expected="at least one element",
                where=str(here()),
            )
        return _reduced(x.shape, axes), x.dtype

    return register(
        Op(
            name=name,
            family="reduction",
            arity=1,
            infer=infer,
            evaluate=lambda x, *, axes: np.asarray(function(x, axis=axes), dtype=x.dtype),
            vjp=_extremum_vjp,
            batch=_batch(name),
            formula=f"{word} {{x}}",
            derivative=(f"1 at the first {word}imum, else 0",),
            at_kink="the first index at a tie",
            dtypes=dtypes.NUMERIC,
            cases=_CASES,
        )
    )


MAX = _extremum("max", np.max, "max")
MIN = _extremum("min", np.min, "min")


def _position(name: str, function: Any) -> Op:
    def infer(x: Value, *, axis: int) -> Spec:
        if x.shape[axis] == 0:
            raise ShapeError(f"{name} of no elements in axis {axis}", where=str(here()))
        return _reduced(x.shape, (axis,)), dtypes.int64

    return register(
        Op(
            name=name,
            family="reduction",
            arity=1,
            infer=infer,
            evaluate=lambda x, *, axis: np.asarray(function(x, axis=axis), dtype=np.int64),
            vjp=None,
            nondifferentiable=True,
            batch=lambda inputs, batched, *, axis: bind(name, inputs[0], axis=axis + 1),
            formula=f"{name} {{x}}",
            at_kink="the first index at a tie",
            dtypes=dtypes.NUMERIC,
            cases=(Case(shapes=((3, 4),), attributes={"axis": 1}),),
        )
    )


ARGMAX = _position("argmax", np.argmax)
ARGMIN = _position("argmin", np.argmin)


def _cumsum(x: np.ndarray, *, axis: int) -> np.ndarray:
    return np.cumsum(x, axis=axis, dtype=accumulator(x.dtype)).astype(x.dtype)


def _cumsum_vjp(g: Value, y: Value, x: Value, *, axis: int) -> tuple[Value]:
    backwards = bind("cumsum", bind("flip", g, axes=(axis,)), axis=axis)
    return (bind("flip", backwards, axes=(axis,)),)


CUMSUM = register(
    Op(
        name="cumsum",
        family="reduction",
        arity=1,
        infer=lambda x, *, axis: (x.shape, x.dtype),
        evaluate=_cumsum,
        vjp=_cumsum_vjp,
        batch=lambda inputs, batched, *, axis: bind("cumsum", inputs[0], axis=axis + 1),
        formula="running Σ {x}",
        derivative=("1 for this place and those before",),
        dtypes=dtypes.NUMERIC,
        cases=(
            Case(shapes=((3, 4),), attributes={"axis": 1}),
            Case(shapes=((0,),), attributes={"axis": 0}),
        ),
    )
)


def _reduce(op: Op, x: Operand, axis: Any, keepdims: bool, dtype: Dtype | None = None) -> Value:
    value = as_value(x, dtype)
    axes = normalize_axes(axis, len(value.shape))
    result = bind(op, value, axes=axes)
    return bind("reshape", result, shape=_kept(value.shape, axes)) if keepdims else result


def accumulated_dtype(x: Value, dtype: Any) -> Dtype:
    """Bool and small integers are summed as int64 (uint64), by the array API's rule."""
    if dtype is not None:
        return dtypes.as_dtype(dtype)
    if x.dtype in dtypes.UNSIGNED:
        return dtypes.uint64
    return x.dtype if dtypes.is_floating(x.dtype) else dtypes.int64


@answers_spelling
def sum(x: Operand, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Value:
    """Sum over ``axis`` (None: all); 16-bit floats accumulate in float32."""
    value = as_value(x)
    return _reduce(SUM, value, axis, keepdims, accumulated_dtype(value, dtype))


@answers_spelling
def prod(x: Operand, /, *, axis: Any = None, dtype: Any = None, keepdims: bool = False) -> Value:
    """Product over ``axis`` (None: all)."""
    value = as_value(x)
    return _reduce(PROD, value, axis, keepdims, accumulated_dtype(value, dtype))


@answers_spelling
def max(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """Largest element over ``axis``; at a tie the derivative goes to the first."""
    return _reduce(MAX, x, axis, keepdims)


@answers_spelling
def min(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """Smallest element over ``axis``; at a tie the derivative goes to the first."""
    return _reduce(MIN, x, axis, keepdims)


@answers_spelling
def any(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """True if some element is, over ``axis``; False of none."""
    return sum(astype(x, dtypes.bool_), axis=axis, keepdims=keepdims) > 0


@answers_spelling
def all(x: Operand, /, *, axis: Any = None, keepdims: bool = False) -> Value:
    """True if every element is, over ``axis``; True of none."""
    return sum(~astype(x, dtypes.bool_), axis=axis, keepdims=keepdims) == 0


def _index(op: Op, x: Operand, axis: int | None, keepdims: bool) -> Value:
    value = as_value(x)
    rank = len(value.shape)
    if axis is None:
        flat = bind("reshape", value, shape=(math.prod(value.shape),))
        result = bind(op, flat, axis=0)
        return bind("reshape", result, shape=(1,) * rank) if keepdims else result
    position = normalize_axis(axis, rank)
    result = bind(op, value, axis=position)
    return bind("reshape", result, shape=_kept(value.shape, (position,))) if keepdims else result


@answers_spelling
def argmax(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Value:
    """Index of the first largest element along ``axis`` (None: in the flattened array)."""
    return _index(ARGMAX, x, axis, keepdims)


@answers_spelling
def argmin(x: Operand, /, *, axis: int | None = None, keepdims: bool = False) -> Value:
    """Index of the first smallest element along ``axis`` (None: in the flattened array)."""
    return _index(ARGMIN, x, axis, keepdims)


def running_axis(axis: int | None, x: Value, op: str) -> int:
    """The axis of a running sum or product, which may be left out for one dimension."""
    rank = len(x.shape)
    if axis is None and rank != 1:
        raise ShapeError(
            f"{op} needs an axis unless the array has one dimension",
            got=str(x.shape),
            fix="pass axis=-1",
            where=str(here()),
        )
    return normalize_axis(axis or 0, rank)


@answers_spelling
def cumulative_sum(
    x: Operand, /, *, axis: int | None = None, dtype: Any = None, include_initial: bool = False
) -> Value:
    """Running sum along ``axis`` (may be left out for one dimension).

    Args:
        include_initial: Start with a zero, so that the result is one longer.
    """
    value = as_value(x)
    rank = len(value.shape)
    position = running_axis(axis, value, "cumulative_sum")
    value = as_value(value, accumulated_dtype(value, dtype))
    result = bind(CUMSUM, value, axis=position)
    if not include_initial:
        return result
    low = tuple(1 if a == position else 0 for a in range(rank))
    return bind("pad", result, low=low, high=(0,) * rank, interior=(0,) * rank)


def require_floating(x: Value, op: str) -> None:
    """Raise DtypeError unless ``x`` is floating."""
    if not dtypes.is_floating(x.dtype):
        raise DtypeError(
            f"{op} takes floating numbers",
            got=str(x.dtype),
            fix="cast first: cr.astype(x, cr.float32)",
            where=str(here()),
        )
