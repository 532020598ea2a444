"""Callbacks one by one, the order of their hooks, and what they keep."""

import json
import math

import numpy as np
import pytest
from training_helpers import make_data, make_trainer, weight_bits

from chainrule import optim
from chainrule.errors import ArgumentError, TeachingWarning
from chainrule.training import (
    BestWeights,
    Callback,
    ConfusionMatrixPicture,
    CSVLogger,
    EarlyStopping,
    EpochLine,
    GradientNormMonitor,
    History,
    JSONLinesLogger,
    LambdaCallback,
    LearningCurvePicture,
    LossWatch,
    ModelCheckpoint,
    ParameterHistogram,
    ProgressBar,
    ReportToSchedule,
    StopOnTarget,
    TimeLimit,
    Timer,
    WeightImages,
    callbacks,
)

QUIET = {"progress": "none"}


class Recorder(Callback):
    """Writes down which hook was called when."""

    def __init__(self):
        self.calls = []

    def on_fit_begin(self, fit):
        self.calls.append("fit begin")

    def on_epoch_begin(self, fit):
        self.calls.append(f"epoch {fit.epoch + 1} begin")

    def on_chunk_end(self, fit, chunk):
        self.calls.append(f"step {fit.step}")

    def on_epoch_end(self, fit, row):
        self.calls.append(f"epoch {fit.epoch} end")

    def on_fit_end(self, fit):
        self.calls.append("fit end")


class Scripted(Callback):
    """Replaces the validation loss by given numbers."""

    priority = -1

    def __init__(self, values):
        self.values = values

    def on_epoch_end(self, fit, row):
        fit.history["val_loss"][-1] = row["val_loss"] = self.values[fit.epoch - 1]


def fit_with(*given, values=None, epochs=3, trainer=None, validation=True, **options):
    trainer = trainer or make_trainer()
    script = [Scripted(values)] if values else []
    history = trainer.fit(
        make_data(64),
        make_data(30, seed=1) if validation else None,
        epochs=len(values) if values else epochs,
        callbacks=[*script, *given],
        **{**QUIET, **options},
    )
    return trainer, history


def test_hooks_come_in_order(chunk_size):
    chunk_size(3)
    recorder = Recorder()
    fit_with(recorder, epochs=2)
    epoch = ["step 3", "step 4"]
    assert recorder.calls == [
        "fit begin",
        "epoch 1 begin",
        *epoch,
        "epoch 1 end",
        "epoch 2 begin",
        *epoch,
        "epoch 2 end",
        "fit end",
    ]


def test_functions_as_a_callback():
    seen = []
    fit_with(
        LambdaCallback(
            on_fit_begin=lambda fit: seen.append("begin"),
            on_epoch_begin=lambda fit: seen.append(fit.epoch),
            on_chunk_end=lambda fit, chunk: seen.append(chunk.first_step),
            on_epoch_end=lambda fit, row: seen.append(row["epoch"]),
            on_fit_end=lambda fit: seen.append("end"),
        ),
        epochs=1,
    )
    assert seen[:3] == ["begin", 0, 0]
    assert seen[-2:] == [1, "end"]
    with pytest.raises(ArgumentError, match="on_epoch_end must be a function"):
        LambdaCallback(on_epoch_end=3)


@pytest.mark.parametrize(
    ("values", "patience", "best", "n_epochs"),
    [
        ([3, 2, 1, 2, 2, 2], 2, 3, 5),
        ([1, 2, 3, 4, 5], 3, 1, 4),
        ([3, 2.95, 2.9, 2.5], 2, 1, 3),  # gains below min_delta
        ([math.nan, 2, 3, 4, 5], 2, 2, 4),
        ([4, 3, 2, 1], 1, 4, 4),
    ],
)
def test_early_stopping_ends_with_the_best_weights(values, patience, best, n_epochs):
    snapshots = {}
    keep = LambdaCallback(
        on_epoch_end=lambda fit, row: snapshots.update({fit.epoch: weight_bits(fit.trainer)})
    )
    stopping = EarlyStopping(patience=patience, min_delta=0.2)
    trainer, history = fit_with(keep, stopping, values=values)
    assert history.n_epochs == n_epochs
    assert stopping.best_epoch == best
    assert weight_bits(trainer) == snapshots[best]
    assert bool(history.stopped) == (n_epochs < len(values))


def test_the_last_weights_stay_if_that_is_wished():
    snapshots = {}
    keep = LambdaCallback(
        on_epoch_end=lambda fit, row: snapshots.update({fit.epoch: weight_bits(fit.trainer)})
    )
    for stopping, options in (
        ([EarlyStopping(restore_best=False)], {}),
        ([], {"restore_best": False}),
    ):
        trainer, _ = fit_with(keep, *stopping, values=[1, 2, 3], **options)
        assert weight_bits(trainer) == snapshots[3]
    trainer, _ = fit_with(keep, values=[1, 2, 3])
    assert weight_bits(trainer) == snapshots[1]


def test_best_weights_come_back_when_a_callback_fails():
    snapshots = {}

    class Fail(Callback):
        priority = 99

        def on_epoch_end(self, fit, row):
            snapshots[fit.epoch] = weight_bits(fit.trainer)
            if fit.epoch == 2:
                raise RuntimeError("planted")

    trainer = make_trainer()
    with pytest.raises(RuntimeError, match="planted"):
        fit_with(Fail(), values=[1, 2, 3], trainer=trainer)
    assert weight_bits(trainer) == snapshots[1]


def test_a_metric_can_be_watched_in_its_own_direction():
    watch = BestWeights("val_accuracy")
    _, history = fit_with(watch, epochs=6)
    assert watch.best.value == max(history["val_accuracy"])
    assert history.best_epoch == watch.best_epoch
    assert fit_with(BestWeights("val_accuracy", mode="min"))[1].higher_is_better is False


def test_limits_end_the_run(chunk_size):
    chunk_size(1)
    trainer, history = fit_with(TimeLimit(minutes=1e-9), epochs=3, validation=False)
    assert trainer.n_updates == 1
    assert history.n_epochs == 1  # the part that ran is measured
    assert "time limit" in history.stopped
    _, history = fit_with(StopOnTarget("loss", 100.0), epochs=3)
    assert history.n_epochs == 1
    assert "loss reached its target 100" in history.stopped
    _, history = fit_with(StopOnTarget("val_accuracy", 2.0), epochs=2)
    assert history.n_epochs == 2


def test_gradient_norm_is_that_of_all_gradients():
    norms = []

    class Note(GradientNormMonitor):
        def on_chunk_end(self, fit, chunk):
            norms.extend(chunk.observations[self.key].tolist())
            super().on_chunk_end(fit, chunk)

    trainer = make_trainer(dropout=0.0, optimizer=optim.SGD(0.5), batch_size="all")
    before = np.concatenate([p.numpy().ravel() for p in trainer.model.parameters()])
    _, history = fit_with(Note(), epochs=1, trainer=trainer, validation=False)
    after = np.concatenate([p.numpy().ravel() for p in trainer.model.parameters()])
    assert norms[0] == pytest.approx(np.linalg.norm(after - before) / 0.5, rel=1e-4)
    assert history["gradient_norm"] == history["gradient_norm_max"] == norms


def test_parameter_histogram_and_timer():
    histogram = ParameterHistogram(bins=5)
    _, history = fit_with(histogram, Timer(), epochs=2)
    assert len(histogram.records) == 2 * 4
    assert sum(histogram.records[0]["counts"]) == 16
    assert len(histogram.records[0]["edges"]) == 6
    assert min(history["samples_per_second"]) > 0


def test_plateaus_reach_the_schedule():
    class Listening(optim.Schedule):
        def __init__(self):
            super().__init__()
            self.heard = []

        def rate(self, position):
            return 0.01

        def report(self, metric):
            self.heard.append(metric)

    schedule = Listening()
    trainer = make_trainer(optimizer=optim.SGD(schedule))
    fit_with(values=[3, 2, 1], trainer=trainer)
    assert schedule.heard == [3, 2, 1]
    schedule = Listening()
    trainer = make_trainer(optimizer=optim.SGD(schedule))
    _, history = fit_with(ReportToSchedule("accuracy"), trainer=trainer)
    assert schedule.heard == history["accuracy"]


def test_a_diverging_rate_is_named():
    trainer = make_trainer(optimizer=optim.SGD(3.0), dropout=0.0)
    with pytest.warns(TeachingWarning, match=r"learning rate 3 is probably too high\. Try 0\.3,"):
        fit_with(epochs=6, trainer=trainer, validation=False)


def test_a_loss_that_does_not_move_is_mentioned():
    trainer = make_trainer(optimizer=optim.SGD(1e-9), dropout=0.0)
    with pytest.warns(TeachingWarning, match=r"has stayed at [\d.]+ for 20 steps.*rate 1e-09"):
        fit_with(LossWatch(patience=20), epochs=8, trainer=trainer, validation=False)


def test_files(tmp_path):
    table, lines = CSVLogger(tmp_path / "a" / "log.csv"), JSONLinesLogger(tmp_path / "log.jsonl")
    _, history = fit_with(table, lines, values=[1.0, math.nan])
    rows = [json.loads(line) for line in lines.path.read_text().splitlines()]
    assert [row["val_loss"] for row in rows] == [1.0, None]
    assert table.path.read_text() == history.csv()
    assert table.path.read_text().splitlines()[0].startswith("epoch,loss,accuracy,val_loss")
    history.to_csv(tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_text() == history.csv()


def test_pictures(tmp_path):
    fit_with(
        LearningCurvePicture(tmp_path / "curve.png"),
        ConfusionMatrixPicture(tmp_path / "matrix.png", ("no", "yes")),
        WeightImages(tmp_path / "weights", image_shape=(1, 2)),
        epochs=2,
    )
    for name in (
        "curve.png",
        "matrix.png",
        "weights/weights_layer1.png",
        "weights/weights_layer2.png",
    ):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    with pytest.raises(ArgumentError, match="no validation data to draw"):
        fit_with(ConfusionMatrixPicture(tmp_path / "x.png"), validation=False)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: EarlyStopping(patience=0), "at least one epoch"),
        (lambda: EarlyStopping(mode="up"), "no mode 'up'"),
        (lambda: EarlyStopping(min_delta=-1), "min_delta is negative"),
        (lambda: TimeLimit(0), "must be positive"),
        (lambda: ModelCheckpoint(keep=0), "keep is out of range"),
        (lambda: ModelCheckpoint(every_minutes=0), "every_minutes is out of range"),
        (lambda: fit_with(ModelCheckpoint()), "nowhere to write to"),
        (lambda: fit_with(EarlyStopping("val_f1")), "watches 'val_f1', which this run does not"),
        (lambda: fit_with(EarlyStopping("val_loss"), validation=False), r"give fit\(..., valid"),
        (lambda: fit_with(EarlyStopping), "a callback is no Callback"),
        (lambda: fit_with(EarlyStopping(), EarlyStopping()), "under the name 'EarlyStopping'"),
        (lambda: fit_with(StopOnTarget("f1", 1)), "StopOnTarget watches 'f1'"),
    ],
)
def test_messages(make, message):
    with pytest.raises(ArgumentError, match=message):
        make()


STATEFUL = [
    EarlyStopping(),
    BestWeights(),
    GradientNormMonitor(),
    ParameterHistogram(),
    LossWatch(),
    StopOnTarget("loss", 0.1),
]


@pytest.mark.parametrize("callback", STATEFUL, ids=lambda c: c.key)
def test_state_goes_through_a_checkpoint(callback, tmp_path):
    from chainrule.training import checkpoint

    fit_with(callback, epochs=2)
    state = callback.state_dict()
    path = checkpoint.save(state, tmp_path / "a.safetensors")
    fresh = type(callback)(*(("loss", 0.1) if isinstance(callback, StopOnTarget) else ()))
    fresh.load_state_dict(checkpoint.load(path))
    digests = [
        checkpoint.read_header(checkpoint.serialize(x))["sha256"]
        for x in (state, fresh.state_dict())
    ]
    assert digests[0] == digests[1]


def test_there_are_at_least_thirteen():
    found = [getattr(callbacks, name) for name in callbacks.__all__]
    kinds = [x for x in found if isinstance(x, type)]
    assert len(kinds) >= 13
    assert all(issubclass(kind, Callback) for kind in kinds)
    assert {EpochLine, ProgressBar} <= set(kinds)


def test_history_columns():
    history = History()
    assert history.n_epochs == 0
    assert history.best_epoch is None
    history.append({"epoch": 1, "loss": math.nan})
    assert history.best_epoch is None
    history.append({"epoch": 2, "loss": 3.0, "late": 1})
    history.append({"epoch": 3, "loss": 3.0})
    assert history.best_epoch == 2
    assert math.isnan(history["late"][0])
    assert history.rows()[1] == {"epoch": 2, "loss": 3.0, "late": 1}
    assert "late" in history
    with pytest.raises(ArgumentError, match="epoch, loss, late"):
        history["val_loss"]
    assert repr(history) == "History(3 epochs: epoch, loss, late, best epoch 2)"
    again = History()
    again.load_state_dict(history.state_dict())
    assert repr(again) == repr(history)
