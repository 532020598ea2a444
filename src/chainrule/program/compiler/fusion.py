"""Fusion: which instructions share a kernel.

An instruction whose elements are mere re-indexing of others' (movement, iota) is *virtual*: it is
computed by whoever reads it. The others are put into groups in program order; all members of a
group run under common outer loops:

- an elementwise instruction joins the group whose members it reads at the loops' own indices,
- a fold joins so too, taking its folded axes out of the common loops,
- what reads a finished fold, or a matrix product's sum, joins as its epilogue.

An instruction may join only if nothing it needs otherwise runs after the group.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.groups import Group, Grouping, all_outer, is_single
from chainrule.program.compiler.indices import Axis
from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.lowering.reductions import FOLDS, REDUCTIONS
from chainrule.program.compiler.read_patterns import Reads, read_pattern, work_of
from chainrule.program.compiler.sinking import sink

SMALL_LOOPS = 1 << 14  # elements below which loops may lose all of their parallel axes
FOLLOWING_ONE = 1 << 10  # elements that may be computed beside a single number
FEW_TASKS = 8  # turns of the common loops below which threads have too little to share
MANY_TIMES = 8  # as much work as all before: not what folds were finished for


class Fusion(Grouping):
    """Assigns the instructions of a block to groups.

    Args:
        block: What is fused.
        products: The ``dot_general`` instructions that get a matrix product's kernel.
        forced: Tensors that are kept in memory whatever they are (virtual results that leave).
    """

    def run(self) -> None:
        """Put every instruction into a group."""
        for instruction in self.block.instructions:
            if all(not self.is_leaf(r) for r in instruction.results):
                continue
            self._place(instruction)
        sink(self)

    def _place(self, instruction: Instruction) -> None:
        needed, reads = self._reads(instruction)
        if instruction in self.products or is_single(instruction):
            self._found(instruction, needed)
            return
        # behind a product first: its sums then never go to memory
        recent = sorted(self.groups[:-65:-1], key=lambda g: g.kind != "product")
        if any(self._try(instruction, group, needed, reads) for group in recent):
            return
        if any(self._try_beside(instruction, group, needed) for group in recent):
            return
        if any(self._try_second_fold(instruction, group, needed) for group in recent):
            return
        self._found(instruction, needed)

    def _reads(self, instruction: Instruction) -> tuple[set[Group], Reads]:
        """The groups whose results it needs, and how it reads memory."""
        if is_single(instruction):
            found = [x for operand in instruction.operands for x in self.sources(operand)]
            return {self.group_of[t] for t in found if t in self.group_of}, Reads((), (), [])
        reads = read_pattern(instruction, self.is_leaf)
        return {self.group_of[x.tensor] for x in reads.loads if x.tensor in self.group_of}, reads

    def _found(self, instruction: Instruction, needed: set[Group]) -> None:
        """Make a group of its own."""
        if instruction in self.products:
            kind = "product"
        else:
            kind = "single" if is_single(instruction) else "nest"
        shape = instruction.results[0].shape
        outer, places = all_outer(shape)
        if instruction.op.name == "cumsum":
            axis = instruction.attributes["axis"]
            outer, places = all_outer(shape, without=axis)
        group = Group(len(self.groups), kind, outer)
        self.groups.append(group)
        self._join(instruction, group, places, needed)

    def _join(
        self,
        instruction: Instruction,
        group: Group,
        places: tuple[int | None, ...],
        needed: set[Group],
    ) -> None:
        group.members.append(instruction)
        group.sources |= needed - {group}
        group.work = max(group.work, work_of(instruction))
        for result in instruction.results:
            self.group_of[result] = group
            group.places[result] = places
        new = 0
        for other in needed:
            if other is not group:
                new |= other.ancestors | (1 << other.number)
        self.depend(group, new)

    def _try(
        self, instruction: Instruction, group: Group, needed: set[Group], reads: Reads
    ) -> bool:
        """Join the group if it reads from it, the loops fit and nothing needed runs after it."""
        if group.kind == "single" or not self._has_room(group, needed):
            return False
        own = [x for x in reads.loads if self.group_of.get(x.tensor) is group]
        if not own:
            return False
        matched = self._match(group, reads, own)
        if matched is None:
            return False
        inner = [a for a in reads.axes if a.extent != 1 and a not in matched]
        if group.kind == "product" and instruction.op.name in FOLDS:
            return self._try_pixels(instruction, group, needed, reads, matched)
        if group.kind == "product" and (inner or not self._is_finished(group, own)):
            return False  # there is one sum at a time, and no loop around what is made of it
        most = SMALL_LOOPS if group.outer or _folds(group) else FOLLOWING_ONE
        if math.prod(group.outer) >= FEW_TASKS:
            most = max(most, MANY_TIMES * group.work)
        if inner and work_of(instruction) > most:
            return False  # what follows from a few numbers has better loops of its own
        if instruction.op.name in FOLDS and any(a is not reads.running for a in inner):
            return False  # a fold whose result is an array inside the loops
        dropped = [j for a, j in matched.items() if a in reads.over]
        missing = set(range(len(group.outer))) - set(matched.values())
        dropped += sorted(missing)
        if dropped and not self._shrink(group, dropped, matched):
            return False
        places = tuple(matched.get(a) for a in reads.axes)
        self._join(instruction, group, places, needed)
        return True

    def _has_room(self, group: Group, needed: set[Group]) -> bool:
        after = any(n is not group and n.ancestors >> group.number & 1 for n in needed)
        return not after and len(group.members) < 200

    def _try_pixels(
        self,
        instruction: Instruction,
        group: Group,
        needed: set[Group],
        reads: Reads,
        matched: dict[Axis, int],
    ) -> bool:
        """Join a convolution as a fold over all pixels of each image and channel."""
        first = group.members[0]
        if first not in self.summing or instruction.op.name not in REDUCTIONS:
            return False
        same = instruction.result.dtype == first.result.dtype
        if not self._is_finished(group, reads.loads) or not (self.summing[first] or same):
            return False
        pixels = {p for p in group.places[first.result][2:] if p is not None}
        over = tuple(matched.get(a) for a in reads.over)
        kept = [matched.get(a) for a in reads.axes if a.extent != 1]
        if {p for p in over if p is not None} != pixels or None in kept:
            return False
        if {*kept} | pixels != set(range(len(group.outer))):
            return False
        self._join(instruction, group, tuple(matched.get(a) for a in reads.axes), needed)
        group.over[instruction.result] = over
        return True

    def _is_finished(self, group: Group, read: Sequence[Load]) -> bool:
        """True if no fold over a convolution's pixels is read before the last of them is there."""
        again = self.summing.get(group.members[0], True)
        return again or not any(load.tensor in group.over for load in read)

    def _match(self, group: Group, reads: Reads, own: Sequence[Load]) -> dict[Axis, int] | None:
        """Which axis of the reader is which common loop; None if a member is read elsewhere."""
        matched: dict[Axis, int] = {}
        for load in own:
            if load.guard is not None:
                return None
            for index, place in zip(load.indices, group.places[load.tensor], strict=True):
                if place is None:
                    continue
                axis = index.as_axis()
                # a part that begins at 0 is read at the loops' counters too, but not at all of them
                if axis is None or axis.extent != group.outer[place]:
                    return None
                if matched.setdefault(axis, place) != place:
                    return None
        return matched if len(set(matched.values())) == len(matched) else None

    def _shrink(self, group: Group, dropped: list[int], matched: dict[Axis, int]) -> bool:
        """Take loops out of the common ones, if what is left is worth running side by side."""
        if group.kind == "product" or _folds(group):
            return False
        if any(m.op.name == "barrier" for m in group.members):
            return False  # copies are made in the order of their memory
        kept = [j for j in range(len(group.outer)) if j not in dropped]
        turns = math.prod(group.outer[j] for j in kept)
        if turns < FEW_TASKS and math.prod(group.outer) > SMALL_LOOPS:
            return False
        new = {old: place for place, old in enumerate(kept)}
        group.outer = tuple(group.outer[j] for j in kept)
        group.places = {
            t: tuple(None if p is None else new.get(p) for p in places)
            for t, places in group.places.items()
        }
        for axis, old in list(matched.items()):
            if old in new:
                matched[axis] = new[old]
            else:
                del matched[axis]
        return True

    def _try_beside(self, instruction: Instruction, group: Group, needed: set[Group]) -> bool:
        """Join a group of equal loops from which nothing is read: one kernel less."""
        if group.kind != "nest" or instruction.op.name in FOLDS:
            return False
        if not self._has_room(group, needed):
            return False
        if _folds(group):
            return False
        outer, places = all_outer(instruction.result.shape)
        if outer != group.outer or not outer:
            return False
        self._join(instruction, group, places, needed)
        return True

    def _try_second_fold(self, instruction: Instruction, group: Group, needed: set[Group]) -> bool:
        """Join a fold of as many elements over as many, that reads what the same group made."""
        if group.kind != "nest" or instruction.op.name not in REDUCTIONS:
            return False
        if not needed & group.sources or not self._has_room(group, needed):
            return False
        outer, places = all_outer(instruction.result.shape)
        over = [m for m in group.members if m.op.name in FOLDS]
        if outer != group.outer or not over or group.over:
            return False
        mine = instruction.operands[0].shape, instruction.attributes
        if any((m.operands[0].shape, m.attributes) != mine for m in over):
            return False
        self._join(instruction, group, places, needed)
        return True


def _folds(group: Group) -> bool:
    """True if a member is a fold."""
    return any(m.op.name in FOLDS for m in group.members)
