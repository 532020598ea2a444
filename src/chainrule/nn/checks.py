"""Checks that layers share: inputs of their type and size, settings in their range."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError, ShapeError
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


def positive_number(value: Any, what: str) -> float:
    """``value`` as a float, or ArgumentError if it is not above 0.

    Args:
        value: What was given.
        what: Layer and setting, as the message names it: ``"LayerNorm: epsilon"``.
    """
    number = in_range(value, 0.0, math.inf, what, open_high=True)
    if number == 0:
        raise ArgumentError(
            f"{what} must be positive", expected="> 0", got=repr(value), where=str(here())
        )
    return number


AXES = {0: "", 1: ", length", 2: ", height, width", 3: ", depth, height, width"}


def spatial_input(x: Array, n_axes: int, channels: int | None, what: str) -> Array:
    """``x``, or ShapeError if it is not (batch, channels, *spatial).

    Args:
        x: The input of a layer or function.
        n_axes: Spatial axes.
        channels: How many there must be; None: any number.
        what: Layer or function, as the message names it.
    """
    fits = x.ndim == n_axes + 2
    if fits and channels in (None, x.shape[1]):
        return x
    raise ShapeError(
        f"{what} does not fit an input of shape {x.shape}",
        expected=f"(batch, {channels or 'channels'}{AXES.get(n_axes, ', *spatial')})",
        got=str(x.shape),
        fix=_cure(x.shape, n_axes, channels),
        where=str(here()),
    )


def _cure(shape: tuple[int, ...], n_axes: int, channels: int | None) -> str:
    if len(shape) == n_axes + 2:
        if shape[-1] == channels:
            order = (0, n_axes + 1, *range(1, n_axes + 1))
            return f"channels stand behind the batch: cr.permute_dims(x, {order})"
        return f"{shape[1]} input channels, if these inputs are meant"
    if len(shape) == n_axes + 1 and channels == 1 and shape[0] != 1:
        return "one channel needs an axis too: x[:, None]"
    if len(shape) == n_axes + 1:
        return "a single sample needs a batch axis: x[None]"
    if 3 <= len(shape) <= 5:
        return (
            f"the layer for {len(shape) - 2} spatial axes is the one that ends in {len(shape) - 2}d"
        )
    return f"reshape it to {n_axes + 2} axes"


def per_axis_setting(value: Any, n_axes: int, what: str, *, least: int = 1) -> tuple[int, ...]:
    """One integer an axis, from one for all or one for each.

    Args:
        value: What was given.
        n_axes: How many are needed.
        what: Layer and setting, as the message names it: ``"Conv2d: kernel_size"``.
        least: Smallest valid integer.

    Raises:
        ArgumentError: Anything else was given.
    """
    parts = tuple(value) if isinstance(value, list | tuple) else (value,) * n_axes
    valid = all(isinstance(n, int | np.integer) and not isinstance(n, bool) for n in parts)
    if len(parts) != n_axes or not valid or any(n < least for n in parts):
        count = f", or {n_axes} of them" if n_axes > 1 else ""
        raise ArgumentError(
            f"{what} does not fit {n_axes} spatial {'axis' if n_axes == 1 else 'axes'}",
            expected=f"an integer of at least {least}{count}",
            got=repr(value),
            where=str(here()),
        )
    return tuple(int(n) for n in parts)


def one_of(value: Any, valid: tuple[str, ...], what: str) -> str:
    """``value``, or ArgumentError if it is not among the ``valid`` words.

    Args:
        value: What was given.
        valid: The words.
        what: Layer and setting, as the message names it: ``"Conv2d: padding_mode"``.
    """
    if value not in valid:
        raise ArgumentError(
            f"{what} is unknown",
            expected=", ".join(repr(word) for word in valid),
            got=repr(value),
            where=str(here()),
        )
    return str(value)
