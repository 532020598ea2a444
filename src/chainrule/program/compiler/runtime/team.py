"""The thread team: one call runs a program's machine code on the caller and n-1 workers.

A program is ``void program(ptr barrier, i64 thread, i64 n_threads, ptr table)``; all threads enter
it together and meet at barriers (``synchronisation.emit_barrier``). Workers live in machine code:
between jobs they spin for about 50 µs, so that calls in quick succession find them awake, then
sleep. They are made when first needed, and again in a forked child, which inherits none.
"""

from __future__ import annotations

import atexit
import ctypes
import functools
import os
import sys
import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.objects import object_of
from chainrule.program.compiler.runtime import counts
from chainrule.program.compiler.runtime.synchronisation import (
    HANDLE_BYTES,
    LINE,
    STATE_LINGER,
    STATE_PAUSES,
)
from chainrule.program.compiler.runtime.team_code import (
    ALLOWED,
    BARRIER,
    EXPORTS,
    HANDLES,
    MOST_THREADS,
    TEAM_BYTES,
    team_module,
)
from chainrule.program.compiler.target import Target, host_target

#: how long an idle worker stays awake
IDLE_SECONDS = 50e-6
#: how long a waiter spins before it looks around (see ``waiting``)
ROUND_SECONDS = 1e-6


#: threads can learn on which processor they run, and choose another
PLACED = sys.platform == "linux"


class _Native(NamedTuple):
    """The team's functions as Python calls them; all release the interpreter lock."""

    run: Callable[[int, int, int, int], int]
    work: Callable[[int, int], None]
    stop: Callable[[int], int]
    pause_seconds: float
    library: jit.Library


@functools.cache
def _native() -> _Native:
    """Compile or find the team's functions, once a process."""
    target = host_target()
    library = jit.load([_object_code(target)], EXPORTS)
    pointer, integer = ctypes.c_void_p, ctypes.c_int64
    types: dict[str, Any] = {
        "team_run": ctypes.CFUNCTYPE(integer, pointer, pointer, pointer, integer),
        "team_work": ctypes.CFUNCTYPE(None, pointer, integer),
        "team_stop": ctypes.CFUNCTYPE(integer, pointer),
        "team_pause": ctypes.CFUNCTYPE(None, integer),
    }
    run, work, stop, pause = (types[name](library.addresses[name]) for name in types)
    return _Native(run, work, stop, _seconds_of(pause), library)


def _object_code(target: Target) -> bytes:
    # level 0: these lines mostly wait, and compile in a quarter of the time
    return object_of(str(team_module(target, PLACED)), target, 0).code


def _seconds_of(pause: Callable[[int], None]) -> float:
    """One pause in seconds: 1 to 60 ns by processor, so it is measured."""
    best, number = 1.0, 1000
    for _ in range(3):
        start = time.perf_counter()
        pause(number)
        best = min(best, time.perf_counter() - start)
    return max(best / number, 1e-10)


class Team:
    """A block of memory that callers and workers share, and the workers made so far."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._native = _native()
        self._native_run = self._native.run
        self._workers: list[threading.Thread] = []
        #: threads that can run a job together, a caller among them
        self.size = 1
        block = (ctypes.c_char * (TEAM_BYTES + LINE))()
        # workers may outlive every Python object: this memory is never given back
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(block))
        self._address = (ctypes.addressof(block) + LINE - 1) // LINE * LINE
        self._words = (ctypes.c_int64 * (TEAM_BYTES // 8)).from_address(self._address)
        self._prepare()
        #: ``alone(program, table, 1)`` runs it on the caller, with no detour through Python
        self.alone = functools.partial(self._native_run, self._address)

    def _prepare(self) -> None:
        """Write what the machine code reads."""
        pauses = max(1, round(ROUND_SECONDS / self._native.pause_seconds))
        words = self._words
        words[1] = round(IDLE_SECONDS / ROUND_SECONDS)
        words[2] = pauses
        words[3] = counts.available_cores()
        words[(BARRIER + STATE_PAUSES) // 8] = pauses
        words[(BARRIER + STATE_LINGER) // 8] = self._native.library.addresses["team_linger"]
        if PLACED:
            for processor in os.sched_getaffinity(0):
                if processor < 8 * LINE:
                    byte = ctypes.c_uint8.from_address(self._address + ALLOWED + processor // 8)
                    byte.value |= 1 << processor % 8
        for number in range(MOST_THREADS):
            handle = (HANDLES + number * HANDLE_BYTES) // 8
            words[handle] = self._address + BARRIER
            words[handle + 1] = -1
            words[handle + 2] = number
            words[handle + 5] = self._address

    @property
    def waited_seconds(self) -> float:
        """How long the threads have waited in all, idle workers before they slept included.

        Grows quickly where other processes want the same cores: a reason to use fewer threads.
        """
        first, step = HANDLES // 8 + 4, HANDLE_BYTES // 8
        return sum(self._words[first + step * i] for i in range(self.size)) * ROUND_SECONDS

    def run(self, program: int, table: int, n_threads: int) -> int:
        """See :func:`run`."""
        if n_threads > self.size:
            self._grow(n_threads)
        return self._native_run(self._address, program, table, min(n_threads, self.size))

    def _grow(self, n_threads: int) -> None:
        with self._lock:
            for index in range(self.size, min(n_threads, MOST_THREADS)):
                worker = threading.Thread(
                    target=self._native.work,
                    args=(self._address, index),
                    name=f"chainrule-worker-{index}",
                    daemon=True,
                )
                try:
                    worker.start()
                except RuntimeError:  # the system gives no more threads: fewer run the program
                    return
                self._workers.append(worker)
                self.size = index + 1

    def stop(self, seconds: float = 1.0) -> bool:
        """Send the workers home and wait for them; later programs run on their caller alone.

        Args:
            seconds: How long to wait for a program that another thread is running.

        Returns:
            False if that program was still running: the workers stay.
        """
        until = time.monotonic() + seconds
        while not self._native.stop(self._address):
            if time.monotonic() > until:
                return False
            time.sleep(0.001)
        for worker in self._workers:
            worker.join(seconds)
        return True


_team: Team | None = None
_start_lock = threading.Lock()


def team() -> Team:
    """The process's team, made on first use."""
    global _team
    if _team is None:
        with _start_lock:
            if _team is None:
                _team = Team()
    return _team


def run(program: int, table: int, n_threads: int) -> int:
    """Run a program's machine code on the caller (thread 0) and n_threads - 1 workers.

    Denormals are flushed to zero while it runs and the caller's floating-point mode is restored.
    The interpreter lock is released; a Ctrl-C is delivered after the call, so callers keep it
    short. If the team runs another program just now, the caller runs this one alone: programs give
    the same bits on any number of threads.

    Args:
        program: Address of the machine code.
        table: Address passed through as its last argument.
        n_threads: Threads wanted, from 1 to 256; may be more than the cores.

    Returns:
        Threads that ran it: ``n_threads``, or fewer if the system gives no more, or 1 if the team
        was busy.
    """
    return (_team or team()).run(program, table, n_threads)


def run_alone(program: int, table: int) -> None:
    """``run`` on the caller alone, in short."""
    (_team or team()).alone(program, table, 1)


def _stop_at_exit() -> None:
    if _team is not None:
        _team.stop()


def _forget_in_child() -> None:
    """A forked child has this thread only: its team is made anew when it is needed."""
    global _team, _start_lock
    _team = None
    _start_lock = threading.Lock()


atexit.register(_stop_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
