"""The doors of training: data is checked here, and mistakes are answered before the first step."""

from __future__ import annotations

import logging
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from chainrule.array import Array
from chainrule.data import epoch_order
from chainrule.data.augmentation import Augmentation
from chainrule.data.text.bucketed import Buckets
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here
from chainrule.training.steps import epoch_chunks

logger = logging.getLogger("chainrule.training")

#: memory of the rows that are copied at once where a data set is a view with gaps
COPIED_BYTES = 64 << 20

_noticed: set[str] = set()


@dataclass(frozen=True)
class Samples:
    """Data as training takes it: ndarrays of one length.

    Args:
        inputs: What the model is called with, one array an argument.
        targets: What it should return.
        weights: One number ≥ 0 a sample; None: all 1.
        role: ``"training"`` or ``"validation"``, for messages.
        class_names: Names of the classes, where the data set knows them.
        augmentation: How training changes the inputs, anew in each epoch; None: not at all.
        dtype: The model's floating type, which augmented samples are cast to; None: as they are.
        buckets: The lengths of texts that training takes in batches of like length; None: rows are
            trained on as long as they are.
    """

    inputs: tuple[np.ndarray, ...]
    targets: np.ndarray
    weights: np.ndarray | None = None
    role: str = "training"
    class_names: tuple[str, ...] | None = None
    augmentation: Augmentation | None = None
    dtype: np.dtype[Any] | None = None
    buckets: Buckets | None = None

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Inputs, targets and, if there are any, weights."""
        extra = () if self.weights is None else (self.weights,)
        return (*self.inputs, self.targets, *extra)

    @property
    def named(self) -> list[tuple[str, np.ndarray]]:
        """The arrays with the words that messages use for them."""
        names = ["inputs"] * len(self.inputs) + ["targets", "sample weights"]
        return list(zip(names, self.arrays, strict=False))

    def rows(self, chosen: Any) -> Samples:
        """Some of the samples."""
        weights = None if self.weights is None else self.weights[chosen]
        inputs = tuple(x[chosen] for x in self.inputs)
        buckets = None if self.buckets is None else self.buckets.of(chosen)
        return replace(
            self, inputs=inputs, targets=self.targets[chosen], weights=weights, buckets=buckets
        )

    def cut(self, width: int | None) -> Samples:
        """The samples with rows of this many tokens; None: as long as they are."""
        if width is None:
            return self
        return replace(self, inputs=tuple(x[:, :width] for x in self.inputs))

    def epoch_parts(
        self, batch_size: int, seed: int, epoch: int
    ) -> list[tuple[int | None, np.ndarray]]:
        """An epoch's steps in stretches of one shape: width for ``cut``, and (steps, batch).

        Args:
            batch_size: Samples a step.
            seed: The run's.
            epoch: Number of the epoch, from 0.
        """
        if self.buckets is not None:
            return list(self.buckets.runs(batch_size, seed, epoch))
        n = len(self)
        return [(None, rows) for rows in epoch_chunks(n, batch_size, epoch_order(n, seed, epoch))]

    def taken(self, rows: np.ndarray) -> tuple[Sequence[np.ndarray], np.ndarray]:
        """Arrays for some steps, and which of their rows each step takes.

        Machine code reads rows without gaps where they lie. Overlapping windows and other views
        are copied, and only what these steps need: copied whole, windows of a text of a gigabyte
        would take a hundred.

        Args:
            rows: Sample numbers, (n_steps, batch_size).
        """
        if all(x.flags.c_contiguous for x in self.arrays):
            return self.arrays, rows
        flat = rows.reshape(-1)
        return [x[flat] for x in self.arrays], np.arange(len(flat)).reshape(rows.shape)

    def stretches(self, rows: np.ndarray) -> Iterator[tuple[Sequence[np.ndarray], np.ndarray]]:
        """What ``taken`` gives, in as many pieces as keep the copies small.

        Args:
            rows: Sample numbers, (n_steps, batch_size).
        """
        n_bytes = rows.shape[1] * sum(x[:1].nbytes for x in self.arrays)
        n_steps = max(1, COPIED_BYTES // max(1, n_bytes))
        if all(x.flags.c_contiguous for x in self.arrays):
            n_steps = len(rows)
        for start in range(0, len(rows), n_steps):
            yield self.taken(rows[start : start + n_steps])

    def batch(self, indices: np.ndarray, epoch: int, seed: int) -> tuple[np.ndarray, ...]:
        """The arrays of some samples as training sees them in an epoch.

        Args:
            indices: Sample numbers, (n,).
            epoch: Number of the epoch, from 0.
            seed: The run's.
        """
        if self.augmentation is None:
            return tuple(x[indices] for x in self.arrays)
        made = self.augmentation.batch(self.arrays, indices, epoch, seed)
        return tuple(cast_floats(x, self.dtype) for x in made)

    def first(self, n: int) -> Samples:
        """The first ``n`` samples (or all), as training sees them, no longer to be augmented."""
        if self.augmentation is None:
            return self.rows(slice(0, n))
        images, targets, *weights = self.batch(np.arange(min(n, len(self))), 0, 0)
        return replace(
            self,
            inputs=(images,),
            targets=targets,
            weights=weights[0] if weights else None,
            augmentation=None,
        )

    def settled(self) -> Samples:
        """The samples as measuring sees them: what is random is left out."""
        if self.augmentation is None:
            return self if self.buckets is None else replace(self, buckets=None)
        inputs = tuple(cast_floats(self.augmentation.settle(x), self.dtype) for x in self.inputs)
        return replace(self, inputs=inputs, augmentation=None)


def as_samples(data: Any, role: str) -> Samples:
    """Take in data of any accepted form.

    Args:
        data: A tuple ``(inputs, targets)`` or ``(inputs, targets, weights)``, or a data set with
            attributes ``inputs``, ``targets`` and perhaps ``weights``; ``inputs`` may be a tuple
            for a model with several arguments. A ``data.Augmented`` one is changed at random
            where it is trained on, a ``data.Bucketed`` one is cut to batches of like length.
        role: ``"training"``, ``"validation"``, ..., for messages.

    Raises:
        DataError: The data has another form, is empty, or its arrays differ in length.
    """
    if isinstance(data, Samples):
        return data
    if hasattr(data, "inputs") and hasattr(data, "targets"):
        inputs, targets, weights = data.inputs, data.targets, getattr(data, "weights", None)
    elif isinstance(data, tuple | list) and len(data) in (2, 3):
        inputs, targets, weights = (*data, None)[:3]
    else:
        raise DataError(
            f"the {role} data has no form that can be learned from",
            expected="(inputs, targets), (inputs, targets, weights) or a data set",
            got=type(data).__name__
            + (f" of {len(data)}" if isinstance(data, tuple | list) else ""),
            fix="inputs and targets go together in parentheses: fit((inputs, targets))"
            if isinstance(data, np.ndarray | Array)
            else "",
            where=str(here()),
        )
    names = getattr(data, "class_names", None)
    samples = Samples(
        inputs=as_inputs(inputs, role),
        targets=_as_array(targets, f"{role} targets"),
        weights=None if weights is None else _as_array(weights, f"{role} sample weights"),
        role=role,
        class_names=None if names is None else tuple(map(str, names)),
        augmentation=getattr(data, "augmentation", None),
        buckets=getattr(data, "buckets", None),
    )
    _check_lengths(samples)
    return samples


def as_inputs(inputs: Any, role: str) -> tuple[np.ndarray, ...]:
    """Inputs as a tuple of ndarrays, one an argument of the model."""
    parts = inputs if isinstance(inputs, tuple) else (inputs,)
    return tuple(_as_array(x, f"{role} inputs") for x in parts)


def _check_lengths(samples: Samples) -> None:
    if len({len(x) for x in samples.arrays}) != 1:
        raise DataError(
            f"the {samples.role} data differs in length",
            expected="one target for each input",
            got=", ".join(f"{len(x)} {name}" for name, x in samples.named),
            fix="split or filter inputs and targets together: data.holdout((inputs, targets), 0.2)",
            where=str(here()),
        )
    if not len(samples):
        raise DataError(
            f"the {samples.role} data is empty",
            expected="at least one sample",
            got=f"inputs of shape {samples.inputs[0].shape}",
            fix="look at what the split or filter before it left over",
            where=str(here()),
        )


def _as_array(x: Any, what: str) -> np.ndarray:
    array = x.numpy() if isinstance(x, Array) else np.asarray(x)
    if array.dtype.kind not in "biufV":
        raise DataError(
            f"the {what} are no numbers",
            expected="integers or floating numbers",
            got=f"{array.dtype}, such as {array.ravel()[0]!r}" if array.size else str(array.dtype),
            fix="give texts numbers first: classes, labels = np.unique(names, return_inverse=True)",
            where=str(here()),
        )
    if not array.ndim:
        raise DataError(
            f"the {what} are a single number", expected="samples in front", where=str(here())
        )
    return array


def check_finite(samples: Samples) -> None:
    """Refuse NaN and infinity, naming the first row and column.

    Raises:
        DataError: There is one.
    """
    for name, array in samples.named:
        # integers are finite; a sum is not finite if any entry is not, and cheap to look at
        if array.dtype.kind != "f" or np.isfinite(array.sum(dtype=np.float64)):
            continue
        bad = ~np.isfinite(array)
        if not bad.any():
            continue
        place = tuple(int(i) for i in np.argwhere(bad)[0])
        column = f", column {', '.join(map(str, place[1:]))}" if place[1:] else ""
        raise DataError(
            f"the {samples.role} {name} hold {array[place]} in row {place[0]}{column}",
            expected="finite numbers",
            got=f"{int(bad.sum())} of {array.size} entries are not finite, "
            f"in {len(np.unique(np.argwhere(bad)[:, 0]))} rows",
            fix="drop those rows, or fill the gaps (by the column's median, say) before training",
            where=str(here()),
        )


def to_model_dtype(samples: Samples, dtype: np.dtype[Any]) -> Samples:
    """Cast floating arrays to the model's type; the first cast of all is noticed in the log."""
    return replace(
        samples,
        inputs=tuple(cast_floats(x, dtype) for x in samples.inputs),
        targets=cast_floats(samples.targets, dtype),
        weights=None if samples.weights is None else samples.weights.astype(dtype),
        dtype=dtype,
    )


def cast_floats(array: np.ndarray, dtype: np.dtype[Any] | None) -> np.ndarray:
    """The array in the model's type, if it is floating and that is known."""
    if array.dtype.kind != "f" or dtype is None or array.dtype == dtype:
        return array
    if array.dtype == np.float64 and "float64" not in _noticed:
        _noticed.add("float64")
        logger.warning("float64 data is taken as %s, the model's type", dtype)
    return array.astype(dtype)


def with_class_weights(samples: Samples, class_weight: Any) -> Samples:
    """Fold class weights into the sample weights.

    Args:
        samples: Targets are class numbers (n,).
        class_weight: None; ``"balanced"``: each class counts alike; a sequence with one weight a
            class; or a mapping from class to weight, 1 for those it leaves out.

    Raises:
        ArgumentError: Another form; or a class without a weight.
        DataError: The targets are no class numbers.
    """
    if class_weight is None:
        return samples
    labels = samples.targets
    if labels.dtype.kind not in "iub" or labels.size != len(labels):
        raise DataError(
            "class weights need class numbers as targets",
            expected="integers, one a sample",
            got=f"{labels.dtype} of shape {labels.shape}",
            where=str(here()),
        )
    labels = labels.reshape(-1).astype(np.int64)
    weights = _class_weights(class_weight, labels)[labels]
    if samples.weights is not None:
        weights = weights * samples.weights.reshape(-1)
    return replace(samples, weights=weights)


def _class_weights(spec: Any, labels: np.ndarray) -> np.ndarray:
    n_classes = int(labels.max()) + 1
    if isinstance(spec, str) and spec == "balanced":
        counts = np.bincount(labels, minlength=n_classes)
        present = np.count_nonzero(counts)
        return len(labels) / (present * np.maximum(counts, 1))
    if isinstance(spec, Mapping):
        table = np.ones(max(n_classes, *(int(key) + 1 for key in spec)) if spec else n_classes)
        for key, weight in spec.items():
            table[int(key)] = weight
    elif isinstance(spec, str) or not isinstance(spec, Sequence | np.ndarray | Array):
        raise ArgumentError(
            "class_weight has no form that is known",
            expected="None, 'balanced', one weight a class, or {class: weight}",
            got=repr(spec),
            where=str(here()),
        )
    else:
        table = np.asarray(spec, dtype=np.float64)
    if len(table) < n_classes or table.min() < 0 or not np.isfinite(table).all():
        raise ArgumentError(
            "class_weight does not fit the classes",
            expected=f"a finite weight ≥ 0 for each of the classes 0 to {n_classes - 1}",
            got=f"{len(table)} weights, the smallest {table.min():g}",
            where=str(here()),
        )
    return table


def check_weights(samples: Samples) -> None:
    """Sample weights must be numbers ≥ 0, one a sample, and not all 0.

    Raises:
        DataError: They are not.
    """
    weights = samples.weights
    if weights is None:
        return
    if weights.size != len(weights) or weights.min() < 0 or not weights.any():
        raise DataError(
            f"the sample weights of the {samples.role} data are no weights",
            expected="one number ≥ 0 a sample, not all 0",
            got=f"shape {weights.shape}, from {weights.min():g} to {weights.max():g}",
            where=str(here()),
        )


def overlaps(train: Samples, validation: Samples) -> bool:
    """True if both lie in the same memory, at least in part, or hold the same samples."""
    a, b = train.inputs[0], validation.inputs[0]
    if a.shape == b.shape and np.array_equal(a, b):
        return np.array_equal(train.targets, validation.targets)
    try:
        # the annotations of NumPy know only the two named amounts of work
        return bool(np.shares_memory(a, b, max_work=10_000))  # type: ignore[arg-type]
    except np.exceptions.TooHardError:
        return False


def fingerprint(samples: Samples) -> str:
    """A short text that differs for different data: shapes, types and some of the content."""
    parts = []
    for _, array in samples.named:
        stride = max(1, len(array) // 256)
        content = np.ascontiguousarray(array[::stride][:256]).tobytes()[: 1 << 20]
        parts.append(f"{array.dtype}{list(array.shape)}:{zlib.crc32(content):08x}")
    if samples.augmentation is not None:
        parts.append(repr(samples.augmentation))
    if samples.buckets is not None:
        parts.append(f"widths {samples.buckets.widths}")
    return " ".join(parts)


def check_batch_size(batch_size: Any) -> None:
    """A batch size is None, ``"all"`` or an integer ≥ 1.

    Raises:
        ArgumentError: It is something else.
    """
    whole = isinstance(batch_size, int | np.integer) and not isinstance(batch_size, bool)
    if batch_size is None or batch_size == "all" or (whole and batch_size >= 1):
        return
    raise ArgumentError(
        "batch_size is out of range",
        expected="a whole number of samples ≥ 1, or 'all'",
        got=repr(batch_size),
        fix="32 is a good start",
        where=str(here()),
    )


def forget_notices() -> None:
    """Notice again what was noticed once (for tests)."""
    _noticed.clear()
