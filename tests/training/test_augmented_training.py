"""Training on augmented images: the same bits however batches are made, stopped and resumed."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from training_helpers import weight_bits

from chainrule import data, nn, optim, random
from chainrule.errors import StateError
from chainrule.training import Callback, EarlyStopping, Trainer, checkpoint
from chainrule.training import feeding as feeding_module
from chainrule.training.doors import as_samples
from chainrule.training.feeding import Ahead

QUIET = {"progress": "none", "pictures": False}
TRANSFORMS = [
    data.RandomCrop(6, padding=1),
    data.RandomHorizontalFlip(),
    data.Normalize(0.5, 0.25),
    data.MixUp(0.4, p=0.5),
]


def make_images(n=50, seed=0):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (n, 1, 6, 6)).astype(np.uint8)
    return data.ArrayDataset(pixels, (pixels[:, 0, 2:4, 2:4].mean(axis=(1, 2)) > 127).astype(int))


def make_augmented(workers=1, transforms=TRANSFORMS, **options):
    return data.Augmented(make_images(), transforms, workers=workers, **options)


def make_trainer(seed=3, **options):
    random.seed(5)
    model = nn.Sequential(nn.Flatten(), nn.Dropout(0.1), nn.Linear(36, 2))
    settings = {
        "loss": nn.CrossEntropyLoss(),
        "optimizer": optim.Adam(0.02),
        "metrics": ["accuracy"],
        "batch_size": 8,
        "engine": "interpreter",
    }
    return Trainer(model, seed=seed, **{**settings, **options})


def validation():
    return data.Augmented(make_images(20, seed=1), [data.Normalize(0.5, 0.25)])


def outcome(trainer):
    history = {k: v for k, v in trainer.history.items() if k != "seconds"}
    return weight_bits(trainer), repr(history)


def helpers():
    return [t for t in threading.enumerate() if t.name.startswith("chainrule-augmentation")]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    """Three steps to a block, and few blocks ahead."""
    monkeypatch.setattr(feeding_module, "BLOCK_SAMPLES", 24)
    monkeypatch.setattr(feeding_module, "AHEAD_BYTES", 10_000)
    yield
    assert not helpers(), "threads end with the fit"


def test_the_bits_do_not_depend_on_stretches_or_threads(chunk_size, monkeypatch):
    ends = []
    for n_steps, workers, block in ((1, 1, 24), (2, 3, 24), (1000, 1, 8), (1000, 2, 4096)):
        chunk_size(n_steps)
        monkeypatch.setattr(feeding_module, "BLOCK_SAMPLES", block)
        trainer = make_trainer()
        trainer.fit(make_augmented(workers), validation(), epochs=2, **QUIET)
        ends.append(outcome(trainer))
    assert ends.count(ends[0]) == len(ends)
    other = make_trainer(seed=4)
    other.fit(make_augmented(), validation(), epochs=2, **QUIET)
    assert outcome(other) != ends[0]


def test_both_engines_take_the_same_batches():
    ends = []
    for engine in ("interpreter", "compiler"):
        trainer = make_trainer(engine=engine)
        trainer.fit(make_augmented(), epochs=2, **QUIET)
        ends.append(trainer.model[2].weight.numpy())
    np.testing.assert_allclose(ends[0], ends[1], atol=1e-5)


def test_an_epoch_takes_the_samples_that_the_data_set_gives():
    augmented = make_augmented(seed=7)
    trainer = make_trainer()
    trainer.fit(augmented, epochs=1, restore_best=False, **QUIET)
    images, targets = augmented.batch(np.arange(50), epoch=0)
    plain = make_trainer()
    plain.fit((images, targets), epochs=1, restore_best=False, **QUIET)
    assert outcome(plain) == outcome(trainer)


class StopAt(Callback):
    """Stops the run at one place."""

    def __init__(self, epoch, step):
        self.place = (epoch, step)

    def on_chunk_end(self, fit, chunk):
        if (fit.epoch, fit.step) == self.place:
            fit.stop("here")


def run(folder, *, stop=None, resume=None, augmented=None, epochs=2):
    trainer = make_trainer()
    trainer.fit(
        augmented or make_augmented(),
        validation(),
        epochs=epochs,
        run_dir=folder,
        resume=resume,
        callbacks=[EarlyStopping(patience=9), *([StopAt(*stop)] if stop else [])],
        **QUIET,
    )
    return trainer


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """The outcome of a run that nothing stopped."""
    return outcome(run(tmp_path_factory.mktemp("alone") / "run"))


# the last full batch of an epoch, the small one after it, and places inside of blocks
@pytest.mark.parametrize("place", [(0, 1), (0, 6), (1, 4)], ids=str)
def test_a_run_stopped_anywhere_goes_on_as_if_left_alone(tmp_path, chunk_size, alone, place):
    chunk_size(1)
    run(tmp_path / "run", stop=place)
    chunk_size(5)
    resumed = run(tmp_path / "run", resume=True)
    assert outcome(resumed) == alone


def test_another_augmentation_is_another_run(tmp_path):
    run(tmp_path / "run", epochs=1)
    for other in (make_augmented(transforms=TRANSFORMS[1:]), make_augmented(seed=1)):
        with pytest.raises(StateError, match="training_data: "):
            run(tmp_path / "run", resume=True, augmented=other)


class Failing(data.Transform):
    """Fails at one sample, once it is armed."""

    def __init__(self, value):
        self.value, self.armed = value, False

    def apply(self, images, draws):
        if self.armed and (images.reshape(len(images), -1)[:, 0] == self.value).any():
            raise ZeroDivisionError("a mistake in a transform")
        return images


def test_a_mistake_in_a_transform_ends_the_run_at_its_step(chunk_size):
    chunk_size(1)
    order = data.epoch_order(50, 3, 0)
    pixels = np.tile(np.arange(50, dtype=np.float32)[:, None, None], (1, 6, 6)) / 50
    failing = Failing(pixels[order[30], 0, 0])
    train = data.Augmented((pixels, np.arange(50) % 2), [failing])

    class Watch(Callback):
        steps = 0

        def on_fit_begin(self, fit):
            failing.armed = True

        def on_chunk_end(self, fit, chunk):
            self.steps = fit.step

    watch = Watch()
    with pytest.raises(ZeroDivisionError, match="a mistake in a transform"):
        make_trainer().fit(train, callbacks=[watch], **QUIET)
    assert watch.steps == 3, "the block before it was trained on"


def test_ctrl_c_ends_the_threads_and_the_run_can_go_on(tmp_path, chunk_size, alone):
    chunk_size(1)

    class PressCtrlC(Callback):
        def on_chunk_end(self, fit, chunk):
            if (fit.epoch, fit.step) == (0, 4):
                assert helpers()
                os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(KeyboardInterrupt):
        make_trainer().fit(
            make_augmented(),
            validation(),
            epochs=2,
            run_dir=tmp_path / "run",
            callbacks=[EarlyStopping(patience=9), PressCtrlC()],
            **QUIET,
        )
    assert not helpers()
    assert outcome(run(tmp_path / "run", resume=True)) == alone


def test_an_early_stop_and_failing_callbacks_end_the_threads():
    trainer = make_trainer(optimizer=optim.SGD(1e-9))
    trainer.fit(
        make_augmented(), validation(), epochs=50, callbacks=[EarlyStopping(patience=1)], **QUIET
    )
    assert trainer.epoch < 50

    class Broken(Callback):
        def on_epoch_end(self, fit, row):
            raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make_trainer().fit(make_augmented(), callbacks=[Broken()], **QUIET)


class Counting(data.Transform):
    """Counts the samples that went through it."""

    def __init__(self):
        self.n = 0

    def apply(self, images, draws):
        self.n += len(images)
        return images


def test_only_so_much_is_made_ahead():
    counting = Counting()
    samples = as_samples(data.Augmented(make_images(), [counting]), "training")
    counting.n = 0
    feed = Ahead(samples, 8, seed=0, epoch=0, step=0, epochs=100)
    try:
        most = 50 * feed._most_ahead // 3
        deadline = time.monotonic() + 10
        while counting.n < most and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(0.05)
        # three steps, three steps, then the small batch at the epoch's end
        assert counting.n == 50 * feed._most_ahead / 3
        rows = data.epoch_order(50, 0, 0)[:48].reshape(6, 8)
        arrays, order = feed.take(rows)
        assert order.shape == (6, 8), "all that is ready and wanted"
        np.testing.assert_array_equal(arrays[0], samples.inputs[0][rows.ravel()])
        with pytest.raises(RuntimeError, match="not those of the next steps"):
            feed.take(rows)
    finally:
        feed.close()


def test_measuring_and_trying_leave_out_what_is_random():
    plain = make_images(20, seed=1)
    scaled = data.ArrayDataset(data.Normalize(0.5, 0.25).settle(plain.inputs), plain.targets)
    trainer = make_trainer()
    with_augmentation = data.Augmented(plain, TRANSFORMS[1:])
    assert trainer.evaluate(with_augmentation) == trainer.evaluate(scaled)
    before = weight_bits(trainer)
    trainer.fit(make_augmented(), dry_run=True, **QUIET)
    assert weight_bits(trainer) == before


def test_a_batch_to_learn_by_heart_stays_as_it_is():
    losses = make_trainer(optimizer=optim.Adam(0.1)).fit(
        make_augmented(), epochs=60, overfit_one_batch=True, **QUIET
    )["loss"]
    assert losses[-1] < 0.1 * losses[0], "with mixed labels it could not fall so far"


def test_class_weights_and_other_types_go_together():
    trainer = make_trainer(class_weight="balanced", gradient_accumulation=2)
    train = make_augmented(transforms=[*TRANSFORMS[:3], data.CutMix()])
    assert np.isfinite(trainer.fit(train, epochs=1, **QUIET)["loss"]).all()
    floating = data.ArrayDataset(make_images().inputs / 255.0, make_images().targets)
    trainer = make_trainer()
    trainer.fit(data.Augmented(floating, TRANSFORMS[:2]), epochs=1, **QUIET)


def test_profiling_takes_augmented_batches():
    pytest.importorskip("llvmlite")
    profile = make_trainer(engine="compiler").profile(make_augmented(), seconds=0.01)
    assert profile.rows


SCRIPT = """
import sys
sys.path[:0] = sys.argv[2:]
import numpy as np
import test_augmented_training as here
from chainrule.training import ModelCheckpoint
trainer = here.make_trainer()
trainer.fit(here.make_augmented(workers=2), here.validation(), epochs=25, run_dir=sys.argv[1],
            resume=True, callbacks=[ModelCheckpoint(every_minutes=1e-4)], **here.QUIET)
np.savez(sys.argv[1] + "/end.npz", **{k: v.numpy() for k, v in trainer.model.state_dict().items()})
"""


@pytest.mark.slow
def test_a_killed_run_goes_on_with_the_same_bits(tmp_path):
    rng = np.random.default_rng(0)
    ends = []
    for name, n_kills in (("alone", 0), ("killed", 2)):
        folder = tmp_path / name
        command = [sys.executable, "-c", SCRIPT, str(folder), os.path.dirname(__file__)]
        for _ in range(n_kills):
            process = subprocess.Popen(command)
            before = set(checkpoint.checkpoints(folder / "checkpoints"))
            while process.poll() is None and not (
                set(checkpoint.checkpoints(folder / "checkpoints")) - before
            ):
                time.sleep(0.005)
            time.sleep(rng.uniform(0, 0.1))
            process.kill()
            process.wait()
        assert subprocess.run(command).returncode == 0
        ends.append(dict(np.load(folder / "end.npz")))
    assert {k: v.tobytes() for k, v in ends[0].items()} == {
        k: v.tobytes() for k, v in ends[1].items()
    }
