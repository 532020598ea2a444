"""How a thread of the team waits: when it spins, when it yields, when it changes the processor.

Three cases want different things:

- All threads run: spinning is right, a yield only delays.
- Two threads share a processor, where the kernel likes to put a woken thread beside its waker: the
  waiter must yield at once, and one of the two should leave. Spinning for s microseconds before
  each yield makes a barrier take 2 s (measured).
- A foreign process shares a processor with one of the threads: whoever yields loses the processor
  for a whole time slice, some milliseconds, so it must not yield at every barrier (measured: 200 µs
  a step of 0.7 µs, against 5 µs without).

So threads note the processor that they run on and look, after each microsecond of waiting, whether
another thread of the team was seen there.
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.runtime.synchronisation import HANDLE_BYTES, pause_text


def waiting_functions(module: Module, placed: bool, handles: int, allowed: int) -> None:
    """Add ``team_linger`` and what it calls.

    ``i64 team_linger(ptr word, i64 old, ptr handle, i64 n, i64 rounds)`` waits until ``word`` is no
    longer ``old`` and gives what it is then, or ``old`` after so many rounds of about a
    microsecond. ``i64 sharing(ptr team, ptr handle, i64 n)`` notes the thread's processor and says
    whether another of the n threads was seen on it; the thread with the higher number moves.

    Args:
        module: The team's module.
        placed: Threads can learn on which processor they run, and change it.
        handles: Where the threads' handles begin in the team's memory.
        allowed: Where it has the set of processors that may be used.
    """
    words = {
        "pause": pause_text(module),
        "handles": handles,
        "handle": HANDLE_BYTES,
        "allowed": allowed,
        # rounds until a thread that seems to be alone on its processor yields all the same
        "patience": 127 if placed else 15,
    }
    module.declare("sched_yield", "i32", [])
    module.add_function("team_linger", _LINGER.format(**words))
    if placed:
        module.declare("sched_getcpu", "i32", [])
        module.declare("sched_setaffinity", "i32", ["i32", "i64", "ptr"])
        module.add_function("leave", _LEAVE.format(**words))
        module.add_function("sharing", _SHARING.format(**words))
    else:
        module.add_function("sharing", _SHARING_UNKNOWN)


_LINGER = """\
define i64
@team_linger(ptr %word, i64 %old, ptr %handle, i64 %n, i64 %rounds) nounwind noinline {{
entry:
 %team.at = getelementptr i8, ptr %handle, i64 40
 %team = load ptr, ptr %team.at, align 8
 %pauses.at = getelementptr i8, ptr %team, i64 16
 %round.pauses = load i64, ptr %pauses.at, align 8
 %cores.at = getelementptr i8, ptr %team, i64 24
 %cores = load i64, ptr %cores.at, align 8
 %crowded = icmp sgt i64 %n, %cores
 %pauses = select i1 %crowded, i64 1, i64 %round.pauses
 %waited.at = getelementptr i8, ptr %handle, i64 32
 br label %round
round:
 %r = phi i64 [0, %entry], [%r1, %next]
 br label %spin
spin:
 %k = phi i64 [0, %round], [%k1, %again]
 %now = load atomic i64, ptr %word acquire, align 8
 %new = icmp ne i64 %now, %old
 br i1 %new, label %out, label %again
again:
 {pause}
 %k1 = add i64 %k, 1
 %more = icmp slt i64 %k1, %pauses
 br i1 %more, label %spin, label %lapse
lapse:
 %r1 = add i64 %r, 1
 %over = icmp sge i64 %r1, %rounds
 br i1 %over, label %out, label %look
look:
 br i1 %crowded, label %yield, label %ask
ask:
 %together = call i64 @sharing(ptr %team, ptr %handle, i64 %n)
 %shared = icmp ne i64 %together, 0
 br i1 %shared, label %yield, label %patient
patient:
 %low = and i64 %r1, {patience}
 %long = icmp eq i64 %low, 0
 br i1 %long, label %yield, label %next
yield:
 %ignored = call i32 @sched_yield()
 br label %next
next:
 br label %round
out:
 %value = phi i64 [%now, %spin], [%old, %lapse]
 %waited = load i64, ptr %waited.at, align 8
 %waited1 = add i64 %waited, %r
 store i64 %waited1, ptr %waited.at, align 8
 ret i64 %value
}}"""

# a thread that has left its processor four times in a job stays: there is no place without company
_SHARING = """\
define internal i64 @sharing(ptr %team, ptr %handle, i64 %n) nounwind noinline {{
entry:
 %here32 = call i32 @sched_getcpu()
 %here = sext i32 %here32 to i64
 %here.at = getelementptr i8, ptr %handle, i64 8
 store atomic i64 %here, ptr %here.at monotonic, align 8
 %known = icmp sge i64 %here, 0
 %index.at = getelementptr i8, ptr %handle, i64 16
 %index = load i64, ptr %index.at, align 8
 %handles = getelementptr i8, ptr %team, i64 {handles}
 br label %head
head:
 %i = phi i64 [0, %entry], [%i1, %next]
 %any = phi i1 [false, %entry], [%any1, %next]
 %below = phi i1 [false, %entry], [%below1, %next]
 %more = icmp slt i64 %i, %n
 br i1 %more, label %next, label %answer
next:
 %offset = mul i64 %i, {handle}
 %other = getelementptr i8, ptr %handles, i64 %offset
 %there.at = getelementptr i8, ptr %other, i64 8
 %there = load atomic i64, ptr %there.at monotonic, align 8
 %equal = icmp eq i64 %there, %here
 %same = and i1 %equal, %known
 %another = icmp ne i64 %i, %index
 %together = and i1 %same, %another
 %lower = icmp slt i64 %i, %index
 %together.below = and i1 %same, %lower
 %any1 = or i1 %any, %together
 %below1 = or i1 %below, %together.below
 %i1 = add i64 %i, 1
 br label %head
answer:
 %moves.at = getelementptr i8, ptr %handle, i64 24
 %moves = load i64, ptr %moves.at, align 8
 %may = icmp sgt i64 %moves, 0
 %cores.at = getelementptr i8, ptr %team, i64 24
 %cores = load i64, ptr %cores.at, align 8
 %room = icmp sle i64 %n, %cores
 %may.move = and i1 %may, %room
 %move = and i1 %below, %may.move
 br i1 %move, label %away, label %stay
away:
 %moves1 = sub i64 %moves, 1
 store i64 %moves1, ptr %moves.at, align 8
 call void @leave(ptr %team, i64 %here)
 %new32 = call i32 @sched_getcpu()
 %new = sext i32 %new32 to i64
 store atomic i64 %new, ptr %here.at monotonic, align 8
 ret i64 0
stay:
 %answer64 = zext i1 %any to i64
 ret i64 %answer64
}}"""

_SHARING_UNKNOWN = """\
define internal i64 @sharing(ptr %team, ptr %handle, i64 %n) nounwind noinline {
entry:
 ret i64 0
}"""

# let this thread run on all processors that may be used but one; sets hold 1024
_LEAVE = """\
define internal void @leave(ptr %team, i64 %here) nounwind noinline {{
entry:
 %set = alloca [16 x i64], align 64
 %allowed = getelementptr i8, ptr %team, i64 {allowed}
 %word = ashr i64 %here, 6
 %place = and i64 %here, 63
 %bit = shl i64 1, %place
 %rest = xor i64 %bit, -1
 br label %copy
copy:
 %i = phi i64 [0, %entry], [%i1, %copy]
 %from = getelementptr i64, ptr %allowed, i64 %i
 %to = getelementptr i64, ptr %set, i64 %i
 %all = load i64, ptr %from, align 8
 %less = and i64 %all, %rest
 %here.word = icmp eq i64 %i, %word
 %kept = select i1 %here.word, i64 %less, i64 %all
 store i64 %kept, ptr %to, align 8
 %i1 = add i64 %i, 1
 %more = icmp slt i64 %i1, 16
 br i1 %more, label %copy, label %set.it
set.it:
 %ignored = call i32 @sched_setaffinity(i32 0, i64 128, ptr %set)
 ret void
}}"""
