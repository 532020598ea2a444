"""``Dropout``: noise that keeps units from relying on one another."""

from __future__ import annotations

from typing import Any

from chainrule import ops, random
from chainrule.array import Array
from chainrule.nn.checks import in_range
from chainrule.nn.module import Module


class Dropout(Module):
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

    traced_scalars = ("p",)

    p: Any

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "p" and not isinstance(value, Array):
            value = in_range(value, 0.0, 1.0, "Dropout: p", open_high=True)
        super().__setattr__(name, value)

    def forward(self, x: Any) -> Array:
        """Shape: any → the same."""
        value: Array = ops.as_value(x)
        if not self.training:
            return value
        keep = 1.0 - self.p
        kept = random.bernoulli(random.layer_key(), keep, value.shape)
        return ops.where(kept, value / keep, 0.0)

    def extra_repr(self) -> str:
        """The probability."""
        return f"p={self.p}"
