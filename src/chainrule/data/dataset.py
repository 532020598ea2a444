"""Data sets in memory: inputs and targets with the samples in front."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.errors import DataError, IndexRangeError
from chainrule.ops.origin import here


class ArrayDataset:
    """Inputs and targets as ndarrays of one length.

    Args:
        inputs: (n_samples, ...), or a tuple of such arrays.
        targets: (n_samples, ...): labels or values.
        weights: (n_samples,) importance of each sample, ≥ 0; None for equal ones.
        class_names: Names of the classes, in label order.
        name: For messages and run folders.

    Raises: DataError if lengths differ, the set is empty, or weights are negative.

    >>> data = ArrayDataset(np.zeros((4, 2)), np.array([0, 1, 1, 0]))
    >>> len(data), data.n_classes
    (4, 2)
    """

    def __init__(
        self,
        inputs: Any,
        targets: Any,
        *,
        weights: Any = None,
        class_names: Sequence[str] | None = None,
        name: str = "",
    ) -> None:
        self.multiple = isinstance(inputs, tuple)
        self._inputs = tuple(np.asarray(x) for x in (inputs if self.multiple else (inputs,)))
        self.targets = np.asarray(targets)
        self.weights = None if weights is None else np.asarray(weights)
        self.class_names = None if class_names is None else list(class_names)
        self.name = name
        self._check()

    def _check(self) -> None:
        lengths = [len(x) if x.ndim else -1 for x in self.arrays]
        if len(set(lengths)) != 1 or -1 in lengths:
            raise DataError(
                "inputs and targets differ in their number of samples",
                expected="one length, samples along the first axis",
                got=", ".join(str(x.shape) for x in self.arrays),
                where=str(here()),
            )
        if not lengths[0]:
            raise DataError("the data set is empty", expected="at least one sample", got="none")
        if self.weights is not None and not (self.weights >= 0).all():
            raise DataError("sample weights must not be negative or NaN", where=str(here()))

    @property
    def inputs(self) -> Any:
        """The inputs as they were given: an ndarray or a tuple of them."""
        return self._inputs if self.multiple else self._inputs[0]

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """All inputs, the targets, and the weights if there are any."""
        extra = () if self.weights is None else (self.weights,)
        return (*self._inputs, self.targets, *extra)

    @property
    def n_classes(self) -> int:
        """Number of classes: of the names, or one more than the largest label."""
        if self.class_names is not None:
            return len(self.class_names)
        if self.targets.dtype.kind not in "iub":
            raise DataError(
                "only whole-number labels have classes",
                expected="integers",
                got=str(self.targets.dtype),
            )
        return int(self.targets.max()) + 1

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: Any) -> tuple[np.ndarray, ...]:
        return tuple(x[index] for x in self.arrays)

    def subset(self, indices: Any) -> ArrayDataset:
        """The samples at ``indices`` (integers or a mask), in that order.

        Raises:
            IndexRangeError: An index names no sample.
        """
        chosen = np.asarray(indices)
        if chosen.dtype != bool and chosen.size:
            low, high = int(chosen.min()), int(chosen.max())
            if low < 0 or high >= len(self):
                raise IndexRangeError(
                    "a subset names a sample that does not exist",
                    expected=f"0 to {len(self) - 1}",
                    got=f"{low} to {high}",
                    where=str(here()),
                )
        return self._like(tuple(x[chosen] for x in self._inputs), chosen)

    def _like(self, inputs: tuple[np.ndarray, ...], chosen: Any = slice(None)) -> ArrayDataset:
        return ArrayDataset(
            inputs if self.multiple else inputs[0],
            self.targets[chosen],
            weights=None if self.weights is None else self.weights[chosen],
            class_names=self.class_names,
            name=self.name,
        )

    def map_inputs(self, function: Callable[[np.ndarray], np.ndarray]) -> ArrayDataset:
        """The set with ``function`` applied to every input array."""
        return self._like(tuple(function(x) for x in self._inputs))

    def check_finite(self) -> None:
        """Raise DataError naming the first NaN or infinity in inputs, targets or weights."""
        for position, x in enumerate(self.arrays):
            if x.dtype.kind not in "fV":
                continue
            bad = ~np.isfinite(x)
            if bad.any():
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                label = "inputs" if position < len(self._inputs) else "targets or weights"
                raise DataError(
                    f"the {label} hold {int(bad.sum())} numbers that are not finite",
                    expected="finite numbers",
                    got=f"{x[place]} in row {place[0]}, column {list(place[1:])}",
                    fix="drop those rows, or fill them, for example with the column's mean",
                    where=str(here()),
                )

    def __repr__(self) -> str:
        shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in self.arrays)
        return f"ArrayDataset({self.name + ': ' if self.name else ''}{shapes})"


def as_dataset(data: Any, name: str = "") -> ArrayDataset:
    """An ArrayDataset from one, or from a tuple ``(inputs, targets)`` or with weights as a third.

    Raises:
        DataError: It is none of these.
    """
    if isinstance(data, ArrayDataset):
        return data
    if isinstance(data, tuple | list) and len(data) in (2, 3):
        return ArrayDataset(
            data[0], data[1], weights=data[2] if len(data) == 3 else None, name=name
        )
    raise DataError(
        "this is no data set",
        expected="an ArrayDataset, or (inputs, targets), or (inputs, targets, weights)",
        got=type(data).__name__,
        where=str(here()),
    )
