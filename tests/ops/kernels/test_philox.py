"""Philox against the published known answers of Random123, and what its users rely on."""

import numpy as np
import pytest

from chainrule.ops.kernels import philox
from chainrule.ops.kernels.philox import fold_in_kernel, philox4x32, random_bits, split_kernel


def words(text: str) -> np.ndarray:
    return np.array([int(word, 16) for word in text.split()], np.uint32)


KNOWN = [
    ("0 0 0 0", "0 0", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    (
        "ffffffff ffffffff ffffffff ffffffff",
        "ffffffff ffffffff",
        "408f276d 41c83b0e a20bc7c6 6d5451fd",
    ),
    (
        "243f6a88 85a308d3 13198a2e 03707344",
        "a4093822 299f31d0",
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]

KEY = words("a4093822 299f31d0")


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN)
def test_known_answers(counter, key, answer):
    result = philox4x32(words(counter), words(key))
    assert result.dtype == np.uint32
    assert np.array_equal(result, words(answer))


def test_known_answers_together_and_broadcast():
    counters = np.stack([words(counter) for counter, _, _ in KNOWN])
    keys = np.stack([words(key) for _, key, _ in KNOWN])
    answers = np.stack([words(answer) for _, _, answer in KNOWN])
    assert np.array_equal(philox4x32(counters, keys), answers)
    grid = philox4x32(counters[:, None], keys)
    assert grid.shape == (3, 3, 4)
    assert np.array_equal(np.diagonal(grid).T, answers)


def test_bits_are_the_lanes_of_numbered_blocks():
    bits = random_bits(KEY, (3, 3))
    counters = np.array([[block, 0, 0, 0] for block in range(3)], np.uint32)
    assert bits.shape == (3, 3)
    assert bits.dtype == np.uint32
    assert np.array_equal(bits.reshape(-1), philox4x32(counters, KEY).reshape(-1)[:9])


@pytest.mark.parametrize("shape", [(), (1,), (3,), (4,), (5, 7), (2, 3, 4)])
def test_a_draw_is_a_prefix_of_every_larger_draw(shape):
    long = random_bits(KEY, (1000,))
    draw = random_bits(KEY, shape)
    assert draw.shape == shape
    assert np.array_equal(draw.reshape(-1), long[: draw.size])


@pytest.mark.parametrize("batch", [(0,), (1,), (7,), (2, 3)])
@pytest.mark.parametrize("shape", [(), (0,), (5,), (40,)])
def test_keys_of_a_batch_draw_as_each_alone(monkeypatch, batch, shape):
    monkeypatch.setattr(philox, "_CHUNK", 4)  # chunks end within rows and between them
    keys = np.random.default_rng(0).integers(0, 2**32, (*batch, 2), np.uint32)
    together = random_bits(keys, shape)
    assert together.shape == (*batch, *shape)
    monkeypatch.undo()
    for place in np.ndindex(*batch):
        assert np.array_equal(together[place], random_bits(keys[place], shape))


def test_chunks_join_without_a_seam():
    size = 4 * philox._CHUNK
    bits = random_bits(KEY, (size + 9,))
    blocks = np.arange(philox._CHUNK - 2, philox._CHUNK + 2, dtype=np.uint32)
    counters = np.stack([blocks, 0 * blocks, 0 * blocks, 0 * blocks], axis=-1)
    assert np.array_equal(bits[size - 8 : size + 8], philox4x32(counters, KEY).reshape(-1))


def test_block_numbers_reach_into_the_second_word():
    low, high, *_ = philox._bit_counters(2**32 - 1, 2**32 + 1)
    assert list(low) == [2**32 - 1, 0]
    assert list(high) == [0, 1]


def test_fold_in_and_split_are_blocks_of_their_own():
    assert np.array_equal(fold_in_kernel(KEY, np.uint32(7)), philox4x32(words("7 0 0 1"), KEY)[:2])
    assert np.array_equal(split_kernel(KEY, 3)[2], philox4x32(words("2 0 0 2"), KEY)[:2])
    derived = np.concatenate(
        [
            random_bits(KEY, (200, 2)),
            split_kernel(KEY, 200),
            fold_in_kernel(KEY, np.arange(200, dtype=np.uint32)),
        ]
    )
    assert len(np.unique(derived, axis=0)) == 600


def test_fold_in_and_split_take_batches():
    keys = random_bits(KEY, (2, 3, 2))
    data = np.arange(6, dtype=np.uint32).reshape(2, 3)
    folded, parts = fold_in_kernel(keys, data), split_kernel(keys, 4)
    assert folded.shape == (2, 3, 2)
    assert parts.shape == (2, 3, 4, 2)
    assert split_kernel(keys, 0).shape == (2, 3, 0, 2)
    for place in np.ndindex(2, 3):
        assert np.array_equal(folded[place], fold_in_kernel(keys[place], data[place]))
        assert np.array_equal(parts[place], split_kernel(keys[place], 4))
    assert np.array_equal(split_kernel(KEY, 9)[:4], split_kernel(KEY, 4))


def test_bits_are_even_and_unrelated():
    count = 1 << 16
    sides = random_bits(split_kernel(KEY, 2), (count,))
    uniform = sides / 2.0**32
    assert np.allclose(uniform.mean(axis=1), 0.5, atol=4 * 12**-0.5 / count**0.5)
    assert np.allclose(uniform.var(axis=1), 1 / 12, atol=1e-3)
    share = [((sides >> np.uint32(bit)) & np.uint32(1)).mean() for bit in range(32)]
    assert np.allclose(share, 0.5, atol=4 * 0.5 / (2 * count) ** 0.5)
    neighbours = np.corrcoef(uniform[0, :-1], uniform[0, 1:])[0, 1]
    across = np.corrcoef(uniform)[0, 1]
    assert max(abs(neighbours), abs(across)) < 4 / count**0.5
    cells = np.bincount(sides[0] >> np.uint32(24), minlength=256)
    chi_square = ((cells - count / 256) ** 2 / (count / 256)).sum()
    assert abs(chi_square - 255) < 4 * (2 * 255) ** 0.5
