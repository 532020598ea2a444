"""Training in batches of like length: each sample once, few widths, exact resume, same measures."""

import numpy as np
import pytest
from training_helpers import weight_bits

import chainrule as cr
from chainrule import data, models, nn, optim
from chainrule.errors import ArgumentError, DataError, StateError
from chainrule.training import Callback

QUIET = {"progress": "none", "pictures": False}


def make_texts(n=60, longest=20, seed=0):
    """Rows of tokens filled up with 0; the class says whether token 1 is in it."""
    rng = np.random.default_rng(seed)
    rows = [rng.integers(2, 9, rng.integers(1, longest + 1)) for _ in range(n)]
    targets = rng.integers(0, 2, n)
    for row, target in zip(rows, targets, strict=True):
        row[rng.integers(len(row))] = 1 if target else 2
    return data.ArrayDataset(data.pad_sequences(rows)[0], targets)


def make_trainer(dropout=0.5, **options):
    cr.random.seed(5)
    model = models.SentenceCNN(9, embedding_dim=3, widths=(1, 2), maps=4, dropout=dropout)
    options = {"engine": "interpreter", "metrics": ["accuracy"], **options}
    options.setdefault("optimizer", optim.Adam(0.03))
    return cr.Trainer(model, loss=nn.CrossEntropyLoss(), batch_size=7, seed=3, **options)


SHAPES = set()


class Widths(nn.Module):
    """Notes the shapes that it is called with."""

    def __init__(self):
        self.bag = nn.Embedding(9, 2, padding_idx=0)

    def forward(self, tokens):
        SHAPES.add(tokens.shape)
        return self.bag(tokens).sum(axis=1)


class StopAt(Callback):
    def __init__(self, epoch, step):
        self.place = (epoch, step)

    def on_chunk_end(self, fit, chunk):
        if (fit.epoch, fit.step) == self.place:
            fit.stop("here")


@pytest.mark.parametrize("batch_size", [1, 7, 16, 60])
@pytest.mark.parametrize("n_buckets", [1, 4, 9])
def test_each_sample_comes_once_an_epoch_in_a_batch_of_its_width(batch_size, n_buckets):
    train = data.Bucketed(make_texts(), n_buckets)
    assert len(train.widths) <= n_buckets
    assert train.widths[-1] == train.lengths.max()
    epochs = [train.buckets.runs(batch_size, 3, epoch) for epoch in range(3)]
    for runs in epochs:
        rows = np.concatenate([run.rows.reshape(-1) for run in runs])
        assert sorted(rows.tolist()) == list(range(60))
        assert all(train.lengths[run.rows].max() <= run.width for run in runs)
        shapes = {(run.width, run.rows.shape[1]) for run in runs}
        assert len(shapes) <= len(train.widths) + 1
        assert sum(len(run.rows) for run in runs) == -(-60 // batch_size)
        assert max(len(run.rows) for run in runs) <= 8
    again = train.buckets.runs(batch_size, 3, 1)
    assert all(np.array_equal(a.rows, b.rows) for a, b in zip(again, epochs[1], strict=True))
    assert any(not np.array_equal(a.rows, b.rows) for a, b in zip(*epochs[:2], strict=False))


def test_most_batches_are_narrow():
    texts = make_texts(400, 40)
    train = data.Bucketed(texts)
    runs = train.buckets.runs(8, 0, 0)
    places = sum(run.rows.size * run.width for run in runs)
    assert train.saved == pytest.approx(1 - places / texts.inputs.size, abs=0.05)
    assert train.saved > 0.35
    order = [run.width for run in runs]
    assert order != sorted(order), "widths come mixed"


def test_lengths_end_with_the_last_token_that_counts():
    train = data.Bucketed(([[5, 0, 2, 0, 0], [0, 0, 0, 0, 0], [0, 3, 0, 0, 0]], [0, 1, 0]))
    assert train.lengths.tolist() == [3, 1, 2]
    other = data.Bucketed(([[5, 0, 4, 4]], [0]), value=4)
    assert (other.widths, other.saved) == ((2,), 0.5)


def test_the_model_sees_the_widths_and_no_others():
    train = data.Bucketed(make_texts(), 3)
    cr.random.seed(0)
    trainer = cr.Trainer(
        Widths(), loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(0.1), batch_size=7, seed=3,
        engine="interpreter",
    )  # fmt: skip
    SHAPES.clear()
    trainer.fit(train, epochs=2, **QUIET)
    seen = {shape for shape in SHAPES if shape[0] < 60}
    assert seen == {(7, width) for width in train.widths} | {(4, train.widths[-1])}


def test_loss_and_metrics_of_an_epoch_are_those_of_whole_rows():
    """Where nothing is learned, an epoch measures what ``evaluate`` does: every sample weighs."""
    texts = make_texts()
    weights = np.random.default_rng(1).uniform(0.5, 2.0, 60)
    train = data.ArrayDataset(texts.inputs, texts.targets, weights=weights)
    trainer = make_trainer(optimizer=optim.SGD(1e-12), dropout=0.0)
    history = trainer.fit(data.Bucketed(train), epochs=1, **QUIET)
    measured = trainer.evaluate(train)
    assert history["loss"][-1] == pytest.approx(measured["loss"], rel=1e-6)
    assert history["accuracy"][-1] == pytest.approx(measured["accuracy"])


def test_a_run_stopped_anywhere_goes_on_as_if_left_alone(tmp_path, chunk_size):
    train = data.Bucketed(make_texts(30))
    alone = make_trainer()
    alone.fit(train, epochs=2, **QUIET)  # in stretches as long as may be
    chunk_size(1)
    for place in [(0, 1), (1, 3)]:
        folder = tmp_path / str(place)
        make_trainer().fit(train, epochs=2, run_dir=folder, callbacks=[StopAt(*place)], **QUIET)
        resumed = make_trainer()
        resumed.fit(train, epochs=2, run_dir=folder, resume=True, **QUIET)
        assert weight_bits(resumed) == weight_bits(alone)
        assert resumed.n_updates == alone.n_updates == 2 * 5
    with pytest.raises(StateError, match="widths"):
        make_trainer().fit(data.Bucketed(train.dataset, 2), run_dir=folder, resume=True, **QUIET)


def test_engines_agree():
    train = data.Bucketed(make_texts(42, 8), 2)
    found = []
    for engine in ("interpreter", "compiler"):
        cr.random.seed(0)
        trainer = cr.Trainer(
            Widths(), loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(0.1), batch_size=14,
            engine=engine,
        )  # fmt: skip
        if engine == "compiler":
            SHAPES.clear()
            assert trainer.profile(train, seconds=0.01).rows
            widest = (14, train.widths[-1])
            assert widest in SHAPES
            assert len(SHAPES) == 1
        losses = trainer.fit(train, epochs=3, **QUIET)["loss"]
        found.append((losses, np.asarray(trainer.model.bag.weight)))
    np.testing.assert_allclose(found[0][0], found[1][0], rtol=1e-5)
    np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-5)


def test_measuring_takes_whole_rows_in_their_order():
    texts = make_texts()
    train, trainer = data.Bucketed(texts), make_trainer()
    history = trainer.fit(train, train.dataset.subset(np.arange(9)), epochs=1, **QUIET)
    assert np.isfinite(history["val_loss"]).all()
    assert trainer.evaluate(train) == trainer.evaluate(texts)
    np.testing.assert_array_equal(trainer.predict(train.inputs), trainer.predict(texts.inputs))
    short = trainer.predict(texts.inputs[train.lengths <= 5][:, :5])
    np.testing.assert_allclose(short, trainer.predict(texts.inputs)[train.lengths <= 5], atol=1e-6)


def test_other_ways_to_call_fit():
    train = data.Bucketed(make_texts())
    trainer = make_trainer()
    before = weight_bits(trainer)
    trainer.fit(train, dry_run=True, **QUIET)
    assert weight_bits(trainer) == before
    heart = make_trainer(dropout=0.0)
    heart.fit(train, epochs=60, overfit_one_batch=True, **QUIET)
    assert heart.n_updates == 60
    trainer = make_trainer(gradient_accumulation=2, class_weight="balanced")
    trainer.fit(train, epochs=1, **QUIET)
    assert trainer.n_updates == -(-60 // 14)
    trainer.fit(train, epochs=1, batch_size="all", **QUIET)
    assert trainer.n_updates == -(-60 // 14) + 1


def test_what_has_no_buckets_is_refused():
    texts = make_texts()
    with pytest.raises(ArgumentError, match="n_buckets"):
        data.Bucketed(texts, 0)
    for inputs in (np.zeros((3, 4)), np.zeros((3, 4, 2), int), np.zeros(3, int)):
        with pytest.raises(DataError, match="rows of tokens"):
            data.Bucketed((inputs, np.zeros(3, int)))
    with pytest.raises(DataError, match="several arrays"):
        data.Bucketed(((texts.inputs, texts.inputs), texts.targets))
    assert repr(data.Bucketed(([[1, 0], [1, 2]], [0, 1]))).endswith("widths 1, 2)")
