"""Hostile numbers and files, in processes of their own: none may crash, results must be right."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.errors import IndexRangeError

SCRIPT = Path(__file__).parent / "fuzz_programs.py"
FUZZES = ["integer_arithmetic", "casts", "indices", "orders", "cache_files"]


def run(name, first, last, tmp_path):
    environment = {**os.environ, "CHAINRULE_CACHE": str(tmp_path / "own" / "cache")}
    (tmp_path / "own").mkdir()
    command = [sys.executable, str(SCRIPT), name, str(first), str(last)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    # a negative status is the signal that ended the process
    assert done.returncode == 0, f"status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert done.stdout.split() == [str(i) for i in range(first, last)]


@pytest.mark.parametrize("name", FUZZES)
def test_a_few(name, tmp_path):
    run(name, 0, 1, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("name", FUZZES)
def test_many(name, tmp_path):
    run(name, 100, 106 if name == "integer_arithmetic" else 120, tmp_path)


@pytest.mark.parametrize("engine", ["compiler", "interpreter"])
def test_an_index_that_does_not_matter_is_checked_too(engine):
    """Of equal rows any is right, but there is no row 7."""
    compiled = cr.compile(
        lambda row, i: ops.take(ops.broadcast_to(row, (3, 4)), i, axis=0) * 2.0, engine=engine
    )
    row = np.arange(4, dtype=np.float32)
    np.testing.assert_array_equal(compiled(row, np.array([2, -3])).numpy(), [row * 2] * 2)
    for bad in (7, 3, -4, 2**40):
        with pytest.raises(IndexRangeError):
            compiled(row, np.array([0, bad]))
