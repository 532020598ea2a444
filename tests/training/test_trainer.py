"""Trainer: what a run learns, that it is reproducible, and what evaluate and predict return."""

import numpy as np
import pytest
from training_helpers import cross_entropy, make_data, make_trainer, squared_error, weight_bits

from chainrule import data, nn, ops, optim, random
from chainrule.errors import NonFiniteError, TeachingWarning
from chainrule.training import Callback, GradientNormMonitor, Trainer

QUIET = {"progress": "none"}


def test_xor_is_learned_by_two_hidden_units():
    solved = 0
    for seed in range(3):
        random.seed(seed)
        model = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1))
        x = np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32)
        y = np.array([[0], [1], [1], [0]], np.float32)
        trainer = Trainer(
            model, loss=squared_error, optimizer=optim.Adam(0.1), metrics=["accuracy"]
        )
        history = trainer.fit((x, y), epochs=200, batch_size="all", **QUIET)
        solved += history["accuracy"][-1] == 1.0 and history["loss"][-1] < 0.01
    assert solved >= 1


def test_the_same_seed_gives_the_same_bits():
    results = set()
    for seed in (3, 3, 4):
        trainer = make_trainer(seed=seed)
        history = trainer.fit(make_data(), epochs=3, **QUIET)
        results.add((weight_bits(trainer), tuple(history["loss"])))
    assert len(results) == 2


@pytest.mark.parametrize("batch_size", [1, 16, 100, "all"])
def test_results_do_not_depend_on_the_length_of_stretches(chunk_size, batch_size):
    results = set()
    for n_steps in (1, 4, 1000):
        chunk_size(n_steps)
        trainer = make_trainer(optimizer=optim.SGD(0.05, momentum=0.9))
        history = trainer.fit(
            make_data(50 if batch_size == 1 else 100),
            make_data(30, seed=1),
            epochs=2,
            batch_size=batch_size,
            callbacks=[GradientNormMonitor()],
            **QUIET,
        )
        columns = [history[name] for name in history if name != "seconds"]
        results.add((weight_bits(trainer), repr(columns)))
    assert len(results) == 1


def test_stretches_with_a_schedule(chunk_size):
    results = set()
    for n_steps in (1, 5):
        chunk_size(n_steps)
        trainer = make_trainer(optimizer=optim.Adam(optim.InverseTime(0.05)))
        history = trainer.fit(make_data(), epochs=2, **QUIET)
        results.add((weight_bits(trainer), tuple(history["learning_rate"])))
    assert len(results) == 1
    # 7 steps an epoch; the rate of the last one is recorded
    assert history["learning_rate"] == pytest.approx([0.05 / 7, 0.05 / 14])


def test_two_fits_take_the_steps_of_one():
    once, twice = make_trainer(), make_trainer()
    once.fit(make_data(), epochs=4, **QUIET)
    twice.fit(make_data(), epochs=2, **QUIET)
    history = twice.fit(make_data(), epochs=2, **QUIET)
    assert weight_bits(once) == weight_bits(twice)
    assert history["epoch"] == [1, 2, 3, 4]
    assert history["loss"] == once.history["loss"]


@pytest.mark.parametrize("n", [96, 100], ids=["whole", "partial"])
@pytest.mark.parametrize("weighted", [False, True])
def test_accumulated_batches_equal_one_large_batch(n, weighted):
    x, y = make_data(n)
    weights = np.random.default_rng(1).uniform(0.2, 2.0, n).astype(np.float32)
    samples = (x, y, weights) if weighted else (x, y)
    results = []
    for batch_size, accumulated in ((24, 1), (8, 3)):
        trainer = make_trainer(
            dropout=0.0, optimizer=optim.SGD(0.3), gradient_accumulation=accumulated
        )
        history = trainer.fit(samples, epochs=2, batch_size=batch_size, **QUIET)
        results.append((trainer, history))
    (large, large_history), (small, small_history) = results
    assert large.n_updates == small.n_updates == 2 * -(-n // 24)
    for a, b in zip(large.model.parameters(), small.model.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(large_history["loss"], small_history["loss"], rtol=1e-5)
    np.testing.assert_allclose(large_history["accuracy"], small_history["accuracy"])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_accumulation_knows_class_weights_and_ignored_labels_of_the_loss(reduction):
    x, y = make_data(60)
    y[np.arange(60) % 7 == 0] = -100
    results = []
    for batch_size, accumulated in ((30, 1), (6, 5)):
        trainer = make_trainer(
            dropout=0.0,
            loss=nn.CrossEntropyLoss(weight=np.float32([0.5, 2.0]), reduction=reduction),
            optimizer=optim.SGD(0.3 if reduction == "mean" else 0.01),
            gradient_accumulation=accumulated,
        )
        history = trainer.fit((x, y), epochs=2, batch_size=batch_size, **QUIET)
        results.append((trainer, history["loss"]))
    (large, large_loss), (small, small_loss) = results
    for a, b in zip(large.model.parameters(), small.model.parameters(), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-5, atol=1e-6)
    np.testing.assert_allclose(large_loss, small_loss, rtol=1e-5)
    whole = large.evaluate((x, y), batch_size=60)["loss"]
    assert large.evaluate((x, y), batch_size=7)["loss"] == pytest.approx(whole, rel=1e-6)


@pytest.mark.parametrize(
    ("loss", "threshold"),
    [
        (nn.MSELoss(), 0.5),
        (nn.BCELoss(), 0.5),
        (nn.BCEWithLogitsLoss(), 0.0),
        (nn.HingeLoss(), 0.0),
        (nn.functional.binary_cross_entropy_with_logits, 0.0),
        (nn.functional.mse_loss, 0.5),
    ],
    ids=lambda x: getattr(x, "__name__", None) or repr(x),
)
def test_accuracy_of_a_single_output_follows_the_loss(loss, threshold):
    trainer = Trainer(nn.Linear(2, 1), loss=loss, optimizer=optim.SGD(0.1), metrics=["accuracy"])
    assert trainer.metrics[0].threshold == threshold


@pytest.mark.parametrize("kind", ["sample", "mapping", "sequence", "both"])
def test_a_weight_is_worth_as_many_copies(kind):
    x, y = make_data(40)
    copies = np.where(y == 1, 3, 1)
    options, samples = {}, (x, y)
    if kind == "sample":
        samples = (x, y, copies.astype(float))
    elif kind == "mapping":
        options = {"class_weight": {1: 3.0}}
    elif kind == "sequence":
        options = {"class_weight": [1.0, 3.0]}
    else:
        extra = 1 + np.arange(40) % 2
        copies = copies * extra
        samples, options = (x, y, extra), {"class_weight": {1: 3}}
    repeated = np.repeat(np.arange(40), copies)
    results = []
    for settings, content in ((options, samples), ({}, (x[repeated], y[repeated]))):
        trainer = make_trainer(dropout=0.0, optimizer=optim.SGD(0.3), **settings)
        history = trainer.fit(content, epochs=3, batch_size="all", **QUIET)
        results.append((trainer, history))
    (a, a_history), (b, b_history) = results
    for p, q in zip(a.model.parameters(), b.model.parameters(), strict=True):
        np.testing.assert_allclose(p.numpy(), q.numpy(), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(a_history["accuracy"], b_history["accuracy"])
    np.testing.assert_allclose(a_history["loss"], b_history["loss"], rtol=1e-5)


def test_balanced_classes_count_alike():
    x, y = make_data(40)
    y = (np.arange(40) < 4).astype(int)
    weights = make_trainer(class_weight="balanced").prepare_training((x, y)).weights
    assert weights[y == 1].sum() == pytest.approx(weights[y == 0].sum())
    assert weights.sum() == pytest.approx(40)


@pytest.mark.filterwarnings("ignore:the learning rate is 0", "ignore:the validation data is part")
def test_every_sample_counts_once_an_epoch_also_in_the_last_batch():
    x, y = make_data(37)
    trainer = make_trainer(dropout=0.0, optimizer=optim.SGD(0.0))
    history = trainer.fit((x, y), (x.copy(), y), epochs=1, **QUIET)
    measured = trainer.evaluate((x, y))
    assert history["loss"][0] == pytest.approx(measured["loss"], rel=1e-6)
    assert history["val_loss"][0] == measured["loss"]
    assert history["accuracy"][0] == measured["accuracy"]
    assert trainer.n_updates == 3


def test_single_sample_descent_makes_a_step_a_sample():
    trainer = make_trainer(batch_size=1)
    trainer.fit(make_data(20), epochs=2, **QUIET)
    assert trainer.n_updates == 40


@pytest.mark.filterwarnings("ignore:the learning rate is 0")
def test_a_summed_loss_is_reported_as_the_total():
    class Total(nn.Module):
        reduction = "sum"

        def forward(self, prediction, target):
            return ops.sum(ops.square(prediction - target))

    x = np.random.default_rng(0).normal(size=(10, 2)).astype("f")
    random.seed(0)
    trainer = Trainer(nn.Linear(2, 1), loss=Total(), optimizer=optim.SGD(0.0), batch_size=4)
    history = trainer.fit((x, x[:, :1]), epochs=1, **QUIET)
    assert history["loss"][0] == pytest.approx(
        np.square(trainer.predict(x) - x[:, :1]).sum(), rel=1e-5
    )


def test_evaluate_and_predict_use_evaluation_mode_and_any_batch_size():
    trainer = make_trainer(dropout=0.9)
    x, y = make_data(33)
    outputs = trainer.predict(x)
    assert outputs.shape == (33, 2)
    for batch_size in (1, 8, 32, 33, 1000):
        np.testing.assert_allclose(trainer.predict(x, batch_size), outputs, rtol=1e-5)
        np.testing.assert_allclose(
            list(trainer.evaluate((x, y), batch_size=batch_size).values()),
            list(trainer.evaluate((x, y)).values()),
            rtol=1e-6,
        )
    assert trainer.model.training
    trainer.model.eval()
    np.testing.assert_array_equal(np.asarray(trainer.model(x)), outputs)
    trainer.predict(x)
    assert not trainer.model.training
    matrix = trainer.evaluate((x, y), metrics=["confusion_matrix"])["confusion_matrix"]
    assert matrix.sum() == 33


def test_prediction_compiles_one_shape():
    trainer = make_trainer()
    trainer.predict(make_data(70)[0], batch_size=32)
    assert trainer._programs["predict"].n_compilations == 1
    outputs = trainer.predict(make_data(70)[0])
    for n in range(1, 65):
        np.testing.assert_allclose(trainer.predict(make_data(70)[0][:n]), outputs[:n], rtol=1e-5)
    assert trainer._programs["predict"].n_compilations <= 5


def test_layers_in_a_mode_of_their_own_keep_it():
    trainer = make_trainer()
    modules = list(trainer.model.modules())
    trainer.model.train()
    modules[2].eval()
    trainer.evaluate(make_data(10))
    assert [m.training for m in modules] == [True, True, False, True]


def test_several_inputs_and_a_data_set():
    class Two(nn.Module):
        def __init__(self):
            self.head = nn.Linear(2, 2)

        def forward(self, a, b):
            return self.head(a * b)

    random.seed(0)
    x, y = make_data(20)
    trainer = Trainer(Two(), loss=cross_entropy, optimizer=optim.Adam(), batch_size=8)
    both = data.ArrayDataset((x, x + 1), y)
    trainer.fit(both, both.subset(np.arange(5)), epochs=1, **QUIET)
    assert trainer.predict((x, x)).shape == (20, 2)


def test_float64_is_cast_with_one_notice(caplog):
    from chainrule.training import doors

    doors.forget_notices()
    x, y = make_data(20)
    trainer = make_trainer()
    trainer.fit((x.astype(float), y), epochs=1, **QUIET)
    trainer.predict(x.astype(float))
    assert caplog.text.count("float64 data is taken as float32") == 1


def test_a_loss_that_breaks_changes_nothing_and_says_where(tmp_path):
    class Logarithm(nn.Module):
        def forward(self, x):
            return ops.log(x)

    def build():
        random.seed(1)
        model = nn.Sequential(nn.Linear(2, 2), Logarithm())
        model.assign({"0.weight": ops.as_value(np.eye(2, dtype="f"))})
        model.assign({"0.bias": ops.as_value(np.zeros(2, "f"))})
        return Trainer(model, loss=squared_error, optimizer=optim.SGD(0.01), batch_size=4)

    x = np.random.default_rng(0).uniform(1, 2, (40, 2)).astype("f")
    order = data.epoch_order(40, 0, 0)
    x[order[6 * 4 + 1], 1] = -5.0  # step 7 of the first epoch
    trainer = build()
    with pytest.raises(NonFiniteError) as caught:
        trainer.fit((x, x), epochs=2, run_dir=tmp_path / "run", pictures=False, **QUIET)
    text = str(caught.value)
    assert "step 7 of epoch 1 (update 7)" in text
    assert "layer 1" in text
    assert "op log" in text
    assert "it is 0.01" in text
    assert "epoch-000000-step-000000006.safetensors" in text
    assert caught.value.step == 6

    class StopAfterSix(Callback):
        def on_chunk_end(self, fit, chunk):
            if fit.step >= 6:
                fit.stop("six")

    from chainrule.training import pace as pace_module

    other, original = build(), pace_module.Pace.ran
    pace_module.Pace.ran = lambda self, *a, **k: None
    try:
        other.fit((x, x), epochs=1, callbacks=[StopAfterSix()], **QUIET)
    finally:
        pace_module.Pace.ran = original
    assert weight_bits(other) == weight_bits(trainer)
    assert trainer.n_updates == 6


def test_a_validation_loss_that_breaks_is_named_too():
    x = np.random.default_rng(0).uniform(1, 2, (8, 2)).astype("f")

    def loss(prediction, target):
        return ops.mean(ops.sqrt(target)) + ops.mean(ops.square(prediction))

    trainer = Trainer(nn.Linear(2, 2), loss=loss, optimizer=optim.SGD(0.01))
    with pytest.raises(NonFiniteError, match=r"nan on the validation data of epoch 1[\s\S]*sqrt"):
        trainer.fit((x, x), (x.copy(), -x), epochs=2, **QUIET)
    assert trainer.n_updates == 1


def test_a_dry_run_leaves_everything_as_it_was():
    trainer = make_trainer()
    before = weight_bits(trainer)
    key = int(trainer.random_state.step)
    history = trainer.fit(make_data(), make_data(40, 1), dry_run=True, **QUIET)
    assert history.n_epochs == 1
    assert weight_bits(trainer) == before
    assert int(trainer.optimizer.step) == 0
    assert int(trainer.random_state.step) == key
    assert trainer.history.n_epochs == trainer.epoch == 0
    reference = make_trainer()
    for t in (trainer, reference):
        t.fit(make_data(), epochs=1, **QUIET)
    assert weight_bits(trainer) == weight_bits(reference)


def test_one_batch_is_learned_by_heart_or_a_warning_comes():
    trainer = make_trainer(dropout=0.0, optimizer=optim.Adam(0.1))
    history = trainer.fit(
        make_data(), make_data(), epochs=300, batch_size=6, overfit_one_batch=True, **QUIET
    )
    assert history["loss"][-1] < 0.1 * history["loss"][0]
    assert trainer.n_updates == 300
    assert "val_loss" not in history
    lazy = make_trainer(optimizer=optim.SGD(1e-6))
    with pytest.warns(TeachingWarning, match=r"one batch of 16 samples was not learned by heart"):
        lazy.fit(make_data(), epochs=3, overfit_one_batch=True, **QUIET)


def test_config_is_plain_data():
    import json

    config = make_trainer(metrics=["accuracy", "f1"], class_weight=[1, 2]).config()
    assert json.loads(json.dumps(config)) == config
    assert config["metrics"] == ["accuracy", "f1"]
    assert config["n_parameters"] == 42
    assert "epoch 0" in repr(make_trainer())
