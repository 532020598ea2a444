"""Helper functions in LLVM IR that machine code shares: barrier, pause, flush-to-zero mode.

All memory order is said by acquire and release, so that it holds on AArch64 as on x86.
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module

#: bytes between two words that different threads write: two cache lines, since the
#: prefetchers of x86 fetch pairs and Apple's lines are that long
LINE = 128

#: bytes of a barrier's state, all zero at first: how many have arrived; the generation and, beside
#: it, how many pauses a waiter makes before it yields; how many waits lasted longer than that
BARRIER_BYTES = 3 * LINE

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
    """Add ``void barrier(ptr state, i64 n)``, once, and return its name.

    All n threads that were given the same state leave it after all of them have come, and what
    each wrote before it is seen by all after it. Waiters spin for about a microsecond, then yield
    the processor again and again, so that more threads than cores still go on. With n = 1 nothing
    is read or written. ``builder.call_own("barrier", state, n)`` calls it.

    Args:
        module: Where the function is defined, not visible outside.
    """
    if not module.has_function("barrier"):
        module.declare("sched_yield", "i32", [])
        module.add_function(
            "barrier", _BARRIER.format(generation=LINE, waits=2 * LINE, pause=pause_text(module))
        )
    return "barrier"


# the last to come starts the next generation; the others wait for that
_BARRIER = """\
define internal void @barrier(ptr %state, i64 %n) nounwind noinline {{
entry:
 %alone = icmp slt i64 %n, 2
 br i1 %alone, label %out, label %arrive
arrive:
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
 %limit.at = getelementptr i8, ptr %generation, i64 8
 %limit = load atomic i64, ptr %limit.at monotonic, align 8
 br label %spin
spin:
 %k = phi i64 [0, %wait], [%k1, %again], [0, %yield]
 %now = load atomic i64, ptr %generation acquire, align 8
 %go = icmp ne i64 %now, %old
 br i1 %go, label %out, label %again
again:
 {pause}
 %k1 = add i64 %k, 1
 %more = icmp slt i64 %k1, %limit
 br i1 %more, label %spin, label %yield
yield:
 %waits = getelementptr i8, ptr %state, i64 {waits}
 %count = atomicrmw add ptr %waits, i64 1 monotonic
 %ignored = call i32 @sched_yield()
 br label %spin
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
