"""The loop over epochs and stretches of steps: order in, Programs run, callbacks called."""

from __future__ import annotations

import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import FrameType
from typing import Any

import numpy as np

from chainrule.errors import NonFiniteError
from chainrule.metrics import Total
from chainrule.program import CompiledFunction, run_steps
from chainrule.training.callbacks import Callback
from chainrule.training.doors import Samples
from chainrule.training.feeding import Feed, Resident, open_feed
from chainrule.training.fit import Chunk, Fit
from chainrule.training.pace import Pace


class Loop:
    """Runs a Fit from where it stands to its end.

    Args:
        fit: Where the run stands.
        program: The compiled training step.
        state: What the step reads and writes: model, loss, optimizer.
        train: Training data.
        totals: Running statistics of the epoch, by column, in the order of the step's results.
        callbacks: In the order of their calls.
        batch_size: Samples a step.
        seed: Fixes the order of the samples.
        validate: Measures the validation data: columns without ``val_``; None: there is none.
    """

    def __init__(
        self,
        *,
        fit: Fit,
        program: CompiledFunction,
        state: Sequence[Any],
        train: Samples,
        totals: Mapping[str, Total],
        callbacks: Sequence[Callback],
        batch_size: int,
        seed: int,
        validate: Callable[[], Mapping[str, float]] | None,
    ) -> None:
        self.fit = fit
        self.program = program
        self.state = state
        self.train = train
        self.totals = totals
        self.callbacks = callbacks
        self.observers = [c for c in callbacks if c.observes]
        self.batch_size = batch_size
        self.seed = seed
        self.validate = validate
        self.pace = Pace()
        self._feed: Feed = Resident(train)
        self._clock = time.perf_counter()
        self._before = fit.seconds
        self._epoch_start = fit.seconds

    def run(self) -> None:
        """Run until the last epoch, a stop or an error; ``on_fit_end`` is called in any case.

        Raises:
            NonFiniteError: A loss is not finite; the state is that before its step.
            KeyboardInterrupt: Ctrl-C; raised at the next step boundary, state and files in order.
        """
        fit = self.fit
        with deferred_interrupt() as interrupted:
            try:
                for callback in self.callbacks:
                    callback.on_fit_begin(fit)
                self._feed = open_feed(
                    self.train, self.batch_size, self.seed, fit.epoch, fit.step, fit.epochs
                )
                while fit.epoch < fit.epochs and not fit.stop_reason:
                    self._epoch(interrupted)
                    if interrupted:
                        fit.stop("interrupted")
                        raise KeyboardInterrupt
            finally:
                self._feed.close()
                self._tick()
                for callback in self.callbacks:
                    callback.on_fit_end(fit)

    def _tick(self) -> None:
        self.fit.seconds = self._before + time.perf_counter() - self._clock

    def _epoch(self, interrupted: list[bool]) -> None:
        fit = self.fit
        parts = self.train.epoch_parts(self.batch_size, self.seed, fit.epoch)
        self._tick()
        self._epoch_start = fit.seconds
        if fit.step == 0:
            for callback in self.callbacks:
                callback.on_epoch_begin(fit)
        while fit.step < fit.n_steps and not fit.stop_reason:
            self._chunk(parts)
            if interrupted:
                fit.stop("interrupted")
        fit.partial = fit.step < fit.n_steps
        if fit.partial:
            # the place to resume from is here, before the part is closed like an epoch
            fit.save_checkpoint()
        if fit.step and not interrupted:
            self._close()

    def _chunk(self, parts: Sequence[tuple[int | None, np.ndarray]]) -> None:
        """Run the next stretch of steps of one shape."""
        fit = self.fit
        width, rows = _from_step(parts, fit.step)
        feed = self._feed if width is None else Resident(self.train.cut(width))
        arrays, rows = feed.take(rows[: self.pace.n_steps])
        known, start = self.program.n_compilations, time.perf_counter()
        try:
            outputs = run_steps(self.program, self.state, arrays, rows)
        except NonFiniteError as error:
            self._take_in(error.outputs)  # type: ignore[attr-defined]
            place = f"at step {fit.step + 1} of epoch {fit.epoch + 1} (update {fit.n_updates + 1})"
            raise self._explain(error, place) from None
        warm = self.program.n_compilations == known
        self.pace.ran(len(rows), time.perf_counter() - start, warm)
        self._take_in(outputs)

    def _take_in(self, outputs: Sequence[np.ndarray] | None) -> None:
        """Count the steps that ran, add up their statistics, tell the callbacks."""
        if outputs is None:
            return
        fit = self.fit
        losses, *rest = outputs
        for total, rows in zip(self.totals.values(), rest, strict=False):
            total.add(rows)
        observed = rest[len(self.totals) :]
        chunk = Chunk(
            fit.step,
            losses,
            {c.key: rows for c, rows in zip(self.observers, observed, strict=True)},
        )
        fit.step += len(losses)
        fit.n_updates += len(losses)
        fit.running = {name: total.result() for name, total in self.totals.items()}
        self._tick()
        for callback in self.callbacks:
            callback.on_chunk_end(fit, chunk)

    def _explain(self, error: NonFiniteError, place: str) -> NonFiniteError:
        """Say where in the run the loss broke, and keep what was reached.

        Args:
            error: What the Program said.
            place: Step and epoch, or which data.
        """
        fit = self.fit
        fit.stop("the loss is not finite")
        fit.partial = True
        saved = fit.save_checkpoint()
        fresh = NonFiniteError(
            f"{error.message.split(' at step')[0]} {place}",
            expected="a finite loss; the state is that of the last good step"
            + (f", saved as {saved}" if saved else ""),
            got=error.got,
            fix=f"lower the learning rate (it is {fit.learning_rate:g}), scale the inputs, "
            "or clip gradients",
            where=error.where,
        )
        fresh.step = fit.n_updates  # type: ignore[attr-defined]
        return fresh

    def _close(self) -> None:
        """Measure, record and report the epoch (or the part of it that ran)."""
        fit = self.fit
        row: dict[str, Any] = {"epoch": fit.epoch + 1, **fit.running}
        if self.validate is not None:
            try:
                measured = self.validate()
            except NonFiniteError as error:
                place = f"on the validation data of epoch {fit.epoch + 1}"
                raise self._explain(error, place) from None
            row.update({f"val_{name}": value for name, value in measured.items()})
        fit.measured = dict(row)
        for callback in self.callbacks:
            row.update(callback.measure(fit))
        row["learning_rate"] = fit.trainer.last_learning_rate
        self._tick()
        row["seconds"] = fit.seconds - self._epoch_start
        fit.history.append({name: row.get(name, math.nan) for name in fit.columns})
        row = fit.history.rows()[-1]
        fit.epoch += 1
        fit.step = 0
        for total in self.totals.values():
            total.sums = None
        for callback in self.callbacks:
            callback.on_epoch_end(fit, row)


def _from_step(
    parts: Sequence[tuple[int | None, np.ndarray]], step: int
) -> tuple[int | None, np.ndarray]:
    """What is left of the part of an epoch that a step, counted from 0, is in."""
    for width, rows in parts:
        if step < len(rows):
            return width, rows[step:]
        step -= len(rows)
    raise RuntimeError("the epoch is over")


@contextmanager
def deferred_interrupt() -> Iterator[list[bool]]:
    """Turn the first Ctrl-C into a note that is read at the next step boundary.

    A second Ctrl-C interrupts at once. Outside the main thread nothing is changed.

    Yields:
        A list that is empty until Ctrl-C was pressed.
    """
    noted: list[bool] = []
    previous = signal.getsignal(signal.SIGINT)
    if (
        threading.current_thread() is not threading.main_thread()
        or previous is not signal.default_int_handler
    ):
        yield noted
        return

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(True)

    signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, previous)
