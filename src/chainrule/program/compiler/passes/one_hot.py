"""Scatters whose rows are counted become elementwise.

Reason: the derivative of ``x[row, label]`` scatters one number into each row. Asking of every
element whether it is its row's is a comparison that fuses with the work around it; a scatter is a
kernel of its own that walks the rows one after another.

Exact, but a comparison reports no label that is out of range: only scatters are rewritten whose
places a live ``gather`` reads too, as a loss does beside its derivative.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.expressions import Apply, IndexValue
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS
from chainrule.program.compiler.passes.walking import every_block, needed
from chainrule.program.compiler.reading import Reader


def one_hot(block: Block) -> bool:
    """Rewrite scatters whose indices are counters in all columns but one, in bodies too.

    Returns:
        Whether any was rewritten.
    """
    changed = False
    for each in every_block(block):
        if any(x.op.name == "scatter" for x in each.instructions):
            changed |= _rewrite(each)
    return changed


def _rewrite(block: Block) -> bool:
    live = needed(block, block.outputs)
    checked = {
        (x.operands[1], x.operands[0].shape)
        for x in block.instructions
        if x.op.name == "gather" and x.result in live
    }
    result: list[Instruction] = []
    changed = False
    for x in block.instructions:
        is_checked = x.op.name == "scatter" and (x.operands[1], x.result.shape) in checked
        found = _free_column(x) if is_checked else None
        if found is None:
            result.append(x)
            continue
        result += _Rewriter(x, *found).instructions()
        changed = True
    block.instructions = result
    return changed


def _free_column(x: Instruction) -> tuple[int, tuple[int, ...]] | None:
    """The column that is looked up, and for the others the axis of the updates that they count."""
    target, places, _ = x.operands
    lead = places.shape[:-1]
    depth = places.shape[-1]
    if len(lead) != depth - 1 or target.size == 0 or 0 in lead:
        return None
    axes = [Axis(n) for n in lead]
    reader = Reader(lambda t: t.producer is None or t.producer.op.name not in ELEMENTS)
    free: list[int] = []
    counted: list[int] = []
    for column in range(depth):
        value = reader(places, (*map(axis_index, axes), Index(None, column)))
        while isinstance(value, Apply) and value.op == "cast" and value.dtype.kind in "iu":
            value = value.arguments[0]
        axis = value.index.as_axis() if isinstance(value, IndexValue) else None
        if axis is None or axis.extent != target.shape[column]:
            free.append(column)
        else:
            counted.append(axes.index(axis))
    if len(free) != 1 or len(set(counted)) != len(lead):
        return None
    return free[0], tuple(counted)


class _Rewriter:
    """Writes the elementwise form of one scatter."""

    def __init__(self, x: Instruction, column: int, counted: tuple[int, ...]) -> None:
        self.x = x
        self.column = column
        self.counted = counted
        self.made: list[Instruction] = []

    def instructions(self) -> list[Instruction]:
        target, places, updates = self.x.operands
        shape = target.shape
        depth = places.shape[-1]
        zeros = (0,) * (len(places.shape) - 1)
        looked_up = self.make(
            "slice",
            [places],
            starts=(*zeros, self.column),
            stops=(*places.shape[:-1], self.column + 1),
            strides=(1,) * len(places.shape),
        )
        # what is out of range has been reported: a narrow type is compared faster
        dtype = np.dtype(np.int32 if shape[self.column] < 2**31 else np.int64)
        looked_up = self.make("cast", [looked_up], dtype=dtype)
        rows = self._spread(looked_up, places.shape[:-1], depth, shape)
        numbers = self.make("iota", [], shape=shape, axis=self.column, dtype=dtype)
        hit = self.make("equal", [rows, numbers])
        values = self._spread(updates, updates.shape, depth, shape)
        if self.x.attributes["mode"] == "add":
            values = self.make("add", [target, values])
        self.finish("where", [hit, values, target])
        return self.made

    def _spread(
        self, x: Tensor, own: tuple[int, ...], depth: int, shape: tuple[int, ...]
    ) -> Tensor:
        """The tensor of the updates' axes, laid along the axes of the target."""
        n_lead = depth - 1
        trailing = own[n_lead:] if len(own) > n_lead else ()
        x = self.make("reshape", [x], shape=(*own[:n_lead], *trailing))
        order = (*self.counted, *range(n_lead, n_lead + len(trailing)))
        x = self.make("transpose", [x], axes=order)
        sizes = list(x.shape)
        sizes.insert(self.column, 1)
        sizes += [1] * (len(shape) - len(sizes))
        x = self.make("reshape", [x], shape=tuple(sizes))
        return self.make("broadcast_to", [x], shape=shape)

    def make(self, name: str, operands: list[Tensor], **attributes: Any) -> Tensor:
        op = REGISTRY[name]
        spec = op.infer(*operands, **attributes)
        made = Instruction(op, operands, attributes, [spec], self.x.origin)
        self.made.append(made)
        return made.result

    def finish(self, name: str, operands: list[Tensor]) -> None:
        """The last instruction takes over the scatter's result."""
        made = Instruction(REGISTRY[name], operands, {}, [], self.x.origin)
        made.results = self.x.results
        made.results[0].producer = made
        self.made.append(made)
