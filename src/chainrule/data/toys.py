"""Small data sets for lessons and tests: two coordinates, two classes."""

from __future__ import annotations

import numpy as np

from chainrule.data.dataset import ArrayDataset
from chainrule.errors import ArgumentError


def xor() -> ArrayDataset:
    """The four points of exclusive or: not linearly separable.

    >>> xor().targets.tolist()
    [0, 1, 1, 0]
    """
    points = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], dtype=np.float32)
    return ArrayDataset(points, np.array([0, 1, 1, 0]), class_names=["0", "1"], name="xor")


def two_moons(n_samples: int = 200, noise: float = 0.1, seed: int = 0) -> ArrayDataset:
    """Two half circles that reach into each other.

    Args:
        n_samples: Points in all, at least 2; the first class has one more if odd.
        noise: Standard deviation of what is added to each coordinate, ≥ 0.
        seed: Fixes the noise.
    """
    rng = _generator(n_samples, noise, seed)
    first, second = _angles(n_samples, np.pi)
    upper = np.stack([np.cos(first), np.sin(first)], axis=1)
    lower = np.stack([1 - np.cos(second), 0.5 - np.sin(second)], axis=1)
    return _assemble([upper, lower], noise, rng, "two moons")


def circles(n_samples: int = 200, noise: float = 0.05, seed: int = 0) -> ArrayDataset:
    """A circle of radius ½ within one of radius 1; arguments as ``two_moons``."""
    rng = _generator(n_samples, noise, seed)
    first, second = (angles * 2 * (1 - 1 / len(angles)) for angles in _angles(n_samples, np.pi))
    outer = np.stack([np.cos(first), np.sin(first)], axis=1)
    inner = 0.5 * np.stack([np.cos(second), np.sin(second)], axis=1)
    return _assemble([outer, inner], noise, rng, "circles")


def spirals(
    n_samples: int = 200, noise: float = 0.02, seed: int = 0, turns: float = 1.5
) -> ArrayDataset:
    """Two arms that wind around each other.

    Args:
        n_samples: Points in all, at least 2.
        noise: Standard deviation of what is added to each coordinate, ≥ 0.
        seed: Fixes the noise.
        turns: How often an arm winds around the centre.
    """
    rng = _generator(n_samples, noise, seed)
    arms = []
    for start, angles in zip((0.0, np.pi), _angles(n_samples, 1.0), strict=True):
        radius = np.sqrt(angles) * 0.95 + 0.05
        turn = start + radius * turns * 2 * np.pi
        arms.append(radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1))
    return _assemble(arms, noise, rng, "spirals")


def _generator(n_samples: int, noise: float, seed: int) -> np.random.Generator:
    if n_samples < 2 or not noise >= 0:
        raise ArgumentError(
            "a toy data set needs points and a noise level",
            expected="n_samples ≥ 2 and noise ≥ 0",
            got=f"{n_samples} and {noise}",
        )
    return np.random.Generator(np.random.Philox(key=seed & ((1 << 64) - 1)))


def _angles(n_samples: int, end: float) -> tuple[np.ndarray, np.ndarray]:
    half = n_samples // 2
    return np.linspace(0, end, n_samples - half), np.linspace(0, end, half)


def _assemble(
    parts: list[np.ndarray], noise: float, rng: np.random.Generator, name: str
) -> ArrayDataset:
    points = np.concatenate(parts)
    points = points + rng.normal(scale=noise, size=points.shape) if noise else points
    labels = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    return ArrayDataset(points.astype(np.float32), labels, class_names=["0", "1"], name=name)
