"""Groups: instructions that share a kernel, and the order in which groups run."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS
from chainrule.program.compiler.lowering.reductions import FOLDS
from chainrule.program.compiler.read_patterns import read_pattern

VIRTUAL = frozenset(
    (
        *("reshape", "transpose", "broadcast_to", "slice", "flip", "pad", "concatenate"),
        *("iota", "identity", "stop_gradient", "batch_rows", "windows"),
    )
)


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
        self.sources: set[Group] = set()  # groups that members read
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


def is_single(instruction: Instruction) -> bool:
    """True if it has a kernel all of its own, or loops, and no part in others' loops."""
    return instruction.op.name not in ELEMENTS and instruction.op.name not in FOLDS


def all_outer(
    shape: tuple[int, ...], without: int | None = None
) -> tuple[tuple[int, ...], tuple[int | None, ...]]:
    """Common loops over all axes of a shape but one, and the loop of each axis."""
    outer: list[int] = []
    places: list[int | None] = []
    for axis, extent in enumerate(shape):
        if extent == 1 or axis == without:
            places.append(None)
        else:
            places.append(len(outer))
            outer.append(extent)
    return tuple(outer), tuple(places)


class Grouping:
    """Which instructions of a block are in which group, and who reads what.

    Args:
        block: What is grouped.
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
        self._sources: dict[Tensor, set[Tensor]] = {}

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
            if member in self.products or is_single(member) or member.op.name in FOLDS:
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

    def depend(self, group: Group, ancestors: int) -> None:
        """Let a group, and what needs it, need groups more: bits by number."""
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
            self.depend(group, other.ancestors | 1 << other.number)
        return True


def ordered(groups: Sequence[Group], early: Collection[Instruction] = ()) -> list[Group]:
    """The groups so that each comes after its ancestors; otherwise in order of their numbers.

    Args:
        groups: Groups by number.
        early: Founders of groups that run as soon as they can, if no group needs theirs: what they
            read is then still in the cache, and its memory is free the sooner. Products come first
            among them: what they pack need not wait for the work before.
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
        group = min(last, key=lambda g: g.kind != "product") if last else ready[0]
        pending.remove(group)
        result.append(group)
        done |= 1 << group.number
    return result
