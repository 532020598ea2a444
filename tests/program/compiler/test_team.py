"""The thread team: barriers, jobs, busy teams, floating-point mode, forks, exits, idleness."""

import ctypes
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import team_programs
from team_programs import run, wrong_sums

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.runtime import counts, team
from chainrule.program.compiler.runtime.team_code import MOST_THREADS, team_module
from chainrule.program.compiler.target import TARGETS

ROUNDS = {1: 1000, 2: 20_000, 3: 2000, 4: 2000}


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_no_thread_leaves_a_barrier_early(n):
    assert wrong_sums(n, ROUNDS[n]) == 0


def test_without_barriers_the_sums_are_wrong():
    assert wrong_sums(2, 20_000, "crowd") > 0


def test_the_number_of_threads_may_change_from_job_to_job():
    for n in np.random.default_rng(0).integers(1, 6, 300):
        table = np.zeros(8, np.int64)
        assert run("roll_call", table, int(n)) == n
        assert table.tolist() == [n] * n + [0] * (8 - n)


def test_parked_workers_wake():
    for pause in [0.0, 1e-5, 4e-5, 6e-5, 1e-4, 1e-3] * 10:
        time.sleep(pause)
        assert wrong_sums(3, 3) == 0


def test_more_threads_than_there_can_be_are_fewer():
    table = np.zeros(MOST_THREADS + 50, np.int64)
    address = team_programs.programs().addresses["roll_call"]
    fresh = team.Team()
    used = fresh.run(address, table.ctypes.data, MOST_THREADS + 50)
    assert fresh.stop()
    assert 1 <= used <= MOST_THREADS
    assert table.tolist() == [used] * used + [0] * (table.size - used)


def test_several_python_threads_at_once():
    wrong = []

    def work():
        wrong.append(sum(wrong_sums(2, 500) for _ in range(40)))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == [0] * 4


def test_threads_that_cannot_be_made_are_done_without(monkeypatch):
    def refuse(self):
        raise RuntimeError("can't start new thread")

    fresh = team.Team()
    monkeypatch.setattr(threading.Thread, "start", refuse)
    table = np.zeros(8, np.int64)
    address = team_programs.programs().addresses["roll_call"]
    assert fresh.run(address, table.ctypes.data, 3) == 1
    assert table[:2].tolist() == [1, 0]


def test_a_stopped_team_leaves_the_caller_alone():
    address = team_programs.programs().addresses["roll_call"]
    table = np.zeros(8, np.int64)
    fresh = team.Team()
    assert fresh.run(address, table.ctypes.data, 3) == 3
    workers = list(fresh._workers)
    assert fresh.stop()
    assert not any(worker.is_alive() for worker in workers)
    assert fresh.run(address, table.ctypes.data, 3) == 1
    assert not fresh.stop(0.01)  # a second time there is nothing to stop


@pytest.mark.skipif(
    not team.PLACED or counts.available_cores() < 2, reason="needs Linux and two processors"
)
def test_a_worker_leaves_the_processor_of_its_caller():
    address = team_programs.programs().addresses["roll_call"]
    table = np.zeros(8, np.int64)
    fresh = team.Team()
    assert fresh.run(address, table.ctypes.data, 2) == 2
    allowed = os.sched_getaffinity(0)
    here = min(allowed)
    worker = fresh._workers[0].native_id
    try:
        os.sched_setaffinity(0, {here})
        os.sched_setaffinity(worker, {here})
        for _ in range(3):
            assert fresh.run(address, table.ctypes.data, 2) == 2
    finally:
        os.sched_setaffinity(0, allowed)
    assert os.sched_getaffinity(worker) == allowed - {here}
    assert fresh.stop()


@pytest.mark.parametrize("n", [1, 2])
def test_denormals_are_zero_inside_and_kept_outside(n):
    small, tenth = np.float32(1e-38), np.float32(0.1)
    table = np.array([small, tenth, 9, 9, 9], np.float32)
    run("product", table, n)
    assert table[2 : 2 + n].tolist() == [0.0] * n
    table = np.array([np.float32(1e-39), 1e3, 9, 9, 9], np.float32)
    run("product", table, n)
    assert table[2 : 2 + n].tolist() == [0.0] * n
    assert small * tenth != 0


@pytest.mark.skipif(sys.platform != "linux", reason="rounding modes are numbered as in glibc")
def test_the_rounding_mode_is_nearest_inside_and_restored():
    upward = 0x800 if os.uname().machine == "x86_64" else 0x400000
    library = ctypes.CDLL(None)
    third, ten = np.float32(1) / np.float32(3), np.float32(10)
    table = np.array([third, ten, 0, 0, 0], np.float32)
    nearest = third * ten
    assert library.fesetround(upward) == 0
    try:
        run("product", table, 2)
        after = library.fegetround()
    finally:
        library.fesetround(0)
    assert after == upward
    assert table[2:4].tolist() == [nearest, nearest]


def test_an_idle_team_uses_no_processor_time():
    wrong_sums(4, 10)
    time.sleep(0.01)
    before = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - before < 0.1


def test_waiting_is_measured():
    before = team.team().waited_seconds
    wrong_sums(4, 2000)
    assert team.team().waited_seconds > before


def test_arm_code_orders_memory_and_calls_nothing_unexpected():
    assembly = jit.emit_assembly(str(team_module(TARGETS["neon"], True)), TARGETS["neon"])
    assert "stlr" in assembly
    assert "ldar" in assembly
    assert "fpcr" in assembly.lower()
    called = {
        line.split()[1] for line in assembly.splitlines() if line.split()[:1] in (["bl"], ["b"])
    }
    outside = {name for name in called if not name.startswith(".L")}
    own = {"publish", "team_run_plain", "team_work_plain", "team_linger", "sharing", "leave"}
    assert outside - own == {
        "sched_getcpu",
        "sched_setaffinity",
        "sched_yield",
        "pthread_mutex_init",
        "pthread_mutex_lock",
        "pthread_mutex_unlock",
        "pthread_cond_init",
        "pthread_cond_wait",
        "pthread_cond_signal",
    }


@pytest.mark.parametrize("name", sorted(set(TARGETS) - {"neon"}))
def test_the_team_compiles_for_every_family(name):
    assert "ldmxcsr" in jit.emit_assembly(str(team_module(TARGETS[name], False)), TARGETS[name])


# -- processes of their own ----------------------------------------------------------------------

BEGIN = "import os, sys, threading, time\nfrom team_programs import wrong_sums\n"
LIVES = {
    "plain exit": ("assert wrong_sums(3, 100) == 0", 0),
    "exception": ("wrong_sums(2, 100); raise SystemExit(7)", 7),
    "hard exit": ("wrong_sums(2, 100); os._exit(5)", 5),
    "exit while a daemon thread runs programs": (
        """
def forever():
    while True:
        assert wrong_sums(2, 50) == 0
for _ in range(2):
    threading.Thread(target=forever, daemon=True).start()
time.sleep(0.2)
""",
        0,
    ),
    "programs at exit": (
        """
import atexit
atexit.register(lambda: print(wrong_sums(2, 100)))
wrong_sums(2, 100)
""",
        0,
    ),
    "programs after the team was stopped": (
        """
import atexit
from chainrule.program.compiler.runtime import counts, team
atexit.unregister(team._stop_at_exit)
atexit.register(lambda: print(wrong_sums(2, 100)))
atexit.register(team._stop_at_exit)
wrong_sums(2, 100)
""",
        0,
    ),
    "the first program at exit": (
        """
import atexit
from chainrule.program.compiler.runtime import counts, team
atexit.unregister(team._stop_at_exit)
atexit.register(lambda: print(wrong_sums(2, 100)))
""",
        0,
    ),
    "fork": (
        """
assert wrong_sums(3, 100) == 0
for sleep in (0, 0.001):
    time.sleep(sleep)
    child = os.fork()
    if not child:
        code = 3 if wrong_sums(2, 1000) or wrong_sums(3, 100) else 11
        if sleep:
            os._exit(code)
        sys.exit(code)
    assert wrong_sums(2, 1000) == 0
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
""",
        0,
    ),
    "fork while another thread computes": (
        """
done = threading.Event()
def work():
    while not done.is_set():
        assert wrong_sums(2, 200) == 0
assert wrong_sums(2, 200) == 0
thread = threading.Thread(target=work)
thread.start()
time.sleep(0.05)
for _ in range(5):
    child = os.fork()
    if not child:
        os._exit(3 if wrong_sums(2, 200) else 11)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 11
done.set()
thread.join()
""",
        0,
    ),
    "interrupt": (
        """
import signal
wrong_sums(2, 10)
threading.Timer(0.2, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
try:
    while True:
        wrong_sums(2, 1000)
except KeyboardInterrupt:
    pass
assert wrong_sums(2, 1000) == 0
""",
        0,
    ),
}


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes as on Unix")
@pytest.mark.parametrize("life", LIVES)
def test_processes_end_as_they_should(life):
    code, expected = LIVES[life]
    process = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", BEGIN + code],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parent)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert process.stderr == ""
    assert process.returncode == expected
