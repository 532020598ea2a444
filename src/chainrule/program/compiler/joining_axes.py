"""Joins axes of a kernel that step through memory as one: fewer and longer loops.

Reason: the rows of a picture are short, and every one of them costs a turn of the loops outside.
Where all that a kernel reads and writes either lies row after row or does not depend on rows and
columns at all, both are one axis.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from chainrule.program.compiler.emission.memory import Offset
from chainrule.program.compiler.expressions import Apply, Constant, Load, Local
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.kernels import FoldInto, InnerLoop, Kernel, Statement, Store
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.lowering.reductions import REDUCTIONS, Fold


def join_axes(kernel: Kernel, offset: Offset) -> Kernel:
    """The kernel with fewer axes; the same one where none can be joined.

    Args:
        kernel: A loop nest.
        offset: Where an element lies in its tensor's memory.
    """
    accesses = list(_accesses(kernel, offset))
    fixed = _fixed(kernel) | frozenset(_divided(accesses))
    steps = [dict(index.terms) for index in accesses]
    table: dict[Axis, Index] = {}

    def joined(axes: Sequence[Axis]) -> tuple[Axis, ...]:
        result: list[Axis] = []
        for axis in axes:
            if result and _is_one(result[-1], axis):
                result[-1] = _join(result[-1], axis)
            else:
                result.append(axis)
        return tuple(result)

    def _is_one(outer: Axis, inner: Axis) -> bool:
        if {outer, inner} & fixed or 1 in (outer.extent, inner.extent):
            return False
        return all(t.get(outer, 0) == t.get(inner, 0) * inner.extent for t in steps)

    def _join(outer: Axis, inner: Axis) -> Axis:
        both = Axis(outer.extent * inner.extent, outer.name + inner.name)
        whole = axis_index(both)
        new = {outer: whole // inner.extent, inner: whole % inner.extent}
        for axis, index in table.items():
            table[axis] = index.substitute(new)
        table.update(new)
        for terms in steps:
            terms.pop(outer, None)
            step = terms.pop(inner, None)
            if step is not None:
                terms[both] = step
        return both

    outer = joined(kernel.outer)
    inner = [joined(loop.axes) for loop in kernel.loops]
    if not table:
        return kernel
    loops = [_replaced(x, axes, table) for x, axes in zip(kernel.loops, inner, strict=True)]
    return Kernel(kernel.name, outer, loops, kernel.group)


def _accesses(kernel: Kernel, offset: Offset) -> Iterator[Index]:
    for expression in kernel.expressions():
        for load in loads(expression):
            yield offset(load.tensor, load.indices)
    for statement in kernel.statements():
        yield offset(statement.tensor, statement.indices)


def _fixed(kernel: Kernel) -> frozenset[Axis]:
    """Axes that something else depends on than plain steps through memory."""
    found: set[Axis] = set()
    for expression in kernel.expressions():
        for node in expression.walk():
            if isinstance(node, Load):
                places: tuple[Index, ...] = node.indices
            elif isinstance(node, Apply | Constant | Local):
                continue
            else:
                found |= node.axes
                continue
            found.update(_divided(places))
    for statement in kernel.statements():
        found.update(_divided(statement.indices))
        if isinstance(statement, FoldInto) and statement.fold.kind not in REDUCTIONS:
            found.update(statement.fold.over)
    return frozenset(found)


def _divided(places: Sequence[Index]) -> Iterator[Axis]:
    for index in places:
        for atom in index.terms:
            if not isinstance(atom, Axis):
                yield from atom.axes


def _replaced(loop: InnerLoop, axes: tuple[Axis, ...], table: dict[Axis, Index]) -> InnerLoop:
    values = {tensor: value.substitute(table) for tensor, value in loop.values.items()}
    return InnerLoop(axes, [_statement(s, axes, table) for s in loop.statements], values)


def _statement(x: Statement, axes: tuple[Axis, ...], table: dict[Axis, Index]) -> Statement:
    indices = tuple(index.substitute(table) for index in x.indices)
    if isinstance(x, Store):
        return Store(x.tensor, indices, x.value.substitute(table))
    fold = Fold(x.fold.kind, axes, x.fold.value.substitute(table), x.fold.accumulator)
    return FoldInto(x.tensor, fold, indices, x.stored)
