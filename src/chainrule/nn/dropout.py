"""Dropout of units and of whole channels: noise that keeps them from relying on one another."""

from __future__ import annotations

from typing import Any

from chainrule import ops, random
from chainrule.array import Array
from chainrule.nn.calls import at_work
from chainrule.nn.checks import in_range, spatial_input
from chainrule.nn.functional.activations import SELU_ALPHA, SELU_SCALE
from chainrule.nn.module import Module


class _Drop(Module):
    """The probability, its check, and the draw."""

    traced_scalars = ("p",)

    p: Any

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "p" and not isinstance(value, Array):
            value = in_range(value, 0.0, 1.0, f"{type(self).__name__}: p", open_high=True)
        super().__setattr__(name, value)

    def _kept(self, shape: tuple[int, ...]) -> Array:
        """True with probability 1 − p."""
        return random.bernoulli(random.layer_key(), 1.0 - self.p, shape)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"


class Dropout(_Drop):
    """Zero each element with probability p while training; scale the rest by 1/(1 − p).

    The scaling keeps the mean, so that evaluation, where nothing is dropped, needs none. Draws come
    from the ambient random state by the layer's path. ``p`` may be changed without compiling again.

    Args:
        p: Probability of dropping, in [0, 1).

    Shape: any → the same.

    Raises:
        ArgumentError: p is outside [0, 1).

    Reference: Srivastava et al., "Dropout: a simple way to prevent neural networks from
    overfitting", 2014, section 4 (the scaling: section 10).

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Dropout(0.5).eval()(cr.ones(3))
    Array([1., 1., 1.], float32)
    """

    def forward(self, x: Any) -> Array:
        """Shape: any → the same."""
        value: Array = ops.as_value(x)
        if not self.training:
            return value
        return ops.where(self._kept(value.shape), value / (1.0 - self.p), 0.0)

    def draw(self) -> tuple[Array, Any] | None:
        """The random key of a call and the probability, for what is dropped and never stored.

        Returns:
            None where nothing is dropped: outside of training.
        """
        if not self.training:
            return None
        with at_work(self):
            return random.layer_key(), self.p


class _ChannelDropout(_Drop):
    n_axes: int  # spatial axes; given by the class

    def forward(self, x: Any) -> Array:
        """Shape: (batch, channels, *spatial) → the same."""
        value = spatial_input(ops.as_value(x), self.n_axes, None, repr(self))
        if not self.training:
            return value
        kept = self._kept((*value.shape[:2], *(1,) * self.n_axes))
        return ops.where(kept, value / (1.0 - self.p), 0.0)


class Dropout1d(_ChannelDropout):
    """Zero whole channels of signals with probability p while training; see ``Dropout2d``.

    Shape: (batch, channels, length) → the same.
    """

    n_axes = 1


class Dropout2d(_ChannelDropout):
    """Zero whole channels of pictures with probability p while training; scale the rest.

    Neighbouring places of a channel say nearly the same: what is dropped singly is still there.

    Args:
        p: Probability of dropping a channel of a sample, in [0, 1).

    Shape: (batch, channels, height, width) → the same.

    Raises:
        ArgumentError: p is outside [0, 1).

    Reference: Tompson et al. 2015, "Efficient object localization using convolutional networks",
    section 3.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.Dropout2d(0.5).eval()(cr.ones((1, 2, 1, 1))).tolist()
    [[[[1.0]], [[1.0]]]]
    """

    n_axes = 2


class Dropout3d(_ChannelDropout):
    """Zero whole channels of volumes with probability p while training; see ``Dropout2d``.

    Shape: (batch, channels, depth, height, width) → the same.
    """

    n_axes = 3


class AlphaDropout(_Drop):
    """Dropout for ``SELU``: dropped units take its lowest value, and mean and variance stay.

    Args:
        p: Probability of dropping, in [0, 1).

    Shape: any → the same.

    Raises:
        ArgumentError: p is outside [0, 1).

    Reference: Klambauer et al. 2017, "Self-normalizing neural networks", section 3.
    """

    def forward(self, x: Any) -> Array:
        """Shape: any → the same."""
        value: Array = ops.as_value(x)
        if not self.training:
            return value
        lowest = -SELU_SCALE * SELU_ALPHA
        keep = 1.0 - self.p
        # a u + b has mean 0 and variance 1 where u is the input or, dropped, the lowest value
        a = (keep * (1.0 + self.p * (lowest * lowest))) ** -0.5
        b = -(a * (self.p * lowest))
        return ops.where(self._kept(value.shape), value, lowest) * a + b
