"""Recurrent layers over whole sequences: plain, LSTM and GRU.

The products of the inputs of all steps are one product before the loop; the loop is a ``scan``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array
from chainrule.control import scan
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn.checks import floating_input, one_of, positive_integer
from chainrule.nn.dropout import Dropout
from chainrule.nn.recurrent_cells import (
    GatedRule,
    LongRule,
    PlainRule,
    Recurrence,
    Rule,
    States,
    Weights,
)
from chainrule.nn.recurrent_lengths import Lengths, leading_rows
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class _Layers(Recurrence):
    """A stack of layers over sequences, each in one or both directions."""

    def _set_up(
        self,
        sizes: tuple[int, int, int],
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
    ) -> None:
        name = type(self).__name__
        self.input_size = positive_integer(sizes[0], f"{name}: input_size")
        self.hidden_size = positive_integer(sizes[1], f"{name}: hidden_size")
        self.num_layers = positive_integer(sizes[2], f"{name}: num_layers")
        self.bias = bool(bias)
        self.batch_first = bool(batch_first)
        self.bidirectional = bool(bidirectional)
        if dropout and self.num_layers == 1:
            raise ArgumentError(
                f"{name}: dropout acts between layers, and there is one layer",
                expected="num_layers of at least 2",
                got=f"dropout={dropout!r}, num_layers=1",
                fix="nn.Dropout behind the layer",
                where=str(here()),
            )
        self.dropout = Dropout(dropout) if dropout else None
        for layer in range(self.num_layers):
            width = self.input_size if layer == 0 else self.hidden_size * len(self._endings(0))
            for ending in self._endings(layer):
                self._add_weights(ending, width, dtype)

    def _endings(self, layer: int) -> list[str]:
        return [f"_l{layer}", f"_l{layer}_reverse"][: 2 if self.bidirectional else 1]

    def _run(self, input: Any, hx: Any, lengths: Any) -> tuple[Array, States]:
        """Outputs of the last layer, and the final states of all."""
        like = self._weights("_l0").ih
        value = floating_input(input, like, self)
        single = value.ndim == 2
        if value.ndim not in (2, 3) or value.shape[-1] != self.input_size:
            raise self._wrong_input(value)
        x = value if single or not self.batch_first else ops.moveaxis(value, 0, 1)
        x = ops.expand_dims(x, axis=1) if single else x
        length, batch = x.shape[:2]
        rows = self.num_layers * len(self._endings(0))
        shape = (rows, self.hidden_size) if single else (rows, batch, self.hidden_size)
        states = self._given_states(hx, shape, like)
        states = tuple(s.reshape((rows, batch, self.hidden_size)) for s in states)
        known, longest = self._lengths(lengths, length, batch)
        if known is None:
            y, final = self._through(x, states, None)
        else:
            states = tuple(known.sorted(s) for s in states)
            y, final = self._through(known.sorted(x[:longest]), states, known)
            y, final = known.restored(y), tuple(known.restored(s) for s in final)
        if longest < length:  # nobody is computed beyond the longest sequence
            y = ops.pad(y, ((0, length - longest), (0, 0), (0, 0)))
        if single:
            return y[:, 0], tuple(s[:, 0] for s in final)
        return (ops.moveaxis(y, 0, 1) if self.batch_first else y), final

    def _through(self, x: Array, states: States, known: Lengths | None) -> tuple[Array, States]:
        ends: list[States] = []
        for layer in range(self.num_layers):
            if layer and self.dropout is not None:
                x = self.dropout(x)
            outputs: list[Array] = []
            for ending in self._endings(layer):
                start = tuple(s[len(ends)] for s in states)
                y, end = self._one_way(x, start, self._weights(ending), known, len(outputs) == 1)
                outputs.append(y)
                ends.append(end)
            x = outputs[0] if len(outputs) == 1 else ops.concat(outputs, axis=-1)
        return x, tuple(ops.stack(parts) for parts in zip(*ends, strict=True))

    def _one_way(
        self, x: Array, start: States, w: Weights, known: Lengths | None, reverse: bool
    ) -> tuple[Array, States]:
        """One layer in one direction: the outputs of all steps and the states after the last."""
        rule = self._rule()
        if known is None:
            products = rule.inputs(x, w)

            def step(states: States, x: Array) -> tuple[States, Array]:
                after = rule.step(x, states, w)
                return after, after[0]

            end, y = scan(step, start, products, reverse=reverse)
            return y, end

        def masked(states: States, slices: tuple[Array, ...]) -> tuple[States, Array]:
            x, valid, *active = slices
            if active:
                states = tuple(leading_rows(s, active[0]) for s in states)
                x = rule.inputs(x, w)
            after = rule.step(x, states, w)
            # padding keeps the state: the way back starts at each sequence's own end
            kept = tuple(ops.where(valid, n, o) for n, o in zip(after, states, strict=True))
            return kept, after[0]

        valid, active = known.valid, known.active
        slices = (rule.inputs(x, w), valid) if active is None else (x, valid, active)
        end, y = scan(masked, start, slices, reverse=reverse)
        return ops.where(valid, y, 0.0), end

    def _lengths(self, lengths: Any, length: int, batch: int) -> tuple[Lengths | None, int]:
        """Which steps belong to a sequence, and how many the longest one has, as far as is known.

        Returns:
            None if all steps count; and the number of steps that must be computed: all of them
            where the lengths are data of a compiled step.
        """
        if lengths is None:
            return None, length
        counts: Array = ops.as_value(lengths)
        if not dtypes.is_integer(counts.dtype):
            raise DtypeError(
                f"{self!r}: lengths count steps",
                expected="integers",
                got=str(counts.dtype),
                where=str(here()),
            )
        if counts.shape != (batch,):
            raise ShapeError(
                f"{self!r}: one length a sequence",
                expected=f"({batch},)",
                got=str(counts.shape),
                where=str(here()),
            )
        longest = length
        if counts.is_concrete:
            if np.any((counts.data < 0) | (counts.data > length)):
                raise ArgumentError(
                    f"{self!r}: a length is out of its range",
                    expected=f"0 to {length} steps",
                    got=str(counts.tolist()),
                    where=str(here()),
                )
            longest = min(length, max(1, int(counts.data.max(initial=0))))
        return Lengths.of(counts, longest), longest

    def _wrong_input(self, x: Array) -> ShapeError:
        order = "batch, steps" if self.batch_first else "steps, batch"
        return ShapeError(
            f"{self!r} does not fit an input of shape {x.shape}",
            expected=f"({order}, {self.input_size}), or (steps, {self.input_size})",
            got=str(x.shape),
            where=str(here()),
        )

    def extra_repr(self) -> str:
        """Sizes and settings."""
        settings = f"num_layers={self.num_layers}, batch_first={self.batch_first}"
        return (
            f"{self.input_size}, {self.hidden_size}, {settings}, bidirectional={self.bidirectional}"
        )


class RNN(_Layers):
    """Plain recurrent layers over sequences: h_t = tanh(W x_t + b + U h_(t−1) + d).

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of the state, at least 1.
        num_layers: Layers, each over the outputs of the one before, at least 1.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        bias: Whether b and d are added.
        batch_first: Arrays are (batch, steps, features) instead of (steps, batch, features);
            states never are.
        dropout: Probability of dropping an output between layers while training, in [0, 1).
        bidirectional: A second set of weights runs from the end; outputs stand side by side.
        dtype: Floating type of the parameters.

    Attributes: ``weight_ih_l0``, ``weight_hh_l0``, ``bias_ih_l0``, ``bias_hh_l0``, the same with
    ``_reverse`` behind, then ``_l1`` …; each as in the cell.

    Raises:
        ShapeError: The input, an initial state or the lengths do not fit.

    Reference: Elman 1990, "Finding structure in time".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> y, h = nn.RNN(3, 4, bidirectional=True)(cr.ones((5, 2, 3)))
    >>> y.shape, h.shape
    ((5, 2, 8), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: str = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = dtypes.float32,
    ) -> None:
        self.nonlinearity = one_of(nonlinearity, ("tanh", "relu"), "RNN: nonlinearity")
        sizes = (input_size, hidden_size, num_layers)
        self._set_up(sizes, bias, batch_first, dropout, bidirectional, dtype)

    def _rule(self) -> Rule:
        return PlainRule(self.nonlinearity)

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Array, Array]:
        """Outputs of the last layer at all steps, and the final states of all layers.

        Args:
            input: (steps, batch, input_size), or (steps, input_size) for one sequence.
            hx: Initial states, (layers·directions, batch, hidden_size); None: zeros.
            lengths: Integers (batch,): how many steps of each sequence count. Later ones keep the
                state and output zeros; the way back begins at each sequence's own end.

        Shape: (steps, batch, directions·hidden_size) and (layers·directions, batch, hidden_size).
        """
        y, (h,) = self._run(input, hx, lengths)
        return y, h


class GRU(_Layers):
    """Gated recurrent units over sequences; a step is that of ``GRUCell``.

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of the state, at least 1.
        num_layers: Layers, each over the outputs of the one before, at least 1.
        bias: Whether biases are added.
        batch_first: Arrays are (batch, steps, features) instead of (steps, batch, features);
            states never are.
        dropout: Probability of dropping an output between layers while training, in [0, 1).
        bidirectional: A second set of weights runs from the end; outputs stand side by side.
        dtype: Floating type of the parameters.

    Attributes: named as those of ``RNN``, each as in ``GRUCell``.

    Raises:
        ShapeError: The input, an initial state or the lengths do not fit.

    Reference: Cho et al. 2014, see ``GRUCell``.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> y, h = nn.GRU(3, 4, num_layers=2, batch_first=True)(cr.ones((2, 5, 3)))
    >>> y.shape, h.shape
    ((2, 5, 4), (2, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = dtypes.float32,
    ) -> None:
        sizes = (input_size, hidden_size, num_layers)
        self._set_up(sizes, bias, batch_first, dropout, bidirectional, dtype)

    def _rule(self) -> Rule:
        return GatedRule()

    def forward(self, input: Any, hx: Any = None, lengths: Any = None) -> tuple[Array, Array]:
        """Outputs of the last layer at all steps, and the final states of all layers.

        Args:
            input: (steps, batch, input_size), or (steps, input_size) for one sequence.
            hx: Initial states, (layers·directions, batch, hidden_size); None: zeros.
            lengths: Integers (batch,): how many steps of each sequence count, as for ``RNN``.

        Shape: (steps, batch, directions·hidden_size) and (layers·directions, batch, hidden_size).
        """
        y, (h,) = self._run(input, hx, lengths)
        return y, h


class LSTM(_Layers):
    """Long short-term memory over sequences; a step is that of ``LSTMCell``.

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of each state, at least 1.
        num_layers: Layers, each over the outputs of the one before, at least 1.
        bias: Whether biases are added.
        batch_first: Arrays are (batch, steps, features) instead of (steps, batch, features);
            states never are.
        dropout: Probability of dropping an output between layers while training, in [0, 1).
        bidirectional: A second set of weights runs from the end; outputs stand side by side.
        dtype: Floating type of the parameters.
        peephole: The gates see the memory as well: i and f the old one, o the new one.

    Attributes: named as those of ``RNN``, each as in ``LSTMCell``; with peepholes
    ``weight_peephole_l0`` … (3, hidden_size), rows for i, f, o.

    Raises:
        ShapeError: The input, an initial state or the lengths do not fit.
        ArgumentError: The initial states are no pair.

    Reference: see ``LSTMCell``; peepholes: Gers and Schmidhuber 2000, "Recurrent nets that time and
    count".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> y, (h, c) = nn.LSTM(3, 4, batch_first=True)(cr.ones((2, 5, 3)), lengths=[5, 2])
    >>> y.shape, h.shape, c.shape
    ((2, 5, 4), (1, 2, 4), (1, 2, 4))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = dtypes.float32,
        *,
        peephole: bool = False,
    ) -> None:
        self.peephole = bool(peephole)
        sizes = (input_size, hidden_size, num_layers)
        self._set_up(sizes, bias, batch_first, dropout, bidirectional, dtype)

    def _rule(self) -> Rule:
        return LongRule()

    def forward(
        self, input: Any, hx: Any = None, lengths: Any = None
    ) -> tuple[Array, tuple[Array, Array]]:
        """Outputs of the last layer at all steps, and the final states (h, c) of all layers.

        Args:
            input: (steps, batch, input_size), or (steps, input_size) for one sequence.
            hx: Initial states (h, c), each (layers·directions, batch, hidden_size); None: zeros.
            lengths: Integers (batch,): how many steps of each sequence count, as for ``RNN``.

        Shape: (steps, batch, directions·hidden_size), and two of (layers·directions, batch,
        hidden_size).
        """
        y, (h, c) = self._run(input, hx, lengths)
        return y, (h, c)
