"""Indexing: gather and scatter, and the translation of ``x[key]`` into ops."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.binary import where
from chainrule.ops.elementwise import align_batch
from chainrule.ops.hooks import Operand, Value, hooks
from chainrule.ops.kernels.scatter import gather_nd, scatter_nd
from chainrule.ops.manipulation import concat, reshape, stack
from chainrule.ops.operands import as_value, broadcast_operands, broadcast_shapes, is_value
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Spec, bind, register
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
    shape = (*indices.shape[:-1], 1)
    column = bind("iota", shape=shape, axis=0, dtype=indices.dtype)
    return bind("concatenate", column, indices, axis=len(shape) - 1)


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
        IndexError: Too many indices, or an index outside its axis.
    """
    parts = _expand(x, key)
    x, parts = _apply_basic(x, parts)
    if any(is_value(part) for part in parts):
        return _advanced(x, parts)
    shape: list[int] = []
    axis = 0
    for part in parts:
        if part is None:
            shape.append(1)
        else:
            if not isinstance(part, int):
                shape.append(x.shape[axis])
            axis += 1
    return reshape(x, tuple(shape))


def _expand(x: Value, key: Any) -> list[Any]:
    """One entry an axis (and None for each new axis): int, slice or integer Array."""
    entries = list(key) if isinstance(key, tuple) else [key]
    parts: list[Any] = []
    for entry in entries:
        if isinstance(entry, list | np.ndarray) or is_value(entry):
            parts += _index_arrays(entry)
        elif isinstance(entry, bool | np.bool_):
            raise IndexError("a single bool is no index; use cr.where")
        elif entry is None or entry is Ellipsis or isinstance(entry, slice):
            parts.append(entry)
        else:
            parts.append(entry.__index__())
    used = sum(part is not None and part is not Ellipsis for part in parts)
    ellipses = sum(part is Ellipsis for part in parts)
    if used > len(x.shape) or ellipses > 1:
        raise IndexError(
            f"{used} indices and {ellipses} ellipses for an array of {len(x.shape)} dimensions, "
            f"shape {x.shape} (at {here()})"
        )
    fill = [slice(None)] * (len(x.shape) - used)
    if not ellipses:
        return parts + fill
    position = next(i for i, part in enumerate(parts) if part is Ellipsis)
    return parts[:position] + fill + parts[position + 1 :]


def _index_arrays(entry: Any) -> list[Value]:
    """An integer index, or the positions where a concrete mask holds."""
    value = as_value(np.asarray(entry) if isinstance(entry, list) else entry)
    if value.dtype == dtypes.bool_:
        return [hooks.constant(positions) for positions in np.nonzero(concrete(value, "a mask"))]
    if not dtypes.is_integer(value.dtype):
        raise DtypeError(
            "indices must be integers or bool masks", got=str(value.dtype), where=str(here())
        )
    return [value]


def concrete(x: Value, why: str) -> np.ndarray:
    """The value of ``x``; TracedValueError, naming ``why``, while it is only being recorded."""
    return hooks.require_concrete(x, why)


def _apply_basic(x: Value, parts: list[Any]) -> tuple[Value, list[Any]]:
    """Apply slices and integers with ``slice`` and ``flip``; integers leave an axis of size 1."""
    starts, stops, strides, flips = [], [], [], []
    axis = 0
    for part in parts:
        if part is None:
            continue
        size = x.shape[axis]
        if isinstance(part, int):
            if not -size <= part < size:
                raise IndexError(
                    f"index {part} is out of range for axis {axis} of size {size} (at {here()})"
                )
            start, stop, stride = part % size, part % size + 1, 1
        elif isinstance(part, slice):
            start, stop, stride = part.indices(size)
            if stride < 0:
                count = max(0, -((stop - start) // -stride))
                start, stop, stride = start + (count - 1) * stride, start + 1, -stride
                flips.append(axis)
                if not count:
                    start, stop = 0, 0
            stop = max(start, stop)
        else:
            start, stop, stride = 0, size, 1
        starts.append(start)
        stops.append(stop)
        strides.append(stride)
        axis += 1
    whole = all(
        (a, b, s) == (0, n, 1) for a, b, s, n in zip(starts, stops, strides, x.shape, strict=True)
    )
    if not whole:
        x = bind(
            "slice", x, starts=tuple(starts), stops=tuple(stops), strides=tuple(strides)
        )
    if flips:
        x = bind("flip", x, axes=tuple(flips))
    return x, parts


def _advanced(x: Value, parts: list[Any]) -> Value:
    """Gather by the integer arrays; integers take part in their broadcasting, as in NumPy."""
    axes = [part for part in parts if part is not None]
    indexed = [i for i, part in enumerate(axes) if is_value(part) or isinstance(part, int)]
    arrays = [
        normalize_indices(axes[i], x.shape[i]) if is_value(axes[i]) else as_value(0, dtypes.int64)
        for i in indexed
    ]
    shape = broadcast_shapes(*(a.shape for a in arrays))
    columns = [
        reshape(bind("broadcast_to", astype(a, dtypes.int64), shape=shape), (*shape, 1))
        for a in arrays
    ]
    indices = concat(columns, axis=-1)
    rest = [i for i in range(len(axes)) if i not in indexed]
    moved = bind("transpose", x, axes=(*indexed, *rest))
    gathered = bind("gather", moved, indices)
    return _place(gathered, parts, len(shape))


def _place(gathered: Value, parts: list[Any], n_index: int) -> Value:
    """Move the index axes to where NumPy puts them, and insert new axes."""
    kinds = ["index" if is_value(p) or isinstance(p, int) else "new" if p is None else "slice"
             for p in parts]  # fmt: skip
    first, last = kinds.index("index"), len(kinds) - 1 - kinds[::-1].index("index")
    together = all(kind == "index" for kind in kinds[first : last + 1])
    position = first if together else 0
    kept = [kind for kind in kinds if kind != "index"]
    before = sum(kind == "slice" for kind in kept[:position])
    n_rest = len(gathered.shape) - n_index
    order = (
        *range(n_index, n_index + before),
        *range(n_index),
        *range(n_index + before, n_index + n_rest),
    )
    gathered = bind("transpose", gathered, axes=order)
    sizes = list(gathered.shape)
    shape: list[int] = []
    for i, kind in enumerate([*kept[:position], "index", *kept[position:]]):
        if kind == "index":
            shape += [sizes.pop(0) for _ in range(n_index)]
        else:
            shape.append(1 if kind == "new" else sizes.pop(0))
        del i
    return reshape(gathered, tuple(shape))


def normalize_indices(indices: Value, size: int) -> Value:
    """Count negative indices from the end; what is out of range is caught when evaluated."""
    if indices.dtype in dtypes.UNSIGNED:
        return indices
    return where(indices < 0, indices + size, indices)


def scatter_items(x: Value, key: Any, values: Operand, *, mode: str) -> Value:
    """A copy of ``x`` with ``values`` set or added at ``x[key]``."""
    count = math.prod(x.shape)
    places = reshape(bind("iota", shape=(count,), axis=0, dtype=dtypes.int64), x.shape)
    places = getitem(places, key)
    updates = as_value(values, x.dtype)
    updates = bind("broadcast_to", updates, shape=places.shape)
    flat = bind(
        "scatter", reshape(x, (count,)), reshape(places, (*places.shape, 1)), updates, mode=mode
    )
    return reshape(flat, x.shape)


def take(x: Operand, indices: Operand, /, *, axis: int | None = None) -> Value:
    """Elements of ``x`` along ``axis`` at integer ``indices`` (one-dimensional arrays: axis 0)."""
    value = as_value(x)
    if axis is None and len(value.shape) != 1:
        raise ShapeError("take needs an axis for an array of several dimensions", where=str(here()))
    position = (axis or 0) % max(len(value.shape), 1)
    return getitem(value, (slice(None),) * position + (as_value(indices),))


def take_along_axis(x: Operand, indices: Operand, /, *, axis: int = -1) -> Value:
    """For each place, the element of ``x`` at ``indices`` along ``axis``; other axes match."""
    value, index = as_value(x), as_value(indices)
    position = axis % len(value.shape)
    columns = [
        normalize_indices(index, value.shape[a])
        if a == position
        else bind("iota", shape=index.shape, axis=a, dtype=index.dtype)
        for a in range(len(value.shape))
    ]
    return bind("gather", value, stack(broadcast_operands(columns), axis=-1))
