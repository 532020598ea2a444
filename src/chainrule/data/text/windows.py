"""Windows of a long row of tokens, with the token that follows each place as its target."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.data.augmentation.draws import Draws
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

#: the target of places that count for nothing, as the losses have it
IGNORED = -100


class TokenWindows:
    """A data set for language models: inputs (n, length), targets the same one token later.

    ``Trainer.fit`` takes it as it is. The tokens lie in memory once, however much windows overlap;
    they may be a file mapped into memory.

    Args:
        inputs: (n, length), a view of the tokens.
        targets: (n, length).
        name: For messages and run folders.
        augmentation: Draws the windows anew in every epoch; None: they stay.
    """

    weights = None
    class_names = None

    def __init__(
        self,
        inputs: np.ndarray,
        targets: np.ndarray,
        name: str = "",
        augmentation: RandomPlaces | None = None,
    ) -> None:
        self.inputs = inputs
        self.targets = targets
        self.name = name
        self.augmentation = augmentation

    @property
    def length(self) -> int:
        """Tokens of a window."""
        return int(self.inputs.shape[1])

    @property
    def n_predictions(self) -> int:
        """Targets that count."""
        if self.targets.dtype.kind == "u":
            return int(self.targets.size)
        return int(np.count_nonzero(self.targets != IGNORED))

    def __len__(self) -> int:
        return len(self.inputs)

    def __repr__(self) -> str:
        how = "random, " if self.augmentation is not None else ""
        return f"TokenWindows({how}{len(self):,} of {self.length} tokens)"


class RandomPlaces:
    """Where the random windows of an epoch lie: a function of seed, epoch and number alone.

    Args:
        tokens: All of them.
        length: Tokens of a window.
        seed: Fixes all draws; None: whoever trains says it.
    """

    #: threads that copy windows ahead of training
    workers = 1

    def __init__(self, tokens: np.ndarray, length: int, seed: int | None) -> None:
        self.windows = np.lib.stride_tricks.sliding_window_view(tokens, length + 1)
        self.seed = seed

    def batch(
        self, arrays: Sequence[np.ndarray], indices: np.ndarray, epoch: int, seed: int = 0
    ) -> tuple[np.ndarray, ...]:
        """Windows as training sees them in an epoch.

        Args:
            arrays: Not looked at: random windows take from all tokens.
            indices: Numbers of windows, (n,).
            epoch: Number of the epoch, from 0.
            seed: Used if there is no other.
        """
        draws = Draws(seed if self.seed is None else self.seed, epoch, indices, 0)
        # two words a number: 2³² places are not enough for files of many gigabytes
        high, low = np.moveaxis(draws.uniform(2), -1, 0)
        places = ((high + low * 2.0**-32) * len(self.windows)).astype(np.int64)
        found = self.windows[np.minimum(places, len(self.windows) - 1)]
        return np.ascontiguousarray(found[:, :-1]), np.ascontiguousarray(found[:, 1:])

    def settle(self, inputs: np.ndarray) -> np.ndarray:
        """The windows as measuring sees them: those side by side."""
        return inputs

    def __repr__(self) -> str:
        seeded = "" if self.seed is None else f", seed={self.seed}"
        return f"RandomPlaces({len(self.windows)} places{seeded})"


def random_windows(
    tokens: Any, length: int, *, per_epoch: int | None = None, seed: int | None = None
) -> TokenWindows:
    """Windows at random places, others in every epoch: to train on.

    Which ones an epoch has depends on the seed, the epoch and their number alone, so a run that is
    stopped and resumed sees the same. ``Trainer.evaluate`` measures windows side by side instead.

    Args:
        tokens: Integers (n,), n > length.
        length: Tokens of a window, ≥ 1.
        per_epoch: Windows of an epoch, ≥ 1; None: as many as lie side by side in the tokens.
        seed: None: the Trainer's.

    Raises:
        ArgumentError: ``length`` or ``per_epoch`` is out of range.
        DataError: The tokens are none, or too few.

    >>> train = random_windows(np.arange(1000) % 7, length=8, per_epoch=100)
    >>> inputs, targets = train.augmentation.batch((), np.arange(3), epoch=0, seed=1)
    >>> bool((targets[:, :-1] == inputs[:, 1:]).all())
    True
    """
    row = _as_tokens(tokens, length)
    side_by_side = _strided(row, length, length)
    n = len(side_by_side) if per_epoch is None else per_epoch
    if n < 1:
        raise ArgumentError(
            "per_epoch is out of range", expected="1 or more", got=str(n), where=str(here())
        )
    # what lies here says how many there are and is what evaluation sees; training sees the draws
    enough = n <= len(side_by_side)
    chosen = side_by_side[:n] if enough else side_by_side[np.arange(n) % len(side_by_side)]
    return TokenWindows(chosen[:, :-1], chosen[:, 1:], augmentation=RandomPlaces(row, length, seed))


def strided_windows(
    tokens: Any, length: int, stride: int | None = None, *, whole: bool = False
) -> TokenWindows:
    """Windows at equal distances: to validate on, or to train on in full epochs.

    Args:
        tokens: Integers (n,), n > length; with ``whole``, n ≥ 2.
        length: Tokens of a window, ≥ 1.
        stride: From the begin of a window to that of the next, 1 to ``length``; None: ``length``,
            so that each token is the target once.
        whole: Every token but the first is a target exactly once: what is left over behind the
            last whole window makes one more, filled up, and targets that another window has had
            are −100, which the losses pass over. This copies the targets into memory. False: what
            is left over is left out, and nothing is copied.

    Raises:
        ArgumentError: ``length`` or ``stride`` is out of range.
        DataError: The tokens are none, or too few.

    >>> part = strided_windows(np.arange(8), length=3, whole=True)
    >>> part.inputs.tolist(), part.targets.tolist()
    ([[0, 1, 2], [3, 4, 5], [6, 7, 0]], [[1, 2, 3], [4, 5, 6], [7, -100, -100]])
    """
    row = _as_tokens(tokens, length, fewest=2 if whole else length + 1)
    step = length if stride is None else stride
    if not 1 <= step <= length:
        raise ArgumentError(
            "stride is out of range",
            expected=f"1 to {length}, so that no token is passed over",
            got=str(stride),
            where=str(here()),
        )
    if not whole:
        found = _strided(row, length, step)
        return TokenWindows(found[:, :-1], found[:, 1:])
    rest = max(0, len(row) - 1 - length)
    n = 1 + -(-rest // step)
    filled = (n - 1) * step + length + 1
    signed = np.int64 if row.dtype == np.uint64 else np.promote_types(row.dtype, np.int8)
    padded = np.zeros(filled, signed)
    padded[: len(row)] = row
    targets = _strided(padded, length, step)[:, 1:].copy()
    targets.reshape(-1)[max(0, targets.size - (filled - len(row))) :] = IGNORED
    targets[1:, : length - step] = IGNORED
    inputs = _strided(padded.astype(row.dtype, copy=False), length, step)[:, :-1]
    return TokenWindows(inputs, targets)


def _strided(row: np.ndarray, length: int, stride: int) -> np.ndarray:
    """(n, length + 1), a view."""
    return np.lib.stride_tricks.sliding_window_view(row, length + 1)[::stride]


def _as_tokens(tokens: Any, length: int, fewest: int | None = None) -> np.ndarray:
    row = np.asarray(tokens)
    if not isinstance(length, int | np.integer) or length < 1:
        raise ArgumentError(
            "length is out of range",
            expected="a whole number of tokens, 1 or more",
            got=repr(length),
            where=str(here()),
        )
    if row.ndim != 1 or row.dtype.kind not in "iu":
        raise DataError(
            "these are no tokens",
            expected="integers in one row, (n,)",
            got=f"{row.dtype} of shape {row.shape}",
            fix="tokenizer.encode(text)" if row.dtype.kind in "UO" else "",
            where=str(here()),
        )
    needed = length + 1 if fewest is None else fewest
    if len(row) < needed:
        raise DataError(
            f"{len(row)} tokens have no window of {length} with the token behind each",
            expected=f"at least {needed} tokens",
            got=str(len(row)),
            fix="a smaller length, or more text",
            where=str(here()),
        )
    return row
