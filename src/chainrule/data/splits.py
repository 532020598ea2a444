"""Cutting a data set in parts: at random, or with the same share of each class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.data.dataset import ArrayDataset, as_dataset
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


def holdout(
    dataset: Any, fraction: float, seed: int = 0, *, stratify: Any = True
) -> tuple[ArrayDataset, ArrayDataset]:
    """Hold a part out.

    Args:
        dataset: The whole: an ArrayDataset, or ``(inputs, targets)``.
        fraction: Share that is held out, in (0, 1); rounded to whole samples.
        seed: Fixes the choice.
        stratify: True: each class keeps its share if the targets are whole-number labels; False
            or None: at random; an array of labels: by these. The classes of the part held out
            are rounded by the largest remainders, so a class too rare for one sample may lack.

    Returns:
        The part that remains and the part held out, each in the order of the whole.

    Raises:
        ArgumentError: The fraction is out of range or leaves one part empty.
        DataError: A class has fewer than two members.

    >>> whole = ArrayDataset(np.arange(10), np.repeat([0, 1], 5))
    >>> [np.bincount(part.targets).tolist() for part in holdout(whole, 0.4)]
    [[3, 3], [2, 2]]
    """
    whole = as_dataset(dataset)
    n = len(whole)
    count = round(fraction * n) if 0 < fraction < 1 else 0
    if not 0 < count < n:
        raise ArgumentError(
            "the held-out fraction leaves a part empty",
            expected=f"a share in (0, 1) that gives 1 to {n - 1} of {n} samples",
            got=f"{fraction} ({count} samples)",
            where=str(here()),
        )
    shuffled = _shuffled(n, seed)
    if stratify is None or stratify is False or (stratify is True and not _has_labels(whole)):
        chosen = shuffled[:count]
    else:
        labels = _checked_labels(whole.targets if stratify is True else stratify, n, n_parts=2)
        chosen = _choose(labels, shuffled, count)
    mask = np.zeros(n, bool)
    mask[chosen] = True
    return whole.subset(~mask), whole.subset(mask)


def stratified_split(
    dataset: Any, fractions: Sequence[float], seed: int = 0, *, labels: Any = None
) -> tuple[ArrayDataset, ...]:
    """Cut in several parts, each with the whole's share of every class.

    Sizes of the parts, and of the classes within a part, are rounded by the largest remainders.

    Args:
        dataset: The whole: an ArrayDataset, or ``(inputs, targets)``.
        fractions: Share of each part, > 0, together 1.
        seed: Fixes the choice.
        labels: What to stratify by, (n_samples,); None: the targets.

    Returns:
        One set for each fraction, each in the order of the whole.

    Raises:
        ArgumentError: The fractions do not add up to 1, or leave a part empty.
        DataError: A class has fewer members than there are parts, or there are no labels.

    >>> whole = ArrayDataset(np.arange(20), np.repeat([0, 1], [15, 5]))
    >>> [np.bincount(part.targets).tolist() for part in stratified_split(whole, [0.6, 0.2, 0.2])]
    [[9, 3], [3, 1], [3, 1]]
    """
    whole = as_dataset(dataset)
    n = len(whole)
    if not all(share > 0 for share in fractions) or not math.isclose(sum(fractions), 1):
        raise ArgumentError(
            "the fractions do not cut the whole in parts",
            expected="shares above 0 that add up to 1",
            got=f"{list(fractions)}, together {sum(fractions):g}",
            where=str(here()),
        )
    sizes = _largest_remainders(np.asarray(fractions, dtype=np.float64) * n, n)
    if sizes.min() < 1:
        raise ArgumentError(
            "the fractions leave a part empty",
            expected="at least one sample in each part",
            got=f"{sizes.tolist()} of {n} samples",
            where=str(here()),
        )
    classes = _checked_labels(whole.targets if labels is None else labels, n, len(sizes))
    rest = _shuffled(n, seed)
    part_of = np.full(n, len(sizes) - 1)
    for part, size in enumerate(sizes[:-1]):
        part_of[_choose(classes, rest, int(size))] = part
        rest = rest[part_of[rest] == len(sizes) - 1]
    return tuple(whole.subset(part_of == part) for part in range(len(sizes)))


def _shuffled(n: int, seed: int) -> np.ndarray:
    return np.random.Generator(np.random.Philox(key=seed & ((1 << 64) - 1))).permutation(n)


def _has_labels(dataset: ArrayDataset) -> bool:
    return dataset.targets.ndim == 1 and dataset.targets.dtype.kind in "iub"


def _checked_labels(labels: Any, n: int, n_parts: int) -> np.ndarray:
    """The labels as class numbers 0, 1, ..."""
    given = np.asarray(labels)
    if given.shape != (n,) or given.dtype.kind == "f":
        raise DataError(
            "the labels to stratify by do not fit the data set",
            expected=f"{n} labels, one a sample, no measured values",
            got=f"{given.dtype}{list(given.shape)}",
            where=str(here()),
        )
    classes, numbers, members = np.unique(given, return_inverse=True, return_counts=True)
    if members.min() < n_parts:
        count = int(members.min())
        raise DataError(
            f"class {classes[members.argmin()]} has only {count} member{'s' * (count > 1)}",
            expected=f"at least {n_parts} in every class to cut in {n_parts} parts",
            fix="merge rare classes, or cut at random with holdout(..., stratify=False)",
            where=str(here()),
        )
    return np.asarray(numbers)


def _choose(labels: np.ndarray, candidates: np.ndarray, count: int) -> np.ndarray:
    """The first candidates of each class, ``count`` in all, by each class's share among them."""
    ordered = labels[candidates]
    members = np.bincount(ordered)
    quota = _largest_remainders(members * count / len(candidates), count)
    return np.concatenate([candidates[ordered == c][:q] for c, q in enumerate(quota)])


def _largest_remainders(exact: np.ndarray, total: int) -> np.ndarray:
    """Whole numbers next to ``exact`` that add up to ``total``; ties go to the first."""
    # shares such as 0.29 · 100 = 28.999999999999996 are the whole number they stand for
    snapped = np.where(np.isclose(exact, np.rint(exact), rtol=0, atol=1e-9), np.rint(exact), exact)
    quota = np.floor(snapped).astype(int)
    quota[np.argsort(quota - snapped, kind="stable")[: total - int(quota.sum())]] += 1
    return quota
