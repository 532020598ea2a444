"""The driver: one native function that runs a schedule on all threads of the team.

``void program(ptr barrier, i64 thread, i64 threads, ptr table)``: the table holds the addresses of
the error word and the arena, the number of steps to run, the profile's address, then one address a
slot. Kernels get their tensors' addresses as arguments, so that equal kernels are one function.

Slots that change from step to step (a batch's row numbers, a schedule's rate, what a step returns)
advance by their size. The error word is ``(code, value, step)``: code 0 is none, ``NOT_FINITE`` a
loss that is not finite, others the number of an instruction, and value the bad index.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.llvm import arithmetic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.runtime.synchronisation import emit_barrier
from chainrule.program.compiler.schedule import (
    Barrier,
    BranchItem,
    Carried,
    CheckItem,
    Item,
    KernelItem,
    LoopItem,
)
from chainrule.program.compiler.table import (
    ARENA,
    COUNTERS,
    ERROR,
    FIRST_SLOT,
    NOT_FINITE,
    PROFILE,
    STEPS,
)

WORTH_DRAWING = 200.0  # microseconds of a kernel from which an uneven split costs more than draws
DRAWS = 16  # pieces a thread would draw of one kernel if all were large, at most
LONG = 100  # kernels and barriers: LLVM's work on an optimised driver grows with their square
LAST = 4  # the last tasks, one in so many, are drawn in pieces so many times smaller


class Driver:
    """Writes the driver of one schedule.

    Args:
        module: Where the kernels are.
        slots: Tensor → number of its slot in the table.
        offsets: Tensor → offset in the arena.
        root: The tensor whose memory a tensor lies in.
        moving: Tensors of slots that advance with every step.
        profiled: Kernels whose cycles are counted, by the first thread, in the profile's words; the
            word after theirs counts what it waits at barriers.
    """

    def __init__(
        self,
        module: Module,
        slots: Mapping[Tensor, int],
        offsets: Mapping[Tensor, int],
        root: Callable[[Tensor], Tensor],
        moving: Sequence[Tensor] = (),
        profiled: Sequence[KernelItem] = (),
    ) -> None:
        self.moving = moving
        self.profiled = {item: number for number, item in enumerate(profiled)}
        self.module = module
        self.slots = slots
        self.offsets = offsets
        self.root = root
        self.rows: dict[Tensor, Value] = {}

    def write(self, items: Sequence[Item], name: str = "program") -> None:
        """Write the function."""
        emit_barrier(self.module)
        emit_report(self.module)
        self.b = b = Builder(
            self.module,
            name,
            [("ptr", "barrier"), ("i64", "thread"), ("i64", "threads"), ("ptr", "table")],
            internal=False,
            quickly=_count(items) > LONG,
        )
        self.state, self.thread, self.threads, self.table = b.parameters
        self.is_first = b.compare("eq", self.thread, b.i64(0))
        self.error = b.load("ptr", b.offset(self.table, ERROR, "ptr"))
        self.counters = b.load("ptr", b.offset(self.table, COUNTERS, "ptr"))
        self.n_drawn = 0
        self.profile = b.load("ptr", b.offset(self.table, PROFILE, "ptr"))
        self.arena = b.load("ptr", b.offset(self.table, ARENA, "ptr"))
        self.bases = {
            number: b.load("ptr", b.offset(self.table, FIRST_SLOT + number, "ptr"))
            for number in sorted(set(self.slots.values()))
        }
        steps = b.convert("ptrtoint", b.load("ptr", b.offset(self.table, STEPS, "ptr")), "i64")
        b.raw("br label %first")
        b.label("first")
        with b.loop(0, steps) as loop:
            self.step = loop.index
            for tensor in self.moving:
                base = self.bases[self.slots[tensor]]
                self.rows[tensor] = b.offset(base, b.mul(loop.index, b.i64(tensor.bytes)), "i8")
            self._run(items)
        b.raw("br label %leave")
        b.label("leave")
        b.finish()

    def _address(self, tensor: Tensor) -> Value:
        if tensor in self.rows:
            return self.rows[tensor]
        owner = self.root(tensor)
        if owner in self.rows:
            return self.rows[owner]
        if owner in self.slots:
            return self.bases[self.slots[owner]]
        return self.b.offset(self.arena, self.offsets[owner], "i8")

    def _run(self, items: Sequence[Item]) -> None:
        for item in items:
            if isinstance(item, Barrier):
                with self._timed(len(self.profiled)):
                    self.b.call_own("barrier", self.state, self.threads)
            elif isinstance(item, KernelItem):
                with self._timed(self.profiled.get(item)):
                    self._kernel(item)
            elif isinstance(item, LoopItem):
                self._loop(item)
            elif isinstance(item, CheckItem):
                self._check(item)
            else:
                self._branch(item)

    @contextlib.contextmanager
    def _timed(self, number: int | None) -> Iterator[None]:
        """Add the cycles that the body takes on the first thread to a word of the profile."""
        if not self.profiled or number is None:
            yield
            return
        b = self.b
        before = b.call("llvm.readcyclecounter", "i64")
        yield
        taken = b.sub(b.call("llvm.readcyclecounter", "i64"), before)
        with b.when(self.is_first):
            place = b.offset(self.profile, number, "i64")
            b.store(b.add(b.load("i64", place), taken), place)

    def _kernel(self, item: KernelItem) -> None:
        b = self.b
        if item.tasks <= 0:
            return
        if item.tasks == 1:
            with b.when(self.is_first):
                self._call(item, b.i64(0), b.i64(1))
            return
        if item.microseconds >= WORTH_DRAWING:
            self._draw(item)
            return
        begin, end = self._share(item.tasks)
        self._call(item, begin, end)

    def _draw(self, item: KernelItem) -> None:
        """Threads draw pieces from a counter, so that none waits for a slower one for long.

        The last pieces are small: who draws the last one keeps the others waiting. Every second
        kernel begins with the last task: what the one before wrote last is likely to be in the
        cache still.

        The counter only grows: a run of the kernel takes one draw for each piece and one more for
        each thread, which finds nothing left; every thread keeps count of the runs.
        """
        b = self.b
        tasks = b.i64(item.tasks)
        size = _quotient_up(b, tasks, b.mul(self.threads, b.i64(DRAWS)))
        small = _quotient_up(b, size, b.i64(LAST))
        large = b.binary("udiv", b.i64(item.tasks - item.tasks // LAST), size)
        before_small = b.mul(large, size)
        pieces = b.add(large, _quotient_up(b, b.sub(tasks, before_small), small))
        counter = b.offset(self.counters, 8 * self.n_drawn, "i64")
        self.n_drawn += 1
        backwards = self.n_drawn % 2 == 0
        before = b.stack("i64", 1, 8, zeroed=True)
        first = b.load("i64", before)
        with b.repeat() as stop_unless:
            drawn = b.define("i64", f"atomicrmw add ptr {counter.name}, i64 1 monotonic")
            piece = b.sub(drawn, first)
            stop_unless(b.compare("ult", piece, pieces))
            is_large = b.compare("ult", piece, large)
            late = b.add(before_small, b.mul(b.sub(piece, large), small))
            begin = b.select(is_large, b.mul(piece, size), late)
            end = b.add(begin, b.select(is_large, size, small))
            end = b.select(b.compare("ugt", end, tasks), tasks, end)
            if backwards:
                begin, end = b.sub(tasks, end), b.sub(tasks, begin)
            self._call(item, begin, end)
        b.store(b.add(first, b.add(pieces, self.threads)), before)

    def _share(self, tasks: int) -> tuple[Value, Value]:
        b = self.b
        total = b.i64(tasks)
        begin = b.binary("udiv", b.mul(self.thread, total), self.threads)
        following = b.add(self.thread, b.i64(1))
        return begin, b.binary("udiv", b.mul(following, total), self.threads)

    def _call(self, item: KernelItem, begin: Value, end: Value) -> None:
        pointers = [self._address(t) for t in item.pointers]
        blames = Value("ptr", "null")
        if item.blames:
            label = f"blames.{'.'.join(map(str, item.blames))}"
            numbers = ", ".join(f"i64 {n}" for n in item.blames)
            self.module.add_global(
                label, f"internal constant [{len(item.blames)} x i64] [{numbers}]"
            )
            blames = Value("ptr", f"@{label}")
        self.b.call_own(item.name, *pointers, self.error, blames, begin, end)

    def _loop(self, item: LoopItem) -> None:
        if item.length is None:
            self._while(item)
            return
        if item.length == 0:
            return
        b = self.b
        with b.loop(0, item.length) as loop:
            turn = loop.index
            if item.reverse:
                turn = b.sub(b.i64(item.length - 1), turn)
            for inside, outside in item.slices.items():
                step = b.mul(turn, b.i64(inside.bytes))
                self.rows[inside] = b.offset(self._address(outside), step, "i8")
            for carried in item.carried:
                self._carry(item, carried, loop.index, turn)
            for view, (whole, start) in item.views.items():
                self.rows[view] = b.offset(self._address(whole), start, "i8")
            self._run(item.body)
            for inside in [*item.views, *item.slices]:
                del self.rows[inside]
            for carried in item.carried:
                del self.rows[carried.inside]
                if carried.new is not None:
                    del self.rows[carried.new]

    def _carry(self, item: LoopItem, x: Carried, count: Value, turn: Value) -> None:
        """Where a carry lies in this turn, and where it is written.

        Args:
            item: The loop.
            x: The carry.
            count: How many turns are done.
            turn: Number of this turn's slices.
        """
        b = self.b
        size = b.i64(x.inside.bytes)
        base, start = self._address(x.rows), self._address(x.start)
        one = b.i64(1)
        first = b.compare("eq", count, b.i64(0))
        if x.new is None or x.result is None:
            before = b.add(turn, one) if item.reverse else b.sub(turn, one)
        else:
            before = b.binary("and", b.add(count, one), one)
            own = b.offset(base, b.mul(b.binary("and", count, one), size), "i8")
            assert item.length is not None
            last = b.compare("eq", count, b.i64(item.length - 1))
            self.rows[x.new] = b.select(last, self._address(x.result), own)
        # of the first turn there is no row before: the address is computed and not taken
        self.rows[x.inside] = b.select(first, start, b.offset(base, b.mul(before, size), "i8"))

    def _check(self, item: CheckItem) -> None:
        """Leave on all threads if the loss, or an index before it, is bad: nothing is written."""
        b = self.b
        loss = b.load(arithmetic.memory_type(item.loss.dtype), self._address(item.loss))
        finite = arithmetic.apply(b, "isfinite", [loss], [item.loss.dtype], np.dtype(np.bool_))
        noted = b.load("i64", self.error)
        good = b.binary("and", finite, b.compare("eq", noted, b.i64(0)))
        bad = b.binary("xor", good, b.constant("i1", True))
        with b.when(b.binary("and", bad, self.is_first)):
            code = b.select(b.compare("eq", noted, b.i64(0)), b.i64(NOT_FINITE), noted)
            b.store(code, self.error)
            b.store(self.step, b.offset(self.error, 2, "i64"))
        b.leave_unless(good, "leave")

    def _while(self, item: LoopItem) -> None:
        b = self.b
        assert item.test is not None
        with b.repeat() as stop_unless:
            self._run(item.test_items)
            stop_unless(self._truth(item.test))
            self._run(item.body)

    def _branch(self, item: BranchItem) -> None:
        chosen = self._truth(item.chosen)
        with self.b.when(chosen):
            self._run(item.on_true)
        other = self.b.binary("xor", chosen, self.b.constant("i1", True))
        with self.b.when(other):
            self._run(item.on_false)

    def _truth(self, tensor: Tensor) -> Value:
        raw = self.b.load("i8", self._address(tensor))
        return arithmetic.from_memory(self.b, raw, tensor.dtype)


def _count(items: Sequence[Item]) -> int:
    """Items, and those inside of them."""
    total = len(items)
    for x in items:
        if isinstance(x, LoopItem):
            total += _count([*x.body, *x.test_items])
        elif isinstance(x, BranchItem):
            total += _count([*x.on_true, *x.on_false])
    return total


def _quotient_up(b: Builder, x: Value, y: Value) -> Value:
    """x / y, rounded up."""
    return b.binary("udiv", b.add(x, b.sub(y, b.i64(1))), y)


def emit_report(module: Module) -> None:
    """``report_index(ptr error, i64 code, i64 value)``: keep the first bad index, if code > 0."""
    b = Builder(module, "report_index", [("ptr", "error"), ("i64", "code"), ("i64", "value")])
    error, code, value = b.parameters
    with b.when(b.compare("ne", code, b.i64(0))):
        pair = b.define(
            "{ i64, i1 }",
            f"cmpxchg ptr {error.name}, i64 0, i64 {code.name} monotonic monotonic",
        )
        first = b.define("i1", f"extractvalue {{ i64, i1 }} {pair.name}, 1")
        with b.when(first):
            b.store(value, b.offset(error, 1, "i64"))
    b.finish()
