"""What workloads have in common: shuffled orders, and weights that depend on their names alone."""

from __future__ import annotations

import zlib

import numpy as np


def shuffled(samples: int, batch: int, n_steps: int, seed: tuple[int, int]) -> np.ndarray:
    """Sample numbers (n_steps, batch): shuffled epochs, cut into whole batches."""
    rng = np.random.default_rng(seed)
    a_epoch = samples // batch
    used = a_epoch * batch
    epochs = -(-n_steps // a_epoch)
    rows = [rng.permutation(samples)[:used].reshape(-1, batch) for _ in range(epochs)]
    return np.concatenate(rows)[:n_steps].astype(np.int64)


def named_weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A parameter's first value, the same for every library that calls it so.

    Matrices and kernels have variance 1 / inputs, embeddings 1 / 50; the scales of norms are near
    1, biases near 0.
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    drawn = rng.standard_normal(shape).astype(np.float32)
    if len(shape) < 2:
        centre = 1.0 if name.endswith("weight") else 0.0
        return (centre + 0.05 * drawn).astype(np.float32)
    embeds = any(part in name for part in ("wte", "wpe", "embedding"))
    inputs = 50 if embeds else int(np.prod(shape[1:]))
    return (drawn / np.sqrt(inputs)).astype(np.float32)
