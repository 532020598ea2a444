"""What the machine could do: its peak of fused multiply-adds, and how fast its cycle counter runs.

Both are measured once a process, in about 20 ms a number of threads.
"""

from __future__ import annotations

import functools
import time

import numpy as np

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.runtime import team
from chainrule.program.compiler.target import Target, host_target

ROUNDS = 200_000  # of a measurement: some milliseconds
MEASUREMENTS = 5  # the best one counts: whatever disturbs it only lowers it
CLOCK = {"x86": "llvm.readcyclecounter", "arm": "llvm.readsteadycounter"}
"""The counter that user programs may read, by architecture; both run at a constant rate."""


def chains(target: Target) -> int:
    """Independent sums: enough to hide an fma's latency, few enough to stay in registers."""
    return 24 if target.registers >= 32 else 12


def peak_text(target: Target) -> str:
    """LLVM IR of ``clock`` (the cycle counter) and ``peak``, a program for the team.

    ``peak`` runs as many rounds as the table's first word says, on every thread, and leaves its
    sum, so that it is not optimised away, in the word that belongs to the thread.
    """
    lanes, count = target.lanes(4), range(chains(target))
    vector = f"<{lanes} x float>"

    def constant(value: float) -> str:
        return f"<{', '.join([f'float {value}'] * lanes)}>"

    body: list[str] = []
    for i in count:
        if target.has_fma:
            operands = f"{vector} %c{i}, {vector} {constant(0.5)}, {vector} {constant(0.25)}"
            body.append(f"  %n{i} = call {vector} @llvm.fma.v{lanes}f32({operands})")
        else:
            body.append(f"  %m{i} = fmul {vector} %c{i}, {constant(0.5)}")
            body.append(f"  %n{i} = fadd {vector} %m{i}, {constant(0.25)}")
    lines = [
        f"declare {vector} @llvm.fma.v{lanes}f32({vector}, {vector}, {vector})",
        f"declare i64 @{CLOCK[target.architecture]}()",
        "define i64 @clock() {",
        f"  %now = call i64 @{CLOCK[target.architecture]}()",
        "  ret i64 %now",
        "}",
        "define void @peak(ptr %barrier, i64 %thread, i64 %threads, ptr %table) {",
        "entry:",
        "  %rounds = load i64, ptr %table",
        "  br label %loop",
        "loop:",
        "  %i = phi i64 [0, %entry], [%next, %loop]",
        *[f"  %c{i} = phi {vector} [{constant(float(i))}, %entry], [%n{i}, %loop]" for i in count],
        *body,
        "  %next = add i64 %i, 1",
        "  %more = icmp ult i64 %next, %rounds",
        "  br i1 %more, label %loop, label %out",
        "out:",
        *[f"  %s{i} = fadd {vector} %n{i}, {f'%s{i - 1}' if i else constant(0.0)}" for i in count],
        f"  %sum = extractelement {vector} %s{count[-1]}, i32 0",
        "  %number = add i64 %thread, 1",
        "  %place = getelementptr double, ptr %table, i64 %number",
        "  store float %sum, ptr %place",
        "  ret void",
        "}",
    ]
    return "\n".join(lines) + "\n"


class _Code:
    """The machine code of ``peak_text`` for this machine."""

    def __init__(self) -> None:
        import ctypes

        self.target = host_target()
        self.library = jit.load(
            [jit.emit_object(peak_text(self.target), self.target)], ["peak", "clock"]
        )
        self.clock = ctypes.CFUNCTYPE(ctypes.c_int64)(self.library.addresses["clock"])


_code = functools.cache(_Code)


@functools.cache
def peak_flops(n_threads: int) -> float:
    """Operations a second of so many threads together, in float32; 2 for a multiply-add."""
    code = _code()
    table = np.zeros(1 + n_threads, np.int64)
    table[0] = ROUNDS
    address = table.__array_interface__["data"][0]
    best, used = float("inf"), n_threads
    for _ in range(MEASUREMENTS):
        started = time.perf_counter()
        used = team.run(code.library.addresses["peak"], address, n_threads)
        best = min(best, time.perf_counter() - started)
    return used * ROUNDS * chains(code.target) * code.target.lanes(4) * 2 / best


@functools.cache
def seconds_per_cycle() -> float:
    """How long one count of the cycle counter takes, against the wall clock."""
    clock = _code().clock
    cycles, started = clock(), time.perf_counter()
    peak_flops(1)  # takes some milliseconds; the counter runs at the same rate whatever happens
    time.sleep(0.005)
    return (time.perf_counter() - started) / (clock() - cycles)
