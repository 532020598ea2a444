"""Native programs: what compiled Programs ask of the compiler, for one run or for many steps."""

from __future__ import annotations

import ctypes
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from chainrule.graph import Buffer, Graph
from chainrule.program.compiler import cache, debug
from chainrule.program.compiler.keys import GraphKey, UncacheableError
from chainrule.program.compiler.machine import CodeKey, Frame, MachineCode, cached
from chainrule.program.compiler.options import is_checked
from chainrule.program.compiler.panels import PanelBuffer, panel_elements, to_panels
from chainrule.program.compiler.runtime.arena import address, aligned_empty, aligned_room
from chainrule.program.compiler.runtime.team import run_alone
from chainrule.program.compiler.table import FIRST_SLOT
from chainrule.program.compiler.target import Target, host_target

if TYPE_CHECKING:  # imported when something must be compiled: a warm start needs none of it
    from chainrule.program.compiler.compiling import Assembly
    from chainrule.program.compiler.instructions import Block

SMALL = 16  # elements of an input that is kept though somebody else holds it
UNALIGNED = 1024  # bytes of a single run's output that may begin anywhere
CHUNK_SECONDS = 0.1  # how long native code runs before Python may look for a Ctrl-C


class NativeProgram:
    """Machine code that evaluates a graph once.

    Args:
        graph: What to compile.
        target: The processor; the one at hand if not given.
        profiled: Count the cycles of every kernel.
    """

    def __init__(
        self, graph: Graph, target: Target | None = None, *, profiled: bool = False
    ) -> None:
        chosen = target or host_target()
        key = _key(graph, "program", chosen, profiled)

        def make() -> MachineCode:
            from chainrule.program.compiler.compiling import compile_assembly

            return compile_assembly(assemble_program(graph), chosen, profiled=profiled)

        self.code = cached(key, make)

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on one array an input; return one array an output of the graph.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        machine = self.code.machine
        arrays = [ready(v, dtype) for v, (_, dtype) in zip(values, machine.inputs, strict=True)]
        outputs = [aligned_empty(shape, dtype) for shape, dtype in machine.outputs]
        error = self.code.run([address(x) for x in [*arrays, *outputs]], 1)
        if error[0]:
            self.code.raise_index_error(int(error[0]), int(error[1]))
        found = {"output": outputs, "input": list(values), "constant": self.code.kept}
        return [found[kind][number] for kind, number in machine.results]


class BoundProgram:
    """A native program most of whose inputs stay the same from run to run.

    Args:
        program: What to run.
        values: One array an input.
        free: Numbers of the inputs that each run is given as arrays.
        scalars: Numbers of the inputs that each run is given as floats. The memory of all others
            must live as long as this is used; small ones are kept.
    """

    def __init__(
        self,
        program: NativeProgram,
        values: Sequence[np.ndarray],
        free: Sequence[int],
        scalars: Sequence[int] = (),
    ) -> None:
        self.code = program.code
        machine = self.code.machine
        arrays = [ready(v, dtype) for v, (_, dtype) in zip(values, machine.inputs, strict=True)]
        self._kept = [
            x for x, v in zip(arrays, values, strict=True) if x is not v or x.size <= SMALL
        ]
        self._pointers = [address(x) for x in arrays]
        self._free = [(FIRST_SLOT + number, machine.inputs[number][1]) for number in free]
        self._scalars = [FIRST_SLOT + number for number in scalars]
        first = FIRST_SLOT + len(arrays)
        self._outputs = [
            (place, tuple(shape), dtype, math.prod(shape) * dtype.itemsize <= UNALIGNED)
            for place, (shape, dtype) in enumerate(machine.outputs, first)
        ]
        order = [number for _, number in machine.results]
        self._order = None if order == [*range(len(self._outputs))] else order
        self._alone = self.code.is_alone
        self._frames: list[tuple[Frame, Any]] = []

    def _frame(self) -> tuple[Frame, Any]:
        """A new frame, and room for the floats."""
        frame = self.code.frame([*self._pointers, *(0 for _ in self._outputs)])
        cells = (ctypes.c_double * max(1, len(self._scalars)))()
        for number, place in enumerate(self._scalars):
            frame.table[place] = ctypes.addressof(cells) + number * ctypes.sizeof(ctypes.c_double)
        return frame, cells

    def run(self, values: Sequence[np.ndarray], scalars: Sequence[float] = ()) -> list[np.ndarray]:
        """Run once; outputs as of ``NativeProgram.run``.

        Args:
            values: One array for each of ``free``.
            scalars: One number for each of ``scalars``.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        try:  # several Python threads may run at once: each has a frame of its own
            pair = self._frames.pop()
        except IndexError:
            pair = self._frame()
        frame, cells = pair
        table, made, outputs = frame.table, [], []
        for (place, dtype), value in zip(self._free, values, strict=True):
            flags, kind = value.flags, value.dtype
            if not (flags.c_contiguous and flags.aligned and (kind is dtype or kind == dtype)):
                value = ready(value, dtype)
                made.append(value)  # lives as long as the run
            table[place] = address(value)
        if scalars:
            cells[: len(scalars)] = scalars
        for place, shape, dtype, small in self._outputs:
            if small:
                array = np.empty(shape, dtype)
                table[place] = address(array)
            else:
                array, table[place] = aligned_room(shape, dtype)
            outputs.append(array)
        if self._alone:
            run_alone(self.code.entry, frame.address)
        else:
            self.code.run_frame(frame, 1)
        if (error := frame.error)[0]:
            self.code.raise_index_error(error[0], error[1])
        self._frames.append(pair)
        return outputs if self._order is None else [outputs[number] for number in self._order]

    def in_short(self) -> Callable[[np.ndarray], np.ndarray] | None:
        """``run`` of one free array, for small code with one small output; None for other code."""
        small = all(is_small for *_, is_small in self._outputs)
        if not (self._alone and small and self._order is None and not self._scalars):
            return None
        if len(self._free) != 1 or len(self._outputs) != 1:
            return None
        ((place, dtype),) = self._free
        ((out, shape, kind, _),) = self._outputs
        frames, entry, empty = self._frames, self.code.entry, np.empty

        def run(value: np.ndarray) -> np.ndarray:
            # writeable too, which costs less to ask and nearly every array is
            if value.dtype is not dtype or not value.flags.carray:
                return self.run([value])[0]
            try:
                pair = frames.pop()
            except IndexError:
                pair = self._frame()
            frame = pair[0]
            table = frame.table
            table[place] = address(value)
            array = empty(shape, kind)
            table[out] = address(array)
            run_alone(entry, frame.address)
            if (error := frame.error)[0]:
                self.code.raise_index_error(error[0], error[1])
            frames.append(pair)
            return array

        return run

    def carry(self, pairs: Sequence[tuple[int, int]]) -> None:
        """Let the last run's outputs be inputs of the next; one caller at a time may do that.

        Args:
            pairs: Number of an output of the graph, and of the input that holds it from now on.
                Whoever calls keeps its memory alive.
        """
        table = self._frames[-1][0].table
        first = FIRST_SLOT + len(self._pointers)
        for output, number in pairs:
            place = output if self._order is None else self._order[output]
            self._pointers[number] = table[FIRST_SLOT + number] = table[first + place]


class NativeEpoch:
    """Machine code that runs many steps of a program on mini-batches gathered from data.

    Args:
        graph: One step: outputs are results, then new state.
        n_results: How many outputs are results; the first is the loss.
        batch: Inputs that are rows of data arrays.
        scalars: Inputs that have a value of their own at every step.
        state: For each output after the results, the input that it replaces.
        target: The processor; the one at hand if not given.
        profiled: Count the cycles of every kernel.
    """

    def __init__(
        self,
        graph: Graph,
        n_results: int,
        batch: Sequence[int],
        scalars: Sequence[int],
        state: Sequence[int],
        target: Target | None = None,
        *,
        profiled: bool = False,
    ) -> None:
        chosen = target or host_target()
        self.batch, self.scalars, self.state = list(batch), list(scalars), list(state)
        roles = n_results, self.batch, self.scalars, self.state
        key = _key(graph, "epoch", chosen, profiled, *roles)

        def make() -> MachineCode:
            from chainrule.program.compiler.compiling import compile_assembly

            return compile_assembly(assemble_epoch(graph, *roles), chosen, profiled=profiled)

        self.code = cached(key, make)
        self.seconds_a_step = 0.0  # of the last stretch; 0 before the first

    def start(
        self,
        values: Sequence[np.ndarray | Buffer],
        data: Sequence[np.ndarray],
        order: np.ndarray,
        vectors: Mapping[int, np.ndarray],
    ) -> EpochRun:
        """Get ready to run one step for each row of ``order``; nothing of ``values`` is changed.

        Args:
            values: One an input, as an array or as ``EpochRun.state`` gave it; those of batches
                are not looked at.
            data: One array for each of ``batch``: samples in front.
            order: Sample numbers, (n_steps, batch size), int64, checked.
            vectors: Input of ``scalars`` → its values, (n_steps,).
        """
        machine = self.code.machine
        held: list[np.ndarray] = []
        for number, value in enumerate(values):
            if number in self.state or number in machine.panels:
                held.append(self._own(number, value))
                continue
            if number in self.batch:
                value = data[self.batch.index(number)]
            value = value.data if isinstance(value, Buffer) else value
            held.append(ready(vectors.get(number, value), machine.inputs[number][1]))
        held.append(_with_a_row_more(order))
        outputs = [aligned_empty((len(order), *shape), dtype) for shape, dtype in machine.outputs]
        return EpochRun(self, held, outputs, len(order))

    def _own(self, number: int, value: np.ndarray | Buffer) -> np.ndarray:
        """A copy of state, or of what stays, for the code to work on, laid out as it wants it."""
        shape, dtype = self.code.machine.inputs[number]
        record = self.code.machine.panels.get(number)
        found = None
        if record is not None and isinstance(value, PanelBuffer):
            found = value.panels(record)
            if found is not None and number not in self.state:
                return found
        own = aligned_empty(shape if record is None else (panel_elements(record),), dtype)
        if found is not None:
            own[...] = found
            return own
        plain = value.data if isinstance(value, Buffer) else value
        if record is None:
            own[...] = plain
        else:
            to_panels(record, plain, own)
        return own

    def shown(self, number: int, own: np.ndarray) -> np.ndarray | Buffer:
        """State for its users, who see the plain matrix whenever they look."""
        record = self.code.machine.panels.get(number)
        return own if record is None else PanelBuffer(record, own)


class EpochRun:
    """Steps that are being run: in native stretches of about a tenth of a second.

    Args:
        epoch: The machine code.
        held: Memory of the inputs.
        outputs: Memory of the results, steps in front.
        n_steps: How many steps there are to run.
    """

    def __init__(
        self, epoch: NativeEpoch, held: list[np.ndarray], outputs: list[np.ndarray], n_steps: int
    ) -> None:
        self.epoch = epoch
        self.held = held
        self.outputs = outputs
        self.n_steps = n_steps
        self.done = 0
        moving = {*epoch.scalars, len(held) - 1}
        self._places = [
            (address(x), x.strides[0] if number in moving else 0) for number, x in enumerate(held)
        ] + [(address(x), x.strides[0]) for x in outputs]

    @property
    def state(self) -> list[np.ndarray | Buffer]:
        """New values of the state, after ``done`` steps; the run is over then."""
        return [self.epoch.shown(number, self.held[number]) for number in self.epoch.state]

    @property
    def results(self) -> list[np.ndarray]:
        """Each result of the steps that are done."""
        return [x[: self.done] for x in self.outputs]

    def finish(self) -> bool:
        """Run the steps that are left; False if the loss of step number ``done`` is not finite.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        pace = self.epoch.seconds_a_step
        count = max(1, int(CHUNK_SECONDS / pace)) if pace else 1
        while self.done < self.n_steps:
            count = min(count, self.n_steps - self.done)
            started = time.perf_counter()
            pointers = [base + self.done * step for base, step in self._places]
            error = self.epoch.code.run(pointers, count)
            self.done += int(error[2]) if error[0] else count
            if error[0] > 0:
                self.epoch.code.raise_index_error(int(error[0]), int(error[1]))
            if error[0]:
                return False
            pace = max(time.perf_counter() - started, 1e-6) / count
            self.epoch.seconds_a_step = pace
            count = max(1, min(count * 16, int(CHUNK_SECONDS / pace)))
        return True


def assemble_program(graph: Graph) -> Assembly:
    """A graph to be evaluated once; outputs that are inputs or constants are not computed."""
    from chainrule.program.compiler.compiling import Assembly
    from chainrule.program.compiler.instructions import Tensor
    from chainrule.program.compiler.passes import import_graph

    block = _after_passes(import_graph(graph))
    results: list[tuple[str, int]] = []
    computed: list[Tensor] = []
    kept: list[np.ndarray] = []
    for output in block.outputs:
        if output.constant is not None:
            results.append(("constant", len(kept)))
            kept.append(output.constant)
        elif output.producer is None:
            results.append(("input", block.inputs.index(output)))
        else:
            if output not in computed:
                computed.append(output)
            results.append(("output", computed.index(output)))
    block.outputs = computed
    return Assembly(block, computed, results, kept)


def assemble_epoch(
    graph: Graph,
    n_results: int,
    batch: Sequence[int],
    scalars: Sequence[int],
    state: Sequence[int],
) -> Assembly:
    """A graph to be run step after step (see ``NativeEpoch``)."""
    from chainrule.program.compiler.batches import gather_batches
    from chainrule.program.compiler.compiling import Assembly
    from chainrule.program.compiler.lowering.bodies import own_outputs
    from chainrule.program.compiler.passes import import_graph

    block = import_graph(graph)
    order = gather_batches(block, batch)
    block = own_outputs(_after_passes(block))
    results, new = block.outputs[:n_results], block.outputs[n_results:]
    changing = {order, *(block.inputs[n] for n in [*batch, *scalars])}
    return Assembly(
        block,
        results,
        [("output", n) for n in range(n_results)],
        writes={n: block.inputs[s] for n, s in zip(new, state, strict=True)},
        loss=results[0] if results else None,
        moving=[order, *(block.inputs[s] for s in scalars), *results],
        resident=[x for x in block.inputs if x not in changing],
    )


def _with_a_row_more(order: np.ndarray) -> np.ndarray:
    """A copy of the sample numbers; the last step looks at a row behind them for the next one."""
    rows = np.zeros((len(order) + 1, order.shape[1]), np.int64)
    rows[:-1] = order
    return rows


def _after_passes(block: Block) -> Block:
    """The block after all passes, told as it changes."""
    from chainrule.program.compiler.passes import Pass, run_passes

    def tell(each: Pass, changed: Block) -> None:
        debug.tell(debug.NESTS, lambda: f"after {each.name}\n{changed}")

    debug.tell(debug.NESTS, lambda: f"as traced\n{block}")
    with debug.timed("passes"):
        return run_passes(block, tell)


def ready(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The array as code reads it: of the type it was compiled for, and without gaps."""
    array = np.asarray(value)
    if array.dtype != dtype or not array.flags.c_contiguous or not array.flags.aligned:
        array = np.require(array, dtype, ["C", "A"])
    return array


def _key(graph: Graph, *options: Any) -> CodeKey | None:
    """Key of the cache; None if the graph has none."""
    if not cache.is_enabled():
        return None
    try:
        key = GraphKey(graph)
    except UncacheableError:
        return None
    return CodeKey(cache.make_key("graph", key.text, is_checked(), *options), key)
