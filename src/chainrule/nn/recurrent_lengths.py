"""Sequences of different lengths: which steps count, and an order that spares loops the others."""

from __future__ import annotations

from typing import NamedTuple

from chainrule import ops
from chainrule.array import Array
from chainrule.ops import dtypes
from chainrule.ops.composite import composite
from chainrule.ops.hooks import Value

MANY = 16  # sequences from which an order by length saves more than it costs


def _leading_rows_vjp(g: Value, y: Value, x: Value, n: Value) -> tuple[Value, None]:
    return leading_rows(g, n), None


def _reordered_vjp(
    g: Value, y: Value, x: Value, order: Value, back: Value
) -> tuple[Value, None, None]:
    return reordered(g, back, order), None, None


@composite(
    "leading_rows",
    vjp=_leading_rows_vjp,
    formula="{x}",
    derivative=("1", "0"),
)
def leading_rows(x: Value, n: Value) -> Value:
    """x itself; promises that a loop's step hands on unchanged what it carries of rows from n on.

    The compiler does not compute them, and what the step stacks may be 0 in these rows where a
    derivative reads it. So the step must also be one whose derivatives stay finite there: sums,
    products, sigmoid and tanh, as in recurrent layers, but no quotient of what it computed.

    Args:
        x: (rows, ...), of what a loop carries.
        n: Integer scalar.
    """
    return x


@composite(
    "reordered",
    vjp=_reordered_vjp,
    formula="{x}[:, {y}]",
    derivative=("1 at the places read", "0", "0"),
)
def reordered(x: Value, order: Value, back: Value) -> Value:
    """Axis 1 of x in another order; ``back`` undoes it, so that the derivative reads as well."""
    return ops.take(x, order, axis=1)


class Lengths(NamedTuple):
    """What is known of the sequences of a batch.

    Args:
        valid: True at the steps that count, (steps, batch, 1).
        active: How many sequences, the longest first, are not over at a step, (steps,).
        order: Numbers of the sequences, the longest first, (batch,).
        places: Where each lies in that order, (batch,).
    """

    valid: Array
    active: Array | None = None
    order: Array | None = None
    places: Array | None = None

    @classmethod
    def of(cls, counts: Array, steps: int) -> Lengths:
        """For the lengths of a batch, (batch,), and the number of steps."""
        batch = counts.shape[0]
        counts = ops.astype(counts, dtypes.int64)
        times = ops.arange(steps).reshape((steps, 1, 1))
        if batch < MANY:
            return cls(times < counts.reshape((1, batch, 1)))
        order = ops.argsort(counts, descending=True)
        valid = times < counts[order].reshape((1, batch, 1))
        active = ops.sum(ops.astype(valid, dtypes.int64), axis=(1, 2))
        return cls(valid, active, order, ops.argsort(order))

    def sorted(self, x: Array) -> Array:
        """The sequences, on axis 1, by length."""
        return x if self.order is None else reordered(x, self.order, self.places)

    def restored(self, x: Array) -> Array:
        """The sequences, on axis 1, in their own order."""
        return x if self.order is None else reordered(x, self.places, self.order)
