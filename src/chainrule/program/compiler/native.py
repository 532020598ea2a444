"""Native programs: machine code made from a graph, and the memory that it runs in."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule.errors import IndexRangeError
from chainrule.graph import Graph
from chainrule.program.compiler.batches import gather_batches
from chainrule.program.compiler.driver import FIRST_SLOT, Driver
from chainrule.program.compiler.instructions import Block, Tensor
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.lower import Lowering, own_outputs
from chainrule.program.compiler.passes import import_graph, run_passes
from chainrule.program.compiler.runtime import team
from chainrule.program.compiler.runtime.arena import aligned_empty, borrow
from chainrule.program.compiler.runtime.counts import get_num_threads
from chainrule.program.compiler.schedule import (
    Barrier,
    Item,
    allocate,
    kernels,
    lifetimes,
    place_barriers,
)
from chainrule.program.compiler.target import Target, host_target

Spec = tuple[tuple[int, ...], "np.dtype[Any]"]


@dataclass
class Assembly:
    """A block to compile, with its memory.

    Args:
        block: The block; its outputs are results of its own, each once.
        given: Outputs with a slot of their own, in order of the slots, after the inputs'.
        writes: Output → input whose memory it takes over when a step is done.
        loss: Output that must be finite before anything is overwritten.
        moving: Tensors of slots that advance with every step.
    """

    block: Block
    given: list[Tensor]
    writes: dict[Tensor, Tensor]
    loss: Tensor | None
    moving: list[Tensor]


class MachineCode:
    """Compiled code and what it needs to run.

    Args:
        assembly: What to compile.
        target: The processor.
    """

    def __init__(self, assembly: Assembly, target: Target) -> None:
        block = assembly.block
        module = Module(target)
        lowering = Lowering(module)
        given = set(assembly.given)
        items = lowering.lower(block, given, assembly.writes, assembly.loss)
        self.schedule = place_barriers(items, lowering.root)
        if assembly.moving:  # the next step reads what this one wrote
            self.schedule.append(Barrier())
        self.constants = _constants(self.schedule, lowering)
        slots: dict[Tensor, int] = {}
        for tensor in [*block.inputs, *assembly.given, *self.constants]:
            slots[tensor] = len(slots)
        owned = [x for x in dict.fromkeys(map(lowering.root, lowering.owned)) if x not in slots]
        self.offsets, self.arena_bytes = allocate(lifetimes(self.schedule, lowering.root), owned)
        driver = Driver(module, slots, self.offsets, lowering.root, assembly.moving)
        driver.write(self.schedule)
        self.blamed = [str(x.origin) for x in lowering.blamed]
        self.text = str(module)
        self.library = jit.load([jit.emit_object(self.text, target)], ["program"])
        self._address = self.library.addresses["program"]
        self._constant_pointers = [_address(t.constant) for t in self.constants]
        self.n_threads = _threads_worth(self.schedule)

    def run(self, pointers: Sequence[int], steps: int) -> np.ndarray:
        """Run some steps; gives the error word: code, value, step.

        Args:
            pointers: Addresses of the inputs', then of the outputs' memory.
            steps: How many.
        """
        table = np.empty(FIRST_SLOT + len(pointers) + len(self._constant_pointers), np.uint64)
        error = np.zeros(3, np.int64)
        table[FIRST_SLOT:] = [*pointers, *self._constant_pointers]
        with borrow(self.arena_bytes) as arena:
            table[:FIRST_SLOT] = _address(error), arena.address, steps
            team.run(self._address, _address(table), min(self.n_threads, get_num_threads()))
        return error

    def raise_index_error(self, code: int, value: int) -> None:
        """Raise what a bad index in the data becomes.

        Raises:
            IndexRangeError: Always.
        """
        raise IndexRangeError(
            "an index is outside the axis that it counts",
            got=str(value),
            fix="check the labels and indices: they count from 0",
            where=self.blamed[code - 1],
        )


@dataclass(frozen=True)
class Result:
    """Where an output of a graph comes from.

    Args:
        kind: ``output``: computed; ``input``: an input that leaves as it came; ``constant``.
        number: Number of the computed output, of the input, or of the constant.
    """

    kind: str
    number: int


class NativeProgram:
    """Machine code that evaluates a graph once.

    Args:
        graph: What to compile.
        target: The processor; the one at hand if not given.
    """

    def __init__(self, graph: Graph, target: Target | None = None) -> None:
        block = run_passes(import_graph(graph))
        self.results, computed, self.kept = _results(block)
        block.outputs = computed
        self.inputs: list[Spec] = [(x.shape, x.dtype) for x in block.inputs]
        self.outputs: list[Spec] = [(x.shape, x.dtype) for x in computed]
        assembly = Assembly(block, computed, {}, None, [])
        self.code = MachineCode(assembly, target or host_target())

    def run(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run on one array an input; return one array an output of the graph.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        arrays = [ready(v, dtype) for v, (_, dtype) in zip(values, self.inputs, strict=True)]
        outputs = [aligned_empty(shape, dtype) for shape, dtype in self.outputs]
        error = self.code.run([_address(x) for x in [*arrays, *outputs]], 1)
        if error[0]:
            self.code.raise_index_error(int(error[0]), int(error[1]))
        found = {"output": outputs, "input": list(values), "constant": self.kept}
        return [found[r.kind][r.number] for r in self.results]


class NativeEpoch:
    """Machine code that runs many steps of a program on mini-batches gathered from data.

    Args:
        graph: One step: outputs are results, then new state.
        n_results: How many outputs are results; the first is the loss.
        batch: Inputs that are rows of data arrays.
        scalars: Inputs that have a value of their own at every step.
        state: For each output after the results, the input that it replaces.
        target: The processor; the one at hand if not given.
    """

    def __init__(
        self,
        graph: Graph,
        n_results: int,
        batch: Sequence[int],
        scalars: Sequence[int],
        state: Sequence[int],
        target: Target | None = None,
    ) -> None:
        block = import_graph(graph)
        self.batch, self.scalars, self.state = list(batch), list(scalars), list(state)
        self.n_results = n_results
        order = gather_batches(block, self.batch)
        block = own_outputs(run_passes(block))
        results, new = block.outputs[:n_results], block.outputs[n_results:]
        writes = {n: block.inputs[s] for n, s in zip(new, state, strict=True)}
        moving = [order, *(block.inputs[s] for s in scalars), *results]
        loss = results[0] if results else None
        assembly = Assembly(block, results, writes, loss, moving)
        self.inputs: list[Spec] = [(x.shape, x.dtype) for x in block.inputs]
        self.outputs: list[Spec] = [(x.shape, x.dtype) for x in results]
        self.code = MachineCode(assembly, target or host_target())

    def start(
        self,
        values: Sequence[np.ndarray],
        data: Sequence[np.ndarray],
        order: np.ndarray,
        vectors: Mapping[int, np.ndarray],
    ) -> EpochRun:
        """Get ready to run one step for each row of ``order``; nothing of ``values`` is changed.

        Args:
            values: One array an input; those of batches are not looked at.
            data: One array for each of ``batch``: samples in front.
            order: Sample numbers, (n_steps, batch size), int64, checked.
            vectors: Input of ``scalars`` → its values, (n_steps,).
        """
        held: list[np.ndarray] = []
        for number, value in enumerate(values):
            shape, dtype = self.inputs[number]
            if number in self.batch:
                value = data[self.batch.index(number)]
            elif number in vectors:
                value = vectors[number]
            elif number in self.state:
                own = aligned_empty(shape, dtype)
                own[...] = value
                value = own
            held.append(ready(value, dtype))
        held.append(ready(order, np.dtype(np.int64)))
        outputs = [aligned_empty((len(order), *shape), dtype) for shape, dtype in self.outputs]
        return EpochRun(self, held, outputs, len(order))


CHUNK_SECONDS = 0.1  # how long native code runs before Python may look for a Ctrl-C


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
            (_address(x), x.strides[0] if number in moving else 0) for number, x in enumerate(held)
        ] + [(_address(x), x.strides[0]) for x in outputs]

    @property
    def state(self) -> list[np.ndarray]:
        """New values of the state, after ``done`` steps."""
        return [self.held[number] for number in self.epoch.state]

    @property
    def results(self) -> list[np.ndarray]:
        """Each result of the steps that are done."""
        return [x[: self.done] for x in self.outputs]

    def finish(self) -> bool:
        """Run the steps that are left; False if the loss of step number ``done`` is not finite.

        Raises:
            IndexRangeError: An index in the data is outside its axis.
        """
        count = 1
        while self.done < self.n_steps:
            count = min(count, self.n_steps - self.done)
            started = time.perf_counter()
            pointers = [base + self.done * step for base, step in self._places]
            error = self.epoch.code.run(pointers, count)
            if error[0]:
                self.done += int(error[2])
            else:
                self.done += count
            if error[0] > 0:
                self.epoch.code.raise_index_error(int(error[0]), int(error[1]))
            if error[0]:
                return False
            seconds = max(time.perf_counter() - started, 1e-6)
            count = max(1, min(count * 16, int(count * CHUNK_SECONDS / seconds)))
        return True


def ready(value: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """The array as code reads it: of the type it was compiled for, and without gaps."""
    array = np.asarray(value)
    if array.dtype != dtype or not array.flags.c_contiguous or not array.flags.aligned:
        array = np.require(array, dtype, ["C", "A"])
    return array


def _address(array: np.ndarray | None) -> int:
    assert array is not None
    address: int = array.__array_interface__["data"][0]
    return address


def _results(block: Block) -> tuple[list[Result], list[Tensor], list[np.ndarray]]:
    """Sort the outputs into computed ones (each once), inputs and constants."""
    results: list[Result] = []
    computed: list[Tensor] = []
    kept: list[np.ndarray] = []
    for output in block.outputs:
        if output.constant is not None:
            results.append(Result("constant", len(kept)))
            kept.append(output.constant)
        elif output.producer is None:
            results.append(Result("input", block.inputs.index(output)))
        else:
            if output not in computed:
                computed.append(output)
            results.append(Result("output", computed.index(output)))
    return results, computed, kept


def _constants(items: Sequence[Item], lowering: Lowering) -> list[Tensor]:
    """The constants that kernels read from memory."""
    found: dict[Tensor, None] = {}
    for kernel in kernels(items):
        for tensor in kernel.pointers:
            owner = lowering.root(tensor)
            if owner.constant is not None:
                owner.constant = np.require(owner.constant, owner.dtype, ["C", "A"])
                found[owner] = None
    return list(found)


MICROSECOND = 2e4  # of arithmetic on one core, in operations: a cautious estimate
ALONE = 12.0  # microseconds below which a second thread costs more than it does


def _threads_worth(items: Sequence[Item]) -> int:
    """How many threads are worth waking: one for tiny programs."""
    work = sum(max(k.flops, k.moved / 2) for k in kernels(items)) / MICROSECOND
    barriers = sum(isinstance(i, Barrier) for i in items)
    return 1 if work < ALONE + barriers else 64
