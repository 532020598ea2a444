"""How far a sequence model sees back: gradients at one step by the inputs of every step."""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule import nn, ops
from chainrule.array import Array, asarray
from chainrule.autodiff import grad
from chainrule.errors import ArgumentError, ShapeError
from chainrule.insight.probing import evaluation_mode
from chainrule.ops.origin import here
from chainrule.program import compile


def gradients_through_time(
    model: nn.Module,
    x: Any,
    *,
    step: int = -1,
    batch_first: bool = False,
    engine: str | None = None,
) -> np.ndarray:
    """Norms of the gradient of one step's output by the inputs of all steps.

    Where they shrink by a factor from step to step the gradient vanishes, where they grow it
    explodes; steps that the output does not depend on have norm 0.

    Args:
        model: A Module from (steps, batch, features) to outputs with the same two axes in front,
            or to a tuple whose first entry they are (``nn.RNN``, ``nn.LSTM``, ``nn.GRU``).
        x: Inputs, floats.
        step: The step whose output is asked about, from −steps to steps − 1.
        batch_first: The model takes and gives (batch, steps, ...).
        engine: As for ``cr.compile``.

    Returns:
        (steps,): for each step t the root over the samples' mean of ‖∂(o · v)/∂x_t‖², v a vector
        of length 1 drawn for each sample.

    Raises:
        ShapeError: x has no three axes.
        ArgumentError: There is no such step.

    Reference: Pascanu, Mikolov and Bengio 2013, "On the difficulty of training recurrent neural
    networks", section 2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> norms = gradients_through_time(nn.RNN(2, 3), cr.ones((5, 4, 2)), step=2)
    >>> bool((norms[:3] > 0).all()), norms[3:].tolist()
    (True, [0.0, 0.0])
    """
    inputs = np.asarray(asarray(x).numpy(), np.float32)
    if inputs.ndim != 3:
        raise ShapeError(
            "gradients_through_time: the inputs are no batch of sequences",
            expected="(steps, batch, features)",
            got=str(inputs.shape),
            where=str(here()),
        )
    time = 1 if batch_first else 0
    steps, batch = inputs.shape[time], inputs.shape[1 - time]
    if not -steps <= step < steps:
        raise ArgumentError(
            "gradients_through_time: there is no such step",
            expected=f"{-steps} to {steps - 1}",
            got=str(step),
            where=str(here()),
        )

    def score(x: Array, model: nn.Module) -> Array:
        answer = model(x)
        y = answer[0] if isinstance(answer, tuple) else answer
        rows = (y[:, step] if batch_first else y[step]).reshape((batch, -1))
        v = np.random.default_rng(0).normal(size=rows.shape)
        v /= np.linalg.norm(v, axis=1, keepdims=True)
        total: Array = ops.sum(rows * asarray(v.astype(np.float32)))
        return total

    with evaluation_mode(model):
        derived = compile(grad(score), engine=engine)(asarray(inputs), model).numpy()
    squares = np.square(derived.astype(np.float64)).sum(axis=2).mean(axis=1 - time)
    return np.sqrt(squares)
