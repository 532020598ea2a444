"""Random numbers for augmentation: each a function of seed, epoch, sample and place alone."""

from __future__ import annotations

import numpy as np

from chainrule.ops.kernels import philox
from chainrule.random.keys import seed_words

_MASK = 0xFFFFFFFF


class Draws:
    """The random numbers that one transform uses for some samples of one epoch.

    Counters are hashed by Philox4x32-10, so a sample's numbers do not depend on which samples are
    drawn with it, in which order, or by which thread.

    Args:
        seed: The run's seed.
        epoch: Number of the epoch, from 0.
        samples: Sample numbers, (n,).
        place: Number of the transform among its fellows.

    >>> few, all_of_them = (Draws(1, 0, np.arange(n), 0).uniform(2) for n in (3, 8))
    >>> bool((few == all_of_them[:3]).all())
    True
    """

    def __init__(self, seed: int, epoch: int, samples: np.ndarray, place: int) -> None:
        key = np.asarray(seed_words(seed), np.uint32)
        for number in (epoch, place):
            key = philox.fold_in_kernel(key, np.uint32(number & _MASK))  # type: ignore[arg-type]
        numbers = (np.asarray(samples, np.int64) & _MASK).astype(np.uint32)
        self._keys = philox.fold_in_kernel(np.broadcast_to(key, (len(numbers), 2)), numbers)
        self._calls = 0

    def __len__(self) -> int:
        return len(self._keys)

    def uniform(self, *shape: int) -> np.ndarray:
        """Numbers in [0, 1), float64, (n, *shape); each call gives new ones."""
        call = np.full(len(self._keys), self._calls, np.uint32)
        self._calls += 1
        bits = philox.random_bits(philox.fold_in_kernel(self._keys, call), shape)
        return bits * 2.0**-32

    def between(self, low: float, high: float, *shape: int) -> np.ndarray:
        """Numbers in [low, high), float64, (n, *shape)."""
        return low + (high - low) * self.uniform(*shape)

    def integers(self, n_values: int, *shape: int) -> np.ndarray:
        """Whole numbers 0 .. n_values − 1, int64, (n, *shape); ``n_values`` at most 2³²."""
        return (self.uniform(*shape) * n_values).astype(np.int64)

    def chance(self, p: float) -> np.ndarray:
        """True with probability ``p``, (n,)."""
        return self.uniform() < p
