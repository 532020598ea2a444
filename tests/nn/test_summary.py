"""``Module.summary``: the lectures' counts, nothing allocated, tables within 80 columns."""

import tracemalloc

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops, random
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.summary import multiply_adds


@pytest.fixture
def memory():
    """Largest memory in use during the test so far, in bytes."""
    tracemalloc.start()
    yield lambda: tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()


def resident():
    """Largest resident memory of this process, in bytes."""
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_the_lectures_network_has_7960_parameters():
    model = nn.Sequential(nn.Flatten(), nn.Linear(784, 10), nn.Linear(10, 10))
    summary = model.summary((28, 28))
    assert summary.n_parameters == model.n_parameters == 7960
    assert summary.multiply_adds == 7840 + 100
    assert summary.n_bytes == 4 * 7960
    assert [row.n_parameters for row in summary.rows] == [0, 7850, 110]
    assert [row.output_shape for row in summary.rows] == [(1, 784), (1, 10), (1, 10)]
    assert [row.path for row in summary.rows] == ["0", "1", "2"]
    assert "7,960 parameters (7,960 trainable, 0 frozen), 31.8 kB" in str(summary)


def test_a_picture_of_250_by_250_costs_62500_weights_a_unit():
    model = nn.Sequential(nn.Flatten(), nn.Linear(62_500, 1, bias=False))
    assert model.summary((250, 250)).n_parameters == 62_500


def test_a_layer_of_15_gigabytes_is_counted_without_allocating(memory):
    before = resident()
    model = nn.Sequential(nn.Flatten(), nn.Linear(62_500, 62_500))
    summary = model.summary((250, 250))
    text = str(summary) + repr(model)
    assert memory() < 1_000_000
    assert resident() - before < 50_000_000
    assert summary.n_parameters == 3_906_250_000 + 62_500
    assert summary.multiply_adds == 3_906_250_000
    assert summary.n_bytes == 4 * 3_906_312_500
    assert "3,906,312,500" in text
    assert "15.6 GB" in text


def test_counting_does_not_touch_the_model_or_the_random_state():
    model = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    model[1].eval()
    before, state = list(model.parameters()), random.ambient()
    step = state.step.item()
    model.summary((3,))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))
    assert model.training
    assert not model[1].training
    assert state.step.item() == step
    with pytest.raises(ShapeError):
        model.summary((5,))
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True))


def test_batches_frozen_and_tied_parameters():
    model = nn.Sequential(nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False))
    model[1].weight = model[0].weight
    summary = model.summary((5, 3), batch_size=7)
    assert summary.n_parameters == 9
    assert summary.multiply_adds == 2 * 7 * 5 * 9
    assert summary.rows[1].output_shape == (7, 5, 3)
    model.freeze()
    assert model.summary((3,)).n_trainable == 0


def test_integer_inputs_several_inputs_and_layers_of_their_own():
    class Scores(nn.Module):
        def __init__(self):
            self.table = nn.Embedding(10, 4)
            self.unused = nn.Linear(2, 2)

        def forward(self, rows, x):
            return cr.matmul(x, self.table(rows).mT), x

    summary = Scores().summary([(6,), (2, 4)], dtype=[cr.int64, cr.float32])
    rows = {row.path: row for row in summary.rows}
    assert rows[""].multiply_adds == 2 * 6 * 4
    assert rows[""].output_shape == ((1, 2, 6), (1, 2, 4))
    assert rows["table"].output_shape == (1, 6, 4)
    assert rows["unused"].output_shape is None
    assert "not called" in str(summary)
    assert summary.inputs == ((1, 6), (1, 2, 4))


def test_a_layer_called_twice_costs_twice():
    class Twice(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            return self.layer(self.layer(x))

    summary = Twice().summary((3,))
    assert (summary.n_parameters, summary.multiply_adds) == (12, 18)


@pytest.mark.parametrize(
    ("settings", "x", "w", "count"),
    [
        ({}, (2, 3, 8, 8), (4, 3, 3, 3), 2 * 4 * 6 * 6 * 3 * 9),
        ({"groups": 2}, (1, 4, 8), (6, 2, 3), 6 * 6 * 2 * 3),
        ({"stride": (2,)}, (1, 1, 9), (1, 1, 3), 4 * 3),
        ({"input_dilation": (2,)}, (1, 2, 5), (3, 2, 3), 5 * 2 * 3 * 3),
    ],
    ids=str,
)
def test_convolutions_are_counted(settings, x, w, count):
    y = ops.convolution(np.zeros(x, "f"), np.zeros(w, "f"), **settings)
    assert multiply_adds(y.node) == count


# layer, a sample's shape, output for two samples, parameters, multiply-adds for two samples
LAYERS = [
    (nn.Conv2d(3, 8, 3, padding=1), (3, 5, 6), (2, 8, 5, 6), 224, 2 * 8 * 30 * 27),
    (nn.Conv2d(3, 8, 3, stride=2, bias=False), (3, 7, 7), (2, 8, 3, 3), 216, 2 * 8 * 9 * 27),
    (nn.Conv2d(8, 8, 3, groups=8), (8, 5, 5), (2, 8, 3, 3), 80, 2 * 8 * 9 * 9),
    (nn.Conv1d(2, 4, 5, padding="same", padding_mode="circular"), (2, 9), (2, 4, 9), 44, 720),
    (nn.Conv3d(1, 2, 2), (1, 3, 3, 3), (2, 2, 2, 2, 2), 18, 2 * 2 * 8 * 8),
    (nn.ConvTranspose2d(4, 3, 2, stride=2), (4, 3, 3), (2, 3, 6, 6), 51, 2 * 4 * 9 * 4 * 3),
    (nn.MaxPool2d(2), (3, 5, 6), (2, 3, 2, 3), 0, 0),
    (nn.AdaptiveAvgPool2d(1), (3, 5, 6), (2, 3, 1, 1), 0, 0),
    (nn.GlobalAvgPool(), (3, 5, 6), (2, 3), 0, 0),
    (nn.BatchNorm2d(3), (3, 5, 6), (2, 3, 5, 6), 6, 0),
    (nn.LayerNorm((5, 6)), (3, 5, 6), (2, 3, 5, 6), 60, 0),
    (nn.GroupNorm(1, 4), (4, 3), (2, 4, 3), 8, 0),
    (nn.Upsample(scale_factor=2), (3, 5, 6), (2, 3, 10, 12), 0, 0),
    (nn.Dropout2d(), (3, 5, 6), (2, 3, 5, 6), 0, 0),
]


@pytest.mark.parametrize(("layer", "sample", "output", "parameters", "cost"), LAYERS, ids=str)
def test_layers_for_pictures_are_counted(layer, sample, output, parameters, cost):
    summary = layer.summary(sample, batch_size=2)
    (row,) = summary.rows
    assert row.output_shape == output == layer(np.zeros((2, *sample), "f")).shape
    assert summary.n_parameters == parameters
    assert summary.multiply_adds == cost


def test_statistics_take_memory_but_are_no_parameters():
    summary = nn.BatchNorm2d(10).summary((10, 2, 2))
    assert summary.n_parameters == 20
    assert summary.n_bytes == 4 * 40 + 8


def test_blocks_are_counted_by_their_layers():
    block = nn.Residual(nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)))
    model = nn.Sequential(block, nn.SqueezeExcitation(4, 2))
    rows = {row.path: row for row in model.summary((4, 6, 6)).rows}
    assert rows["0.branch.0"].multiply_adds == 4 * 36 * 36
    assert rows["1.fc1"].multiply_adds == rows["1.fc2"].multiply_adds == 8


def test_the_table_fits_80_columns():
    deep = nn.Sequential(nn.Linear(40_000, 40_000))
    for _ in range(12):
        deep = nn.Sequential({"a_rather_long_name": deep})
    text = str(deep.summary((3, 2, 7, 40_000), batch_size=1000))
    assert max(len(line) for line in text.split("\n")) <= 80
    assert "1,600,040,000" in text
    assert "name.0 Linear" in text


def test_html_is_escaped():
    class Odd(nn.Identity):
        def extra_repr(self):
            return "<script>"

    page = Odd().summary((2,))._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize(
    "arguments", [((0,),), ((2.5,),), ((2,), cr.float32, 0), ([(2,), (3,)], [cr.float32])], ids=str
)
def test_wrong_arguments_are_told(arguments):
    with pytest.raises(ArgumentError, match="summary"):
        nn.Identity().summary(*arguments)
