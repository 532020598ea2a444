"""Batch and instance normalisation: channels with mean 0 and variance 1, and running statistics."""

from __future__ import annotations

from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.nn import functional, init
from chainrule.nn.checks import (
    floating_input,
    in_range,
    positive_integer,
    positive_number,
    spatial_input,
)
from chainrule.nn.functional.normalization import floating
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.ops.spelling import answers_spelling


class _ChannelNorm(Module):
    """A scale and a shift for each channel, and running statistics of them."""

    weight: Array | None
    bias: Array | None
    running_mean: Array | None
    running_var: Array | None
    num_batches_tracked: Array | None

    def _set(
        self,
        num_features: int,
        epsilon: float,
        momentum: float | None,
        affine: bool,
        track_running_stats: bool,
        dtype: Any,
        bias: bool,
    ) -> None:
        name = type(self).__name__
        self.num_features = positive_integer(num_features, f"{name}: num_features")
        self.epsilon = positive_number(epsilon, f"{name}: epsilon")
        self.momentum = (
            None if momentum is None else in_range(momentum, 0.0, 1.0, f"{name}: momentum")
        )
        self.affine = bool(affine)
        self.track_running_stats = bool(track_running_stats)
        n = self.num_features
        self.weight = self.bias = None
        if affine:
            self.weight = Parameter(init.ones(n, dtype=dtype))
        if affine and bias:
            self.bias = Parameter(init.zeros(n, dtype=dtype))
        self.running_mean = self.running_var = self.num_batches_tracked = None
        if track_running_stats:
            self.running_mean = ops.zeros(n, dtype=dtype)
            self.running_var = ops.ones(n, dtype=dtype)
            self.num_batches_tracked = ops.zeros((), dtype=dtypes.int64)

    def _typed(self, x: Any) -> Array:
        like = self.weight if self.weight is not None else self.running_mean
        return floating(x) if like is None else floating_input(x, like, self)

    def _track(self, mean: Array, variance: Array) -> None:
        """Move the running statistics towards those of this batch: an effect of the call."""
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked = self.num_batches_tracked + 1
        rate: Any = self.momentum
        if rate is None:  # the mean of all batches so far
            rate = 1.0 / ops.astype(self.num_batches_tracked, self.running_mean.dtype)
        self.running_mean = self._moved(self.running_mean, mean, rate)
        self.running_var = self._moved(self.running_var, variance, rate)

    @staticmethod
    def _moved(running: Array, now: Array, rate: Any) -> Array:
        target = ops.astype(ops.stop_gradient(now), running.dtype)
        return running * (1.0 - rate) + target * rate

    def extra_repr(self) -> str:
        """Channels and settings."""
        return (
            f"{self.num_features}, epsilon={self.epsilon:g}, momentum={self.momentum}, "
            f"affine={self.affine}, track_running_stats={self.track_running_stats}"
        )


def _statistics(x: Array, axes: tuple[int, ...], count: int) -> tuple[Array, Array]:
    """Mean, and variance divided by n − 1: what is expected of the samples to come."""
    wide = ops.astype(x, dtypes.float32) if x.dtype.itemsize < 4 else x
    return (
        ops.mean(wide, axis=axes),
        ops.var(wide, axis=axes, correction=1 if count > 1 else 0),
    )


class _BatchNorm(_ChannelNorm):
    ranks: tuple[int, ...]  # of the inputs; given by the class

    @answers_spelling
    def __init__(
        self,
        num_features: int,
        epsilon: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = dtypes.float32,
        *,
        bias: bool = True,
    ) -> None:
        self._set(num_features, epsilon, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, num_features, *spatial) → the same."""
        value = self._typed(x)
        rank = value.ndim if value.ndim in self.ranks else self.ranks[-1]
        spatial_input(value, rank - 2, self.num_features, repr(self))
        if not self.training and self.running_mean is not None:
            return functional.batch_norm(
                value, self.running_mean, self.running_var, self.weight, self.bias,
                epsilon=self.epsilon,
            )  # fmt: skip
        count = value.size // self.num_features
        if self.training and count == 1:
            raise ShapeError(
                f"{self!r} can not learn from one number a channel: it would always become 0",
                expected="several samples or places in a batch",
                got=str(value.shape),
                fix="a larger batch (drop the last, partial one), or model.eval()",
                where=str(here()),
            )
        if self.training and count:
            self._track(*_statistics(value, (0, *range(2, value.ndim)), count))
        return functional.batch_norm(
            value, weight=self.weight, bias=self.bias, epsilon=self.epsilon
        )


class BatchNorm1d(_BatchNorm):
    """Batch normalisation of units, or of channels along one axis; arguments as ``BatchNorm2d``.

    Shape: input (batch, num_features) or (batch, num_features, length) → the same.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.BatchNorm1d(1)(cr.asarray([[1.0], [3.0]])).tolist()
    [[-0.9999949932098389], [0.9999949932098389]]
    """

    ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    """Give each channel mean 0 and variance 1 over the batch, then scale and shift: ŷ w + b.

    In training the statistics are those of the batch, and running ones move towards them by
    ``momentum``; in evaluation the running ones are used, so that a sample's output does not depend
    on the others. The running variance is divided by n − 1, as in PyTorch.

    Args:
        num_features: Channels, at least 1.
        epsilon: Added to the variance, > 0.
        momentum: Share of the newest batch in the running statistics, in [0, 1]; None: the mean of
            all batches so far.
        affine: Learn w and b; they begin as 1 and 0.
        track_running_stats: Keep running statistics; else every batch's own are used, in evaluation
            too.
        dtype: Floating type of the state.
        bias: False: learn no shift.

    Attributes: ``weight`` and ``bias`` (num_features,) or None; buffers ``running_mean``,
    ``running_var`` (num_features,) and ``num_batches_tracked``, or None.

    Shape: input (batch, num_features, height, width) → the same. An empty batch changes nothing.

    Raises:
        ShapeError: Another number of axes or channels, or one number a channel in training.

    Reference: Ioffe and Szegedy 2015, "Batch normalization: accelerating deep network training by
    reducing internal covariate shift", algorithms 1 and 2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.BatchNorm2d(3)
    >>> layer(cr.ones((5, 3, 4, 4))).shape, layer.num_batches_tracked.item()
    ((5, 3, 4, 4), 1)
    """

    ranks = (4,)


class BatchNorm3d(_BatchNorm):
    """Batch normalisation of volumes; arguments as ``BatchNorm2d``.

    Shape: input (batch, num_features, depth, height, width) → the same.
    """

    ranks = (5,)


class _InstanceNorm(_ChannelNorm):
    n_axes: int  # spatial axes; given by the class

    @answers_spelling
    def __init__(
        self,
        num_features: int,
        epsilon: float = 1e-5,
        momentum: float = 0.1,
        affine: bool = False,
        track_running_stats: bool = False,
        dtype: Any = dtypes.float32,
        *,
        bias: bool = True,
    ) -> None:
        self._set(num_features, epsilon, momentum, affine, track_running_stats, dtype, bias)

    def forward(self, x: Any) -> Array:
        """Shape: (batch, num_features, *spatial) → the same."""
        value = spatial_input(self._typed(x), self.n_axes, self.num_features, repr(self))
        if not self.training and self.running_mean is not None:
            return functional.batch_norm(
                value, self.running_mean, self.running_var, self.weight, self.bias,
                epsilon=self.epsilon,
            )  # fmt: skip
        places = value.size // (value.shape[0] * self.num_features) if value.size else 0
        if self.training and places == 1:
            raise ShapeError(
                f"{self!r} can not learn from one place a channel: it would always become 0",
                expected="several places in each sample",
                got=str(value.shape),
                fix="a larger picture, or a norm over channels: nn.GroupNorm",
                where=str(here()),
            )
        if self.training and value.size:
            found = _statistics(value, tuple(range(2, value.ndim)), places)
            self._track(*(ops.mean(each, axis=0) for each in found))
        return functional.instance_norm(value, self.weight, self.bias, epsilon=self.epsilon)


class InstanceNorm1d(_InstanceNorm):
    """Instance normalisation of signals; arguments as ``InstanceNorm2d``.

    Shape: input (batch, num_features, length) → the same.
    """

    n_axes = 1


class InstanceNorm2d(_InstanceNorm):
    """Give each channel of each sample mean 0 and variance 1 over its places.

    Args:
        num_features: Channels, at least 1.
        epsilon: Added to the variance, > 0.
        momentum: Share of the newest batch in the running statistics, in [0, 1].
        affine: Learn a scale and a shift for each channel; they begin as 1 and 0.
        track_running_stats: Keep running statistics of the batch and use them in evaluation.
        dtype: Floating type of the state.
        bias: False: learn no shift.

    Attributes: as ``BatchNorm2d``; None but where asked for.

    Shape: input (batch, num_features, height, width) → the same.

    Raises:
        ShapeError: Another number of axes or channels, or one place a channel in training.

    Reference: Ulyanov, Vedaldi and Lempitsky 2016, "Instance normalization: the missing ingredient
    for fast stylization".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.InstanceNorm2d(3)(cr.ones((1, 3, 4, 4))).shape
    (1, 3, 4, 4)
    """

    n_axes = 2


class InstanceNorm3d(_InstanceNorm):
    """Instance normalisation of volumes; arguments as ``InstanceNorm2d``.

    Shape: input (batch, num_features, depth, height, width) → the same.
    """

    n_axes = 3
