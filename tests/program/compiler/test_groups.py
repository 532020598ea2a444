"""What shares a kernel, where sharing would cost more than it saves."""

import re
import sys
from pathlib import Path

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.array import asarray
from chainrule.program.compiler import lower
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.early import early_founders
from chainrule.program.compiler.native import assemble_epoch
from chainrule.program.compiler.target import TARGETS
from chainrule.program.steps import prepare_steps

sys.path.insert(0, str(Path(__file__).parent))
from listed_programs import floats, program, training


def test_what_follows_a_sum_over_all_has_loops_of_its_own():
    found = program(lambda x: x / ops.sqrt(ops.sum(ops.square(x))), floats(300, 400))
    tasks = [int(n) for n in re.findall(r": (\d+) task", found)]
    assert tasks[-1] >= 8, found


def test_weights_are_updated_in_place_when_the_global_norm_is_known():
    layers = [nn.Linear(300, 256), nn.ReLU(), nn.Linear(256, 10)]
    found = training(layers, optim.Adam(0.01, max_norm=1.0))
    assert "copy: 1 task" not in found
    before = re.findall(r"(\S+) multiply add sqrt divide subtract:", found)
    assert before, found
    assert "sum" not in before, found


def updates(found):
    """Numbers of the lines that update the last layer, send gradients through the second, check."""
    lines = found.splitlines()
    last = next(i for i, x in enumerate(lines) if "sqrt" in x and x.endswith("of 4 back"))
    below = next(i for i, x in enumerate(lines) if "multiply 640x700x700" in x and "of 2 back" in x)
    return last, below, next(i for i, x in enumerate(lines) if "leave unless" in x)


def test_updates_of_large_programs_do_not_wait_for_the_end_of_the_step():
    layers = [nn.Linear(300, 700), nn.ReLU(), nn.Linear(700, 700), nn.ReLU(), nn.Linear(700, 10)]
    last, below, check = updates(training(layers, optim.Adam(0.01), batch=640))
    assert check < last < below


INDICES = {  # of an update behind the loss, and whether the loss has tested them
    "the same": (lambda rows, other: rows, True),
    "others": (lambda rows, other: other, False),
    "computed": (lambda rows, other: rows + 1, False),
}


@pytest.mark.parametrize("name", INDICES)
def test_updates_are_early_if_the_loss_tests_all_indices(name, monkeypatch):
    index, tested = INDICES[name]
    found = []

    def note(*arguments):
        found.append(early_founders(*arguments))
        return found[-1]

    monkeypatch.setattr(lower, "early_founders", note)

    def step(state, rows, other):
        def loss_of(state):
            return ops.sum(ops.tanh(state["x"] @ state["w"]) @ state["table"][rows].T)

        loss, gradients = cr.value_and_grad(loss_of)(state)
        state["w"] = state["w"] - 0.1 * gradients["w"]
        state["table"] = state["table"].at[index(rows, other)].add(1.0)
        return loss

    shapes = {"x": (640, 70), "w": (70, 1000), "table": (900, 1000)}
    state = {name: asarray(floats(*shape)) for name, shape in shapes.items()}
    rows = np.random.default_rng(0).integers(0, 900, (2, 640))
    steps = prepare_steps(step, [state], [*rows], np.arange(640)[None])
    roles = 1, steps.batch_slots, [], [write.slot for write in steps.program.writes]
    plan(assemble_epoch(steps.program.graph, *roles), TARGETS["avx2"])
    assert bool(found[0]) == tested


def test_sums_over_what_one_product_made_share_a_pass():
    def function(x, w, scale):
        y = x @ w
        first, second = ops.sum(y * scale, axis=1), ops.sum(y * y, axis=1)
        return y - first[:, None] * second[:, None], ops.sum(y, axis=0), ops.sum(y * y, axis=0)

    arrays = floats(70, 30), floats(30, 64), floats(64)
    found = program(function, *arrays)
    assert [line.count("sum") for line in found.splitlines() if "sum" in line] == [1, 1], found
    ours = cr.compile(function, engine="compiler")(*arrays)
    slow = cr.compile(function, engine="interpreter")(*arrays)
    for fast, expected in zip(ours, slow, strict=True):
        np.testing.assert_allclose(np.asarray(fast), np.asarray(expected), rtol=2e-5, atol=2e-4)
