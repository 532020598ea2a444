"""Where losses go wrong unseen: saturation, logits of 0, labels inside Programs, perfect fits."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import IndexRangeError, ShapeError
from chainrule.nn import functional as F

RNG = np.random.default_rng(11)
SCORES = RNG.normal(size=(2, 4)).astype(np.float32)

# every probability that a float32 sigmoid can saturate to, against every target
CERTAIN = np.array([0, 1, 0, 1, 0.25], np.float32)
TRUTH = np.array([1, 0, 0, 1, 1], np.float32)


def test_certain_probabilities_have_finite_derivatives():
    g = RNG.normal(size=5).astype(np.float32)
    value, pull = cr.vjp(
        lambda p: F.binary_cross_entropy(p, cr.asarray(TRUTH), reduction="none"), CERTAIN
    )
    np.testing.assert_allclose(value.numpy(), [100, 100, 0, 0, -np.log(0.25)], rtol=1e-6)
    # (p − t) / p (1 − p), the divisor held at 1e-12
    np.testing.assert_allclose(pull(g)[0].numpy(), g * [-1e12, 1e12, 0, 0, -4], rtol=1e-6)


def test_a_saturated_sigmoid_before_the_loss_gives_no_nan():
    z = np.array([-200, 50, -200, 50, 0], np.float32)
    found = cr.grad(
        lambda z: F.binary_cross_entropy(cr.sigmoid(z), cr.asarray(TRUTH), reduction="sum")
    )(z)
    np.testing.assert_allclose(found.numpy(), [0, 0, 0, 0, -0.5], atol=1e-7)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_certain_probabilities_in_every_type(dtype):
    p = cr.astype(cr.asarray(CERTAIN), dtype)
    found = cr.grad(lambda p: F.binary_cross_entropy(p, cr.asarray(TRUTH), reduction="sum"))(p)
    assert found.dtype == dtype
    assert np.isfinite(found.numpy().astype(np.float64)).all()


@pytest.mark.parametrize("pos_weight", [None, 3.0, np.array([3.0, 0.5])], ids=str)
def test_the_derivative_at_a_logit_of_zero(pos_weight):
    z, t = np.zeros((3, 2)), np.array([[1, 0], [0, 1], [0.25, 0.75]])
    g = RNG.normal(size=(3, 2))
    weight = 1.0 if pos_weight is None else pos_weight
    _, pull = cr.vjp(
        lambda z: F.binary_cross_entropy_with_logits(
            z, cr.asarray(t), pos_weight=pos_weight, reduction="none"
        ),
        z,
    )
    # −w t (1 − σ) + (1 − t) σ with σ = ½: without weights σ − t
    np.testing.assert_allclose(pull(g)[0].numpy(), g * (-weight * t + (1 - t)) / 2, rtol=1e-12)
    cr.check_gradients(
        lambda z: F.binary_cross_entropy_with_logits(z, cr.asarray(t), pos_weight=pos_weight),
        (z,),
        order=2,
        tolerance=1e-5,
    )


def test_targets_are_differentiated_too():
    p, z, t = RNG.uniform(0.1, 0.9, (2, 3)), RNG.normal(size=(2, 3)), RNG.uniform(0.1, 0.9, (2, 3))
    cr.check_gradients(F.binary_cross_entropy, (p, t), order=2, tolerance=1e-5)
    cr.check_gradients(F.binary_cross_entropy_with_logits, (z, t), order=2, tolerance=1e-5)


def test_bernoulli_cross_entropies_are_one_node_each_way():
    for loss, start in [
        (F.binary_cross_entropy, RNG.uniform(0.1, 0.9, 3)),
        (F.binary_cross_entropy_with_logits, RNG.normal(size=3)),
    ]:
        x = cr.variable(start)
        y = loss(x, cr.asarray([0.0, 1.0, 1.0]), reduction="none")
        assert y.node.op.name == loss.__name__
        found = cr.gradients((y * cr.asarray(RNG.normal(size=3))).sum(), x)
        assert found.node.op.name == f"{loss.__name__}_pullback"


@pytest.mark.parametrize(
    ("logits", "weight"), [((3,), (4, 3)), ((3, 1), (3,)), ((2, 3), (2,))], ids=str
)
def test_pos_weight_never_makes_the_loss_larger(logits, weight):
    z, t = cr.asarray(RNG.normal(size=logits)), cr.zeros(logits)
    with pytest.raises(ShapeError, match="pos_weight"):
        F.binary_cross_entropy_with_logits(z, t, pos_weight=RNG.uniform(1, 2, weight))


LABELLED = {
    "cross_entropy": F.cross_entropy,
    "smoothed": lambda z, t: F.cross_entropy(z, t, label_smoothing=0.1),
    "weighted": lambda z, t: F.cross_entropy(z, t, weight=np.array([1.0, 2.0, 0.5, 3.0])),
    "nll_loss": lambda z, t: F.nll_loss(F.log_softmax(z), t),
    "focal_loss": F.focal_loss,
    "multi_margin_loss": F.multi_margin_loss,
    "miss_probability": F.miss_probability,
    "expected_squared_distance": F.expected_squared_distance,
}


@pytest.mark.parametrize("label", [-1, 4, 1000])
@pytest.mark.parametrize("name", LABELLED)
def test_a_program_checks_its_labels(name, label):
    loss, labels = LABELLED[name], cr.asarray(np.array([0, label]))
    value = cr.compile(lambda z, t: loss(z, t))
    # wanted alone, a gradient leaves the loss out of the Program: it must look at labels itself
    slope = cr.compile(lambda z, t: cr.grad(lambda z: loss(z, t))(z))
    for program in (value, slope):
        with pytest.raises(IndexRangeError, match=str(label)):
            program(cr.asarray(SCORES), labels).numpy()
