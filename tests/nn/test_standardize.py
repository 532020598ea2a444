"""``Standardize``: preprocessing that travels with the model."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import ArgumentError


def test_columns_get_mean_zero_and_deviation_one():
    x = np.random.default_rng(0).normal([1.0, -5.0], [2.0, 0.1], size=(50, 2))
    layer = nn.Standardize(x.mean(axis=0), x.std(axis=0))
    y = layer(cr.asarray(x.astype("f"))).numpy()
    np.testing.assert_allclose(y.mean(axis=0), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), 1, rtol=1e-5)


def test_pixels_become_float32_and_nothing_is_learned():
    layer = nn.Standardize(100.0, 50.0)
    assert layer(cr.asarray(np.array([0, 150], np.uint8))).tolist() == [-2, 1]
    assert list(layer.parameters()) == []
    assert sorted(layer.state_dict()) == ["mean", "scale"]


def test_scale_must_be_positive():
    with pytest.raises(ArgumentError, match="positive"):
        nn.Standardize(0.0, [1.0, 0.0])
