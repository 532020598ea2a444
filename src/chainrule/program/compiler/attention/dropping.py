"""Weights dropped at random: the same draws wherever a weight is computed, so none is stored.

The word of a weight is that of its place in (batch, heads, queries, keys), four to a block of
Philox. Where lanes are queries a block in each lane serves four keys; where they are keys the words
of a row are written in order and read again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from chainrule.program.compiler.attention.blocks import Blocks, number
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Constant, Load
from chainrule.program.compiler.llvm import philox
from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.llvm.types import vector


class Dropping:
    """Says which weights are kept.

    Args:
        blocks: The function's.
        memory: Where the numbers lie.
        numbers: Two key words, the largest word that keeps a weight, and the factor of what is
            kept.
    """

    def __init__(self, blocks: Blocks, memory: Memory, numbers: Sequence[Constant | Load]) -> None:
        b, g = blocks.b, blocks.geometry
        self.b, self.blocks = b, blocks
        kinds = ("i32", "i32", "i32", g.element)
        first, second, limit, factor = (
            number(b, memory, x, kind) for x, kind in zip(numbers, kinds, strict=True)
        )
        self.key = b.splat(first, g.lanes), b.splat(second, g.lanes)
        self.limit = b.splat(limit, g.lanes)
        self.factor = b.splat(factor, g.lanes)
        self.aligned = g.keys % 4 == 0
        self.room = b.stack("i32", g.block_keys + 4 + 4 * g.lanes)

    def place(self, batch: Value, head: Value, query: Value, key: Value) -> Value:
        """Which weight of all it is."""
        g, b = self.blocks.geometry, self.b
        row = b.add(b.mul(batch, b.i64(g.heads)), head)
        row = b.add(b.mul(row, b.i64(g.queries)), query)
        return b.add(b.mul(row, b.i64(g.keys)), key)

    def _kept(self, words: Value) -> Value:
        return self.b.compare("ule", words, self.limit)

    # -- lanes are queries ------------------------------------------------------------------------

    def drop(self, place: Value, rows: Value, slot: Callable[[Value, int], Value]) -> None:
        """Put 0 in the place of what is dropped.

        Args:
            place: Number of the first query's weight of the first key; keys of a block begin at a
                multiple of 4.
            rows: Keys; up to three more are written.
            slot: The address of the weights of a key, for a vector of the panel's queries.
        """
        g, b, blocks = self.blocks.geometry, self.b, self.blocks
        parts = range(g.tile_vectors)
        counters, phases = [], []
        for j in parts:
            steps = [(j * g.lanes + n) * g.keys for n in range(g.lanes)]
            places = b.splat(place, g.lanes)
            places = b.add(places, b.constants("i64", steps) if g.lanes > 1 else b.i64(steps[0]))
            counters.append(b.binary("lshr", places, b.constant(places.type, 2)))
            phase = b.binary("and", places, b.constant(places.type, 3))
            phases.append(b.convert("trunc", phase, "i32"))
        carried = [] if self.aligned else [w for c in counters for w in self._words(c)]
        with b.loop(b.i64(0), rows, 4, carried) as i:
            turn = b.binary("lshr", i.index, b.i64(2))
            turn = b.splat(turn if self.aligned else b.add(turn, b.i64(1)), g.lanes)
            following = []
            for j in parts:
                words = self._words(b.add(counters[j], turn))
                following += words
                if not self.aligned:
                    words = self._shifted([*i.carried[4 * j : 4 * j + 4], *words], phases[j])
                for n, word in enumerate(words):
                    at = slot(b.add(i.index, b.i64(n)), j)
                    x = b.load(blocks.type, at)
                    b.store(b.select(self._kept(word), x, b.zero(blocks.type)), at)
            if carried:
                i.carry(*following)

    def _words(self, counter: Value) -> list[Value]:
        """The four words of each lane's block."""
        b = self.b
        high = b.binary("lshr", counter, b.constant(counter.type, 32))
        low, high = (b.convert("trunc", x, "i32") for x in (counter, high))
        zero = b.zero(low.type)
        return list(philox.random_words(b, *self.key, low, high, zero, zero))

    def _shifted(self, words: Sequence[Value], phase: Value) -> list[Value]:
        """Four of eight words, from that of each lane's phase on."""
        b = self.b
        tests = [b.compare("eq", phase, b.constant(phase.type, n)) for n in range(3)]
        found = []
        for n in range(4):
            word = words[n + 3]
            for test, other in reversed([*zip(tests, words[n : n + 3], strict=True)]):
                word = b.select(test, other, word)
            found.append(word)
        return found

    # -- lanes are keys ---------------------------------------------------------------------------

    def draw(self, place: Value, count: Value) -> None:
        """Draw the words of some weights of one query, from number ``place`` on."""
        g, b = self.blocks.geometry, self.b
        phase = b.i64(0) if self.aligned else b.binary("and", place, b.i64(3))
        block = b.binary("lshr", place, b.i64(2))
        numbers = b.constants("i64", range(g.lanes)) if g.lanes > 1 else b.i64(0)
        with b.loop(b.i64(0), b.add(count, phase), 4 * g.lanes) as i:
            turn = b.add(block, b.binary("lshr", i.index, b.i64(2)))
            words = self._words(b.add(b.splat(turn, g.lanes), numbers))
            at = b.offset(self.room, i.index, "i32")
            if g.lanes == 1:
                for n, word in enumerate(words):
                    b.store(word, b.offset(at, n, "i32"))
            else:
                halves = [b.shuffle(x, y, range(2 * g.lanes)) for x, y in (words[:2], words[2:])]
                order = [m * g.lanes + n for n in range(g.lanes) for m in range(4)]
                b.store(b.shuffle(halves[0], halves[1], order), at)
        self.row = b.offset(self.room, phase, "i32")

    def kept(self, key: Value, x: Value) -> Value:
        """``x`` times the factor for those of a vector of keys that are kept, 0 for the others."""
        b, g = self.b, self.blocks.geometry
        words = b.load(vector("i32", g.lanes), b.offset(self.row, key, "i32"))
        return b.select(self._kept(words), b.mul(x, self.factor), b.zero(x.type))
