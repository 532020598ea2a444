"""A convolution's operands as expressions of its axes, and its result's axes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from chainrule.program.compiler.convolutions.geometry import Geometry, describe
from chainrule.program.compiler.emission.memory import Offset
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Apply, Constant, Expression, Load, Local
from chainrule.program.compiler.indices import (
    Axis,
    Index,
    Quotient,
    Remainder,
    axis_index,
    integer,
)
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.kernels import FoldInto, InnerLoop, Kernel, Store
from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.lowering.elements import Indices, loads
from chainrule.program.compiler.lowering.reductions import Fold
from chainrule.program.compiler.reading import Reader


@dataclass(frozen=True, eq=False)
class Convolution:
    """A ``convolution`` whose operands can be read element by element.

    Args:
        instruction: The instruction.
        geometry: Its sizes.
        is_leaf: True for tensors in memory.
    """

    instruction: Instruction
    geometry: Geometry
    is_leaf: Callable[[Tensor], bool]

    def image(self, batch: Axis, group: Axis, channel: Axis, places: Sequence[Index]) -> Expression:
        """The element of the image at a batch's element, a group's channel and inputs' places."""
        number = axis_index(group) * self.geometry.channels + axis_index(channel)
        reader = Reader(self.is_leaf)
        return reader(self.instruction.operands[0], (axis_index(batch), number, *places))

    def weight(self, group: Axis, out: Axis, channel: Axis, places: Sequence[Index]) -> Expression:
        """The weight of a group's output and input channel at a place of the kernel."""
        number = axis_index(group) * self.geometry.outs + axis_index(out)
        reader = Reader(self.is_leaf)
        return reader(self.instruction.operands[1], (number, axis_index(channel), *places))

    def any_element(self, operand: int, places: Sequence[Axis]) -> Expression:
        """An element of the image (operand 0) or the weights (1)."""
        g = self.geometry
        numbers = [axis_index(axis) for axis in places]
        if operand == 0:
            return self.image(Axis(g.batch), Axis(g.groups), Axis(g.channels), numbers)
        return self.weight(Axis(g.groups), Axis(g.outs), Axis(g.channels), numbers)


def convolution_of(
    x: Instruction, is_leaf: Callable[[Tensor], bool], operands: Sequence[int] = (0,)
) -> Convolution | None:
    """The convolution; None if an operand is computed while it is read, or read across rows.

    Args:
        x: A ``convolution``.
        is_leaf: True for tensors in memory.
        operands: Those that are read in vectors along the last axis.
    """
    found = Convolution(x, describe(x), is_leaf)
    for operand in operands:
        if not is_plain(found, operand):
            return None
    return found


def is_plain(x: Convolution, operand: int) -> bool:
    """True if an operand lies in memory, its rows whole."""
    places = [Axis(line.kernel if operand else line.source) for line in x.geometry.lines]
    found = x.any_element(operand, places)
    return isinstance(found, Load) and found.guard is None and not is_divided([found], places[-1])


def is_divided(expressions: Sequence[Expression], axis: Axis) -> bool:
    """True if an axis is divided on the way to an element: vectors then begin at whole lanes."""
    for expression in expressions:
        for load in loads(expression):
            for index in load.indices:
                for atom in index.terms:
                    if isinstance(atom, Quotient | Remainder) and axis in atom.axes:
                        return True
    return False


def constant_places(numbers: Sequence[int]) -> list[Index]:
    """Fixed places of the kernel as indices."""
    return [integer(n) for n in numbers]


@dataclass(frozen=True)
class Pass:
    """What is done with every sum of an image before folds over its pixels are finished.

    Args:
        values: Values by name.
        stores: What is written.
        folds: What is folded over the pixels of an image.
    """

    values: dict[Tensor, Expression]
    stores: list[Store]
    folds: list[FoldInto]

    def substitute(self, table: dict[Axis, Index]) -> Pass:
        """The same at other places; for a pass without folds."""
        values = {tensor: value.substitute(table) for tensor, value in self.values.items()}
        stores = [
            Store(
                x.tensor, tuple(i.substitute(table) for i in x.indices), x.value.substitute(table)
            )
            for x in self.stores
        ]
        return Pass(values, stores, [])

    @property
    def expressions(self) -> list[Expression]:
        """All values."""
        found = [*self.values.values(), *(s.value for s in self.stores)]
        return [*found, *(f.fold.value for f in self.folds)]


class Epilogue:
    """What fusion put behind a convolution, at the axes of its result.

    Args:
        kernel: The statements: stores at the result's axes.
        result: The convolution's result.
        axes: An axis for each of the result's.
    """

    def __init__(self, kernel: Kernel, result: Tensor, axes: Sequence[Axis]) -> None:
        self.result = result
        self.axes = tuple(axes)
        table: dict[Axis, Index] = {}
        for place, axis in zip(kernel.group.places[result], axes, strict=True):
            if place is not None:
                table[kernel.outer[place]] = axis_index(axis)
        self.passes: list[Pass] = []
        for loop in kernel.loops:
            self._append(self._pass(loop, table))

    def _append(self, new: Pass) -> None:
        """Add a pass; to the last one, if it needs none of that one's folds."""
        if self.passes:
            last = self.passes[-1]
            unfinished = {fold.tensor for fold in last.folds}
            nodes = (node for x in new.expressions for node in x.walk())
            if any(isinstance(node, Local) and node.tensor in unfinished for node in nodes):
                self.passes.append(new)
                return
            del self.passes[-1]
            values = {**last.values, **new.values}
            new = Pass(values, [*last.stores, *new.stores], [*last.folds, *new.folds])
        if new.stores or new.folds:
            self.passes.append(new)

    def _pass(self, loop: InnerLoop, table: dict[Axis, Index]) -> Pass:
        values = {tensor: value.substitute(table) for tensor, value in loop.values.items()}
        stores: list[Store] = []
        folds: list[FoldInto] = []
        for statement in loop.statements:
            where: Indices = tuple(i.substitute(table) for i in statement.indices)
            if isinstance(statement, Store):
                value = statement.value.substitute(table)
                stores.append(Store(statement.tensor, where, value))
            elif statement.tensor is not self.result:
                fold = statement.fold
                over = tuple(a for x in fold.over for a in axis_index(x).substitute(table).axes)
                fold = Fold(fold.kind, over, fold.value.substitute(table), fold.accumulator)
                folds.append(FoldInto(statement.tensor, fold, where, statement.stored))
            elif statement.stored:
                own = Local(statement.tensor, frozenset(self.axes))
                stores.append(Store(statement.tensor, where, own))
        return Pass(values, stores, folds)

    @property
    def values(self) -> dict[Tensor, Expression]:
        """The values of all passes by name."""
        return {tensor: value for each in self.passes for tensor, value in each.values.items()}

    @property
    def stores(self) -> list[Store]:
        """What is written at every element, in order."""
        return [store for each in self.passes for store in each.stores]

    @property
    def folds(self) -> list[FoldInto]:
        """What is folded over the pixels of an image, in order."""
        return [fold for each in self.passes for fold in each.folds]

    @property
    def expressions(self) -> list[Expression]:
        """All values."""
        return [x for each in self.passes for x in each.expressions]

    @property
    def written_in_order(self) -> list[Tensor]:
        """Tensors that are written, in order."""
        return [s.tensor for s in self.stores] + [f.tensor for f in self.folds if f.stored]

    @property
    def written(self) -> frozenset[Tensor]:
        """Tensors that are written."""
        return frozenset(self.written_in_order)

    @property
    def read(self) -> list[Tensor]:
        """Tensors that are read from memory."""
        return list(dict.fromkeys(x.tensor for e in self.expressions for x in loads(e)))

    def write(self, emitter: Emitter, value: Value) -> None:
        """Write what follows from a sum, at the emitter's counters of the axes; no folds."""
        for each in self.passes:
            self.run(each, emitter, value)

    def run(self, part: Pass, emitter: Emitter, value: Value) -> list[Value]:
        """Write what a pass makes of a sum; what its folds take in."""
        emitter.locals[self.result] = value
        for named in part.values.values():
            emitter.emit(named)
        for store in part.stores:
            emitter.store(store.tensor, store.indices, emitter.emit(store.value))
        taken = [emitter.vector(fold.fold.value) for fold in part.folds]
        del emitter.locals[self.result]
        return taken

    def joined(self, offset: Offset) -> Epilogue | None:
        """The same with its last two axes as one; None if they do not step through memory so.

        Args:
            offset: Where an element lies in its tensor's memory.
        """
        *front, row, column = self.axes
        nodes = [node for x in self.expressions for node in x.walk()]
        if self.folds or not all(isinstance(x, Apply | Constant | Local | Load) for x in nodes):
            return None
        found = [x for x in nodes if isinstance(x, Load)]
        accesses = [(x.tensor, x.indices) for x in found]
        accesses += [(store.tensor, store.indices) for store in self.stores]
        for tensor, indices in accesses:
            terms = dict(offset(tensor, indices).terms)
            step = terms.pop(column, 0)
            if terms.pop(row, 0) != step * column.extent:
                return None
            if any({row, column} & atom.axes for atom in terms):
                return None
        both = Axis(row.extent * column.extent, "pixels")
        whole = axis_index(both)
        table = {row: whole // column.extent, column: whole % column.extent}
        result = copy.copy(self)
        result.axes = (*front, both)
        result.passes = [part.substitute(table) for part in self.passes]
        return result

    def may_repeat(self, root: Callable[[Tensor], Tensor], axis: Axis) -> bool:
        """True if it may run twice for an element, in vectors that begin anywhere along an axis."""
        overwritten = {root(t) for t in self.written} & {root(t) for t in self.read}
        divided = any(
            isinstance(atom, Quotient | Remainder) and axis in atom.axes
            for s in self.stores
            for index in s.indices
            for atom in index.terms
        )
        divided = divided or is_divided(self.expressions, axis)
        return not overwritten and not divided and not self.folds
