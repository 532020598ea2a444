"""Cutting a data set in parts: at random, or with the same share of each class."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.data.dataset import ArrayDataset
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


def holdout(
    dataset: ArrayDataset, fraction: float, seed: int, *, stratify: Any = True
) -> tuple[ArrayDataset, ArrayDataset]:
    """Hold a part out.

    Args:
        dataset: The whole.
        fraction: Share that is held out, in (0, 1); rounded to whole samples.
        seed: Fixes the choice.
        stratify: True: each class keeps its share if the targets are whole-number labels; False:
            at random; an array of labels: by these.

    Returns:
        The part that remains and the part held out, each in the order of the whole.

    Raises:
        ArgumentError: The fraction leaves one part empty.
        DataError: A class has fewer than two members.
    """
    n = len(dataset)
    count = round(fraction * n)
    if not 0 < count < n:
        raise ArgumentError(
            "the held-out fraction leaves a part empty",
            expected=f"a share in (0, 1) that gives 1 to {n - 1} of {n} samples",
            got=f"{fraction} ({count} samples)",
            where=str(here()),
        )
    labels = dataset.targets if stratify is True else stratify
    shuffled = np.random.Generator(np.random.Philox(key=seed & ((1 << 64) - 1))).permutation(n)
    if labels is False or (stratify is True and not _are_labels(dataset.targets)):
        chosen = shuffled[:count]
    else:
        chosen = _stratified(np.asarray(labels), shuffled, count)
    mask = np.zeros(n, bool)
    mask[chosen] = True
    return dataset.subset(np.flatnonzero(~mask)), dataset.subset(np.flatnonzero(mask))


def _are_labels(targets: np.ndarray) -> bool:
    return targets.ndim == 1 and targets.dtype.kind in "iub"


def _stratified(labels: np.ndarray, shuffled: np.ndarray, count: int) -> np.ndarray:
    """Choose ``count`` samples with each class's share, by the largest remainders."""
    if labels.shape != shuffled.shape:
        raise DataError(
            "the labels to stratify by do not fit the data set",
            expected=f"{len(shuffled)} labels",
            got=str(labels.shape),
        )
    classes, members = np.unique(labels, return_counts=True)
    if members.min() < 2:
        raise DataError(
            f"class {classes[members.argmin()]} has only {members.min()} member",
            expected="at least 2 in every class, one for each part",
            fix="pass stratify=False, or merge rare classes",
        )
    exact = members * (count / len(labels))
    quota = np.floor(exact).astype(int)
    rest = count - int(quota.sum())
    quota[np.argsort(quota - exact, kind="stable")[:rest]] += 1
    ordered = labels[shuffled]
    return np.concatenate([shuffled[ordered == c][:q] for c, q in zip(classes, quota, strict=True)])
