"""Movement: ops that place elements anew and compute nothing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops.hooks import Value
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, Spec, bind, register


def _fail(op: str, message: str, expected: str, got: str) -> None:
    raise ShapeError(f"{op}: {message}", expected=expected, got=got, where=str(here()))


def _reshape_infer(x: Value, *, shape: Shape) -> Spec:
    if math.prod(shape) != math.prod(x.shape):
        _fail(
            "reshape", f"{x.shape} has {math.prod(x.shape)} elements",
            f"a shape of {math.prod(x.shape)} elements", f"{shape} with {math.prod(shape)}",
        )  # fmt: skip
    return shape, x.dtype


RESHAPE = register(
    Op(
        name="reshape",
        family="movement",
        arity=1,
        infer=_reshape_infer,
        evaluate=lambda x, *, shape: np.reshape(x, shape),
        vjp=lambda g, y, x, *, shape: (bind("reshape", g, shape=x.shape),),
        batch=lambda inputs, batched, *, shape: bind(
            "reshape", inputs[0], shape=(inputs[0].shape[0], *shape)
        ),
        formula="{x} as {shape}",
        derivative=("1",),
        cases=(
            Case(shapes=((3, 4),), attributes={"shape": (2, 6)}),
            Case(shapes=((1,),), attributes={"shape": ()}),
            Case(shapes=((0, 3),), attributes={"shape": (3, 0, 2)}),
        ),
    )
)


def _transpose_infer(x: Value, *, axes: tuple[int, ...]) -> Spec:
    if sorted(axes) != list(range(len(x.shape))):
        _fail("transpose", "the axes are no permutation", f"0 to {len(x.shape) - 1}", str(axes))
    return tuple(x.shape[a] for a in axes), x.dtype


def _inverse(axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(int(a) for a in np.argsort(axes))


TRANSPOSE = register(
    Op(
        name="transpose",
        family="movement",
        arity=1,
        infer=_transpose_infer,
        evaluate=lambda x, *, axes: np.transpose(x, axes),
        vjp=lambda g, y, x, *, axes: (bind("transpose", g, axes=_inverse(axes)),),
        batch=lambda inputs, batched, *, axes: bind(
            "transpose", inputs[0], axes=(0, *(a + 1 for a in axes))
        ),
        formula="{x}ᵀ",
        derivative=("1",),
        cases=(
            Case(shapes=((3, 4),), attributes={"axes": (1, 0)}),
            Case(shapes=((2, 3, 4),), attributes={"axes": (2, 0, 1)}),
        ),
    )
)


def _broadcast_infer(x: Value, *, shape: Shape) -> Spec:
    own = x.shape
    if not own:
        return shape, x.dtype
    aligned = shape[len(shape) - len(own) :] if len(own) <= len(shape) else None
    if aligned is None or any(a not in (1, b) for a, b in zip(own, aligned, strict=True)):
        _fail("broadcast_to", f"{own} does not broadcast to {shape}", "sizes equal or 1", str(own))
    return shape, x.dtype


def _broadcast_vjp(g: Value, y: Value, x: Value, *, shape: Shape) -> tuple[Value]:
    extra = len(shape) - len(x.shape)
    spread = tuple(
        axis
        for axis in range(len(shape))
        if axis < extra or (x.shape[axis - extra] == 1 and shape[axis] != 1)
    )
    return (bind("reshape", bind("sum", g, axes=spread), shape=x.shape),)


def _broadcast_batch(inputs: Sequence[Value], batched: Sequence[bool], *, shape: Shape) -> Value:
    x = inputs[0]
    size = x.shape[0]
    padded = (size,) + (1,) * (len(shape) - (len(x.shape) - 1)) + x.shape[1:]
    return bind("broadcast_to", bind("reshape", x, shape=padded), shape=(size, *shape))


BROADCAST_TO = register(
    Op(
        name="broadcast_to",
        family="movement",
        arity=1,
        infer=_broadcast_infer,
        evaluate=lambda x, *, shape: np.broadcast_to(x, shape),
        vjp=_broadcast_vjp,
        batch=_broadcast_batch,
        formula="{x}",
        derivative=("1, summed over the copies",),
        cases=(
            Case(shapes=((4,),), attributes={"shape": (3, 4)}),
            Case(shapes=((3, 1),), attributes={"shape": (2, 3, 4)}),
            Case(shapes=((),), attributes={"shape": (2, 2)}),
            Case(shapes=((1,),), attributes={"shape": (0,)}),
        ),
    )
)


def _slice_infer(x: Value, *, starts: Shape, stops: Shape, strides: Shape) -> Spec:
    sizes = []
    for axis, size in enumerate(x.shape):
        start, stop, stride = starts[axis], stops[axis], strides[axis]
        if not (0 <= start <= stop <= size and stride >= 1):
            _fail(
                "slice", f"[{start}:{stop}:{stride}] is outside axis {axis}",
                f"0 ≤ start ≤ stop ≤ {size} and a stride ≥ 1", f"{start}, {stop}, {stride}",
            )  # fmt: skip
        sizes.append(-((start - stop) // stride))
    return tuple(sizes), x.dtype


def _slice_evaluate(x: np.ndarray, *, starts: Shape, stops: Shape, strides: Shape) -> np.ndarray:
    return x[tuple(slice(*part) for part in zip(starts, stops, strides, strict=True))]


def _slice_vjp(
    g: Value, y: Value, x: Value, *, starts: Shape, stops: Shape, strides: Shape
) -> tuple[Value]:
    after = []
    for axis, size in enumerate(x.shape):
        covered = (g.shape[axis] - 1) * strides[axis] + 1 if g.shape[axis] else 0
        after.append(size - starts[axis] - covered)
    interior = tuple(stride - 1 for stride in strides)
    return (bind("pad", g, low=starts, high=tuple(after), interior=interior),)


def _slice_batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, starts: Shape, stops: Shape, strides: Shape
) -> Value:
    x = inputs[0]
    return bind("slice", x, starts=(0, *starts), stops=(x.shape[0], *stops), strides=(1, *strides))


SLICE = register(
    Op(
        name="slice",
        family="movement",
        arity=1,
        infer=_slice_infer,
        evaluate=_slice_evaluate,
        vjp=_slice_vjp,
        batch=_slice_batch,
        formula="{x}[{starts}:{stops}:{strides}]",
        derivative=("1 inside, 0 outside",),
        cases=(
            Case(
                shapes=((5, 4),), attributes={"starts": (1, 0), "stops": (5, 3), "strides": (2, 1)}
            ),
            Case(shapes=((6,),), attributes={"starts": (1,), "stops": (5,), "strides": (3,)}),
            Case(shapes=((3,),), attributes={"starts": (2,), "stops": (2,), "strides": (1,)}),
        ),
    )
)


def _pad_infer(x: Value, *, low: Shape, high: Shape, interior: Shape) -> Spec:
    sizes = []
    for size, before, after, between in zip(x.shape, low, high, interior, strict=True):
        total = before + size + after + between * max(size - 1, 0)
        if min(before, after, between) < 0:
            _fail("pad", "padding is negative", "numbers ≥ 0", f"{low}, {high}, {interior}")
        sizes.append(total)
    return tuple(sizes), x.dtype


def _pad_evaluate(x: np.ndarray, *, low: Shape, high: Shape, interior: Shape) -> np.ndarray:
    if x.ndim and not any(interior):  # NumPy pads no scalars
        return np.pad(x, tuple(zip(low, high, strict=True)))
    spread = [n + between * max(n - 1, 0) for n, between in zip(x.shape, interior, strict=True)]
    shape = [a + n + b for a, n, b in zip(low, spread, high, strict=True)]
    result = np.zeros(shape, dtype=x.dtype)
    place = zip(low, spread, interior, strict=True)
    result[tuple(slice(a, a + n, between + 1) for a, n, between in place)] = x
    return result


def _pad_vjp(
    g: Value, y: Value, x: Value, *, low: Shape, high: Shape, interior: Shape
) -> tuple[Value]:
    stops = tuple(size - after for size, after in zip(y.shape, high, strict=True))
    strides = tuple(between + 1 for between in interior)
    return (bind("slice", g, starts=low, stops=stops, strides=strides),)


PAD = register(
    Op(
        name="pad",
        family="movement",
        arity=1,
        infer=_pad_infer,
        evaluate=_pad_evaluate,
        vjp=_pad_vjp,
        batch=lambda inputs, batched, *, low, high, interior: bind(
            "pad", inputs[0], low=(0, *low), high=(0, *high), interior=(0, *interior)
        ),
        formula="{x} between zeros",
        derivative=("1",),
        cases=(
            Case(shapes=((3, 2),), attributes={"low": (1, 0), "high": (0, 2), "interior": (0, 0)}),
            Case(shapes=((3,),), attributes={"low": (1,), "high": (2,), "interior": (2,)}),
            Case(shapes=((0,),), attributes={"low": (1,), "high": (2,), "interior": (1,)}),
        ),
    )
)


FLIP = register(
    Op(
        name="flip",
        family="movement",
        arity=1,
        infer=lambda x, *, axes: (x.shape, x.dtype),
        evaluate=lambda x, *, axes: np.flip(x, axes),
        vjp=lambda g, y, x, *, axes: (bind("flip", g, axes=axes),),
        batch=lambda inputs, batched, *, axes: bind(
            "flip", inputs[0], axes=tuple(a + 1 for a in axes)
        ),
        formula="{x} reversed",
        derivative=("1",),
        cases=(Case(shapes=((3, 4),), attributes={"axes": (1,)}),),
    )
)


def _concatenate_infer(*inputs: Value, axis: int) -> Spec:
    first = inputs[0]
    for other in inputs[1:]:
        fits = len(other.shape) == len(first.shape) and all(
            a == b
            for i, (a, b) in enumerate(zip(first.shape, other.shape, strict=True))
            if i != axis
        )
        if not fits or other.dtype != first.dtype:
            _fail(
                "concatenate", f"the inputs differ outside axis {axis}",
                f"like {first.shape} {first.dtype}", f"{other.shape} {other.dtype}",
            )  # fmt: skip
    total = sum(x.shape[axis] for x in inputs)
    return (*first.shape[:axis], total, *first.shape[axis + 1 :]), first.dtype


def _concatenate_vjp(g: Value, y: Value, *inputs: Value, axis: int) -> tuple[Value, ...]:
    parts = []
    start = 0
    for x in inputs:
        stop = start + x.shape[axis]
        starts = tuple(start if i == axis else 0 for i in range(len(g.shape)))
        stops = tuple(stop if i == axis else n for i, n in enumerate(g.shape))
        parts.append(bind("slice", g, starts=starts, stops=stops, strides=(1,) * len(g.shape)))
        start = stop
    return tuple(parts)


def _concatenate_batch(inputs: Sequence[Value], batched: Sequence[bool], *, axis: int) -> Any:
    size = next(x.shape[0] for x, is_batched in zip(inputs, batched, strict=True) if is_batched)
    aligned = [
        x if is_batched else bind("broadcast_to", x, shape=(size, *x.shape))
        for x, is_batched in zip(inputs, batched, strict=True)
    ]
    return bind("concatenate", *aligned, axis=axis + 1)


CONCATENATE = register(
    Op(
        name="concatenate",
        family="movement",
        arity=None,
        infer=_concatenate_infer,
        evaluate=lambda *inputs, axis: np.concatenate(inputs, axis),
        vjp=_concatenate_vjp,
        batch=_concatenate_batch,
        formula="{x} beside {y}",
        derivative=("1",),
        cases=(
            Case(shapes=((2, 3), (4, 3), (0, 3)), attributes={"axis": 0}),
            Case(shapes=((2, 3), (2, 1)), attributes={"axis": 1}),
        ),
    )
)
