"""Convolution in one to three dimensions: its record; layers choose padding by name."""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ArgumentError, ShapeError
from chainrule.ops.dtypes import FLOATS
from chainrule.ops.hooks import Operand, Value
from chainrule.ops.kernels.convolution import convolve
from chainrule.ops.kernels.geometry import output_sizes, spread_size
from chainrule.ops.operands import promote_operands
from chainrule.ops.origin import here
from chainrule.ops.record import Case, Op, Shape, Spec, bind, register
from chainrule.ops.reductions import require_floating

Sizes = tuple[int, ...]
Pads = tuple[tuple[int, int], ...]


def _require_ranks(x: Value, w: Value) -> None:
    if len(x.shape) != len(w.shape) or not 3 <= len(x.shape) <= 5:
        raise ShapeError(
            "convolution: the ranks of input and weight do not fit",
            expected="input (batch, channels, *spatial), weight (out, channels / groups, *kernel), "
            "one to three spatial axes",
            got=f"{x.shape} and {w.shape}",
            fix="a single image needs a batch axis: x[None]",
            where=str(here()),
        )


def require_fit(
    op: str, spatial: Shape, window: Shape, padding: Pads, spread: Sizes, dilation: Sizes
) -> None:
    """Raise ShapeError if a window is larger than the padded input."""
    for axis, (n, k, (low, high), s, d) in enumerate(
        zip(spatial, window, padding, spread, dilation, strict=True)
    ):
        room = spread_size(n, s) + low + high
        if spread_size(k, d) > room:
            raise ShapeError(
                f"{op}: the window is larger than the input in spatial axis {axis}",
                expected=f"at most {room} places",
                got=f"a window over {spread_size(k, d)}",
                fix='pad the input (padding="same"), or use a smaller kernel or fewer poolings',
                where=str(here()),
            )


def _infer(
    x: Value,
    w: Value,
    *,
    stride: Sizes,
    padding: Pads,
    input_dilation: Sizes,
    kernel_dilation: Sizes,
    groups: int,
) -> Spec:
    _require_ranks(x, w)
    if groups < 1 or x.shape[1] != groups * w.shape[1] or w.shape[0] % groups:
        raise ShapeError(
            f"convolution: {x.shape[1]} channels do not fit weight {w.shape} in {groups} groups",
            expected=f"{groups * w.shape[1]} input channels, out channels divisible by {groups}",
            got=f"{x.shape[1]} input and {w.shape[0]} out channels",
            where=str(here()),
        )
    spatial = output_sizes(
        x.shape[2:], w.shape[2:], stride, padding, input_dilation, kernel_dilation
    )
    return (x.shape[0], w.shape[0], *spatial), x.dtype


def _swap_groups(w: Value, groups: int) -> Value:
    """(g·o, i, *k) → (g·i, o, *k), each group transposed by itself."""
    out, inner, *kernel = w.shape
    if groups == 1:
        return bind("transpose", w, axes=(1, 0, *range(2, 2 + len(kernel))))
    split = bind("reshape", w, shape=(groups, out // groups, inner, *kernel))
    order = (0, 2, 1, *range(3, 3 + len(kernel)))
    swapped = bind("transpose", split, axes=order)
    return bind("reshape", swapped, shape=(groups * inner, out // groups, *kernel))


def _images_as_channels(x: Value, groups: int) -> Value:
    """(n, g·i, *p) → (i, g·n, *p): a group's channels become images, its images channels."""
    batch, channels, *spatial = x.shape
    if groups == 1:
        return bind("transpose", x, axes=(1, 0, *range(2, 2 + len(spatial))))
    split = bind("reshape", x, shape=(batch, groups, channels // groups, *spatial))
    moved = bind("transpose", split, axes=(2, 1, 0, *range(3, 3 + len(spatial))))
    return bind("reshape", moved, shape=(channels // groups, groups * batch, *spatial))


def _vjp(
    g: Value,
    y: Value,
    x: Value,
    w: Value,
    *,
    stride: Sizes,
    padding: Pads,
    input_dilation: Sizes,
    kernel_dilation: Sizes,
    groups: int,
) -> tuple[Value, Value]:
    spatial = tuple(range(2, len(x.shape)))
    kernel = [spread_size(k, d) for k, d in zip(w.shape[2:], kernel_dilation, strict=True)]
    inside = [spread_size(n, d) for n, d in zip(x.shape[2:], input_dilation, strict=True)]
    outside = [spread_size(n, d) for n, d in zip(y.shape[2:], stride, strict=True)]
    low = [k - 1 - before for k, (before, _) in zip(kernel, padding, strict=True)]
    back = tuple(
        (a, n + k - 1 - o - a) for a, n, k, o in zip(low, inside, kernel, outside, strict=True)
    )
    flipped = bind("flip", _swap_groups(w, groups), axes=spatial)
    dx = bind(
        "convolution", g, flipped, stride=input_dilation, padding=back, input_dilation=stride,
        kernel_dilation=kernel_dilation, groups=groups,
    )  # fmt: skip
    # the weight's gradient correlates input and cotangent over the batch: channels and batch swap
    x_swapped = _images_as_channels(x, groups)
    g_swapped = bind("transpose", g, axes=(1, 0, *spatial))
    around = tuple(
        (before, k - 1 + o - n - before)
        for (before, _), k, o, n in zip(padding, kernel, outside, inside, strict=True)
    )
    dw = bind(
        "convolution", x_swapped, g_swapped, stride=kernel_dilation, padding=around,
        input_dilation=input_dilation, kernel_dilation=stride, groups=groups,
    )  # fmt: skip
    return dx, bind("transpose", dw, axes=(1, 0, *spatial))


def _batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, groups: int, **geometry: object
) -> Value:
    x, w = inputs
    if not batched[1]:  # more images
        size, batch = x.shape[:2]
        merged = bind("reshape", x, shape=(size * batch, *x.shape[2:]))
        y = bind("convolution", merged, w, groups=groups, **geometry)
        return bind("reshape", y, shape=(size, batch, *y.shape[1:]))
    size = w.shape[0]
    if not batched[0]:
        x = bind("broadcast_to", x, shape=(size, *x.shape))
    # every member of the batch becomes a group of channels
    batch = x.shape[1]
    rest = tuple(range(2, len(x.shape)))
    channels = bind("transpose", x, axes=(1, 0, *rest))
    channels = bind("reshape", channels, shape=(batch, size * x.shape[2], *x.shape[3:]))
    weights = bind("reshape", w, shape=(size * w.shape[1], *w.shape[2:]))
    y = bind("convolution", channels, weights, groups=groups * size, **geometry)
    y = bind("reshape", y, shape=(batch, size, y.shape[1] // size, *y.shape[2:]))
    return bind("transpose", y, axes=(1, 0, *range(2, len(y.shape))))


def _geometry(
    stride: Sizes, padding: Pads, input_dilation: Sizes, kernel_dilation: Sizes, groups: int
) -> dict[str, object]:
    return {
        "stride": stride,
        "padding": padding,
        "input_dilation": input_dilation,
        "kernel_dilation": kernel_dilation,
        "groups": groups,
    }


CONVOLUTION = register(
    Op(
        name="convolution",
        family="contraction",
        arity=2,
        infer=_infer,
        evaluate=convolve,
        vjp=_vjp,
        batch=_batch,
        formula="{x} ∗ {y}",
        derivative=("g ∗ flipped {y}", "{x} ∗ g"),
        cases=(
            Case(((2, 2, 6), (3, 2, 3)), _geometry((1,), ((1, 1),), (1,), (1,), 1)),
            Case(((1, 4, 7), (4, 2, 2)), _geometry((2,), ((0, 1),), (1,), (2,), 2)),
            Case(
                ((2, 2, 5, 4), (2, 2, 3, 2)),
                _geometry((2, 1), ((1, 1), (0, 1)), (1, 2), (1, 1), 1),
            ),
            Case(
                ((1, 1, 3, 3, 3), (2, 1, 2, 2, 2)),
                _geometry((1, 1, 2), ((0, 0), (1, 0), (0, 1)), (1, 1, 1), (1, 1, 1), 1),
            ),
            Case(((0, 2, 4), (2, 2, 3)), _geometry((1,), ((0, 0),), (1,), (1,), 1)),
        ),
        dtypes=FLOATS,
        tolerance={"float32": 1e-5},
    )
)


def per_axis(value: int | Sequence[int], count: int, name: str) -> Sizes:
    """One number an axis from one number for all."""
    sizes = (value,) * count if isinstance(value, int) else tuple(value)
    if len(sizes) != count or any(n < 1 for n in sizes):
        raise ArgumentError(
            f"{name} does not fit {count} spatial axes",
            expected=f"an int ≥ 1 or {count} of them",
            got=str(value),
            where=str(here()),
        )
    return sizes


def resolve_padding(
    padding: str | int | Sequence[int | tuple[int, int]],
    spatial: Shape,
    kernel: Shape,
    stride: Sizes,
    dilation: Sizes,
) -> Pads:
    """Turn ``"valid"``, ``"same"``, a number or one entry an axis into ``(before, after)`` pairs.

    ``"same"`` gives ⌈n / stride⌉ outputs; an odd remainder goes behind.
    """
    count = len(spatial)
    if padding == "valid":
        return ((0, 0),) * count
    if padding == "same":
        pairs = []
        for n, k, s, d in zip(spatial, kernel, stride, dilation, strict=True):
            total = max((-(-n // s) - 1) * s + spread_size(k, d) - n, 0)
            pairs.append((total // 2, total - total // 2))
        return tuple(pairs)
    entries = (padding,) * count if isinstance(padding, int) else tuple(padding)
    if isinstance(padding, str) or len(entries) != count:
        raise ArgumentError(
            f"padding does not fit {count} spatial axes",
            expected=f'"same", "valid", an int, or {count} ints or (before, after) pairs',
            got=repr(padding),
            where=str(here()),
        )
    return tuple((p, p) if isinstance(p, int) else (int(p[0]), int(p[1])) for p in entries)


def convolution(
    x: Operand,
    weight: Operand,
    /,
    *,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int | tuple[int, int]] = 0,
    dilation: int | Sequence[int] = 1,
    input_dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Value:
    """Slide ``weight`` over ``x`` (cross-correlation, as deep learning calls convolution).

    Args:
        x: (batch, channels, *spatial), one to three spatial axes.
        weight: (out_channels, channels / groups, *kernel).
        stride: Step between windows, per axis or for all.
        padding: ``"same"``, ``"valid"``, an int, or per axis an int or (before, after).
        dilation: Distance between the kernel's elements.
        input_dilation: Distance the input's elements are spread to (transposed convolution).
        groups: Channel groups that do not mix.

    Returns:
        (batch, out_channels, *output spatial).

    Raises:
        ShapeError: Ranks or channels do not fit, or the kernel is larger than the padded input.
    """
    a, w = promote_operands(x, weight)
    require_floating(a, "convolution")
    _require_ranks(a, w)
    count = len(a.shape) - 2
    strides = per_axis(stride, count, "stride")
    dilations = per_axis(dilation, count, "dilation")
    pads = resolve_padding(padding, a.shape[2:], w.shape[2:], strides, dilations)
    spread = per_axis(input_dilation, count, "input_dilation")
    require_fit("convolution", a.shape[2:], w.shape[2:], pads, spread, dilations)
    return bind(
        CONVOLUTION, a, w, stride=strides, padding=pads, kernel_dilation=dilations,
        input_dilation=spread, groups=groups,
    )  # fmt: skip
