"""Standardisation as a layer, so that a model carries its preprocessing with it."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn.module import Module
from chainrule.ops import dtypes


class Standardize(Module):
    """Subtract ``mean`` and divide by ``scale``: buffers, saved with the model, never learned.

    Args:
        mean: In the inputs' units: a number, or an array that broadcasts against a sample.
        scale: Standard deviation, alike; every entry > 0.

    Shape: any shape and numeric type → the same shape; integers become float32.
    Raises: ArgumentError if ``scale`` is not positive.
    Reference: LeCun, Bottou, Orr, Müller 1998, "Efficient BackProp", section 4.3.

    >>> import chainrule as cr
    >>> Standardize(2.0, 4.0)(cr.asarray([2, 6]))
    Array([0., 1.], float32)
    """

    def __init__(self, mean: Any = 0.0, scale: Any = 1.0) -> None:
        if not (np.asarray(scale) > 0).all():
            raise ArgumentError(
                "Standardize: scale must be positive", expected="> 0", got=str(np.asarray(scale))
            )
        self.mean = np.asarray(mean, dtype=np.float32)
        self.scale = np.asarray(scale, dtype=np.float32)

    def forward(self, x: Array) -> Array:
        """Return ``(x − mean) / scale``."""
        if not dtypes.is_floating(x.dtype):
            x = ops.astype(x, dtypes.float32)
        return (x - self.mean) * (1.0 / self.scale)
