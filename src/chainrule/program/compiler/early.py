"""Which groups run as soon as they can: those that nobody waits for.

A step's updates of weights, and the sums of gradients that go with them, are such. Left to the end
of a step whose values do not fit in the cache, they find nothing there of what they read, and all
gradients stay in memory until then.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from chainrule.program.compiler.groups import Grouping
from chainrule.program.compiler.instructions import Instruction, Tensor

CHECKED = frozenset(["gather", "scatter"])  # whose second operand is tested while they run
# what moves numbers and leaves none out
MOVED = frozenset(["broadcast_to", "reshape", "transpose", "flip", "concatenate", "barrier"])
LARGE = 1 << 22  # bytes of values of which most do not stay in the cache to the end of a step


def early_founders(
    grouping: Grouping,
    stored: Collection[Tensor],
    loss: Tensor | None,
    convolutions: Collection[Instruction],
) -> set[Instruction]:
    """Founders of the groups that run early where no group needs theirs.

    Of steps that end early where the loss is not finite or an index is bad these are all, if every
    index has been tested by the time that the loss is known: nothing may be overwritten before.

    Args:
        grouping: The groups of a block.
        stored: The values that it keeps in memory.
        loss: What must be finite before anything is overwritten.
        convolutions: Founders that run early in every block.
    """
    is_small = sum(x.bytes for x in stored if x.producer is not None) < LARGE
    if loss is None or is_small or not _all_tested(grouping, loss):
        return set(convolutions)
    return {group.members[0] for group in grouping.groups if group.members}


def _all_tested(grouping: Grouping, loss: Tensor) -> bool:
    """True if indices that the loss does not need are such as it has tested, in the same ranges."""
    needed = _behind([loss])
    tested: set[tuple[Tensor, tuple[int, ...]]] = set()
    later: set[tuple[Tensor, tuple[int, ...]]] = set()
    for x in grouping.block.instructions:
        if x.op.name in CHECKED:
            data, places = x.operands[:2]
            range_ = data.shape[: places.shape[-1]]
            found = {(index, range_) for index in _numbers(places)}
            (tested if x.results[0] in needed else later).update(found)
    return later <= tested


def _numbers(places: Tensor) -> set[Tensor]:
    """Where the numbers of some places come from, not having been computed with since.

    Those that are counted, or looked up in a table of such, lie where they are meant to.
    """
    pending, found = [places], set()
    while pending:
        x = pending.pop()
        made_by = "" if x.producer is None else x.producer.op.name
        if x.producer is not None and made_by in MOVED:
            pending += x.producer.operands
        elif x.producer is not None and made_by == "gather":
            found |= {x} if _numbers(x.producer.operands[0]) else set()
        elif x.constant is None and made_by != "iota":
            found.add(x)
    return found


def _behind(tensors: Iterable[Tensor]) -> set[Tensor]:
    """The tensors, and all that they are computed from."""
    pending = list(tensors)
    found: set[Tensor] = set()
    while pending:
        x = pending.pop()
        if x not in found:
            found.add(x)
            pending += [] if x.producer is None else x.producer.operands
    return found
