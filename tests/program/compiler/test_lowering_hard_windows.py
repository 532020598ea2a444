"""Lowering of convolution, of windows and of their transpose, against the ops' own evaluation."""

import functools
import itertools
import re

import numpy as np
import pytest
from hard_lowering import Chain, assert_close, check, forced, spread

from chainrule.ops import dtypes
from chainrule.ops.kernels.geometry import output_sizes
from chainrule.ops.record import REGISTRY

TOLERANCE = {"float16": 2e-3, "bfloat16": 1e-2, "float32": 1e-5, "float64": 1e-13}
CONVOLUTIONS = {
    # image, weight, stride, padding, input dilation, kernel dilation, groups
    "points": ((2, 5, 7), (6, 5, 1), (1,), ((0, 0),), (1,), (1,), 1),
    "same": ((2, 3, 9, 17), (4, 3, 3, 3), (1, 1), ((1, 1), (1, 1)), (1, 1), (1, 1), 1),
    "strided": ((1, 3, 11, 13), (5, 3, 3, 2), (2, 3), ((1, 0), (0, 2)), (1, 1), (1, 1), 1),
    "depthwise": ((2, 6, 10), (6, 1, 3), (1,), ((1, 1),), (1,), (1,), 6),
    "grouped": ((2, 6, 10), (9, 2, 3), (2,), ((2, 1),), (1,), (2,), 3),
    "transposed": ((2, 3, 5, 6), (4, 3, 3, 4), (1, 1), ((2, 1), (3, 3)), (2, 3), (1, 1), 1),
    "all": ((2, 4, 7, 6), (6, 2, 2, 3), (2, 1), ((3, -1), (-2, 4)), (3, 2), (2, 3), 2),
    "cut off": ((1, 2, 12), (3, 2, 3), (1,), ((-2, -3),), (2,), (1,), 1),
    "volume": ((1, 2, 4, 5, 6), (3, 2, 2, 3, 2), (1, 2, 1), ((1, 0), (0, 1), (1, 1)),
               (1, 1, 2), (2, 1, 1), 1),
    "one window": ((1, 2, 4, 4), (3, 2, 4, 4), (1, 1), ((0, 0), (0, 0)), (1, 1), (1, 1), 1),
    "no image": ((0, 2, 5), (3, 2, 2), (1,), ((0, 0),), (1,), (1,), 1),
    "no channel": ((2, 0, 5), (3, 0, 2), (1,), ((0, 0),), (1,), (1,), 1),
    "no place": ((2, 3, 0), (3, 3, 2), (1,), ((2, 2),), (1,), (1,), 1),
    "nothing comes out": ((2, 3, 2), (3, 3, 4), (1,), ((0, 0),), (1,), (1,), 1),
    "wide": ((1, 1, 300), (2, 1, 131), (1,), ((70, 70),), (1,), (1,), 1),
}  # fmt: skip


def registry_cases(*names):
    return [
        pytest.param(name, case, id=f"{name}{number}")
        for name in names
        for number, case in enumerate(REGISTRY[name].cases)
    ]


@pytest.mark.parametrize("dtype", dtypes.FLOATS, ids=str)
@pytest.mark.parametrize(("name", "case"), registry_cases("convolution", "windows", "fold_windows"))
def test_cases_of_the_registry(name, case, dtype):
    rng = np.random.default_rng(5)
    arrays = [spread(rng, shape, dtype) for shape in case.shapes]
    check(name, *arrays, tolerance=TOLERANCE[str(dtype)], **case.attributes)


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolutions_of_every_geometry(name):
    image, weight, stride, padding, spread_in, spread_out, groups = CONVOLUTIONS[name]
    rng = np.random.default_rng(6)
    check(
        "convolution", spread(rng, image, np.float32), spread(rng, weight, np.float32),
        tolerance=1e-5, stride=stride, padding=padding, input_dilation=spread_in,
        kernel_dilation=spread_out, groups=groups,
    )  # fmt: skip


def test_what_a_padded_zero_meets_counts_as_in_numpy():
    image = np.ones((1, 1, 3), np.float32)
    weight = np.array([[[np.inf, 1.0, 2.0]]], np.float32)
    with np.errstate(invalid="ignore"):
        check(
            "convolution", image, weight, tolerance=1e-6, stride=(1,), padding=((1, 1),),
            input_dilation=(1,), kernel_dilation=(1,), groups=1,
        )  # fmt: skip


def test_half_precision_convolutions_are_summed_in_single():
    image = np.full((1, 4096, 1), 1.0, np.float16)
    weight = np.full((1, 4096, 1), 0.25, np.float16)
    check(
        "convolution", image, weight, stride=(1,), padding=((0, 0),), input_dilation=(1,),
        kernel_dilation=(1,), groups=1,
    )  # fmt: skip


GEOMETRIES = [
    # spatial, window, stride, padding, dilation
    ((9,), (3,), (1,), ((0, 0),), (1,)),
    ((9,), (3,), (3,), ((0, 0),), (1,)),
    ((10,), (2,), (3,), ((1, 2),), (1,)),
    ((23,), (5,), (2,), ((2, 2),), (1,)),
    ((23,), (5,), (2,), ((2, 2),), (3,)),
    ((23,), (4,), (6,), ((3, 1),), (4,)),
    ((23,), (4,), (1,), ((1, 3),), (2,)),
    ((40,), (33,), (4,), ((0, 0),), (1,)),
    ((40,), (33,), (1,), ((0, 1),), (1,)),
    ((12,), (3,), (2,), ((-2, -3),), (1,)),
    ((6, 8), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1)),
    ((7, 9), (3, 2), (2, 1), ((1, 1), (0, 1)), (1, 2)),
    ((7, 7), (7, 7), (7, 7), ((0, 0), (0, 0)), (1, 1)),
    ((4, 5, 6), (2, 3, 2), (1, 2, 2), ((0, 1), (1, 0), (0, 0)), (1, 1, 2)),
    ((0,), (2,), (1,), ((2, 2),), (1,)),
    ((1,), (1,), (1,), ((0, 0),), (1,)),
]


@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
@pytest.mark.parametrize("lead", [(), (3,), (2, 17)], ids=str)
def test_windows_and_their_transpose(geometry, lead):
    spatial, window, stride, padding, dilation = geometry
    out = output_sizes(spatial, window, stride, padding, (1,) * len(window), dilation)
    rng = np.random.default_rng(7)
    shared = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
    check("windows", spread(rng, (*lead, *spatial), np.float32), fill=-1.5, **shared)
    g = spread(rng, (*lead, *out, *window), np.float32)
    check("fold_windows", g, tolerance=1e-5, spatial=spatial, **shared)
    check("fold_windows", (g * 4).astype(np.int64), spatial=spatial, **shared)


@pytest.mark.parametrize("dtype", dtypes.ALL, ids=str)
def test_windows_of_every_type(dtype):
    rng = np.random.default_rng(8)
    shared = {"window": (3,), "stride": (2,), "padding": ((1, 1),), "dilation": (1,)}
    fill = -np.inf if dtypes.is_floating(dtype) else 0.0
    check("windows", spread(rng, (3, 21), dtype), fill=fill, **shared)
    if dtype != dtypes.bool_:
        g = spread(rng, (3, 11, 3), dtype)
        tolerance = TOLERANCE.get(str(dtype), 0.0)
        check("fold_windows", g, tolerance=tolerance, spatial=(21,), **shared)


def sizes(rng, count, low, high):
    return tuple(int(i) for i in rng.integers(low, high, count))


def test_random_geometries():
    rng = np.random.default_rng(9)
    for _ in range(25):
        axes = int(rng.integers(1, 3))
        draw = functools.partial(sizes, rng, axes)
        spatial, window, stride, dilation = draw(1, 14), draw(1, 5), draw(1, 5), draw(1, 4)
        padding = tuple(zip(draw(-2, 5), draw(-2, 5), strict=True))
        out = output_sizes(spatial, window, stride, padding, (1,) * axes, dilation)
        shared = {"window": window, "stride": stride, "padding": padding, "dilation": dilation}
        if 0 not in out:
            check("windows", spread(rng, (2, *spatial), np.float32), fill=0.5, **shared)
        g = spread(rng, (2, *out, *window), np.float32)
        check("fold_windows", g, tolerance=1e-5, spatial=spatial, **shared)


def test_random_convolutions():
    rng = np.random.default_rng(10)
    for _ in range(25):
        axes = int(rng.integers(1, 3))
        draw = functools.partial(sizes, rng, axes)
        groups, inner, out = (int(i) for i in rng.integers(1, 4, 3))
        x = spread(rng, (2, groups * inner, *draw(1, 12)), np.float32)
        w = spread(rng, (groups * out, inner, *draw(1, 4)), np.float32)
        padding = tuple(zip(draw(-1, 4), draw(-1, 4), strict=True))
        check(
            "convolution", x, w, tolerance=1e-5, stride=draw(1, 4), padding=padding,
            input_dilation=draw(1, 4), kernel_dilation=draw(1, 4), groups=groups,
        )  # fmt: skip


def test_pooling_is_one_kernel():
    rng = np.random.default_rng(11)
    for size, stride in itertools.product([2, 3], [1, 2]):
        chain = Chain(spread(rng, (2, 3, 8, 9), np.float32))
        windows = chain.add(
            "windows", chain.inputs[0], window=(size, size), stride=(stride, stride),
            padding=((1, 1), (1, 0)), dilation=(1, 1), fill=-np.inf,
        )  # fmt: skip
        best = chain.add("max", windows, axes=(4, 5))
        found, _ = chain.run(best)
        assert_close(found, chain.values[best], 0.0)
        assert chain.n_kernels == 1


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8], ids=["f4", "f8", "i1"])
@pytest.mark.parametrize("length", [3, 16, 37])
def test_reading_backwards_and_every_second_place(length, dtype):
    rng = np.random.default_rng(12)
    chain = Chain(spread(rng, (5, 2 * length), dtype), spread(rng, (5, length), dtype))
    wide, narrow = chain.inputs
    shape = (5, length)
    every = {"stops": (5, 2 * length), "strides": (1, 2)}
    parts = [
        chain.add("slice", wide, starts=(0, 1), **every),
        chain.add("slice", wide, starts=(0, 0), **every),
        chain.add("flip", narrow, axes=(1,)),
        chain.add("slice", chain.add("flip", wide, axes=(1,)), starts=(0, 1), **every),
        chain.add("slice", padded(chain, narrow, 2, length - 2), starts=(0, 0), **every),
        chain.add("flip", first(chain, padded(chain, narrow, 3, 0), shape), axes=(1,)),
    ]
    total = parts[0]
    for part in parts[1:]:
        total = chain.add("add", total, part)
    found, _ = chain.run(total)
    assert_close(found, chain.values[total], 1e-6 if np.dtype(dtype).kind == "f" else 0.0)


def padded(chain, x, before, after):
    return chain.add("pad", x, low=(0, before), high=(0, after), interior=(0, 0))


def first(chain, x, shape):
    return chain.add("slice", x, starts=(0, 0), stops=shape, strides=(1, 1))


@pytest.mark.parametrize("axis", [0, 1])
def test_running_sums_join_what_they_read_and_what_reads_them(axis):
    chain = Chain(spread(np.random.default_rng(13), (5, 37), np.float32))
    double = chain.add("add", chain.inputs[0], chain.inputs[0])
    running = chain.add("cumsum", double, axis=axis)
    total = chain.add("sum", chain.add("add", running, double), axes=(axis,))
    found, _ = chain.run(total)
    assert_close(found, chain.values[total], 1e-5)
    assert chain.n_kernels == 1


def test_a_fold_that_cannot_join_leaves_the_loops_of_what_it_reads():
    rng = np.random.default_rng(14)
    chain = Chain(spread(rng, (2, 8, 5, 5), np.float32), spread(rng, (6, 8, 1, 1), np.float32))
    double = chain.add("add", chain.inputs[0], chain.inputs[0])
    geometry = {"stride": (1, 1), "padding": ((0, 0), (0, 0)), "input_dilation": (1, 1)}
    output = chain.add(
        "convolution", double, chain.inputs[1], kernel_dilation=(1, 1), groups=1, **geometry
    )
    found, _ = chain.run(output)
    assert_close(found, chain.values[output], 1e-5)
    assert chain.n_kernels == 2


@pytest.mark.parametrize(("name", "lanes"), [("sse2", 4), ("avx2", 8)])
def test_masked_reads_take_one_register_each(name, lanes):
    # LLVM reads beyond the array where it finds that a part of a longer mask is off
    rng = np.random.default_rng(15)
    chain = Chain(spread(rng, (1, 1, 300), np.float32), spread(rng, (2, 1, 131), np.float32))
    geometry = {"stride": (1,), "padding": ((70, 70),), "input_dilation": (1,)}
    output = chain.add("convolution", *chain.inputs, kernel_dilation=(1,), groups=1, **geometry)
    found, _ = chain.run(output, target=forced(name))
    assert_close(found, chain.values[output], 1e-5)
    widths = re.findall(r"@llvm\.masked\.(?:load|store)\.v(\d+)f32", chain.text)
    assert {int(n) for n in widths} == {lanes}
