"""Cuts a number of rows into tiles of nearly equal height, and tiles into blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from chainrule.program.compiler.llvm.builder import Builder, Loop, Value
from chainrule.program.compiler.products.product import (
    maximum,
    minimum,
    quotient,
    remainder,
)


@dataclass(frozen=True)
class Tiling:
    """``total`` things in as few tiles of at most ``largest`` as possible: first the larger ones.

    128 rows in tiles of at most 6 are 18 tiles of 6 and 4 of 5, not 21 of 6 and one of 2: the last
    one would take as long as the others.
    """

    total: int
    largest: int

    @property
    def count(self) -> int:
        """Number of tiles."""
        return -(-self.total // self.largest)

    @property
    def tall(self) -> tuple[int, int]:
        """``(how many, size)`` of the larger tiles; all of them where they are equal."""
        if not self.count:
            return 0, 0
        size, more = divmod(self.total, self.count)
        return (more, size + 1) if more else (self.count, size)

    @property
    def size(self) -> int:
        """Size of the larger tiles."""
        return self.tall[1]

    def start(self, tile: int) -> int:
        """First thing of a tile; the total for the tile after the last."""
        many, size = self.tall
        return tile * size - max(0, tile - many)

    def start_value(self, builder: Builder, tile: Value) -> Value:
        """The same for a tile that is known when the code runs."""
        many, size = self.tall
        start = builder.mul(tile, builder.i64(size))
        if many == self.count:
            return start
        beyond = maximum(builder, builder.sub(tile, builder.i64(many)), 0)
        return builder.sub(start, beyond)

    def loop(
        self, builder: Builder, first: Value, last: Value, body: Callable[[Value, int], None]
    ) -> None:
        """Write loops over tiles first to last (exclusive): ``body(start, size)`` once a size."""
        many, size = self.tall
        for low, high, height in ((0, many, size), (many, self.count, size - 1)):
            if low == high:
                continue
            begin = maximum(builder, first, low) if low else first
            end = minimum(builder, last, high) if high < self.count else last
            tiles = known_range(begin, end)
            if tiles is not None and len(tiles) == 1:
                body(builder.i64(self.start(tiles[0])), height)
            elif tiles is None or len(tiles) > 1:
                with counting(builder, begin, end) as tile:
                    body(frozen(builder, self.start_value(builder, tile.index)), height)


def frozen(builder: Builder, x: Value) -> Value:
    """x, of which LLVM knows nothing: not, above all, that it counts.

    It costs no instruction. LLVM's loop strength reduction searches long for better addressing
    than a cursor and constant offsets, and finds none; what it cannot see through it leaves alone.
    """
    return builder.define(x.type, f"freeze {x.type} {x.name}")


def known_range(first: Value, last: Value) -> range | None:
    """The numbers from first to last, if both are known while code is written."""
    if first.name.isdigit() and last.name.isdigit():
        return range(int(first.name), int(last.name))
    return None


def counting(
    builder: Builder, first: Value, last: Value, step: int = 1, carried: Sequence[Value] = ()
) -> AbstractContextManager[Loop]:
    """``builder.loop``, which skips its test on entry where both bounds are known."""
    known = known_range(first, last)
    if known is None:
        return builder.loop(first, last, step, carried)
    return builder.loop(known.start, known.stop, step, carried)


def block_ranges(builder: Builder, block: Value, size: int, total: int) -> tuple[Value, Value]:
    """First and last (exclusive) of block number ``block`` of ``size`` things out of ``total``."""
    first = builder.mul(block, builder.i64(size))
    return first, minimum(builder, builder.add(first, builder.i64(size)), total)


def split_task(builder: Builder, task: Value, rows: int, columns: int) -> tuple[Value, Value]:
    """The place of a task in a grid of blocks; neighbours in a row of the grid come first."""
    if columns == 1:
        return task, builder.i64(0)
    if rows == 1:
        return builder.i64(0), task
    return quotient(builder, task, columns), remainder(builder, task, columns)


def vectors_of(columns: int, lanes: int) -> Iterator[tuple[int, int]]:
    """``(first column, lanes in use)`` of each vector that covers ``columns`` columns."""
    for first in range(0, columns, lanes):
        yield first, min(lanes, columns - first)
