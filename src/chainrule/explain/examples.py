"""The worked examples of the lectures, by name: the numbers are small enough to follow by hand."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule import ops
from chainrule.array import Array, variable
from chainrule.errors import ArgumentError
from chainrule.explain.explanation import Explanation, explain
from chainrule.explain.names import named

_EXAMPLES: dict[str, Callable[[], Explanation]] = {}


def _example(name: str) -> Callable[[Callable[[], Explanation]], Callable[[], Explanation]]:
    def register(function: Callable[[], Explanation]) -> Callable[[], Explanation]:
        _EXAMPLES[name] = function
        return function

    return register


def example_names() -> list[str]:
    """Names that ``explain_example`` and the command ``chainrule explain`` take."""
    return list(_EXAMPLES)


def example_summaries() -> dict[str, str]:
    """What each example is, in one line, by name."""
    return {name: (make.__doc__ or "").splitlines()[0] for name, make in _EXAMPLES.items()}


def explain_example(name: str) -> Explanation:
    """Explain one of the lectures' examples.

    Args:
        name: One of ``example_names()``.

    Raises:
        ArgumentError: There is no example of that name.

    >>> print(f"{explain_example('classic').value:.6f}")
    0.298371
    """
    if name not in _EXAMPLES:
        raise ArgumentError(
            f"there is no example {name!r}", expected=", ".join(_EXAMPLES), got=repr(name)
        )
    return _EXAMPLES[name]()


def _variables(**values: Any) -> list[Array]:
    return [variable(value, name=name) for name, value in values.items()]


@_example("one-input")
def one_input() -> Explanation:
    """One neuron with one input and squared error, L = (σ(w·x + b) − y)²."""
    x, y, w, b = _variables(x=2.0, y=1.0, w1=0.5, b1=-0.3)
    z = named(x * w + b, "z1")
    a = named(ops.sigmoid(z), "a1")
    loss = named((a - y) ** 2, "L")
    return explain(
        loss, [w, b], learning_rate=0.5, title="One input, one neuron: L = (σ(x·w1 + b1) − y)²"
    )


@_example("one-hidden")
def one_hidden() -> Explanation:
    """Two neurons in a row, so that the chain has two more factors."""
    x, y, w1, b1, w2, b2 = _variables(x=2.0, y=1.0, w1=0.5, b1=-0.3, w2=-0.8, b2=0.2)
    z1 = named(x * w1 + b1, "z1")
    a1 = named(ops.sigmoid(z1), "a1")
    z2 = named(a1 * w2 + b2, "z2")
    a2 = named(ops.sigmoid(z2), "a2")
    loss = named((a2 - y) ** 2, "L")
    return explain(
        loss, [w1, b1, w2, b2], learning_rate=0.5,
        title="One input, one hidden neuron: L = (σ(σ(x·w1 + b1)·w2 + b2) − y)²",
    )  # fmt: skip


@_example("two-hidden")
def two_hidden() -> Explanation:
    """Two inputs, two hidden units, a linear output and squared error."""
    x1, x2, y = _variables(x1=1.0, x2=-0.5, y=0.6)
    w1, w2, w3, w4, w5, w6 = _variables(w1=0.2, w2=-0.4, w3=0.7, w4=0.1, w5=0.5, w6=-0.3)
    b1, b2, b3 = _variables(b1=0.1, b2=-0.2, b3=0.05)
    z1 = named(x1 * w1 + x2 * w3 + b1, "z1")
    z2 = named(x1 * w2 + x2 * w4 + b2, "z2")
    h1 = named(ops.exp(z1) / (1 + ops.exp(z1)), "h1")
    h2 = named(ops.exp(z2) / (1 + ops.exp(z2)), "h2")
    prediction = named(h1 * w5 + h2 * w6 + b3, "ŷ")
    loss = named((y - prediction) ** 2, "E")
    return explain(
        loss, [w1, w2, w3, w4, w5, w6, b1, b2, b3], learning_rate=0.1,
        title="Two inputs, two hidden units: E = (y − ŷ)²",
    )  # fmt: skip


@_example("binary-cross-entropy")
def binary_cross_entropy() -> Explanation:
    """A hidden layer in vectors and a probability, E = −y·ln(ŷ) − (1 − y)·ln(1 − ŷ)."""
    x, y = _variables(x=[0.5, -1.0, 2.0], y=1.0)
    weights = [[0.1, -0.2], [0.4, 0.3], [-0.5, 0.2]]
    w1, w2 = _variables(W1=weights, w2=[0.6, -0.7])
    z1 = named(w1.T @ x, "z1")
    h1 = named(ops.sigmoid(z1), "h1")
    z2 = named(w2 @ h1, "z2")
    prediction = named(ops.sigmoid(z2), "ŷ")
    loss = named(-y * ops.log(prediction) - (1 - y) * ops.log(1 - prediction), "E")
    return explain(
        loss, [w1, w2], learning_rate=0.1,
        title="Binary cross-entropy: E = −y·ln(ŷ) − (1 − y)·ln(1 − ŷ)",
        remarks=["The first two factors are ∂E/∂z2 = ŷ − y, and both weights use them: "
                 "they are computed already when W1's turn comes."],
    )  # fmt: skip


@_example("classic")
def classic() -> Explanation:
    """Two inputs, two hidden and two output sigmoids: the numbers that many courses use."""
    x1, x2, t1, t2 = _variables(x1=0.05, x2=0.10, t1=0.01, t2=0.99)
    w1, w2, w3, w4 = _variables(w1=0.15, w2=0.20, w3=0.25, w4=0.30)
    w5, w6, w7, w8 = _variables(w5=0.40, w6=0.45, w7=0.50, w8=0.55)
    b1, b2 = _variables(b1=0.35, b2=0.60)
    net_h1 = named(w1 * x1 + w2 * x2 + b1, "net_h1")
    net_h2 = named(w3 * x1 + w4 * x2 + b1, "net_h2")
    h1 = named(ops.sigmoid(net_h1), "h1")
    h2 = named(ops.sigmoid(net_h2), "h2")
    net_o1 = named(w5 * h1 + w6 * h2 + b2, "net_o1")
    net_o2 = named(w7 * h1 + w8 * h2 + b2, "net_o2")
    o1 = named(ops.sigmoid(net_o1), "o1")
    o2 = named(ops.sigmoid(net_o2), "o2")
    loss = named(0.5 * (t1 - o1) ** 2 + 0.5 * (t2 - o2) ** 2, "E")
    return explain(
        loss, [w5, w6, w7, w8, b2, w1, w2, w3, w4, b1], learning_rate=0.5,
        title="Two inputs, two hidden and two output neurons, all sigmoid",
    )  # fmt: skip


@_example("softmax")
def softmax() -> Explanation:
    """Softmax and cross-entropy together have the gradient ŷ − y."""
    z, y = _variables(z=[2.0, 1.0, -0.5], y=[0.0, 1.0, 0.0])
    powers = named(ops.exp(z), "e")
    prediction = named(powers / ops.sum(powers), "ŷ")
    loss = named(-ops.sum(y * ops.log(prediction)), "E")
    return explain(
        loss,
        [prediction, z],
        title="Softmax with cross-entropy: ∂E/∂z = ŷ − y",
        remarks=["∂E/∂z is ŷ − y: the prediction, with 1 taken from the right class."],
    )


@_example("delta-rule")
def delta_rule() -> Explanation:
    """One linear unit with ½ squared error: w ← w − ε·(w·x + b − t)·x."""
    x, t, w, b = _variables(x=1.5, t=2.0, W=0.8, b=0.1)
    y = named(w * x + b, "y")
    loss = named(0.5 * (y - t) ** 2, "E")
    return explain(
        loss, [w, b], learning_rate=0.1, title="The delta rule: W ← W − ε·(W·x + b − t)·x"
    )


@_example("perceptron")
def perceptron() -> Explanation:
    """A neuron with weights 3 and −2 and bias 1 at (−1, 2): σ(−6) ≈ 0.00247."""
    x1, x2, w0, w1, w2 = _variables(x1=-1.0, x2=2.0, w0=1.0, w1=3.0, w2=-2.0)
    z = named(w0 + w1 * x1 + w2 * x2, "z")
    prediction = named(ops.sigmoid(z), "ŷ")
    return explain(prediction, [w0, w1, w2], title="A neuron: ŷ = σ(1 + 3·x1 − 2·x2) at (−1, 2)")


@_example("sigmoid-squared-error")
def sigmoid_squared_error() -> Explanation:
    """Half squared error through a sigmoid: −∂E/∂I = O·(1 − O)·(T − O)."""
    i, t = _variables(I=0.8, T=1.0)
    output = named(ops.sigmoid(i), "O")
    loss = named(0.5 * (t - output) ** 2, "E")
    return explain(
        loss,
        [i],
        title="Squared error through a sigmoid: −∂E/∂I = O·(1 − O)·(T − O)",
        remarks=[
            "The error term of some texts is the gradient with the other sign: "
            "δ = −∂E/∂I = O·(1 − O)·(T − O)."
        ],
    )
