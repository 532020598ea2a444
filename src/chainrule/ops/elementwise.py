"""The elementwise family: shape rule, batching rule and the makers of its records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DtypeError, ShapeError
from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.hooks import Value
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Spec, bind, register

KINDS: dict[str, tuple[Dtype, ...]] = {
    "float": dtypes.FLOATS,
    "numeric": dtypes.NUMERIC,
    "integer": (*dtypes.SIGNED, *dtypes.UNSIGNED),
    "bitwise": (dtypes.bool_, *dtypes.SIGNED, *dtypes.UNSIGNED),
    "any": dtypes.ALL,
}
_KIND_SETS = {kind: frozenset(members) for kind, members in KINDS.items()}


def align_batch(inputs: Sequence[Value], batched: Sequence[bool]) -> list[Value]:
    """Give every input the batch axis in front: unbatched ones are broadcast along it."""
    size = next(x.shape[0] for x, is_batched in zip(inputs, batched, strict=True) if is_batched)
    return [
        x if is_batched else bind("broadcast_to", x, shape=(size, *x.shape))
        for x, is_batched in zip(inputs, batched, strict=True)
    ]


def _check_alike(name: str, first: Value, other: Value) -> None:
    if other.shape != first.shape:
        raise ShapeError(
            f"{name}: the inputs' shapes differ",
            expected=f"all {first.shape}",
            got=str(other.shape),
            where=str(here()),
        )
    if other.dtype != first.dtype:
        raise DtypeError(
            f"{name}: the inputs' types differ",
            expected=str(first.dtype),
            got=str(other.dtype),
            where=str(here()),
        )


def elementwise(
    name: str,
    evaluate: Callable[..., Any],
    vjp: Callable[..., Any] | None,
    *,
    arity: int = 1,
    kind: str = "float",
    result: Dtype | None = None,
    domain: tuple[float, float] = (-2.0, 2.0),
    **fields: Any,
) -> Op:
    """Make and register an elementwise op.

    Args:
        name: The op's name.
        evaluate: NumPy function of ``arity`` arrays.
        vjp: ``vjp(g, y, *inputs)``; None for an op without derivative.
        arity: Number of inputs, all of one shape and dtype.
        kind: Which dtypes are taken, a key of ``KINDS``.
        result: dtype of the output; None for that of the inputs.
        domain: Interval from which tests sample.
        fields: Other fields of the record.
    """
    allowed = _KIND_SETS[kind]

    def infer(*inputs: Value) -> Spec:
        first = inputs[0]
        shape, dtype = first.shape, first.dtype
        for other in inputs:
            if other.shape != shape or other.dtype is not dtype:
                _check_alike(name, first, other)
        if dtype not in allowed:
            raise DtypeError(
                f"{name} does not take {dtype}",
                expected=", ".join(str(d) for d in KINDS[kind]),
                got=str(dtype),
                fix="cast first: cr.astype(x, cr.float32)",
                where=str(here()),
            )
        return shape, result or dtype

    def batch(inputs: Sequence[Value], batched: Sequence[bool], **attributes: Any) -> Value:
        return bind(name, *align_batch(inputs, batched), **attributes)

    return register(
        Op(
            name=name,
            family="elementwise",
            arity=arity,
            infer=infer,
            evaluate=evaluate,
            vjp=vjp,
            batch=batch,
            nondifferentiable=vjp is None,
            dtypes=KINDS[kind],
            cases=(Case(shapes=((3, 4),) * arity, domain=domain),),
            **fields,
        )
    )


def in_float32(function: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
    """Wrap a NumPy function so that 16-bit inputs are computed in float32 and cast back."""

    def evaluate(*arrays: np.ndarray, **keywords: Any) -> np.ndarray:
        dtype = arrays[0].dtype
        if dtype.itemsize != 2 or dtype.kind in "iu":
            return function(*arrays, **keywords)
        return function(*(a.astype(np.float32) for a in arrays), **keywords).astype(dtype)

    return evaluate
