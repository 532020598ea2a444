"""Metrics: hand-made numbers, streaming, weights, rules for zero denominators, messages."""

import warnings

import numpy as np
import pytest

from chainrule import metrics
from chainrule.errors import ArgumentError, DtypeError, IndexRangeError, ShapeError
from chainrule.metrics import METRICS, Total, get_metric, get_metrics

REGRESSION = ("mae", "max_error", "mse", "r2", "rmse")
MULTICLASS_ONLY = ("top_3_accuracy", "top_5_accuracy")


def sample(name, rng, n=97, kind="multiclass"):
    """Predictions, targets and weights that suit a metric."""
    weight = rng.uniform(0.1, 3.0, n)
    if name in REGRESSION:
        return rng.normal(size=(n, 3)), rng.normal(size=(n, 3)), weight
    if kind == "binary" and name not in MULTICLASS_ONLY:
        return rng.normal(size=n), rng.integers(0, 2, n), weight
    return rng.normal(size=(n, 6)), rng.integers(0, 6, n), weight


CASES = [(name, kind) for name in METRICS for kind in ("multiclass", "binary")]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_batches_add_up_to_the_whole(name, kind):
    rng = np.random.default_rng(3)
    prediction, target, weight = sample(name, rng, kind=kind)
    metric = get_metric(name)
    total = Total(metric)
    for rows in np.split(np.arange(len(weight)), [10, 11, 60]):
        part = metric.statistics(*_arrays(prediction[rows], target[rows], weight[rows]))
        assert part.ndim == 1
        assert part.dtype == np.float64
        total.add(part.numpy()[None])
    np.testing.assert_allclose(total.result(), metric(prediction, target, weight), rtol=1e-12)


def _arrays(*values):
    from chainrule.array import asarray

    return [asarray(v) for v in values]


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_a_weight_of_two_is_the_sample_twice_and_zero_is_none(name, kind):
    rng = np.random.default_rng(4)
    prediction, target, _ = sample(name, rng, n=20, kind=kind)
    weight = np.array([0.0, 1.0, 2.0, 1.0] * 5)
    repeated = np.repeat(np.arange(20), weight.astype(int))
    metric = get_metric(name)
    if name == "r2":  # counts samples: weights 1 and 2 alike leave enough of them
        assert metric(prediction, target, weight) == pytest.approx(
            metric(prediction[repeated], target[repeated])
        )
    np.testing.assert_allclose(
        metric(prediction, target, weight),
        metric(prediction[repeated], target[repeated]),
        rtol=1e-12,
    )


@pytest.mark.parametrize("name", [name for name in METRICS if METRICS[name]().scalar])
def test_no_samples_give_nan(name):
    prediction, target, weight = sample(name, np.random.default_rng(5), n=4)
    assert np.isnan(Total(get_metric(name)).result())
    assert np.isnan(get_metric(name)(prediction, target, weight * 0))


def test_the_order_of_adding_does_not_depend_on_the_chunks():
    rows = np.random.default_rng(6).normal(size=(100, 1))
    metric = get_metric("mae")
    whole, pieces = Total(metric), Total(metric)
    whole.add(rows)
    for start in range(0, 100, 7):
        pieces.add(rows[start : start + 7])
    assert whole.sums.tobytes() == pieces.sums.tobytes()


def test_hand_made_confusion():
    logits = np.float32([[3, 0, 0], [0, 2, 1], [0, 1, 2], [1, 0, 0], [0, 0, 5]])
    labels = np.array([0, 1, 1, 2, 2])
    matrix = metrics.ConfusionMatrix()(logits, labels)
    assert matrix.tolist() == [[1, 0, 0], [0, 1, 1], [1, 0, 1]]
    assert metrics.Accuracy()(logits, labels) == pytest.approx(3 / 5)
    assert metrics.Precision("macro")(logits, labels) == pytest.approx((1 / 2 + 1 + 1 / 2) / 3)
    assert metrics.Recall("macro")(logits, labels) == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)
    assert metrics.Specificity("macro")(logits, labels) == pytest.approx((3 / 4 + 1 + 2 / 3) / 3)


def test_ties_go_to_the_first_class():
    tied = np.float32([[1, 1, 0, 0]])
    assert metrics.Accuracy()(tied, np.array([0])) == 1
    assert metrics.Accuracy()(tied, np.array([1])) == 0
    assert metrics.TopKAccuracy(3)(tied, np.array([2])) == 1
    assert metrics.TopKAccuracy(3)(tied, np.array([3])) == 0


def test_lecture_example_of_mean_squared_error():
    error = metrics.MeanSquaredError()(np.float64([0.1, 0.8, 0.6]), np.array([1, 0, -1]))
    assert error == pytest.approx(4.01 / 3)


@pytest.mark.parametrize(
    ("name", "prediction", "target", "expected"),
    [
        ("precision", [-1, -2], [1, 0], 0.0),  # class 1 was never said
        ("recall", [1, -1], [0, 0], 0.0),  # class 1 has no samples
        ("specificity", [1, -1], [1, 1], 0.0),  # nothing but class 1
        ("f1", [-1, -1], [0, 0], 0.0),
        ("matthews", [1, 1], [1, 0], 0.0),
        ("cohen_kappa", [1, 1], [1, 1], np.nan),
        ("balanced_accuracy", [1, 1], [1, 1], 1.0),  # the absent class is left out
        ("r2", [2, 2], [2, 2], 1.0),
        ("r2", [2, 3], [2, 2], 0.0),
        ("r2", [2], [3], np.nan),
    ],
)
def test_where_a_denominator_is_zero(name, prediction, target, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value = get_metric(name)(np.float32(prediction), np.array(target))
    np.testing.assert_equal(value, expected)


def test_threshold_for_probabilities_and_targets_of_both_kinds():
    probabilities, labels = np.float32([0.2, 0.7, 0.4]), np.array([0, 1, 1])
    assert metrics.Accuracy()(probabilities, labels) == pytest.approx(2 / 3)
    assert get_metric("accuracy", threshold=0.5)(probabilities, labels) == pytest.approx(2 / 3)
    assert get_metric("recall", threshold=0.5)(probabilities, labels) == 0.5
    assert metrics.Accuracy()(np.float32([-1, 1]), np.array([-1, 1])) == 1
    assert metrics.Accuracy()(np.float32([[-1], [1]]), np.float32([0.0, 1.0])) == 1


def test_one_hot_targets_sequences_and_ignored_labels():
    rng = np.random.default_rng(8)
    logits, labels = rng.normal(size=(4, 5, 3)), rng.integers(0, 3, (4, 5))
    value = metrics.Accuracy()(logits, labels)
    assert value == np.mean(logits.argmax(-1) == labels)
    assert metrics.Accuracy()(logits, np.eye(3)[labels]) == value
    padded = np.where(np.arange(5) < 3, labels, -100)
    kept = np.mean((logits.argmax(-1) == labels)[:, :3])
    assert metrics.Accuracy()(logits, padded) == pytest.approx(kept)
    weight = np.array([1.0, 0, 0, 0])
    assert metrics.Accuracy()(logits, labels, weight) == np.mean(logits[0].argmax(-1) == labels[0])


def test_messages():
    logits = np.zeros((3, 4), np.float32)
    with pytest.raises(IndexRangeError, match=r"labels from 0 to 3[\s\S]*4 in row 1"):
        metrics.Accuracy()(logits, np.array([0, 4, 1]))
    with pytest.raises(ShapeError, match=r"class numbers of shape \(3,\)"):
        metrics.Accuracy()(logits, np.zeros((3, 2), int))
    with pytest.raises(DtypeError, match="must be integers"):
        metrics.Accuracy()(logits, np.zeros(3))
    with pytest.raises(ShapeError, match="differ in shape"):
        metrics.MeanSquaredError()(logits, np.zeros(3))
    with pytest.raises(ShapeError, match="one number a sample"):
        metrics.Accuracy()(logits, np.array([0, 1, 1]), np.ones(2))
    with pytest.raises(ShapeError, match="single output needs one target a sample"):
        metrics.Accuracy()(np.zeros(3, np.float32), np.zeros(2))
    with pytest.raises(ArgumentError, match=r"did you mean 'accuracy'[\s\S]*balanced_accuracy"):
        get_metric("acuracy")
    with pytest.raises(ArgumentError, match="two metrics are named 'accuracy'"):
        get_metrics(["accuracy", metrics.Accuracy()])
    with pytest.raises(ArgumentError, match="k ≥ 1"):
        metrics.TopKAccuracy(0)
    with pytest.raises(ArgumentError, match="'macro'"):
        metrics.F1("binary")(logits, np.array([0, 1, 2]))
    with pytest.raises(ArgumentError, match="no average 'mean'"):
        metrics.F1("mean")
    with pytest.raises(ShapeError, match="leave out the mean"):
        get_metric(lambda prediction, target: prediction.mean())(logits, logits)


def test_a_function_is_a_metric():
    rng = np.random.default_rng(9)
    prediction, target = rng.normal(size=(8, 2)), rng.normal(size=(8, 2))

    def gap(prediction, target):
        return abs(prediction - target).max(axis=1)

    metric = get_metric(gap)
    assert metric.name == "gap"
    assert metric(prediction, target) == pytest.approx(abs(prediction - target).max(1).mean())


def test_statistics_are_built_from_ops_and_run_in_a_program():
    from chainrule.program import compile

    rng = np.random.default_rng(10)
    for name in METRICS:
        prediction, target, weight = sample(name, rng)
        metric = get_metric(name)
        program = compile(metric.statistics)
        sums = program(*_arrays(prediction, target, weight)).numpy()
        np.testing.assert_allclose(metric.result(sums), metric(prediction, target, weight))
