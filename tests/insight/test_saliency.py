"""Saliency methods against closed forms, on both engines; occlusion and the sanity check."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import insight, nn
from chainrule.errors import ArgumentError, IndexRangeError, ShapeError

ENGINES = ("interpreter", "compiler")
generator = np.random.default_rng(0)


def small_net(seed=0):
    cr.random.seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 4)
    )


def pictures(n=2):
    return generator.standard_normal((n, 1, 6, 6)).astype(np.float32)


@pytest.mark.parametrize("engine", ENGINES)
def test_the_gradient_of_a_linear_model_is_its_weight(engine):
    layer = nn.Linear(5, 3)
    x = generator.standard_normal((2, 5)).astype(np.float32)
    weight = layer.weight.numpy()
    found = insight.saliency(layer, x, target=[2, 0], engine=engine)
    np.testing.assert_allclose(found, weight[[2, 0]], rtol=1e-6)
    times = insight.saliency(layer, x, target=1, method="gradient_x_input", engine=engine)
    np.testing.assert_allclose(times, weight[1] * x, rtol=1e-6)
    largest = layer(cr.asarray(x)).numpy().argmax(axis=1)
    np.testing.assert_allclose(
        insight.gradient(layer, x, engine=engine), weight[largest], rtol=1e-6
    )


def test_the_gradient_agrees_with_differences_and_leaves_the_mode_alone():
    model, x = small_net().astype(cr.float64), pictures(1).astype(np.float64)
    found = insight.gradient(model, x, target=1, engine="interpreter")
    assert model.training
    assert found.dtype == np.float64
    step = np.zeros_like(x)
    step[0, 0, 2, 3] = 1e-5
    model.eval()
    up, down = (model(cr.asarray(x + s * step)).numpy()[0, 1] for s in (1, -1))
    assert found[0, 0, 2, 3] == pytest.approx((up - down) / 2e-5, rel=1e-6)


@pytest.mark.parametrize("engine", ENGINES)
def test_integrated_gradients_add_up(engine):
    model, x = small_net(), pictures()
    result = insight.integrated_gradients(model, x, target=2, baseline=0.5, engine=engine)
    model.eval()
    at = [model(cr.asarray(v)).numpy()[:, 2] for v in (x, np.full_like(x, 0.5))]
    np.testing.assert_allclose(result.difference, at[0] - at[1], atol=1e-5)
    np.testing.assert_allclose(result.residual, 0, atol=1e-5)
    assert result.is_complete()
    once = insight.integrated_gradients(model, 8 * x, target=2, steps=1, engine=engine)
    assert not once.is_complete(), "one point on the way is too few, and that is seen"


def test_smooth_grad_without_noise_is_the_gradient_and_with_it_is_seeded():
    model, x = small_net(), pictures()
    plain = insight.gradient(model, x, 0, engine="interpreter")
    options = {"method": "smooth_grad", "n_samples": 3, "engine": "interpreter"}
    still = insight.saliency(model, x, 0, noise=0.0, **options)
    np.testing.assert_allclose(still, plain, rtol=1e-5, atol=1e-7)
    noisy = [insight.saliency(model, x, 0, seed=seed, **options) for seed in (1, 1, 2)]
    assert (noisy[0] == noisy[1]).all()
    assert abs(noisy[0] - noisy[2]).max() > 1e-4


def test_a_model_with_one_output_and_integer_inputs():
    model = nn.Sequential(nn.Linear(4, 1), nn.Flatten(0))
    found = insight.gradient(model, np.arange(8).reshape(2, 4), engine="interpreter")
    np.testing.assert_allclose(found, np.repeat(model[0].weight.numpy(), 2, axis=0))


def test_errors_say_what_to_do():
    layer, x = nn.Linear(3, 2), np.ones((4, 3), np.float32)
    with pytest.raises(ArgumentError, match="smooth_grad"):
        insight.saliency(layer, x, method="magic")
    with pytest.raises(ArgumentError, match="n_samples, noise, seed"):
        insight.saliency(layer, x, method="smooth_grad", sigma=1.0)
    with pytest.raises(IndexRangeError, match="0 ≤ target < 2"):
        insight.gradient(layer, x, 2, engine="interpreter")
    with pytest.raises(ShapeError, match="4 ints"):
        insight.gradient(layer, x, [0, 1], engine="interpreter")
    with pytest.raises(ShapeError, match="makes a batch"):
        insight.gradient(layer, x[0])
    with pytest.raises(ArgumentError, match=r"nn\.Module"):
        insight.gradient(lambda x: x, x)
    with pytest.raises(ShapeError, match="baseline"):
        insight.integrated_gradients(layer, x, baseline=np.ones(2))
    with pytest.raises(ArgumentError, match="window=9"):
        insight.occlusion(layer, x, window=9)


def test_occlusion_of_what_is_ignored_is_0_and_of_the_rest_its_share():
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    weight = generator.standard_normal((2, 6, 6)).astype(np.float32)
    weight[:, :, 3:] = 0
    model[1].weight = weight.reshape(2, 36)
    x = pictures(3)
    options = {"target": 1, "engine": "interpreter", "batch_size": 8}
    lost = insight.occlusion(model, x, window=1, stride=1, **options)
    assert (lost[:, :, 3:] == 0).all()
    np.testing.assert_allclose(lost[:, :, :3], (x * weight[1])[:, 0, :, :3], atol=1e-5)
    wide = insight.occlusion(model, x, window=(2, 2), stride=2, fill=0.25, **options)
    gone = ((x - 0.25) * weight[1])[:, 0].reshape(3, 3, 2, 3, 2).sum(axis=(2, 4))
    np.testing.assert_allclose(wide[:, ::2, ::2], gone, atol=1e-5)


def test_the_last_window_reaches_the_border():
    lost = insight.occlusion(
        nn.Linear(5, 2), generator.standard_normal((1, 5)), window=2, stride=2,
        engine="interpreter", target=0,
    )  # fmt: skip
    assert (lost != 0).all()


def test_the_sanity_check_tells_the_gradient_from_an_edge_detector():
    model, x = small_net(), pictures(4)
    before = model.state_dict()
    check = insight.sanity_check(model, x, engine="interpreter")
    assert check.layers == ("4", "0")
    assert check.maps.shape == (3, 4, 1, 6, 6)
    assert check.passed, check.correlations
    assert len(repr(check)) < 200  # figures, not all the maps
    edges = insight.sanity_check(model, x, method=insight.edge_detector)
    np.testing.assert_allclose(edges.correlations, 1.0)
    assert not edges.passed
    after = model.state_dict()
    assert all((after[name].numpy() == value.numpy()).all() for name, value in before.items())
    with pytest.raises(ArgumentError, match="n_draws=0"):
        insight.sanity_check(model, x, n_draws=0)
    with pytest.raises(ArgumentError, match="parameters"):
        insight.sanity_check(nn.Flatten(), x, engine="interpreter")


def test_rank_correlation():
    a = generator.standard_normal(50)
    assert insight.rank_correlation(a, np.exp(a)) == pytest.approx(1)
    assert insight.rank_correlation(a, -a) == pytest.approx(-1)
    # by hand, with a tie: ranks 0, 1.5, 1.5, 3 and 0, 2, 1, 3
    assert insight.rank_correlation(
        np.array([1, 2, 2, 3]), np.array([1, 3, 2, 4])
    ) == pytest.approx(0.9486833)
    assert insight.rank_correlation(a, np.ones(50)) == 0
