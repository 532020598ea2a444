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

    Raises: DataError if lengths differ, the set is empty, something is no array of numbers or
    texts, weights are negative, or a label has no name among ``class_names``.

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
        self._inputs = tuple(
            _as_array(x, "inputs") for x in (inputs if self.multiple else (inputs,))
        )
        self.targets = _as_array(targets, "targets")
        self.weights = None if weights is None else _as_array(weights, "weights")
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
        if self.weights is not None:
            self._check_weights(self.weights)
        if self.class_names is not None and self.targets.dtype.kind in "iu":
            self._check_labels(len(self.class_names))

    def _check_weights(self, weights: np.ndarray) -> None:
        if weights.ndim != 1 or weights.dtype.kind not in "biufV":
            raise DataError(
                "sample weights are one number a sample",
                expected=f"numbers of shape ({len(self)},)",
                got=f"{weights.dtype}{list(weights.shape)}",
                where=str(here()),
            )
        wrong = ~(weights >= 0)
        if wrong.any():
            row = int(wrong.argmax())
            raise DataError(
                "sample weights must not be negative or NaN",
                expected="numbers ≥ 0",
                got=f"{weights[row]} in row {row}",
                where=str(here()),
            )

    def _check_labels(self, n_names: int) -> None:
        low, high = int(self.targets.min()), int(self.targets.max())
        if low < 0 or high >= n_names:
            raise DataError(
                "a label has no name among class_names",
                expected=f"labels 0 to {n_names - 1}, for there are {n_names} names",
                got=f"labels {low} to {high}",
                where=str(here()),
            )

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
        """Number of classes: of the names, or one more than the largest label.

        Raises:
            DataError: There are no names, and the targets are no labels 0, 1, ...
        """
        if self.class_names is not None:
            return len(self.class_names)
        whole = self.targets.dtype.kind in "iub"
        if not whole or self.targets.min() < 0:
            raise DataError(
                "only labels counted from 0 have classes",
                expected="integers ≥ 0",
                got=f"{self.targets.dtype}" + (f", from {self.targets.min()}" if whole else ""),
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
            DataError: Nothing is chosen, or it is neither indices nor a mask of fitting length.
        """
        chosen = np.asarray(indices)
        right = chosen.shape == (len(self),) if chosen.dtype == bool else chosen.dtype.kind in "iu"
        if chosen.ndim != 1 or not (right and chosen.size):
            raise DataError(
                "a subset is chosen by sample numbers or by a mask",
                expected=f"integers of shape (n,), n ≥ 1, or booleans of shape ({len(self)},)",
                got=f"{chosen.dtype}{list(chosen.shape)}",
                where=str(here()),
            )
        if chosen.dtype != bool:
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
        """The set with ``function`` applied to every input array.

        Raises:
            DataError: ``function`` changes the number of samples.
        """
        return self._like(tuple(function(x) for x in self._inputs))

    def check_finite(self) -> None:
        """Raise DataError naming the first NaN or infinity in inputs, targets or weights."""
        for position, x in enumerate(self.arrays):
            if x.dtype.kind not in "fcV":  # V: bfloat16 and its like
                continue
            bad = ~np.isfinite(x)
            if bad.any():
                place = tuple(int(i) for i in np.argwhere(bad)[0])
                others = ("targets", "weights")
                after = position - len(self._inputs)
                column = f", column {list(place[1:])}" if place[1:] else ""
                raise DataError(
                    f"the {'inputs' if after < 0 else others[after]} hold {int(bad.sum())} "
                    "numbers that are not finite",
                    expected="finite numbers",
                    got=f"{x[place]} in row {place[0]}{column}",
                    fix="drop those rows, or fill them, for example with the column's mean",
                    where=str(here()),
                )

    def __repr__(self) -> str:
        shapes = ", ".join(f"{x.dtype}{list(x.shape)}" for x in self.arrays)
        return f"ArrayDataset({self.name + ': ' if self.name else ''}{shapes})"


class DatasetView:
    """A data set that is trained on in a way of its own; what it holds is as it was given.

    Attributes:
        dataset: The data set behind it.
    """

    dataset: ArrayDataset

    @property
    def inputs(self) -> np.ndarray:
        """The inputs as they were given."""
        inputs: np.ndarray = self.dataset.inputs
        return inputs

    @property
    def targets(self) -> np.ndarray:
        """The targets as they were given."""
        return self.dataset.targets

    @property
    def weights(self) -> np.ndarray | None:
        """The sample weights, if there are any."""
        return self.dataset.weights

    @property
    def class_names(self) -> list[str] | None:
        """Names of the classes, if they are known."""
        return self.dataset.class_names

    def __len__(self) -> int:
        return len(self.dataset)


def _as_array(given: Any, role: str) -> np.ndarray:
    try:
        array = np.asarray(given)
    except ValueError as error:  # rows of different lengths
        raise DataError(
            f"the {role} are no array", expected="rows of one length", got=f"{error}",
            where=str(here()),
        ) from None  # fmt: skip
    if array.dtype == object:
        odd = next((x for x in array.ravel() if not isinstance(x, int | float)), None)
        raise DataError(
            f"the {role} mix kinds of values",
            expected="numbers only, or texts only",
            got=f"an array of Python objects, such as {odd!r}",
            fix="give numbers for texts and for what is missing, column by column",
            where=str(here()),
        )
    return array


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
