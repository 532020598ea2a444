"""Every loss: value, gradient, reductions and weights; against PyTorch where it has one."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn
from chainrule.errors import (
    ArgumentError,
    DataError,
    DtypeError,
    IndexRangeError,
    ShapeError,
    TeachingWarning,
)
from chainrule.nn import functional as F

RNG = np.random.default_rng(0)
LOGITS = RNG.normal(scale=2, size=(6, 4))
LABELS = np.array([0, 3, 1, 1, 2, 0])
VALUES = RNG.normal(size=(6, 3))
TARGETS = VALUES + RNG.normal(scale=1.5, size=(6, 3))
BITS = RNG.integers(0, 2, (6, 3)).astype(float)
CHANCES = RNG.uniform(0.05, 0.95, (6, 3))
SIGNS = 2 * BITS - 1
VARIANCES = RNG.uniform(0.5, 2, (6, 3))
SOFT = RNG.dirichlet(np.ones(4), 6)
WEIGHTS = np.array([0.5, 2.0, 1.0, 0.0, 3.0, 1.5])
CLASS_WEIGHTS = np.array([1.0, 0.5, 2.0, 3.0])
LOG_CHANCES = np.log(SOFT)


def log_softmax(z):
    shifted = z - z.max(axis=-1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def own(z, labels=LABELS):
    return np.take_along_axis(z, labels[:, None], axis=1)[:, 0]


def focal(z, gamma):
    log_p = own(log_softmax(z))
    return -((1 - np.exp(log_p)) ** gamma) * log_p


def multi_margin(z):
    gaps = np.maximum(0, 1 - own(z)[:, None] + z)
    gaps[np.arange(6), LABELS] = 0
    return gaps.sum(axis=1) / 4


def huber(e, delta):
    return np.where(np.abs(e) <= delta, e * e / 2, delta * (np.abs(e) - delta / 2))


# function, its options, prediction, further arguments, the loss of each element in NumPy,
# and PyTorch's name with what it takes
TABLE = {
    "mse": (F.mse_loss, {}, VALUES, (TARGETS,), lambda y: (y - TARGETS) ** 2, ("mse_loss", {})),
    "half": (F.half_squared_error, {}, VALUES, (TARGETS,), lambda y: (y - TARGETS) ** 2 / 2, None),
    "l1": (F.l1_loss, {}, VALUES, (TARGETS,), lambda y: abs(y - TARGETS), ("l1_loss", {})),
    "huber": (
        F.huber_loss, {"delta": 0.7}, VALUES, (TARGETS,), lambda y: huber(y - TARGETS, 0.7),
        ("huber_loss", {"delta": 0.7}),
    ),
    "smooth_l1": (
        F.smooth_l1_loss, {"beta": 0.7}, VALUES, (TARGETS,),
        lambda y: huber(y - TARGETS, 0.7) / 0.7, ("smooth_l1_loss", {"beta": 0.7}),
    ),
    "pinball": (
        F.pinball_loss, {"quantile": 0.2}, VALUES, (TARGETS,),
        lambda y: np.maximum(0.2 * (TARGETS - y), -0.8 * (TARGETS - y)), None,
    ),
    "bce": (
        F.binary_cross_entropy, {}, CHANCES, (BITS,),
        lambda p: -BITS * np.log(p) - (1 - BITS) * np.log(1 - p), ("binary_cross_entropy", {}),
    ),
    "bce_logits": (
        F.binary_cross_entropy_with_logits, {}, VALUES, (BITS,),
        lambda z: -BITS * np.log(sigmoid(z)) - (1 - BITS) * np.log(sigmoid(-z)),
        ("binary_cross_entropy_with_logits", {}),
    ),
    "bce_logits_weighted": (
        F.binary_cross_entropy_with_logits, {"pos_weight": np.array([2.0, 0.5, 1.0])}, VALUES,
        (BITS,),
        lambda z: -BITS * [2, 0.5, 1] * np.log(sigmoid(z)) - (1 - BITS) * np.log(sigmoid(-z)),
        ("binary_cross_entropy_with_logits", {"pos_weight": np.array([2.0, 0.5, 1.0])}),
    ),
    "cross_entropy": (
        F.cross_entropy, {}, LOGITS, (LABELS,), lambda z: -own(log_softmax(z)),
        ("cross_entropy", {}),
    ),
    "cross_entropy_soft": (
        F.cross_entropy, {}, LOGITS, (SOFT,), lambda z: -(SOFT * log_softmax(z)).sum(axis=1),
        ("cross_entropy", {}),
    ),
    "cross_entropy_smooth": (
        F.cross_entropy, {"label_smoothing": 0.2}, LOGITS, (LABELS,),
        lambda z: -0.8 * own(log_softmax(z)) - 0.2 * log_softmax(z).mean(axis=1),
        ("cross_entropy", {"label_smoothing": 0.2}),
    ),
    "nll": (F.nll_loss, {}, LOG_CHANCES, (LABELS,), lambda z: -own(z), ("nll_loss", {})),
    "focal": (F.focal_loss, {"gamma": 1.5}, LOGITS, (LABELS,), lambda z: focal(z, 1.5), None),
    "focal_binary": (
        F.focal_loss, {"gamma": 2.0, "alpha": 0.25}, VALUES, (BITS,),
        lambda z: np.where(
            BITS == 1,
            -0.25 * sigmoid(-z) ** 2 * np.log(sigmoid(z)),
            -0.75 * sigmoid(z) ** 2 * np.log(sigmoid(-z)),
        ), None,
    ),
    "gaussian_nll": (
        F.gaussian_nll_loss, {}, VALUES, (TARGETS, VARIANCES),
        lambda y: (np.log(VARIANCES) + (TARGETS - y) ** 2 / VARIANCES) / 2,
        ("gaussian_nll_loss", {}),
    ),
    "kl_div": (
        F.kl_div_loss, {}, log_softmax(LOGITS), (SOFT,), lambda q: SOFT * (np.log(SOFT) - q),
        ("kl_div", {}),
    ),
    "kl_div_log": (
        F.kl_div_loss, {"log_target": True}, log_softmax(LOGITS), (LOG_CHANCES,),
        lambda q: SOFT * (np.log(SOFT) - q), ("kl_div", {"log_target": True}),
    ),
    "hinge": (F.hinge_loss, {}, VALUES, (SIGNS,), lambda z: np.maximum(0, 1 - SIGNS * z), None),
    "multi_margin": (
        F.multi_margin_loss, {}, LOGITS, (LABELS,), multi_margin, ("multi_margin_loss", {}),
    ),
    "miss": (
        F.miss_probability, {}, LOGITS, (LABELS,), lambda z: 1 - own(np.exp(log_softmax(z))), None,
    ),
    "expected_distance": (
        F.expected_squared_distance, {}, LOGITS, (LABELS,),
        lambda z: (np.exp(log_softmax(z)) * (np.arange(4) - LABELS[:, None]) ** 2).sum(axis=1),
        None,
    ),
    "cosine": (
        F.cosine_embedding_loss, {"margin": 0.1}, VALUES, (TARGETS, SIGNS[:, 0]),
        lambda y: cosine_embedding(y), ("cosine_embedding_loss", {"margin": 0.1}),
    ),
    "triplet": (
        F.triplet_margin_loss, {"margin": 1.0}, VALUES, (TARGETS, VARIANCES),
        lambda y: np.maximum(
            0,
            np.linalg.norm(y - TARGETS + 1e-6, axis=1)
            - np.linalg.norm(y - VARIANCES + 1e-6, axis=1) + 1,
        ), ("triplet_margin_loss", {"margin": 1.0}),
    ),
}  # fmt: skip


def cosine_embedding(y):
    cosine = (y * TARGETS).sum(axis=1)
    cosine = cosine / (np.linalg.norm(y, axis=1) * np.linalg.norm(TARGETS, axis=1))
    return np.where(SIGNS[:, 0] > 0, 1 - cosine, np.maximum(0, cosine - 0.1))


def arrays(rest):
    return [cr.asarray(x) for x in rest]


@pytest.mark.parametrize("name", TABLE)
def test_values_and_reductions(name):
    loss, options, prediction, rest, formula, _ = TABLE[name]
    expected = formula(prediction)
    for reduction, wanted in [
        ("none", expected),
        ("sum", expected.sum()),
        ("mean", expected.mean()),
    ]:
        found = loss(cr.asarray(prediction), *arrays(rest), reduction=reduction, **options)
        np.testing.assert_allclose(found.numpy(), wanted, rtol=1e-7, atol=1e-12)


@pytest.mark.parametrize("name", TABLE)
def test_sample_weights_count_like_copies(name):
    loss, options, prediction, rest, formula, _ = TABLE[name]
    values = formula(prediction)
    weight = WEIGHTS.reshape((6,) + (1,) * (values.ndim - 1))
    wanted = (values * weight).sum() / (WEIGHTS.sum() * values[0].size)
    found = loss(cr.asarray(prediction), *arrays(rest), sample_weight=WEIGHTS, **options)
    assert float(found) == pytest.approx(wanted, rel=1e-7)
    total = loss(
        cr.asarray(prediction), *arrays(rest), sample_weight=WEIGHTS, reduction="sum", **options
    )
    assert float(total) == pytest.approx((values * weight).sum(), rel=1e-7)
    with pytest.raises(ShapeError, match="sample_weight"):
        loss(cr.asarray(prediction), *arrays(rest), sample_weight=WEIGHTS[:5], **options)


@pytest.mark.parametrize("name", TABLE)
def test_gradients(name):
    loss, options, prediction, rest, _, _ = TABLE[name]
    others = arrays(rest)
    cr.check_gradients(
        lambda z: loss(z, *others, sample_weight=WEIGHTS, **options), (prediction,), order=2,
        tolerance=1e-5,
    )  # fmt: skip


@pytest.mark.parametrize("name", TABLE)
def test_compiled_equals_eager(name):
    loss, options, prediction, rest, _, _ = TABLE[name]
    program = cr.compile(
        lambda z, *others: cr.value_and_grad(lambda z: loss(z, *others, **options))(z)
    )
    value, gradient = program(cr.asarray(prediction), *arrays(rest))
    eager, slope = cr.value_and_grad(lambda z: loss(z, *arrays(rest), **options))(prediction)
    assert float(value) == pytest.approx(float(eager), rel=1e-12)
    np.testing.assert_allclose(gradient.numpy(), slope.numpy(), rtol=1e-10, atol=1e-14)


@pytest.mark.peer
@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[5]])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_against_torch(name, reduction):
    torch = pytest.importorskip("torch")
    loss, options, prediction, rest, _, (peer, theirs_options) = TABLE[name]
    z = torch.tensor(prediction, requires_grad=True)
    theirs_options = {
        k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in theirs_options.items()
    }
    if peer == "kl_div" and reduction == "mean":
        reduction = "batchmean"  # PyTorch warns of its own mean
    values = getattr(torch.nn.functional, peer)(
        z, *(torch.tensor(x) for x in rest), reduction=reduction, **theirs_options
    )
    g = np.random.default_rng(2).normal(size=tuple(values.shape))
    values.backward(torch.tensor(g))
    ours, pull = cr.vjp(
        lambda z: loss(z, *arrays(rest), reduction=reduction, **options), prediction
    )
    np.testing.assert_allclose(ours.numpy(), values.detach().numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(pull(cr.asarray(g))[0].numpy(), z.grad.numpy(), rtol=1e-6, atol=1e-9)


@pytest.mark.peer
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_class_weights_ignored_labels_and_positions_against_torch(smoothing, weighted, reduction):
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    z, t = rng.normal(size=(5, 4, 3)), rng.integers(0, 4, (5, 3))
    t[1, 2] = t[4, 0] = -100
    weight = CLASS_WEIGHTS if weighted else None
    theirs_z = torch.tensor(z, requires_grad=True)
    theirs = torch.nn.functional.cross_entropy(
        theirs_z, torch.tensor(t), weight=None if weight is None else torch.tensor(weight),
        label_smoothing=smoothing, reduction=reduction,
    )  # fmt: skip
    theirs.sum().backward()
    found, slope = cr.value_and_grad(
        lambda z: cr.sum(
            F.cross_entropy(
                z, cr.asarray(t), weight=weight, label_smoothing=smoothing, reduction=reduction
            )
        )
    )(z)
    assert float(found) == pytest.approx(theirs.sum().item(), rel=1e-9)
    np.testing.assert_allclose(slope.numpy(), theirs_z.grad.numpy(), rtol=1e-7, atol=1e-12)


LAYERS = {
    nn.MSELoss: "mse", nn.HalfSquaredError: "half", nn.L1Loss: "l1", nn.HuberLoss: None,
    nn.SmoothL1Loss: None, nn.PinballLoss: None, nn.BCELoss: "bce",
    nn.BCEWithLogitsLoss: "bce_logits", nn.CrossEntropyLoss: "cross_entropy", nn.NLLLoss: "nll",
    nn.FocalLoss: None, nn.GaussianNLLLoss: "gaussian_nll", nn.KLDivLoss: "kl_div",
    nn.HingeLoss: "hinge", nn.MultiMarginLoss: "multi_margin", nn.MissProbabilityLoss: "miss",
    nn.ExpectedSquaredDistanceLoss: "expected_distance", nn.CosineEmbeddingLoss: None,
    nn.TripletMarginLoss: "triplet", nn.SumSquaredError: "mse",
}  # fmt: skip


@pytest.mark.parametrize("layer", LAYERS, ids=lambda layer: layer.__name__)
def test_layers_call_their_function(layer):
    import inspect

    from chainrule.nn import losses

    every = {
        value
        for value in vars(losses).values()
        if inspect.isclass(value) and issubclass(value, nn.Loss) and value is not nn.Loss
    }
    assert every == set(LAYERS), "a loss without a row here"
    name = LAYERS[layer] or {
        nn.HuberLoss: "huber", nn.SmoothL1Loss: "smooth_l1", nn.PinballLoss: "pinball",
        nn.FocalLoss: "focal", nn.CosineEmbeddingLoss: "cosine",
    }[layer]  # fmt: skip
    function, options, prediction, rest, formula, _ = TABLE[name]
    made = layer(**options)
    found = float(made(cr.asarray(prediction), *arrays(rest)))
    expected = formula(prediction)
    wanted = expected.sum() if layer is nn.SumSquaredError else expected.mean()
    assert found == pytest.approx(wanted, rel=1e-6)
    weighted = made(cr.asarray(prediction), *arrays(rest), sample_weight=WEIGHTS)
    reduction = "sum" if layer is nn.SumSquaredError else "mean"
    direct = function(
        cr.asarray(prediction), *arrays(rest), sample_weight=WEIGHTS, reduction=reduction, **options
    )
    assert float(weighted) == pytest.approx(float(direct), rel=1e-6)


@pytest.mark.parametrize(
    ("made", "function", "options"),
    [
        (
            nn.CrossEntropyLoss(CLASS_WEIGHTS, 3, "sum", 0.1),
            F.cross_entropy,
            {
                "weight": CLASS_WEIGHTS,
                "ignore_index": 3,
                "reduction": "sum",
                "label_smoothing": 0.1,
            },
        ),
        (
            nn.NLLLoss(CLASS_WEIGHTS, 3, "sum"),
            F.nll_loss,
            {"weight": CLASS_WEIGHTS, "ignore_index": 3, "reduction": "sum"},
        ),
        (
            nn.FocalLoss(1.0, CLASS_WEIGHTS, "none"),
            F.focal_loss,
            {"gamma": 1.0, "alpha": CLASS_WEIGHTS, "reduction": "none"},
        ),
        (nn.MultiMarginLoss(0.5, "sum"), F.multi_margin_loss, {"margin": 0.5, "reduction": "sum"}),
    ],
    ids=["cross-entropy", "likelihood", "focal", "margin"],
)
def test_the_settings_of_a_layer_reach_its_function(made, function, options):
    scores = log_softmax(LOGITS) if function is F.nll_loss else LOGITS
    logits, labels = cr.asarray(scores), cr.asarray(LABELS)
    direct = function(logits, labels, **options)
    np.testing.assert_allclose(made(logits, labels).numpy(), direct.numpy(), rtol=1e-6)


def test_softmax_cross_entropy_is_one_node_each_way():
    z = cr.variable(LOGITS)
    loss = F.cross_entropy(z, cr.asarray(LABELS), reduction="sum")
    assert "softmax_cross_entropy" in {n.op.name for n in nodes(loss) if n.op}
    gradient = cr.gradients(loss, z)
    assert gradient.node.op.name == "softmax_cross_entropy_pullback"
    truth = np.eye(4)[LABELS]
    np.testing.assert_allclose(gradient.numpy(), np.exp(log_softmax(LOGITS)) - truth, rtol=1e-9)


def nodes(x):
    from chainrule.graph import topological

    return topological([x])


def test_extreme_logits_stay_finite():
    z = np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 0.0]], np.float32)
    for loss in (
        lambda z: F.cross_entropy(z, cr.asarray([1, 1])),
        lambda z: F.binary_cross_entropy_with_logits(z, cr.ones((2, 3))),
        lambda z: F.focal_loss(z, cr.asarray([1, 1])),
    ):
        value, gradient = cr.value_and_grad(loss)(z)
        assert np.isfinite(float(value))
        assert np.isfinite(gradient.numpy()).all()
    certain = F.binary_cross_entropy(cr.asarray([0.0, 1.0]), cr.asarray([1.0, 0.0]))
    assert float(certain) == 100, "the logarithm of 0 counts as −100"


WRONG = {
    "column against row": (
        lambda: F.mse_loss(np.zeros((4, 1), "f"), np.zeros(4, "f")), ShapeError, "never broadcasts",
    ),
    "label out of range": (
        lambda: F.cross_entropy(LOGITS, np.array([0, 1, 2, 3, 4, 0])), IndexRangeError, "row 4",
    ),
    "negative label": (
        lambda: F.cross_entropy(LOGITS, np.array([0, 1, 2, 3, -1, 0])), IndexRangeError, "label -1",
    ),
    "one-hot labels": (
        lambda: F.cross_entropy(LOGITS, np.eye(4, dtype=int)[LABELS]), ShapeError, "one-hot",
    ),
    "labels in a column": (
        lambda: F.cross_entropy(LOGITS, LABELS[:, None]), ShapeError, "reshape",
    ),
    "float labels": (lambda: F.cross_entropy(LOGITS, LABELS * 1.0), DtypeError, "int64"),
    "logits as probabilities": (
        lambda: F.binary_cross_entropy(VALUES, BITS), DataError, "BCEWithLogitsLoss",
    ),
    "signs as bits": (
        lambda: F.binary_cross_entropy(CHANCES, SIGNS), DataError, "0/1",
    ),
    "bits as signs": (lambda: F.hinge_loss(VALUES, BITS), DataError, "2 * t - 1"),
    "negative variance": (
        lambda: F.gaussian_nll_loss(VALUES, TARGETS, -VARIANCES), DataError, "variance",
    ),
    "reduction": (
        lambda: F.mse_loss(VALUES, TARGETS, reduction="avg"), ArgumentError, "'mean'",
    ),
    "class weights": (
        lambda: F.cross_entropy(LOGITS, LABELS, weight=[1.0, 2.0]), ShapeError, "number a class",
    ),
    "smoothing": (
        lambda: F.cross_entropy(LOGITS, LABELS, label_smoothing=2.0), ArgumentError, "smoothing",
    ),
    "quantile": (lambda: nn.PinballLoss(1.5), ArgumentError, "quantile"),
    "whole-number logits": (
        lambda: F.cross_entropy(LABELS[:, None], LABELS), DtypeError, "floating",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_explained(name):
    call, error, fragment = WRONG[name]
    with pytest.raises(error) as caught:
        call()
    assert fragment in str(caught.value)


def test_a_label_out_of_range_is_caught_in_a_program_too():
    program = cr.compile(lambda z, t: F.cross_entropy(z, t))
    with pytest.raises(IndexRangeError, match="out of range"):
        program(cr.asarray(LOGITS), cr.asarray(LABELS + 2))


def test_probabilities_given_to_cross_entropy_bring_a_warning():
    with pytest.warns(TeachingWarning, match="second one"):
        F.cross_entropy(SOFT, LABELS)


def test_small_unsigned_labels_work():
    value = F.cross_entropy(LOGITS, LABELS.astype(np.uint8))
    assert float(value) == pytest.approx(float(F.cross_entropy(LOGITS, LABELS)))
