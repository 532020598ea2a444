"""Emission of a matrix product with what fusion put behind it."""

from __future__ import annotations

from chainrule.program.compiler.contractions import Contraction
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.expressions import Apply, Expression, Load, Local
from chainrule.program.compiler.indices import Axis, Index
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.kernels import EXPENSIVE, InnerLoop, Kernel, Store
from chainrule.program.compiler.llvm import arithmetic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.types import lanes_of
from chainrule.program.compiler.lowering.elements import loads, lookups
from chainrule.program.compiler.products.planning import Plan, Stage
from chainrule.program.compiler.products.product import Access

# each number made of the one before: two chains side by side take little longer than one
CHAINS = EXPENSIVE - {"divide", "sqrt", "floor_divide", "remainder"}
FITS_CACHE = 1 << 17  # bytes: less than this stays in the second-level cache from step to step


class ProductEmitter:
    """Emits the stages of a batch of products.

    Args:
        contraction: What is multiplied.
        plan: How.
        kernel: The epilogue: stores at the result's axes, or none but the product's own.
        scratch: Memory for packed operands, for each product of the batch.
    """

    def __init__(
        self, contraction: Contraction, plan: Plan, kernel: Kernel, scratch: Tensor | None
    ) -> None:
        self.contraction = contraction
        self.plan = plan
        self.scratch = scratch
        self.loop = flattened(kernel, contraction)

    def tasks(self, stage: Stage) -> int:
        """Number of tasks of a stage, over the whole batch."""
        return stage.tasks * self.contraction.batch.extent

    def emit(self, b: Builder, stage: Stage, memory: Memory, begin: Value, end: Value) -> None:
        """Write tasks ``begin`` to ``end`` of a stage."""
        self.memory = memory
        batch = self.contraction.batch
        if batch.extent == 1:
            self._stage(b, stage, begin, end, b.i64(0))
            return
        with b.loop(begin, end) as loop:
            count = b.i64(stage.tasks)
            number = b.binary("udiv", loop.index, count)
            task = b.binary("urem", loop.index, count)
            self._stage(b, stage, task, b.add(task, b.i64(1)), number)

    def _stage(self, b: Builder, stage: Stage, begin: Value, end: Value, number: Value) -> None:
        x = self.contraction
        emitter = Emitter(b, self.memory, self.plan.form.lanes)
        emitter.named = self.loop.values
        emitter.enter(x.batch, number)
        access = self._access(b, emitter)
        if stage == self.plan.stages[-1]:
            written = frozenset(s.tensor for s in self.loop.statements)
            emitter.hoist(self._values(), written)
        nodes = {node for value in self._values() for node in value.walk()}
        chained = any(isinstance(x, Apply) and x.op in CHAINS for x in nodes)
        self.plan.emit(
            b,
            stage,
            begin,
            end,
            access,
            lambda *a: self._epilogue(emitter, *a),
            inline=False if chained else None,
            together=chained,
        )
        emitter.leave(x.batch)

    def _access(self, b: Builder, emitter: Emitter) -> Access:
        x = self.contraction
        product = self.plan.product
        a_axes = (x.row, x.depth) if product.a_depth_stride is not None else (x.depth, x.row)
        b_axes = (x.column, x.depth) if product.b_depth_stride is not None else (x.depth, x.column)

        def pointer(inner: Builder, load: Load, axes: tuple[Axis, Axis], counter: Value) -> Value:
            """The address of the operand's element at ``counter`` of one axis, 0 of the other."""
            place = self.memory.offset(load.tensor, load.indices)
            emitter.enter(axes[0], counter)
            step = emitter.index(place.substitute({axes[1]: Index()}))
            emitter.leave(axes[0])
            element = arithmetic.memory_type(load.tensor.dtype)
            return inner.offset(self.memory.pointers(load.tensor), step, element)

        def a(inner: Builder, counter: Value) -> Value:
            return pointer(inner, x.a, a_axes, counter)

        def b_(inner: Builder, counter: Value) -> Value:
            return pointer(inner, x.b, b_axes, counter)

        scratch = None
        if self.scratch is not None:
            per = self.plan.scratch_bytes
            number = emitter.counters[x.batch]
            own = b.mul(number, b.i64(per))
            scratch = b.offset(self.memory.pointers(self.scratch), own, "i8")
        access = Access(a, b_, scratch)
        later = emitter.following(x.b) if product.b_depth_stride is None else None
        if later is not None:
            access.following = lambda inner, k: pointer(inner, later, b_axes, k)
        once = self._read_once()
        if once:
            written = {statement.tensor.size for statement in self.loop.statements}

            def prefetch(inner: Builder, m: Value, n: Value) -> None:
                emitter.enter(x.row, m)
                emitter.enter(x.column, n, vectorised=self.plan.form.lanes > 1)
                for load in once:
                    pointer, _ = emitter.address(load.tensor, load.indices)
                    inner.prefetch(pointer, write=load.tensor.size in written)
                emitter.leave(x.column)
                emitter.leave(x.row)

            access.prefetch = prefetch
        return access

    def _values(self) -> list[Expression]:
        """What the epilogue computes."""
        stored = [s.value for s in self.loop.statements if isinstance(s, Store)]
        return [*self.loop.values.values(), *stored]

    def _read_once(self) -> list[Load]:
        """What the epilogue reads of large tensors at known places: worth asking for early."""
        found = dict.fromkeys(load for value in self._values() for load in loads(value))
        return [
            load
            for load in found
            if load.tensor.bytes > FITS_CACHE
            and load.guard is None
            and not any(lookups(index) for index in load.indices)
        ]

    def _epilogue(
        self, emitter: Emitter, b: Builder, m: Value, n: Value, value: Value, lanes: int
    ) -> None:
        x = self.contraction
        wide = lanes_of(value.type)
        usual, emitter.lanes = emitter.lanes, max(wide, emitter.lanes)
        emitter.active = lanes
        emitter.enter(x.row, m)
        emitter.enter(x.column, n, vectorised=wide > 1)
        emitter.locals[x.instruction.result] = value
        for tensor in self.loop.values:
            emitter.emit(self.loop.values[tensor])
        for statement in self.loop.statements:
            assert isinstance(statement, Store)
            emitter.store(statement.tensor, statement.indices, emitter.emit(statement.value))
        del emitter.locals[x.instruction.result]
        emitter.leave(x.column)
        emitter.leave(x.row)
        emitter.active = emitter.lanes = usual


def flattened(kernel: Kernel, contraction: Contraction) -> InnerLoop:
    """The epilogue's statements at the product's batch, row and column."""
    result = contraction.instruction.result
    places = kernel.group.places[result]
    table: dict[Axis, Index] = {}
    for place, index in zip(places, contraction.result_indices(), strict=True):
        if place is not None:
            table[kernel.outer[place]] = index
    axes = (contraction.batch, contraction.row, contraction.column)
    flat = InnerLoop(())
    for loop in kernel.loops:
        for tensor, value in loop.values.items():
            flat.values[tensor] = value.substitute(table)
        for statement in loop.statements:
            where = tuple(i.substitute(table) for i in statement.indices)
            if isinstance(statement, Store):
                value = statement.value.substitute(table)
                flat.statements.append(Store(statement.tensor, where, value))
            elif statement.stored:
                own = Local(statement.tensor, frozenset(axes))
                flat.statements.append(Store(statement.tensor, where, own))
    return flat
