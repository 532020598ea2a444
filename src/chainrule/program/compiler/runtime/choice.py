"""On how many threads one program runs: predicted first, then learned from its own times.

Results do not depend on the number of threads, so it may change from call to call. That matters
where the prediction is wrong, and where other processes want the same cores: a barrier with a
thread that has to wait for its core takes longer than the whole step on one thread.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

#: calls are put together until they took so long; shorter times say little
WINDOW_SECONDS = 1e-3
#: running time between two contests, as a multiple of what the last one cost
REST = 40.0
#: the same before the first contest, when only the prediction is known, and after one that
#: changed the number
FIRST_REST = 10.0
#: pairs of windows in a contest that does not end sooner
PAIRS = 3
#: a contest ends after a pair that differs by more than this ratio
CLEAR = 1.5
#: so many windows, slower than expected by so much, call for a contest at once
ALARM_WINDOWS = 3
ALARM = 1.5
#: but not before so many times the cost of the last contest
ALARM_REST = 5.0


class ThreadChoice:
    """Chooses the number of threads of one program and learns from each run.

    Now and then the number in use is compared with its neighbour (half or double), in alternating
    windows of time; the median decides. Contests take a few hundredths of the time, and begin at
    once where the program became slower than it was.

    Args:
        predicted: Threads that would be best on a machine with nothing else to do.
    """

    def __init__(self, predicted: int) -> None:
        self._predicted = predicted
        self._lock = threading.Lock()
        self._rivals: _Rivals | None = None

    def threads(self, limit: int) -> int:
        """The number to run on now.

        Args:
            limit: Most threads allowed, as ``get_num_threads`` says.
        """
        if limit == 1:
            return 1
        with self._lock:
            if self._rivals is None or self._rivals.options[-1] != limit:
                self._rivals = _Rivals(self._predicted, limit)
            return self._rivals.options[self._rivals.running]

    def record(self, n_threads: int, seconds: float, steps: int = 1) -> None:
        """Tell what a run took.

        Args:
            n_threads: Threads that ran it; runs on another number than asked for are left out.
            seconds: Its time.
            steps: Equal steps that were done in this time.
        """
        with self._lock:
            rivals = self._rivals
            if rivals and steps and n_threads == rivals.options[rivals.running]:
                rivals.record(seconds, steps)


def _median(values: Sequence[float]) -> float:
    # Python's own comes with decimal and rational numbers, whose import takes longer than a
    # Program's way from the cache
    ordered, middle = sorted(values), len(values) // 2
    return (ordered[middle] + ordered[-1 - middle]) / 2


class _Rivals:
    """What is known under one limit: numbers of threads to choose from, and how they did."""

    def __init__(self, predicted: int, limit: int) -> None:
        self.options = [1]
        while self.options[-1] * 2 < limit:
            self.options.append(self.options[-1] * 2)
        self.options.append(limit)
        fitting = [i for i, n in enumerate(self.options) if n <= predicted]
        #: index of the option in use, and of the one to run on now
        self.current = self.running = self._predicted = max(fitting, default=0)
        self._rival: int | None = None
        self._direction = -1
        self._seconds, self._steps = 0.0, 0
        self._windows = 0
        self._expected = 0.0
        self._slow = 0
        self._cost = 0.0
        self._rested = 0.0
        self._to_rest = 0.0

    def record(self, seconds: float, steps: int) -> None:
        self._seconds += seconds
        self._steps += steps
        if self._seconds < WINDOW_SECONDS:
            return
        rate, took = self._seconds / self._steps, self._seconds
        self._seconds, self._steps = 0.0, 0
        if self._rival is None:
            self._rest(rate, took)
        else:
            self._compare(rate, took)

    def _rest(self, rate: float, took: float) -> None:
        """Count the time to the next contest, and watch the time of a step."""
        self._windows += 1
        if self._windows == 1:  # meets cold caches and sleeping workers
            return
        if self._windows == 2:
            self._expected, self._cost = rate, took
            self._to_rest = FIRST_REST * took
        self._rested += took
        self._slow = self._slow + 1 if rate > ALARM * self._expected else 0
        # contests that change nothing must not become the main occupation
        alarmed = self._slow >= ALARM_WINDOWS and self._rested > ALARM_REST * self._cost
        if alarmed or self._rested >= self._to_rest:
            direction = -1 if alarmed else self._direction
            rival = self.current + direction
            if not 0 <= rival < len(self.options):
                rival = self.current - direction
            self._direction = -direction
            self._rival = self.running = rival
            self._rates: dict[int, list[float]] = {self.current: [], rival: []}
            self._cost = 0.0

    def _compare(self, rate: float, took: float) -> None:
        """One more window of a contest; decide if it is clear or all pairs are there."""
        assert self._rival is not None
        self._rates[self.running].append(rate)
        self._cost += took
        if self.running == self._rival:
            self.running = self.current
            return
        ours, theirs = self._rates[self.current], self._rates[self._rival]
        ratio = _median(ours) / _median(theirs)
        if len(ours) < PAIRS and 1 / CLEAR < ratio < CLEAR:
            self.running = self._rival
            return
        won = ratio > 1
        winner = self._rival if won else self.current
        if won:
            self._direction = winner - self.current  # the next one tries to go on that way
        # where the prediction lost, something unusual goes on, and may be over soon
        soon = won or winner != self._predicted
        self._to_rest = (FIRST_REST if soon else REST) * self._cost
        self._expected = _median(self._rates[winner])
        self.current = self.running = winner
        self._rival, self._slow, self._rested = None, 0, 0.0
