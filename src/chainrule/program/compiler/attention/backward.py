"""The gradients: a block of keys against one block of queries after another.

Lanes are keys. The weights are computed again from scores and normalisers; with P = exp(s − max)/Σ,
dP = g vᵀ and δ = Σ g·y of each query: dv = Pᵀ g, dS = scale · P (dP − δ), dk = dSᵀ q, dq = dS k.
Where weights were dropped, dP and the P of dv are so too, by the same draws.
The gradients of keys and values grow on the stack. Those of queries grow in memory: a task has
some of the blocks of keys (a part) of one head of keys, and each part has sums of its own, which
are added at the end in their order.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from chainrule.program.compiler.attention.blocks import Blocks, Rows
from chainrule.program.compiler.attention.dropping import Dropping
from chainrule.program.compiler.attention.geometry import Geometry
from chainrule.program.compiler.attention.masks import BackwardMask
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Constant, Load
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.vector_math import FUNCTIONS
from chainrule.program.compiler.products.dot import add_lanes
from chainrule.program.compiler.products.product import maximum, minimum, quotient, remainder
from chainrule.program.compiler.products.tiling import Tiling


class BackwardEmitter:
    """Emits both stages: parts, then sums of the parts.

    Args:
        geometry: Sizes.
        operands: Rows of cotangent, result, normalisers, queries, keys and values, and of the mask
            if there is one.
        numbers: What ``Dropping`` takes; empty: nothing was dropped.
        results: Rows of the gradients in queries, keys and values.
        partial: Room for the parts' gradients of queries, ``[part][batch][head][padded
            queries][feature]``.
    """

    def __init__(
        self,
        geometry: Geometry,
        operands: Sequence[Rows],
        numbers: Sequence[Constant | Load],
        results: Sequence[Rows],
        partial: Tensor,
    ) -> None:
        self.geometry = geometry
        self.cotangent, self.y, self.norm, self.query, self.key, self.value = operands[:6]
        self.mask_rows = operands[6] if geometry.masked else None
        self.numbers = numbers
        self.by_query, self.by_key, self.by_value = results
        self.partial = partial

    @property
    def tasks(self) -> int:
        """Number of tasks of the first stage."""
        g = self.geometry
        return g.batch * g.shared * g.parts

    @property
    def result_tasks(self) -> int:
        """Number of tasks of the second stage: a block of queries of one head each."""
        g = self.geometry
        return g.batch * g.heads * (g.padded_queries // g.block_queries)

    def emit_parts(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks of the first stage."""
        g = self.geometry
        self.b, self.memory = b, memory
        self.blocks = blocks = Blocks(b, g)
        self.keys = blocks.room(g.block_keys * g.features)
        self.values = blocks.room(g.block_keys * g.value_features)
        self.turned_keys = blocks.room(g.block_keys * g.features)
        self.turned_values = blocks.room(g.block_keys * g.value_features)
        self.of_keys = blocks.room(g.block_keys * g.features)
        self.of_values = blocks.room(g.block_keys * g.value_features)
        self.queries = blocks.room(g.block_queries * g.features)
        self.given = blocks.room(g.block_queries * g.value_features)
        self.weights = blocks.room(g.block_queries * g.block_keys)
        self.slopes = blocks.room(g.block_queries * g.block_keys)
        self.highest = blocks.room(g.block_queries)
        self.inverses = blocks.room(g.block_queries)
        self.deltas = blocks.room(g.block_queries)
        # keys behind the last have weights too, where a vector ends with them
        bounded = self.mask_rows is not None or g.keys % g.lanes != 0
        self.mask = BackwardMask(blocks, memory, self.mask_rows) if bounded else None
        self.dropping = Dropping(blocks, memory, self.numbers) if g.dropped else None
        with b.loop(begin, end) as task:
            head = quotient(b, task.index, g.parts)
            part = remainder(b, task.index, g.parts)
            self._task(quotient(b, head, g.shared), remainder(b, head, g.shared), part)

    def _task(self, batch: Value, shared: Value, part: Value) -> None:
        g, b, blocks = self.geometry, self.b, self.blocks
        size = g.padded_queries * g.features
        own = b.mul(b.add(b.mul(part, b.i64(g.batch)), batch), b.i64(g.heads))
        own = b.mul(b.add(own, b.mul(shared, b.i64(g.group))), b.i64(size))
        sums = blocks.at(self.memory.pointers(self.partial), own)
        blocks.fill(sums, g.group * size)
        count = -(-g.keys // g.block_keys)
        with b.loop(part, b.i64(count), g.parts) as turn:
            first = b.mul(turn.index, b.i64(g.block_keys))
            self._load_keys(batch, shared, first)
            with b.loop(0, g.group) as member:
                head = b.add(b.mul(shared, b.i64(g.group)), member.index)
                self._head(batch, head, first, blocks.at(sums, b.mul(member.index, b.i64(size))))
            self._store_keys(batch, shared, first)

    def _load_keys(self, batch: Value, shared: Value, first: Value) -> None:
        g, b, blocks, memory = self.geometry, self.b, self.blocks, self.memory
        for rows, width, plain, turned, sums in (
            (self.key, g.features, self.keys, self.turned_keys, self.of_keys),
            (self.value, g.value_features, self.values, self.turned_values, self.of_values),
        ):
            source = rows.first(b, memory, batch, shared, g.element)
            blocks.copy(source, rows.stride(memory), first, g.block_keys, g.keys, width, plain)
            blocks.transpose(plain, g.block_keys, width, turned, g.block_keys)
            blocks.fill(sums, g.block_keys * width)

    def _store_keys(self, batch: Value, shared: Value, first: Value) -> None:
        g, b, blocks, memory = self.geometry, self.b, self.blocks, self.memory
        there = minimum(b, b.sub(b.i64(g.keys), first), g.block_keys)
        for rows, width, sums in (
            (self.by_key, g.features, self.of_keys),
            (self.by_value, g.value_features, self.of_values),
        ):
            target = rows.first(b, memory, batch, shared, g.element)
            stride = rows.stride(memory)
            with b.loop(b.i64(0), there) as i:
                source = blocks.at(sums, b.mul(i.index, b.i64(width)))
                to = blocks.at(target, b.mul(b.add(first, i.index), b.i64(stride)))
                for f in range(0, width, g.lanes):
                    b.store(b.load(blocks.type, blocks.at(source, f)), blocks.at(to, f))

    # -- one head's queries against one block of keys ---------------------------------------------

    def _head(self, batch: Value, head: Value, first: Value, sums: Value) -> None:
        g, b = self.geometry, self.b
        count = g.padded_queries // g.block_queries
        # queries before the first key of the block do not see any of it
        begin = quotient(b, first, g.block_queries) if g.causal else b.i64(0)
        with contextlib.ExitStack() as wanted:
            if self.mask is not None:
                wanted.enter_context(b.when(self.mask.start(batch, head, first)))
            if self.dropping is not None:
                self.drawn = self.dropping.place(batch, head, b.i64(0), first)
            with b.loop(begin, b.i64(count)) as turn:
                start = b.mul(turn.index, b.i64(g.block_queries))
                self._load_queries(batch, head, start)
                self._weights(start, first)
                self._gradients(self.blocks.at(sums, b.mul(start, b.i64(g.features))))

    def _load_queries(self, batch: Value, head: Value, start: Value) -> None:
        """Queries, cotangents, normalisers, and δ; behind the last query all are zeros."""
        g, b, blocks, memory = self.geometry, self.b, self.blocks, self.memory
        for rows, width, target in (
            (self.query, g.features, self.queries),
            (self.cotangent, g.value_features, self.given),
        ):
            source = rows.first(b, memory, batch, head, g.element)
            stride = rows.stride(memory)
            blocks.copy(source, stride, start, g.block_queries, g.queries, width, target)
        if g.queries % g.block_queries:
            blocks.fill(self.highest, g.block_queries)
            blocks.fill(self.inverses, g.block_queries)
            blocks.fill(self.deltas, g.block_queries)
        norm = self.norm.first(b, memory, batch, head, g.element)
        y = self.y.first(b, memory, batch, head, g.element)
        there = minimum(b, b.sub(b.i64(g.queries), start), g.block_queries)
        with b.loop(b.i64(0), there) as i:
            row = b.add(start, i.index)
            place = blocks.at(norm, b.mul(row, b.i64(self.norm.stride(memory))))
            for n, to in enumerate((self.highest, self.inverses)):
                b.store(b.load(g.element, blocks.at(place, n)), blocks.at(to, i.index))
            left = blocks.at(y, b.mul(row, b.i64(self.y.stride(memory))))
            right = blocks.at(self.given, b.mul(i.index, b.i64(g.value_features)))
            total = b.zero(blocks.type)
            for f in range(0, g.value_features, g.lanes):
                u = b.load(blocks.type, blocks.at(left, f))
                total = b.fma(u, b.load(blocks.type, blocks.at(right, f)), total)
            delta = b.extract(add_lanes(b, [total]), 0) if g.lanes > 1 else total
            b.store(delta, blocks.at(self.deltas, i.index))

    def _weights(self, start: Value, first: Value) -> None:
        """P into ``weights``, dS into ``slopes``; 0 where a query does not look."""
        g, b, blocks = self.geometry, self.b, self.blocks
        for width, left, right, target in (
            (g.features, self.queries, self.turned_keys, self.weights),
            (g.value_features, self.given, self.turned_values, self.slopes),
        ):
            if g.causal and g.block_keys % g.width == 0:
                self._seen_products(start, first, width, left, right, target)
                continue
            blocks.multiply(
                (g.block_queries, g.block_keys, width),
                (left, width, 1),
                (right, g.block_keys),
                blocks.into(target, g.block_keys, add=False),
            )
        with b.loop(0, g.block_queries) as i:
            query = b.sub(b.add(start, i.index), first)
            bound = b.i64(g.block_keys)
            if g.keys % g.block_keys:
                bound = b.sub(b.i64(-(-g.keys // g.lanes) * g.lanes), first)
                bound = minimum(b, bound, g.block_keys)
            if g.causal:
                seen = b.binary("and", b.add(query, b.i64(g.lanes)), b.i64(-g.lanes))
                fewer = b.compare("slt", seen, bound)
                bound = maximum(b, b.select(fewer, seen, bound), 0)
            row = b.mul(i.index, b.i64(g.block_keys))
            if self.dropping is not None:
                own = b.mul(b.add(start, i.index), b.i64(g.keys))
                self.dropping.draw(b.add(self.drawn, own), bound)
            numbers = None if self.mask is None else self.mask.of(b.add(start, i.index))
            self._row_of_weights(i.index, row, query, bound, numbers)
            with b.loop(bound, b.i64(g.block_keys), g.lanes) as j:
                for matrix in (self.weights, self.slopes):
                    b.store(b.zero(blocks.type), blocks.at(matrix, b.add(row, j.index)))

    def _seen_products(
        self, start: Value, first: Value, width: int, left: Value, right: Value, target: Value
    ) -> None:
        """Products of queries and keys, panel by panel, without tiles that see none of its keys."""
        g, b, blocks = self.geometry, self.b, self.blocks
        tiling = Tiling(g.block_queries, g.tile_rows)
        with b.loop(0, g.block_keys, g.width) as panel:
            row = maximum(b, b.sub(b.add(first, panel.index), start), 0)
            begin = quotient(b, row, tiling.size)
            blocks.multiply(
                (g.block_queries, g.width, width),
                (left, width, 1),
                (blocks.at(right, panel.index), g.block_keys),
                blocks.into(blocks.at(target, panel.index), g.block_keys, add=False),
                (begin, b.i64(tiling.count)),
            )

    def _row_of_weights(
        self, i: Value, row: Value, query: Value, bound: Value, numbers: Value | None
    ) -> None:
        g, b, blocks = self.geometry, self.b, self.blocks
        factor = b.constant(blocks.type, g.scale)
        highest, inverse, delta = (
            b.splat(b.load(g.element, blocks.at(x, i)), g.lanes)
            for x in (self.highest, self.inverses, self.deltas)
        )
        with b.loop(b.i64(0), bound, g.lanes) as j:
            place = b.add(row, j.index)
            weight, slope = blocks.at(self.weights, place), blocks.at(self.slopes, place)
            score = b.load(blocks.type, weight)
            if numbers is None:
                score = b.mul(score, factor)
            else:
                score = b.fma(score, factor, b.load(blocks.type, blocks.at(numbers, j.index)))
            p = b.mul(FUNCTIONS["exp"](b, b.sub(score, highest)), inverse)
            if g.causal:
                p = b.select(self._seen(query, j.index), p, b.zero(blocks.type))
            by_weight, kept = b.load(blocks.type, slope), p
            if self.dropping is not None:
                by_weight = self.dropping.kept(j.index, by_weight)
                kept = self.dropping.kept(j.index, p)
            b.store(kept, weight)
            b.store(b.mul(b.mul(p, factor), b.sub(by_weight, delta)), slope)

    def _seen(self, query: Value, key: Value) -> Value:
        """Which of a vector of keys a query sees; both counted from the block's first key."""
        b, lanes = self.b, self.geometry.lanes
        limit = b.splat(b.convert("trunc", b.sub(query, key), "i32"), lanes)
        numbers = b.constants("i32", range(lanes)) if lanes > 1 else b.constant("i32", 0)
        return b.compare("sle", numbers, limit)

    def _gradients(self, sums: Value) -> None:
        g, blocks = self.geometry, self.blocks
        pitch = g.block_keys
        for width, left, right, target in (
            (g.value_features, self.weights, self.given, self.of_values),
            (g.features, self.slopes, self.queries, self.of_keys),
        ):
            blocks.multiply(
                (g.block_keys, width, g.block_queries),
                (left, 1, pitch),
                (right, width),
                blocks.into(target, width, add=True),
            )
        blocks.multiply(
            (g.block_queries, g.features, g.block_keys),
            (self.slopes, pitch, 1),
            (self.keys, g.features),
            blocks.into(sums, g.features, add=True),
        )

    # -- the end ----------------------------------------------------------------------------------

    def emit_result(self, b: Builder, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks of the second stage: gradients of queries, summed over the parts."""
        g = self.geometry
        blocks = Blocks(b, g)
        count = g.padded_queries // g.block_queries
        size = g.padded_queries * g.features
        stride = self.by_query.stride(memory)
        with b.loop(begin, end) as task:
            head = quotient(b, task.index, count)
            start = b.mul(remainder(b, task.index, count), b.i64(g.block_queries))
            batch, own = quotient(b, head, g.heads), remainder(b, head, g.heads)
            target = self.by_query.first(b, memory, batch, own, g.element)
            source = blocks.at(memory.pointers(self.partial), b.mul(head, b.i64(size)))
            there = minimum(b, b.sub(b.i64(g.queries), start), g.block_queries)
            with b.loop(b.i64(0), there) as i:
                row = b.add(start, i.index)
                come = blocks.at(source, b.mul(row, b.i64(g.features)))
                to = blocks.at(target, b.mul(row, b.i64(stride)))
                for f in range(0, g.features, g.lanes):
                    total = b.load(blocks.type, blocks.at(come, f))
                    for part in range(1, g.parts):
                        step = part * g.batch * g.heads * size + f
                        total = b.add(total, b.load(blocks.type, blocks.at(come, step)))
                    b.store(total, blocks.at(to, f))
