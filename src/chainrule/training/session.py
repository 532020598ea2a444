"""One call of ``Trainer.fit``, from its arguments to a history."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.array import leaf
from chainrule.data import epoch_order
from chainrule.errors import ArgumentError, StateError, TeachingWarning
from chainrule.ops.origin import here, stack_level
from chainrule.training import checkpoint, doors, resume
from chainrule.training.callbacks import (
    BestWeights,
    Callback,
    ConfusionMatrixPicture,
    JSONLinesLogger,
    LearningCurvePicture,
    LossWatch,
    ModelCheckpoint,
    ReportToSchedule,
    WeightImages,
)
from chainrule.training.callbacks.pictures import draw_confusion_matrix
from chainrule.training.callbacks.progress import PROGRESS, EpochLine, progress_callback
from chainrule.training.doors import Samples
from chainrule.training.fit import Fit
from chainrule.training.history import History
from chainrule.training.loop import Loop
from chainrule.training.probe import (
    mode,
    try_out,
    warn_if_idle,
    warn_if_unscaled,
    warn_of_large_targets,
)
from chainrule.training.run import RunFolder

DEFAULT_BATCH_SIZE = 32
DEFAULT_EPOCHS = 10


def run_fit(
    trainer: Any,
    train_data: Any,
    validation_data: Any,
    *,
    epochs: int | None,
    batch_size: Any,
    callbacks: Sequence[Callback],
    run_dir: Any,
    resume: Any,
    progress: str,
    restore_best: bool,
    monitor: str | None,
    overfit_one_batch: bool,
    dry_run: bool,
    pictures: bool,
    config: Mapping[str, Any],
) -> History:
    """Do what ``Trainer.fit`` describes; arguments as there."""
    _check_choices(epochs, progress, overfit_one_batch, resume, run_dir)
    if overfit_one_batch:
        validation_data = None
    train, validation = _take_in(trainer, train_data, validation_data)
    rows = rows_a_step(trainer, batch_size, len(train))
    if overfit_one_batch:
        # learned by heart is one batch that stays as it is
        train = _first_batch(trainer, train, rows).settled()
    _try_out(trainer, train, validation)
    if dry_run:
        return _dry_run(trainer, train, validation, rows)
    folder = _open_folder(run_dir, resume)
    n_steps = -(-len(train) // rows)
    fit = Fit(
        trainer=trainer,
        model=trainer.model,
        optimizer=trainer.optimizer,
        history=trainer.history,
        epochs=trainer.epoch + (epochs or DEFAULT_EPOCHS),
        n_samples=len(train),
        n_steps=n_steps,
        columns={},
        validation=validation,
        image_shape=_image_shape(train),
        folder=folder,
        epoch=trainer.epoch,
        n_updates=trainer.n_updates,
    )
    everything = _assemble(
        fit, callbacks, progress, restore_best, monitor, pictures, watch=not overfit_one_batch
    )
    fit.columns = _columns(trainer, validation is not None, everything)
    settings = {
        **trainer.config(),
        "batch_size": rows,
        "training_data": doors.fingerprint(train),
        "first_epoch": trainer.epoch,
    }
    _run(fit, train, rows, everything, settings, resume, epochs, config)
    if overfit_one_batch:
        _judge_one_batch(fit, len(train))
    return fit.history


def _run(
    fit: Fit,
    train: Samples,
    rows: int,
    callbacks: list[Callback],
    settings: dict[str, Any],
    source: Any,
    epochs: int | None,
    config: Mapping[str, Any],
) -> None:
    """Restore if asked to, loop, and leave the Trainer and the folder in order."""
    trainer, folder = fit.trainer, fit.folder
    totals = trainer.new_totals()
    trainer.optimizer.initialise(trainer.model)
    if hasattr(trainer.optimizer, "bind"):
        trainer.optimizer.bind(fit.n_steps)
    found = None if not source else resume.find(source, folder)
    if found is not None:
        state, path = found
        settings["first_epoch"] = state.get("config", {}).get("first_epoch", 0)
        resume.restore(state, str(path), fit, settings, callbacks, totals)
        first = settings["first_epoch"]
        fit.epochs = first + epochs if epochs else int(state["position"]["epochs"])
    if folder is not None:
        fit.save_checkpoint = lambda: _save(fit, settings, callbacks, totals)
        folder.write_config({**config, "training": {**settings, "epochs": fit.epochs}})
    observers = [c for c in callbacks if c.observes]
    micro = -(-rows // trainer.gradient_accumulation)
    loop = Loop(
        fit=fit,
        program=trainer.training_program(observers, micro, len(train.inputs)),
        state=[trainer.model, trainer.loss, trainer.optimizer],
        train=train,
        totals=totals,
        callbacks=callbacks,
        batch_size=rows,
        seed=trainer.seed,
        validate=None
        if fit.validation is None
        else lambda: trainer.measure(fit.validation, trainer.metrics),
    )
    try:
        with mode(trainer.model, True), trainer.drawing():
            loop.run()
    finally:
        trainer.epoch, trainer.n_updates = fit.epoch, fit.n_updates
        fit.history.stopped = fit.stop_reason
        if folder is not None and fit.history.n_epochs:
            folder.save_weights(trainer.model.state_dict())
            folder.write_summary(summary(fit))


def _save(
    fit: Fit, settings: Mapping[str, Any], callbacks: Sequence[Callback], totals: Mapping[str, Any]
) -> Path:
    assert fit.folder is not None
    path = fit.folder.checkpoints / checkpoint.file_name(fit.epoch, fit.step)
    return checkpoint.save(resume.collect(fit, settings, callbacks, totals), path)


def _check_choices(
    epochs: int | None, progress: str, overfit_one_batch: bool, resume: Any, run_dir: Any
) -> None:
    if epochs is not None and (not isinstance(epochs, int | np.integer) or epochs < 1):
        raise ArgumentError(
            "epochs is out of range",
            expected="a whole number, 1 or more",
            got=repr(epochs),
            where=str(here()),
        )
    if progress not in PROGRESS:
        raise ArgumentError(
            f"there is no progress {progress!r}",
            expected=", ".join(map(repr, PROGRESS)),
            got=repr(progress),
            where=str(here()),
        )
    if overfit_one_batch and (resume or run_dir is not None):
        raise ArgumentError(
            "overfit_one_batch is a test of the model, without run folder and resuming",
            fix="leave out run_dir and resume",
            where=str(here()),
        )


def _take_in(trainer: Any, train: Any, validation: Any) -> tuple[Samples, Samples | None]:
    """Both data sets through the doors, and a warning if they overlap."""
    raw = doors.as_samples(train, "training")
    prepared = trainer.prepare_training(raw)
    if validation is None:
        return prepared, None
    raw_validation = doors.as_samples(validation, "validation")
    if doors.overlaps(raw, raw_validation):
        warnings.warn(
            TeachingWarning(
                "the validation data is part of the training data: how well the model does on it "
                "says nothing about new data, and early stopping stops too late. Split first: "
                f"train, validation = data.holdout(everything, 0.2) (at {here()})"
            ),
            stacklevel=stack_level(),
        )
    return prepared, trainer.prepare(raw_validation)


def rows_a_step(trainer: Any, batch_size: Any, n: int) -> int:
    """Samples that one update sees: batch size times accumulated batches, at most all.

    Args:
        trainer: Gives what is not said here.
        batch_size: As for ``fit``.
        n: Training samples.
    """
    chosen = trainer.batch_size if batch_size is None else batch_size
    doors.check_batch_size(chosen)
    if chosen == "all":
        return n
    if chosen is None:
        chosen = min(DEFAULT_BATCH_SIZE, n)
    elif chosen > n:
        warnings.warn(
            TeachingWarning(
                f"batch_size {chosen} is more than the {n} training samples: each step sees all of "
                f"them. Say batch_size='all' if that is meant (at {here()})"
            ),
            stacklevel=stack_level(),
        )
        chosen = n
    return min(int(chosen) * int(trainer.gradient_accumulation), n)


def _try_out(trainer: Any, train: Samples, validation: Samples | None) -> None:
    """Let mistakes of data, model, loss and optimizer surface before the first step."""
    prediction = try_out(trainer.model, trainer.loss, train)
    for metric in trainer.metrics:
        few = train.first(prediction.shape[0] if prediction.ndim else 1)
        metric.statistics(prediction, leaf(np.ascontiguousarray(few.targets)))
    warn_if_unscaled(trainer.model, train, prediction)
    warn_of_large_targets(train)
    warn_if_idle(trainer.optimizer)
    if validation is not None:
        try_out(trainer.model, trainer.loss, validation)
    known = {path for path, _ in trainer.model.named_parameters()}
    foreign = sorted(set(getattr(trainer.optimizer, "state", {})) - known)
    if foreign:
        raise StateError(
            f"the optimizer belongs to another model: it keeps state for {foreign[0]!r}",
            expected=f"parameters of this model: {', '.join(sorted(known)[:4])}, ...",
            got=f"{len(foreign)} parameters that it does not have",
            fix="make a new optimizer for each model",
            where=str(here()),
        )


def _open_folder(run_dir: Any, resume: Any) -> RunFolder | None:
    if run_dir is None:
        return None
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder(run_dir)
    if not resume and checkpoint.checkpoints(folder.checkpoints):
        raise StateError(
            f"{folder.path} holds a run already",
            expected="a new folder",
            got=f"{len(checkpoint.checkpoints(folder.checkpoints))} checkpoints in it",
            fix="resume=True to go on with it, or another run_dir: RunFolder.create('name')",
            where=str(here()),
        )
    return folder


def _image_shape(train: Samples) -> tuple[int, int] | None:
    shape = tuple(n for n in train.first(1).inputs[0].shape[1:] if n != 1)
    return (shape[0], shape[1]) if len(shape) == 2 else None


def _assemble(
    fit: Fit,
    given: Sequence[Callback],
    progress: str,
    restore_best: bool,
    monitor: str | None,
    pictures: bool,
    watch: bool,
) -> list[Callback]:
    """The callbacks that were given and those that every run has, in the order of their calls."""
    if isinstance(given, Callback):
        raise ArgumentError(
            "callbacks come in a list",
            expected="callbacks=[...]",
            got=type(given).__name__,
            fix=f"callbacks=[{type(given).__name__}(...)]",
            where=str(here()),
        )
    chosen = list(given)
    for callback in chosen:
        if not isinstance(callback, Callback):
            raise ArgumentError(
                "a callback is no Callback",
                expected="an instance of a subclass of Callback",
                got=repr(callback),
                fix=f"make one: {callback.__name__}()"
                if isinstance(callback, type)
                else "LambdaCallback(on_epoch_end=...) for a function",
                where=str(here()),
            )

    def missing(*kinds: type[Callback]) -> bool:
        return not any(isinstance(callback, kinds) for callback in chosen)

    if watch and missing(LossWatch):
        chosen.append(LossWatch())
    if getattr(fit.optimizer, "schedules", None) and missing(ReportToSchedule):
        chosen.append(ReportToSchedule(monitor))
    wanted = monitor is not None or fit.validation is not None
    if restore_best and wanted and missing(BestWeights):
        chosen.append(BestWeights(monitor))
    line = progress_callback(progress)
    if line is not None and missing(EpochLine):
        chosen.append(line)
    if fit.folder is not None:
        chosen += [c for c in _folder_callbacks(fit, fit.folder, pictures) if missing(type(c))]
    chosen.sort(key=lambda callback: callback.priority)
    twice = [
        key for key, count in Counter(c.key for c in chosen if c.state_dict()).items() if count > 1
    ]
    if twice:
        raise ArgumentError(
            f"two callbacks keep their state under the name {twice[0]!r}",
            fix="give one of them another property key",
            where=str(here()),
        )
    return chosen


def _folder_callbacks(fit: Fit, folder: RunFolder, pictures: bool) -> list[Callback]:
    made: list[Callback] = [JSONLinesLogger(folder.metrics), ModelCheckpoint()]
    if pictures:
        made += [
            LearningCurvePicture(folder.path / "learning_curve.png"),
            WeightImages(folder.path),
        ]
        if fit.validation is not None and is_classification(fit.trainer, fit.validation):
            made.append(ConfusionMatrixPicture(folder.path / "confusion_matrix.png"))
    return made


def is_classification(trainer: Any, samples: Samples) -> bool:
    """True if the targets are class numbers, one a sample, and the model scores each class."""
    if samples.targets.dtype.kind not in "iu" or samples.targets.ndim != 1:
        return False
    prediction = try_out(trainer.model, trainer.loss, samples.rows(slice(0, 1)))
    return bool(prediction.ndim == 2)


def _columns(trainer: Any, validated: bool, callbacks: Sequence[Callback]) -> dict[str, bool]:
    measured = {"loss": False, **{m.name: m.higher_is_better for m in trainer.metrics}}
    columns = {"epoch": True, **measured}
    if validated:
        columns |= {f"val_{name}": higher for name, higher in measured.items()}
    for callback in callbacks:
        columns |= callback.columns()
    return {**columns, "learning_rate": False, "seconds": False}


def _first_batch(trainer: Any, train: Samples, rows: int) -> Samples:
    return train.rows(epoch_order(len(train), trainer.seed, 0)[:rows])


def _judge_one_batch(fit: Fit, n: int) -> None:
    losses = fit.history["loss"]
    if losses[-1] > 0.1 * losses[0]:
        warnings.warn(
            TeachingWarning(
                f"one batch of {n} samples was not learned by heart: its loss went from "
                f"{losses[0]:.3g} to {losses[-1]:.3g} in {len(losses)} steps. A model that can not "
                "do that has a mistake in it, a wrong learning rate "
                f"(it is {fit.learning_rate:g}), or needs more epochs (at {here()})"
            ),
            stacklevel=stack_level(),
        )


def _dry_run(trainer: Any, train: Samples, validation: Samples | None, rows: int) -> History:
    """Two steps and one batch of validation; then everything is as before."""
    model, optimizer, state = trainer.model, trainer.optimizer, trainer.random_state
    optimizer.initialise(model)
    if hasattr(optimizer, "bind"):
        optimizer.bind(-(-len(train) // rows))
    before = dict(model.state_dict()), dict(optimizer.state_dict()), (state.key, state.step)
    history = History()
    few = train.rows(slice(0, 2 * rows))
    part = None if validation is None else validation.rows(slice(0, rows))
    fit = Fit(
        trainer=trainer,
        model=model,
        optimizer=optimizer,
        history=history,
        epochs=1,
        n_samples=len(few),
        n_steps=-(-len(few) // rows),
        columns=_columns(trainer, part is not None, ()),
        validation=part,
    )
    loop = Loop(
        fit=fit,
        program=trainer.training_program(
            (), -(-rows // trainer.gradient_accumulation), len(train.inputs)
        ),
        state=[model, trainer.loss, optimizer],
        train=few,
        totals=trainer.new_totals(),
        callbacks=(),
        batch_size=rows,
        seed=trainer.seed,
        validate=None if part is None else lambda: trainer.measure(part, trainer.metrics),
    )
    try:
        with mode(model, True), trainer.drawing():
            loop.run()
    finally:
        model.load_state_dict(before[0])
        optimizer.load_state_dict(before[1])
        state.key, state.step = before[2]
    return history


def summary(fit: Fit) -> str:
    """What a person wants to read about a run: the model, the best epoch, the figures."""
    model, history = fit.model, fit.history
    lines = [repr(model), "", f"{model.n_parameters:,} parameters"]
    lines += [f"{history.n_epochs} epochs in {fit.seconds:.1f} seconds, {fit.n_updates} updates"]
    if fit.stop_reason:
        lines.append(f"stopped: {fit.stop_reason}")
    best = history.best_epoch
    if best is not None:
        row = next(row for row in history.rows() if row["epoch"] == best)
        lines += ["", f"best epoch {best}:"]
        lines += [f"  {name:<20} {value:.6g}" for name, value in row.items() if name != "epoch"]
    return "\n".join(lines)


def add_report(trainer: Any, run_dir: Any, data: Samples) -> None:
    """Do what ``Trainer.save_report`` describes."""
    folder = run_dir if isinstance(run_dir, RunFolder) else RunFolder.open(run_dir)
    samples = replace(trainer.prepare(data), class_names=data.class_names)
    figures = trainer.measure(samples, trainer.metrics)
    path = folder.path / "summary.txt"
    before = path.read_text(encoding="utf-8").rstrip() if path.exists() else repr(trainer.model)
    lines = [f"  {name:<20} {value:.6g}" for name, value in figures.items()]
    title = f"{len(samples):,} {data.role} samples"
    folder.write_summary("\n".join([before, "", f"{title}:", *lines]))
    if is_classification(trainer, samples):
        target = folder.path / "confusion_matrix.png"
        draw_confusion_matrix(trainer, samples, target, samples.class_names, title)
