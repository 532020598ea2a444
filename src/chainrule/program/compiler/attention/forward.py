"""The forward pass: a block of queries against one block of keys after another.

Lanes are queries: scores stand as ``[key][query]``, so that maxima and sums over keys are plain
vector operations, and keys and values are read where broadcasts are cheap. The result grows as
``[feature][query]`` and is turned at the end.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Sequence

import numpy as np

from chainrule.program.compiler.attention.blocks import Blocks, Rows
from chainrule.program.compiler.attention.dropping import Dropping
from chainrule.program.compiler.attention.geometry import Geometry
from chainrule.program.compiler.attention.masks import ForwardMask
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Constant, Load
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.vector_math import FUNCTIONS
from chainrule.program.compiler.products.packing import transpose
from chainrule.program.compiler.products.product import maximum, minimum, quotient, remainder
from chainrule.program.compiler.products.tiling import Tiling


class ForwardEmitter:
    """Emits tasks: a block of queries of one head each.

    Args:
        geometry: Sizes.
        operands: Rows of queries, keys and values, and of the mask if there is one.
        numbers: What ``Dropping`` takes; empty: nothing is dropped.
        result: Rows of the result.
        normalisers: The tensor (batch, heads, queries, 2) of largest scores and inverse sums.
    """

    def __init__(
        self,
        geometry: Geometry,
        operands: Sequence[Rows],
        numbers: Sequence[Constant | Load],
        result: Rows,
        normalisers: Tensor,
    ) -> None:
        self.geometry = geometry
        self.query, self.key, self.value = operands[:3]
        self.mask_rows = operands[3] if geometry.masked else None
        self.numbers = numbers
        self.result = result
        self.normalisers = normalisers

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        g = self.geometry
        return g.batch * g.heads * -(-g.queries // g.columns)

    def emit(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end``."""
        g = self.geometry
        self.b, self.memory = b, memory
        self.blocks = blocks = Blocks(b, g)
        self.panels = g.columns // g.width
        self.plain = blocks.room(g.columns * max(g.features, g.value_features))
        self.turned = blocks.room(g.columns * g.features)
        self.keys = blocks.room(g.rows * g.features)
        self.values = blocks.room(g.rows * g.value_features)
        self.scores = blocks.room(g.rows * g.width)
        self.sums = blocks.room(g.columns * g.value_features)
        self.highest = blocks.room(g.columns)
        self.totals = blocks.room(g.columns)
        self.faded = blocks.room(g.width)
        rows = self.mask_rows
        self.mask = None if rows is None else ForwardMask(blocks, memory, rows)
        self.dropping = Dropping(blocks, memory, self.numbers) if g.dropped else None
        count = -(-g.queries // g.columns)
        with b.loop(begin, end) as task:
            head = quotient(b, task.index, count)
            start = b.mul(remainder(b, task.index, count), b.i64(g.columns))
            self._task(quotient(b, head, g.heads), remainder(b, head, g.heads), start)

    def _task(self, batch: Value, head: Value, start: Value) -> None:
        g, b, blocks, memory = self.geometry, self.b, self.blocks, self.memory
        shared = quotient(b, head, g.group)
        query = self.query.first(b, memory, batch, head, g.element)
        stride = self.query.stride(memory)
        blocks.copy(query, stride, start, g.columns, g.queries, g.features, self.plain)
        with b.loop(0, self.panels) as panel:
            place = b.mul(panel.index, b.i64(g.width * g.features))
            source, target = blocks.at(self.plain, place), blocks.at(self.turned, place)
            blocks.transpose(source, g.width, g.features, target, g.width)
        blocks.fill(self.sums, g.columns * g.value_features)
        blocks.fill(self.totals, g.columns)
        blocks.fill(self.highest, g.columns, self._lowest)
        if self.mask is not None:
            self.mask.start(batch, head)
        if self.dropping is not None:
            self.drawn = self.dropping.place(batch, head, b.i64(0), b.i64(0))
        key = self.key.first(b, memory, batch, shared, g.element)
        value = self.value.first(b, memory, batch, shared, g.element)
        last = b.i64(g.keys)
        if g.causal:
            last = minimum(b, b.add(start, b.i64(g.columns)), min(g.keys, g.queries))
        turns = quotient(b, b.add(last, b.i64(g.rows - 1)), g.rows)
        with b.loop(b.i64(0), turns) as turn:
            first = b.mul(turn.index, b.i64(g.rows))
            of_key, of_value = self.key.stride(memory), self.value.stride(memory)
            with contextlib.ExitStack() as some:
                if self.mask is not None and g.masked == "keys":
                    some.enter_context(b.when(self.mask.any_key(first)))
                blocks.copy(key, of_key, first, g.rows, g.keys, g.features, self.keys)
                blocks.copy(value, of_value, first, g.rows, g.keys, g.value_features, self.values)
                with b.loop(0, self.panels) as panel:
                    self._panel(panel.index, start, first)
        self._finish(batch, head, start)

    @property
    def _lowest(self) -> float:
        kind = np.float32 if self.geometry.element == "float" else np.float64
        return float(np.finfo(kind).min)

    # -- one panel of queries against one block of keys -------------------------------------------

    def _panel(self, panel: Value, start: Value, first: Value) -> None:
        """Skip panels whose queries see none of these keys, and that lie behind the last query."""
        g, b = self.geometry, self.b
        query = b.add(start, b.mul(panel, b.i64(g.width)))
        rows = minimum(b, b.sub(b.i64(g.keys), first), g.rows)
        if g.causal:
            seen = b.sub(b.add(query, b.i64(g.width)), first)
            fewer = b.compare("slt", seen, rows)
            rows = b.select(fewer, seen, rows)
        wanted = b.compare("sgt", rows, b.i64(0))
        there = b.compare("slt", query, b.i64(g.queries))
        with contextlib.ExitStack() as some:
            some.enter_context(b.when(b.binary("and", wanted, there)))
            if self.mask is not None and g.masked == "pairs":
                some.enter_context(b.when(self.mask.any_pair(query, first, rows)))
            self._scores(panel, rows)
            self._weights(panel, query, first, rows)
            self._add_values(panel)

    def _scores(self, panel: Value, rows: Value) -> None:
        g, b, blocks = self.geometry, self.b, self.blocks
        tiling = Tiling(g.rows, g.tile_rows)
        tiles = quotient(b, b.add(rows, b.i64(tiling.size - 1)), tiling.size)
        place = b.mul(panel, b.i64(g.width * g.features))
        blocks.multiply(
            (g.rows, g.width, g.features),
            (self.keys, g.features, 1),
            (blocks.at(self.turned, place), g.width),
            blocks.into(self.scores, g.width, add=False),
            (b.i64(0), tiles),
        )

    def _weights(self, panel: Value, query: Value, first: Value, rows: Value) -> None:
        """Turn scores into exp(score − highest so far); note how much what was there fades."""
        g, b, blocks = self.geometry, self.b, self.blocks
        place = b.mul(panel, b.i64(g.width))
        parts = range(g.tile_vectors)
        at = [b.add(place, b.i64(j * g.lanes)) for j in parts]
        before = [b.load(blocks.type, blocks.at(self.highest, a)) for a in at]
        limits = [self._limit(query, j) for j in parts]
        factor = b.constant(blocks.type, g.scale)
        with b.loop(b.i64(0), rows, 1, before) as row:
            highest = []
            for j in parts:
                slot = self._slot(row.index, j)
                x = b.load(blocks.type, slot)
                if self.mask is None:
                    x = b.mul(x, factor)
                else:
                    x = b.fma(x, factor, self.mask.numbers(first, row.index, j))
                x = self._masked(x, b.add(first, row.index), limits[j])
                b.store(x, slot)
                above = b.compare("ogt", x, row.carried[j])
                highest.append(b.select(above, x, row.carried[j]))
            row.carry(*highest)
        highest = row.results
        faded = [FUNCTIONS["exp"](b, b.sub(x, y)) for x, y in zip(before, highest, strict=True)]
        zeros = [b.zero(blocks.type) for _ in parts]
        with b.loop(b.i64(0), rows, 1, zeros) as row:
            sums = []
            for j in parts:
                slot = self._slot(row.index, j)
                x = FUNCTIONS["exp"](b, b.sub(b.load(blocks.type, slot), highest[j]))
                b.store(x, slot)
                sums.append(b.add(row.carried[j], x))
            row.carry(*sums)
        with b.loop(rows, b.i64(g.rows)) as rest:
            for j in parts:
                b.store(b.zero(blocks.type), self._slot(rest.index, j))
        if self.dropping is not None:
            drawn = b.add(self.drawn, b.add(b.mul(query, b.i64(g.keys)), first))
            self.dropping.drop(drawn, rows, self._slot)
        for j in parts:
            total = blocks.at(self.totals, at[j])
            b.store(b.fma(b.load(blocks.type, total), faded[j], row.results[j]), total)
            b.store(highest[j], blocks.at(self.highest, at[j]))
            b.store(faded[j], blocks.at(self.faded, j * g.lanes))

    def _slot(self, row: Value, j: int) -> Value:
        b, g = self.b, self.geometry
        place = b.add(b.mul(row, b.i64(g.width)), b.i64(j * g.lanes))
        return self.blocks.at(self.scores, place)

    def _limit(self, query: Value, j: int) -> Value | None:
        """The last key that each query of a vector sees; None where all see all."""
        g, b = self.geometry, self.b
        if not g.causal:
            return None
        own = b.convert("trunc", b.add(query, b.i64(j * g.lanes)), "i32")
        if g.lanes == 1:
            return own
        return b.add(b.splat(own, g.lanes), b.constants("i32", range(g.lanes)))

    def _masked(self, x: Value, key: Value, limit: Value | None) -> Value:
        b, g = self.b, self.geometry
        if limit is None:
            return x
        number = b.splat(b.convert("trunc", key, "i32"), g.lanes)
        seen = b.compare("sle", number, limit)
        # the lowest number would weigh as much as all others where the mask hides the rest
        hidden = self._lowest if self.mask is None else -math.inf
        return b.select(seen, x, b.constant(x.type, hidden))

    def _add_values(self, panel: Value) -> None:
        g, b, blocks = self.geometry, self.b, self.blocks
        sums = blocks.at(self.sums, b.mul(panel, b.i64(g.width * g.value_features)))

        def write(m: Value, n: Value, x: Value) -> None:
            place = blocks.at(sums, b.add(b.mul(m, b.i64(g.width)), n))
            faded = b.load(blocks.type, blocks.at(self.faded, n))
            b.store(b.fma(b.load(blocks.type, place), faded, x), place)

        blocks.multiply(
            (g.value_features, g.width, g.rows),
            (self.values, 1, g.value_features),
            (self.scores, g.width),
            write,
        )

    # -- the end ----------------------------------------------------------------------------------

    def _finish(self, batch: Value, head: Value, start: Value) -> None:
        """Divide by the totals, turn back, and store rows and normalisers."""
        g, b, blocks = self.geometry, self.b, self.blocks
        result = self.result.first(b, self.memory, batch, head, g.element)
        stride = self.result.stride(self.memory)
        head_of = b.add(b.mul(batch, b.i64(g.heads)), head)
        norms = b.mul(b.add(b.mul(head_of, b.i64(g.queries)), start), b.i64(2))
        norms = blocks.at(self.memory.pointers(self.normalisers), norms)
        left = maximum(b, minimum(b, b.sub(b.i64(g.queries), start), g.columns), 0)
        with b.loop(0, g.columns, g.lanes) as i:
            total = b.load(blocks.type, blocks.at(self.totals, i.index))
            inverse = b.div(b.constant(blocks.type, 1.0), total)
            if self.mask is not None:  # a query that may look nowhere has no sum
                zero = b.zero(blocks.type)
                inverse = b.select(b.compare("oeq", total, zero), zero, inverse)
            b.store(inverse, blocks.at(self.totals, i.index))
            if self.dropping is not None:
                inverse = b.mul(inverse, self.dropping.factor)
            panel, lane = quotient(b, i.index, g.width), remainder(b, i.index, g.width)
            place = b.add(b.mul(panel, b.i64(g.width * g.value_features)), lane)
            self._turn_back(place, i.index, inverse)
        with b.loop(b.i64(0), left) as i:
            to = blocks.at(norms, b.mul(i.index, b.i64(2)))
            for n, source in enumerate((self.highest, self.totals)):
                b.store(b.load(g.element, blocks.at(source, i.index)), blocks.at(to, n))
            source = blocks.at(self.plain, b.mul(i.index, b.i64(g.value_features)))
            target = blocks.at(result, b.mul(b.add(start, i.index), b.i64(stride)))
            for f in range(0, g.value_features, g.lanes):
                b.store(b.load(blocks.type, blocks.at(source, f)), blocks.at(target, f))

    def _turn_back(self, place: Value, query: Value, inverse: Value) -> None:
        """``[feature][query]`` of a vector of queries to rows of ``plain``."""
        g, b, blocks = self.geometry, self.b, self.blocks
        with b.loop(0, g.value_features, g.lanes) as f:
            block = []
            for n in range(g.lanes):
                row = b.mul(b.add(f.index, b.i64(n)), b.i64(g.width))
                x = b.load(blocks.type, blocks.at(self.sums, b.add(place, row)))
                block.append(b.mul(x, inverse))
            for n, x in enumerate(transpose(b, block)):
                row = b.mul(b.add(query, b.i64(n)), b.i64(g.value_features))
                b.store(x, blocks.at(self.plain, b.add(row, f.index)))
