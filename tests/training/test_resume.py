"""Resuming: stopped or killed anywhere, a run ends with the bits of one left alone."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from training_helpers import make_data, make_trainer, weight_bits

from chainrule import optim
from chainrule.errors import ArgumentError, StateError
from chainrule.training import (
    Callback,
    CSVLogger,
    EarlyStopping,
    GradientNormMonitor,
    ModelCheckpoint,
    ParameterHistogram,
    RunFolder,
    checkpoint,
    load_best,
)

QUIET = {"progress": "none", "pictures": False}
FIXTURES = Path(__file__).parent / "fixtures"


class StopAt(Callback):
    """Stops the run at one place."""

    def __init__(self, epoch, step):
        self.place = (epoch, step)

    def on_chunk_end(self, fit, chunk):
        if (fit.epoch, fit.step) == self.place:
            fit.stop("here")


def run(folder, *, epochs=3, resume=None, stop=None, trainer=None, **options):
    trainer = trainer or make_trainer(optimizer=optim.SGD(0.1, momentum=0.9))
    stopping = [] if stop is None else [StopAt(*stop)]
    history = trainer.fit(
        make_data(),
        make_data(30, seed=1),
        epochs=epochs,
        run_dir=folder,
        resume=resume,
        callbacks=[
            EarlyStopping(patience=2),
            GradientNormMonitor(),
            ParameterHistogram(bins=3),
            ModelCheckpoint(every_minutes=1e-9),
            *stopping,
        ],
        **{**QUIET, **options},
    )
    return trainer, history


def comparable(history):
    return {name: column for name, column in history.items() if name != "seconds"}


@pytest.mark.parametrize("place", [(0, 1), (0, 6), (1, 3), (2, 7), (2, 6)], ids=str)
def test_a_run_stopped_anywhere_goes_on_as_if_left_alone(tmp_path, chunk_size, place):
    chunk_size(1)
    alone, alone_history = run(tmp_path / "alone")
    run(tmp_path / "stopped", stop=place)
    resumed, history = run(tmp_path / "stopped", resume=True)
    assert weight_bits(resumed) == weight_bits(alone)
    assert repr(comparable(history)) == repr(comparable(alone_history))
    assert resumed.n_updates == alone.n_updates
    assert int(resumed.random_state.step) == int(alone.random_state.step)
    lines = (tmp_path / "stopped" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in lines] == history["epoch"]
    states = [
        checkpoint.load_latest(tmp_path / name / "checkpoints")[0] for name in ("alone", "stopped")
    ]
    for state in states:
        del state["position"]["seconds"], state["history"]["columns"]["seconds"]
    digests = [checkpoint.read_header(checkpoint.serialize(s))["sha256"] for s in states]
    assert digests[0] == digests[1]


def test_a_schedule_that_listens_goes_on_where_it_was(tmp_path, chunk_size):
    chunk_size(2)

    def listening():
        rate = optim.ReduceOnPlateau(0.5, patience=0, threshold=0.05, factor=0.5)
        return make_trainer(optimizer=optim.Nesterov(rate, 0.8))

    ends = []
    for name, places in (("alone", [None]), ("stopped", [(1, 4), (3, 2), (3, 4), None])):
        for place in places:
            trainer, history = run(
                tmp_path / name, epochs=5, stop=place, resume=True, trainer=listening()
            )
        ends.append((weight_bits(trainer), repr(comparable(history))))
    assert ends[0] == ends[1]
    assert len(set(history["learning_rate"])) > 1


def test_a_finished_run_has_nothing_left_to_do(tmp_path):
    trainer, history = run(tmp_path / "run")
    again, same = run(tmp_path / "run", resume=tmp_path / "run", epochs=None)
    assert weight_bits(again) == weight_bits(trainer)
    assert again.n_updates == trainer.n_updates
    assert same["loss"] == history["loss"]
    longer, _ = run(tmp_path / "run", resume=True, epochs=4)
    straight, _ = run(tmp_path / "other", epochs=4)
    assert weight_bits(longer) == weight_bits(straight)


@pytest.mark.filterwarnings("ignore:the learning rate is 0")
def test_a_run_that_stopped_early_stays_stopped(tmp_path):
    options = {"epochs": 20, "trainer": None}

    def patient():
        return make_trainer(optimizer=optim.SGD(0.0))

    stopped, history = run(tmp_path / "run", **{**options, "trainer": patient()})
    assert history.n_epochs < 20
    assert "has not improved for 2 epochs" in history.stopped
    again, _ = run(tmp_path / "run", resume=True, **{**options, "trainer": patient()})
    assert again.n_updates == stopped.n_updates
    assert weight_bits(again) == weight_bits(stopped)


def test_resume_true_starts_fresh_where_there_is_nothing(tmp_path):
    trainer, _ = run(tmp_path / "new", resume=True)
    assert trainer.epoch == 3
    with pytest.raises(StateError, match="no run folder to resume from"):
        make_trainer().fit(make_data(), resume=True, **QUIET)


def test_another_run_is_refused(tmp_path):
    run(tmp_path / "run", epochs=1)
    with pytest.raises(StateError, match="holds a run already"):
        run(tmp_path / "run")
    other = make_trainer(seed=99, optimizer=optim.SGD(0.1, momentum=0.9))
    with pytest.raises(StateError, match=r"set up differently[\s\S]*seed: 3 then, 99 now"):
        run(tmp_path / "run", resume=True, trainer=other)
    adam = make_trainer(optimizer=optim.Adam())
    with pytest.raises(StateError, match=r"optimizer: 'SGD' then, 'Adam' now"):
        run(tmp_path / "run", resume=True, trainer=adam)
    trainer = make_trainer(optimizer=optim.SGD(0.1, momentum=0.9))
    with pytest.raises(StateError, match="training_data: "):
        trainer.fit(make_data(seed=8), run_dir=tmp_path / "run", resume=True, **QUIET)
    path = checkpoint.save({"a": 1}, tmp_path / "other.safetensors")
    with pytest.raises(StateError, match="is no checkpoint of a run"):
        run(tmp_path / "run", resume=path)


def test_a_damaged_latest_checkpoint_costs_only_its_own_steps(tmp_path, chunk_size, caplog):
    chunk_size(1)
    alone, _ = run(tmp_path / "alone")
    run(tmp_path / "run", stop=(1, 5))
    latest, older = checkpoint.checkpoints(tmp_path / "run" / "checkpoints")
    latest.write_bytes(latest.read_bytes()[:-20])
    resumed, _ = run(tmp_path / "run", resume=True)
    assert weight_bits(resumed) == weight_bits(alone)
    assert "skipped a checkpoint" in caplog.text
    assert older.name < latest.name


def test_ctrl_c_ends_at_a_step_boundary_and_the_run_can_go_on(tmp_path, chunk_size):
    chunk_size(1)

    class PressCtrlC(Callback):
        def on_chunk_end(self, fit, chunk):
            if (fit.epoch, fit.step) == (1, 2):
                os.kill(os.getpid(), signal.SIGINT)

    alone, _ = run(tmp_path / "alone")
    trainer = make_trainer(optimizer=optim.SGD(0.1, momentum=0.9))
    callbacks = [
        EarlyStopping(patience=2),
        GradientNormMonitor(),
        ParameterHistogram(bins=3),
        PressCtrlC(),
    ]
    with pytest.raises(KeyboardInterrupt):
        trainer.fit(
            make_data(),
            make_data(30, seed=1),
            epochs=3,
            run_dir=tmp_path / "run",
            callbacks=callbacks,
            **QUIET,
        )
    assert trainer.history.n_epochs == 1
    assert trainer.history.stopped == "interrupted"
    # the best weights are back, at this end too
    best = callbacks[0].weights
    for name, value in trainer.model.state_dict().items():
        assert value.numpy().tobytes() == best[name].numpy().tobytes()
    resumed, _ = run(tmp_path / "run", resume=True)
    assert weight_bits(resumed) == weight_bits(alone)


def test_logs_are_healed_and_new_versions_are_mentioned(tmp_path, caplog, monkeypatch):
    run(tmp_path / "run", epochs=2)
    metrics = tmp_path / "run" / "metrics.jsonl"
    metrics.write_text(metrics.read_text() + '{"epoch": 3, "lo')
    table = CSVLogger(tmp_path / "log" / "run.csv")
    from chainrule.training import resume as resume_module

    monkeypatch.setattr(resume_module, "VERSION", "9.9")
    trainer = make_trainer(optimizer=optim.SGD(0.1, momentum=0.9))
    history = trainer.fit(
        make_data(),
        make_data(30, seed=1),
        epochs=3,
        run_dir=tmp_path / "run",
        resume=True,
        callbacks=[table],
        **QUIET,
    )
    assert len(metrics.read_text().splitlines()) == 3
    assert (tmp_path / "log" / "run.csv").read_text() == history.csv()
    assert "chainrule 0.1.0 → 9.9" in caplog.text
    assert "no callback takes the saved state of EarlyStopping" in caplog.text


def test_the_run_folder(tmp_path):
    trainer, history = run(tmp_path / "run", config={"recipe": {"dataset": "toy"}})
    folder = RunFolder.open(tmp_path / "run")
    assert folder.config["recipe"] == {"dataset": "toy"}
    assert folder.config["training"]["seed"] == 3
    assert "best epoch" in (folder.path / "summary.txt").read_text()
    fresh = make_trainer(model_seed=77)
    load_best(folder.path, fresh.model)
    assert weight_bits(fresh) == weight_bits(trainer)
    folder.weights.unlink()
    fresh = make_trainer(model_seed=77)
    load_best(folder.path, fresh.model)
    assert weight_bits(fresh) == weight_bits(trainer)
    trainer.save_report(folder.path, make_data(20, seed=9))
    assert "20 test samples" in (folder.path / "summary.txt").read_text()
    assert (folder.path / "confusion_matrix.png").stat().st_size > 1000
    assert history.n_epochs == 3
    with pytest.raises(StateError, match="no such folder"):
        RunFolder.open(tmp_path / "nowhere")
    (folder.path / "config.json").write_text("{")
    with pytest.raises(StateError, match=r"config\.json is damaged"):
        _ = folder.config
    (tmp_path / "file").write_text("")
    with pytest.raises(ArgumentError, match="is a file, not a run folder"):
        RunFolder(tmp_path / "file")


def test_format_version_1_still_loads():
    state = checkpoint.load(FIXTURES / "version_1.safetensors")
    assert state["position"] == {"epoch": 1, "step": 2, "n_updates": 9, "epochs": 3, "seconds": 1.5}
    trainer = make_trainer(optimizer=optim.SGD(0.1, momentum=0.9))
    trainer.model.load_state_dict(state["model"])
    trainer.optimizer.load_state_dict(state["optimizer"])
    assert int(trainer.optimizer.step) == 9
    assert state["history"]["columns"]["epoch"] == [1]
    assert set(state) == {
        "config",
        "versions",
        "position",
        "model",
        "optimizer",
        "random",
        "partial",
        "history",
        "callbacks",
    }


SCRIPT = """
import sys
import numpy as np
from chainrule import nn, ops, optim, random
from chainrule.training import EarlyStopping, GradientNormMonitor, ModelCheckpoint, Trainer

def loss(prediction, target):
    return ops.mean(ops.square(prediction - target))

random.seed(5)
model = nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.2), nn.Linear(8, 1))
x = np.random.default_rng(0).normal(size=(100_000, 3)).astype("f")
y = x[:, :1] * x[:, 1:2]
trainer = Trainer(model, loss=loss, optimizer=optim.Adam(0.01), batch_size=8, seed=2)
trainer.fit((x, y), (x[:64] + 1, y[:64]), epochs=int(sys.argv[2]),
            run_dir=sys.argv[1], resume=True, progress="none", pictures=False,
            callbacks=[EarlyStopping(patience=999), GradientNormMonitor(),
                       ModelCheckpoint(every_minutes=1e-4)])
np.savez(sys.argv[1] + "/end.npz", **{k: v.numpy() for k, v in model.state_dict().items()})
"""


def kill_and_resume(tmp_path, n_kills, seed, epochs):
    """Run the script once undisturbed and once killed ``n_kills`` times; return both ends."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    rng = np.random.default_rng(seed)
    ends, killed = [], 0
    for name, kills in (("alone", 0), ("killed", n_kills)):
        folder = tmp_path / name
        while True:
            process = subprocess.Popen([sys.executable, str(script), str(folder), str(epochs)])
            if killed < kills:
                before = set(checkpoint.checkpoints(folder / "checkpoints"))
                while process.poll() is None and not (
                    set(checkpoint.checkpoints(folder / "checkpoints")) - before
                ):
                    time.sleep(0.005)
                time.sleep(rng.uniform(0, 0.15))
                if process.poll() is None:
                    process.send_signal(signal.SIGKILL)
                    killed += 1
                process.wait()
                if (folder / "end.npz").exists():
                    break
            else:
                assert process.wait() == 0
                break
        ends.append(dict(np.load(folder / "end.npz")))
    return ends, killed


def assert_same_bits(ends):
    alone, killed = ends
    assert alone.keys() == killed.keys()
    for name in alone:
        assert alone[name].tobytes() == killed[name].tobytes(), name


def test_three_kills(tmp_path):
    ends, killed = kill_and_resume(tmp_path, 3, seed=1, epochs=30)
    assert killed == 3
    assert_same_bits(ends)


@pytest.mark.slow
def test_twenty_kills(tmp_path):
    ends, killed = kill_and_resume(tmp_path, 20, seed=2, epochs=240)
    assert killed == 20
    assert_same_bits(ends)
