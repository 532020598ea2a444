"""Mistakes that beginners make, and the messages that answer them.

Each message must say what came or what was expected, the usual fix, and the user's line; where a
layer is at work, its path.
"""

import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ChainruleError, TeachingWarning

F = nn.functional
HERE = "test_errors_that_teach.py"
X = np.random.default_rng(0).normal(size=(8, 4)).astype("f")
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])
IMAGES = np.zeros((8, 28, 28), np.float32)


def small(*layers):
    cr.random.seed(0)
    return nn.Sequential(*(layers or (nn.Linear(4, 3),)))


def fit(model=None, inputs=X, targets=LABELS, loss=None, optimizer=None, **options):
    trainer = cr.Trainer(
        model or small(), loss=loss or nn.CrossEntropyLoss(), optimizer=optimizer or optim.SGD(0.1)
    )
    trainer.fit((inputs, targets), **{"epochs": 1, "progress": "none", **options})


def with_nan():
    x = X.copy()
    x[3, 2] = np.nan
    return x


def closure_step():
    model = small()
    cr.compile(lambda x: model(x))(X)


def cut_history():
    w = cr.variable(2.0)
    loss = cr.compile(lambda w: w * w)(w)
    cr.gradients(loss, w)


def unused():
    w, other = cr.variable(2.0, name="w"), cr.variable(1.0, name="other")
    cr.gradients(w * w, other)


def missing_gradient():
    model = small(nn.Linear(4, 3), nn.Linear(3, 2))
    optim.SGD(0.1).update(model, {"0.weight": cr.zeros((3, 4))})


def misshapen_gradient():
    model = small()
    optim.SGD(0.1).update(model, {"0.weight": cr.zeros((4, 3)), "0.bias": cr.zeros(3)})


def load_other_model():
    small(nn.Linear(4, 3)).load_state_dict(small(nn.Linear(4, 5)).state_dict())


def load_renamed():
    state = {"0.weigth": X[:3], "0.bias": np.zeros(3, "f")}
    small().load_state_dict(state)


# name: what the beginner writes, the built-in class of the error, what the message must hold
ERRORS = {
    # losses
    "column against row": (
        lambda: F.mse_loss(cr.zeros((8, 1)), cr.zeros(8)), ValueError,
        ["(8, 1)", "(8,)", "never broadcasts", "reshape"],
    ),
    "column against row in another loss": (
        lambda: nn.L1Loss()(cr.zeros((8, 1)), cr.zeros(8)), ValueError, ["(8, 1)", "reshape"],
    ),
    "labels from 1": (
        lambda: F.cross_entropy(X[:, :3], LABELS + 1), IndexError,
        ["label 3", "row 2", "0 to 2", "count labels from 0"],
    ),
    "labels from 1 in training": (
        lambda: fit(targets=LABELS + 1), (IndexError, ValueError), ["3"],
    ),
    "negative label": (
        lambda: F.cross_entropy(X[:, :3], LABELS - 1), IndexError, ["label -1", "row 0"],
    ),
    "float labels": (
        lambda: F.cross_entropy(X[:, :3], LABELS.astype("f")), TypeError, ["float32", "int64"],
    ),
    "one-hot labels": (
        lambda: F.cross_entropy(X[:, :3], np.eye(3, dtype=int)[LABELS]), ValueError,
        ["(8, 3)", "one-hot", "argmax"],
    ),
    "labels in a column": (
        lambda: F.cross_entropy(X[:, :3], LABELS[:, None]), ValueError, ["(8, 1)", "reshape"],
    ),
    "one label too few": (
        lambda: F.cross_entropy(X[:, :3], LABELS[:-1]), ValueError, ["(7,)", "(8,)"],
    ),
    "logits as probabilities": (
        lambda: nn.BCELoss()(X, (X > 0).astype("f")), ValueError,
        ["[0, 1]", "BCEWithLogitsLoss"],
    ),
    "signs as bits": (
        lambda: nn.BCEWithLogitsLoss()(X, np.sign(X)), ValueError, ["[0, 1]", "(t + 1) / 2"],
    ),
    "bits as signs": (
        lambda: nn.HingeLoss()(X, (X > 0).astype("f")), ValueError, ["−1", "2 * t - 1"],
    ),
    "a loss class instead of a loss": (
        lambda: fit(loss=nn.CrossEntropyLoss), ValueError, ["CrossEntropyLoss()"],
    ),
    "weights that do not fit": (
        lambda: nn.MSELoss()(X, X * 2, sample_weight=np.ones(7, "f")), ValueError, ["(8,)", "(7,)"],
    ),
    # layers
    "forgotten flatten": (
        lambda: small(nn.Linear(784, 10))(IMAGES), ValueError,
        ["784", "(8, 28, 28)", "nn.Flatten()", "layer 0"],
    ),
    "wrong input size": (
        lambda: small(nn.Linear(5, 3))(X), ValueError,
        ["5", "(8, 4)", "nn.Linear(4, 3)", "layer 0"],
    ),
    "layers that do not fit": (
        lambda: small(nn.Linear(4, 6), nn.ReLU(), nn.Linear(5, 3))(X), ValueError,
        ["5", "6", "layer 2"],
    ),
    "float64 into a float32 layer": (
        lambda: small()(X.astype("d")), TypeError, ["float64", "float32", "astype"],
    ),
    "a probability above 1": (lambda: nn.Dropout(1.5), ValueError, ["1.5", "[0, 1"]),
    "a size below 1": (lambda: nn.Linear(0, 3), ValueError, ["in_features", "0"]),
    "a token that is not in the embedding": (
        lambda: small(nn.Embedding(5, 2))(np.array([1, 7])).numpy(), IndexError, ["7"],
    ),
    "a state dict of another shape": (
        load_other_model, ValueError, ["0.weight", "(3, 4)", "(5, 4)"],
    ),
    "a state dict with a misspelled name": (load_renamed, ValueError, ["0.weigth", "0.weight"]),
    # arrays
    "inner sizes": (
        lambda: cr.asarray(X) @ cr.asarray(X), ValueError, ["(8, 4)", "4 != 8", "transpose"],
    ),
    "shapes that do not broadcast": (
        lambda: cr.zeros((3, 4)) + cr.zeros(3), ValueError, ["(3, 4)", "(3,)"],
    ),
    "wrong count in reshape": (
        lambda: cr.zeros((3, 4)).reshape(5, -1), ValueError, ["12 elements", "(5, -1)"],
    ),
    "an axis that does not exist": (
        lambda: cr.zeros((3, 4)).sum(axis=2), ValueError, ["axis 2", "-2 to 1"],
    ),
    "an index out of range": (lambda: cr.zeros(3)[3], IndexError, ["3"]),
    "if on many elements": (
        lambda: bool(cr.zeros(3) > 0), ValueError, ["3 elements", "cr.any", "cr.all"],
    ),
    "a number that does not fit": (
        lambda: cr.asarray(np.zeros(2, np.uint8)) + 300, TypeError, ["300", "uint8", "0 to 255"],
    ),
    # derivatives
    "an integer to differentiate": (
        lambda: cr.grad(lambda x: x * x)(3), ValueError, ["int", "2.0 instead of 2"],
    ),
    "integers in an array to differentiate": (
        lambda: cr.grad(lambda x: (x * x).sum())(np.arange(3)), ValueError,
        ["int64", "no derivative", "float"],
    ),
    "a loss that is no scalar": (
        lambda: cr.grad(lambda x: x * x)(X), ValueError, ["(8, 4)", "mean()", "cr.jacobian"],
    ),
    "a gradient of something unused": (
        unused, ValueError, ["'other'", "does not depend", "path"],
    ),
    "a history that was cut": (cut_history, ValueError, ["history", "variable"]),
    # compiled functions
    "if on a traced value": (
        lambda: cr.compile(lambda x: x if x.sum() > 0 else -x)(X), TypeError,
        ["recorded", "cr.where", "cr.cond"],
    ),
    "numpy of a traced value": (
        lambda: cr.compile(lambda x: np.asarray(x) + 1)(X), TypeError, ["recorded"],
    ),
    "a mask of a traced value": (
        lambda: cr.compile(lambda x: x[x > 0].sum())(X), TypeError, ["mask", "cr.where"],
    ),
    "a Module in a closure": (closure_step, ValueError, ["closure", "pass the Module"]),
    "an unknown engine": (
        lambda: cr.compile(lambda x: x, engine="turbo"), ValueError, ["'turbo'", "interpreter"],
    ),
    # optimizers
    "lr": (lambda: optim.SGD(lr=0.1), TypeError, ["learning_rate"]),
    "a negative learning rate": (lambda: optim.Adam(-0.1), ValueError, ["-0.1"]),
    "a missing gradient": (missing_gradient, ValueError, ["0.bias"]),
    "a misshapen gradient": (misshapen_gradient, ValueError, ["0.weight", "(4, 3)", "(3, 4)"]),
    "parameters as in PyTorch": (
        lambda: optim.Adam(small().parameters()), (TypeError, ValueError), [],
    ),
    # training
    "NaN in the data": (lambda: fit(inputs=with_nan()), ValueError, ["nan", "row 3"]),
    "lengths that differ": (lambda: fit(targets=LABELS[:-1]), ValueError, ["8", "7"]),
    "no data": (lambda: fit(inputs=X[:0], targets=LABELS[:0]), ValueError, ["empty"]),
    "a batch of nothing": (lambda: fit(batch_size=0), ValueError, ["batch_size", "0"]),
    "an unknown metric": (
        lambda: cr.Trainer(
            small(), loss=nn.MSELoss(), optimizer=optim.SGD(0.1), metrics=["acuracy"]
        ), ValueError, ["'acuracy'", "accuracy"],
    ),
    "an unknown progress": (lambda: fit(progress="fancy"), ValueError, ["fancy", "bar"]),
    "more classes than outputs": (
        lambda: fit(small(nn.Linear(4, 2))), (IndexError, ValueError), ["2"],
    ),
    "a run that is none": (
        lambda: fit(resume="nowhere"), (ValueError, OSError), ["nowhere"],
    ),
    "a class too small to split": (
        lambda: data.holdout((X, [0, 0, 0, 0, 0, 0, 0, 1]), 0.5), ValueError, ["class 1", "2"],
    ),
    "transform before fit": (
        lambda: data.Standardizer().transform(X), ValueError, ["not fitted", "fit("],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_answered(name):
    mistake, built_in, fragments = ERRORS[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TeachingWarning)
        with pytest.raises(built_in) as caught:
            mistake()
    message = str(caught.value)
    if isinstance(caught.value, ChainruleError):
        assert HERE in message, f"the user's line is missing in:\n{message}"
    for fragment in fragments:
        assert fragment in message, f"{fragment!r} is missing in:\n{message}"
    if isinstance(caught.value, ChainruleError):
        lines = message.splitlines()
        assert any(part in message for part in ("expected", "try:", "fix")), message
        assert max(map(len, lines)) < 240, message


def probabilities():
    F.cross_entropy(np.full((4, 2), 0.5, "f"), np.array([0, 1, 0, 1]))


def unscaled():
    fit(inputs=X * 1000 + 5000)


def unused_layer():
    class Half(nn.Module):
        def __init__(self):
            self.used, self.forgotten = nn.Linear(4, 3), nn.Linear(4, 3)

        def forward(self, x):
            return self.used(x)

    cr.value_and_grad(lambda m: F.cross_entropy(m(X), LABELS))(Half())


def many_signatures():
    double = cr.compile(lambda x: x * 2)
    for n in range(1, 12):
        double(np.zeros(n, "f"))


WARNINGS = {
    "probabilities to a loss of logits": (probabilities, ["logits", "softmax"]),
    "softmax before cross-entropy": (
        lambda: fit(small(nn.Linear(4, 3), nn.Softmax())), ["softmax"],
    ),
    "inputs that were never scaled": (unscaled, ["standardise", "deviation 1"]),
    "a layer left out of forward": (unused_layer, ["forgotten.weight", "freeze"]),
    "many signatures": (many_signatures, ["signatures", "Pad"]),
    "a batch larger than the data": (lambda: fit(batch_size=100), ["100", "8"]),
    "a learning rate that diverges": (
        lambda: fit(optimizer=optim.SGD(50.0), epochs=15), ["learning rate", "50"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", WARNINGS)
def test_a_likely_mistake_brings_a_warning(name):
    mistake, fragments = WARNINGS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            mistake()
        except FloatingPointError:
            assert "diverges" in name
    told = [str(w.message) for w in caught if issubclass(w.category, TeachingWarning)]
    assert told, "no warning came"
    for fragment in fragments:
        assert any(fragment.lower() in text.lower() for text in told), told


def test_a_diverging_run_stops_with_step_op_and_rate():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", TeachingWarning)
        with pytest.raises(FloatingPointError) as caught:
            fit(
                small(nn.Linear(4, 1)),
                targets=X[:, :1],
                loss=nn.MSELoss(),
                optimizer=optim.SGD(1e3),
                epochs=60,
            )
    message = str(caught.value)
    assert "step" in message
    assert "learning rate" in message


def test_at_least_forty_mistakes_are_covered():
    assert len(ERRORS) + len(WARNINGS) >= 40
