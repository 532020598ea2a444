"""Metrics against scikit-learn, with and without sample weights."""

import numpy as np
import pytest

from chainrule import metrics as own

pytestmark = pytest.mark.peer
N = 211


def softmax(logits):
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


CLASSIFICATION = {
    "accuracy": (own.Accuracy(), "accuracy_score", {}),
    "balanced": (own.BalancedAccuracy(), "balanced_accuracy_score", {}),
    "kappa": (own.CohenKappa(), "cohen_kappa_score", {}),
    "matthews": (own.MatthewsCorrelation(), "matthews_corrcoef", {}),
    "confusion": (own.ConfusionMatrix(), "confusion_matrix", {}),
    **{
        f"{name}-{average}": (kind(average), f"{name}_score", {"average": average})
        for name, kind in {"precision": own.Precision, "recall": own.Recall, "f1": own.F1}.items()
        for average in ("macro", "micro", "weighted")
    },
}


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("case", CLASSIFICATION)
def test_classification_agrees(case, weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    metric, function, options = CLASSIFICATION[case]
    rng = np.random.default_rng(1)
    # class 4 never occurs and is never said: the averages leave it out
    logits = rng.normal(size=(N, 5)) - 100 * (np.arange(5) == 4)
    labels = rng.integers(0, 4, N)
    weight = rng.uniform(0, 2, N) if weighted else None
    expected = getattr(theirs, function)(labels, logits.argmax(1), sample_weight=weight, **options)
    value = metric(logits, labels, weight)
    if case == "confusion":
        value = value[:4, :4]
    np.testing.assert_allclose(value, expected, rtol=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["Precision", "Recall", "F1"])
def test_binary_agrees(kind, weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(2)
    logits, labels = rng.normal(size=N), rng.integers(0, 2, N)
    weight = rng.uniform(0, 2, N) if weighted else None
    expected = getattr(theirs, f"{kind.lower()}_score")(labels, logits > 0, sample_weight=weight)
    assert getattr(own, kind)()(logits, labels, weight) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    ("metric", "function"),
    [
        (own.MeanAbsoluteError(), "mean_absolute_error"),
        (own.MeanSquaredError(), "mean_squared_error"),
        (own.RootMeanSquaredError(), "root_mean_squared_error"),
        (own.R2(), "r2_score"),
    ],
)
@pytest.mark.parametrize("outputs", [(), (3,)], ids=str)
def test_regression_agrees(metric, function, outputs, weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    target = rng.normal(5.0, 2.0, size=(N, *outputs))
    prediction = target + rng.normal(0.3, 1.0, size=(N, *outputs))
    weight = rng.uniform(0, 2, N) if weighted else None
    expected = getattr(theirs, function)(target, prediction, sample_weight=weight)
    assert metric(prediction, target, weight) == pytest.approx(expected, rel=1e-12)


def test_largest_error_agrees():
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(4)
    target, prediction = rng.normal(size=N), rng.normal(size=N)
    assert own.MaxError()(prediction, target) == theirs.max_error(target, prediction)


@pytest.mark.parametrize("weighted", [False, True])
def test_log_loss_and_top_k_agree(weighted):
    theirs = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(5)
    logits, labels = 3 * rng.normal(size=(N, 6)), rng.integers(0, 6, N)
    weight = rng.uniform(0, 2, N) if weighted else None
    expected = theirs.log_loss(labels, softmax(logits), sample_weight=weight)
    assert own.LogLoss()(logits, labels, weight) == pytest.approx(expected, rel=1e-10)
    probabilities = own.LogLoss(from_logits=False)(softmax(logits), labels, weight)
    assert probabilities == pytest.approx(expected, rel=1e-10)
    expected = theirs.top_k_accuracy_score(labels, logits, k=2, sample_weight=weight)
    assert own.TopKAccuracy(2)(logits, labels, weight) == pytest.approx(expected, rel=1e-12)
    single, binary = logits[:, 0], labels % 2
    expected = theirs.log_loss(binary, 1 / (1 + np.exp(-single)), sample_weight=weight)
    assert own.LogLoss()(single, binary, weight) == pytest.approx(expected, rel=1e-10)
