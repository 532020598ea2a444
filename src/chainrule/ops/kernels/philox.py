"""Counter-based random bits: Philox4x32-10.

Source: J. Salmon, M. Moraes, R. Dror, D. Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011. A block of four random words is a pure function of a counter (four words) and a key
(two words), so a draw depends on nothing but its key and its place.

The last word of the counter says what a block is for (0: bits, 1: ``fold_in``, 2: ``split``), so
the three uses of one key never meet.
"""

from __future__ import annotations

import math

import numpy as np

Word = np.ndarray | np.uint32
Words = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]

_MULTIPLIERS = (np.uint32(0xD2511F53), np.uint32(0xCD9E8D57))
_WEYL = (0x9E3779B9, 0xBB67AE85)  # added to the key words each round: golden ratio, √3 − 1
_MASK = 0xFFFFFFFF

_BITS, _FOLD_IN, _SPLIT = np.uint32(0), np.uint32(1), np.uint32(2)

_CHUNK = 1 << 15  # blocks at a time: bounds memory, and keeps the temporaries in the cache


def philox4x32(counter: np.ndarray, key: np.ndarray, rounds: int = 10) -> np.ndarray:
    """Return four random words for each counter.

    Args:
        counter: uint32, shape (..., 4), lowest word first.
        key: uint32, shape (..., 2); leading axes broadcast with those of ``counter``.
        rounds: Rounds of mixing; 10 is the published choice.

    Returns:
        uint32, shape (..., 4).

    Example:
        >>> words = philox4x32(np.zeros(4, np.uint32), np.zeros(2, np.uint32))
        >>> [f"{word:08x}" for word in words]
        ['6627e8d5', 'e169c58d', 'bc57ac4c', '9b00dbd8']
    """
    words = (counter[..., 0], counter[..., 1], counter[..., 2], counter[..., 3])
    return np.stack(_mix(words, key[..., 0], key[..., 1], rounds), axis=-1)


def random_bits(key: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Draw random words; each depends on its key and its row-major index in ``shape`` alone.

    Element i is lane i mod 4 of the block with counter (i // 4, 0): the low and the high half of
    the block's number, then two zeros.

    Args:
        key: uint32, shape (*batch, 2).
        shape: Shape of the draw for each key.

    Returns:
        uint32 in 0 .. 2³² − 1, shape (*batch, *shape).
    """
    batch = key.shape[:-1]
    size = math.prod(shape)
    keys = key.reshape(math.prod(batch), 2)
    count = -(-size // 4)
    blocks = np.empty((len(keys), count, 4), np.uint32)
    # long draws are cut along the blocks, many short ones along the keys
    rows = max(1, _CHUNK // max(count, 1))
    for first in range(0, len(keys), rows):
        some = keys[first : first + rows, None]
        for start in range(0, count, _CHUNK):
            stop = min(start + _CHUNK, count)
            words = _mix(_bit_counters(start, stop), some[..., 0], some[..., 1])
            for lane, word in enumerate(words):
                blocks[first : first + rows, start:stop, lane] = word
    return blocks.reshape(len(keys), 4 * count)[:, :size].reshape((*batch, *shape))


def fold_in_kernel(key: np.ndarray, data: np.ndarray) -> np.ndarray:
    """Derive a key from a key and a number.

    Args:
        key: uint32, shape (*batch, 2).
        data: uint32, shape (*batch); broadcasts with the keys.

    Returns:
        uint32, shape (*batch, 2).
    """
    if key.ndim == 1 and np.ndim(data) == 0:
        return _fold_in_one(int(key[0]), int(key[1]), int(data))
    zero = np.uint32(0)
    words = _mix((data, zero, zero, _FOLD_IN), key[..., 0], key[..., 1])
    return np.stack(words[:2], axis=-1)


def _fold_in_one(key0: int, key1: int, data: int) -> np.ndarray:
    """``fold_in`` of one key in Python's integers: 100 calls of NumPy would take 30 times as long.

    Every random layer folds twice a step.
    """
    c0, c1, c2, c3 = data, 0, 0, int(_FOLD_IN)
    by0, by1 = (int(factor) for factor in _MULTIPLIERS)
    for _ in range(10):
        product0, product1 = c0 * by0, c2 * by1
        c0, c1 = product1 >> 32 ^ c1 ^ key0, product1 & _MASK
        c2, c3 = product0 >> 32 ^ c3 ^ key1, product0 & _MASK
        key0, key1 = key0 + _WEYL[0] & _MASK, key1 + _WEYL[1] & _MASK
    return np.array([c0, c1], np.uint32)


def split_kernel(key: np.ndarray, n: int) -> np.ndarray:
    """Derive ``n`` keys from each key; the first ones do not depend on ``n``.

    Args:
        key: uint32, shape (*batch, 2).
        n: Number of keys, at least 0.

    Returns:
        uint32, shape (*batch, n, 2).
    """
    zero = np.uint32(0)
    number = np.arange(n, dtype=np.uint32)
    words = _mix((number, zero, zero, _SPLIT), key[..., None, 0], key[..., None, 1])
    return np.stack(words[:2], axis=-1)


def _bit_counters(start: int, stop: int) -> tuple[Word, ...]:
    number = np.arange(start, stop, dtype=np.uint64)
    low = (number & np.uint64(_MASK)).astype(np.uint32)
    return low, (number >> np.uint64(32)).astype(np.uint32), np.uint32(0), _BITS


def _mix(words: tuple[Word, ...], key0: np.ndarray, key1: np.ndarray, rounds: int = 10) -> Words:
    """Run the rounds on four words of counters; they broadcast with each other and the key's."""
    c0, c1, c2, c3 = np.broadcast_arrays(*words, key0, key1)[:4]
    with np.errstate(over="ignore"):  # key words wrap around, and NumPy warns of that for scalars
        for number in range(rounds):
            low0, high0 = _multiply(c0, _MULTIPLIERS[0])
            low1, high1 = _multiply(c2, _MULTIPLIERS[1])
            c0 = high1 ^ c1 ^ (key0 + np.uint32(number * _WEYL[0] & _MASK))
            c2 = high0 ^ c3 ^ (key1 + np.uint32(number * _WEYL[1] & _MASK))
            c1, c3 = low1, low0
    return c0, c1, c2, c3


def _multiply(a: np.ndarray, b: np.uint32) -> tuple[np.ndarray, np.ndarray]:
    """Return the low and the high word of a product of 32-bit words."""
    product = np.multiply(a, b, dtype=np.uint64)
    return product.astype(np.uint32), (product >> np.uint64(32)).astype(np.uint32)
