"""LAMB: Adam's directions, each layer moving in proportion to its weights."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar

from chainrule import ops
from chainrule.array import Array
from chainrule.optim.hyperparameters import (
    BETA,
    NON_NEGATIVE,
    Interval,
    ParameterGroup,
    Rate,
    Scalars,
)
from chainrule.optim.optimizer import Optimizer, Slot, adam_common


class LAMB(Optimizer):
    """Layerwise adaptive moments, for large batches.

    Args:
        learning_rate: α, ≥ 0. Default 1e-3.
        betas: (β₁, β₂), each in [0, 1): what remains of the running means of g and g² at each
            step. Default (0.9, 0.999).
        epsilon: ε ≥ 0, added to the root. Default 1e-6.
        weight_decay: λ ≥ 0: λθ is added to Adam's direction, before its norm is taken. Default
            0.01.
        groups: Parameters with hyper-parameters of their own.
        max_norm: Largest common norm of the gradients, > 0; None: any.
        max_value: Largest magnitude of a gradient's element, > 0; None: any.

    Raises:
        ArgumentError: A number outside its range.

    Reference: You et al. 2020, "Large batch optimization for deep learning: training BERT in 76
    minutes", algorithm 2, with φ(z) = z.

    >>> from chainrule import optim
    >>> optim.LAMB().weight_decay
    0.01
    """

    ranges: ClassVar[Mapping[str, Interval]] = {
        "beta1": BETA,
        "beta2": BETA,
        "epsilon": NON_NEGATIVE,
    }

    def __init__(
        self,
        learning_rate: Rate = 1e-3,
        betas: tuple[Rate, Rate] = (0.9, 0.999),
        epsilon: Rate = 1e-6,
        weight_decay: Rate = 1e-2,
        *,
        groups: Iterable[ParameterGroup] = (),
        max_norm: float | None = None,
        max_value: float | None = None,
    ) -> None:
        values = adam_common(learning_rate, betas, epsilon, weight_decay)
        super().__init__(values, groups=groups, max_norm=max_norm, max_value=max_value)

    def slots(self) -> dict[str, Slot]:
        """m₀ = 0, v₀ = 0."""
        return {"first_moment": Slot(), "second_moment": Slot()}

    def begin(self, h: Scalars, t: Array) -> None:
        """Bias corrections."""
        h.rest1, h.rest2 = 1 - h.beta1, 1 - h.beta2
        h.correction = 1 / (1 - h.beta1**t)
        h.root_correction = 1 / ops.sqrt(1 - h.beta2**t)

    def rule(
        self, parameter: Array, gradient: Array, state: Mapping[str, Array], h: Scalars
    ) -> tuple[Array, dict[str, Array]]:
        """One update of one parameter."""
        g = gradient
        # m ← β₁ m + (1 − β₁) g
        m = h.beta1 * state["first_moment"] + h.rest1 * g
        # v ← β₂ v + (1 − β₂) g²
        v = h.beta2 * state["second_moment"] + h.rest2 * (g * g)
        # r ← m̂ / (√v̂ + ε)
        r = h.correction * m / (h.root_correction * ops.sqrt(v) + h.epsilon)
        # u ← r + λ θ
        u = r if h.weight_decay is None else r + h.weight_decay * parameter
        # θ ← θ − α ‖θ‖ / ‖u‖ · u; a layer of zeros, or one at rest, has the ratio 1
        size, length = norm(parameter), norm(u)
        usable = (size > 0) & (length > 0)
        ratio = ops.where(usable, size / ops.where(usable, length, 1), 1)
        new = parameter - (h.learning_rate * ratio) * u
        return new, {"first_moment": m, "second_moment": v}


def norm(x: Array) -> Array:
    """The Euclidean norm of all elements."""
    root: Array = ops.sqrt(ops.sum(x * x))
    return root
