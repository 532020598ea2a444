"""Windows: the places a sliding window sees, its transpose, and pooling composed of them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import ShapeError
from chainrule.ops import dtypes
from chainrule.ops.convolution import Pads, Sizes, per_axis, require_fit, resolve_padding
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.kernels.geometry import output_sizes
from chainrule.ops.kernels.windows import extract_windows, fold_windows
from chainrule.ops.manipulation import ones_like
from chainrule.ops.operands import as_value
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Spec, bind, register
from chainrule.ops.reductions import max as max_over
from chainrule.ops.reductions import sum as sum_over


def _windows_infer(
    x: Value, *, window: Sizes, stride: Sizes, padding: Pads, dilation: Sizes, fill: float
) -> Spec:
    count = len(window)
    lead, spatial = x.shape[: len(x.shape) - count], x.shape[len(x.shape) - count :]
    out = output_sizes(spatial, window, stride, padding, (1,) * count, dilation)
    return (*lead, *out, *window), x.dtype


def _windows_vjp(g: Value, y: Value, x: Value, *, fill: float, **geometry: Any) -> tuple[Value]:
    spatial = x.shape[len(x.shape) - len(geometry["window"]) :]
    return (bind("fold_windows", g, spatial=spatial, **geometry),)


WINDOWS = register(
    Op(
        name="windows",
        family="window",
        arity=1,
        infer=_windows_infer,
        evaluate=extract_windows,
        vjp=_windows_vjp,
        batch=lambda inputs, batched, **geometry: bind("windows", inputs[0], **geometry),
        formula="windows of {x}",
        derivative=("1, summed over the windows that see a place",),
        cases=(
            Case(
                ((2, 5),),
                {
                    "window": (3,), "stride": (1,), "padding": ((1, 1),), "dilation": (1,),
                    "fill": 0.0,
                },
            ),
            Case(
                ((2, 5, 6),),
                {
                    "window": (2, 3), "stride": (2, 1), "padding": ((0, 1), (1, 0)),
                    "dilation": (1, 2), "fill": 0.0,
                },
            ),
        ),
    )
)  # fmt: skip


def _fold_infer(
    g: Value, *, spatial: Sizes, window: Sizes, stride: Sizes, padding: Pads, dilation: Sizes
) -> Spec:
    return (*g.shape[: len(g.shape) - 2 * len(window)], *spatial), g.dtype


def _fold_vjp(g: Value, y: Value, x: Value, *, spatial: Sizes, **geometry: Any) -> tuple[Value]:
    return (bind("windows", g, fill=0.0, **geometry),)


FOLD_WINDOWS = register(
    Op(
        name="fold_windows",
        family="window",
        arity=1,
        infer=_fold_infer,
        evaluate=fold_windows,
        vjp=_fold_vjp,
        batch=lambda inputs, batched, **geometry: bind("fold_windows", inputs[0], **geometry),
        formula="windows of {x} added up in place",
        derivative=("1",),
        dtypes=dtypes.NUMERIC,
        cases=(
            Case(
                ((2, 5, 3),),
                {
                    "spatial": (5,), "window": (3,), "stride": (1,), "padding": ((1, 1),),
                    "dilation": (1,),
                },
            ),
        ),
    )
)  # fmt: skip


def sliding_windows(
    x: Operand,
    /,
    window: int | Sequence[int],
    *,
    stride: int | Sequence[int] | None = None,
    padding: str | int | Sequence[int | tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
    fill: float = 0.0,
    axes: int | None = None,
) -> Value:
    """All windows over the last axes: (..., *spatial) → (..., *windows, *window).

    Args:
        window: Sizes of the window; an int means ``axes`` equal ones (default 1).
        stride: Step between windows; None: the window's size, so that they do not overlap.
        padding: ``"same"``, ``"valid"``, an int, or per axis an int or (before, after).
        dilation: Distance between the places a window sees.
        fill: What padded places hold; no derivative goes to them.
    """
    value = as_value(x)
    count = axes or (1 if isinstance(window, int) else len(window))
    sizes = per_axis(window, count, "window")
    strides = sizes if stride is None else per_axis(stride, count, "stride")
    dilations = per_axis(dilation, count, "dilation")
    if count > len(value.shape):
        raise ShapeError(
            f"a window over {count} axes does not fit an array of {len(value.shape)}",
            got=str(value.shape),
            where=str(here()),
        )
    spatial = value.shape[len(value.shape) - count :]
    pads = resolve_padding(padding, spatial, sizes, strides, dilations)
    require_fit("sliding_windows", spatial, sizes, pads, (1,) * count, dilations)
    return bind(
        WINDOWS, value, window=sizes, stride=strides, padding=pads, dilation=dilations,
        fill=float(fill),
    )  # fmt: skip


def _window_axes(windows: Value, x: Value) -> tuple[int, ...]:
    return tuple(range(len(x.shape), len(windows.shape)))


def max_pool(x: Operand, /, window: int | Sequence[int], **geometry: Any) -> Value:
    """The largest element of each window; padding never wins; arguments as ``sliding_windows``."""
    value = as_value(x)
    lowest = -math.inf if dtypes.is_floating(value.dtype) else float(np.iinfo(value.dtype).min)
    windows = sliding_windows(value, window, fill=lowest, **geometry)
    return max_over(windows, axis=_window_axes(windows, value))


def average_pool(
    x: Operand, /, window: int | Sequence[int], *, count_padding: bool = True, **geometry: Any
) -> Value:
    """The mean of each window; arguments as ``sliding_windows``.

    Args:
        count_padding: Padded zeros count as elements (PyTorch's default); else only real ones.
    """
    value = as_value(x)
    windows = sliding_windows(value, window, **geometry)
    axes = _window_axes(windows, value)
    total = sum_over(windows, axis=axes)
    if count_padding:
        return total * (1.0 / math.prod(windows.shape[a] for a in axes))
    ones = sliding_windows(ones_like(value), window, **geometry)
    return total / sum_over(ones, axis=axes)
