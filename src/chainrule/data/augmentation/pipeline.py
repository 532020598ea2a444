"""Transforms in a row, and data sets that go through them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.data.augmentation.base import Transform, by_sample, check_images
from chainrule.data.augmentation.draws import Draws
from chainrule.data.augmentation.mixing import Mixing
from chainrule.data.dataset import ArrayDataset, DatasetView, as_dataset
from chainrule.data.preprocessing import one_hot
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

#: samples that are settled at a time
SETTLED_AT_ONCE = 1024
#: the place in ``Draws`` of which partner is taken; transforms count from 0
_PARTNERS = 1 << 16


class Augmentation:
    """Transforms in a row; what a sample becomes depends on seed, epoch and its number alone.

    Args:
        transforms: In the order in which they are applied.
        seed: Fixes all draws; None: whoever trains says it.
        workers: Threads that work ahead of training, ≥ 1; the results do not depend on it.
        n_classes: For labels that are mixed.

    Raises:
        ArgumentError: Something is no transform, or ``workers`` is out of range.
    """

    def __init__(
        self,
        transforms: Sequence[Transform],
        seed: int | None = None,
        workers: int = 1,
        n_classes: int | None = None,
    ) -> None:
        self.transforms = tuple(transforms)
        for transform in self.transforms:
            if not isinstance(transform, Transform):
                raise ArgumentError(
                    "this is no transform",
                    expected="objects such as data.RandomHorizontalFlip()",
                    got=repr(transform),
                    fix=f"make one: {transform.__name__}(...)"
                    if isinstance(transform, type)
                    else "",
                    where=str(here()),
                )
        if not isinstance(workers, int | np.integer) or workers < 1:
            raise ArgumentError(
                "workers is out of range",
                expected="a whole number of threads, 1 or more",
                got=repr(workers),
                where=str(here()),
            )
        self.seed = seed
        self.workers = int(workers)
        self.n_classes = n_classes

    @property
    def mixes(self) -> bool:
        """True if samples are mixed, so that labels become shares."""
        return any(isinstance(transform, Mixing) for transform in self.transforms)

    def batch(
        self, arrays: Sequence[np.ndarray], indices: np.ndarray, epoch: int, seed: int = 0
    ) -> tuple[np.ndarray, ...]:
        """Some samples as training sees them in an epoch.

        Args:
            arrays: Images, targets, and weights if there are any, of the whole data set.
            indices: Sample numbers, (n,).
            epoch: Number of the epoch, from 0.
            seed: Used if the augmentation has none of its own.

        Returns:
            New arrays: images, targets, and weights if there are any.
        """
        seed = seed if self.seed is None else self.seed
        return tuple(self._stage(len(self.transforms), arrays, np.asarray(indices), epoch, seed))

    def _stage(
        self, n: int, arrays: Sequence[np.ndarray], indices: np.ndarray, epoch: int, seed: int
    ) -> list[np.ndarray]:
        """Samples after the first ``n`` transforms."""
        if not n:
            images, targets, *weights = (array[indices] for array in arrays)
            return [images, self._shares(targets), *weights]
        transform = self.transforms[n - 1]
        found = self._stage(n - 1, arrays, indices, epoch, seed)
        draws = Draws(seed, epoch, indices, n - 1)
        if not isinstance(transform, Mixing):
            return [transform.apply(found[0], draws), *found[1:]]
        choice = Draws(seed, epoch, indices, _PARTNERS + n - 1)
        partners, mixed = choice.integers(len(arrays[0])), choice.chance(transform.p)
        others = self._stage(n - 1, arrays, partners[mixed], epoch, seed)
        own = [array[mixed] for array in found]
        fresh = Draws(seed, epoch, indices[mixed], n - 1)
        images, kept = transform.blend(own[0], others[0], fresh)
        found[0] = found[0].astype(transform.output_dtype(found[0].dtype), copy=False)
        found[0][mixed] = images
        for array, mine, other in zip(found[1:], own[1:], others[1:], strict=True):
            share = by_sample(kept.astype(array.dtype), array)
            array[mixed] = mine * share + other * (1 - share)
        return found

    def _shares(self, targets: np.ndarray) -> np.ndarray:
        """Labels as rows of shares, if they are to be mixed."""
        if not self.mixes or targets.dtype.kind not in "iub":
            return targets
        assert self.n_classes is not None
        return one_hot(targets, self.n_classes)

    def settle(self, images: np.ndarray) -> np.ndarray:
        """Images as measuring and predicting see them: what is random is left out."""
        settled = []
        for start in range(0, len(images), SETTLED_AT_ONCE):
            part = images[start : start + SETTLED_AT_ONCE]
            for transform in self.transforms:
                part = transform.settle(part)
            settled.append(part)
        return settled[0] if len(settled) == 1 else np.concatenate(settled)

    def __repr__(self) -> str:
        seeded = "" if self.seed is None else f", seed={self.seed}"
        return f"Augmentation({list(self.transforms)}{seeded})"


class Augmented(DatasetView):
    """A data set whose images are changed at random, anew in each epoch.

    ``Trainer.fit`` takes one as training data: batches are made in the background, ahead of the
    steps, and a run that is stopped and resumed sees the same ones. Where it is measured on,
    as validation data for example, only transforms without chance are applied.

    Args:
        dataset: An ArrayDataset or tuple; inputs (n, height, width) or (n, channels, height,
            width), uint8 or floating.
        transforms: In the order in which they are applied.
        seed: Fixes all draws; None: the Trainer's seed, or 0.
        workers: Threads that work ahead of training, ≥ 1; the results do not depend on it.

    Raises:
        ArgumentError: Something is no transform, or ``workers`` is out of range.
        DataError: The inputs are no images, or there are targets that can not be mixed.
        ShapeError: A transform does not fit the images.

    Example:
        >>> from chainrule.data import MixUp, Normalize
        >>> whole = ArrayDataset(np.zeros((10, 3, 8, 8), np.uint8), np.arange(10) % 2)
        >>> train = Augmented(whole, [Normalize(0.5, 0.5), MixUp(0.4)], seed=1)
        >>> images, targets = train.batch([3, 7], epoch=0)
        >>> images.shape, images.dtype.name, targets.shape
        ((2, 3, 8, 8), 'float32', (2, 2))
    """

    def __init__(
        self,
        dataset: Any,
        transforms: Sequence[Transform],
        *,
        seed: int | None = None,
        workers: int = 1,
    ) -> None:
        self.dataset = as_dataset(dataset)
        if self.dataset.multiple:
            raise DataError(
                "a data set of several inputs can not be augmented",
                expected="one array of images",
                got=f"{len(self.dataset.inputs)} arrays",
                where=str(here()),
            )
        check_images(self.dataset.inputs)
        self.augmentation = Augmentation(transforms, seed, workers)
        if self.augmentation.mixes:
            self._prepare_mixing()
        # mistakes surface here, not in a thread
        self.batch(np.zeros(1, np.int64), 0)
        self.augmentation.settle(self.dataset.inputs[:1])

    def _prepare_mixing(self) -> None:
        kind = self.dataset.targets.dtype.kind
        if kind in "iub":
            self.augmentation.n_classes = self.dataset.n_classes
        elif kind != "f":
            raise DataError(
                "these targets can not be mixed",
                expected="class numbers from 0, or floating numbers",
                got=str(self.dataset.targets.dtype),
                where=str(here()),
            )

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return self.dataset.n_classes

    @property
    def name(self) -> str:
        """The data set's name."""
        return self.dataset.name

    def batch(self, indices: Any, epoch: int = 0) -> tuple[np.ndarray, ...]:
        """Some samples as training sees them in an epoch: images, targets, perhaps weights."""
        return self.augmentation.batch(self.dataset.arrays, np.asarray(indices), epoch)

    def settled(self) -> ArrayDataset:
        """The data set as it is measured on: only transforms without chance are applied."""
        return self.dataset.map_inputs(self.augmentation.settle)

    def __repr__(self) -> str:
        return f"Augmented({self.dataset!r}, {list(self.augmentation.transforms)})"
