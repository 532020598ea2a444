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
from collections.abc import Callable, Collection, Sequence

from chainrule.program.compiler.expressions import Expression, Load
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS, Indices, loads
from chainrule.program.compiler.lowering.reductions import FOLDS, REDUCTIONS
from chainrule.program.compiler.reading import Reader

VIRTUAL = frozenset(
    (
        *("reshape", "transpose", "broadcast_to", "slice", "flip", "pad", "concatenate"),
        *("iota", "identity", "stop_gradient", "batch_rows", "windows"),
    )
)
SMALL_LOOPS = 1 << 14  # elements below which loops may lose all of their parallel axes
FEW_TASKS = 8  # turns of the common loops below which threads have too little to share
MANY_TIMES = 8  # as much work as all before: not what folds were finished for


class Group:
    """Instructions that share a kernel.

    Args:
        number: Place in the list of groups.
        kind: ``nest``, ``product``, ``single`` (an instruction with a kernel all of its own), or
            ``empty`` once its members have moved.
        outer: Extents of the common loops; extents of 1 are left out.
    """

    def __init__(self, number: int, kind: str, outer: tuple[int, ...]) -> None:
        self.number = number
        self.kind = kind
        self.outer = outer
        self.members: list[Instruction] = []
        self.places: dict[Tensor, tuple[int | None, ...]] = {}
        self.over: dict[Tensor, tuple[int | None, ...]] = {}  # of folds behind a convolution
        self.work = 0  # elements of the largest thing read or made
        self.ancestors = 0

    def __repr__(self) -> str:
        return f"{self.kind}{list(self.outer)}: {', '.join(m.op.name for m in self.members)}"

    def has_inner_axes(self, tensor: Tensor) -> bool:
        """True if there are several elements of a member's at one turn of the common loops."""
        places = self.places[tensor]
        return any(p is None and n != 1 for p, n in zip(places, tensor.shape, strict=True))


def is_virtual(instruction: Instruction) -> bool:
    """True if readers compute its elements themselves: it has no kernel and no memory."""
    name = instruction.op.name
    if name in VIRTUAL:
        return True
    # numbers are cheap to compute wherever they are needed, and kernels are not
    return name in ELEMENTS and all(r.size == 1 for r in instruction.results) and name != "barrier"


class Fusion:
    """Assigns the instructions of a block to groups.

    Args:
        block: What is fused.
        products: The ``dot_general`` instructions that get a matrix product's kernel.
        forced: Tensors that are kept in memory whatever they are (virtual results that leave).
    """

    def __init__(self, block: Block, products: set[Instruction], forced: set[Tensor]) -> None:
        self.block = block
        self.inputs = set(block.inputs)  # of a copy, results of another block are inputs
        self.products = products
        # convolutions that can fold each image's pixels; True: and then go over them again
        self.summing: dict[Instruction, bool] = {}
        self.repeated: set[Instruction] = set()  # computed by every reader, although no movement
        self.forced = forced
        self.groups: list[Group] = []
        self.group_of: dict[Tensor, Group] = {}
        self.depth: dict[Tensor, int] = {}
        self._sources: dict[Tensor, set[Tensor]] = {}

    def run(self) -> None:
        """Put every instruction into a group."""
        for instruction in self.block.instructions:
            if all(not self.is_leaf(r) for r in instruction.results):
                continue
            self._place(instruction)
        for group in reversed(list(self.groups)):
            self._sink(group)

    def _sink(self, group: Group) -> None:
        """Move elementwise work that one other group alone reads into that group.

        Work that merely runs beside other work (the same update of several weights) moves by
        itself.
        """
        if group.kind != "nest" or any(m.op.name not in ELEMENTS for m in group.members):
            return
        for members in self._strands(group):
            self._sink_together(group, members)

    def _strands(self, group: Group) -> list[list[Instruction]]:
        """A group's members, those together that read one another."""
        own = {r: m for m in group.members for r in m.results}
        strand: dict[Instruction, list[Instruction]] = {}
        for member in group.members:
            mine = strand[member] = [member]
            read = {own[s] for x in member.operands for s in self.sources(x) if s in own}
            for other in read:
                theirs = strand[other]
                if theirs is not mine:
                    mine += theirs
                    strand.update(dict.fromkeys(theirs, mine))
        unique = {id(members): set(members) for members in strand.values()}
        return [[m for m in group.members if m in members] for members in unique.values()]

    def _sink_together(self, group: Group, members: list[Instruction]) -> None:
        own = {r for m in members for r in m.results}
        if own & self.forced:
            return
        users = self._users(own, group)
        homes = {self.group_of[m.results[0]] for m in users}
        if len(homes) != 1:
            return
        (home,) = homes
        if home.kind == "single" or sorted(home.outer) != sorted(group.outer):
            return
        if home.kind == "product" and any(map(group.has_inner_axes, own)):
            return
        if len(home.members) + len(members) > 200:
            return
        turned: dict[int, int] = {}
        if not all(self._reads_aligned(user, own, group, home, turned) for user in users):
            return
        if sorted(turned) != list(range(len(group.outer))) or len({*turned.values()}) < len(turned):
            return
        first = 1 if home.kind == "product" else 0
        home.members[first:first] = members
        for tensor in own:
            self.group_of[tensor] = home
            places = group.places[tensor]
            home.places[tensor] = tuple(None if p is None else turned[p] for p in places)
        group.members = [m for m in group.members if m not in members]
        if group.members:
            return  # the home still runs after it, which is earlier than it needs to
        self.groups[group.number] = Group(group.number, "empty", ())
        for other in self.groups:
            if other.ancestors >> group.number & 1:
                other.ancestors = (other.ancestors | group.ancestors) & ~(1 << group.number)

    def _users(self, tensors: set[Tensor], group: Group) -> list[Instruction]:
        """Instructions of other groups that read any of the tensors."""
        return [
            member
            for other in self.groups
            if other is not group
            for member in other.members
            if any(tensors & self.sources(x) for x in member.operands)
        ]

    def _reads_aligned(
        self,
        user: Instruction,
        tensors: set[Tensor],
        group: Group,
        home: Group,
        turned: dict[int, int],
    ) -> bool:
        """True if the user reads the tensors at its own group's loop counters.

        Args:
            user: Reads some of them.
            tensors: Those of the group.
            group: Whose they are.
            home: The user's group.
            turned: Loop of the group → loop of the home that takes its place; is added to.
        """
        if user in self.products or self._is_single(user):
            return False
        reads = read_pattern(user, self.is_leaf)
        own = dict(zip(reads.axes, home.places[user.results[0]], strict=True))
        for load in reads.loads:
            if load.tensor not in tensors:
                continue
            for index, place in zip(load.indices, group.places[load.tensor], strict=True):
                axis = index.as_axis()
                if place is None:
                    continue
                loop = None if axis is None else own.get(axis)
                if loop is None or home.outer[loop] != group.outer[place]:
                    return False
                if turned.setdefault(place, loop) != loop:
                    return False
        return True

    def _place(self, instruction: Instruction) -> None:
        needed, reads = self._reads(instruction)
        if instruction in self.products or self._is_single(instruction):
            self._found(instruction, needed)
            return
        # behind a product first: its sums then never go to memory
        recent = sorted(self.groups[:-65:-1], key=lambda g: g.kind != "product")
        if any(self._try(instruction, group, needed, reads) for group in recent):
            return
        if any(self._try_beside(instruction, group, needed) for group in recent):
            return
        self._found(instruction, needed)

    def _is_single(self, instruction: Instruction) -> bool:
        return instruction.op.name not in ELEMENTS and instruction.op.name not in FOLDS

    def _reads(self, instruction: Instruction) -> tuple[set[Group], _Reads]:
        """The groups whose results it needs, and how it reads memory."""
        if self._is_single(instruction):
            found = [x for operand in instruction.operands for x in self.sources(operand)]
            return {self.group_of[t] for t in found if t in self.group_of}, _Reads((), (), [])
        reads = read_pattern(instruction, self.is_leaf)
        return {self.group_of[x.tensor] for x in reads.loads if x.tensor in self.group_of}, reads

    def sources(self, tensor: Tensor) -> set[Tensor]:
        """The tensors in memory from which a virtual tensor is computed."""
        known = self._sources.get(tensor)
        if known is not None:
            return known
        found: set[Tensor] = set()
        pending, seen = [tensor], {tensor}
        while pending:
            x = pending.pop()
            if self.is_leaf(x) or x.producer is None:
                found.add(x)
                continue
            for operand in x.producer.operands:
                if operand not in seen:
                    seen.add(operand)
                    pending.append(operand)
        self._sources[tensor] = found
        return found

    def is_leaf(self, tensor: Tensor) -> bool:
        """True if readers find the tensor in memory or in their own group."""
        producer = tensor.producer
        if producer is None or tensor in self.forced or tensor in self.inputs:
            return True
        return not is_virtual(producer) and producer not in self.repeated

    def _found(self, instruction: Instruction, needed: set[Group]) -> None:
        """Make a group of its own."""
        if instruction in self.products:
            kind = "product"
        else:
            kind = "single" if self._is_single(instruction) else "nest"
        shape = instruction.results[0].shape
        outer, places = _all_outer(shape)
        if instruction.op.name == "cumsum":
            axis = instruction.attributes["axis"]
            outer, places = _all_outer(shape, without=axis)
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
        group.work = max(group.work, _work(instruction))
        for result in instruction.results:
            self.group_of[result] = group
            group.places[result] = places
        new = 0
        for other in needed:
            if other is not group:
                new |= other.ancestors | (1 << other.number)
        self._depend(group, new)

    def _depend(self, group: Group, ancestors: int) -> None:
        group.ancestors |= ancestors
        for other in self.groups:
            if other.ancestors >> group.number & 1:
                other.ancestors |= ancestors

    def run_after(self, group: Group, others: Sequence[Group]) -> bool:
        """Make a group run after others, if none of them needs it; say whether that is so."""
        others = [o for o in others if o is not group]
        if any(o.ancestors >> group.number & 1 for o in others):
            return False
        for other in others:
            self._depend(group, other.ancestors | 1 << other.number)
        return True

    def readers(self, tensor: Tensor) -> list[Group]:
        """The groups that read a tensor in memory."""
        return [
            group
            for group in self.groups
            if any(tensor in self.sources(x) for m in group.members for x in m.operands)
        ]

    def reads_in_place(self, group: Group, old: Tensor, new: Tensor) -> bool:
        """True if the group reads ``old`` only where it writes ``new``: it may overwrite it."""
        if group.has_inner_axes(new):
            return False
        places = group.places[new]
        for member in group.members:
            if not any(old in self.sources(x) for x in member.operands):
                continue
            if member in self.products or self._is_single(member) or member.op.name in FOLDS:
                return False
            reads = read_pattern(member, self.is_leaf)
            own = dict(zip(reads.axes, group.places[member.results[0]], strict=True))
            for load in reads.loads:
                if load.tensor is not old:
                    continue
                for index, place in zip(load.indices, places, strict=True):
                    axis = index.as_axis()
                    if place is not None and (axis is None or own[axis] != place):
                        return False
        return True

    def _try(
        self, instruction: Instruction, group: Group, needed: set[Group], reads: _Reads
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
        most = SMALL_LOOPS
        if math.prod(group.outer) >= FEW_TASKS:
            most = max(most, MANY_TIMES * group.work)
        if inner and _work(instruction) > most:
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
        reads: _Reads,
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

    def _match(self, group: Group, reads: _Reads, own: Sequence[Load]) -> dict[Axis, int] | None:
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
        if group.kind == "product" or any(m.op.name in FOLDS for m in group.members):
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
        if any(m.op.name in FOLDS for m in group.members):
            return False
        outer, places = _all_outer(instruction.result.shape)
        if outer != group.outer or not outer:
            return False
        self._join(instruction, group, places, needed)
        return True


class _Reads:
    """How an instruction reads: the axes of its result, those it folds over, and its loads.

    Of a cumulative fold's axes, ``running`` is the one that it runs along.
    """

    def __init__(
        self,
        axes: tuple[Axis, ...],
        over: tuple[Axis, ...],
        found: list[Load],
        running: Axis | None = None,
    ) -> None:
        self.axes = axes
        self.over = over
        self.loads = found
        self.running = running


def read_pattern(instruction: Instruction, is_leaf: Callable[[Tensor], bool]) -> _Reads:
    """Lower the instruction on fresh axes and list its loads."""
    reader = Reader(is_leaf)
    shape = instruction.results[0].shape
    axes = tuple(Axis(n, f"d{i}") for i, n in enumerate(shape))
    indices: Indices = tuple(axis_index(a) for a in axes)
    if instruction.op.name in FOLDS:
        fold = FOLDS[instruction.op.name](instruction, indices, reader)
        running = axes[instruction.attributes["axis"]] if fold.kind == "cumsum" else None
        return _Reads(axes, fold.over, loads(fold.value), running)
    expression: Expression = ELEMENTS[instruction.op.name](instruction, 0, indices, reader)
    return _Reads(axes, (), loads(expression))


def _work(instruction: Instruction) -> int:
    """Elements that an instruction makes or folds."""
    made = max(r.size for r in instruction.results)
    if instruction.op.name in REDUCTIONS:
        return max(made, instruction.operands[0].size)
    return made


def _all_outer(
    shape: tuple[int, ...], without: int | None = None
) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    outer: list[int] = []
    places: list[int | None] = []
    for axis, extent in enumerate(shape):
        if extent == 1 or axis == without:
            places.append(None)
        else:
            places.append(len(outer))
            outer.append(extent)
    return tuple(outer), tuple(places)


def ordered(groups: Sequence[Group], early: Collection[Instruction] = ()) -> list[Group]:
    """The groups so that each comes after its ancestors; otherwise in order of their numbers.

    Args:
        groups: Groups by number.
        early: Founders of groups that run as soon as they can, if no group needs theirs: what they
            read is then still in the cache, and its memory is free the sooner.
    """
    done = needed = 0
    for group in groups:
        needed |= group.ancestors
    pending = [g for g in groups if g.kind != "empty"]
    result: list[Group] = []
    while pending:
        ready = [g for g in pending if g.ancestors & ~done == 0]
        if not ready:
            raise AssertionError("groups depend on each other in a circle")
        last = [g for g in ready if g.members[0] in early and not needed >> g.number & 1]
        group = last[0] if last else ready[0]
        pending.remove(group)
        result.append(group)
        done |= 1 << group.number
    return result
