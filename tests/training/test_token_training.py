"""Training on windows of tokens: views, random places, resuming, what is reported."""

import math

import numpy as np
import pytest

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.errors import ArgumentError, IndexRangeError
from chainrule.training import LanguageFigures, doors, language_figures

TOKENS = np.random.default_rng(0).integers(0, 9, 300).astype(np.uint8)


class Bigram(nn.Module):
    """Logits of the next token from the last alone."""

    def __init__(self, size=9):
        self.table = nn.Embedding(size, size)

    def forward(self, tokens):
        return self.table(tokens)


def fresh(**options):
    cr.random.seed(3)
    return cr.Trainer(
        Bigram(),
        loss=nn.CrossEntropyLoss(axis=-1),
        optimizer=optim.Adam(0.1),
        batch_size=8,
        seed=1,
        engine="interpreter",
        **options,
    )


def weights(trainer):
    return np.asarray(trainer.model.table.weight)


def test_overlapping_windows_train_like_their_copies(monkeypatch):
    views = data.strided_windows(TOKENS, 6, 2)
    copies = np.ascontiguousarray(views.inputs), np.ascontiguousarray(views.targets)
    measured = []
    for given in (views, copies):
        trainer = fresh()
        trainer.fit(given, epochs=2, progress="none")
        measured.append((weights(trainer), trainer.evaluate(given)["loss"]))
    # in small pieces too
    monkeypatch.setattr(doors, "COPIED_BYTES", 100)
    measured.append((weights(trainer), trainer.evaluate(views)["loss"]))
    for found, loss in measured[1:]:
        np.testing.assert_array_equal(found, measured[0][0])
        assert loss == measured[0][1]


def test_only_the_rows_at_hand_are_copied():
    views = doors.as_samples(data.strided_windows(TOKENS, 6, 1), "training")
    arrays, order = views.taken(np.array([[5, 2], [7, 1]]))
    assert order.tolist() == [[0, 1], [2, 3]]
    assert arrays[0].shape == (4, 6)
    np.testing.assert_array_equal(arrays[1][2], TOKENS[8:14])
    plain = doors.as_samples((np.zeros((9, 2)), np.zeros(9)), "training")
    rows = np.array([[5, 2]])
    assert plain.taken(rows)[1] is rows


def test_random_windows_go_on_where_a_run_stopped(tmp_path):
    train = data.random_windows(TOKENS, 6, per_epoch=32)
    whole = fresh()
    whole.fit(train, epochs=4, progress="none")
    first = fresh()
    first.fit(train, epochs=2, run_dir=tmp_path / "run", progress="none", pictures=False)
    second = fresh()
    second.fit(
        train, epochs=4, run_dir=tmp_path / "run", resume=True, progress="none", pictures=False
    )
    np.testing.assert_array_equal(weights(whole), weights(second))


def test_the_whole_validation_part_counts_once():
    trainer = fresh()
    part = data.strided_windows(TOKENS, 7, whole=True)
    logits = np.log(np.exp(weights(trainer)).sum(axis=1))[TOKENS[:-1]]
    surprise = logits - weights(trainer)[TOKENS[:-1], TOKENS[1:]]
    assert trainer.evaluate(part)["loss"] == pytest.approx(surprise.mean(), rel=1e-6)


def test_language_figures():
    trainer = fresh()
    part = data.strided_windows(TOKENS, 7, whole=True)
    figures = [LanguageFigures(2.0), LanguageFigures(training=True)]
    other = data.strided_windows(TOKENS[::-1].copy(), 7, whole=True)
    history = trainer.fit(other, part, epochs=2, callbacks=figures, progress="none")
    for prefix, per_token in [("val_", 2.0), ("", 1.0)]:
        loss = history[f"{prefix}loss"][-1]
        assert history[f"{prefix}perplexity"][-1] == pytest.approx(math.exp(loss))
        bits = loss / math.log(2) / per_token
        assert history[f"{prefix}bits_per_character"][-1] == pytest.approx(bits)
    assert language_figures(1e6)["perplexity"] == math.inf
    with pytest.raises(ArgumentError, match="characters_per_token"):
        LanguageFigures(0)


def test_a_token_that_the_model_does_not_know_is_named(monkeypatch):
    monkeypatch.setattr("chainrule.training.probe.LABELS_AT_ONCE", 10)
    windows = data.strided_windows(TOKENS, 7)
    targets = windows.targets.copy()
    targets[28, 4] = 9
    with pytest.raises(IndexRangeError, match=r"label 9 in row 28"):
        fresh().fit((windows.inputs, targets), epochs=1, progress="none")
