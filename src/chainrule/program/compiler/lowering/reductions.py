"""Ops that fold many elements into one: the axes folded over, and the expression that is folded.

Convolutions and windows are such folds too, of products and of places that may lie in the padding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.program.compiler.expressions import Apply, Expression
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.lowering.elements import Indices, Read


@dataclass
class Fold:
    """A fold over the axes ``over`` of ``value``.

    Args:
        kind: ``sum``, ``prod``, ``max``, ``min``, ``argmax``, ``argmin`` or ``cumsum``.
        over: The axes folded over, outermost first.
        value: What is folded, at the result's axes and ``over``.
        accumulator: Element type in which it is folded.
    """

    kind: str
    over: tuple[Axis, ...]
    value: Expression
    accumulator: Any


Folding = Callable[[Instruction, Indices, Read], Fold]
FOLDS: dict[str, Folding] = {}
REDUCTIONS = ("sum", "prod", "max", "min")


def folds(*names: str) -> Callable[[Folding], Folding]:
    """Register the lowering of the ops named."""

    def register(function: Folding) -> Folding:
        for name in names:
            FOLDS[name] = function
        return function

    return register


def accumulator(dtype: Any) -> np.dtype[Any]:
    """16-bit floats are summed in float32, everything else as it is."""
    kind = np.dtype(dtype)
    return np.dtype(np.float32) if kind.itemsize == 2 and kind.kind in "fV" else kind


@folds(*REDUCTIONS)
def _reduction(x: Instruction, indices: Indices, read: Read) -> Fold:
    shape = x.operands[0].shape
    over = tuple(Axis(shape[a], f"r{n}") for n, a in enumerate(x.attributes["axes"]))
    return reduction_over(x, over, indices, read)


def reduction_over(x: Instruction, over: tuple[Axis, ...], indices: Indices, read: Read) -> Fold:
    """A ``sum``, ``prod``, ``max`` or ``min`` over given axes, one for each that it folds."""
    operand, axes = x.operands[0], x.attributes["axes"]
    kept = iter(indices)
    source = tuple(
        axis_index(over[axes.index(a)]) if a in axes else next(kept)
        for a in range(len(operand.shape))
    )
    kind = x.op.name
    wide = accumulator(x.result.dtype) if kind in ("sum", "prod") else x.result.dtype
    return Fold(kind, over, cast(read(operand, source), wide), wide)


@folds("argmax", "argmin", "cumsum")
def _along_axis(x: Instruction, indices: Indices, read: Read) -> Fold:
    operand = x.operands[0]
    position = x.attributes["axis"]
    over = Axis(operand.shape[position], "r0")
    before = indices[:position]
    after = indices[position + (x.op.name == "cumsum") :]
    value = read(operand, (*before, axis_index(over), *after))
    wide = accumulator(operand.dtype) if x.op.name == "cumsum" else operand.dtype
    return Fold(x.op.name, (over,), cast(value, wide), wide)


@folds("dot_general")
def _product(x: Instruction, indices: Indices, read: Read) -> Fold:
    a, b = x.operands
    contract = x.attributes["contract"]
    over = tuple(Axis(a.shape[axis], f"k{n}") for n, axis in enumerate(contract[0]))
    left, right = contraction_indices(x, indices, tuple(axis_index(o) for o in over))
    wide = accumulator(x.result.dtype)
    value = Apply("multiply", (cast(read(a, left), wide), cast(read(b, right), wide)), wide)
    return Fold("sum", over, value, wide)


def contraction_indices(x: Instruction, indices: Indices, over: Indices) -> tuple[Indices, Indices]:
    """Indices of both operands of ``dot_general`` for an element of the result and of the sum."""
    contract, batch = x.attributes["contract"], x.attributes["batch"]
    n_batch = len(batch[0])
    free = list(indices[n_batch:])
    sources = []
    for side, operand in enumerate(x.operands):
        source: list[Index | None] = [None] * len(operand.shape)
        for number, axis in enumerate(batch[side]):
            source[axis] = indices[number]
        for number, axis in enumerate(contract[side]):
            source[axis] = over[number]
        sources.append(tuple(free.pop(0) if s is None else s for s in source))
    return sources[0], sources[1]


def cast(value: Expression, dtype: Any) -> Expression:
    """The value in another type; itself if it has it."""
    return value if value.dtype == dtype else Apply("cast", (value,), dtype)
