"""Kernels: loop nests with statements, target-neutral; what fusion's groups become.

A kernel runs its common loops over all elements of ``outer``; inside come inner loops one after
another, each with statements that store elements or fold them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chainrule.program.compiler.expressions import Apply, Expression, Load, Local
from chainrule.program.compiler.groups import Group
from chainrule.program.compiler.indices import Axis, Index, axis_index
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS, Indices, loads
from chainrule.program.compiler.lowering.reductions import FOLDS, Fold, reduction_over
from chainrule.program.compiler.reading import Reader

EXPENSIVE = frozenset(
    [
        "exp",
        "expm1",
        "log",
        "log1p",
        "sin",
        "cos",
        "tan",
        "asin",
        "acos",
        "atan",
        "sinh",
        "cosh",
        "asinh",
        "acosh",
        "atanh",
        "tanh",
        "sigmoid",
        "erf",
        "power",
        "divide",
        "sqrt",
        "atan2",
        "floor_divide",
        "remainder",
    ]
)


@dataclass
class Store:
    """Write ``value`` to ``tensor`` at ``indices``."""

    tensor: Tensor
    indices: Indices
    value: Expression


@dataclass
class FoldInto:
    """Fold into a register; afterwards ``Local(tensor)`` is the result.

    Args:
        tensor: The result.
        fold: What is folded, over the loop's axes.
        indices: Where the result is stored; for ``cumsum`` at every turn.
        stored: Whether it goes to memory too.
    """

    tensor: Tensor
    fold: Fold
    indices: Indices
    stored: bool


Statement = Store | FoldInto


@dataclass
class InnerLoop:
    """Statements under one set of inner axes, which may be none."""

    axes: tuple[Axis, ...]
    statements: list[Statement] = field(default_factory=list)
    values: dict[Tensor, Expression] = field(default_factory=dict)


@dataclass
class Kernel:
    """A loop nest.

    Args:
        name: Its name in listings.
        outer: The common axes.
        loops: Inner loops in the order in which they run.
        group: Where it came from.
    """

    name: str
    outer: tuple[Axis, ...]
    loops: list[InnerLoop]
    group: Group

    def statements(self) -> Iterator[Statement]:
        """All statements in order."""
        for loop in self.loops:
            yield from loop.statements

    def reads(self) -> set[Tensor]:
        """Tensors read from memory."""
        return {x.tensor for e in self.expressions() for x in loads(e)}

    def writes(self) -> list[Tensor]:
        """Tensors written to memory."""
        return [s.tensor for s in self.statements() if isinstance(s, Store) or s.stored]

    def expressions(self) -> Iterator[Expression]:
        """The values of all statements, those that they use by name too."""
        for loop in self.loops:
            yield from loop.values.values()
            for statement in loop.statements:
                yield statement.value if isinstance(statement, Store) else statement.fold.value

    def __str__(self) -> str:
        lines = [f"kernel {self.name} over {[a.extent for a in self.outer]}"]
        for loop in self.loops:
            lines.append(f"  for {[a.extent for a in loop.axes]}")
            for s in loop.statements:
                if isinstance(s, Store):
                    lines.append(f"    {s.tensor!r}{list(s.indices)} = {s.value!r}")
                else:
                    lines.append(f"    {s.tensor!r} = {s.fold.kind} {s.fold.value!r}")
        return "\n".join(lines)


class KernelBuilder:
    """Makes the kernel of a group.

    Args:
        group: A group of kind ``nest``, or the epilogue of one of kind ``product``.
        stored: Tensors that others need in memory.
        is_leaf: True for tensors that are not virtual.
        outer: The axes of the common loops; made afresh if not given.
    """

    def __init__(
        self,
        group: Group,
        stored: set[Tensor],
        is_leaf: Callable[[Tensor], bool],
        outer: Sequence[Axis] | None = None,
    ) -> None:
        self.group = group
        self.stored = stored
        self.is_leaf = is_leaf
        self.outer = tuple(outer or (Axis(n, f"i{j}") for j, n in enumerate(group.outer)))
        self.own = {r: m for m in group.members for r in m.results}
        self.levels: dict[Tensor, int] = {}
        self.kept: set[Tensor] = set()

    def build(self, name: str) -> Kernel:
        """Sort the statements into loops and write their expressions."""
        roots = self._roots()
        loops: dict[tuple[int, tuple[int, ...]], InnerLoop] = {}
        order: list[tuple[int, tuple[int, ...], Instruction]] = []
        for member in roots:
            key = (self.levels[member.results[0]], self._inner_extents(member))
            order.append((*key, member))
        for level, extents, _ in order:
            if (level, extents) not in loops:
                axes = tuple(Axis(n, f"j{i}") for i, n in enumerate(extents))
                loops[level, extents] = InnerLoop(axes)
        for key in sorted(loops, key=lambda k: k[0]):
            members = [m for level, extents, m in order if (level, extents) == key]
            self._fill(loops[key], key[0], members)
        ranked = [loops[key] for key in sorted(loops, key=lambda k: k[0])]
        return Kernel(name, self.outer, ranked, self.group)

    def _member_operands(self, member: Instruction) -> list[Tensor]:
        """Members of this group that it reads, directly or through virtual tensors."""
        found: list[Tensor] = []
        seen: set[Tensor] = set()
        pending = list(member.operands)
        while pending:
            x = pending.pop()
            if x in seen:
                continue
            seen.add(x)
            if x in self.own:
                found.append(x)
            elif not self.is_leaf(x) and x.producer is not None:
                pending += x.producer.operands
        return found

    def _roots(self) -> list[Instruction]:
        """Members that need a statement: folds, what is stored, and what is dear to repeat."""
        operands = {m: self._member_operands(m) for m in self.group.members}
        for member in self.group.members:
            level = 0
            for x in operands[member]:
                level = max(level, self.levels[x] + (self.own[x].op.name in FOLDS))
            for result in member.results:
                self.levels[result] = level
        folds = any(m.op.name in FOLDS for m in self.group.members)
        roots = [
            m
            for m in self.group.members
            if m.op.name in FOLDS or any(r in self.stored for r in m.results)
        ]
        if folds and self.group.kind == "nest":
            self._keep_expensive(roots, operands)
        self.kept |= {r for m in self.group.members for r in m.results if r in self.stored}
        wanted = set(roots) | {self.own[t] for t in self.kept}
        return [m for m in self.group.members if m in wanted]

    def _keep_expensive(
        self, roots: list[Instruction], operands: dict[Instruction, list[Tensor]]
    ) -> None:
        """Keep in memory what several loops would compute again at a price."""
        loops_of: dict[Instruction, set[tuple[int, tuple[int, ...]]]] = {}
        for root in roots:
            key = (self.levels[root.results[0]], self._inner_extents(root))
            pending = [root]
            seen: set[Instruction] = set()
            while pending:
                member = pending.pop()
                if member in seen or (member is not root and member.op.name in FOLDS):
                    continue
                seen.add(member)
                loops_of.setdefault(member, set()).add(key)
                pending += [self.own[x] for x in operands[member]]
        for member, used in loops_of.items():
            costly = member.op.name in EXPENSIVE and self._inner_extents(member)
            if costly and len(used) > 1 and member.op.name not in FOLDS:
                self.kept |= set(member.results)

    def _inner_extents(self, member: Instruction) -> tuple[int, ...]:
        """Extents of the inner loops of a member's statement."""
        if member.results[0] in self.group.over:
            return ()
        if member.op.name in FOLDS:
            fold = FOLDS[member.op.name](member, self._plain(member), Reader(self.is_leaf))
            return tuple(a.extent for a in fold.over)
        result = member.results[0]
        places = self.group.places[result]
        return tuple(n for n, p in zip(result.shape, places, strict=True) if p is None and n != 1)

    def _plain(self, member: Instruction) -> Indices:
        return tuple(axis_index(Axis(n)) for n in member.results[0].shape)

    def _indices(self, tensor: Tensor, inner: Sequence[Axis]) -> Indices:
        """The element of ``tensor`` that belongs to the loops' counters."""
        left = iter(inner)
        indices: list[Index] = []
        for extent, place in zip(tensor.shape, self.group.places[tensor], strict=True):
            if place is not None:
                indices.append(axis_index(self.outer[place]))
            else:
                indices.append(Index() if extent == 1 else axis_index(next(left)))
        return tuple(indices)

    def _fill(self, loop: InnerLoop, level: int, members: list[Instruction]) -> None:
        reader = Reader(self.is_leaf, self._leaf(loop, level))
        self._prepare_values(loop, level, members, reader)
        for member in members:
            if member.op.name in FOLDS:
                loop.statements.append(self._fold(loop, member, reader))
                continue
            for number, result in enumerate(member.results):
                if result in self.kept:
                    indices = self._indices(result, loop.axes)
                    value = loop.values.get(result)
                    if value is None:
                        value = ELEMENTS[member.op.name](member, number, indices, reader)
                    else:
                        value = Local(result, value.axes)
                    loop.statements.append(Store(result, indices, value))

    def _fold(self, loop: InnerLoop, member: Instruction, reader: Reader) -> FoldInto:
        result = member.results[0]
        running = member.op.name == "cumsum"
        indices = self._indices(result, loop.axes if running else ())
        if result in self.group.over:  # over some of the common loops
            places = self.group.over[result]
            over = tuple(Axis(1) if p is None else self.outer[p] for p in places)
            fold = reduction_over(member, over, indices, reader)
            return FoldInto(result, fold, indices, result in self.stored)
        fold = FOLDS[member.op.name](member, indices, reader)
        table = {old: axis_index(new) for old, new in zip(fold.over, loop.axes, strict=True)}
        value = fold.value.substitute(table)
        fold = Fold(fold.kind, loop.axes, value, fold.accumulator)
        return FoldInto(result, fold, indices, result in self.stored)

    def _prepare_values(
        self, loop: InnerLoop, level: int, roots: list[Instruction], reader: Reader
    ) -> None:
        """Name the values of members on the way to the roots, in program order.

        So no expression is deeper than one instruction, and equal ones are computed once.
        """
        needed: set[Instruction] = set()
        pending = list(roots)
        while pending:
            member = pending.pop()
            if member in needed:
                continue
            needed.add(member)
            if member.op.name in FOLDS and member not in roots:
                continue
            pending += [self.own[x] for x in self._member_operands(member)]
        extents = tuple(a.extent for a in loop.axes)
        for member in self.group.members:
            if member not in needed or member.op.name in FOLDS:
                continue
            inner = self._inner_extents(member)
            if inner not in (extents, ()):
                continue
            for number, result in enumerate(member.results):
                if self._in_memory(result, level):
                    continue
                indices = self._indices(result, loop.axes if inner else ())
                value = ELEMENTS[member.op.name](member, number, indices, reader)
                loop.values[result] = value

    def _in_memory(self, tensor: Tensor, level: int) -> bool:
        """True if an earlier loop has stored the tensor and reading it beats computing it."""
        earlier = tensor in self.kept and self.levels[tensor] < level
        return earlier and bool(self._inner_extents(self.own[tensor]))

    def _leaf(
        self, loop: InnerLoop, level: int
    ) -> Callable[[Tensor, Indices, Expression | None], Expression | None]:
        def leaf(tensor: Tensor, indices: Indices, guard: Expression | None) -> Expression | None:
            member = self.own.get(tensor)
            if member is None:
                return None
            if tensor in self.group.over:
                places = self.group.places[tensor]
                return Local(tensor, frozenset(self.outer[p] for p in places if p is not None))
            if member.op.name in FOLDS and member.op.name != "cumsum":
                return Local(tensor, frozenset(self.outer))
            if self._in_memory(tensor, level) or member.op.name == "cumsum":
                return Load(tensor, indices, guard)
            inner = self._inner_extents(member)
            known = loop.values.get(tensor)
            if known is not None and indices == self._indices(tensor, loop.axes if inner else ()):
                return Local(tensor, known.axes)
            reader = Reader(self.is_leaf, leaf, guard)
            return ELEMENTS[member.op.name](member, member.results.index(tensor), indices, reader)

        return leaf


def cost(expression: Expression) -> int:
    """A rough count of instructions for one element."""
    total = 0
    for node in expression.walk():
        if isinstance(node, Apply):
            total += 12 if node.op in EXPENSIVE else 1
        elif isinstance(node, Load):
            total += 1
    return total
