"""Mistakes at the doors of training: each is answered with what is wrong and what to do."""

import numpy as np
import pytest
from training_helpers import cross_entropy, make_data, make_trainer, squared_error

from chainrule import nn, ops, optim, random
from chainrule.errors import (
    ArgumentError,
    ChainruleError,
    DataError,
    IndexRangeError,
    ShapeError,
    StateError,
    TeachingWarning,
)
from chainrule.training import Trainer

X, Y = make_data(40)


def with_hole(array, place, value):
    array = np.array(array, dtype=np.float32)
    array[place] = value
    return array


def fit(data=(X, Y), validation=None, **options):
    made = {
        k: options.pop(k)
        for k in ("class_weight", "metrics", "loss", "gradient_accumulation")
        if k in options
    }
    make_trainer(**made).fit(data, validation, epochs=1, progress="none", **options)


def trainer_of(model, loss=cross_entropy, optimizer=None, **options):
    return Trainer(model, loss=loss, optimizer=optimizer or optim.SGD(0.1), **options)


ERRORS = {
    "NaN in the inputs": (
        lambda: fit((with_hole(X, (7, 1), np.nan), Y)),
        DataError,
        r"training inputs hold nan in row 7, column 1[\s\S]*1 of 80 entries[\s\S]*median",
    ),
    "infinity in the validation": (
        lambda: fit(validation=(with_hole(X, (3, 0), np.inf), Y)),
        DataError,
        r"validation inputs hold inf in row 3, column 0",
    ),
    "NaN in the targets": (
        lambda: fit((X, with_hole(Y, (5,), np.nan)), loss=squared_error),
        DataError,
        r"training targets hold nan in row 5",
    ),
    "NaN to be predicted": (
        lambda: make_trainer().predict(with_hole(X, (0, 0), np.nan)),
        DataError,
        "prediction inputs hold nan in row 0",
    ),
    "nothing to learn": (lambda: fit((X[:0], Y[:0])), DataError, "training data is empty"),
    "lengths differ": (
        lambda: fit((X, Y[:-1])),
        DataError,
        r"differs in length[\s\S]*40 inputs, 39 targets",
    ),
    "no data set": (lambda: fit(X), DataError, r"\(inputs, targets\)[\s\S]*ndarray"),
    "texts as labels": (
        lambda: fit((X, np.array(["cat", "dog"] * 20))),
        DataError,
        r"targets are no numbers[\s\S]*np.unique",
    ),
    "a number": (lambda: fit((X, 3)), DataError, "are a single number"),
    "label too large": (
        lambda: fit((X, np.where(np.arange(40) == 9, 5, Y))),
        IndexRangeError,
        r"label 5 in row 9[\s\S]*0 to 1[\s\S]*6 outputs",
    ),
    "labels from 1": (lambda: fit((X, Y + 1)), IndexRangeError, r"count from 0: labels - 1"),
    "negative label": (
        lambda: fit(validation=(X.copy(), np.where(np.arange(40) == 2, -1, Y))),
        IndexRangeError,
        "validation label -1 in row 2",
    ),
    "negative weights": (
        lambda: fit((X, Y, -np.ones(40))),
        DataError,
        r"are no weights[\s\S]*from -1 to -1",
    ),
    "all weights 0": (lambda: fit((X, Y, np.zeros(40))), DataError, "are no weights"),
    "a weight too few": (lambda: fit((X, Y), class_weight=[1.0]), ArgumentError, "0 to 1"),
    "unknown class weight": (lambda: fit(class_weight="equal"), ArgumentError, "'balanced'"),
    "class weights without classes": (
        lambda: fit((X, X), class_weight="balanced", loss=squared_error, metrics=()),
        DataError,
        "need class numbers",
    ),
    "a loss without weights": (
        lambda: fit((X, Y, np.ones(40)), loss=lambda p, t: ops.mean(p)),
        ArgumentError,
        "takes no sample weights",
    ),
    "a loss for each sample": (
        lambda: fit(loss=lambda p, t: ops.sum(p, axis=1)),
        ArgumentError,
        r"no single number[\s\S]*\(40,\)[\s\S]*reduction='mean'",
    ),
    "reduction none": (
        lambda: trainer_of(
            nn.Linear(2, 2), type("L", (), {"reduction": "none", "__call__": max})()
        ),
        ArgumentError,
        "reduction='none'",
    ),
    "batch size 0": (lambda: fit(batch_size=0), ArgumentError, "batch_size is out of range"),
    "batch size as text": (lambda: fit(batch_size="full"), ArgumentError, "or 'all'"),
    "no epochs": (
        lambda: make_trainer().fit((X, Y), epochs=0),
        ArgumentError,
        "epochs is out of range",
    ),
    "no accumulation": (
        lambda: make_trainer(gradient_accumulation=0),
        ArgumentError,
        "gradient_accumulation",
    ),
    "unknown metric": (
        lambda: make_trainer(metrics=["acuracy"]),
        ArgumentError,
        "did you mean 'accuracy'",
    ),
    "a matrix as metric": (
        lambda: make_trainer(metrics=["confusion_matrix"]),
        ArgumentError,
        "can not be tracked epoch by epoch",
    ),
    "a list as model": (lambda: trainer_of([nn.Linear(2, 2)]), ArgumentError, "nn.Sequential"),
    "frozen model": (
        lambda: trainer_of(nn.Linear(2, 2).freeze()),
        ArgumentError,
        r"nothing to train[\s\S]*unfreeze",
    ),
    "model without weights": (
        lambda: trainer_of(nn.Flatten()),
        ArgumentError,
        "without parameters",
    ),
    "loss class": (
        lambda: trainer_of(nn.Linear(2, 2), nn.Identity),
        ArgumentError,
        r"Identity\(\)",
    ),
    "no optimizer": (
        lambda: trainer_of(nn.Linear(2, 2), optimizer="adam"),
        ArgumentError,
        r"optim.Adam\(1e-3\)",
    ),
    "unknown engine": (
        lambda: trainer_of(nn.Linear(2, 2), engine="warp"),
        ArgumentError,
        "no engine 'warp'",
    ),
    "an optimizer that takes no batches": (
        lambda: trainer_of(nn.Linear(2, 2), optimizer=optim.LBFGS()),
        ArgumentError,
        r"optimizer\.minimize\(loss, model\)",
    ),
    "another model's optimizer": (
        lambda: borrowed_optimizer(),
        StateError,
        "belongs to another model",
    ),
    "forgotten flatten": (
        lambda: trainer_of(nn.Linear(16, 2)).fit((np.zeros((8, 4, 4), np.float32), Y[:8])),
        ShapeError,
        "[Ff]latten",
    ),
    "a model that returns a tuple": (
        lambda: trainer_of(Pair()).fit((X, Y)),
        ArgumentError,
        "returns no Array",
    ),
    "one batch with a folder": (
        lambda: fit(overfit_one_batch=True, run_dir="x"),
        ArgumentError,
        "leave out run_dir",
    ),
}


class Pair(nn.Module):
    def __init__(self):
        self.layer = nn.Linear(2, 2)

    def forward(self, x):
        return self.layer(x), x


def borrowed_optimizer():
    optimizer = optim.Adam()
    first = make_trainer(optimizer=optimizer)
    first.fit((X, Y), epochs=1, progress="none")
    trainer_of(nn.Linear(2, 2), optimizer=optimizer).fit((X, Y), epochs=1, progress="none")


@pytest.mark.parametrize("case", ERRORS)
def test_errors(case):
    act, kind, message = ERRORS[case]
    with pytest.raises(kind, match=message) as caught:
        act()
    assert isinstance(caught.value, ChainruleError)


WARNINGS = {
    "unscaled pixels": (
        lambda: fit(((100 * X**2).astype(np.uint8), Y)),
        r"unscaled: mean [\d.]+, deviation [\d.]+.*x / 255",
    ),
    "unscaled columns": (lambda: fit((1000 * X, Y)), r"unscaled.*standardise"),
    "validation is the training data": (
        lambda: fit(validation=(X, Y)),
        "is part of the training data",
    ),
    "validation overlaps": (lambda: fit((X[:30], Y[:30]), (X[20:], Y[20:])), "data.holdout"),
    "batch too large": (lambda: fit(batch_size=64), "more than the 40 training samples"),
}


@pytest.mark.filterwarnings("ignore:the loss grew")
@pytest.mark.parametrize("case", WARNINGS)
def test_warnings(case):
    act, message = WARNINGS[case]
    with pytest.warns(TeachingWarning, match=message):
        act()


def test_what_is_right_gives_no_warning():
    fit((X[:20], Y[:20]), (X[20:], Y[20:]), batch_size="all")
    fit((X[::2], Y[::2]), (X[1::2], Y[1::2]))
    # the default batch size adapts to few samples
    make_trainer(batch_size=None).fit((X[:8], Y[:8]), epochs=1, progress="none")
    random.seed(0)
    tokens = np.random.default_rng(0).integers(0, 90, (40, 1))
    model = nn.Sequential(nn.Embedding(100, 4), nn.Flatten(), nn.Linear(4, 2))
    trainer_of(model).fit((tokens, Y), epochs=1, progress="none")


def test_a_model_that_scales_by_itself_gives_no_warning():
    class Scaled(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 2)

        def forward(self, x):
            return self.layer(ops.astype(x, "float32") / 255)

    random.seed(0)
    pixels = np.random.default_rng(0).integers(0, 255, (40, 2)).astype(np.uint8)
    trainer_of(Scaled()).fit((pixels, Y), epochs=1, progress="none")
