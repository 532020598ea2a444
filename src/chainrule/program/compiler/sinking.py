"""Elementwise work moves into the one group that reads it: its values then never go to memory."""

from __future__ import annotations

from chainrule.program.compiler.groups import Group, Grouping, is_single
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS
from chainrule.program.compiler.read_patterns import read_pattern

Readers = dict[Tensor, list[Instruction]]


def sink(grouping: Grouping) -> None:
    """Move elementwise work that one other group alone reads into that group.

    Work that merely runs beside other work (the same update of several weights) moves by
    itself.
    """
    readers: Readers = {}
    for group in grouping.groups:
        for member in group.members:
            for tensor in {t for x in member.operands for t in grouping.sources(x)}:
                readers.setdefault(tensor, []).append(member)
    for group in reversed(list(grouping.groups)):
        if group.kind == "nest" and all(m.op.name in ELEMENTS for m in group.members):
            for members in _strands(grouping, group):
                _sink_together(grouping, group, members, readers)


def _strands(grouping: Grouping, group: Group) -> list[list[Instruction]]:
    """A group's members, those together that read one another."""
    own = {r: m for m in group.members for r in m.results}
    strand: dict[Instruction, list[Instruction]] = {}
    for member in group.members:
        mine = strand[member] = [member]
        read = {own[s] for x in member.operands for s in grouping.sources(x) if s in own}
        for other in read:
            theirs = strand[other]
            if theirs is not mine:
                mine += theirs
                strand.update(dict.fromkeys(theirs, mine))
    unique = {id(members): set(members) for members in strand.values()}
    return [[m for m in group.members if m in members] for members in unique.values()]


def _sink_together(
    grouping: Grouping, group: Group, members: list[Instruction], readers: Readers
) -> None:
    own = {r for m in members for r in m.results}
    if own & grouping.forced:
        return
    reading = dict.fromkeys(m for tensor in own for m in readers.get(tensor, ()))
    users = [m for m in reading if grouping.group_of[m.results[0]] is not group]
    homes = {grouping.group_of[m.results[0]] for m in users}
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
    if not all(_reads_aligned(grouping, user, own, group, home, turned) for user in users):
        return
    if sorted(turned) != list(range(len(group.outer))) or len({*turned.values()}) < len(turned):
        return
    first = 1 if home.kind == "product" else 0
    home.members[first:first] = members
    for tensor in own:
        grouping.group_of[tensor] = home
        places = group.places[tensor]
        home.places[tensor] = tuple(None if p is None else turned[p] for p in places)
    group.members = [m for m in group.members if m not in members]
    if group.members:
        return  # the home still runs after it, which is earlier than it needs to
    grouping.groups[group.number] = Group(group.number, "empty", ())
    for other in grouping.groups:
        if other.ancestors >> group.number & 1:
            other.ancestors = (other.ancestors | group.ancestors) & ~(1 << group.number)


def _reads_aligned(
    grouping: Grouping,
    user: Instruction,
    tensors: set[Tensor],
    group: Group,
    home: Group,
    turned: dict[int, int],
) -> bool:
    """True if the user reads the tensors at its own group's loop counters.

    Args:
        grouping: All groups.
        user: Reads some of them.
        tensors: Those of the group.
        group: Whose they are.
        home: The user's group.
        turned: Loop of the group → loop of the home that takes its place; is added to.
    """
    if user in grouping.products or is_single(user):
        return False
    reads = read_pattern(user, grouping.is_leaf)
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
