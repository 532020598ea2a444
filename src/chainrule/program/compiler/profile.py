"""Where the time and the memory of compiled Programs go: tables to print, and rows as data."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from chainrule.program.compiler.machine import Machine, MachineCode, PlaceRecord
from chainrule.program.compiler.peak import peak_flops, seconds_per_cycle
from chainrule.program.compiler.runtime.counts import get_num_threads

__all__ = ["Memory", "Profile", "ProfileRow"]

WAITING = "waiting for other threads"
_WHAT = 32  # columns of a kernel's name
_NOTHING_COUNTED = 1e-12


@dataclass(frozen=True)
class ProfileRow:
    """One kernel of a profile, over all its runs in a step.

    Args:
        title: The ops that it computes.
        where: The layers, or the line of the user's, that it comes from.
        seconds: Time of a step on the first thread.
        share: The same as part of the step, from 0 to 1.
        tasks: Pieces that threads share; 0 for what is no kernel.
        flops: Arithmetic of one run, on all threads; 0 for what only moves data.
        moved: Bytes read and written by one run, at least.
        flops_per_second: ``flops`` by ``seconds``.
        peak_share: The same as part of the machine's measured peak.
    """

    title: str
    where: str
    seconds: float
    share: float
    tasks: int
    flops: float
    moved: float
    flops_per_second: float
    peak_share: float


@dataclass(frozen=True)
class Profile:
    """Where the time of a compiled Program goes; printing it shows a table.

    Kernels in loops and branches are shown with all their runs of a step together, but with the
    arithmetic of one.

    Args:
        name: The function.
        n_steps: Steps that were measured, in windows of one call each; the median one is shown.
        n_threads: Threads that ran them.
        seconds: Time of a step: kernels and waiting, without what Python adds to a call.
        peak: Operations a second that these threads can do at most, measured: float32.
        rows: One for each kernel in order, then one for waiting.
        memory: What the same machine code needs.
    """

    name: str
    n_steps: int
    n_threads: int
    seconds: float
    peak: float
    rows: tuple[ProfileRow, ...]
    memory: Memory

    @property
    def flops(self) -> float:
        """Arithmetic of a step."""
        return sum(row.flops for row in self.rows)

    def __str__(self) -> str:
        rate = self.flops / max(self.seconds, _NOTHING_COUNTED)
        lines = [
            f"{self.name}: {readable_time(self.seconds)} a step, {rate / 1e9:.1f} GFLOP/s, "
            f"{rate / self.peak:.0%} of peak",
            f"{len(self.rows) - 1} kernels on {self.n_threads} "
            f"{'thread' if self.n_threads == 1 else 'threads'}, peak {self.peak / 1e9:.0f} "
            f"GFLOP/s, {self.n_steps:,} steps measured",
            "",
            f"{'kernel':<{_WHAT}} {'time':>9} {'share':>6} {'MFLOP':>8} {'MB':>7} "
            f"{'GFLOP/s':>7} {'peak':>5}",
        ]
        for row in self.rows:
            lines += _told(row)
        return "\n".join(lines)


def _told(row: ProfileRow) -> list[str]:
    """A row in at most 80 columns: what and how fast, then where it comes from."""
    figures = f"{readable_time(row.seconds):>9} {row.share:>6.1%}"
    if row.tasks:
        figures += f" {row.flops / 1e6:>8.3f} {row.moved / 1e6:>7.3f}"
    if row.flops:
        figures += f" {row.flops_per_second / 1e9:>7.1f} {row.peak_share:>5.0%}"
    lines = [f"{_cut(row.title, _WHAT):<{_WHAT}} {figures}"]
    if row.where:
        lines.append(f"  {_cut(row.where, 78)}")
    return lines


def profile_code(
    name: str, code: MachineCode, memory: Memory, run: Callable[[], int], seconds: float
) -> Profile:
    """Time the kernels of machine code that counts their cycles.

    Args:
        name: The function.
        code: Compiled with ``profiled``.
        memory: What it needs.
        run: Runs it and says how many steps that were; the first time does not count.
        seconds: How long to go on, at least one run.
    """
    code.threads = min(get_num_threads(), code.machine.n_threads)
    peak, cycle = peak_flops(code.threads), seconds_per_cycle()
    run()  # cold caches, memory that was never touched
    windows: list[np.ndarray] = []
    n_steps, until = 0, time.perf_counter() + seconds
    while not windows or time.perf_counter() < until:
        code.cycles[:] = 0
        done = run()
        n_steps += done
        windows.append(code.cycles * (cycle / done))
    # other processes disturb some windows: the median one is shown whole, so that rows add up
    times = sorted(windows, key=lambda window: float(window.sum()))[len(windows) // 2].tolist()
    total = max(sum(times), _NOTHING_COUNTED)
    rows = []
    for kernel, taken in zip(code.machine.kernels, times, strict=False):
        rate = kernel.flops / max(taken, _NOTHING_COUNTED) if taken else 0.0
        rows.append(
            ProfileRow(
                kernel.title,
                kernel.where,
                taken,
                taken / total,
                kernel.tasks,
                kernel.flops,
                kernel.moved,
                rate,
                rate / peak,
            )
        )
    rows.append(ProfileRow(WAITING, "", times[-1], times[-1] / total, 0, 0.0, 0.0, 0.0, 0.0))
    return Profile(name, n_steps, code.threads, sum(times), peak, tuple(rows), memory)


@dataclass(frozen=True)
class Memory:
    """The memory of a compiled Program, known before it runs; printing it shows a table.

    Args:
        name: The function.
        state: Bytes of inputs that the Program writes back.
        inputs: Bytes of the other inputs; data sets that batches are gathered from do not count.
        results: Bytes of what one step returns; where it runs alone, of new state too.
        arena: Bytes that a run borrows, and gives back, for all values in between.
        values: Bytes of these values, had each memory of its own.
        places: Where each of them lies in the arena.
    """

    name: str
    state: int
    inputs: int
    results: int
    arena: int
    values: int
    places: tuple[PlaceRecord, ...]

    @property
    def peak(self) -> int:
        """Bytes in use at most during a run."""
        return self.state + self.inputs + self.results + self.arena

    def by_layer(self) -> dict[str, int]:
        """Bytes of the values of each layer, or line of the user's, the biggest first."""
        found: dict[str, int] = {}
        for place in self.places:
            where = place.where or "elsewhere"
            found[where] = found.get(where, 0) + place.size
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def __str__(self) -> str:
        rows = [
            ("state", self.state),
            ("other inputs", self.inputs),
            ("results", self.results),
            ("arena", self.arena),
            ("together, at most", self.peak),
        ]
        lines = [f"memory of {self.name}"]
        lines += [f"  {what:<22}{_readable_bytes(size):>12}" for what, size in rows]
        if self.places:
            lines.append("values of each layer or line, in between")
            for where, size in self.by_layer().items():
                lines.append(f"  {_end(where, 22):<22}{_readable_bytes(size):>12}")
            lines.append(f"in the arena ({_readable_bytes(self.values)} if nothing were shared)")
            for place in sorted(self.places, key=lambda p: (p.offset, -p.size)):
                lines.append(
                    f"  at {place.offset:>10,}  {_readable_bytes(place.size):>9}  "
                    f"{_cut(place.title, 34):<34} {_end(place.where, 17)}".rstrip()
                )
        return "\n".join(lines)


def memory_of(
    name: str, machine: Machine, state: Sequence[int], data: Sequence[int] = ()
) -> Memory:
    """What a compiled program needs.

    Args:
        name: The function.
        machine: The program.
        state: Numbers of the inputs that it writes back.
        data: Numbers of the inputs that are data sets, which batches are gathered from.
    """
    sizes = [_bytes(shape, dtype.itemsize) for shape, dtype in machine.inputs]
    others = set(range(len(sizes))) - set(state) - set(data)
    return Memory(
        name,
        sum(sizes[number] for number in state),
        sum(sizes[number] for number in others),
        sum(_bytes(shape, dtype.itemsize) for shape, dtype in machine.outputs),
        machine.arena_bytes,
        sum(place.size for place in machine.places),
        tuple(machine.places),
    )


def _bytes(shape: Sequence[int], itemsize: int) -> int:
    size = itemsize
    for extent in shape:
        size *= extent
    return size


def readable_time(seconds: float) -> str:
    """``12.3 µs``, ``4.56 ms``, ``1.20 s``.

    >>> readable_time(1.23e-5), readable_time(0.0456)
    ('12.3 µs', '45.60 ms')
    """
    if seconds < 1e-3:
        return f"{seconds * 1e6:.1f} µs"
    return f"{seconds * 1e3:.2f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _readable_bytes(size: int) -> str:
    for unit, step in (("MB", 1e6), ("kB", 1e3)):
        if size >= step:
            return f"{size / step:.1f} {unit}"
    return f"{size} B"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"


def _end(text: str, width: int) -> str:
    """The end of a place says more than its beginning."""
    return text if len(text) <= width else "…" + text[1 - width :]
