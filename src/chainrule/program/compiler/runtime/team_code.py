"""The team's machine code: what a worker does for life, and how a caller hands out a job.

The team's block of memory, zero at first, in steps of ``LINE`` bytes:

- 0: 1 while a job runs; 8: rounds that an idle worker waits before it parks; 16: pauses of a round;
  24: cores that may be used
- ``REMAINING``: workers that have not finished the job; ``DONE``: jobs so far
- ``BARRIER``: the barrier's state
- ``ALLOWED``: the processors that may be used, a bit each
- from ``HANDLES`` a handle for each thread: 0 the barrier's state, 8 the processor it was seen on,
  16 its number, 24 how often it may still change the processor, 32 rounds it waited, 40 the team
- from ``BOXES`` a box of ``BOX`` bytes for each worker: 0 number of its jobs so far, 8 function
  (null: stop), 16 table, 24 number of threads, 32 parked, 40 taken; 64 mutex; 128 condition
"""

from __future__ import annotations

from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.runtime.synchronisation import (
    FOREVER,
    HANDLE_BYTES,
    LINE,
    STATE_BYTES,
    emit_enter,
    emit_leave,
    pause_text,
)
from chainrule.program.compiler.runtime.waiting import waiting_functions
from chainrule.program.compiler.target import Target

#: most threads of a team, the caller among them
MOST_THREADS = 256

REMAINING = LINE
DONE = 2 * LINE
BARRIER = 3 * LINE
ALLOWED = BARRIER + STATE_BYTES
HANDLES = ALLOWED + LINE
BOXES = HANDLES + MOST_THREADS * HANDLE_BYTES
BOX = 256
TEAM_BYTES = BOXES + (MOST_THREADS - 1) * BOX

EXPORTS = ("team_run", "team_work", "team_stop", "team_pause", "team_linger")


def team_module(target: Target, placed: bool) -> Module:
    """The module with the functions of ``EXPORTS``.

    - ``i64 team_run(ptr team, ptr program, ptr table, i64 n)``: run a program on n threads, or on
      the caller alone while the team is busy; gives the number of threads that ran it.
    - ``void team_work(ptr team, i64 index)``: be worker ``index`` (1 or more) until stopped;
      returns at once if another thread already is.
    - ``i64 team_stop(ptr team)``: tell all workers to return, for ever; 0 if a job is running.
    - ``void team_pause(i64 n)``: pause n times.
    - ``team_linger``: see ``waiting``.

    Args:
        target: What it is compiled for.
        placed: Threads can learn on which processor they run, and change it (Linux).
    """
    module = Module(target)
    for name, result, parameters in (
        ("pthread_mutex_init", "i32", ["ptr", "ptr"]),
        ("pthread_mutex_lock", "i32", ["ptr"]),
        ("pthread_mutex_unlock", "i32", ["ptr"]),
        ("pthread_cond_init", "i32", ["ptr", "ptr"]),
        ("pthread_cond_wait", "i32", ["ptr", "ptr"]),
        ("pthread_cond_signal", "i32", ["ptr"]),
    ):
        module.declare(name, result, parameters)
    waiting_functions(module, placed, HANDLES, ALLOWED)
    words = {
        "pause": pause_text(module),
        "remaining": REMAINING,
        "done": DONE,
        "handles": HANDLES,
        "handle": HANDLE_BYTES,
        "boxes": BOXES,
        "box": BOX,
        "others": MOST_THREADS - 1,
        "forever": FOREVER,
    }
    for name, text in _FUNCTIONS.items():
        module.add_function(name, text.format(**words))
    _in_flush_mode(module, "team_run", "i64", [("ptr", "a"), ("ptr", "b"), ("ptr", "c")], "i64")
    _in_flush_mode(module, "team_work", "void", [("ptr", "a")], "i64")
    return module


def _in_flush_mode(
    module: Module, name: str, result: str, pointers: list[tuple[str, str]], last: str
) -> None:
    """Export ``name``: its ``_plain`` form with denormals flushed, and the caller's mode after."""
    builder = Builder(module, name, [*pointers, (last, "n")], internal=False, result=result)
    saved = emit_enter(builder)
    arguments = builder.parameters
    value: Value | None = None
    if result == "void":
        builder.call_own(f"{name}_plain", *arguments)
    else:
        value = builder.call(f"{name}_plain", result, *arguments)
    emit_leave(builder, saved)
    builder.finish(value)


_FUNCTIONS = {
    # hand one worker a job. The counter is written last; a worker that parks writes "parked" and
    # then reads the counter, we write the counter and then read "parked", all sequentially
    # consistent: one of the two sees the other
    "publish": """\
define internal void @publish(ptr %box, ptr %program, ptr %table, i64 %n) nounwind noinline {{
entry:
 %program.at = getelementptr i8, ptr %box, i64 8
 store ptr %program, ptr %program.at, align 8
 %table.at = getelementptr i8, ptr %box, i64 16
 store ptr %table, ptr %table.at, align 8
 %n.at = getelementptr i8, ptr %box, i64 24
 store i64 %n, ptr %n.at, align 8
 %jobs = load atomic i64, ptr %box monotonic, align 8
 %more = add i64 %jobs, 1
 store atomic i64 %more, ptr %box seq_cst, align 8
 %parked.at = getelementptr i8, ptr %box, i64 32
 %parked = load atomic i64, ptr %parked.at seq_cst, align 8
 %sleeps = icmp ne i64 %parked, 0
 br i1 %sleeps, label %wake, label %out
wake:
 %mutex = getelementptr i8, ptr %box, i64 64
 %condition = getelementptr i8, ptr %box, i64 128
 %locked = call i32 @pthread_mutex_lock(ptr %mutex)
 %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
 %signalled = call i32 @pthread_cond_signal(ptr %condition)
 br label %out
out:
 ret void
}}""",
    "team_run_plain": """\
define internal i64
@team_run_plain(ptr %team, ptr %program, ptr %table, i64 %n) nounwind noinline {{
entry:
 %handle = getelementptr i8, ptr %team, i64 {handles}
 %several = icmp sgt i64 %n, 1
 br i1 %several, label %claim, label %alone
claim:
 %pair = cmpxchg ptr %team, i64 0, i64 1 acquire monotonic
 %won = extractvalue {{ i64, i1 }} %pair, 1
 br i1 %won, label %prepare, label %alone
alone:
 call void %program(ptr %handle, i64 0, i64 1, ptr %table)
 ret i64 1
prepare:
 %nobody = call i64 @sharing(ptr %team, ptr %handle, i64 0)
 %workers = sub i64 %n, 1
 %remaining = getelementptr i8, ptr %team, i64 {remaining}
 store atomic i64 %workers, ptr %remaining monotonic, align 8
 %done = getelementptr i8, ptr %team, i64 {done}
 %jobs = load atomic i64, ptr %done monotonic, align 8
 %first = getelementptr i8, ptr %team, i64 {boxes}
 br label %hand
hand:
 %i = phi i64 [0, %prepare], [%i1, %hand]
 %offset = mul i64 %i, {box}
 %box = getelementptr i8, ptr %first, i64 %offset
 call void @publish(ptr %box, ptr %program, ptr %table, i64 %n)
 %i1 = add i64 %i, 1
 %more = icmp slt i64 %i1, %workers
 br i1 %more, label %hand, label %run
run:
 call void %program(ptr %handle, i64 0, i64 %n, ptr %table)
 %all = call i64 @team_linger(ptr %done, i64 %jobs, ptr %handle, i64 %n, i64 {forever})
 store atomic i64 0, ptr %team release, align 8
 ret i64 %n
}}""",
    "team_work_plain": """\
define internal void @team_work_plain(ptr %team, i64 %index) nounwind noinline {{
entry:
 %before = sub i64 %index, 1
 %offset = mul i64 %before, {box}
 %first = getelementptr i8, ptr %team, i64 {boxes}
 %box = getelementptr i8, ptr %first, i64 %offset
 %taken = getelementptr i8, ptr %box, i64 40
 %pair = cmpxchg ptr %taken, i64 0, i64 1 acquire monotonic
 %won = extractvalue {{ i64, i1 }} %pair, 1
 br i1 %won, label %start, label %out
start:
 %handle.offset = mul i64 %index, {handle}
 %handles = getelementptr i8, ptr %team, i64 {handles}
 %handle = getelementptr i8, ptr %handles, i64 %handle.offset
 %moves = getelementptr i8, ptr %handle, i64 24
 %program.at = getelementptr i8, ptr %box, i64 8
 %table.at = getelementptr i8, ptr %box, i64 16
 %n.at = getelementptr i8, ptr %box, i64 24
 %parked = getelementptr i8, ptr %box, i64 32
 %mutex = getelementptr i8, ptr %box, i64 64
 %condition = getelementptr i8, ptr %box, i64 128
 %remaining = getelementptr i8, ptr %team, i64 {remaining}
 %done = getelementptr i8, ptr %team, i64 {done}
 %rounds.at = getelementptr i8, ptr %team, i64 8
 %rounds = load i64, ptr %rounds.at, align 8
 %mutex.made = call i32 @pthread_mutex_init(ptr %mutex, ptr null)
 %condition.made = call i32 @pthread_cond_init(ptr %condition, ptr null)
 br label %next
next:
 %seen = phi i64 [0, %start], [%jobs, %finish]
 %last.n = phi i64 [1, %start], [%n, %finish]
 %soon = call i64
  @team_linger(ptr %box, i64 %seen, ptr %handle, i64 %last.n, i64 %rounds)
 %new = icmp ne i64 %soon, %seen
 br i1 %new, label %job, label %park
park:
 %locked = call i32 @pthread_mutex_lock(ptr %mutex)
 store atomic i64 1, ptr %parked seq_cst, align 8
 br label %check
check:
 %later = load atomic i64, ptr %box seq_cst, align 8
 %woken = icmp ne i64 %later, %seen
 br i1 %woken, label %unpark, label %sleep
sleep:
 %slept = call i32 @pthread_cond_wait(ptr %condition, ptr %mutex)
 br label %check
unpark:
 store atomic i64 0, ptr %parked monotonic, align 8
 %unlocked = call i32 @pthread_mutex_unlock(ptr %mutex)
 br label %job
job:
 %jobs = phi i64 [%soon, %next], [%later, %unpark]
 %program = load ptr, ptr %program.at, align 8
 %stop = icmp eq ptr %program, null
 br i1 %stop, label %out, label %work
work:
 %table = load ptr, ptr %table.at, align 8
 %n = load i64, ptr %n.at, align 8
 store i64 4, ptr %moves, align 8
 %moved = call i64 @sharing(ptr %team, ptr %handle, i64 %n)
 call void %program(ptr %handle, i64 %index, i64 %n, ptr %table)
 %ended = load atomic i64, ptr %done monotonic, align 8
 %left = atomicrmw sub ptr %remaining, i64 1 acq_rel
 %last = icmp eq i64 %left, 1
 br i1 %last, label %tell, label %finish
tell:
 %ended1 = add i64 %ended, 1
 store atomic i64 %ended1, ptr %done release, align 8
 br label %finish
finish:
 br label %next
out:
 ret void
}}""",
    # the team stays marked as busy: whoever comes later runs alone
    "team_stop": """\
define i64 @team_stop(ptr %team) nounwind {{
entry:
 %pair = cmpxchg ptr %team, i64 0, i64 1 acquire monotonic
 %won = extractvalue {{ i64, i1 }} %pair, 1
 br i1 %won, label %tell, label %busy
tell:
 %first = getelementptr i8, ptr %team, i64 {boxes}
 br label %each
each:
 %i = phi i64 [0, %tell], [%i1, %each]
 %offset = mul i64 %i, {box}
 %box = getelementptr i8, ptr %first, i64 %offset
 call void @publish(ptr %box, ptr null, ptr null, i64 0)
 %i1 = add i64 %i, 1
 %more = icmp slt i64 %i1, {others}
 br i1 %more, label %each, label %told
told:
 ret i64 1
busy:
 ret i64 0
}}""",
    "team_pause": """\
define void @team_pause(i64 %n) nounwind {{
entry:
 br label %spin
spin:
 %k = phi i64 [0, %entry], [%k1, %spin]
 {pause}
 %k1 = add i64 %k, 1
 %more = icmp slt i64 %k1, %n
 br i1 %more, label %spin, label %out
out:
 ret void
}}""",
}
