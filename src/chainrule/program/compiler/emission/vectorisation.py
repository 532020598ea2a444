"""Which axis of a kernel runs in vector lanes, and over how many.

The choice counts memory accesses: consecutive ones are cheap, equal ones nearly free, scattered
ones cost a load a lane. It looks at the kernel and the target only, so it never changes a bit of
a result from run to run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from chainrule.program.compiler.emission.memory import Offset
from chainrule.program.compiler.expressions import Load, RandomWord
from chainrule.program.compiler.indices import Axis, Index, Lookup, Quotient, Remainder
from chainrule.program.compiler.kernels import FoldInto, InnerLoop, Kernel, Store
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.target import Target

UNROLLED = 4
# the cost of reading or writing all lanes by the stride between them; others go lane by lane
LOADS = {0: 1.2, 1: 1.0, -1: 2.0, 2: 3.0}
GUARDED = {1: 1.0, -1: 3.0, 2: 4.0}
STORES = {0: 1.2, 1: 1.0}


@dataclass(frozen=True)
class Vectorisation:
    """The choice for one kernel.

    Args:
        outer: The common axis in lanes; None: each inner loop has its own.
        inner: The inner axis in lanes, for each inner loop; None: scalars.
        lanes: Lanes of a vector.
    """

    outer: Axis | None
    inner: tuple[Axis | None, ...]
    lanes: int


def choose(kernel: Kernel, target: Target, offset: Offset) -> Vectorisation:
    """The cheapest choice for a kernel."""
    width = target.lanes(_itemsize(kernel))
    random = any(isinstance(n, RandomWord) for e in kernel.expressions() for n in e.walk())
    if width == 1:
        return Vectorisation(None, (None,) * len(kernel.loops), 1)
    best: tuple[float, int, Vectorisation] | None = None
    folds = any(isinstance(s, FoldInto) for s in kernel.statements())
    for rank, axis in enumerate(reversed(kernel.outer)):
        lanes = width * UNROLLED if random or (folds and axis.extent >= width * UNROLLED) else width
        while lanes > width and (axis.extent < lanes or _is_uneven(kernel, axis, lanes, offset)):
            lanes //= 2
        price = sum(_price(kernel, loop, axis, width, offset) for loop in kernel.loops) * _waste(
            axis.extent, width
        )
        candidate = (price, rank, Vectorisation(axis, (None,) * len(kernel.loops), lanes))
        if best is None or candidate[:2] < best[:2]:
            best = candidate
    lanes = width * UNROLLED if random else width
    inner = tuple(_best_inner(kernel, loop, width, offset) for loop in kernel.loops)
    price = sum(
        _price(kernel, loop, axis, width, offset) * (_waste(axis.extent, width) if axis else width)
        + (20 * width if axis and any(isinstance(s, FoldInto) for s in loop.statements) else 0)
        for loop, axis in zip(kernel.loops, inner, strict=True)
    )
    if best is None or price < best[0]:
        return Vectorisation(None, inner, lanes)
    return best[2]


def _itemsize(kernel: Kernel) -> int:
    sizes = [e.dtype.itemsize for e in kernel.expressions() if e.dtype.kind in "fV"] + [
        s.tensor.dtype.itemsize for s in kernel.statements() if s.tensor.dtype.kind in "fV"
    ]
    return max(4, max(sizes, default=4))


def _waste(extent: int, width: int) -> float:
    """Lanes paid for a lane used."""
    return math.ceil(extent / width) * width / extent if extent else 1.0


def _best_inner(kernel: Kernel, loop: InnerLoop, width: int, offset: Offset) -> Axis | None:
    if not loop.axes or any(
        isinstance(s, FoldInto) and s.fold.kind == "cumsum" for s in loop.statements
    ):
        return None
    return min(
        reversed(loop.axes),
        key=lambda axis: _price(kernel, loop, axis, width, offset) * _waste(axis.extent, width),
    )


def _price(kernel: Kernel, loop: InnerLoop, axis: Axis | None, width: int, offset: Offset) -> float:
    """The cost of the loop's accesses for one turn of the common loops, in loads a vector."""
    trips = math.prod(a.extent for a in loop.axes)
    total = 0.0
    for places, costs in _accesses(loop, offset):
        if axis is None or axis not in places.axes:
            total += 0.25
            continue
        stride = stride_of(places, axis, width)
        total += 1.5 * width if stride is None else costs.get(stride, 1.5 * width)
    total += 0.5 * sum(1 for _ in loop.values) + 0.5 * len(loop.statements)
    return total * trips


def _accesses(loop: InnerLoop, offset: Offset) -> list[tuple[Index, dict[int, float]]]:
    """Where the loop reads and writes memory, and what that costs by stride."""
    found: dict[Load, None] = {}
    for value in loop.values.values():
        found.update(dict.fromkeys(loads(value)))
    stores = []
    for statement in loop.statements:
        if isinstance(statement, Store):
            found.update(dict.fromkeys(loads(statement.value)))
            stores.append((offset(statement.tensor, statement.indices), STORES))
        else:
            found.update(dict.fromkeys(loads(statement.fold.value)))
    return [
        (offset(x.tensor, x.indices), LOADS if x.guard is None else GUARDED) for x in found
    ] + stores


def _is_uneven(kernel: Kernel, axis: Axis, lanes: int, offset: Offset) -> bool:
    return any(
        axis in places.axes and stride_of(places, axis, lanes) is None
        for loop in kernel.loops
        for places, _ in _accesses(loop, offset)
    )


def stride_of(index: Index, axis: Axis, lanes: int) -> int | None:
    """The stride from lane to lane of an index if ``axis`` were in lanes; None: uneven."""
    total = 0
    for atom, coefficient in index.terms.items():
        if axis not in atom.axes:
            continue
        if atom is axis:
            total += coefficient
            continue
        if isinstance(atom, Lookup) or atom.divisor % lanes:
            return None
        if stride_of(atom.index, axis, lanes) != 1 or not _starts_block(atom.index, axis, lanes):
            return None
        total += 0 if isinstance(atom, Quotient) else coefficient
        assert isinstance(atom, Quotient | Remainder)
    return total


def _starts_block(index: Index, axis: Axis, lanes: int) -> bool:
    return index.constant % lanes == 0 and all(
        a is axis or c % lanes == 0 for a, c in index.terms.items()
    )
