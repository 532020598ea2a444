"""Emission of a kernel: common loops cut into tasks, inner loops, vectors, folds and stores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from chainrule.program.compiler.emission import folding
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.emission.vectorisation import Vectorisation
from chainrule.program.compiler.expressions import Expression
from chainrule.program.compiler.indices import Axis, Index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.kernels import FoldInto, InnerLoop, Kernel, Store
from chainrule.program.compiler.llvm import arithmetic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of

TASKS = 64  # about how many pieces a kernel is cut into
LEAST = 2048  # elements that a piece holds at least


class NestEmitter:
    """Emits the tasks ``begin`` to ``end`` of one kernel.

    Args:
        builder: The function that is being written.
        kernel: What to emit.
        memory: Where tensors lie.
        choice: Which axes run in lanes.
    """

    def __init__(
        self, builder: Builder, kernel: Kernel, memory: Memory, choice: Vectorisation
    ) -> None:
        self.b = builder
        self.kernel = kernel
        self.choice = choice
        self.em = Emitter(builder, memory, choice.lanes)
        self.hidden = frozenset(kernel.writes())
        self.rows = [a for a in kernel.outer if a is not choice.outer]
        self.block = _block(kernel, choice)

    @property
    def tasks(self) -> int:
        """Number of pieces; it depends on the kernel alone."""
        return n_tasks(self.kernel, self.choice)

    def emit(self, begin: Value, end: Value) -> None:
        """Write the loops over the tasks."""
        if any(a.extent == 0 for a in self.kernel.outer):
            return
        self.em.hoist(self.kernel.expressions(), self.hidden)
        with self.b.loop(begin, end) as task:
            self.em.push()
            number = task.index
            block = self.b.i64(0)
            axis = self.choice.outer
            blocks = 1 if axis is None else math.ceil(axis.extent / self.block)
            if blocks > 1:
                block = self._unsigned("urem", number, blocks)
                number = self._unsigned("udiv", number, blocks)
            for row in reversed(self.rows):
                counter = number
                if row is not self.rows[0]:
                    counter = self._unsigned("urem", number, row.extent)
                    number = self._unsigned("udiv", number, row.extent)
                self.em.enter(row, counter)
            self.em.hoist(self.kernel.expressions(), self.hidden)
            if axis is None:
                self._body()
            else:
                self._vector_blocks(axis, block, blocks)
            for row in self.rows:
                self.em.leave(row)
            self.em.pop()

    def _unsigned(self, instruction: str, x: Value, divisor: int) -> Value:
        narrow = self.b.convert("trunc", x, "i32")
        result = self.b.binary(instruction, narrow, Value("i32", str(divisor)))
        return self.b.convert("zext", result, "i64")

    def _vector_blocks(self, axis: Axis, block: Value, blocks: int) -> None:
        """The lanes' axis: whole vectors of this block, and the rest in the last block."""
        lanes, extent = self.choice.lanes, axis.extent
        whole = extent // lanes * lanes
        first = self.b.mul(block, self.b.i64(self.block))
        if blocks == 1:
            last = self.b.i64(whole)
        else:
            last = self.b.add(first, self.b.i64(self.block))
            over = self.b.compare("sgt", last, self.b.i64(whole))
            last = self.b.select(over, self.b.i64(whole), last)
        if whole:
            start = 0 if blocks == 1 else first
            with self.b.loop(start, whole if blocks == 1 else last, lanes) as loop:
                self._vector_body(axis, loop.index, lanes)
        if extent > whole:
            if blocks == 1:
                self._vector_body(axis, self.b.i64(whole), extent - whole)
            else:
                is_last = self.b.compare("eq", block, self.b.i64(blocks - 1))
                with self.b.when(is_last):
                    self._vector_body(axis, self.b.i64(whole), extent - whole)

    def _vector_body(self, axis: Axis, counter: Value, active: int) -> None:
        self.em.active = active
        self.em.enter(axis, counter, vectorised=True)
        self._body()
        self.em.leave(axis)
        self.em.active = self.choice.lanes

    # -- inner loops --------------------------------------------------------------------------

    def _body(self) -> None:
        for loop, axis in zip(self.kernel.loops, self.choice.inner, strict=True):
            self.em.named = loop.values
            self._inner_loop(loop, axis)
            self.em.named = {}
        for statement in self.kernel.statements():
            if isinstance(statement, FoldInto):
                self.em.locals.pop(statement.tensor, None)

    def _inner_loop(self, loop: InnerLoop, axis: Axis | None) -> None:
        folds = [s for s in loop.statements if isinstance(s, FoldInto)]
        lanes = self.choice.lanes if (axis or self.choice.outer) else 1
        state = [v for s in folds for v in folding.start(self.b, s.fold, lanes)]
        order = [a for a in loop.axes if a is not axis] + ([axis] if axis else [])
        if any(a.extent == 0 for a in order):
            if not folds:
                return
        else:
            state = self._run(loop, order, axis, state)
        for fold, registers in zip(folds, self._split(folds, state), strict=True):
            self._finish(fold, registers, axis is not None)

    def _split(self, folds: Sequence[FoldInto], state: list[Value]) -> list[list[Value]]:
        left = iter(state)
        return [
            [next(left) for _ in range(2 if s.fold.kind in ("argmax", "argmin") else 1)]
            for s in folds
        ]

    def _finish(self, statement: FoldInto, registers: list[Value], joined: bool) -> None:
        if statement.fold.kind == "cumsum":
            return
        fold = statement.fold
        if joined:
            registers = folding.across(self.b, fold, registers)
        value = registers[-1]
        if fold.kind not in ("argmax", "argmin") and fold.accumulator != statement.tensor.dtype:
            value = arithmetic.apply(
                self.b, "cast", [value], [np.dtype(fold.accumulator)], statement.tensor.dtype
            )
        self.em.locals[statement.tensor] = value
        if statement.stored:
            self.em.store(statement.tensor, statement.indices, value)

    def _run(
        self, loop: InnerLoop, order: list[Axis], vector: Axis | None, state: list[Value]
    ) -> list[Value]:
        """The loops over ``order`` from the outside in; gives the registers afterwards."""
        if not order:
            return self._point(loop, state)
        axis, rest = order[0], order[1:]
        self._hoist(loop)
        if axis is vector:
            return self._run_lanes(loop, axis, state)
        if axis.extent == 1:
            return self._turn(loop, axis, self.b.i64(0), rest, vector, state)
        with self.b.loop(0, axis.extent, 1, state) as counted:
            new = self._turn(loop, axis, counted.index, rest, vector, counted.carried)
            counted.carry(*new)
        return counted.results

    def _hoist(self, loop: InnerLoop) -> None:
        values = [*loop.values.values()]
        for statement in loop.statements:
            values.append(statement.value if isinstance(statement, Store) else statement.fold.value)
        self.em.hoist(values, self.hidden)

    def _turn(
        self,
        loop: InnerLoop,
        axis: Axis,
        counter: Value,
        rest: list[Axis],
        vector: Axis | None,
        state: list[Value],
    ) -> list[Value]:
        self.em.enter(axis, counter)
        state = self._run(loop, rest, vector, state)
        self.em.leave(axis)
        return state

    def _run_lanes(self, loop: InnerLoop, axis: Axis, state: list[Value]) -> list[Value]:
        """The innermost axis in lanes; folds run in four independent chains where it is long."""
        lanes, extent = self.choice.lanes, axis.extent
        whole = extent // lanes * lanes
        position = 0
        if state and extent >= 8 * lanes and not self._is_running(loop):
            position = extent // (4 * lanes) * 4 * lanes
            state = self._run_chains(loop, axis, position, state)
        if whole - position == lanes:
            state = self._lanes_turn(loop, axis, self.b.i64(position), lanes, state)
        elif whole > position:
            with self.b.loop(position, whole, lanes, state) as counted:
                new = self._lanes_turn(loop, axis, counted.index, lanes, counted.carried)
                counted.carry(*new)
            state = counted.results
        if extent > whole:
            state = self._lanes_turn(loop, axis, self.b.i64(whole), extent - whole, state)
        return state

    def _is_running(self, loop: InnerLoop) -> bool:
        return any(isinstance(s, FoldInto) and s.fold.kind == "cumsum" for s in loop.statements)

    def _run_chains(
        self, loop: InnerLoop, axis: Axis, stop: int, state: list[Value]
    ) -> list[Value]:
        lanes, width = self.choice.lanes, len(state)
        folds = [s for s in loop.statements if isinstance(s, FoldInto)]
        fresh = [v for s in folds for v in folding.start(self.b, s.fold, lanes)]
        chains = [*state, *fresh, *fresh, *fresh]
        with self.b.loop(0, stop, 4 * lanes, chains) as counted:
            new: list[Value] = []
            for chain in range(4):
                place = self.b.add(counted.index, self.b.i64(chain * lanes))
                part = counted.carried[chain * width : (chain + 1) * width]
                new += self._lanes_turn(loop, axis, place, lanes, part)
            counted.carry(*new)
        parts = [counted.results[c * width : (c + 1) * width] for c in range(4)]
        while len(parts) > 1:
            parts = [self._merge(folds, parts[i], parts[i + 1]) for i in range(0, len(parts), 2)]
        return parts[0]

    def _merge(self, folds: list[FoldInto], x: list[Value], y: list[Value]) -> list[Value]:
        pairs = zip(folds, self._split(folds, x), self._split(folds, y), strict=True)
        return [v for s, a, c in pairs for v in folding.merge(self.b, s.fold, a, c)]

    def _lanes_turn(
        self, loop: InnerLoop, axis: Axis, counter: Value, active: int, state: list[Value]
    ) -> list[Value]:
        self.em.active = active
        self.em.enter(axis, counter, vectorised=True)
        new = self._point(loop, state)
        if active < self.choice.lanes:
            mask = self.b.first_lanes(active, self.choice.lanes)
            new = [self.b.select(mask, n, o) for n, o in zip(new, state, strict=True)]
        self.em.leave(axis)
        self.em.active = self.choice.lanes
        return new

    def _point(self, loop: InnerLoop, state: list[Value]) -> list[Value]:
        """One turn of the innermost loop: all statements in order."""
        folds = [s for s in loop.statements if isinstance(s, FoldInto)]
        registers = dict(zip(map(id, folds), self._split(folds, state), strict=True))
        result: list[Value] = []
        self.em.push()
        for tensor in loop.values:
            self._name(loop, tensor)
        for statement in loop.statements:
            if isinstance(statement, Store):
                self.em.store(statement.tensor, statement.indices, self._value(statement.value))
                continue
            value = self._value(statement.fold.value)
            if state and lanes_of(state[0].type) > 1:
                value = self.em.spread(value)
            place = self._place(statement.fold.over)
            new = folding.step(self.b, statement.fold, registers[id(statement)], value, place)
            if statement.fold.kind == "cumsum":
                self._store_running(statement, new[0])
            result += new
        self.em.pop()
        return result

    def _name(self, loop: InnerLoop, tensor: Tensor) -> None:
        value: Expression = loop.values[tensor]
        self.em.emit(value)

    def _value(self, expression: Expression) -> Value:
        return self.em.emit(expression)

    def _place(self, over: Sequence[Axis]) -> Value:
        if len(over) != 1 or over[0].extent == 1:
            return self.b.i64(0)
        return self.em.number(Index({over[0]: 1}))

    def _store_running(self, statement: FoldInto, value: Value) -> None:
        if statement.fold.accumulator != statement.tensor.dtype:
            value = arithmetic.apply(
                self.b,
                "cast",
                [value],
                [np.dtype(statement.fold.accumulator)],
                statement.tensor.dtype,
            )
        self.em.store(statement.tensor, statement.indices, value)


def _block(kernel: Kernel, choice: Vectorisation) -> int:
    """How much of the lanes' axis one task takes: a multiple of the lanes."""
    if choice.outer is None:
        return 1
    lanes, extent = choice.lanes, choice.outer.extent
    rows = math.prod(a.extent for a in kernel.outer if a is not choice.outer)
    work = max((math.prod(a.extent for a in loop.axes) for loop in kernel.loops), default=1)
    pieces = max(1, TASKS // max(rows, 1))
    size = max(math.ceil(extent / pieces), LEAST // max(work, 1), lanes)
    return math.ceil(size / lanes) * lanes


def n_tasks(kernel: Kernel, choice: Vectorisation) -> int:
    """Number of tasks of a kernel."""
    rows = math.prod(a.extent for a in kernel.outer if a is not choice.outer)
    if choice.outer is None:
        return rows
    return rows * math.ceil(choice.outer.extent / _block(kernel, choice))
