"""What an LSTM over 1000 steps takes of the process: what its plan says."""

import subprocess
import sys
from pathlib import Path

import pytest

import chainrule as cr

PROGRAM = """
import numpy as np, chainrule as cr
from chainrule import nn, ops
from chainrule.autodiff import checkpoint, value_and_grad

STEPS, BATCH, N, SEGMENT = 1000, 32, 64, {segment}
layer = nn.LSTM(N, N)

def loss(m, x):
    def part(state, xs):
        y, state = m(xs, state)
        return state, cr.mean(y**2)
    start = (ops.zeros((1, BATCH, N)),) * 2
    if SEGMENT == STEPS:
        return part(start, x)[1]
    pieces = x.reshape((STEPS // SEGMENT, SEGMENT, BATCH, N))
    return cr.sum(cr.scan(lambda s, xs: checkpoint(part)(s, xs), start, pieces)[1])

def highest():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))

step = cr.compile(lambda m, x: value_and_grad(loss)(m, x))
x = np.random.default_rng(0).normal(size=(STEPS, BATCH, N)).astype(np.float32)
plan = step.memory(layer, x)  # compiles
before = highest()
for _ in range(2):
    step(layer, x)
print(plan.peak, highest() - before)
"""


def measured(segment):
    """Planned and taken bytes."""
    made = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(segment=segment)],
        capture_output=True,
        text=True,
        check=True,
    )
    return map(int, made.stdout.split())


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's counters")
def test_the_process_grows_by_no_more_than_the_plan():
    if cr.compile(lambda x: x).engine != "compiler":
        pytest.skip("the interpreter plans no memory")
    allowance = 12 << 20  # stacks of threads, results, what Python keeps
    plan, taken = measured(1000)
    assert 80e6 < plan < 200e6
    assert taken < plan + allowance
    assert taken > 0.5 * plan
    plan_in_segments, taken_in_segments = measured(50)
    assert plan_in_segments < 0.5 * plan
    assert taken_in_segments < plan_in_segments + allowance
