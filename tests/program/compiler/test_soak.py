"""A long life in one process: memory stops growing once the bounded caches are full."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent / "soak.py"
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def memory_of(kind, total, tmp_path):
    """Resident megabytes at each tenth of the way, in a process of its own."""
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path / "cache")}
    command = [sys.executable, str(SCRIPT), kind, str(total)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [float(line.split()[1]) for line in done.stdout.splitlines()]


def test_a_thousand_steps(tmp_path):
    found = memory_of("steps", 1000, tmp_path)
    assert found[-1] - found[2] < 2, found


def test_machine_code_that_is_dropped_leaves_nothing(tmp_path):
    found = memory_of("libraries", 1000, tmp_path)
    assert found[-1] - found[1] < 2, found


@pytest.mark.slow
def test_a_hundred_thousand_steps(tmp_path):
    found = memory_of("steps", 100_000, tmp_path)
    assert found[-1] - found[1] < 2, found


@pytest.mark.slow
def test_many_programs(tmp_path):
    """``CHAINRULE_TEST_PROGRAMS`` says how many: 300, and 1,000 in ``make test-all``."""
    found = memory_of("programs", int(os.environ.get("CHAINRULE_TEST_PROGRAMS", "300")), tmp_path)
    # one function's 64 last Programs are there after 128 of these, half of which are its own
    assert found[-1] - found[5] < 10, found
