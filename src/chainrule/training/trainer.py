"""``Trainer``: a model, a loss and an optimizer, made to learn, measured and asked."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from chainrule import random
from chainrule.array import asarray
from chainrule.errors import ArgumentError
from chainrule.metrics import Metric, Total, get_metrics
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.program import CompiledFunction, compile, run_steps
from chainrule.training import doors
from chainrule.training.callbacks import Callback
from chainrule.training.doors import check_batch_size
from chainrule.training.history import History
from chainrule.training.measuring import profile_training
from chainrule.training.probe import mode, try_out
from chainrule.training.session import add_report, run_fit
from chainrule.training.steps import (
    LossMean,
    epoch_chunks,
    evaluation_step,
    predict_step,
    reduction_of,
    training_step,
)

if TYPE_CHECKING:
    from chainrule.program.compiler.profile import Profile

BatchSize = int | Literal["all"]
#: samples at a time where no gradients are taken, unless training uses more
EVALUATION_BATCH_SIZE = 256
#: batches of predictions are filled up to these sizes, so that few shapes are compiled
PADDED_SIZES = (1, 8, 64, EVALUATION_BATCH_SIZE)
#: losses whose single output is a score around 0; others compare a value with targets 0 and 1
SCORE_LOSSES = ("logits", "hinge", "focal", "perceptron", "margin")


class Trainer:
    """Trains a model; every step, measurement and prediction runs as a Program.

    Args:
        model: What learns.
        loss: A loss of ``nn``, or ``function(prediction, target)`` → scalar Array, a mean over the
            batch (with an argument ``sample_weight`` where weights are used).
        optimizer: An optimizer of ``optim``.
        metrics: Names (``"accuracy"``), Metrics, or functions of prediction and target; measured
            on training and validation data. A single output says class 1 above 0 if the loss takes
            logits or margins, above ½ if it compares with the targets; where those are −1 and +1,
            say ``Accuracy(threshold=0)``.
        seed: Fixes the order of the samples and dropout, together with the model's own
            initialisation all of a run's bits.
        batch_size: Samples a step: a number (1: single-sample descent), or ``"all"`` (full-batch
            descent). None: 32, or all where there are fewer.
        engine: As for ``cr.compile``.
        gradient_accumulation: Batches whose gradients are averaged before each update, ≥ 1: one
            update then sees ``gradient_accumulation × batch_size`` samples, in the memory of one
            batch.
        class_weight: ``"balanced"``, one weight a class, or ``{class: weight}``; multiplies the
            sample weights of the training data.

    Raises:
        ArgumentError: An argument is out of range, or the model has nothing to train.

    Example:
        >>> from chainrule import data, nn, optim
        >>> random.seed(1)
        >>> model = nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.Linear(8, 2))
        >>> trainer = Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(0.05),
        ...                   metrics=["accuracy"], batch_size="all")
        >>> history = trainer.fit(data.xor(), epochs=100, progress="none")
        >>> history["accuracy"][-1]
        1.0
    """

    def __init__(
        self,
        model: Any,
        *,
        loss: Any,
        optimizer: Any,
        metrics: Sequence[Any] = (),
        seed: int = 0,
        batch_size: BatchSize | None = None,
        engine: str | None = None,
        gradient_accumulation: int = 1,
        class_weight: Any = None,
    ) -> None:
        _check_parts(model, loss, optimizer)
        check_batch_size(batch_size)
        if gradient_accumulation < 1:
            raise ArgumentError(
                "gradient_accumulation is out of range",
                expected="1 or more batches an update",
                got=str(gradient_accumulation),
                where=str(here()),
            )
        self.model = model
        self.loss = loss
        self.optimizer = optimizer
        self.seed = int(seed)
        self.batch_size = batch_size
        self.engine = engine
        self.gradient_accumulation = gradient_accumulation
        self.class_weight = class_weight
        #: where a single output says class 1, for metrics given by name
        self.threshold = _threshold(loss)
        self.metrics = get_metrics(metrics, threshold=self.threshold)
        _check_scalar(self.metrics)
        self.random_state = random.RandomState(self.seed)
        self.history = History()
        #: epochs trained so far; a further ``fit`` goes on from here
        self.epoch = 0
        self.n_updates = 0
        self._loss_mean = LossMean(reduction_of(loss))
        self._programs: dict[Any, CompiledFunction] = {
            "predict": compile(predict_step, engine=engine)
        }

    # --- learning ---------------------------------------------------------------------------

    def fit(
        self,
        train: Any,
        validation: Any = None,
        *,
        epochs: int | None = None,
        batch_size: BatchSize | None = None,
        callbacks: Sequence[Callback] = (),
        run_dir: Any = None,
        resume: Any = None,
        progress: str = "auto",
        restore_best: bool = True,
        monitor: str | None = None,
        overfit_one_batch: bool = False,
        dry_run: bool = False,
        pictures: bool = True,
        config: Mapping[str, Any] | None = None,
    ) -> History:
        """Train for some epochs.

        With validation data, the weights of the best epoch are put back at every kind of end.
        Ctrl-C ends at the next step boundary, files in order, and raises KeyboardInterrupt. A loss
        that is NaN or infinite ends the run; its step changes nothing. Another ``fit`` goes on
        where this one ended, so ``fit(epochs=2)`` twice takes the steps of ``fit(epochs=4)``.

        Args:
            train: ``(inputs, targets)``, ``(inputs, targets, weights)`` or a data set; nothing is
                split off. float64 is cast to the model's type; integers are taken as they are.
                ``data.Augmented`` changes images at random, in the background;
                ``data.Bucketed`` makes batches of texts of like length.
            validation: The same, measured after each epoch; None: nothing is.
            epochs: Passes over the data, 1 or more. None: 10, or for a resumed run as many as it
                was started for.
            batch_size: Samples a step; None: the Trainer's.
            callbacks: See ``chainrule.training.callbacks``.
            run_dir: Folder (or RunFolder) for checkpoints, metrics, pictures, weights, summary;
                None: nothing is written.
            resume: True: go on from the latest checkpoint of ``run_dir``, if it has one. A run
                folder or checkpoint file: go on from that.
            progress: ``"bar"``, ``"line"`` (one an epoch), ``"none"``; ``"auto"``: a bar on a
                terminal, lines elsewhere.
            restore_best: False: end with the weights of the last epoch.
            monitor: Column that decides which epoch is best; None: ``val_loss``.
            overfit_one_batch: Learn one batch by heart, to see that the model can: the first batch
                alone is trained on, one step an epoch, without validation.
            dry_run: Try two steps and one validation batch, then put everything back; writes
                nothing.
            pictures: Draw the run folder's pictures.
            config: Further entries for the run folder's ``config.json``.

        Returns:
            The history, of earlier fits too.

        Raises:
            ArgumentError: An argument is out of range.
            DataError: The data can not be learned from.
            NonFiniteError: The loss broke; the message names step, op, layer and element.
            StateError: The run to resume does not fit, or ``run_dir`` holds another run.
        """
        return run_fit(
            self,
            train,
            validation,
            epochs=epochs,
            batch_size=batch_size,
            callbacks=callbacks,
            run_dir=run_dir,
            resume=resume,
            progress=progress,
            restore_best=restore_best,
            monitor=monitor,
            overfit_one_batch=overfit_one_batch,
            dry_run=dry_run,
            pictures=pictures,
            config=config or {},
        )

    # --- measuring and asking ---------------------------------------------------------------

    def profile(
        self, data: Any, *, batch_size: BatchSize | None = None, seconds: float = 0.5
    ) -> Profile:
        """Run training steps for a while and say where the time goes; nothing is learned.

        Args:
            data: Training data, as for ``fit``; of a ``data.Bucketed`` set the widest batches run.
            batch_size: Samples a step; None: the Trainer's.
            seconds: How long to measure.

        Returns:
            A table of the step's kernels to print; ``.rows`` as data, ``.memory`` for what they
            need.

        Raises:
            ArgumentError: The engine is the interpreter.
        """
        return profile_training(self, data, batch_size, seconds)

    def evaluate(
        self, data: Any, *, metrics: Sequence[Any] | None = None, batch_size: int | None = None
    ) -> dict[str, Any]:
        """Loss and metrics on data, in evaluation mode; nothing changes.

        Args:
            data: As for ``fit``.
            metrics: Other metrics than the Trainer's; also such as ``"confusion_matrix"``.
            batch_size: Samples at a time; the results do not depend on it, but for rounding.

        Returns:
            ``{"loss": ..., "accuracy": ...}``.
        """
        chosen = self.metrics if metrics is None else get_metrics(metrics, threshold=self.threshold)
        samples = self.prepare(doors.as_samples(data, "evaluation"))
        with mode(self.model, False):
            try_out(self.model, self.loss, samples)
        return self.measure(samples, chosen, batch_size)

    def measure(
        self, samples: doors.Samples, metrics: Sequence[Metric], batch_size: int | None = None
    ) -> dict[str, Any]:
        """As ``evaluate``, on data that went through the doors."""
        key = ("evaluate", *metrics, len(samples.inputs))
        if key not in self._programs:
            step = evaluation_step(self._loss_mean, metrics, len(samples.inputs))
            self._programs[key] = compile(step, engine=self.engine)
        totals = {m.name: Total(m) for m in (self._loss_mean, *metrics)}
        n = len(samples)
        parts = epoch_chunks(n, self._rows_at_once(n, batch_size), np.arange(n))
        with mode(self.model, False), self.drawing():
            for arrays, order in (taken for part in parts for taken in samples.stretches(part)):
                results = run_steps(self._programs[key], [self.model, self.loss], arrays, order)
                for total, rows in zip(totals.values(), results[1:], strict=True):
                    total.add(rows)
        return {name: total.result() for name, total in totals.items()}

    def predict(self, inputs: Any, batch_size: int | None = None) -> np.ndarray:
        """The model's outputs, always in evaluation mode.

        Args:
            inputs: (samples, ...); a tuple of such for a model with several arguments.
            batch_size: Samples at a time.

        Returns:
            An ndarray with one row a sample.

        Raises:
            DataError: There are no samples, or they hold NaN.
        """
        arrays = doors.as_inputs(inputs, "prediction")
        n = len(arrays[0])
        samples = self.prepare(doors.as_samples((arrays, np.zeros(n, np.int64)), "prediction"))
        program = self._programs["predict"]
        rows = self._rows_at_once(n, batch_size)
        # fill up to a shape that is compiled already, then cut
        padded = next((size for size in PADDED_SIZES if size >= rows), rows)
        rows = min(padded, batch_size or padded)
        outputs = []
        with mode(self.model, False), self.drawing():
            for start in range(0, n, rows):
                batch = [x[start : start + rows] for x in samples.inputs]
                short = rows - len(batch[0])
                if short:
                    batch = [np.concatenate([x, np.repeat(x[-1:], short, axis=0)]) for x in batch]
                found = program(self.model, *(asarray(x) for x in batch)).numpy()
                outputs.append(found[: n - start])
        return np.concatenate(outputs)

    def save_report(self, run_dir: Any, data: Any) -> None:
        """Measure data that no epoch has seen, and draw and write it into a run folder.

        Draws ``confusion_matrix.png`` of it (for class numbers) and adds its figures to
        ``summary.txt``.

        Args:
            run_dir: The run's folder.
            data: Test data, as for ``fit``.
        """
        add_report(self, run_dir, doors.as_samples(data, "test"))

    # --- parts for the loop -----------------------------------------------------------------

    def prepare(self, samples: doors.Samples, weigh: bool = False) -> doors.Samples:
        """Check data and cast it to the model's type.

        Args:
            samples: What came in.
            weigh: Fold the class weights in: for training data, which is augmented step by step;
                of other data, only what is not random is done, at once.
        """
        doors.check_finite(samples)
        doors.check_weights(samples)
        if weigh:
            samples = doors.with_class_weights(samples, self.class_weight)
        samples = doors.to_model_dtype(samples, self.dtype)
        return samples if weigh else samples.settled()

    def prepare_training(self, data: Any) -> doors.Samples:
        """Training data as steps see it: checked, cast, class weights folded in."""
        return self.prepare(doors.as_samples(data, "training"), weigh=True)

    @property
    def dtype(self) -> np.dtype[Any]:
        """Floating type of the model's first parameter."""
        return next(
            (p.dtype for p in self.model.parameters() if dtypes.is_floating(p.dtype)),
            dtypes.default_float,
        )

    def training_program(
        self, observers: Sequence[Callback], micro_batch: int, n_inputs: int
    ) -> CompiledFunction:
        """The compiled training step; made once for the same observers and sizes."""
        key = ("train", *observers, micro_batch, n_inputs)
        if key not in self._programs:
            step = training_step(self._loss_mean, self.metrics, observers, micro_batch, n_inputs)
            self._programs[key] = compile(step, engine=self.engine)
        return self._programs[key]

    def new_totals(self) -> dict[str, Total]:
        """Empty statistics of an epoch: the loss and the metrics."""
        return {m.name: Total(m) for m in (self._loss_mean, *self.metrics)}

    def drawing(self) -> contextlib.AbstractContextManager[Any]:
        """Random draws inside come from this Trainer's own state."""
        return random.use(self.random_state)

    def _rows_at_once(self, n: int, batch_size: int | None) -> int:
        if batch_size is not None:
            check_batch_size(batch_size)
            return min(n, batch_size)
        own = self.batch_size if isinstance(self.batch_size, int) else 0
        return min(n, max(EVALUATION_BATCH_SIZE, own))

    @property
    def learning_rate(self) -> float:
        """The rate of the next step."""
        return float(self.optimizer.learning_rate)

    @property
    def last_learning_rate(self) -> float:
        """The rate of the step that ran last."""
        schedule = self.optimizer.schedules.get("learning_rate")
        if schedule is None:
            return self.learning_rate
        return float(schedule(max(int(self.optimizer.step) - 1, 0)))

    def config(self) -> dict[str, Any]:
        """How the Trainer was set up, as plain data."""
        return {
            "model": repr(self.model),
            "n_parameters": self.model.n_parameters,
            "loss": _described(self.loss),
            "optimizer": type(self.optimizer).__name__,
            "metrics": [metric.name for metric in self.metrics],
            "seed": self.seed,
            "batch_size": self.batch_size,
            "gradient_accumulation": self.gradient_accumulation,
            "class_weight": None if self.class_weight is None else str(self.class_weight),
            "engine": self.engine,
        }

    def __repr__(self) -> str:
        return (
            f"Trainer({type(self.model).__name__}, loss={_described(self.loss)}, "
            f"optimizer={type(self.optimizer).__name__}, epoch {self.epoch})"
        )


def _described(loss: Any) -> str:
    return getattr(loss, "__name__", None) or repr(loss)


def _threshold(loss: Any) -> float:
    name = (getattr(loss, "__name__", None) or type(loss).__name__).lower()
    return 0.0 if any(word in name for word in SCORE_LOSSES) else 0.5


def _check_parts(model: Any, loss: Any, optimizer: Any) -> None:
    if not hasattr(model, "named_parameters") or isinstance(model, type):
        is_class = isinstance(model, type)
        raise ArgumentError(
            "the model is no Module",
            expected="an nn.Module",
            got=f"the class {model.__name__}" if is_class else type(model).__name__,
            fix=f"make one: {model.__name__}()"
            if is_class
            else "put the layers into nn.Sequential(...)",
            where=str(here()),
        )
    if next(model.parameters(trainable_only=True), None) is None:
        raise ArgumentError(
            "the model has nothing to train",
            expected="at least one trainable parameter",
            got=f"{type(model).__name__} with {model.n_parameters} parameters, all frozen"
            if model.n_parameters
            else f"{type(model).__name__} without parameters",
            fix="model.unfreeze(), or add a layer with weights",
            where=str(here()),
        )
    if not callable(loss) or isinstance(loss, type):
        raise ArgumentError(
            "the loss can not be called",
            expected="a loss such as nn.CrossEntropyLoss(), or a function",
            got=repr(loss),
            fix=f"{loss.__name__}()" if isinstance(loss, type) else "loss=nn.CrossEntropyLoss()",
            where=str(here()),
        )
    if not hasattr(optimizer, "__tree_children__") or isinstance(optimizer, type):
        by_itself = hasattr(optimizer, "minimize") and not isinstance(optimizer, type)
        raise ArgumentError(
            "this optimizer takes no steps on batches"
            if by_itself
            else "the optimizer is no optimizer",
            expected="an optimizer such as optim.Adam(1e-3)",
            got=repr(optimizer),
            fix="it calls the loss itself: optimizer.minimize(loss, model)"
            if by_itself
            else f"make one: {optimizer.__name__}(learning_rate)"
            if isinstance(optimizer, type)
            else "optimizer=optim.Adam(1e-3)",
            where=str(here()),
        )


def _check_scalar(metrics: Sequence[Metric]) -> None:
    for metric in metrics:
        if not metric.scalar:
            raise ArgumentError(
                f"{metric.name} is no single number, so it can not be tracked epoch by epoch",
                expected="metrics with one value",
                got=metric.name,
                fix=f"trainer.evaluate(data, metrics=[{metric.name!r}]), or the callback "
                "ConfusionMatrixPicture",
                where=str(here()),
            )
