"""More mistakes and their answers: habits from other libraries, losses, setting up a training.

Each row: what the beginner writes, the class of the error or warning, what its message must hold.
The user's line is asked of every message.
"""

import math
import warnings

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, models, nn, optim
from chainrule.errors import (
    ArgumentError,
    DataError,
    DtypeError,
    GradientError,
    ImmutableError,
    IndexRangeError,
    MissingNameError,
    ShapeError,
    StateError,
    TeachingWarning,
    TracedValueError,
)

HERE = "test_errors_that_teach_habits.py"
GENERATOR = np.random.default_rng(0)
X = GENERATOR.normal(size=(20, 4)).astype("f")
LABELS = np.arange(20) % 3
NUMBERS = GENERATOR.normal(size=(20, 1)).astype("f")
QUIET = {"epochs": 1, "progress": "none"}


def net(n_outputs=3, *last):
    cr.random.seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, n_outputs), *last)


def trainer(model=None, loss=None, optimizer=None, **options):
    return cr.Trainer(
        net() if model is None else model,
        loss=nn.CrossEntropyLoss() if loss is None else loss,
        optimizer=optim.Adam(1e-3) if optimizer is None else optimizer,
        **options,
    )


def fit(model=None, loss=None, optimizer=None, inputs=X, targets=LABELS, **options):
    trainer(model, loss, optimizer).fit((inputs, targets), **{**QUIET, **options})


def with_entry(array, place, value):
    changed = array.copy()
    changed[place] = value
    return changed


def assign_part():
    x = cr.asarray(X)
    x[0] = 1


def update(gradients):
    model = net()
    optim.SGD(0.1).update(model, gradients(model))


class Silent(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(4, 3)

    def forward(self, x):
        self.layer(x)


class Nested(nn.Module):
    def __init__(self):
        self.encoder = nn.Sequential(nn.Linear(4, 8), nn.Linear(9, 2))

    def forward(self, x):
        return self.encoder(x)


def compiled(function):
    return lambda: cr.compile(function)(cr.asarray(X))


ERRORS = {
    # one column against a row, in each loss of numbers
    **{
        f"column against row, {name}": (
            lambda name=name: getattr(nn, name)()(NUMBERS, NUMBERS[:, 0]), ShapeError,
            ["(20, 1)", "(20,)", "reshape"],
        )
        for name in ("MSELoss", "L1Loss", "HuberLoss", "SmoothL1Loss", "PinballLoss",
                     "HalfSquaredError", "SumSquaredError")
    },
    # habits from PyTorch
    "backward": (lambda: (cr.asarray(X) ** 2).mean().backward(), MissingNameError,
                 ["'backward'", "cr.value_and_grad"]),
    "grad of an array": (lambda: cr.variable(1.0).grad, MissingNameError, ["value_and_grad"]),
    "detach": (lambda: cr.asarray(X).detach(), MissingNameError, ["cr.stop_gradient"]),
    "view": (lambda: cr.asarray(X).view(-1), MissingNameError, ["reshape"]),
    "to a device": (lambda: net().to("cuda"), MissingNameError, ["leave it out", "CPU"]),
    "no_grad": (lambda: cr.no_grad(), MissingNameError, ["leave it out"]),
    "tensor": (lambda: cr.tensor([1.0]), MissingNameError, ["cr.asarray"]),
    "zero_grad": (lambda: optim.SGD(0.1).zero_grad(), MissingNameError, ["leave it out"]),
    "step": (lambda: optim.SGD(0.1).step(), ArgumentError, ["optimizer.update(model, grads)"]),
    "optimizer of parameters": (lambda: optim.Adam(net().parameters()), ArgumentError,
                                ["Adam(generator", "optimizer.update(model, grads)"]),
    "optimizer of a model": (lambda: optim.Adam(net(), lr=0.1), ArgumentError,
                             ["Adam(Sequential", "optimizer.update"]),
    "lr": (lambda: optim.Adam(lr=1e-3), TypeError, ["lr=0.001", "learning_rate"]),
    "wrong case": (lambda: nn.Relu, MissingNameError, ["did you mean ReLU?"]),
    "attribute of a model misspelled": (lambda: Silent().layr, MissingNameError, ["layer"]),
    "assignment to a part": (assign_part, ImmutableError, ["x[0]", "x.at[0].set"]),
    # gradients and updates
    "gradient of a value": (lambda: cr.grad(cr.variable(1.0) * 2), ArgumentError,
                            ["a function", "an Array of shape ()", "cr.gradients"]),
    "loss as a float": (lambda: cr.grad(lambda w: float(w) ** 2)(1.5), GradientError,
                        ["float", "drop the history"]),
    "loss through NumPy": (lambda: cr.grad(lambda w: np.mean(w))(X), GradientError, ["cr.mean"]),
    "forgotten return": (lambda: cr.grad(lambda w: None)(1.5), GradientError,
                         ["NoneType", "return"]),
    "update with the loss": (lambda: update(lambda m: m(X).mean()), ArgumentError,
                             ["the loss?", "value_and_grad"]),
    "update the wrong way round": (lambda: update(lambda m: m), ArgumentError,
                                   ["Module Sequential", "update(model, grads)"]),
    "update with a pair": (lambda: update(cr.value_and_grad(lambda m: m(X).mean())),
                           ArgumentError, ["pair", "loss, grads ="]),
    # losses
    "model instead of its output": (lambda: nn.MSELoss()(net(), NUMBERS), ArgumentError,
                                    ["Sequential", "loss(model(x), target)"]),
    "loss class called": (lambda: nn.MSELoss(NUMBERS, NUMBERS), ArgumentError,
                          ["class", "nn.MSELoss()(prediction, target)"]),
    "target first": (lambda: nn.CrossEntropyLoss()(LABELS, X), DtypeError,
                     ["int64", "prediction comes first"]),
    "axis of softmax": (lambda: nn.softmax(X, axis=2), ShapeError, ["axis 2", "-2 to 1"]),
    # layers and traces
    "path of a nested layer": (lambda: Nested()(X), ShapeError, ["layer encoder.1", "9", "8"]),
    "a number for a shape": (lambda: models.MLP(4, [100], 3), ArgumentError,
                             ["input_shape=(4,)"]),
    "a number for hidden layers": (lambda: models.MLP((4,), 100, 3), ArgumentError,
                                   ["hidden=(100,)"]),
    "float of a traced value": (compiled(lambda x: float(x.sum())), TracedValueError,
                                ["recorded", "cr.where"]),
    "math on a traced value": (compiled(lambda x: math.exp(x.sum())), TracedValueError,
                               ["recorded"]),
    # setting up a training
    "model class": (lambda: trainer(Silent), ArgumentError, ["class Silent", "Silent()"]),
    "optimizer class": (lambda: trainer(optimizer=optim.Adam), ArgumentError, ["Adam("]),
    "optimizer by name": (lambda: trainer(optimizer="adam"), ArgumentError, ["optim.Adam(1e-3)"]),
    "inputs without parentheses": (lambda: trainer().fit(X, LABELS), DataError,
                                   ["fit((inputs, targets))"]),
    "model without return": (lambda: fit(Silent()), ArgumentError, ["NoneType", "return"]),
    "callback class": (lambda: fit(callbacks=[cr.EarlyStopping]), ArgumentError,
                       ["EarlyStopping()"]),
    "callback without list": (lambda: fit(callbacks=cr.EarlyStopping()), ArgumentError,
                              ["callbacks=["]),
    "unknown monitor": (lambda: fit(callbacks=[cr.EarlyStopping(monitor="val_acc")]),
                        ArgumentError, ["val_acc", "loss"]),
    "negative labels": (lambda: fit(targets=LABELS - 1), IndexRangeError,
                        ["-1", "0 to 2", "np.unique"]),
    "NaN in the targets": (
        lambda: fit(net(1), nn.MSELoss(), targets=with_entry(NUMBERS, (4, 0), np.nan)), DataError,
        ["targets", "row 4", "column 0"],
    ),
    "infinity in the inputs": (lambda: fit(inputs=with_entry(X, (3, 2), np.inf)), DataError,
                               ["inf", "row 3", "column 2"]),
    "no epochs": (lambda: fit(epochs=0), ArgumentError, ["0", "1 or more"]),
    "nothing to train": (lambda: trainer(net().freeze()), ArgumentError, ["unfreeze"]),
    "folder without a run": (lambda: fit(resume="."), StateError, ["checkpoint", "run_dir"]),
    "texts as labels": (lambda: fit(targets=np.array(["a", "b"] * 10)), DataError, ["np.unique"]),
}  # fmt: skip

FILES = {
    "no IDX file": (b"hello world", ["no IDX file", "two zero bytes"]),
    "IDX file cut short": (b"\0\0\x08\x01\0\0\0\x09abc", ["9 bytes", "3", "again"]),
}


def numpy_round_trip():
    cr.grad(lambda w: cr.variable(w.numpy()) ** 2)(1.5)


LARGE = NUMBERS * 1e5
WARNINGS = {
    "softmax and cross-entropy": (lambda: fit(net(3, nn.Softmax())),
                                  ["softmax", "layer 3", "Leave out|leave out"]),
    "ReLU and cross-entropy": (lambda: fit(net(3, nn.ReLU())), ["relu", "layer 3"]),
    "softmax and NLL": (lambda: fit(net(3, nn.Softmax()), nn.NLLLoss()), ["LogSoftmax", "layer 3"]),
    "logits and NLL": (lambda: nn.NLLLoss()(np.abs(X[:, :3]), LABELS), ["CrossEntropyLoss"]),
    "sigmoid and logits": (
        lambda: fit(net(1, nn.Sigmoid()), nn.BCEWithLogitsLoss(), targets=(NUMBERS > 0) * 1.0),
        ["sigmoid", "layer 3", "nn.BCELoss"],
    ),
    "one output": (lambda: nn.CrossEntropyLoss()(NUMBERS, np.zeros(20, int)),
                   ["single output", "BCEWithLogitsLoss"]),
    "a rate of 0": (lambda: fit(optimizer=optim.Adam(0.0)), ["learning rate is 0"]),
    "large targets": (lambda: fit(net(1), nn.MSELoss(), targets=LARGE), ["data.Standardizer"]),
    "unscaled inputs": (lambda: fit(inputs=X * 300 + 1000), ["deviation", "data.Standardizer"]),
    "validation equals training": (lambda: fit(validation=(X.copy(), LABELS.copy())),
                                   ["validation", "data.holdout"]),
    "a rate too high": (
        lambda: fit(net(1), nn.MSELoss(), optim.SGD(1.2), targets=NUMBERS, epochs=12),
        ["learning rate 1.2"],
    ),
    "a NumPy round trip": (numpy_round_trip, ["gradient is zero", ".numpy()"]),
}  # fmt: skip


def check(message, fragments):
    assert HERE in message, f"the user's line is missing in:\n{message}"
    for fragment in fragments:
        choices = fragment.split("|")
        assert any(x in message for x in choices), f"{fragment!r} is missing in:\n{message}"


@pytest.mark.parametrize("name", ERRORS)
def test_a_mistake_is_answered(name):
    mistake, expected, fragments = ERRORS[name]
    with pytest.raises(expected) as caught:
        mistake()
    check(str(caught.value), fragments)
    assert max(map(len, str(caught.value).splitlines())) < 200


@pytest.mark.parametrize("name", FILES)
def test_a_damaged_file_is_answered(name, tmp_path):
    content, fragments = FILES[name]
    path = tmp_path / "file.idx"
    path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        data.read_idx(path)
    check(str(caught.value), fragments)


@pytest.mark.parametrize("name", WARNINGS)
def test_a_likely_mistake_brings_a_warning(name):
    mistake, fragments = WARNINGS[name]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        mistake()
    told = [w for w in caught if issubclass(w.category, TeachingWarning)]
    matching = [w for w in told if all(any(x in str(w.message) for x in f.split("|"))
                                       for f in fragments)]  # fmt: skip
    assert matching, [str(w.message) for w in told]
    check(str(matching[0].message), fragments)
    assert matching[0].filename == __file__


def test_a_damaged_checkpoint_is_answered(tmp_path):
    fit(run_dir=tmp_path / "run", pictures=False)
    checkpoints = sorted((tmp_path / "run" / "checkpoints").iterdir())
    for path in checkpoints:
        path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StateError) as caught:
        fit(resume=checkpoints[-1])
    check(str(caught.value), ["truncated", "older checkpoint"])
