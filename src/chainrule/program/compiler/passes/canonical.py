"""Canonical form: one way to say each thing.

Reason: later passes and the code generator then know one pattern where the recording knows many.
Ops that do nothing go; movements of movements become one; copies have the smallest source; what
moves only axes of size 1 is a reshape; constants stand second. Every rule is exact to the bit, but
that a sum of one −0.0 keeps its sign (NumPy starts from 0.0).
"""

from __future__ import annotations

import itertools

from chainrule.ops import dtypes
from chainrule.ops.dtypes import Dtype
from chainrule.ops.record import Shape
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.common_subexpressions import COMMUTATIVE
from chainrule.program.compiler.passes.rewriting import (
    Rewriter,
    copied,
    is_constant,
    made_by,
    rewrite,
    table,
)

#: the comparison that says the same with swapped operands
MIRRORED = {
    "less": "greater",
    "less_equal": "greater_equal",
    "greater": "less",
    "greater_equal": "less_equal",
}


def canonical(block: Block) -> bool:
    """Bring the block and its bodies to canonical form.

    Returns:
        Whether anything changed.
    """
    return rewrite(block, _RULES)


def _pass_through(walk: Rewriter, instruction: Instruction) -> Tensor:
    return instruction.operands[0]


def _without_ones(shape: Shape) -> Shape:
    return tuple(size for size in shape if size != 1)


def _without_leading_ones(shape: Shape) -> Shape:
    return tuple(itertools.dropwhile(lambda size: size == 1, shape))


# --- movement ---------------------------------------------------------------------------------


def _reshape(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, shape = instruction.operands[0], instruction.result.shape
    if x.shape == shape:
        return x
    inner = made_by(x, "reshape")
    if inner is not None:
        return walk.emit("reshape", inner.operands[0], shape=shape)
    source = copied(x)
    if source is not None and source.shape == ():
        return walk.emit("broadcast_to", source, shape=shape)
    return None


def _transpose(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, axes = instruction.operands[0], instruction.attributes["axes"]
    if axes == tuple(range(len(axes))):
        return x
    inner = made_by(x, "transpose")
    if inner is not None:
        before = inner.attributes["axes"]
        return walk.emit("transpose", inner.operands[0], axes=tuple(before[a] for a in axes))
    moving = [a for a in axes if x.shape[a] != 1]
    if moving == sorted(moving):
        return walk.emit("reshape", x, shape=instruction.result.shape)
    source = copied(x)
    if source is None:
        return None
    # copies of a transposed array: fewer elements are moved
    full = (1,) * (len(axes) - len(source.shape)) + source.shape
    moved = walk.emit("transpose", walk.emit("reshape", source, shape=full), axes=axes)
    return walk.emit("broadcast_to", moved, shape=instruction.result.shape)


def _broadcast(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, shape = instruction.operands[0], instruction.result.shape
    if x.shape == shape:
        return x
    if x.size == instruction.result.size and x.size:
        return walk.emit("reshape", x, shape=shape)  # new axes of size 1, no copies
    if x.size == 1 and x.shape:
        return walk.emit("broadcast_to", walk.emit("reshape", x, shape=()), shape=shape)
    inner = x.producer
    if inner is None or inner.op.name not in ("broadcast_to", "reshape"):
        return None
    source = inner.operands[0]
    if inner.op.name == "broadcast_to" or (
        len(source.shape) <= len(shape)
        and (source.size != 1 or not source.shape)  # of one number: by way of the shape ()
        and _without_leading_ones(source.shape) == _without_leading_ones(x.shape)
    ):
        return walk.emit("broadcast_to", source, shape=shape)
    return None


def _slice(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, result = instruction.operands[0], instruction.result
    if x.shape == result.shape and all(s == 1 for s in instruction.attributes["strides"]):
        return x
    source = copied(x)
    if source is not None and source.shape == ():
        return walk.emit("broadcast_to", source, shape=result.shape)
    starts, strides = instruction.attributes["starts"], instruction.attributes["strides"]
    inner = made_by(x, "slice")
    if inner is not None:
        x = inner.operands[0]
        before, steps = inner.attributes["starts"], inner.attributes["strides"]
        starts = tuple(a + b * s for a, b, s in zip(before, starts, steps, strict=True))
        strides = tuple(a * b for a, b in zip(steps, strides, strict=True))
    if 0 in result.shape:
        return None
    # the last place that is read is the last but one that is named; one place has no stride
    strides = tuple(s if n > 1 else 1 for s, n in zip(strides, result.shape, strict=True))
    stops = tuple(
        a + (n - 1) * s + 1 for a, n, s in zip(starts, result.shape, strides, strict=True)
    )
    wanted = {"starts": starts, "stops": stops, "strides": strides}
    if inner is None and wanted == instruction.attributes:
        return None
    return walk.emit("slice", x, **wanted)


def _pad(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x = instruction.operands[0]
    return x if x.shape == instruction.result.shape else None


def _flip(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x = instruction.operands[0]
    given = instruction.attributes["axes"]
    axes = {a % len(x.shape) for a in given}
    inner = made_by(x, "flip")
    if inner is not None:
        x = inner.operands[0]
        axes ^= set(inner.attributes["axes"])
    source = copied(x)
    moving = tuple(sorted(a for a in axes if x.shape[a] > 1))
    if not moving or (source is not None and source.shape == ()):
        return x
    return None if moving == given and inner is None else walk.emit("flip", x, axes=moving)


def _concatenate(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    axis = instruction.attributes["axis"]
    parts = [x for x in instruction.operands if x.shape[axis]]
    if len(parts) == 1:
        return parts[0]
    if len(parts) == len(instruction.operands) or not parts:
        return None
    return walk.emit("concatenate", *parts, axis=axis)


# --- casts ------------------------------------------------------------------------------------


def _holds(outer: Dtype, inner: Dtype) -> bool:
    """Every value of ``inner`` is one of ``outer``, and casting it there is exact."""
    if inner == dtypes.bool_ or inner == outer:
        return True
    if outer == dtypes.bool_:
        return False
    if dtypes.is_floating(inner) and dtypes.is_floating(outer):
        return outer.itemsize > inner.itemsize
    if dtypes.is_floating(inner):
        return False
    if dtypes.is_floating(outer):
        return inner.itemsize * 8 <= {2: 8, 4: 16, 8: 32}[outer.itemsize]
    return (
        bool(dtypes.promote(inner, outer) == outer)
        if inner.kind == outer.kind
        else (inner.kind == "u" and outer.itemsize > inner.itemsize)
    )


def _merges(source: Dtype, middle: Dtype, target: Dtype) -> bool:
    """``source → middle → target`` equals ``source → target``."""
    if not _holds(middle, source):
        return False
    # from a float, integers saturate; from an integer they wrap around
    saturates = dtypes.is_floating(middle) and dtypes.is_integer(target)
    return not saturates or dtypes.is_floating(source) or _holds(target, source)


def _cast(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, dtype = instruction.operands[0], instruction.result.dtype
    if x.dtype == dtype:
        return x
    inner = made_by(x, "cast")
    if inner is not None and _merges(inner.operands[0].dtype, x.dtype, dtype):
        return walk.emit("cast", inner.operands[0], dtype=dtype)
    return None


# --- order of operands and axes ---------------------------------------------------------------


def _constant_second(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, y = instruction.operands
    if not is_constant(x) or is_constant(y):
        return None
    name = instruction.op.name
    return walk.emit(MIRRORED.get(name, name), y, x)


def _reduce(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, axes = instruction.operands[0], instruction.attributes["axes"]
    if all(x.shape[a] == 1 for a in axes):  # of no axis, too
        return walk.emit("reshape", x, shape=instruction.result.shape)
    positions = tuple(sorted(a % len(x.shape) for a in axes))
    return None if positions == axes else walk.emit(instruction.op.name, x, axes=positions)


def _position(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, axis = instruction.operands[0], instruction.attributes["axis"]
    if x.shape[axis] == 1:
        return walk.fill(0, instruction.result.shape, instruction.result.dtype)
    if axis < 0:
        return walk.emit(instruction.op.name, x, axis=axis % len(x.shape))
    return None


def _cumsum(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    x, axis = instruction.operands[0], instruction.attributes["axis"]
    if x.shape[axis] <= 1:
        return x
    return walk.emit("cumsum", x, axis=axis % len(x.shape)) if axis < 0 else None


_RULES = table(
    ("identity stop_gradient", _pass_through),
    ("reshape", _reshape),
    ("transpose", _transpose),
    ("broadcast_to", _broadcast),
    ("slice", _slice),
    ("pad", _pad),
    ("flip", _flip),
    ("concatenate", _concatenate),
    ("cast", _cast),
    (" ".join([*sorted(COMMUTATIVE), *MIRRORED]), _constant_second),
    ("sum prod max min", _reduce),
    ("argmax argmin", _position),
    ("cumsum", _cumsum),
)
