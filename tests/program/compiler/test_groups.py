"""What shares a kernel, where sharing would cost more than it saves."""

import re
import sys
from pathlib import Path

from chainrule import nn, ops, optim

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
