"""Sorting: one primitive, the stable order of the elements; the rest gathers by it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.errors import ArgumentError
from chainrule.ops import dtypes
from chainrule.ops.binary import less
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.indexing import concrete, take_along_axis
from chainrule.ops.operands import as_value, normalize_axis
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, bind, register
from chainrule.ops.spelling import answers_spelling
from chainrule.ops.unary import astype


def _argsort(x: np.ndarray, *, axis: int, descending: bool) -> np.ndarray:
    if dtypes.is_floating(x.dtype):  # NaN is last either way
        keys = x.astype(np.float32) if x.dtype.itemsize == 2 else x
        return np.argsort(-keys if descending else keys, axis=axis, kind="stable").astype(np.int64)
    if not descending:
        return np.argsort(x, axis=axis, kind="stable").astype(np.int64)
    # stable and descending: sort the reversed array ascending, then read it backwards
    order = np.argsort(np.flip(x, axis), axis=axis, kind="stable")
    return np.flip(x.shape[axis] - 1 - order, axis).astype(np.int64)


def _batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, axis: int, descending: bool
) -> Value:
    return bind("argsort", inputs[0], axis=axis + 1, descending=descending)


ARGSORT = register(
    Op(
        name="argsort",
        family="sorting",
        arity=1,
        infer=lambda x, *, axis, descending: (x.shape, dtypes.int64),
        evaluate=_argsort,
        vjp=None,
        nondifferentiable=True,
        batch=_batch,
        formula="order of {x}",
        at_kink="equal elements keep their order",
        cases=(
            Case(((3, 4),), {"axis": 1, "descending": False}),
            Case(((5,),), {"axis": 0, "descending": True}),
        ),
    )
)


@answers_spelling
def argsort(
    x: Operand, /, *, axis: int = -1, descending: bool = False, stable: bool = True
) -> Value:
    """Indices that sort ``x`` along ``axis``; equal elements keep their order; NaN sorts last.

    Args:
        stable: Taken for the array API's sake; the order is stable in any case.
    """
    value = as_value(x)
    return bind(ARGSORT, value, axis=normalize_axis(axis, len(value.shape)), descending=descending)


@answers_spelling
def sort(x: Operand, /, *, axis: int = -1, descending: bool = False, stable: bool = True) -> Value:
    """``x`` sorted along ``axis``; the derivative goes where the elements came from."""
    value = as_value(x)
    return take_along_axis(value, argsort(value, axis=axis, descending=descending), axis=axis)


@answers_spelling
def top_k(x: Operand, k: int, /, *, axis: int = -1) -> tuple[Value, Value]:
    """The ``k`` largest elements along ``axis``, largest first, and their indices.

    Raises:
        ArgumentError: ``k`` is negative or above the size of the axis.
    """
    value = as_value(x)
    position = normalize_axis(axis, len(value.shape))
    size = value.shape[position]
    if not 0 <= k <= size:
        raise ArgumentError("top_k: k is out of range", expected=f"0 to {size}", got=str(k))
    order = argsort(value, axis=position, descending=True)
    indices = order[(slice(None),) * position + (slice(0, k),)]
    return take_along_axis(value, indices, axis=position), indices


def searchsorted(x1: Operand, x2: Operand, /, *, side: str = "left") -> Value:
    """Where to insert each of ``x2`` into the sorted vector ``x1`` so that it stays sorted."""
    line, values = as_value(x1), as_value(x2)
    column = values.reshape((*values.shape, 1))
    before = less(line, column) if side == "left" else line <= column
    return bind("sum", astype(before, dtypes.int64), axes=(len(values.shape),))


def nonzero(x: Operand, /) -> tuple[Value, ...]:
    """Indices of the elements that are not zero, one array an axis; needs the value."""
    return tuple(as_value(i) for i in np.nonzero(concrete(as_value(x), "nonzero")))


def unique_values(x: Operand, /) -> Value:
    """The distinct elements, sorted; needs the value."""
    return as_value(np.unique(concrete(as_value(x), "unique_values")))


def unique_counts(x: Operand, /) -> tuple[Value, Value]:
    """The distinct elements, sorted, and how often each occurs; needs the value."""
    values, counts = np.unique(concrete(as_value(x), "unique_counts"), return_counts=True)
    return as_value(values), as_value(counts)


def unique_inverse(x: Operand, /) -> tuple[Value, Value]:
    """The distinct elements, sorted, and for each element its position there; needs the value."""
    values, inverse = np.unique(concrete(as_value(x), "unique_inverse"), return_inverse=True)
    return as_value(values), as_value(inverse)


def unique_all(x: Operand, /) -> tuple[Value, Value, Value, Value]:
    """The distinct elements, sorted; first positions (flattened); inverse; counts."""
    found = np.unique(
        concrete(as_value(x), "unique_all"),
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    values, first, inverse, counts = (as_value(part) for part in found)
    return values, first, inverse, counts


def one_hot(labels: Operand, n_classes: int, /, *, dtype: object = dtypes.default_float) -> Value:
    """1 at the label and 0 elsewhere, on a new last axis.

    Raises:
        ArgumentError: The labels are not integers.
    """
    value = as_value(labels)
    if not dtypes.is_integer(value.dtype):
        raise ArgumentError(
            "one_hot takes integer labels",
            got=str(value.dtype),
            fix="cast them: cr.astype(labels, cr.int64)",
            where=str(here()),
        )
    shape = (*value.shape, n_classes)
    classes = bind("iota", shape=shape, axis=len(value.shape), dtype=value.dtype)
    return astype(value.reshape((*value.shape, 1)) == classes, dtype)
