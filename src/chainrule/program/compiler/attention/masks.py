"""Masks in tiles: numbers added to scores, −inf where a query may not look.

A mask of keys (the filling of short texts) is a row of numbers for each block of keys; blocks in
which no key is seen are left out. A mask of pairs is read a block at a time, and turned where lanes
are queries.
"""

from __future__ import annotations

import math

from chainrule.program.compiler.attention.blocks import Blocks, Rows
from chainrule.program.compiler.attention.geometry import Geometry
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of, vector
from chainrule.program.compiler.products.packing import transpose
from chainrule.program.compiler.products.product import minimum


def _visible(b: Builder, x: Value) -> Value:
    """Which of the numbers let a key take part."""
    return b.compare("une", x, b.constant(x.type, -math.inf))


def _any(b: Builder, x: Value) -> Value:
    return x if lanes_of(x.type) == 1 else b.call_intrinsic("llvm.vector.reduce.or", "i1", x)


def _any_key(b: Builder, blocks: Blocks, numbers: Value, count: Value) -> Value:
    """True if one of a row of numbers is not −inf."""
    with b.loop(b.i64(0), count, 1, [b.constant("i1", False)]) as i:
        x = b.load(blocks.element, blocks.at(numbers, i.index))
        i.carry(b.binary("or", i.carried[0], _visible(b, x)))
    return i.results[0]


class ForwardMask:
    """What is added to scores that stand as ``[key][query]``.

    Args:
        blocks: The function's.
        memory: Where the mask lies.
        rows: Its rows.
    """

    def __init__(self, blocks: Blocks, memory: Memory, rows: Rows) -> None:
        self.b, self.blocks, self.memory, self.rows = blocks.b, blocks, memory, rows
        g = self.geometry
        if g.masked == "pairs":
            # vectors may begin before the block, where keys end within one, and end behind it
            room = blocks.room((2 * g.lanes + g.rows) * g.width)
            self.tile = blocks.at(room, g.lanes * g.width)

    @property
    def geometry(self) -> Geometry:
        """Sizes."""
        return self.blocks.geometry

    def start(self, batch: Value, head: Value) -> None:
        """Begin with a head."""
        self.base = self.rows.first(self.b, self.memory, batch, head, self.blocks.element)

    def any_key(self, first: Value) -> Value:
        """True if some query may look at the block of keys from ``first`` on."""
        g, b = self.geometry, self.b
        if g.masked == "pairs":
            return b.constant("i1", True)
        count = minimum(b, b.sub(b.i64(g.keys), first), g.rows)
        return _any_key(b, self.blocks, self.blocks.at(self.base, first), count)

    def any_pair(self, query: Value, first: Value, rows: Value) -> Value:
        """Read a panel of queries and ``rows`` keys; true if one may look at one."""
        g, b, blocks = self.geometry, self.b, self.blocks
        if g.masked == "keys":
            return b.constant("i1", True)
        stride = b.i64(self.rows.stride(self.memory))
        none = b.zero(vector("i1", g.lanes))
        last = b.sub(b.i64(g.keys - g.lanes), first)
        with b.loop(0, g.width, g.lanes, [none]) as i:
            with b.loop(b.i64(0), rows, g.lanes, [i.carried[0]]) as j:
                key = b.select(b.compare("slt", last, j.index), last, j.index)
                block, seen = [], j.carried[0]
                for n in range(g.lanes):
                    own = b.add(b.add(query, i.index), b.i64(n))
                    own = minimum(b, own, g.queries - 1)
                    place = b.add(b.mul(own, stride), b.add(first, key))
                    block.append(b.load(blocks.type, blocks.at(self.base, place)))
                    seen = b.binary("or", seen, _visible(b, block[-1]))
                to = blocks.at(self.tile, b.add(b.mul(key, b.i64(g.width)), i.index))
                for n, x in enumerate(transpose(b, block)):
                    b.store(x, blocks.at(to, n * g.width))
                j.carry(seen)
            i.carry(j.results[0])
        return _any(b, i.results[0])

    def numbers(self, first: Value, row: Value, part: int) -> Value:
        """What is added to the scores of a block's key, for a vector of queries of the panel."""
        g, b, blocks = self.geometry, self.b, self.blocks
        if g.masked == "keys":
            x = b.load(blocks.element, blocks.at(self.base, b.add(first, row)))
            return b.splat(x, g.lanes)
        place = b.add(b.mul(row, b.i64(g.width)), b.i64(part * g.lanes))
        return b.load(blocks.type, blocks.at(self.tile, place))


class BackwardMask:
    """What is added to scores that stand as ``[query][key]``, −inf behind the last key.

    Args:
        blocks: The function's.
        memory: Where the mask lies.
        rows: Its rows; None: it serves for the last keys alone.
    """

    def __init__(self, blocks: Blocks, memory: Memory, rows: Rows | None) -> None:
        self.b, self.blocks, self.memory, self.rows = blocks.b, blocks, memory, rows
        g = blocks.geometry
        self.ragged = g.keys % g.lanes != 0
        self.row = blocks.room(g.block_keys)

    def start(self, batch: Value, head: Value, first: Value) -> Value:
        """Begin with a head and the keys from ``first`` on; false if none of them takes part."""
        g, b, blocks = self.blocks.geometry, self.b, self.blocks
        self.first = first
        self.there = minimum(b, b.sub(b.i64(g.keys), first), g.block_keys)
        if self.rows is None:
            blocks.fill(self.row, g.block_keys)
            self._close()
            return b.constant("i1", True)
        self.base = self.rows.first(b, self.memory, batch, head, blocks.element)
        if g.masked == "pairs":
            return b.constant("i1", True)
        self._copy(b.i64(0))
        return _any_key(b, blocks, self.row, self.there)

    def of(self, query: Value) -> Value:
        """The address of a query's numbers, in order of keys."""
        g, b, blocks = self.blocks.geometry, self.b, self.blocks
        if self.rows is None or g.masked == "keys":
            return self.row
        own = b.mul(minimum(b, query, g.queries - 1), b.i64(self.rows.stride(self.memory)))
        if self.ragged:
            self._copy(own)
            return self.row
        return blocks.at(self.base, b.add(own, self.first))

    def _copy(self, place: Value) -> None:
        b, blocks = self.b, self.blocks
        source = blocks.at(self.base, b.add(place, self.first))
        with b.loop(b.i64(0), self.there) as i:
            x = b.load(blocks.element, blocks.at(source, i.index))
            b.store(x, blocks.at(self.row, i.index))
        self._close()

    def _close(self) -> None:
        b, blocks = self.b, self.blocks
        hidden = b.constant(blocks.element, -math.inf)
        with b.loop(self.there, b.i64(blocks.geometry.block_keys)) as i:
            b.store(hidden, blocks.at(self.row, i.index))
