"""Where losses go wrong unseen: saturation, logits of 0, labels inside Programs, perfect fits."""

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError, IndexRangeError, ShapeError, TeachingWarning
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


@pytest.mark.parametrize("loss", [F.huber_loss, F.smooth_l1_loss])
def test_a_perfect_fit_lies_in_the_parabola(loss):
    y = cr.asarray([0.0, 0.5, -3.0])
    curvature = cr.hessian(lambda y: loss(y, cr.zeros(3), reduction="sum"))(y)
    np.testing.assert_allclose(curvature.numpy(), np.diag([1.0, 1.0, 0.0]))


def test_derivatives_at_ties_are_what_is_said():
    zero = cr.asarray([0.0])
    assert cr.grad(lambda y: F.l1_loss(y, zero))([0.0])[0].item() == 0
    slope = cr.grad(lambda y: F.pinball_loss(y, zero, quantile=0.3))([0.0])[0]
    assert slope.item() == pytest.approx(-0.3)
    assert cr.grad(lambda y: F.hinge_loss(y, cr.asarray([1.0])))([1.0])[0].item() == 0


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_a_certain_sample_has_a_finite_focal_derivative(gamma):
    z = np.array([[1e4, 0, 0], [40, 0, -40], [0, 0, 0]], np.float32)
    labels, bits = cr.asarray([0, 0, 1]), cr.asarray([[1.0, 0, 1], [1, 1, 0], [0, 1, 0]])
    for order in (1, 2):
        several, single = (
            lambda z: F.focal_loss(z, labels, gamma=gamma),
            lambda z: F.focal_loss(z, bits, gamma=gamma),
        )
        for loss in (several, single):
            slope = cr.grad(loss) if order == 1 else cr.hessian(loss)
            assert np.isfinite(slope(z).numpy()).all()


def test_focal_loss_without_focus_is_cross_entropy():
    labels, bits = np.array([3, 1]), RNG.integers(0, 2, (2, 4)).astype(np.float32)
    for focal, plain, target in [
        (F.focal_loss, F.cross_entropy, labels),
        (F.focal_loss, F.binary_cross_entropy_with_logits, bits),
    ]:
        ours = cr.value_and_grad(lambda z: focal(z, cr.asarray(target), gamma=0.0))(SCORES)  # noqa: B023
        theirs = cr.value_and_grad(lambda z: plain(z, cr.asarray(target)))(SCORES)  # noqa: B023
        for a, b in zip(ours, theirs, strict=True):
            np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=1e-5, atol=1e-7)


def test_cosine_of_tiny_huge_and_zero_vectors():
    x = RNG.normal(size=(4, 3)).astype(np.float32)
    for factor in (1e-6, 1.0, 1e12):
        found = F.cosine_similarity(cr.asarray(x * np.float32(factor)), cr.asarray(x))
        np.testing.assert_allclose(found.numpy(), 1, rtol=1e-5)
    slope = cr.grad(lambda a: F.cosine_similarity(a, cr.asarray(x)).sum())(np.zeros_like(x))
    assert np.isfinite(slope.numpy()).all()


@pytest.mark.parametrize("weighted", [False, True])
def test_the_mean_of_many_half_precision_losses_does_not_overflow(weighted):
    y = cr.astype(cr.full((100_000,), 2.0), "float16")
    weight = np.full(100_000, 3.0) if weighted else None
    found = F.mse_loss(y, cr.zeros_like(y), sample_weight=weight)
    assert found.dtype == "float16"
    assert float(found) == 4.0


def test_weighted_batchmean_divides_by_the_sum_of_the_weights():
    truth = RNG.dirichlet(np.ones(4), 3)
    logs = np.log(RNG.dirichlet(np.ones(4), 3))
    rows = (truth * (np.log(truth) - logs)).sum(axis=1)
    weight = np.array([2.0, 0.5, 1.0])
    found = F.kl_div_loss(
        cr.asarray(logs), cr.asarray(truth), reduction="batchmean", sample_weight=weight
    )
    assert float(found) == pytest.approx((rows * weight).sum() / weight.sum(), rel=1e-7)


BITS = RNG.integers(0, 2, (2, 4)).astype(np.float32)
PAIR = RNG.normal(size=(2, 4)).astype(np.float32)
ROWS = RNG.dirichlet(np.ones(4), 2).astype(np.float32)
EVERY = {
    "mse": (F.mse_loss, SCORES, (PAIR,)),
    "half": (F.half_squared_error, SCORES, (PAIR,)),
    "l1": (F.l1_loss, SCORES, (PAIR,)),
    "huber": (F.huber_loss, SCORES, (PAIR,)),
    "smooth_l1": (F.smooth_l1_loss, SCORES, (PAIR,)),
    "pinball": (F.pinball_loss, SCORES, (PAIR,)),
    "gaussian": (F.gaussian_nll_loss, SCORES, (PAIR, ROWS)),
    "kl": (F.kl_div_loss, np.log(ROWS), (ROWS,)),
    "bce": (F.binary_cross_entropy, ROWS, (BITS,)),
    "bce_logits": (F.binary_cross_entropy_with_logits, SCORES, (BITS,)),
    "hinge": (F.hinge_loss, SCORES, (2 * BITS - 1,)),
    "soft": (F.cross_entropy, SCORES, (ROWS,)),
    "focal_binary": (F.focal_loss, SCORES, (BITS,)),
    "triplet": (F.triplet_margin_loss, SCORES, (PAIR, ROWS)),
    "cosine": (F.cosine_embedding_loss, SCORES, (PAIR, np.array([1.0, -1.0], np.float32))),
    **{
        name: (loss, F.log_softmax(SCORES).numpy(), (np.array([3, 1]),))
        for name, loss in LABELLED.items()
        if name not in ("smoothed", "weighted", "nll_loss")
    },
    "nll": (F.nll_loss, F.log_softmax(SCORES).numpy(), (np.array([3, 1]),)),
}


@pytest.mark.parametrize("name", EVERY)
def test_float32_stays_float32(name):
    loss, prediction, rest = EVERY[name]
    value, slope = cr.value_and_grad(
        lambda z: loss(z, *map(cr.asarray, rest), sample_weight=np.array([0.5, 2.0]))
    )(prediction)
    assert value.dtype == slope.dtype == "float32"


@pytest.mark.parametrize("name", EVERY)
def test_an_empty_batch_sums_to_nothing_and_has_no_mean(name):
    loss, prediction, rest = EVERY[name]
    others = [cr.asarray(x[:0]) for x in rest]
    assert loss(cr.asarray(prediction[:0]), *others, reduction="none").shape[0] == 0
    total, slope = cr.value_and_grad(lambda z: loss(z, *others, reduction="sum"))(prediction[:0])
    assert float(total) == 0
    assert slope.shape == (0, 4)
    assert np.isnan(float(loss(cr.asarray(prediction[:0]), *others)))


@pytest.mark.parametrize("name", EVERY)
def test_mapped_over_examples(name):
    loss, prediction, rest = EVERY[name]
    batch = [np.stack([x, x[::-1]]) for x in (prediction, *rest)]
    weight = RNG.uniform(0.5, 2, 2).astype(np.float32)

    def slope(*inputs):
        return cr.value_and_grad(lambda z: loss(z, *inputs[1:], sample_weight=weight))(inputs[0])

    values, slopes = cr.vmap(slope)(*map(cr.asarray, batch))
    for i in range(2):
        value, one = slope(*(cr.asarray(x[i]) for x in batch))
        assert float(values[i]) == pytest.approx(float(value), rel=1e-5)
        np.testing.assert_allclose(slopes[i].numpy(), one.numpy(), rtol=1e-5, atol=1e-6)


SEQUENCE = np.zeros((2, 5, 7), np.float32)
WRONG = {
    "negative class probability": (lambda: F.cross_entropy(SCORES, SCORES), "softmax(target)"),
    "ignored probabilities": (
        lambda: F.cross_entropy(SCORES, ROWS, ignore_index=2), "sample_weight of 0",
    ),
    "negative probability": (lambda: F.kl_div_loss(np.log(ROWS), -ROWS), "log_target=True"),
    "reduction of the divergence": (
        lambda: F.kl_div_loss(np.log(ROWS), ROWS, reduction="avg"), "'batchmean'",
    ),
    "reduction of the divergence layer": (lambda: cr.nn.KLDivLoss("avg"), "'batchmean'"),
    "batchmean elsewhere": (lambda: F.mse_loss(SCORES, PAIR, reduction="batchmean"), "'none'"),
    "signs as bits": (lambda: F.focal_loss(SCORES, 2 * BITS - 1), "(t + 1) / 2"),
    "negative focus": (lambda: F.focal_loss(SCORES, BITS, gamma=-1.0), "gamma"),
    "classes last": (
        lambda: F.cross_entropy(SEQUENCE, np.zeros((2, 5), int)), "cross_entropy(..., axis=-1)",
    ),
    "one-hot positions": (
        lambda: F.cross_entropy(SEQUENCE, np.zeros((2, 5, 7), int)), "target.argmax(1)",
    ),
    "shapes as they were given": (
        lambda: F.nll_loss(-SEQUENCE, np.zeros((2, 6), int)), "scores (2, 5, 7)",
    ),
    "width": (lambda: F.huber_loss(SCORES, PAIR, delta=0.0), "huber_loss: delta"),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_explained_with_their_cure(name):
    call, fragment = WRONG[name]
    with pytest.raises(ValueError) as caught:
        call()
    assert fragment in str(caught.value)


@pytest.mark.parametrize(
    "loss",
    [F.focal_loss, F.miss_probability, F.expected_squared_distance],
    ids=lambda loss: loss.__name__,
)
def test_a_softmax_before_losses_of_logits_brings_a_warning(loss):
    with pytest.warns(TeachingWarning, match="takes logits"):
        loss(F.softmax(cr.asarray(SCORES)), np.array([0, 1]))


@pytest.mark.parametrize("soft", [False, True])
def test_classes_may_stand_last(soft):
    rng = np.random.default_rng(0)
    scores = rng.normal(size=(3, 5, 7)).astype(np.float32)
    if soft:
        truth = last = rng.dirichlet(np.ones(7), (3, 5)).astype(np.float32)
        truth = np.moveaxis(truth, -1, 1)
    else:
        truth = last = rng.integers(0, 7, (3, 5)).astype(np.uint8)
    expected = F.cross_entropy(np.moveaxis(scores, -1, 1), truth)
    loss = cr.nn.CrossEntropyLoss(axis=-1)
    assert loss(scores, last).item() == pytest.approx(expected.item(), rel=1e-6)
    with pytest.raises(ArgumentError, match="axis"):
        cr.nn.CrossEntropyLoss(axis=2)


def test_settings_may_be_traced_numbers():
    program = cr.compile(
        lambda z, t, width, q, gamma: (
            F.huber_loss(z, t, delta=width) + F.smooth_l1_loss(z, t, beta=width)
            + F.pinball_loss(z, t, quantile=q) + F.focal_loss(z, cr.asarray(BITS), gamma=gamma)
        )
    )  # fmt: skip
    z, t = cr.asarray(SCORES), cr.asarray(PAIR)
    for width, q, gamma in [(0.5, 0.2, 2.0), (1.5, 0.7, 1.0)]:
        wanted = (
            F.huber_loss(z, t, delta=width) + F.smooth_l1_loss(z, t, beta=width)
            + F.pinball_loss(z, t, quantile=q) + F.focal_loss(z, BITS, gamma=gamma)
        )  # fmt: skip
        assert float(program(z, t, width, q, gamma)) == pytest.approx(float(wanted), rel=1e-6)
    assert program.n_compilations == 1


# --- options and gradients of every input, as PyTorch has them ---------------------------------

CLASS_WEIGHTS = np.array([1.0, 0.5, 2.0, 3.0])
WIDE = RNG.normal(size=(5, 4, 3))
SPREAD = RNG.dirichlet(np.ones(4), (5, 3)).transpose(0, 2, 1)
PLACES = RNG.integers(0, 4, (5, 3))
PLACES[0, 1] = PLACES[3, 2] = -100
MEANS, VALUES = RNG.normal(size=(6, 2)), RNG.normal(size=(6, 2))
VARIANCES = np.abs(RNG.normal(size=(6, 2)))
VARIANCES[1, 0] = 0.0
CHANCES = RNG.uniform(size=(6, 2))
CHANCES[:2] = [[0, 1], [1, 0]]
YES = RNG.integers(0, 2, (6, 2)).astype(float)
PEERS = {
    "soft_weighted": (
        F.cross_entropy, "cross_entropy", [WIDE, SPREAD], {"weight": CLASS_WEIGHTS}, 2,
    ),
    "soft_smoothed": (
        F.cross_entropy, "cross_entropy", [WIDE, SPREAD],
        {"weight": CLASS_WEIGHTS, "label_smoothing": 0.3}, 2,
    ),
    "nll_weighted": (
        F.nll_loss, "nll_loss", [F.log_softmax(WIDE, 1).numpy(), PLACES],
        {"weight": CLASS_WEIGHTS}, 1,
    ),
    "gaussian_full": (
        F.gaussian_nll_loss, "gaussian_nll_loss", [MEANS, VALUES, VARIANCES], {"full": True}, 3,
    ),
    "bce_certain": (F.binary_cross_entropy, "binary_cross_entropy", [CHANCES, YES], {}, 1),
    "kl_target": (F.kl_div_loss, "kl_div", [np.log(SPREAD), SPREAD[::-1].copy()], {}, 2),
    "cosine": (
        F.cosine_embedding_loss, "cosine_embedding_loss", [MEANS, VALUES, 2 * YES[:, 0] - 1], {}, 2,
    ),
    "triplet": (
        F.triplet_margin_loss, "triplet_margin_loss", [MEANS, VALUES, VARIANCES], {}, 3,
    ),
}  # fmt: skip


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides")  # PyTorch, of its kl_div
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("name", PEERS)
def test_options_and_all_gradients_against_torch(name, reduction):
    torch = pytest.importorskip("torch")
    loss, peer, inputs, options, n_differentiated = PEERS[name]
    theirs = [
        torch.tensor(x, requires_grad=i < n_differentiated) for i, x in enumerate(inputs)
    ]  # fmt: skip
    values = getattr(torch.nn.functional, peer)(
        *theirs, reduction=reduction,
        **{k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in options.items()},
    )  # fmt: skip
    g = np.random.default_rng(4).normal(size=tuple(values.shape))
    values.backward(torch.tensor(g))
    fixed = [cr.asarray(x) for x in inputs[n_differentiated:]]
    ours, pull = cr.vjp(
        lambda *moved: loss(*moved, *fixed, reduction=reduction, **options),
        *inputs[:n_differentiated],
    )
    np.testing.assert_allclose(ours.numpy(), values.detach().numpy(), rtol=1e-6, atol=1e-9)
    for found, x in zip(pull(cr.asarray(g)), theirs, strict=False):
        np.testing.assert_allclose(found.numpy(), x.grad.numpy(), rtol=1e-6, atol=1e-9)
