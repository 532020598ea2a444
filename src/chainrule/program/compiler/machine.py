"""Machine code in the process: what it needs to run, and how the cache keeps it."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, NoReturn

import numpy as np

from chainrule.errors import CompilerError, IndexRangeError
from chainrule.ops.dtypes import as_dtype
from chainrule.program.compiler import cache, debug
from chainrule.program.compiler.keys import GraphKey
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.objects import ObjectFile, object_with
from chainrule.program.compiler.runtime import team
from chainrule.program.compiler.runtime.arena import Block, address, block_size, borrow
from chainrule.program.compiler.runtime.choice import ThreadChoice
from chainrule.program.compiler.runtime.counts import get_num_threads
from chainrule.program.compiler.table import (
    ARENA,
    COUNTERS,
    ERROR,
    FIRST_SLOT,
    OUT_OF_BOUNDS,
    PROFILE,
    STEPS,
)

SMALL_ARENA = 1 << 18  # bytes

Spec = tuple[tuple[int, ...], "np.dtype[Any]"]


class CodeKey(NamedTuple):
    """What machine code is found by.

    Args:
        text: Key of the cache.
        graph: The graph's own; its places are those that the code may blame.
    """

    text: str
    graph: GraphKey


@dataclass(frozen=True)
class KernelRecord:
    """What profiles say of a kernel.

    Args:
        title: The ops that it computes.
        where: The layers, or the line of the user's, that it comes from.
        tasks: Pieces that threads share.
        flops: Arithmetic of one run.
        moved: Bytes read and written by one run, at least.
    """

    title: str
    where: str
    tasks: int
    flops: float
    moved: float


@dataclass(frozen=True)
class PlaceRecord:
    """Where a value lies in the arena; those that are never needed at once share memory.

    Args:
        title: Op, type and shape.
        where: The layer, or the line of the user's, that it comes from.
        offset: Its first byte.
        size: Its bytes.
    """

    title: str
    where: str
    offset: int
    size: int


@dataclass(frozen=True)
class PanelRecord:
    """State that lies in panels (see ``layouts.Panels``).

    Args:
        shape: The shape that users see.
        axis: The axis that is cut.
        width: Elements of a panel along it.
    """

    shape: tuple[int, ...]
    axis: int
    width: int


@dataclass
class Machine:
    """A compiled program without its code: plain numbers and text.

    Args:
        inputs: Shape and type of every input.
        outputs: Shape and type of every output with memory of its own.
        results: For each output of the graph where it comes from: ``output``, ``input`` or
            ``constant``, and the number there.
        arena_bytes: Memory that a run borrows.
        n_threads: Threads that are worth it.
        blamed: Places in the user's program to name for a bad index.
        panels: Number of an input that is state → how it lies.
        kernels: What profiles say, in order.
        n_drawn: Kernels whose pieces threads draw from a counter.
        places: Where values lie in the arena.
    """

    inputs: list[Spec]
    outputs: list[Spec]
    results: list[tuple[str, int]]
    arena_bytes: int
    n_threads: int
    blamed: list[str]
    panels: dict[int, PanelRecord]
    kernels: list[KernelRecord]
    n_drawn: int
    places: list[PlaceRecord] = field(default_factory=list)

    def to_metadata(self, places: Sequence[str]) -> dict[str, Any]:
        """As JSON can hold it.

        Args:
            places: Those of the graph; what is blamed is kept as its number there.
        """
        plain = asdict(self)
        plain["blamed"] = [places.index(x) if x in places else x for x in self.blamed]
        for key in ("inputs", "outputs"):
            plain[key] = [[list(shape), str(dtype)] for shape, dtype in getattr(self, key)]
        plain["panels"] = {str(n): asdict(p) for n, p in self.panels.items()}
        return plain

    @staticmethod
    def from_metadata(plain: dict[str, Any], places: Sequence[str]) -> Machine:
        """Back from JSON.

        Args:
            plain: As ``to_metadata`` made it.
            places: Those of the graph that it is wanted for: its lines may have moved.
        """
        return Machine(
            inputs=[(tuple(s), as_dtype(d)) for s, d in plain["inputs"]],
            outputs=[(tuple(s), as_dtype(d)) for s, d in plain["outputs"]],
            results=[(kind, number) for kind, number in plain["results"]],
            arena_bytes=plain["arena_bytes"],
            n_threads=plain["n_threads"],
            blamed=[places[x] if isinstance(x, int) else x for x in plain["blamed"]],
            panels={
                int(n): PanelRecord(tuple(p["shape"]), p["axis"], p["width"])
                for n, p in plain["panels"].items()
            },
            kernels=[KernelRecord(**k) for k in plain["kernels"]],
            n_drawn=plain["n_drawn"],
            places=[PlaceRecord(**p) for p in plain["places"]],
        )


class Frame:
    """What one run at a time hands to the machine code: made once, used again.

    Args:
        code: Whose.
        n_pointers: Inputs and outputs.
    """

    def __init__(self, code: MachineCode, n_pointers: int) -> None:
        constants = [address(x) for x in code.constants]
        self.behind = FIRST_SLOT + n_pointers
        self.table = (ctypes.c_uint64 * (self.behind + len(constants)))()
        self.error = (ctypes.c_int64 * 3)()
        self.counters = (ctypes.c_int64 * (8 * code.machine.n_drawn + 8))()
        self.counted = ctypes.sizeof(self.counters)
        self.table[self.behind :] = [*constants]
        self.table[ERROR] = ctypes.addressof(self.error)
        self.table[PROFILE] = address(code.cycles)
        self.table[COUNTERS] = ctypes.addressof(self.counters)
        self.address = ctypes.addressof(self.table)
        self.table[STEPS] = 1
        self.arena = Block(block_size(code.machine.arena_bytes)) if code.is_small else None
        if self.arena is not None:
            self.table[ARENA] = self.arena.address


class MachineCode:
    """A compiled program, ready to run.

    Args:
        machine: What it is.
        compiled: Its object file.
        constants: Arrays that the code reads, in the order of its slots.
        kept: Constants that leave as outputs.

    Attributes:
        entry: Address of the code.
        threads: Run on exactly so many, to measure; None: chosen, and learned from each run.
        from_cache: An earlier process made it.
    """

    def __init__(
        self,
        machine: Machine,
        compiled: ObjectFile,
        constants: Sequence[np.ndarray],
        kept: Sequence[np.ndarray],
    ) -> None:
        self.machine = machine
        self.constants = list(constants)
        self.kept = list(kept)
        self.compiled = compiled
        self.cycles = np.zeros(len(machine.kernels) + 1, np.int64)
        self._library = jit.load(compiled.parts, ["program"])
        self.entry = self._library.addresses["program"]
        self._frames: list[Frame] = []
        self._choice = ThreadChoice(machine.n_threads)
        self.threads: int | None = None
        self.from_cache = False

    @property
    def is_alone(self) -> bool:
        """True if it is small and always runs on its caller's thread.

        ``team.run_alone(code.entry, frame.address)`` is a step of it; look for errors then.
        """
        return self.is_small and self.machine.n_threads == 1 and not self.machine.n_drawn

    @property
    def is_small(self) -> bool:
        """True if its arena is so small that a run's may be kept for the next."""
        return self.machine.arena_bytes <= SMALL_ARENA

    def run(self, pointers: Sequence[int], steps: int) -> list[int]:
        """Run some steps; gives the error word: code, value, step.

        Args:
            pointers: Addresses of the inputs', then of the outputs' memory.
            steps: How many.
        """
        try:  # several Python threads may run the same code: each has a frame of its own
            frame = self._frames.pop()
            frame.table[FIRST_SLOT : frame.behind] = [*pointers]
        except IndexError:
            frame = self.frame(pointers)
        self.run_frame(frame, steps)
        error = list(frame.error)
        if error[0]:
            ctypes.memset(frame.error, 0, ctypes.sizeof(frame.error))
        self._frames.append(frame)
        return error

    def frame(self, pointers: Sequence[int]) -> Frame:
        """A new frame; later runs may change its table."""
        frame = Frame(self, len(pointers))
        frame.table[FIRST_SLOT : frame.behind] = [*pointers]
        return frame

    def run_frame(self, frame: Frame, steps: int) -> None:
        """Run some steps; a frame that an error was written to is not to be used again.

        Raises:
            CompilerError: The code accessed an element outside of a tensor's memory.
        """
        frame.table[STEPS] = steps
        if frame.arena is not None:
            self._run(frame, frame.arena.address, steps)
        else:
            with borrow(self.machine.arena_bytes) as arena:
                self._run(frame, arena.address, steps)
        if frame.error[0] == OUT_OF_BOUNDS:
            self._refuse(frame.error[1])

    def _refuse(self, value: int) -> NoReturn:
        raise CompilerError(
            "machine code accessed an element outside of a tensor's memory",
            got=f"element {value}",
            fix="report it, with the program; engine='interpreter' runs it meanwhile",
        )

    def _run(self, frame: Frame, arena: int, steps: int) -> None:
        frame.table[ARENA] = arena
        if self.machine.n_drawn:
            ctypes.memset(frame.counters, 0, frame.counted)
        threads = self.threads
        if threads is None and self.machine.n_threads > 1:
            threads = self._choice.threads(get_num_threads())
            started = time.perf_counter()
            used = team.run(self.entry, frame.address, threads)
            self._choice.record(used, time.perf_counter() - started, steps)
            return
        team.run(self.entry, frame.address, threads or 1)

    def raise_index_error(self, code: int, value: int) -> None:
        """Raise what an error word says.

        Raises:
            IndexRangeError: An index in the data is bad.
            CompilerError: The code accessed an element outside of a tensor's memory.
        """
        if code == OUT_OF_BOUNDS:
            self._refuse(value)
        raise IndexRangeError(
            "an index is out of range of the axis that it counts",
            got=str(value),
            fix="check the labels and indices: they count from 0",
            where=self.machine.blamed[code - 1],
        )

    def save(self, key: CodeKey) -> None:
        """Keep it in the cache for later processes."""
        blobs: dict[str, bytes] = {}
        for name, arrays in (("constant", self.constants), ("kept", self.kept)):
            for number, array in enumerate(arrays):
                blobs[f"{name}{number}"] = _array_bytes(array)
        machine = self.machine.to_metadata(key.graph.places)
        cache.store(key.text, {"machine": machine, "code": self.compiled.key}, blobs)

    @staticmethod
    def find(key: CodeKey) -> MachineCode | None:
        """What an earlier process kept under a key; None if there is nothing."""
        entry = cache.lookup(key.text)
        compiled = None if entry is None else object_with(entry.metadata["code"])
        if entry is None or compiled is None:
            return None
        found: dict[str, list[np.ndarray]] = {"constant": [], "kept": []}
        for name, arrays in found.items():
            while f"{name}{len(arrays)}" in entry.blobs:
                arrays.append(_array_from(entry.blobs[f"{name}{len(arrays)}"]))
        machine = Machine.from_metadata(entry.metadata["machine"], key.graph.places)
        made = MachineCode(machine, compiled, found["constant"], found["kept"])
        made.from_cache = True
        return made


_making: dict[str, threading.RLock] = {}
_making_guard = threading.Lock()


def _forget_in_child() -> None:
    """Threads that were compiling are not there in a forked child."""
    global _making_guard
    _making_guard = threading.Lock()
    _making.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)


@contextlib.contextmanager
def _alone(key: str) -> Iterator[None]:
    """One thread at a time, for each key."""
    with _making_guard:
        lock = _making.setdefault(key, threading.RLock())
    try:
        with lock:
            yield
    finally:
        with _making_guard:
            _making.pop(key, None)


def cached(key: CodeKey | None, make: Callable[[], MachineCode]) -> MachineCode:
    """The machine code of a key: from the cache, or made and kept there.

    Threads that want the same at once wait for the first, and find what it has made.
    """
    # who wants to see the compiler at work must not be served from the cache
    if key is None or not cache.is_enabled() or debug.level() >= debug.SCHEDULES:
        return make()
    with _alone(key.text):
        found = MachineCode.find(key)
        if found is None:
            found = make()
            found.save(key)
        return found


def _array_bytes(array: np.ndarray) -> bytes:
    """dtype, shape and elements; ``.npy`` does not know bfloat16."""
    raw = np.ascontiguousarray(array)
    head = f"{array.dtype}|{','.join(map(str, array.shape))}|".encode()
    return head + raw.tobytes()


def _array_from(data: bytes) -> np.ndarray:
    stream = io.BytesIO(data)
    name, shape = (_until_bar(stream) for _ in range(2))
    sizes = tuple(int(n) for n in shape.split(",") if n)
    return np.frombuffer(data[stream.tell() :], as_dtype(name)).reshape(sizes)


def _until_bar(stream: io.BytesIO) -> str:
    text = b""
    while (byte := stream.read(1)) != b"|":
        text += byte
    return text.decode()
