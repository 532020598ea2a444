"""Argsort: every row is sorted by merging, as integers that hold key and position.

A key is turned into an unsigned integer whose order is that of the values: -0.0 is 0.0, NaN comes
last, descending order turns the others round. The element's position makes up the lower bits, so
all are different and any sorting method is stable. Blocks of eight are sorted by a network, then
merged from one buffer into another, without a branch that depends on data.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.program.compiler.instructions import Instruction
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.lowering.singles import bounds, single, spans

if TYPE_CHECKING:
    from chainrule.program.compiler.emission.memory import Memory

TASKS = 64  # about how many pieces a kernel is cut into
LEAST = 1 << 10  # elements that a piece holds at least
BLOCK = 8  # elements that a network sorts in registers


@dataclass(frozen=True)
class _Plan:
    """Rows to sort, and how tasks share them.

    Args:
        length: Elements of a row.
        stride: Distance between a row's elements, and number of rows that lie interleaved.
        rows: Number of rows.
        chunk: Rows of one task.
        packed: Integer type of key and position together.
    """

    length: int
    stride: int
    rows: int
    chunk: int
    packed: str

    @property
    def tasks(self) -> int:
        """Number of tasks."""
        return math.ceil(self.rows / self.chunk) if self.length else 0

    @property
    def buffer_bytes(self) -> int:
        """One buffer: a row, and an element behind it that is read but not used."""
        return math.ceil((self.length + 1) * _bits(self.packed) // 8 / 64) * 64

    @property
    def task_bytes(self) -> int:
        """Scratch memory of one task: two buffers if there is anything to merge."""
        return self.buffer_bytes * (2 if self.length > BLOCK else 1)


def _bits(type_: str) -> int:
    return int(type_[1:])


def _plan(x: Instruction) -> _Plan:
    data = x.operands[0]
    axis = x.attributes["axis"]
    length, stride = data.shape[axis], math.prod(data.shape[axis + 1 :])
    rows = math.prod(data.shape[:axis]) * stride
    pieces = max(1, min(TASKS, rows * length // LEAST))
    narrow = data.dtype.itemsize <= 4 and length < 1 << 32
    return _Plan(
        length, stride, rows, max(1, math.ceil(rows / pieces)), "i64" if narrow else "i128"
    )


def _tasks(x: Instruction) -> int:
    return _plan(x).tasks


def _scratch_bytes(x: Instruction) -> int:
    return _plan(x).task_bytes * _tasks(x)


@single("argsort", _tasks, _scratch_bytes)
def _argsort(
    b: Builder, x: Instruction, memory: Memory, begin: Value, end: Value, scratch: Value | None
) -> None:
    if scratch is not None:
        _Sort(b, x, memory, scratch).emit(begin, end)


class _Sort:
    """Writes the kernel of one instruction; see ``Single`` for the arguments.

    A thread's tasks share the scratch memory of the first of them.
    """

    def __init__(self, b: Builder, x: Instruction, memory: Memory, scratch: Value) -> None:
        self.b = b
        self.x = x
        self.plan = _plan(x)
        self.source = memory.pointers(x.operands[0])
        self.target = memory.pointers(x.result)
        self.scratch = scratch
        self.key = f"i{8 * x.operands[0].dtype.itemsize}"
        wide = self.plan.packed == "i64" and self.plan.stride == 1
        self.lanes = b.module.target.lanes(8) if wide else 1

    def emit(self, begin: Value, end: Value) -> None:
        """The loop over rows."""
        b, plan = self.b, self.plan
        with b.when(b.compare("slt", begin, end)):
            place = b.mul(begin, b.i64(plan.task_bytes))
            buffers = [b.offset(self.scratch, place, "i8")]
            buffers.append(b.offset(buffers[0], plan.buffer_bytes, "i8"))
            with b.loop(*bounds(b, begin, end, plan.chunk, plan.rows)) as row:
                self._row(self._first(row.index), buffers)

    def _first(self, row: Value) -> Value:
        """Number of the row's first element."""
        b, plan = self.b, self.plan
        if plan.stride == 1:
            return b.mul(row, b.i64(plan.length))
        outer = b.binary("udiv", row, b.i64(plan.stride))
        inner = b.binary("urem", row, b.i64(plan.stride))
        return b.add(b.mul(outer, b.i64(plan.length * plan.stride)), inner)

    def _row(self, first: Value, buffers: list[Value]) -> None:
        b, plan = self.b, self.plan
        spans(b, 0, plan.length, self.lanes, lambda at, n: self._pack(first, buffers[0], at, n))
        last = plan.length <= BLOCK
        whole = plan.length // BLOCK * BLOCK
        if whole:
            with b.loop(0, whole, BLOCK) as block:
                self._network(first, buffers[0], block.index, BLOCK, last)
        if plan.length > whole:
            self._network(first, buffers[0], b.i64(whole), plan.length - whole, last)
        run = BLOCK
        while run < plan.length:
            last = 2 * run >= plan.length
            self._merge(first, buffers[0], buffers[1], run, last)
            buffers = [buffers[1], buffers[0]]
            run *= 2

    # -- keys ---------------------------------------------------------------------------------

    def _pack(self, first: Value, buffer: Value, at: Value, lanes: int) -> None:
        """Key and position of some elements into the buffer."""
        b, packed = self.b, self.plan.packed
        place = b.add(first, b.mul(at, b.i64(self.plan.stride)))
        raw = b.load(vector(self.key, lanes), b.offset(self.source, place, self.key))
        key = raw_key = self._ordered(raw)
        if raw_key.type != vector(packed, lanes):
            key = b.convert("zext", raw_key, packed)
        position = b.splat(at, lanes)
        if lanes > 1:
            position = b.add(position, b.constants("i64", range(lanes)))
        if packed != "i64":
            position = b.convert("zext", position, packed)
        high = b.binary("shl", key, b.constant(key.type, _bits(packed) // 2))
        b.store(b.binary("or", high, position), b.offset(buffer, at, packed), 8)

    def _ordered(self, raw: Value) -> Value:
        """The unsigned integer whose order is that of the value with these bits."""
        dtype, descending = self.x.operands[0].dtype, self.x.attributes["descending"]
        if dtype.kind in "fV":
            return self._ordered_float(raw, dtype, descending)
        if dtype.kind == "i":
            raw = self._xor(raw, -(1 << (_bits(self.key) - 1)))
        return self._xor(raw, -1) if descending else raw

    def _ordered_float(self, raw: Value, dtype: Any, descending: bool) -> Value:
        b = self.b
        bits = _bits(self.key)
        sign = -(1 << (bits - 1))
        infinity = int(np.asarray(np.inf, dtype).view(f"u{dtype.itemsize}"))
        magnitude = b.binary("and", raw, b.constant(raw.type, -sign - 1))
        if descending:
            raw = self._xor(raw, sign)
        # below zero all bits turn round, else the sign alone
        below = b.binary("ashr", raw, b.constant(raw.type, bits - 1))
        mask = b.binary("or", below, b.constant(raw.type, sign))
        key = b.binary("xor", raw, mask)
        is_zero = b.compare("eq", magnitude, b.constant(raw.type, 0))
        key = b.select(is_zero, b.constant(raw.type, sign), key)
        is_nan = b.compare("ugt", magnitude, b.constant(raw.type, infinity))
        return b.select(is_nan, b.constant(raw.type, -1), key)

    def _xor(self, x: Value, number: int) -> Value:
        return self.b.binary("xor", x, self.b.constant(x.type, number))

    # -- order --------------------------------------------------------------------------------

    def _network(self, first: Value, buffer: Value, at: Value, count: int, last: bool) -> None:
        """Sort ``count`` neighbours of the buffer, in place or into the result."""
        b, packed = self.b, self.plan.packed
        places = [b.add(at, b.i64(i)) for i in range(count)]
        values = [b.load(packed, b.offset(buffer, place, packed), 8) for place in places]
        for i, j in network(count):
            x, y = values[i], values[j]
            in_order = b.compare("ult", x, y)
            values[i], values[j] = b.select(in_order, x, y), b.select(in_order, y, x)
        for place, value in zip(places, values, strict=True):
            self._store(first, buffer, place, value, last)

    def _store(self, first: Value, buffer: Value, at: Value, value: Value, last: bool) -> None:
        """Store into the buffer or, if it is in its last place, its position into the result."""
        b, plan = self.b, self.plan
        if not last:
            b.store(value, b.offset(buffer, at, plan.packed), 8)
            return
        if plan.packed == "i64":
            position = b.binary("and", value, b.i64((1 << 32) - 1))
        else:
            position = b.convert("trunc", value, "i64")
        place = b.add(first, b.mul(at, b.i64(plan.stride)))
        b.store(position, b.offset(self.target, place, "i64"))

    def _merge(self, first: Value, source: Value, target: Value, run: int, last: bool) -> None:
        """Merge neighbouring runs of ``run`` sorted elements into twice as long ones."""
        b, packed, length = self.b, self.plan.packed, self.plan.length

        def end(start: Value, distance: int) -> Value:
            place = b.add(start, b.i64(distance))
            return b.select(b.compare("sgt", place, b.i64(length)), b.i64(length), place)

        with b.loop(0, length, 2 * run) as pair:
            middle, stop = end(pair.index, run), end(pair.index, 2 * run)
            with b.loop(pair.index, stop, 1, [pair.index, middle]) as turn:
                left, right = turn.carried
                x = b.load(packed, b.offset(source, left, packed), 8)
                y = b.load(packed, b.offset(source, right, packed), 8)
                ended = b.compare("sge", right, stop)
                first_is_left = b.binary("or", ended, b.compare("ult", x, y))
                exists = b.compare("slt", left, middle)
                takes_left = b.binary("and", exists, first_is_left)
                self._store(first, target, turn.index, b.select(takes_left, x, y), last)
                step = b.convert("zext", takes_left, "i64")
                moved = b.add(left, step)
                turn.carry(moved, b.sub(b.add(right, b.i64(1)), step))


def network(count: int) -> Iterator[tuple[int, int]]:
    """The comparisons that sort ``count`` elements: Batcher's odd-even merge sort.

    Yields:
        Pairs (i, j), i < j: the smaller of both goes to place i.

    Source: Knuth, The Art of Computer Programming 3, algorithm 5.2.2M.
    """
    size = 1
    while size < count:
        distance = size
        while distance:
            for first in range(distance % size, count - distance, 2 * distance):
                for i in range(first, first + min(distance, count - first - distance)):
                    if i // (2 * size) == (i + distance) // (2 * size):
                        yield i, i + distance
            distance //= 2
        size *= 2
