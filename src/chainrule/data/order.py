"""The order of samples: a seeded permutation for each epoch, cut into mini-batches."""

from __future__ import annotations

import numpy as np

from chainrule.errors import ArgumentError


def epoch_order(n_samples: int, seed: int, epoch: int) -> np.ndarray:
    """A permutation of the sample numbers that depends on seed and epoch alone.

    Args:
        n_samples: Samples in the set, at least 1.
        seed: The run's seed.
        epoch: Number of the epoch, from 0.

    Returns:
        int64, (n_samples,).

    Raises:
        ArgumentError: ``n_samples`` is below 1.

    >>> sorted(epoch_order(4, seed=0, epoch=3).tolist())
    [0, 1, 2, 3]
    """
    if n_samples < 1:
        raise ArgumentError(
            "there is nothing to order", expected="n_samples ≥ 1", got=f"{n_samples}"
        )
    mask = (1 << 64) - 1
    bits = np.random.Philox(key=np.array([seed & mask, epoch & mask], dtype=np.uint64))
    return np.random.Generator(bits).permutation(n_samples).astype(np.int64)


def batches(order: np.ndarray, batch_size: int, *, drop_last: bool = False) -> list[np.ndarray]:
    """Cut an order into mini-batches; the last may be smaller unless it is dropped.

    Raises:
        ArgumentError: ``batch_size`` is below 1.

    >>> [b.tolist() for b in batches(np.arange(5), 2)]
    [[0, 1], [2, 3], [4]]
    """
    if batch_size < 1:
        raise ArgumentError("batch_size is too small", expected="at least 1", got=str(batch_size))
    cut = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    return cut[:-1] if drop_last and cut and len(cut[-1]) < batch_size else cut
