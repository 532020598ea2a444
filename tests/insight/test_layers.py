"""Activations, filters, class maps, what units like, what they see, and shifts."""

import gc
import weakref

import numpy as np
import pytest

import chainrule as cr
from chainrule import insight, models, nn
from chainrule.errors import ArgumentError, IndexRangeError
from chainrule.insight import probing

ENGINES = ("interpreter", "compiler")
generator = np.random.default_rng(1)


class Twice(nn.Module):
    """One layer used two times."""

    def __init__(self):
        self.inner = nn.Linear(4, 4)

    def forward(self, x):
        return self.inner(cr.tanh(self.inner(x)))


class Branches(nn.Module):
    """A residual block: 3 × 3 twice beside nothing."""

    def __init__(self):
        self.body = nn.Sequential(
            nn.Conv2d(2, 2, 3, padding=1), nn.BatchNorm2d(2), nn.Conv2d(2, 2, 3, padding=1)
        )
        self.down = nn.Conv2d(2, 2, 1, stride=2)

    def forward(self, x):
        return self.down(x + self.body(x))


@pytest.mark.parametrize("engine", ENGINES)
def test_activations_by_path(engine):
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Dropout(0.5), nn.Linear(6, 2))
    x = generator.standard_normal((5, 4)).astype(np.float32)
    every = insight.activations(model, x, engine=engine, batch_size=2)
    assert list(every) == ["0", "1", "2", "3", ""]
    hidden = x @ model[0].weight.numpy().T + model[0].bias.numpy()
    np.testing.assert_allclose(every["0"], hidden, atol=1e-6)
    np.testing.assert_allclose(every["2"], hidden.clip(0), atol=1e-6)
    assert (every["3"] == every[""]).all()
    one = insight.activations(model, x, "1", engine=engine)
    np.testing.assert_allclose(one, every["1"], atol=1e-6)
    with pytest.raises(ArgumentError, match="layer_shapes"):
        insight.activations(model, x, "7")


def test_a_layer_used_twice_has_two_activations():
    model, x = Twice(), np.ones((2, 4), np.float32)
    found = insight.activations(model, x, engine="interpreter")
    assert list(found) == ["inner", "inner@2", ""]
    assert (found["inner@2"] == found[""]).all()
    assert abs(found["inner"] - found[""]).max() > 1e-3


@pytest.mark.parametrize("engine", ENGINES)
def test_programs_are_kept_as_long_as_the_model(engine):
    model = nn.Linear(3, 2)
    gone = weakref.ref(model)
    for n in range(1, 40):  # ever other shapes: neither a warning nor a pile of Programs
        insight.activations(model, np.ones((n, 3), np.float32), "", engine="interpreter")
    insight.gradient(model, np.ones((2, 3), np.float32), engine=engine)
    assert len(probing._programs[model]) == probing.MOST_PROGRAMS
    del model
    gc.collect()
    assert gone() is None


def test_filters():
    model = nn.Sequential(nn.Conv2d(1, 3, 5), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2))
    assert insight.filters(model, "0").shape == (3, 1, 5, 5)
    assert (insight.filters(model, "3") == model[3].weight.numpy()).all()
    with pytest.raises(ArgumentError, match="'0', '3'"):
        insight.filters(model, "1")


@pytest.mark.parametrize("engine", ENGINES)
def test_grad_cam_of_a_linear_head_is_cam(engine):
    model = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.GlobalAvgPool(), nn.Linear(4, 3, bias=False)
    )
    x = generator.standard_normal((2, 1, 7, 8)).astype(np.float32)
    found = insight.grad_cam(model, x, target=2, upsample=False, engine=engine)
    maps = insight.activations(model, x, "1", engine=engine)
    # αₖ is wₖ / places: the score is Σ wₖ · mean of map k
    cam = np.einsum("k,nkhw->nhw", model[3].weight.numpy()[2], maps).clip(0) / 30
    np.testing.assert_allclose(found, cam, atol=1e-6)
    full = insight.grad_cam(model, x, target=2, layer="1", engine=engine)
    assert full.shape == (2, 7, 8)


def test_grad_cam_needs_maps():
    x = np.ones((1, 6), np.float32)
    with pytest.raises(ArgumentError, match="saliency or occlusion"):
        insight.grad_cam(models.MLP((6,), [4], 2), x)
    model = nn.Sequential(nn.Conv1d(1, 2, 3), nn.GlobalAvgPool())
    with pytest.raises(ArgumentError, match="gives no maps"):
        insight.grad_cam(model, x[:, None], layer="1")
    assert insight.grad_cam(model, x[:, None], 0, engine="interpreter").shape == (1, 6)


@pytest.mark.parametrize("engine", ENGINES)
def test_climbing_finds_the_best_input_of_a_linear_unit(engine):
    layer = nn.Linear(6, 3)
    found = insight.maximize_activation(
        layer, "", [0, 2], (6,), steps=60, decay=0.0, low=-1.0, high=1.0, engine=engine
    )
    assert found.responses.shape == (61, 2)
    assert (np.diff(found.responses[:, 0]) > -1e-5).all()
    best = np.abs(layer.weight.numpy()).sum(axis=1) + layer.bias.numpy()
    np.testing.assert_allclose(found.responses[-1], best[[0, 2]], rtol=0.02)
    again = insight.maximize_activation(
        layer, "", [0, 2], (6,), steps=60, decay=0.0, low=-1.0, high=1.0, engine=engine
    )
    assert (again.inputs == found.inputs).all()
    with pytest.raises(IndexRangeError, match="0 ≤ unit < 3"):
        insight.maximize_activation(layer, "", 3, (6,))
    with pytest.raises(ArgumentError, match="low < high"):
        insight.maximize_activation(layer, "", 1, (6,), low=1.0)


def test_the_samples_that_a_unit_likes_best():
    layer = nn.Linear(4, 3)
    x = generator.standard_normal((20, 4)).astype(np.float32)
    rows, values = insight.most_activating(
        layer, cr.data.ArrayDataset(x, np.zeros(20)), "", [1, 0], k=3, batch_size=7,
        engine="interpreter",
    )  # fmt: skip
    scores = x @ layer.weight.numpy().T + layer.bias.numpy()
    assert (rows == np.argsort(-scores, axis=0)[:3, [1, 0]].T).all()
    np.testing.assert_allclose(values[0], np.sort(scores[:, 1])[::-1][:3], atol=1e-5)
    with pytest.raises(ArgumentError, match="20 samples"):
        insight.most_activating(layer, x, "", 0, k=21)


STACKS = {
    "two of 3 are one of 5": ([nn.Conv2d(1, 2, 3), nn.Conv2d(2, 2, 3)], (5, 5), 1),
    "stride": ([nn.Conv2d(1, 2, 3, stride=2), nn.Conv2d(2, 2, 3)], (7, 7), 2),
    "dilation": ([nn.Conv2d(1, 2, 3, dilation=(1, 2)), nn.Conv2d(2, 2, 3)], (5, 7), 1),
    "max": ([nn.Conv2d(1, 2, 3), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3)], (8, 8), 2),
    "mean": ([nn.AvgPool2d(3, 2), nn.Conv2d(1, 2, (1, 3)), nn.Tanh()], (3, 7), 2),
    "padding": ([nn.ZeroPad2d(1), nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()], (3, 3), 1),
}


@pytest.mark.parametrize("case", STACKS)
def test_receptive_fields_computed_and_measured(case):
    layers, size, stride = STACKS[case]
    model = nn.Sequential(*layers)
    last = str(len(layers) - 1)
    field = insight.receptive_fields(model, (1, 24, 24))[last]
    assert field.size == size
    assert field.stride == (stride, stride)
    for unit in (None, (0, 0)):
        place = tuple(n // 2 for n in field.output_shape[2:]) if unit is None else unit
        measured = insight.measured_receptive_field(
            model, last, (1, 24, 24), unit=unit, n_samples=24, engine="interpreter"
        )
        assert insight.box_of(measured) == field.region(place)


def test_receptive_fields_of_branches_and_of_what_sees_all():
    field = insight.receptive_fields(Branches(), (2, 16, 16))[""]
    assert (field.size, field.stride, field.start) == ((5, 5), (2, 2), (-2, -2))
    fields = insight.receptive_fields(models.create("lenet5"), (1, 28, 28))
    assert [fields[path].size[0] for path in ("c1", "s2", "c3", "s4", "f6")] == [5, 6, 14, 16, None]
    assert fields["s4"].stride == (4, 4)
    assert fields["f6"].region((0, 0)) == (slice(0, 28), slice(0, 28))
    assert "sees 16 × 16, stride 4 × 4" in str(fields["s4"])
    rows = insight.receptive_fields(nn.Linear(5, 2), (5,))
    assert rows[""].size == (None,)


@pytest.mark.parametrize("engine", ENGINES)
def test_shifts_go_through_convolutions(engine):
    model = nn.Sequential(nn.Conv2d(1, 3, 3, padding=1), nn.Tanh(), nn.AvgPool2d(2), nn.Flatten())
    x = generator.standard_normal((2, 1, 16, 16)).astype(np.float32)
    even = insight.translation_equivariance(model, x, "2", (4, -2), engine=engine)
    assert even.output_shift == (2, -1)
    assert even.error < 1e-6 < 0.01 < even.border_error
    odd = insight.translation_equivariance(model, x, "2", (1, 0), engine=engine)
    assert odd.error > 0.1, "a stride of 2 does not commute with a shift by 1"
    with pytest.raises(ArgumentError, match="convolutional layer"):
        insight.translation_equivariance(model, x, "3", (1, 0))
    with pytest.raises(ArgumentError, match="clear of the border"):
        insight.translation_equivariance(model, x, "2", (15, 15))
