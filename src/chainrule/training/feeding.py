"""Where the steps' samples come from: arrays that lie there, or batches made ahead of the steps."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple, Protocol

import numpy as np

from chainrule.data import epoch_order
from chainrule.training.doors import Samples
from chainrule.training.steps import epoch_chunks

#: samples made at once: fewer cost more calls of NumPy each
BLOCK_SAMPLES = 512
#: but no larger than this, where a step's batch is not
BLOCK_BYTES = 8 << 20
#: memory of the batches that wait to be trained on; at least ``FEWEST_AHEAD`` blocks may wait
AHEAD_BYTES = 64 << 20
FEWEST_AHEAD = 3

Stretch = tuple[Sequence[np.ndarray], np.ndarray]


class Feed(Protocol):
    """Gives the arrays that a stretch of steps works on."""

    def take(self, rows: np.ndarray) -> Stretch:
        """Arrays, and which of their rows each step takes, (n_steps, batch_size).

        Args:
            rows: Sample numbers of the steps wanted; the first ones may be all that is given.
        """

    def close(self) -> None:
        """No more is taken."""


class Resident:
    """The arrays of the data set itself.

    Args:
        samples: Training data.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples

    def take(self, rows: np.ndarray) -> Stretch:
        """All arrays and ``rows`` as they are, or copies of these rows; see ``Samples.taken``."""
        return self._samples.taken(rows)

    def close(self) -> None:
        """Nothing to do."""


class Block(NamedTuple):
    """Some steps whose batches are being made.

    Args:
        rows: Their sample numbers, (n_steps, batch_size).
        made: Will hold the arrays, one row a sample in the order of ``rows``.
    """

    rows: np.ndarray
    made: Future[tuple[np.ndarray, ...]]


class Ahead:
    """Batches that threads make while earlier steps run, in the order of the steps.

    What is in them depends on seed, epoch and sample numbers, never on when they are made or how
    they are cut; so nothing of this is part of a checkpoint.

    Args:
        samples: Training data that is augmented.
        batch_size: Samples a step.
        seed: The run's seed: of the order, and of the augmentation unless it has its own.
        epoch: Where the steps begin, from 0.
        step: Steps of that epoch that ran already.
        epochs: Number of the last epoch.
    """

    def __init__(
        self, samples: Samples, batch_size: int, seed: int, epoch: int, step: int, epochs: int
    ) -> None:
        assert samples.augmentation is not None
        self._samples = samples
        self._batch_size = batch_size
        self._seed = seed
        # floats of four bytes are the largest that images become
        sample_bytes = max(1, 4 * samples.inputs[0][:1].size)
        at_once = max(batch_size, min(BLOCK_SAMPLES, BLOCK_BYTES // sample_bytes))
        self._steps_a_block = max(1, at_once // batch_size)
        block_bytes = self._steps_a_block * batch_size * sample_bytes
        workers = samples.augmentation.workers
        self._most_ahead = max(FEWEST_AHEAD, workers + 1, AHEAD_BYTES // block_bytes)
        self._plan = self._blocks(epoch, step, epochs)
        self._waiting: deque[Block] = deque()
        self._used = 0  # steps of the first block that were taken
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="chainrule-augmentation")
        self._fill()

    def _blocks(self, epoch: int, step: int, epochs: int) -> Iterator[tuple[int, np.ndarray]]:
        n = len(self._samples)
        while epoch < epochs:
            for rows in epoch_chunks(n, self._batch_size, epoch_order(n, self._seed, epoch)):
                for start in range(min(step, len(rows)), len(rows), self._steps_a_block):
                    yield epoch, rows[start : start + self._steps_a_block]
                step = max(0, step - len(rows))
            epoch += 1

    def _fill(self) -> None:
        """Let the threads know of as many blocks as may wait."""
        while len(self._waiting) < self._most_ahead:
            planned = next(self._plan, None)
            if planned is None:
                return
            epoch, rows = planned
            made = self._pool.submit(self._samples.batch, rows.reshape(-1), epoch, self._seed)
            self._waiting.append(Block(rows, made))

    def take(self, rows: np.ndarray) -> Stretch:
        """The next steps: what is ready, at least one, and at most those of ``rows``."""
        n_wanted, batch_size = rows.shape
        pieces: list[list[np.ndarray]] = []
        n_taken = 0
        while n_taken < n_wanted and self._waiting:
            block = self._waiting[0]
            if n_taken and (block.rows.shape[1] != batch_size or not block.made.done()):
                break
            arrays = block.made.result()
            start, stop = self._used, min(len(block.rows), self._used + n_wanted - n_taken)
            if not np.array_equal(block.rows[start:stop], rows[n_taken:][: stop - start]):
                raise RuntimeError("the batches made ahead are not those of the next steps")
            pieces.append([x[start * batch_size : stop * batch_size] for x in arrays])
            n_taken += stop - start
            self._used = stop
            if stop == len(block.rows):
                self._waiting.popleft()
                self._used = 0
                self._fill()
        columns = zip(*pieces, strict=True)
        joined = [parts[0] if len(parts) == 1 else np.concatenate(parts) for parts in columns]
        return joined, np.arange(n_taken * batch_size).reshape(n_taken, batch_size)

    def close(self) -> None:
        """Drop what waits; threads end with the block that they are at."""
        self._pool.shutdown(cancel_futures=True)
        self._waiting.clear()


def open_feed(
    samples: Samples, batch_size: int, seed: int, epoch: int, step: int, epochs: int
) -> Feed:
    """The feed of a run that stands at ``step`` of ``epoch``; arguments as for ``Ahead``."""
    if samples.augmentation is None:
        return Resident(samples)
    return Ahead(samples, batch_size, seed, epoch, step, epochs)
