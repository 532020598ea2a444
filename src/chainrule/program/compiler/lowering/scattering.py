"""Scatter: a copy of an array with slices set or added at places that data names.

Every thread walks all updates in order and applies what falls into its part of the result: a range
of rows (the places), or, where there are few rows, a range of columns. So each element is updated
in the order of the indices by one thread, whatever their number. 16-bit floats are added up in
float32, in scratch memory.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.llvm import arithmetic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.lowering.reductions import accumulator
from chainrule.program.compiler.lowering.singles import bounds, single, spans

if TYPE_CHECKING:
    from chainrule.program.compiler.emission.memory import Memory

Range = tuple[Value | int, Value | int]

_WIDE = np.dtype(np.float32)
TASKS = 64  # about how many pieces a kernel is cut into
LEAST = 1 << 12  # elements that a piece holds at least
COLUMNS = 64  # columns are cut at multiples of this, so that no two threads share a cache line


@dataclass(frozen=True)
class _Plan:
    """The result as rows of columns, and how tasks share it.

    Args:
        rows: Places that an index may name.
        columns: Elements of one slice.
        updates: Number of slices that are written.
        row_chunk: Rows of one task.
        column_chunk: Columns of one task; all of them unless rows are few.
    """

    rows: int
    columns: int
    updates: int
    row_chunk: int
    column_chunk: int

    @property
    def tasks(self) -> int:
        """Number of tasks; at least one, for the indices are checked even if nothing is written."""
        by_rows = math.ceil(self.rows / self.row_chunk)
        return max(by_rows * math.ceil(self.columns / self.column_chunk), 1)


def _plan(x: Instruction) -> _Plan:
    data, indices = x.operands[0], x.operands[1]
    depth = indices.shape[-1]
    rows, columns = math.prod(data.shape[:depth]), math.prod(data.shape[depth:])
    updates = math.prod(indices.shape[:-1])
    pieces = max(1, min(TASKS, (rows + updates) * columns // LEAST))
    if rows >= pieces or columns <= COLUMNS:
        return _Plan(rows, columns, updates, max(1, math.ceil(rows / pieces)), max(columns, 1))
    chunk = math.ceil(columns / pieces / COLUMNS) * COLUMNS
    return _Plan(rows, columns, updates, max(rows, 1), min(chunk, columns))


def _tasks(x: Instruction) -> int:
    return _plan(x).tasks


def _is_widened(x: Instruction) -> bool:
    dtype = x.result.dtype
    return bool(x.attributes["mode"] == "add" and accumulator(dtype) != dtype)


def _scratch_bytes(x: Instruction) -> int:
    return x.result.size * 4 if _is_widened(x) else 0


def _start_value(x: Instruction) -> Any:
    """The number that all elements start from (a gradient's 0), if one is known; else None."""
    producer = x.operands[0].producer
    if producer is None or producer.op.name != "broadcast_to":
        return None
    value = producer.operands[0].constant
    return None if value is None or value.size != 1 else value.reshape(())[()]


def _reads(x: Instruction) -> list[Tensor]:
    return x.operands if _start_value(x) is None else x.operands[1:]


@single("scatter", _tasks, _scratch_bytes, _reads)
def _scatter(
    b: Builder, x: Instruction, memory: Memory, begin: Value, end: Value, scratch: Value | None
) -> None:
    _Scatter(b, x, memory, scratch).emit(begin, end)


class _Scatter:
    """Writes the kernel of one instruction; see ``Single`` for the arguments."""

    def __init__(self, b: Builder, x: Instruction, memory: Memory, scratch: Value | None) -> None:
        self.b = b
        self.x = x
        self.memory = memory
        self.scratch = scratch
        self.start = _start_value(x)
        self.plan = _plan(x)
        self.dtype = x.result.dtype
        self.element = arithmetic.memory_type(self.dtype)
        self.lanes = b.module.target.lanes(max(self.dtype.itemsize, 4))

    def emit(self, begin: Value, end: Value) -> None:
        """Copy, update, and narrow what was summed in float32."""
        b, plan = self.b, self.plan
        with b.when(b.compare("slt", begin, end)):
            rows = bounds(b, begin, end, plan.row_chunk, plan.rows)
            columns = bounds(b, begin, end, plan.column_chunk, plan.columns)
            self._each(rows, columns, self._start)
            if plan.updates:
                with b.loop(0, plan.updates) as update:
                    self._update(update.index, rows, columns)
            if self.scratch is not None:
                self._each(rows, columns, self._finish)

    # -- elements -----------------------------------------------------------------------------

    def _each(self, rows: Range, columns: Range, body: Callable[[Value, int], None]) -> None:
        """Run ``body(element, lanes)`` over this thread's part of the result."""
        b, plan = self.b, self.plan
        if plan.column_chunk >= plan.columns:
            spans(b, self._times(rows[0]), self._times(rows[1]), self.lanes, body)
            return
        with b.loop(*rows) as row:
            first = b.mul(row.index, b.i64(plan.columns))
            spans(b, *columns, self.lanes, lambda at, lanes: body(b.add(first, at), lanes))

    def _times(self, row: Value | int) -> Value | int:
        if isinstance(row, int):
            return row * self.plan.columns
        return self.b.mul(row, self.b.i64(self.plan.columns))

    def _load(self, tensor: Tensor, at: Value, lanes: int) -> Value:
        pointer = self.b.offset(self.memory.pointers(tensor), at, self.element)
        return self.b.load(vector(self.element, lanes), pointer)

    def _load_wide(self, tensor: Tensor, at: Value, lanes: int) -> Value:
        value = arithmetic.from_memory(self.b, self._load(tensor, at, lanes), self.dtype)
        return arithmetic.apply(self.b, "cast", [value], [self.dtype], _WIDE)

    def _result(self, at: Value) -> Value:
        if self.scratch is not None:
            return self.b.offset(self.scratch, at, "float")
        return self.b.offset(self.memory.pointers(self.x.result), at, self.element)

    def _start(self, at: Value, lanes: int) -> None:
        b = self.b
        if self.start is not None:
            wide = self.dtype if self.scratch is None else _WIDE
            value = arithmetic.constant(b, wide, self.start, lanes)
            b.store(arithmetic.to_memory(b, value, wide), self._result(at))
            return
        load = self._load if self.scratch is None else self._load_wide
        b.store(load(self.x.operands[0], at, lanes), self._result(at))

    def _finish(self, at: Value, lanes: int) -> None:
        b = self.b
        total = b.load(vector("float", lanes), self._result(at))
        value = arithmetic.apply(b, "cast", [total], [_WIDE], self.dtype)
        raw = arithmetic.to_memory(b, value, self.dtype)
        b.store(raw, b.offset(self.memory.pointers(self.x.result), at, self.element))

    def _write(self, at: Value, source: Value, lanes: int) -> None:
        """One update: elements of the result at ``at``, those of the updates at ``source``."""
        b, updates = self.b, self.x.operands[2]
        place = self._result(at)
        if self.x.attributes["mode"] == "set":
            b.store(self._load(updates, source, lanes), place)
        elif self.scratch is not None:
            total = b.load(vector("float", lanes), place)
            b.store(b.add(total, self._load_wide(updates, source, lanes)), place)
        else:
            raw = b.load(vector(self.element, lanes), place)
            total = arithmetic.from_memory(b, raw, self.dtype)
            more = arithmetic.from_memory(b, self._load(updates, source, lanes), self.dtype)
            kinds = [self.dtype, self.dtype]
            new = arithmetic.apply(b, "add", [total, more], kinds, self.dtype)
            b.store(arithmetic.to_memory(b, new, self.dtype), place)

    # -- updates ------------------------------------------------------------------------------

    def _update(self, update: Value, rows: Range, columns: Range) -> None:
        """Find the row that an update names; write its columns if they are this thread's."""
        b, plan = self.b, self.plan
        row, wanted = self._place(update)
        if not (isinstance(rows[0], int) or isinstance(rows[1], int)):
            inside = b.compare("ult", b.sub(row, rows[0]), b.sub(rows[1], rows[0]))
            wanted = inside if wanted is None else b.binary("and", wanted, inside)
        source = b.mul(update, b.i64(plan.columns))
        target = b.mul(row, b.i64(plan.columns))

        def write(at: Value, lanes: int) -> None:
            self._write(b.add(target, at), b.add(source, at), lanes)

        if wanted is None:
            spans(b, *columns, self.lanes, write)
            return
        with b.when(wanted):
            spans(b, *columns, self.lanes, write)

    def _place(self, update: Value) -> tuple[Value, Value | None]:
        """The row's number, and whether it exists (None: always); reports indices that do not."""
        b, data, indices = self.b, self.x.operands[0], self.x.operands[1]
        depth = indices.shape[-1]
        row: Value = b.i64(0)
        exists: Value | None = None
        first = b.mul(update, b.i64(depth))
        for column in range(depth):
            index = self._index(indices, b.add(first, b.i64(column)))
            good = b.compare("ult", index, b.i64(data.shape[column]))
            with b.when(b.binary("xor", good, b.constant("i1", True))):
                b.call_own("report_index", self.memory.error, self.memory.blame(self.x), index)
            row = b.add(b.mul(row, b.i64(data.shape[column])), index)
            exists = good if exists is None else b.binary("and", exists, good)
        return row, exists

    def _index(self, indices: Tensor, at: Value) -> Value:
        b, dtype = self.b, indices.dtype
        element = f"i{8 * dtype.itemsize}"
        raw = b.load(element, b.offset(self.memory.pointers(indices), at, element))
        if element == "i64":
            return raw
        return b.convert("sext" if dtype.kind == "i" else "zext", raw, "i64")
