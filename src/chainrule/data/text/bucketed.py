"""Texts of different lengths to train on: an epoch's batches from buckets of like length."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from chainrule.data.dataset import DatasetView, as_dataset
from chainrule.data.order import epoch_order
from chainrule.data.text.padding import length_buckets
from chainrule.errors import DataError
from chainrule.ops.origin import here

#: steps of one width that follow each other: each change of width is a call of a Program
STEPS_A_RUN = 8


class Run(NamedTuple):
    """Steps of one width that follow each other.

    Args:
        width: Tokens of each row.
        rows: Sample numbers, int64 (n_steps, batch_size).
    """

    width: int
    rows: np.ndarray


@dataclass(frozen=True)
class Buckets:
    """How long each sample is, and the few widths that batches have.

    Args:
        lengths: Tokens of each sample that count, int64 (n,), from 1 to the last width.
        widths: Ascending.
    """

    lengths: np.ndarray
    widths: tuple[int, ...]

    def of(self, chosen: Any) -> Buckets:
        """Those of some of the samples; the widths stay.

        Args:
            chosen: Sample numbers, a mask or a slice.
        """
        return replace(self, lengths=self.lengths[chosen])

    def runs(self, batch_size: int, seed: int, epoch: int) -> list[Run]:
        """An epoch's steps, each sample in one of them, in an order that seed and epoch decide.

        What is left of a bucket after its full batches goes on to the next wider one, so that only
        one batch of the epoch is smaller: as many steps as without buckets, and one more shape
        than there are widths.

        Args:
            batch_size: Samples a step, ≥ 1.
            seed: The run's.
            epoch: Number of the epoch, from 0.
        """
        order = epoch_order(len(self.lengths), seed, epoch)
        bucket = np.searchsorted(self.widths, self.lengths[order])
        runs, rest = [], order[:0]
        for number, width in enumerate(self.widths):
            pool = np.concatenate([rest, order[bucket == number]])
            n_steps = len(pool) // batch_size
            full = pool[: n_steps * batch_size].reshape(n_steps, batch_size)
            rest = pool[n_steps * batch_size :]
            for start in range(0, n_steps, STEPS_A_RUN):
                runs.append(Run(width, full[start : start + STEPS_A_RUN]))
        if len(rest):
            runs.append(Run(self.widths[-1], rest[None]))
        return [runs[i] for i in epoch_order(len(runs), seed, epoch)]


class Bucketed(DatasetView):
    """A data set of texts whose batches are of like length, each filled up to few widths only.

    ``Trainer.fit`` takes one as training data. A batch's texts come from one bucket, drawn anew in
    each epoch, and their rows end where the bucket's longest text does; up to eight steps of one
    width follow each other. For models that do not count the filling, as those of sentences.
    Where it is measured on, rows stay as long as they are.

    Args:
        dataset: An ArrayDataset or tuple; inputs integers (n, places), filled up behind the text.
        n_buckets: The most widths, ≥ 1, chosen for the least filling; the training step is
            compiled for each, and once more for the epoch's smaller batch, so more than 7 warn.
        value: What fills up.

    Attributes: ``widths``, ascending; ``lengths`` of the texts, int64 (n,); ``saved``, the share of
    all places that batches need not have, in [0, 1).

    Raises:
        ArgumentError: ``n_buckets`` is out of range.
        DataError: The inputs are no rows of tokens.

    >>> train = Bucketed(([[5, 0, 0, 0], [7, 8, 9, 6], [6, 3, 0, 0]], [0, 1, 0]), n_buckets=2)
    >>> train.widths, train.lengths.tolist(), round(train.saved, 2)
    ((2, 4), [1, 4, 2], 0.33)
    """

    def __init__(self, dataset: Any, n_buckets: int = 4, *, value: int = 0) -> None:
        self.dataset = as_dataset(dataset)
        tokens = self.dataset.inputs
        if self.dataset.multiple or tokens.ndim != 2 or tokens.dtype.kind not in "iu":
            got = "several arrays" if self.dataset.multiple else f"{tokens.dtype}{tokens.shape}"
            raise DataError(
                "only rows of tokens have buckets of like length",
                expected="integers (n, places) as inputs",
                got=got,
                fix="LabelledTexts.encode(tokenizer), or pad_sequences(rows)",
                where=str(here()),
            )
        counts = tokens != value
        ends = tokens.shape[1] - counts[:, ::-1].argmax(axis=1)
        self.lengths = np.where(counts.any(axis=1), ends, 1).astype(np.int64)
        found = length_buckets(self.lengths, n_buckets)
        self.buckets = Buckets(self.lengths, tuple(bucket.length for bucket in found))
        needed = sum(bucket.length * len(bucket.rows) for bucket in found)
        self.saved = 1.0 - needed / tokens.size

    @property
    def widths(self) -> tuple[int, ...]:
        """What batches are filled up to, ascending."""
        return self.buckets.widths

    def __repr__(self) -> str:
        return f"Bucketed({self.dataset!r}, widths {', '.join(map(str, self.widths))})"
