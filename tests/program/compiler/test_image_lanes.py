"""Few channels: images in the lanes; compiled equals interpreted, the same bits on any threads."""

import dataclasses

import numpy as np
import pytest
from test_convolutions import agree, arrays_of, graph_of, kernels_of

import chainrule as cr
from chainrule import nn, ops, optim
from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.convolutions.geometry import Geometry, Line
from chainrule.program.compiler.convolutions.image_lanes import (
    ImageLanes,
    LaneGradient,
    LaneSums,
    input_of,
    plan_lanes,
    runs_of,
    seen_by_outputs,
    taps_of,
)
from chainrule.program.compiler.convolutions.planning import plan_convolution
from chainrule.program.compiler.indices import integer
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.native import assemble_program
from chainrule.program.compiler.target import TARGETS, host_target

CASES = [
    ((16, 1, 28, 28), (6, 1, 5, 5), {"padding": 2}),
    ((13, 6, 14, 14), (16, 6, 5, 5), {}),
    ((7, 3, 9, 11), (5, 3, 3, 3), {"padding": 1, "stride": 2}),
    ((15, 3, 12, 11), (5, 3, 3, 2), {"padding": ((1, 0), (2, 1)), "stride": (2, 3)}),
    ((8, 3, 12, 13), (7, 3, 3, 3), {"padding": 2, "dilation": (1, 2)}),
    ((8, 2, 7, 6), (4, 2, 3, 3), {"padding": 2, "input_dilation": 2}),
    ((8, 2, 7, 6), (4, 2, 3, 4), {"padding": 1, "input_dilation": (2, 3), "stride": (3, 2)}),
    ((24, 3, 40), (5, 3, 7), {"padding": 3, "stride": 2}),
    ((8, 2, 5, 6, 7), (3, 2, 3, 2, 3), {"padding": 1}),
    ((40, 12, 5, 4), (20, 12, 3, 3), {"padding": 1}),
]


def neighbours(settings):
    """A layer as it stands in a network: activation before and behind, bias, all gradients."""

    def function(x, w, bias):
        def loss(x, w, bias):
            shift = bias.reshape((-1, *(1,) * (len(x.shape) - 2)))
            y = cr.tanh(ops.convolution(cr.sin(x), w, **settings) + shift)
            return (y * y * cr.sin(y)).sum(), y

        (_, y), gradients = cr.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(x, w, bias)
        return [y, *gradients]

    return function


@pytest.mark.parametrize(("image", "weight", "settings"), CASES, ids=str)
def test_values_and_gradients(image, weight, settings):
    agree(neighbours(settings), arrays_of(image, weight, weight[:1]), tolerance=3e-5)


def test_float64():
    image, weight, settings = CASES[3]
    arrays = arrays_of(image, weight, weight[:1], dtype="float64")
    agree(neighbours(settings), arrays, tolerance=1e-12)


@pytest.mark.parametrize("target", ["sse2", "avx512", "neon"])
def test_other_targets(target):
    """Other widths of vectors; run where the processor can, else written and compiled."""
    image, weight, settings = CASES[0]
    arrays = arrays_of(image, weight, weight[:1])
    if target == "sse2":
        agree(neighbours(settings), arrays, TARGETS[target], 3e-5)
        return
    graph, _ = graph_of(neighbours(settings), arrays)
    text = str(plan(assemble_program(graph), TARGETS[target]).module)
    assert jit.emit_assembly(text, TARGETS[target])


def line(**sizes):
    given = Line(10, 3, 1)
    made = dataclasses.replace(given, **sizes)
    inside = (made.source - 1) * made.spread + 1 + 2 * made.before
    return dataclasses.replace(
        made, out=(inside - (made.kernel - 1) * made.dilation - 1) // made.stride + 1
    )


LINES = [
    line(),
    line(before=2, kernel=5),
    line(stride=2, before=1),
    line(dilation=2, before=2),
    line(spread=2, before=2),
    line(spread=3, stride=2, dilation=2, before=1),
]


@pytest.mark.parametrize("axis", LINES, ids=str)
def test_taps_and_runs_say_what_an_output_sees(axis):
    wanted = {
        (o, t): at
        for o in range(axis.out)
        for t in range(axis.kernel)
        if (at := input_of(axis, o, t)) is not None
    }
    by_taps = {}
    for phase in range(axis.spread):
        taps = taps_of(axis, phase)
        for i in range(-(-(axis.out - phase) // axis.spread)):
            for k in range(taps.count):
                at = taps.start + i * taps.stride + k * taps.inside
                if 0 <= at < axis.source:
                    by_taps[i * axis.spread + phase, taps.place + k * taps.step] = at
    assert by_taps == wanted
    for width in (1, 2, 3, 4):
        by_runs = {}
        for run in runs_of(seen_by_outputs(axis), width, axis.spread, axis.stride):
            for tile in range(run.count):
                for number, one in enumerate(run.seen):
                    out = run.first + tile * len(run.seen) + number
                    for place, at in one:
                        by_runs[out, place] = run.origin + tile * run.step + at
        assert by_runs == wanted


def test_which_convolutions_take_the_form():
    target = host_target()
    if target.lanes(4) == 1:
        pytest.skip("scalars have no lanes")
    lines = (Line(14, 5, 10), Line(14, 5, 10))
    lenet = Geometry(64, 1, 6, 16, lines, "float")
    assert isinstance(plan_convolution(lenet, target), LaneSums)
    turned = tuple(Line(x.source, x.out, x.kernel) for x in lines)
    gradient = Geometry(6, 1, 64, 16, turned, "float")
    assert isinstance(plan_convolution(gradient, target), LaneGradient)
    for changed in (
        {"batch": 1},
        {"channels": 64, "outs": 64},
        {"groups": 2},
        {"lines": (Line(14, 1, 14), Line(14, 1, 14))},
        {"lines": (Line(300, 5, 296), Line(300, 5, 296))},
    ):
        assert plan_lanes(dataclasses.replace(lenet, **changed), target) is None


def test_layout_fills_the_last_block():
    layout = ImageLanes((10, 2, 3), lanes=8)
    assert layout.size == 2 * 6 * 8
    places = {
        layout.offset((integer(n), integer(c), integer(x))).as_integer()
        for n in range(10)
        for c in range(2)
        for x in range(3)
    }
    assert len(places) == 60
    assert max(places) < layout.size
    assert layout.offset((integer(9), integer(1), integer(2))).as_integer() == 48 + 5 * 8 + 1


def pooled(kind):
    def function(x, w):
        def loss(x, w):
            y = kind(cr.tanh(ops.convolution(x, w, padding=1)))
            return (kind(cr.tanh(ops.convolution(y, w, padding=1))) ** 2).sum()

        return list(cr.grad(loss, argnums=(0, 1))(x, w))

    return function


@pytest.mark.parametrize("layer", [nn.AvgPool2d(2), nn.MaxPool2d(3, 2, 1)], ids=str)
def test_pooling_between(layer):
    arrays = arrays_of((12, 4, 12, 14), (4, 4, 3, 3))
    agree(pooled(layer), arrays, tolerance=3e-5)


def test_steps_of_a_network_are_those_of_the_interpreter():
    """Gathered batches of a size that fills no block, momentum, a stretch of native steps."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(50, 1, 12, 12)).astype("f")
    y = rng.integers(0, 3, 50)
    order = np.stack([rng.permutation(50)[:13] for _ in range(4)])

    def step(model, optimizer, x, y):
        def loss(model):
            return nn.functional.cross_entropy(model(x), y)

        value, gradients = cr.value_and_grad(loss)(model)
        optimizer.update(model, gradients)
        return value

    runs = []
    for engine in ("compiler", "interpreter"):
        cr.random.seed(2)
        model = nn.Sequential(
            nn.Conv2d(1, 4, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2),
            nn.Conv2d(4, 6, 3), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 2), nn.Flatten(), nn.Linear(8, 3),
        )  # fmt: skip
        optimizer = optim.SGD(learning_rate=0.1, momentum=0.9)
        losses = cr.run_steps(step, [model, optimizer], [x, y], order, engine=engine)
        runs.append([losses, *(p.numpy() for p in model.parameters())])
    for a, b in zip(*runs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-6)


def test_titles():
    image, weight, settings = CASES[1]
    titles = kernels_of(neighbours(settings), arrays_of(image, weight, weight[:1]))
    assert any(title.startswith("convolution 6->16 5x5") for title in titles)
    assert any(title.startswith("weight gradient 6->16 5x5") for title in titles)
