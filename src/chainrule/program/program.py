"""``Program``: a traced graph with its state slots and effects, ready to run on an engine."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from chainrule.array import Array, leaf
from chainrule.graph import Buffer, Graph
from chainrule.ops.origin import Origin, here
from chainrule.program.engines import require_compiler
from chainrule.program.exclusive import one_thread
from chainrule.program.interpreter import Plan
from chainrule.program.signature import Call, Slot, user_slots
from chainrule.tree import Structure, unflatten

if TYPE_CHECKING:
    from chainrule.program.compiler.machine import MachineCode
    from chainrule.program.compiler.native import NativeEpoch, NativeProgram
    from chainrule.program.compiler.profile import Memory, Profile


class Write(NamedTuple):
    """State that the Program writes back.

    Args:
        slot: Number of the slot that is written.
        leaves: Positions of the argument leaves that hold it (several where tied).
    """

    slot: int
    leaves: tuple[int, ...]


class Program:
    """A function as a graph: inputs in slots, results, and the state it writes.

    Args:
        name: The function's name.
        graph: One input a slot; outputs are the results, then the written state.
        slots: What the inputs are.
        structure: How the results are put together.
        n_outputs: How many outputs are results.
        writes: What the remaining outputs are written to, in order.
        engine: What runs it: ``compiler`` or ``interpreter``.
        number: How many signatures of the function were recorded up to this one.

    Printing a Program shows its nodes.

    Attributes:
        unused: Calls of it that took the long way since a shortcut was taken (see ``reuse``).
    """

    def __init__(
        self,
        *,
        name: str,
        graph: Graph,
        slots: Sequence[Slot],
        structure: Structure,
        n_outputs: int,
        writes: Sequence[Write],
        engine: str = "interpreter",
        number: int = 1,
    ) -> None:
        self.name = name
        self.graph = graph
        self.slots = list(slots)
        self.structure = structure
        self.n_outputs = n_outputs
        self.writes = list(writes)
        self.engine = engine
        self.number = number
        self.unused = 0
        self._epochs: dict[tuple[tuple[int, ...], tuple[int, ...]], NativeEpoch] = {}

    @cached_property
    def plan(self) -> Plan:
        """The interpreter's form of the graph."""
        return Plan(self.graph)

    @cached_property
    def native(self) -> NativeProgram:
        """The machine code of one run; compiled when it is first asked for."""
        from chainrule.program.compiler.native import NativeProgram

        with self._told() as told:
            made = NativeProgram(self.graph)
            told.append(made.code)
        return made

    def epoch(self, batch: Sequence[int], scalars: Sequence[int]) -> NativeEpoch:
        """The machine code of many runs on mini-batches; compiled when it is first asked for.

        Args:
            batch: Slots that are gathered from data.
            scalars: Slots that have a value of their own at every step.
        """
        from chainrule.program.compiler.native import NativeEpoch

        key = tuple(batch), tuple(scalars)
        if key not in self._epochs:
            state = [write.slot for write in self.writes]
            with self._told(", many steps") as told:
                made = NativeEpoch(self.graph, self.n_outputs, *key, state)
                told.append(made.code)
            self._epochs[key] = made
        return self._epochs[key]

    @contextlib.contextmanager
    def _told(self, form: str = "") -> Iterator[list[MachineCode]]:
        """Log what is compiled inside, if ``CHAINRULE_DEBUG`` asks for it."""
        from chainrule.program.compiler import debug

        found: list[MachineCode] = []
        debug.tell(debug.SCHEDULES, lambda: f"compiling {self.name}{form}")
        started = time.perf_counter()
        yield found
        seconds = time.perf_counter() - started
        written = {self.slots[write.slot].path for write in self.writes}
        inputs = [
            f"{slot.path} {slot.dtype}{list(slot.shape)}"
            for slot in user_slots(self.slots)
            if slot.path not in written and not slot.weak
        ]
        for code in found:
            debug.tell(
                debug.COMPILATIONS,
                lambda code=code: debug.compilation(  # type: ignore[misc]
                    self.name + form,
                    self.number,
                    inputs,
                    len(code.machine.kernels),
                    seconds,
                    code.from_cache,
                ),
            )

    def profile(self, values: Sequence[np.ndarray], seconds: float = 0.2) -> Profile:
        """Run it again and again, and say where the time goes; nothing is written.

        Args:
            values: One array a slot.
            seconds: How long to measure.

        Raises:
            ArgumentError: The Program runs on the interpreter, which has no kernels.
        """
        require_compiler("profiles", self.name, self.engine)
        from chainrule.program.compiler.native import NativeProgram
        from chainrule.program.compiler.profile import profile_code

        native = NativeProgram(self.graph, profiled=True)

        def run() -> int:
            native.run(values)
            return 1

        return profile_code(self.name, native.code, self.memory(), run, seconds)

    def memory(self) -> Memory:
        """What one run needs, known without running: inputs, results, the arena and its contents.

        Raises:
            ArgumentError: The Program runs on the interpreter, which has no arena.
        """
        require_compiler("plans of memory", self.name, self.engine)
        from chainrule.program.compiler.profile import memory_of

        return memory_of(self.name, self.native.code.machine, [w.slot for w in self.writes])

    @property
    def n_nodes(self) -> int:
        """How many ops one run evaluates."""
        return self.plan.n_instructions

    def run(self, values: Sequence[np.ndarray]) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Evaluate once; nothing is written.

        Args:
            values: One array a slot.

        Returns:
            The results, and the new values of the written slots.
        """
        outputs = (self.native if self.engine == "compiler" else self.plan).run(values)
        return outputs[: self.n_outputs], outputs[self.n_outputs :]

    def results(self, values: Sequence[np.ndarray]) -> Any:
        """Put raw results together as the function returned them, as Arrays without history."""
        return unflatten(self.structure, [leaf(np.asarray(value)) for value in values])

    def write_back(self, call: Call, values: Sequence[np.ndarray | Buffer]) -> list[Any]:
        """Store new state into the containers of ``call``: one Array for all tied places.

        Returns:
            What was stored, for each of ``writes``.
        """
        origin = here()
        with one_thread():
            return [
                self._write(call, write, value, origin)
                for write, value in zip(self.writes, values, strict=True)
            ]

    def _write(self, call: Call, write: Write, value: np.ndarray | Buffer, origin: Origin) -> Any:
        first = call.leaves[write.leaves[0]]
        fresh: Any
        if isinstance(first.value, Array):
            node = first.value.node
            fresh = leaf(
                value if isinstance(value, Buffer) else np.asarray(value),
                tracked=node.tracked and node.op is None,
                name=node.name,
                owned=True,
                weak=first.value.weak,
                origin=origin,
            )
        else:
            value = value.data if isinstance(value, Buffer) else value
            fresh = float(value) if self.slots[write.slot].weak else np.asarray(value)
        for position in write.leaves:
            call.leaves[position].assign(fresh)
        return fresh

    def __repr__(self) -> str:
        state = ", ".join(self.slots[write.slot].path for write in self.writes)
        return f"Program {self.name}: {self.n_nodes} ops, writes {state or 'nothing'}\n{self.graph}"
