"""Indexing: gather and scatter, and the translation of ``x[key]`` into ops."""

from __future__ import annotations

import math
import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, IndexRangeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.binary import where
from chainrule.ops.elementwise import align_batch
from chainrule.ops.hooks import Operand, Value, hooks
from chainrule.ops.kernels.scatter import gather_nd, scatter_nd
from chainrule.ops.manipulation import broadcast_to, concat, permute_dims, reshape, stack
from chainrule.ops.operands import (
    as_value,
    broadcast_operands,
    broadcast_shapes,
    is_value,
    normalize_axis,
    scalar,
)
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, Spec, bind, register
from chainrule.ops.spelling import answers_spelling
from chainrule.ops.unary import astype, zeros_like


def _gather_infer(x: Value, indices: Value) -> Spec:
    depth = indices.shape[-1]
    if not dtypes.is_integer(indices.dtype):
        raise DtypeError("gather: indices must be integers", got=str(indices.dtype))
    return (*indices.shape[:-1], *x.shape[depth:]), x.dtype


def _gather_vjp(g: Value, y: Value, x: Value, indices: Value) -> tuple[Value, None]:
    return bind("scatter", zeros_like(x), indices, g, mode="add"), None


def _with_batch_column(indices: Value) -> Value:
    """(B, *I, k) → (B, *I, k + 1): the first column counts the batch."""
    wide = astype(indices, dtypes.int64)  # a small type might not count as far as the batch
    shape = (*indices.shape[:-1], 1)
    column = bind("iota", shape=shape, axis=0, dtype=dtypes.int64)
    return bind("concatenate", column, wide, axis=len(shape) - 1)


def _gather_batch(inputs: Sequence[Value], batched: Sequence[bool]) -> Value:
    x, indices = inputs
    if not batched[0]:
        return bind("gather", x, indices)
    x, indices = align_batch(inputs, batched)
    return bind("gather", x, _with_batch_column(indices))


_INDEX_CASES = (
    Case(((5, 3), (4, 1)), integers={1: 5}),
    Case(((4, 4, 2), (2, 3, 2)), integers={1: 4}),
    Case(((4,), (0, 1)), integers={1: 4}),
)

GATHER = register(
    Op(
        name="gather",
        family="indexing",
        arity=2,
        infer=_gather_infer,
        evaluate=gather_nd,
        vjp=_gather_vjp,
        batch=_gather_batch,
        formula="{x}[{y}]",
        derivative=("1 at the places read, else 0", "0"),
        cases=_INDEX_CASES,
    )
)


def _scatter_infer(x: Value, indices: Value, updates: Value, *, mode: str) -> Spec:
    wanted = (*indices.shape[:-1], *x.shape[indices.shape[-1] :])
    if updates.shape != wanted:
        raise ShapeError(
            "scatter: the updates do not fit the indices",
            expected=str(wanted),
            got=str(updates.shape),
            where=str(here()),
        )
    return x.shape, x.dtype


def _scatter_vjp(
    g: Value, y: Value, x: Value, indices: Value, updates: Value, *, mode: str
) -> tuple[Value, None, Value]:
    read = bind("gather", g, indices)
    if mode == "add":
        return g, None, read
    kept = bind("scatter", g, indices, zeros_like(updates), mode="set")
    return kept, None, where(_last_writer(x, indices, updates), read, zeros_like(read))


def _last_writer(x: Value, indices: Value, updates: Value) -> Value:
    """True for the updates that are not overwritten by a later one for the same place."""
    lead = indices.shape[:-1]
    ids = reshape(bind("iota", shape=(math.prod(lead),), axis=0, dtype=dtypes.int64), lead)
    places = x.shape[: indices.shape[-1]]
    board = bind("broadcast_to", as_value(-1, dtypes.int64), shape=places)
    winners = bind("gather", bind("scatter", board, indices, ids, mode="set"), indices)
    won = winners == ids
    trailing = (1,) * (len(updates.shape) - len(lead))
    return bind("broadcast_to", reshape(won, (*lead, *trailing)), shape=updates.shape)


def _scatter_batch(inputs: Sequence[Value], batched: Sequence[bool], *, mode: str) -> Value:
    x, indices, updates = align_batch(inputs, batched)
    return bind("scatter", x, _with_batch_column(indices), updates, mode=mode)


SCATTER = register(
    Op(
        name="scatter",
        family="indexing",
        arity=3,
        infer=_scatter_infer,
        evaluate=scatter_nd,
        vjp=_scatter_vjp,
        batch=_scatter_batch,
        formula="{x} with {z} at {y}",
        derivative=("1 (0 where set)", "0", "1 where written"),
        at_kink="of several values set at one place the last has derivative 1",
        dtypes=dtypes.NUMERIC,
        cases=(
            Case(((5, 3), (4, 1), (4, 3)), {"mode": "add"}, integers={1: 5}),
            Case(((5, 3), (4, 1), (4, 3)), {"mode": "set"}, integers={1: 5}),
            Case(((3, 3), (6, 2), (6,)), {"mode": "set"}, integers={1: 3}),
        ),
    )
)


# --- x[key] -----------------------------------------------------------------------------------


def getitem(x: Value, key: Any) -> Value:
    """``x[key]`` by NumPy's rules: slices, integers, ``...``, ``None``, integer arrays, masks.

    Raises:
        IndexRangeError: Too many indices, or an index outside its axis.
        DtypeError: An index of another type than integer or bool.
        TracedValueError: A mask whose value is not known yet.
    """
    parts = _expand(x.shape, key)
    x = _slice(x, parts)
    shape: list[int] = []
    axis = 0
    for part in parts:
        if part is None:
            shape.append(1)
            continue
        if isinstance(part, slice):
            shape.append(x.shape[axis])
        elif not isinstance(part, int):
            return _advanced(x, parts)
        axis += 1
    return _reshaped(x, tuple(shape))


def _reshaped(x: Value, shape: Shape) -> Value:
    return x if x.shape == shape else bind("reshape", x, shape=shape)


def _expand(shape: Shape, key: Any) -> list[Any]:
    """One entry an axis, and None for each new axis: int, slice or non-negative integer Array."""
    entries = [_entry(part) for part in key] if isinstance(key, tuple) else [_entry(key)]
    missing = len(shape)
    has_ellipsis = False
    for entry in entries:
        if entry is Ellipsis:
            missing -= len(shape) + 1 if has_ellipsis else 0
            has_ellipsis = True
        elif entry is not None:
            missing -= len(entry.shape) if _is_mask(entry) else 1
    if missing < 0:
        raise IndexRangeError(
            "too many indices, or more than one ellipsis",
            expected=f"at most {len(shape)} for shape {shape}",
            got=str(key),
            where=str(here()),
        )
    parts: list[Any] = []
    axis = 0
    for entry in entries if has_ellipsis else [*entries, Ellipsis]:
        if entry is None:
            parts.append(None)
            continue
        if entry is Ellipsis:
            found: list[Any] = [_EVERYTHING] * missing
        elif isinstance(entry, int):
            found = [_position(entry, axis, shape[axis])]
        elif isinstance(entry, slice):
            found = [entry]
        elif _is_mask(entry):
            found = _mask_positions(entry, axis, shape)
        else:
            found = [normalize_indices(entry, shape[axis])]
        parts += found
        axis += len(found)
    return parts


_EVERYTHING = slice(None)


def _entry(part: Any) -> Any:
    """One part of a key: int, slice, None, Ellipsis, or an Array of integers or bools."""
    if type(part) is int or part is None or part is Ellipsis or isinstance(part, slice):
        return part
    if isinstance(part, list | np.ndarray) or is_value(part):
        data = np.asarray(part, dtype=np.int64) if isinstance(part, list) and not part else part
        value = as_value(data)
        if dtypes.is_integer(value.dtype) or _is_mask(value):
            return value
    elif not isinstance(part, bool | np.bool_) and hasattr(part, "__index__"):
        return operator.index(part)
    raise DtypeError(
        "this is no index",
        expected="integers, slices, None, ..., arrays of integers, or a mask of bools",
        got=str(part.dtype) if hasattr(part, "dtype") else repr(part),
        where=str(here()),
    )


def _is_mask(entry: Any) -> bool:
    return is_value(entry) and bool(entry.shape) and entry.dtype == dtypes.bool_


def _mask_positions(mask: Value, axis: int, shape: Shape) -> list[Value]:
    """The places where a mask holds, one array an axis that it covers."""
    covered = shape[axis : axis + len(mask.shape)]
    if mask.shape != covered:
        raise IndexRangeError(
            "a mask must have the shape of the axes that it picks from",
            expected=str(covered),
            got=str(mask.shape),
            where=str(here()),
        )
    return [hooks.constant(positions) for positions in np.nonzero(concrete(mask, "a mask"))]


def concrete(x: Value, why: str) -> np.ndarray:
    """The value of ``x``; TracedValueError, naming ``why``, while it is only being recorded."""
    return hooks.require_concrete(x, why)


def _position(index: int, axis: int, size: int) -> int:
    if not -size <= index < size:
        raise IndexRangeError(
            f"index {index} is out of range for axis {axis} of size {size}",
            expected=f"{-size} to {size - 1}" if size else "no index: the axis is empty",
            got=str(index),
            where=str(here()),
        )
    return index % size


def _slice(x: Value, parts: Sequence[Any]) -> Value:
    """Apply slices and integers with ``slice`` and ``flip``; integers leave an axis of size 1."""
    starts, stops, strides, flips = [], [], [], []
    axis = 0
    for part in parts:
        if part is None:
            continue
        size = x.shape[axis]
        start, stop, stride = 0, size, 1
        if isinstance(part, int):
            start, stop = part, part + 1
        elif isinstance(part, slice) and part is not _EVERYTHING:
            start, stop, stride = part.indices(size)
            if stride < 0:  # the same places from the other end, then flipped
                count = len(range(start, stop, stride))
                start, stop, stride = start + (count - 1) * stride, start + 1, -stride
                flips.append(axis)
                start = start if count else stop
            stop = max(start, stop)
        starts.append(start)
        stops.append(stop)
        strides.append(stride)
        axis += 1
    if any(starts) or tuple(stops) != x.shape or max(strides, default=1) > 1:
        x = bind("slice", x, starts=tuple(starts), stops=tuple(stops), strides=tuple(strides))
    return bind("flip", x, axes=tuple(flips)) if flips else x


def _advanced(x: Value, parts: list[Any]) -> Value:
    """Gather by the integer arrays; integers take part in their broadcasting, as in NumPy."""
    axes = [part for part in parts if part is not None]
    indexed = [i for i, part in enumerate(axes) if not isinstance(part, slice)]
    # integers have been applied by slicing: what is left of their axes is the place 0
    arrays = [axes[i] if is_value(axes[i]) else scalar(0, dtypes.int64) for i in indexed]
    shape = broadcast_shapes(*(a.shape for a in arrays))
    columns = [
        bind("reshape", broadcast_to(astype(a, dtypes.int64), shape), shape=(*shape, 1))
        for a in arrays
    ]
    rest = [i for i in range(len(axes)) if i not in indexed]
    gathered = bind("gather", permute_dims(x, (*indexed, *rest)), concat(columns, axis=-1))
    return _place(gathered, parts, len(shape))


def _place(gathered: Value, parts: list[Any], n_index: int) -> Value:
    """Move the index axes to where NumPy puts them, and insert new axes.

    They stay where the indices stood if those stood together, else they come first.
    """
    is_index = [part is not None and not isinstance(part, slice) for part in parts]
    first = is_index.index(True)
    count = sum(is_index)
    position = first if all(is_index[first : first + count]) else 0
    kept = [part for part, index in zip(parts, is_index, strict=True) if not index]
    before = sum(part is not None for part in kept[:position])
    n_axes = len(gathered.shape)
    order = (
        *range(n_index, n_index + before), *range(n_index), *range(n_index + before, n_axes),
    )  # fmt: skip
    gathered = permute_dims(gathered, order)
    sizes = iter(gathered.shape)
    shape = [1 if part is None else next(sizes) for part in kept[:position]]
    shape += [next(sizes) for _ in range(n_index)]
    shape += [1 if part is None else next(sizes) for part in kept[position:]]
    return _reshaped(gathered, tuple(shape))


def normalize_indices(indices: Value, size: int) -> Value:
    """Count negative indices from the end; what is out of range is caught when evaluated."""
    if indices.dtype in dtypes.UNSIGNED:
        return indices
    wide = astype(indices, dtypes.int64)
    return where(wide < 0, wide + size, wide)


def scatter_items(x: Value, key: Any, values: Operand, *, mode: str) -> Value:
    """A copy of ``x`` with ``values`` set or added at ``x[key]``."""
    count = math.prod(x.shape)
    places = reshape(bind("iota", shape=(count,), axis=0, dtype=dtypes.int64), x.shape)
    places = getitem(places, key)
    updates = as_value(values, x.dtype)
    while len(updates.shape) > len(places.shape) and updates.shape[0] == 1:
        updates = reshape(updates, updates.shape[1:])  # leading 1s count for nothing, as in NumPy
    updates = broadcast_to(updates, places.shape)
    flat = bind(
        "scatter", reshape(x, (count,)), reshape(places, (*places.shape, 1)), updates, mode=mode
    )
    return reshape(flat, x.shape)


@answers_spelling
def take(x: Operand, indices: Operand, /, *, axis: int | None = None) -> Value:
    """Elements of ``x`` along ``axis`` at integer ``indices`` (one-dimensional arrays: axis 0)."""
    value = as_value(x)
    if axis is None and len(value.shape) != 1:
        raise ShapeError(
            "take needs an axis for an array of several dimensions",
            got=str(value.shape),
            fix="pass axis=0, or index: x[indices]",
            where=str(here()),
        )
    position = normalize_axis(axis or 0, len(value.shape))
    return getitem(value, (_EVERYTHING,) * position + (as_value(indices),))


@answers_spelling
def take_along_axis(x: Operand, indices: Operand, /, *, axis: int = -1) -> Value:
    """For each place, the element of ``x`` at ``indices`` along ``axis``; other axes broadcast."""
    value, index = as_value(x), as_value(indices)
    rank = len(value.shape)
    position = normalize_axis(axis, rank)
    if len(index.shape) != rank or not dtypes.is_integer(index.dtype):
        raise ShapeError(
            "take_along_axis: the indices do not fit the array",
            expected=f"integers with {rank} dimensions",
            got=f"{index.dtype} of shape {index.shape}",
            where=str(here()),
        )
    grid = broadcast_shapes(
        *(tuple(n for a, n in enumerate(v.shape) if a != position) for v in (value, index))
    )
    shape = (*grid[:position], index.shape[position], *grid[position:])
    value = broadcast_to(value, (*shape[:position], value.shape[position], *shape[position + 1 :]))
    index = broadcast_to(astype(index, dtypes.int64), shape)
    columns = [
        normalize_indices(index, value.shape[a])
        if a == position
        else bind("iota", shape=shape, axis=a, dtype=dtypes.int64)
        for a in range(rank)
    ]
    return bind("gather", value, stack(broadcast_operands(columns), axis=-1))
