"""What a callback is."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.training.fit import Chunk, Fit


class Callback:
    """Hooks that run at the boundaries of a run; override what you need.

    Called in this order: ``on_fit_begin``; for each epoch ``on_epoch_begin``, ``on_chunk_end``
    about ten times a second at step boundaries, ``measure``, ``on_epoch_end``; and ``on_fit_end``
    at every kind of end, errors and interrupts included.

    ``state_dict`` is kept in checkpoints, so that a resumed run behaves like one left alone:
    everything that decides what happens next belongs there.
    """

    #: callbacks run in the order of this number, then in the order given
    priority: int = 0

    def on_fit_begin(self, fit: Fit) -> None:
        """The run starts, or goes on (``fit.resumed``; the state is restored by now)."""

    def on_epoch_begin(self, fit: Fit) -> None:
        """Epoch ``fit.epoch + 1`` starts; not called when a run goes on inside one."""

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Some steps ran."""

    def measure(self, fit: Fit) -> Mapping[str, float]:
        """Columns to add to the row of the epoch that ends."""
        return {}

    def columns(self) -> Mapping[str, bool]:
        """Columns that ``measure`` adds, and whether higher is better."""
        return {}

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Epoch ``fit.epoch`` has ended; ``row`` is its line of the history."""

    def on_fit_end(self, fit: Fit) -> None:
        """The run ends, for whatever reason (``fit.stop_reason``)."""

    def observe(self, gradients: Mapping[str, Array]) -> Array | None:
        """Numbers to take from every step's gradients; recorded as part of the step.

        Args:
            gradients: Gradient of each parameter, by path.

        Returns:
            An Array of any fixed shape, found again in ``chunk.observations[self.key]``; None
            (always) to observe nothing.
        """
        return None

    @property
    def observes(self) -> bool:
        """True where ``observe`` is overridden."""
        return type(self).observe is not Callback.observe

    @property
    def key(self) -> str:
        """Name of its state in checkpoints; give two of a kind different ones."""
        return type(self).__name__

    def state_dict(self) -> dict[str, Any]:
        """Numbers, texts, lists, dicts and Arrays that decide what it does next."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what ``state_dict`` returned."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class LambdaCallback(Callback):
    """Functions as a callback.

    Args:
        on_fit_begin: Called with the Fit.
        on_fit_end: Called with the Fit.
        on_epoch_begin: Called with the Fit.
        on_epoch_end: Called with the Fit and the row.
        on_chunk_end: Called with the Fit and the Chunk.

    Raises:
        ArgumentError: One of them can not be called.

    >>> losses = []
    >>> note = LambdaCallback(on_epoch_end=lambda fit, row: losses.append(row["loss"]))
    """

    def __init__(
        self,
        *,
        on_fit_begin: Callable[[Fit], Any] | None = None,
        on_fit_end: Callable[[Fit], Any] | None = None,
        on_epoch_begin: Callable[[Fit], Any] | None = None,
        on_epoch_end: Callable[[Fit, Mapping[str, Any]], Any] | None = None,
        on_chunk_end: Callable[[Fit, Chunk], Any] | None = None,
    ) -> None:
        given = {
            "on_fit_begin": on_fit_begin,
            "on_fit_end": on_fit_end,
            "on_epoch_begin": on_epoch_begin,
            "on_epoch_end": on_epoch_end,
            "on_chunk_end": on_chunk_end,
        }
        for name, function in given.items():
            if function is not None and not callable(function):
                raise ArgumentError(f"{name} must be a function", got=repr(function))
        self._functions = {name: f for name, f in given.items() if f is not None}

    def _call(self, name: str, *arguments: Any) -> None:
        if name in self._functions:
            self._functions[name](*arguments)

    def on_fit_begin(self, fit: Fit) -> None:
        """Call the function."""
        self._call("on_fit_begin", fit)

    def on_fit_end(self, fit: Fit) -> None:
        """Call the function."""
        self._call("on_fit_end", fit)

    def on_epoch_begin(self, fit: Fit) -> None:
        """Call the function."""
        self._call("on_epoch_begin", fit)

    def on_epoch_end(self, fit: Fit, row: Mapping[str, Any]) -> None:
        """Call the function."""
        self._call("on_epoch_end", fit, row)

    def on_chunk_end(self, fit: Fit, chunk: Chunk) -> None:
        """Call the function."""
        self._call("on_chunk_end", fit, chunk)
