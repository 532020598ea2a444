"""Sequences of different lengths: filled up to one length, or sorted into buckets of like ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

import numpy as np

from chainrule.data.order import epoch_order
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


def pad_sequences(
    sequences: Sequence[Any],
    length: int | None = None,
    *,
    value: int = 0,
    side: Literal["right", "left"] = "right",
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of tokens as one array, short ones filled up, long ones cut.

    Args:
        sequences: Rows of integers.
        length: Tokens of a row, ≥ 1; None: those of the longest. Longer rows lose their end.
        value: What fills up.
        side: Where the filling is put.

    Returns:
        Integers (n, length), in the type of the rows, and int64 (n,): how many of each row count.

    Raises:
        ArgumentError: ``length`` or ``side`` is out of range.
        DataError: There are no sequences, or they hold no integers.

    >>> rows, lengths = pad_sequences([[5, 6, 7], [8]])
    >>> rows.tolist(), lengths.tolist()
    ([[5, 6, 7], [8, 0, 0]], [3, 1])
    """
    rows = _as_rows(sequences)
    width = max(len(row) for row in rows) if length is None else length
    if (length is not None and length < 1) or side not in ("right", "left"):
        raise ArgumentError(
            "sequences can not be padded like that",
            expected="length ≥ 1, and side 'right' or 'left'",
            got=f"length={length}, side={side!r}",
            where=str(here()),
        )
    dtype = np.result_type(*{row.dtype for row in rows})
    if not np.can_cast(np.min_scalar_type(value), dtype):
        dtype = np.promote_types(dtype, np.min_scalar_type(value))
    padded = np.full((len(rows), max(width, 1)), value, dtype)
    lengths = np.array([min(len(row), width) for row in rows], np.int64)
    for place, row, n in zip(padded, rows, lengths, strict=True):
        part = slice(0, n) if side == "right" else slice(width - n, width)
        place[part] = row[:n]
    return padded, lengths


class Bucket(NamedTuple):
    """Sequences of like length.

    Args:
        length: What they are filled up to.
        rows: Their numbers, (n,), ascending.
    """

    length: int
    rows: np.ndarray


def length_buckets(lengths: Any, n_buckets: int = 8) -> list[Bucket]:
    """Sort sequences into few buckets, so that little is filled up and few shapes are compiled.

    The borders are chosen among the lengths that occur so that the filling is the least possible.

    Args:
        lengths: Integers (n,), ≥ 0.
        n_buckets: The most buckets, ≥ 1; Programs are compiled for each, so more than 8 warn.

    Returns:
        Buckets with ascending lengths; none is empty.

    Raises:
        ArgumentError: ``n_buckets`` is out of range.
        DataError: There are no lengths.

    >>> [(b.length, b.rows.tolist()) for b in length_buckets([9, 2, 3, 10, 2], n_buckets=2)]
    [(3, [1, 2, 4]), (10, [0, 3])]
    """
    counts = np.asarray(lengths)
    if n_buckets < 1:
        raise ArgumentError(
            "n_buckets is out of range", expected="1 or more", got=str(n_buckets), where=str(here())
        )
    if counts.ndim != 1 or not len(counts) or counts.dtype.kind not in "iu" or counts.min() < 0:
        raise DataError(
            "these are no lengths of sequences",
            expected="integers ≥ 0, (n,)",
            got=f"{counts.dtype} of shape {counts.shape}",
            where=str(here()),
        )
    counts = np.maximum(counts.astype(np.int64), 1)
    found, low = [], 0
    for border in _borders(counts, n_buckets):
        rows = np.flatnonzero((counts > low) & (counts <= border))
        found.append(Bucket(border, rows))
        low = border
    return found


#: lengths that borders are chosen among: more would cost time and gain nothing
_CANDIDATES = 256


def _borders(counts: np.ndarray, n_buckets: int) -> list[int]:
    """The upper ends of the buckets, by dynamic programming over the lengths that occur."""
    values, numbers = np.unique(counts, return_counts=True)
    if len(values) > _CANDIDATES:
        places = np.unique(np.linspace(0, len(values) - 1, _CANDIDATES).astype(int))
        numbers = np.diff(np.concatenate([[0], np.cumsum(numbers)[places]]))
        values = values[places]
    up_to = np.concatenate([[0], np.cumsum(numbers)])
    n = len(values)
    # cost of sequences up to value j if the last bucket begins behind value i − 1
    best = np.full(n + 1, np.inf)
    best[0] = 0
    steps: list[np.ndarray] = []
    for _ in range(min(n_buckets, n)):
        cost = best[:-1, None] + values[None, :] * (up_to[None, 1:] - up_to[:-1, None])
        cost[np.tril_indices(n, -1)] = np.inf
        steps.append(cost.argmin(axis=0))
        best = np.concatenate([[0.0], cost.min(axis=0)])
    borders, end = [], n
    for step in reversed(steps):
        if end:
            borders.append(int(values[end - 1]))
            end = int(step[end - 1])
    return borders[::-1]


class BucketBatch(NamedTuple):
    """A mini-batch of sequences of like length.

    Args:
        rows: Their numbers, (batch,).
        tokens: Filled up, (batch, length).
        lengths: How many of each row count, int64 (batch,).
    """

    rows: np.ndarray
    tokens: np.ndarray
    lengths: np.ndarray


def bucket_batches(
    sequences: Sequence[Any],
    batch_size: int,
    *,
    n_buckets: int = 8,
    seed: int = 0,
    epoch: int = 0,
    value: int = 0,
) -> list[BucketBatch]:
    """An epoch of mini-batches, each from one bucket, in an order that seed and epoch decide.

    For training steps written by hand. Each sequence comes once; the last batch of a bucket may be
    smaller than the others.

    Args:
        sequences: Rows of integers.
        batch_size: Sequences of a batch, ≥ 1.
        n_buckets: The most buckets, ≥ 1.
        seed: The run's.
        epoch: Number of the epoch, from 0.
        value: What fills up.

    Raises:
        ArgumentError: ``batch_size`` or ``n_buckets`` is out of range.
        DataError: There are no sequences, or they hold no integers.

    >>> for batch in bucket_batches([[1], [1, 2, 3, 4], [2], [1, 2, 3]], 2, n_buckets=2):
    ...     print(batch.tokens.shape)
    (2, 1)
    (2, 4)
    """
    if batch_size < 1:
        raise ArgumentError(
            "batch_size is out of range",
            expected="1 or more",
            got=str(batch_size),
            where=str(here()),
        )
    rows = _as_rows(sequences)
    order = epoch_order(len(rows), seed, epoch)
    place = np.argsort(order)
    batches = []
    for bucket in length_buckets([len(row) for row in rows], n_buckets):
        shuffled = bucket.rows[np.argsort(place[bucket.rows])]
        for start in range(0, len(shuffled), batch_size):
            chosen = shuffled[start : start + batch_size]
            tokens, lengths = pad_sequences([rows[i] for i in chosen], bucket.length, value=value)
            batches.append(BucketBatch(chosen, tokens, lengths))
    return [batches[i] for i in epoch_order(len(batches), seed, epoch)]


def _as_rows(sequences: Sequence[Any]) -> list[np.ndarray]:
    rows = [np.asarray(row) for row in sequences]
    rows = [row.astype(np.uint8) if not row.size else row for row in rows]
    if not rows:
        raise DataError("there are no sequences", expected="one or more", where=str(here()))
    for number, row in enumerate(rows):
        if row.ndim != 1 or row.dtype.kind not in "iu":
            raise DataError(
                "a sequence is no row of tokens",
                expected="integers (n,)",
                got=f"{row.dtype} of shape {row.shape} at place {number}",
                fix="tokenizer.encode(text) for each text",
                where=str(here()),
            )
    return rows
