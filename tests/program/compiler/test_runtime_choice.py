"""The number of threads that a program learns to use, on a simulated machine."""

import numpy as np
import pytest

from chainrule.program.compiler.runtime.choice import ThreadChoice


class Machine:
    """Runs a program whose time a step depends on the number of threads, with some noise."""

    def __init__(self, choice, times, *, steps=1, limit=None, noise=0.05):
        self.choice, self.times, self.steps, self.noise = choice, times, steps, noise
        self.limit = limit or max(times)
        self.generator = np.random.default_rng(0)
        self.spent = dict.fromkeys(times, 0.0)

    def run(self, seconds):
        """Run for so long; gives the time a step took on the average."""
        total, steps = 0.0, 0
        while total < seconds:
            n = self.choice.threads(self.limit)
            noise = 1 + self.noise * abs(self.generator.normal())
            took = self.times[n] * self.steps * noise
            self.choice.record(n, took, self.steps)
            self.spent[n] += took
            total, steps = total + took, steps + self.steps
        return total / steps


@pytest.mark.parametrize("steps", [10, 10_000])
@pytest.mark.parametrize("predicted", [1, 2, 64])
@pytest.mark.parametrize("best", [1, 2])
def test_the_better_number_is_found_and_kept(steps, predicted, best):
    times = {best: 1e-5, 3 - best: 1.5e-5}
    machine = Machine(ThreadChoice(predicted), times, steps=steps)
    machine.run(300 * max(1e-3, steps * 1e-5))
    assert machine.run(300 * max(1e-3, steps * 1e-5)) < 1e-5 * 1.12


def test_a_number_in_the_middle_is_found():
    times = {1: 8e-4, 2: 4e-4, 4: 3e-4, 8: 5e-4, 12: 7e-4}
    for predicted in (1, 64):
        machine = Machine(ThreadChoice(predicted), times)
        machine.run(3.0)
        assert machine.run(3.0) < 3e-4 * 1.15


def test_a_machine_that_gets_crowded_is_noticed_soon_and_left_later():
    times = {1: 10e-6, 2: 6e-6}
    machine = Machine(ThreadChoice(2), times, steps=100)
    machine.run(1.0)
    assert machine.choice.threads(2) == 2
    times[2] = 200e-6
    machine.run(0.5)
    assert machine.run(1.0) < 10e-6 * 1.3
    times[2] = 6e-6
    machine.run(30.0)
    assert machine.run(1.0) < 6e-6 * 1.15


def test_a_good_prediction_costs_little():
    for best, other in ((1, 2), (2, 1)):
        machine = Machine(ThreadChoice(best), {best: 1e-3, other: 3e-3}, steps=50)
        machine.run(20.0)
        assert machine.spent[other] < 0.1 * machine.spent[best]


def test_runs_on_another_number_do_not_count():
    choice = ThreadChoice(2)
    choice.record(2, 1.0)  # nothing was asked yet
    for _ in range(1000):
        assert choice.threads(2) == 2
        choice.record(1, 1.0)  # the team was busy
        choice.record(2, 1.0, 0)  # a failing first step


def test_one_thread_is_one_thread_and_a_new_limit_begins_anew():
    choice = ThreadChoice(8)
    assert choice.threads(1) == 1
    assert choice.threads(6) == 6
    assert choice.threads(2) == 2
    assert ThreadChoice(3).threads(8) == 2
