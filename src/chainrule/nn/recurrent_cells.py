"""Recurrent cells: one step of a plain network, an LSTM, a GRU; the rules that layers share."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn import init
from chainrule.nn.checks import floating_input, one_of, positive_integer
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here

States = tuple[Array, ...]


class Weights(NamedTuple):
    """The parameters of one layer in one direction."""

    ih: Array
    hh: Array
    bias_ih: Array | None
    bias_hh: Array | None
    peephole: Array | None = None


class Rule:
    """How a step is computed: gates, states, and the update.

    Args:
        gates: Blocks of rows in the weights.
        states: Arrays that are carried: h, and c of an LSTM.
    """

    def __init__(self, gates: int, states: int) -> None:
        self.gates = gates
        self.states = states

    def inputs(self, x: Array, w: Weights) -> Array:
        """What the inputs of all steps give to the gates, with the biases."""
        y: Array = ops.tensordot(x, w.ih, axes=((x.ndim - 1,), (1,)))
        if w.bias_ih is None or w.bias_hh is None:
            return y
        return y + (w.bias_ih + w.bias_hh)

    def hidden(self, h: Array, w: Weights) -> Array:
        """What the state gives to the gates."""
        y: Array = ops.tensordot(h, w.hh, axes=((h.ndim - 1,), (1,)))
        return y

    step: Callable[[Array, States, Weights], States]  # the states after a step


class PlainRule(Rule):
    """h′ = tanh(x + U h), or ReLU.

    Args:
        nonlinearity: ``"tanh"`` or ``"relu"``.
    """

    def __init__(self, nonlinearity: str) -> None:
        super().__init__(1, 1)
        self.nonlinearity = nonlinearity

    def step(self, x: Array, states: States, w: Weights) -> States:
        """The state after a step."""
        total = x + self.hidden(states[0], w)
        return (ops.tanh(total) if self.nonlinearity == "tanh" else ops.relu(total),)


class LongRule(Rule):
    """That of an LSTM, with peepholes where there are weights for them."""

    def __init__(self) -> None:
        super().__init__(4, 2)

    def step(self, x: Array, states: States, w: Weights) -> States:
        """The states h and c after a step."""
        h, c = states
        i, f, g, o = _blocks(x + self.hidden(h, w), 4)
        if w.peephole is not None:
            i, f = i + c * w.peephole[0], f + c * w.peephole[1]
        c = ops.sigmoid(f) * c + ops.sigmoid(i) * ops.tanh(g)
        if w.peephole is not None:
            o = o + c * w.peephole[2]
        return ops.sigmoid(o) * ops.tanh(c), c


class GatedRule(Rule):
    """That of a gated recurrent unit."""

    def __init__(self) -> None:
        super().__init__(3, 1)

    def inputs(self, x: Array, w: Weights) -> Array:
        """What the inputs of all steps give to the gates, with their own bias."""
        # the reset gate scales the state's part of the candidate, its bias included
        y: Array = ops.tensordot(x, w.ih, axes=((x.ndim - 1,), (1,)))
        return y if w.bias_ih is None else y + w.bias_ih

    def step(self, x: Array, states: States, w: Weights) -> States:
        """The state after a step."""
        (h,) = states
        hidden = self.hidden(h, w)
        r_x, z_x, n_x = _blocks(x, 3)
        r_h, z_h, n_h = _blocks(hidden if w.bias_hh is None else hidden + w.bias_hh, 3)
        n = ops.tanh(n_x + ops.sigmoid(r_x + r_h) * n_h)
        return (n + ops.sigmoid(z_x + z_h) * (h - n),)


def _blocks(x: Array, n: int) -> list[Array]:
    size = x.shape[-1] // n
    return [x[..., i * size : (i + 1) * size] for i in range(n)]


class Recurrence(Module):
    """Sizes and parameters, common to cells and layers."""

    input_size: int
    hidden_size: int
    bias: bool
    peephole = False

    _rule: Callable[[], Rule]  # given by the class

    def _add_weights(self, ending: str, input_size: int, dtype: Any) -> None:
        bound = 1.0 / math.sqrt(self.hidden_size)
        rows = self._rule().gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {
            "weight_ih": (rows, input_size),
            "weight_hh": (rows, self.hidden_size),
        }
        if self.bias:
            shapes |= {"bias_ih": (rows,), "bias_hh": (rows,)}
        if self.peephole:
            shapes["weight_peephole"] = (3, self.hidden_size)
        for name, shape in shapes.items():
            drawn = init.uniform(shape, low=-bound, high=bound, dtype=dtype)
            setattr(self, name + ending, Parameter(drawn))

    def _weights(self, ending: str) -> Weights:
        names = ["weight_ih", "weight_hh", "bias_ih", "bias_hh", "weight_peephole"]
        return Weights(*(self.__dict__.get(name + ending) for name in names))  # type: ignore[arg-type]

    def _given_states(self, hx: Any, shape: tuple[int, ...], like: Array) -> States:
        """The initial states, zeros unless given."""
        n = self._rule().states
        if hx is None:
            return (ops.zeros(shape, dtype=like.dtype),) * n
        if n > 1 and not (isinstance(hx, tuple | list) and len(hx) == n):
            raise ArgumentError(
                f"{self!r}: an LSTM has two initial states",
                expected="a pair (h, c)",
                got=type(hx).__name__,
                where=str(here()),
            )
        states = tuple(floating_input(x, like, self) for x in (hx if n > 1 else (hx,)))
        for state in states:
            if state.shape != shape:
                raise ShapeError(
                    f"{self!r}: an initial state does not fit",
                    expected=str(shape),
                    got=str(state.shape),
                    where=str(here()),
                )
        return states


class _Cell(Recurrence):
    def __init__(self, input_size: int, hidden_size: int, bias: bool, dtype: Any) -> None:
        name = type(self).__name__
        self.input_size = positive_integer(input_size, f"{name}: input_size")
        self.hidden_size = positive_integer(hidden_size, f"{name}: hidden_size")
        self.bias = bool(bias)
        self._add_weights("", self.input_size, dtype)

    def _stepped(self, x: Any, hx: Any) -> States:
        w, rule = self._weights(""), self._rule()
        value = floating_input(x, w.ih, self)
        if value.ndim not in (1, 2) or value.shape[-1] != self.input_size:
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected=f"(batch, {self.input_size}) or ({self.input_size},)",
                got=str(value.shape),
                fix="a cell takes one step; nn.RNN, nn.LSTM and nn.GRU take sequences",
                where=str(here()),
            )
        states = self._given_states(hx, (*value.shape[:-1], self.hidden_size), w.ih)
        return rule.step(rule.inputs(value, w), states, w)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.input_size}, {self.hidden_size}, bias={self.bias}"


class RNNCell(_Cell):
    """One step of a plain recurrent network: h′ = tanh(W x + b + U h + d).

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of the state, at least 1.
        bias: Whether b and d are added.
        nonlinearity: ``"tanh"`` or ``"relu"``.
        dtype: Floating type of the parameters.

    Attributes: ``weight_ih`` (hidden_size, input_size), ``weight_hh`` (hidden_size, hidden_size),
    ``bias_ih`` and ``bias_hh``. All begin uniform in ±1/√hidden_size.

    Reference: Elman 1990, "Finding structure in time".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.RNNCell(3, 4)(cr.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: str = "tanh",
        dtype: Any = dtypes.float32,
    ) -> None:
        self.nonlinearity = one_of(nonlinearity, ("tanh", "relu"), "RNNCell: nonlinearity")
        super().__init__(input_size, hidden_size, bias, dtype)

    def _rule(self) -> Rule:
        return PlainRule(self.nonlinearity)

    def forward(self, input: Any, hx: Any = None) -> Array:
        """Shape: (batch, input_size), state (batch, hidden_size) → the next state."""
        return self._stepped(input, hx)[0]


class LSTMCell(_Cell):
    """One step of an LSTM: gates decide what its memory c forgets, takes up and shows.

    c′ = σ(f) c + σ(i) tanh(g) and h′ = σ(o) tanh(c′), where i, f, g, o are sums of x and h.

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of each state, at least 1.
        bias: Whether biases are added.
        dtype: Floating type of the parameters.

    Attributes: ``weight_ih`` (4·hidden_size, input_size), ``weight_hh`` (4·hidden_size,
    hidden_size), ``bias_ih`` and ``bias_hh``: blocks for i, f, g, o, one below the other. All begin
    uniform in ±1/√hidden_size.

    Reference: Hochreiter and Schmidhuber 1997, "Long short-term memory"; the forgetting: Gers,
    Schmidhuber and Cummins 2000, "Learning to forget".

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> h, c = nn.LSTMCell(3, 4)(cr.ones((2, 3)))
    >>> h.shape, c.shape
    ((2, 4), (2, 4))
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype)

    def _rule(self) -> Rule:
        return LongRule()

    def forward(self, input: Any, hx: Any = None) -> tuple[Array, Array]:
        """Shape: (batch, input_size), states (h, c) (batch, hidden_size) → the next two."""
        h, c = self._stepped(input, hx)
        return h, c


class GRUCell(_Cell):
    """One step of a gated recurrent unit: h′ = (1 − z) n + z h.

    r = σ(·), z = σ(·) and n = tanh(W x + b + r (U h + d)).

    Args:
        input_size: Features of the input, at least 1.
        hidden_size: Features of the state, at least 1.
        bias: Whether biases are added.
        dtype: Floating type of the parameters.

    Attributes: ``weight_ih`` (3·hidden_size, input_size), ``weight_hh`` (3·hidden_size,
    hidden_size), ``bias_ih`` and ``bias_hh``: blocks for r, z, n, one below the other. All begin
    uniform in ±1/√hidden_size.

    Reference: Cho et al. 2014, "Learning phrase representations using RNN encoder–decoder for
    statistical machine translation", section 2.3; r scales U h + d, as in PyTorch.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> nn.GRUCell(3, 4)(cr.ones((2, 3))).shape
    (2, 4)
    """

    def __init__(
        self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = dtypes.float32
    ) -> None:
        super().__init__(input_size, hidden_size, bias, dtype)

    def _rule(self) -> Rule:
        return GatedRule()

    def forward(self, input: Any, hx: Any = None) -> Array:
        """Shape: (batch, input_size), state (batch, hidden_size) → the next state."""
        return self._stepped(input, hx)[0]
