"""Checks that layers share: inputs of their type and size, settings in their range."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError
from chainrule.ops import dtypes
from chainrule.ops.origin import here


def floating_input(x: Any, like: Array, layer: Any) -> Array:
    """The input of a layer as an Array of the type of its parameter ``like``.

    Integers and bools (pixels, counts) are cast; another floating type is refused.

    Args:
        x: Array, NumPy array, list or number.
        like: The parameter that the input meets.
        layer: Named in the message.

    Raises:
        DtypeError: ``x`` is of another floating type than ``like``.
    """
    value: Array = ops.as_value(x)
    if value.dtype == like.dtype:
        return value
    if value.weak or not dtypes.is_floating(value.dtype):
        return ops.astype(value, like.dtype)
    raise DtypeError(
        f"{layer!r} computes in {like.dtype} but its input is {value.dtype}",
        expected=str(like.dtype),
        got=str(value.dtype),
        fix=f"x.astype({str(like.dtype)!r}) on the data, or model.astype({str(value.dtype)!r})",
        where=str(here()),
    )


def positive_integer(value: Any, what: str) -> int:
    """``value`` as an int, or ArgumentError if it is no integer of at least 1.

    Args:
        value: What was given.
        what: Layer and setting, as the message names it: ``"Linear: in_features"``.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < 1:
        raise ArgumentError(
            f"{what} must be a positive integer",
            expected="an integer of at least 1",
            got=repr(value),
            where=str(here()),
        )
    return int(value)


def in_range(value: Any, low: float, high: float, what: str, *, open_high: bool = False) -> float:
    """``value`` as a float, or ArgumentError if it lies outside [low, high].

    Args:
        value: What was given.
        low: Smallest valid number.
        high: Largest valid number.
        what: Layer and setting, as the message names it: ``"Dropout: p"``.
        open_high: ``high`` itself is not valid.
    """
    valid = isinstance(value, int | float | np.floating) and not isinstance(value, bool)
    if not valid or not low <= value <= high or (open_high and value == high):
        raise ArgumentError(
            f"{what} is out of its range",
            expected=f"a number in [{low:g}, {high:g}{')' if open_high else ']'}",
            got=repr(value),
            where=str(here()),
        )
    return float(value)
