"""Pooling's inside: where windows and bins lie, and what is computed of each.

Reading windows is movement; the rest is a reduction over their axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.checks import per_axis_setting
from chainrule.nn.functional.convolution import Padding, PerAxis
from chainrule.ops.convolution import resolve_padding
from chainrule.ops.kernels.geometry import spread_size
from chainrule.ops.origin import here


@dataclass(frozen=True)
class Windows:
    """Where windows lie.

    Args:
        size: Elements along each axis.
        stride: Step between windows.
        dilation: Distance between elements of a window.
        padding: Places before and behind each axis, as they were asked for.
        surplus: Places added behind, so that the last windows of ``ceil_mode`` fit.
    """

    size: tuple[int, ...]
    stride: tuple[int, ...]
    dilation: tuple[int, ...]
    padding: tuple[tuple[int, int], ...]
    surplus: tuple[int, ...]

    @property
    def reach(self) -> tuple[tuple[int, int], ...]:
        """All places before and behind."""
        pairs = zip(self.padding, self.surplus, strict=True)
        return tuple((low, high + more) for (low, high), more in pairs)

    def counts(self, spatial: Sequence[int], padding_counts: bool) -> np.ndarray:
        """How many elements each window has; places beyond the padding never count."""
        result = np.ones((), np.int64)
        axes = zip(spatial, self.size, self.stride, self.padding, self.surplus, strict=True)
        for n, size, stride, (low, high), more in axes:
            starts = np.arange(0, n + low + high + more - size + 1, stride) - low
            first, last = (-low, n + high) if padding_counts else (0, n)
            inside = np.minimum(starts + size, last) - np.maximum(starts, first)
            result = result[..., None] * inside
        return result


def lay_windows(
    name: str,
    spatial: Sequence[int],
    kernel_size: PerAxis,
    stride: PerAxis | None,
    padding: Padding,
    dilation: PerAxis,
    ceil_mode: bool,
) -> Windows:
    """Check the settings of a pooling and say where its windows lie."""
    n = len(spatial)
    size = per_axis_setting(kernel_size, n, f"{name}: kernel_size")
    step = size if stride is None else per_axis_setting(stride, n, f"{name}: stride")
    apart = per_axis_setting(dilation, n, f"{name}: dilation")
    pairs = resolve_padding(padding, tuple(spatial), size, step, apart)
    extents = [spread_size(k, d) for k, d in zip(size, apart, strict=True)]
    if any(
        not 0 <= p <= extent // 2 for pair, extent in zip(pairs, extents, strict=True) for p in pair
    ):
        raise ArgumentError(
            f"{name}: padding must be at most half the kernel, or windows would see nothing else",
            expected=f"0 to {tuple(extent // 2 for extent in extents)}",
            got=str(padding),
            where=str(here()),
        )
    surplus = [0] * n
    if ceil_mode:
        axes = zip(spatial, extents, step, pairs, strict=True)
        surplus = [_surplus(m, extent, s, low, high) for m, extent, s, (low, high) in axes]
    return Windows(size, step, apart, pairs, tuple(surplus))


def _surplus(n: int, extent: int, stride: int, low: int, high: int) -> int:
    """Places that a last window needs behind; it must begin before the padding behind."""
    room = n + low + high - extent
    last = -(-room // stride)
    if last * stride >= n + low:
        last -= 1
    return max(0, last * stride - room)


def max_over_windows(x: Array, windows: Windows) -> Array:
    """The largest element of each window; padding never wins, the first of equals does."""
    return ops.max_pool(
        x, windows.size, stride=windows.stride, padding=windows.reach, dilation=windows.dilation
    )


def mean_over_windows(
    x: Array, windows: Windows, padding_counts: bool = True, divisor: int | None = None
) -> Array:
    """The sum of each window divided by how many elements it has, or by ``divisor``."""
    n = len(windows.size)
    seen = ops.sliding_windows(x, windows.size, stride=windows.stride, padding=windows.reach)
    total: Array = ops.sum(seen, axis=tuple(range(x.ndim, x.ndim + n)))
    if divisor is not None:
        return total * (1.0 / divisor)
    counts = windows.counts(x.shape[x.ndim - n :], padding_counts)
    if not counts.size or (counts == counts.flat[0]).all():
        return total * (1.0 / int(counts.flat[0]) if counts.size else 1.0)
    return total * (1.0 / counts).astype(x.dtype)


def norm_over_windows(x: Array, windows: Windows, p: float) -> Array:
    """(Σ |x|^p)^(1/p) of each window; a window that is cut short counts as a whole one."""
    if not p >= 1 or math.isinf(p):
        raise ArgumentError(
            "the norm that is taken of a window is not defined",
            expected="norm_type, a finite number of at least 1",
            got=repr(p),
            fix="for the largest element use max pooling",
            where=str(here()),
        )
    powers = ops.abs(x) if p == 1 else x * x if p == 2 else ops.abs(x) ** float(p)
    total = mean_over_windows(powers, windows) * float(math.prod(windows.size))
    if p == 1:
        return total
    # where all is 0 the root would have an infinite derivative; the norm's is taken as 0
    positive = total > 0
    return ops.where(positive, ops.where(positive, total, 1.0) ** (1.0 / p), 0.0)


# --- bins of equal number -------------------------------------------------------------------------

Sizes: TypeAlias = int | Sequence[int | None] | None


def bins(name: str, spatial: Sequence[int], output_size: Sizes) -> tuple[int, ...]:
    """How many bins each axis is cut into; None keeps the axis as it is."""
    if 0 in spatial:
        raise ShapeError(
            f"{name}: there is nothing to pool",
            expected="at least one element along each spatial axis",
            got=str(tuple(spatial)),
            where=str(here()),
        )
    n = len(spatial)
    given = list(output_size) if isinstance(output_size, list | tuple) else [output_size] * n
    filled = [
        size if wanted is None else wanted for wanted, size in zip(given, spatial, strict=False)
    ]
    return per_axis_setting(filled if len(given) == n else given, n, f"{name}: output_size")


def _edges(size: int, count: int) -> list[tuple[int, int]]:
    """Bin i holds ⌊i n / m⌋ to ⌈(i + 1) n / m⌉: bins may share an element."""
    return [(i * size // count, -(-(i + 1) * size // count)) for i in range(count)]


def mean_over_bins(x: Array, counts: Sequence[int]) -> Array:
    """The mean of each bin; axis by axis, bins being products of intervals."""
    first = x.ndim - len(counts)
    if all(n % count == 0 for n, count in zip(x.shape[first:], counts, strict=True)):
        split, inner = _split(x, counts)
        return ops.mean(split, axis=inner)
    for axis, count in enumerate(counts, start=first):
        size = x.shape[axis]
        if size == count:
            continue
        weights = np.zeros((count, size), np.float64)
        for row, (low, high) in enumerate(_edges(size, count)):
            weights[row, low:high] = 1.0 / (high - low)
        product = ops.tensordot(x, weights.astype(x.dtype), axes=((axis,), (1,)))
        x = ops.moveaxis(product, -1, axis)
    return x


def max_over_bins(x: Array, counts: Sequence[int]) -> Array:
    """The largest element of each bin, the first of equals."""
    first = x.ndim - len(counts)
    if all(n % count == 0 for n, count in zip(x.shape[first:], counts, strict=True)):
        split, inner = _split(x, counts)
        return ops.max(split, axis=inner)
    for axis in reversed(range(first, x.ndim)):  # the last axis first: the first of equals stays
        size, count = x.shape[axis], counts[axis - first]
        if size == count:
            continue
        edges = _edges(size, count)
        longest = max(high - low for low, high in edges)
        # short bins see their last element again, which never wins against itself
        places = [[min(low + i, high - 1) for i in range(longest)] for low, high in edges]
        seen = ops.take(x, np.asarray(places).reshape(-1), axis=axis)
        shape = (*x.shape[:axis], count, longest, *x.shape[axis + 1 :])
        x = ops.max(seen.reshape(shape), axis=axis + 1)
    return x


def _split(x: Array, counts: Sequence[int]) -> tuple[Array, tuple[int, ...]]:
    """Each axis as (bins, elements), and where the elements lie."""
    first = x.ndim - len(counts)
    pairs = [(c, n // c) for n, c in zip(x.shape[first:], counts, strict=True)]
    shape = (*x.shape[:first], *(part for pair in pairs for part in pair))
    return x.reshape(shape), tuple(first + 1 + 2 * i for i in range(len(counts)))
