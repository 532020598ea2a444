"""Contraction: the general matrix product, with batch axes and any axes summed over."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dtypes
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.operands import (
    as_value,
    broadcast_shapes,
    normalize_axis,
    promote_operands,
)
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Spec, bind, register
from chainrule.ops.spelling import answers_spelling

Axes = tuple[int, ...]


def _free(rank: int, *taken: Axes) -> Axes:
    used = {axis for axes in taken for axis in axes}
    return tuple(axis for axis in range(rank) if axis not in used)


def _infer(x: Value, y: Value, *, contract: tuple[Axes, Axes], batch: tuple[Axes, Axes]) -> Spec:
    for a, b in [*zip(*contract, strict=True), *zip(*batch, strict=True)]:
        if x.shape[a] != y.shape[b]:
            raise ShapeError(
                f"dot_general: axis {a} of {x.shape} does not match axis {b} of {y.shape}",
                expected=f"equal sizes, {x.shape[a]} and {x.shape[a]}",
                got=f"{x.shape[a]} and {y.shape[b]}",
                where=str(here()),
            )
    shape = (
        *(x.shape[a] for a in batch[0]),
        *(x.shape[a] for a in _free(len(x.shape), batch[0], contract[0])),
        *(y.shape[b] for b in _free(len(y.shape), batch[1], contract[1])),
    )
    return shape, x.dtype


def _evaluate(
    x: np.ndarray, y: np.ndarray, *, contract: tuple[Axes, Axes], batch: tuple[Axes, Axes]
) -> np.ndarray:
    dtype = x.dtype
    if dtype in (dtypes.float16, dtypes.bfloat16):
        x, y = x.astype(np.float32), y.astype(np.float32)
    x_free = _free(x.ndim, batch[0], contract[0])
    y_free = _free(y.ndim, batch[1], contract[1])
    lead = tuple(x.shape[a] for a in batch[0])
    inner = math.prod(x.shape[a] for a in contract[0])
    rows = tuple(x.shape[a] for a in x_free)
    columns = tuple(y.shape[b] for b in y_free)
    left = x.transpose(*batch[0], *x_free, *contract[0]).reshape(*lead, math.prod(rows), inner)
    right = y.transpose(*batch[1], *contract[1], *y_free).reshape(*lead, inner, math.prod(columns))
    return np.matmul(left, right).reshape((*lead, *rows, *columns)).astype(dtype, copy=False)


def _vjp(
    g: Value,
    out: Value,
    x: Value,
    y: Value,
    *,
    contract: tuple[Axes, Axes],
    batch: tuple[Axes, Axes],
) -> tuple[Value, Value]:
    x_free = _free(len(x.shape), batch[0], contract[0])
    y_free = _free(len(y.shape), batch[1], contract[1])
    n_batch = len(batch[0])
    lead = tuple(range(n_batch))
    g_x_free = tuple(range(n_batch, n_batch + len(x_free)))
    g_y_free = tuple(range(n_batch + len(x_free), len(g.shape)))
    # dx: contract g with y over y's free axes; what remains of y are its contracted axes in order
    dx = bind("dot_general", g, y, contract=(g_y_free, y_free), batch=(lead, batch[1]))
    y_rest = _free(len(y.shape), batch[1], y_free)
    x_rest = tuple(contract[0][contract[1].index(b)] for b in y_rest)
    dx = _restore(dx, (*batch[0], *x_free, *x_rest))
    dy = bind("dot_general", g, x, contract=(g_x_free, x_free), batch=(lead, batch[0]))
    x_left = _free(len(x.shape), batch[0], x_free)
    y_left = tuple(contract[1][contract[0].index(a)] for a in x_left)
    dy = _restore(dy, (*batch[1], *y_free, *y_left))
    return dx, dy


def _restore(value: Value, places: Axes) -> Value:
    """Transpose so that axis i of ``value`` lands at ``places[i]``."""
    order = tuple(int(a) for a in np.argsort(places))
    return value if order == tuple(range(len(order))) else bind("transpose", value, axes=order)


def _batch(
    inputs: Sequence[Value],
    batched: Sequence[bool],
    *,
    contract: tuple[Axes, Axes],
    batch: tuple[Axes, Axes],
) -> Value:
    x, y = inputs
    moved = [
        tuple(tuple(a + 1 for a in axes) if is_batched else axes for axes in pair)
        for pair, is_batched in zip(zip(contract, batch, strict=True), batched, strict=True)
    ]
    (x_contract, x_batch), (y_contract, y_batch) = moved
    if all(batched):
        return bind(
            "dot_general", x, y, contract=(x_contract, y_contract),
            batch=((0, *x_batch), (0, *y_batch)),
        )  # fmt: skip
    result = bind("dot_general", x, y, contract=(x_contract, y_contract), batch=(x_batch, y_batch))
    # the batch axis of the batched operand is one of its free axes now: bring it to the front
    n_batch = len(x_batch)
    if batched[0]:
        position = n_batch
    else:
        position = n_batch + len(_free(len(x.shape), x_batch, x_contract))
    rank = len(result.shape)
    order = (position, *(a for a in range(rank) if a != position))
    return bind("transpose", result, axes=order)


DOT_GENERAL = register(
    Op(
        name="dot_general",
        family="contraction",
        arity=2,
        infer=_infer,
        evaluate=_evaluate,
        vjp=_vjp,
        batch=_batch,
        formula="{x} @ {y}",
        derivative=("g @ {y}ᵀ", "{x}ᵀ @ g"),
        cases=(
            Case(((3, 4), (4, 2)), {"contract": ((1,), (0,)), "batch": ((), ())}),
            Case(((2, 3, 4), (2, 4, 5)), {"contract": ((2,), (1,)), "batch": ((0,), (0,))}),
            Case(((3, 2, 4), (4, 3, 5, 2)), {"contract": ((2, 0), (0, 1)), "batch": ((1,), (3,))}),
            Case(((2, 3, 4), (4, 3)), {"contract": ((1, 2), (1, 0)), "batch": ((), ())}),
            Case(((3, 0), (0, 2)), {"contract": ((1,), (0,)), "batch": ((), ())}),
            Case(((3,), (2,)), {"contract": ((), ()), "batch": ((), ())}),
        ),
        dtypes=dtypes.NUMERIC,
        tolerance={"float32": 1e-5},
    )
)


def matmul(x: Operand, y: Operand, /) -> Value:
    """Matrix product over the last axis of x and the last but one of y; leading axes broadcast.

    Raises:
        ShapeError: The inner sizes differ, or an operand is a scalar.
    """
    a, b = promote_operands(as_value(x), as_value(y))
    rank_a, rank_b = len(a.shape), len(b.shape)
    if rank_a == 0 or rank_b == 0:
        raise ShapeError(
            "matmul takes no scalars",
            got=f"{a.shape} @ {b.shape}",
            fix="multiply with *",
            where=str(here()),
        )
    inner_b = 0 if rank_b == 1 else rank_b - 2
    if a.shape[-1] != b.shape[inner_b]:
        raise ShapeError(
            f"matmul: inner sizes differ in {a.shape} @ {b.shape}: "
            f"{a.shape[-1]} != {b.shape[inner_b]}",
            expected="a: (..., n, k), b: (..., k, m)",
            got=f"k = {a.shape[-1]} and k = {b.shape[inner_b]}",
            fix="transpose one of them (x.T), or check the sizes of the layers on both sides",
            where=str(here()),
        )
    if rank_b <= 2:
        return bind(DOT_GENERAL, a, b, contract=((rank_a - 1,), (inner_b,)), batch=((), ()))
    if rank_a == 1:
        result = matmul(bind("reshape", a, shape=(1, *a.shape)), b)
        return bind("reshape", result, shape=(*result.shape[:-2], result.shape[-1]))
    lead = broadcast_shapes(a.shape[:-2], b.shape[:-2])
    a, b = (
        v if v.shape[:-2] == lead else bind("broadcast_to", v, shape=(*lead, *v.shape[-2:]))
        for v in (a, b)
    )
    axes = tuple(range(len(lead)))
    n = len(lead)
    return bind(DOT_GENERAL, a, b, contract=((n + 1,), (n,)), batch=(axes, axes))


@answers_spelling
def tensordot(x: Operand, y: Operand, /, *, axes: int | tuple[Axes, Axes] = 2) -> Value:
    """Sum of products over ``axes`` of both: a count of last and first axes, or two tuples."""
    a, b = promote_operands(as_value(x), as_value(y))
    if isinstance(axes, int):
        rank = len(a.shape)
        pair = (tuple(range(rank - axes, rank)), tuple(range(axes)))
    else:
        pair = (
            tuple(normalize_axis(i, len(a.shape)) for i in axes[0]),
            tuple(normalize_axis(i, len(b.shape)) for i in axes[1]),
        )
    return bind(DOT_GENERAL, a, b, contract=pair, batch=((), ()))


@answers_spelling
def vecdot(x: Operand, y: Operand, /, *, axis: int = -1) -> Value:
    """Sum of products along one axis; the other axes broadcast."""
    product = as_value(x) * as_value(y)
    return bind("sum", product, axes=(normalize_axis(axis, len(product.shape)),))


def outer(x: Operand, y: Operand, /) -> Value:
    """All products of two vectors: (n,), (m,) → (n, m)."""
    return tensordot(x, y, axes=0)


def matrix_transpose(x: Operand, /) -> Value:
    """Swap the last two axes."""
    value = as_value(x)
    rank = len(value.shape)
    if rank < 2:
        raise ShapeError(
            "matrix_transpose needs at least two axes", got=str(value.shape), where=str(here())
        )
    return bind("transpose", value, axes=(*range(rank - 2), rank - 1, rank - 2))
