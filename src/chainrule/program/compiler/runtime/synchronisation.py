"""Helper functions in LLVM IR that machine code shares: barrier, pause, flush-to-zero mode.

All memory order is said by acquire and release, so that it holds on AArch64 as on x86.
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module

#: bytes between two words that different threads write: two cache lines, since the
#: prefetchers of x86 fetch pairs and Apple's lines are that long
LINE = 128

# a thread's handle: the barrier's state; then what the team notes about the thread
HANDLE_BYTES = LINE
# a barrier's state: how many have arrived; a line further the generation and, beside it, how many
# pauses a waiter makes, and the function that waits longer
STATE_BYTES = 2 * LINE
STATE_PAUSES = LINE + 8
STATE_LINGER = LINE + 16

# denormals are zero on reading (DAZ, 0x40) and on writing (FTZ, 0x8000), round to nearest, all
# exceptions masked
_X86_FLUSH = 0x9FC0
# bit 24, FZ; round to nearest, no traps
_ARM_FLUSH = 1 << 24


def pause_text(module: Module) -> str:
    """The instruction that tells the processor of a waiting loop, as one line of IR."""
    if module.target.architecture == "x86":
        module.declare("llvm.x86.sse2.pause", "void", [])
        return "call void @llvm.x86.sse2.pause()"
    module.declare("llvm.aarch64.hint", "void", ["i32"])
    return "call void @llvm.aarch64.hint(i32 1)"


def emit_barrier(module: Module) -> str:
    """Add ``void barrier(ptr barrier, i64 n)``, once, and return its name.

    All n threads of a program leave it after all of them have come, and what each wrote before it
    is seen by all after it. A waiter spins for about a microsecond, then calls the team's function
    for long waits, which knows when to yield: the program itself calls nothing outside. With n = 1
    nothing is read or written. ``builder.call_own("barrier", barrier, n)`` calls it, with the
    program's first argument.

    Args:
        module: Where the function is defined, not visible outside.
    """
    if not module.has_function("barrier"):
        module.add_function(
            "barrier",
            _BARRIER.format(
                generation=LINE,
                pauses=STATE_PAUSES,
                linger=STATE_LINGER,
                pause=pause_text(module),
                forever=FOREVER,
            ),
        )
    return "barrier"


FOREVER = (1 << 63) - 1

# the last to come starts the next generation; the others wait for that
_BARRIER = """\
define internal void @barrier(ptr %handle, i64 %n) nounwind noinline {{
entry:
 %alone = icmp slt i64 %n, 2
 br i1 %alone, label %out, label %arrive
arrive:
 %state = load ptr, ptr %handle, align 8
 %generation = getelementptr i8, ptr %state, i64 {generation}
 %old = load atomic i64, ptr %generation acquire, align 8
 %before = atomicrmw add ptr %state, i64 1 acq_rel
 %arrived = add i64 %before, 1
 %last = icmp eq i64 %arrived, %n
 br i1 %last, label %release, label %wait
release:
 store atomic i64 0, ptr %state monotonic, align 8
 %next = add i64 %old, 1
 store atomic i64 %next, ptr %generation release, align 8
 ret void
wait:
 %pauses.at = getelementptr i8, ptr %state, i64 {pauses}
 %pauses = load i64, ptr %pauses.at, align 8
 br label %spin
spin:
 %k = phi i64 [0, %wait], [%k1, %again]
 %now = load atomic i64, ptr %generation acquire, align 8
 %go = icmp ne i64 %now, %old
 br i1 %go, label %out, label %again
again:
 {pause}
 %k1 = add i64 %k, 1
 %more = icmp slt i64 %k1, %pauses
 br i1 %more, label %spin, label %long
long:
 %linger.at = getelementptr i8, ptr %state, i64 {linger}
 %linger = load ptr, ptr %linger.at, align 8
 %new = call i64 %linger(ptr %generation, i64 %old, ptr %handle, i64 %n, i64 {forever})
 ret void
out:
 ret void
}}"""


def emit_enter(builder: Builder) -> Value:
    """Switch this thread to flushing denormals to zero; gives the mode it had, for emit_leave.

    Only needed by code that is called on its own: what ``team.run`` calls is in that mode already.
    LLVM may move arithmetic across the switch, so it belongs into a function that only calls
    another, never beside arithmetic.
    """
    module = builder.module
    if module.target.architecture == "x86":
        slots = builder.stack("i32", 2, 8)
        module.declare("llvm.x86.sse.stmxcsr", "void", ["ptr"])
        module.declare("llvm.x86.sse.ldmxcsr", "void", ["ptr"])
        flush = builder.offset(slots, 1, "i32")
        builder.call("llvm.x86.sse.stmxcsr", "void", slots)
        builder.store(builder.constant("i32", _X86_FLUSH), flush)
        builder.call("llvm.x86.sse.ldmxcsr", "void", flush)
        return slots
    saved = builder.call("llvm.aarch64.get.fpcr", "i64")
    builder.call("llvm.aarch64.set.fpcr", "void", builder.i64(_ARM_FLUSH))
    return saved


def emit_leave(builder: Builder, saved: Value) -> None:
    """Give this thread the mode back that it had before ``saved = emit_enter(builder)``."""
    if builder.module.target.architecture == "x86":
        builder.call("llvm.x86.sse.ldmxcsr", "void", saved)
    else:
        builder.call("llvm.aarch64.set.fpcr", "void", saved)
