"""A block as work in order: kernels, loops and branches, with the memory that they read and write.

The schedule is a tree: kernels are its leaves, a ``scan`` or ``while_loop`` an item that holds the
items of its body, a ``cond`` one that holds those of both branches. Threads run it side by side;
``Barrier`` marks are put where one reads what another wrote.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from chainrule.program.compiler.instructions import Tensor

MICROSECOND = 2e4  # of arithmetic on one core, in operations: a cautious estimate


@dataclass(eq=False)
class KernelItem:
    """One kernel.

    Args:
        name: Its function in the module.
        pointers: The tensors whose addresses it takes, in order.
        reads: Those that it reads.
        writes: Those that it writes.
        tasks: Pieces that threads share; 1: the first thread runs it.
        blames: Numbers of the instructions whose indices it checks.
        flops: Arithmetic of one run.
        moved: Bytes read and written by one run, at least.
        scratch: Bytes of memory that it needs beside tensors, shared by all tasks.
        title: What it does, for listings and profiles.
        where: The layers, or the line of the user's, that it comes from.
        gain: How much faster its arithmetic is than that of a loop over elements.
    """

    name: str
    pointers: list[Tensor]
    reads: set[Tensor]
    writes: set[Tensor]
    tasks: int
    blames: list[int] = field(default_factory=list)
    flops: float = 0.0
    moved: float = 0.0
    scratch: Tensor | None = None
    title: str = ""
    where: str = ""
    gain: float = 1.0

    @property
    def microseconds(self) -> float:
        """What one run takes on one core, by a cautious estimate."""
        return max(self.flops / self.gain, self.moved / 2) / MICROSECOND


@dataclass(frozen=True, eq=False)
class Carried:
    """What a ``scan`` hands from turn to turn without copying it.

    Args:
        inside: Tensor of the body that reads it.
        start: What it is in the first turn.
        rows: Where later turns find it: in the row of the turn before, the rows being used in turn
            if there are fewer of them than turns.
        new: Tensor of the body that writes it; None if it is among the slices of ``rows``.
        result: Where the last turn writes it, with ``new``.
    """

    inside: Tensor
    start: Tensor
    rows: Tensor
    new: Tensor | None = None
    result: Tensor | None = None

    @property
    def outside(self) -> list[Tensor]:
        """The tensors whose memory it needs."""
        return [self.start, self.rows, *([] if self.result is None else [self.result])]


@dataclass(eq=False)
class LoopItem:
    """The body of a ``scan`` (a fixed number of turns) or ``while_loop`` (while ``test`` is true).

    Args:
        length: Number of turns; None: as long as ``test`` holds.
        reverse: Count downwards.
        slices: Tensor of the body → the tensor outside of which it is one row a turn.
        body: What one turn runs.
        carried: What is handed from turn to turn.
        test_items: What computes ``test`` before every turn.
        test: A bool scalar.
        views: Tensor of the body → the tensor of which it is the end, and the byte it begins at.
    """

    length: int | None
    reverse: bool
    slices: dict[Tensor, Tensor]
    body: list[Item]
    carried: list[Carried] = field(default_factory=list)
    test_items: list[Item] = field(default_factory=list)
    test: Tensor | None = None
    views: dict[Tensor, tuple[Tensor, int]] = field(default_factory=dict)


@dataclass(eq=False)
class BranchItem:
    """Runs one of two lists by a bool scalar."""

    chosen: Tensor
    on_true: list[Item]
    on_false: list[Item]


@dataclass(eq=False)
class CheckItem:
    """All threads leave the program if this loss is not finite."""

    loss: Tensor


class Barrier:
    """All threads wait for each other."""


Item = KernelItem | LoopItem | BranchItem | CheckItem | Barrier


def kernels(items: Sequence[Item]) -> Iterator[KernelItem]:
    """All kernels of a schedule in order."""
    for item in items:
        if isinstance(item, KernelItem):
            yield item
        elif isinstance(item, LoopItem):
            yield from kernels(item.test_items)
            yield from kernels(item.body)
        elif isinstance(item, BranchItem):
            yield from kernels(item.on_true)
            yield from kernels(item.on_false)


def overwritten(item: Item) -> Iterator[Tensor]:
    """What an item writes; of a loop also the tensors outside whose rows the body writes."""
    inside: set[Tensor] = set()
    for kernel in kernels([item]):
        inside |= kernel.writes
    yield from inside
    for loop in _loops([item]):
        yield from (outside for x, outside in loop.slices.items() if x in inside)
        yield from (x.result for x in loop.carried if x.result is not None)


def _loops(items: Sequence[Item]) -> Iterator[LoopItem]:
    for item in items:
        if isinstance(item, LoopItem):
            yield item
            yield from _loops([*item.test_items, *item.body])
        elif isinstance(item, BranchItem):
            yield from _loops([*item.on_true, *item.on_false])


def listing(items: Sequence[Item], indent: str = "  ") -> str:
    """The schedule as text: a line an item, kernels with their work."""
    lines = []
    for item in items:
        if isinstance(item, KernelItem):
            tasks = "1 task" if item.tasks == 1 else f"{item.tasks} tasks"
            work = f"{tasks}, {item.flops / 1e6:.3f} MFLOP, {item.moved / 1e6:.3f} MB"
            place = f", of {item.where}" if item.where else ""
            lines.append(f"{indent}{item.name} {item.title}: {work}{place}")
        elif isinstance(item, Barrier):
            lines.append(f"{indent}barrier")
        elif isinstance(item, CheckItem):
            lines.append(f"{indent}leave unless {item.loss!r} is finite")
        elif isinstance(item, LoopItem):
            if item.length is None:
                lines += [
                    f"{indent}while",
                    listing(item.test_items, indent + "    "),
                    f"{indent}do",
                ]
            else:
                lines.append(f"{indent}for {item.length} turns")
            lines.append(listing(item.body, indent + "  "))
        else:
            lines += [f"{indent}if {item.chosen!r}", listing(item.on_true, indent + "  ")]
            lines += [f"{indent}else", listing(item.on_false, indent + "  ")]
    return "\n".join(lines)


def touched(items: Sequence[Item]) -> Iterator[Tensor]:
    """Every tensor whose memory a schedule needs."""
    for item in items:
        if isinstance(item, KernelItem):
            yield from item.pointers
        elif isinstance(item, CheckItem):
            yield item.loss
        elif not isinstance(item, Barrier):
            yield from _own(item)
            for part in _parts(item):
                yield from touched(part)


Resolve = Callable[[Tensor], Tensor]


def place_barriers(items: Sequence[Item], root: Resolve) -> list[Item]:
    """Put a barrier before what reads (or overwrites) what another thread wrote (or reads).

    Args:
        items: A schedule without barriers.
        root: The tensor whose memory a tensor lies in (a row of a scanned array lies in it).
    """
    result: list[Item] = []
    read: dict[Tensor, bool] = {}
    written: dict[Tensor, bool] = {}

    def wait() -> None:
        if read or written:
            result.append(Barrier())
            read.clear()
            written.clear()

    for item in items:
        if not isinstance(item, KernelItem):
            wait()
            result.append(_inside(item, root))
            result.append(Barrier())  # after a check too: so all threads decide on the same word
            continue
        alone = item.tasks <= 1
        reads = {root(x) for x in item.reads}
        writes = {root(x) for x in item.writes}
        clash = any(not (alone and written[x]) for x in reads | writes if x in written)
        clash |= any(not (alone and read[x]) for x in writes if x in read)
        if clash:
            wait()
        result.append(item)
        for x in reads:
            read[x] = read.get(x, True) and alone
        for x in writes:
            written[x] = written.get(x, True) and alone
    return result


def _inside(item: Item, root: Resolve) -> Item:
    if isinstance(item, LoopItem):
        item.body = [*place_barriers(item.body, root), Barrier()]
        item.test_items = [*place_barriers(item.test_items, root), Barrier()]
    elif isinstance(item, BranchItem):
        item.on_true = [*place_barriers(item.on_true, root), Barrier()]
        item.on_false = [*place_barriers(item.on_false, root), Barrier()]
    return item


def lifetimes(items: Sequence[Item], root: Resolve) -> dict[Tensor, tuple[int, int]]:
    """First and last stretch between barriers in which each tensor's memory is in use.

    What a loop or branch touches is in use for all of it.
    """
    found: dict[Tensor, tuple[int, int]] = {}
    clock = 0

    def touch(tensor: Tensor, first: int, last: int) -> None:
        owner = root(tensor)
        a, b = found.get(owner, (first, last))
        found[owner] = min(a, first), max(b, last)

    def walk(part: Sequence[Item]) -> None:
        nonlocal clock
        for item in part:
            if isinstance(item, Barrier):
                clock += 1
            elif isinstance(item, CheckItem):
                touch(item.loss, clock, clock)
            elif isinstance(item, KernelItem):
                for tensor in [*item.reads, *item.writes]:
                    touch(tensor, clock, clock)
                if item.scratch is not None:
                    touch(item.scratch, clock, clock)
            else:
                start = clock
                inner = _parts(item)
                for each in inner:
                    walk(each)
                for each in inner:
                    for kernel in kernels(each):
                        for tensor in [*kernel.reads, *kernel.writes]:
                            touch(tensor, start, clock)
                        if kernel.scratch is not None:
                            touch(kernel.scratch, start, clock)
                for tensor in _own(item):
                    touch(tensor, start, clock)

    walk(items)
    return found


def _parts(item: Item) -> list[list[Item]]:
    if isinstance(item, LoopItem):
        return [item.test_items, item.body]
    assert isinstance(item, BranchItem)
    return [item.on_true, item.on_false]


def _own(item: Item) -> list[Tensor]:
    if isinstance(item, LoopItem):
        carried = [x for each in item.carried for x in each.outside]
        test = [] if item.test is None else [item.test]
        return [*item.slices.values(), *carried, *test]
    assert isinstance(item, BranchItem)
    return [item.chosen]


def allocate(
    lifetime: dict[Tensor, tuple[int, int]],
    owned: Sequence[Tensor],
    bytes_of: Callable[[Tensor], int],
    alignment: int = 64,
) -> tuple[dict[Tensor, int], int]:
    """Places in one arena for ``owned``, the biggest first, so that none in use at once overlap.

    Args:
        lifetime: When each is in use.
        owned: What to place.
        bytes_of: Bytes of memory of a tensor.
        alignment: Of every place, in bytes.

    Returns:
        Offset of each in bytes, and the arena's size.
    """
    placed: list[tuple[int, int, int, int]] = []
    offsets: dict[Tensor, int] = {}
    size = 0
    for tensor in sorted(owned, key=lambda t: -bytes_of(t)):
        first, last = lifetime.get(tensor, (0, 0))
        # room beyond the end, so that a whole vector may be read at the last element
        need = -(-(bytes_of(tensor) + alignment) // alignment) * alignment
        start = 0
        for a, b, low, high in sorted(placed, key=lambda p: p[2]):
            if b < first or a > last:
                continue
            if low - start >= need:
                break
            start = max(start, high)
        offsets[tensor] = start
        placed.append((first, last, start, start + need))
        size = max(size, start + need)
    return offsets, size
