"""L-BFGS: Newton-like steps from the last few changes of parameters and gradients."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from chainrule.array import Array, leaf
from chainrule.autodiff import value_and_grad
from chainrule.errors import ArgumentError, NonFiniteError, StateError, TracedValueError
from chainrule.ops.origin import here
from chainrule.optim.hyperparameters import NON_NEGATIVE, POSITIVE, HabitsAnswered
from chainrule.optim.line_search import Point, StrongWolfe
from chainrule.optim.schedules.base import positive_integer
from chainrule.optim.targets import find_targets, match_gradients

Closure = Callable[[Any], tuple[Any, Any]]


class Outcome(NamedTuple):
    """What came of a minimisation.

    Args:
        loss: The last loss.
        n_iterations: Directions that were followed.
        n_evaluations: How often loss and gradient were computed.
        converged: True if a tolerance ended it, False if a limit did.
        reason: What ended it, in words.
    """

    loss: float
    n_iterations: int
    n_evaluations: int
    converged: bool
    reason: str


class LBFGS(HabitsAnswered):
    """Limited-memory BFGS with a strong Wolfe line search, for smooth losses over the whole data.

    It evaluates the loss several times a step, so it takes a function and runs at once: it is no
    part of compiled functions (the function that it calls may be compiled). Its own arithmetic is
    NumPy's in float64, whatever the parameters' type.

    Args:
        learning_rate: First length that the line search tries, > 0. Default 1.
        max_iterations: Directions followed in one ``step``, ≥ 1. Default 20.
        max_evaluations: Evaluations in one ``step``, ≥ 1; None: 5/4 of ``max_iterations``.
        tolerance_gradient: Done when no gradient element is larger, ≥ 0. Default 1e-7.
        tolerance_change: Done when neither a parameter nor the loss changes more, ≥ 0. Default
            1e-9.
        history_size: How many changes are remembered, ≥ 1. Default 100.

    Raises:
        ArgumentError: A number outside its range.

    Reference: Nocedal and Wright 2006, "Numerical optimization", algorithms 7.4 and 7.5; Liu and
    Nocedal 1989, "On the limited memory BFGS method for large scale optimization".

    >>> import chainrule as cr
    >>> from chainrule import optim
    >>> params = {"x": cr.variable([4.0, -3.0])}
    >>> outcome = optim.LBFGS().minimize(lambda p: ((p["x"] - 1) ** 2).sum(), params)
    >>> params["x"], outcome.converged
    (Array([1., 1.], float32), True)
    """

    def __init__(
        self,
        learning_rate: float = 1.0,
        max_iterations: int = 20,
        max_evaluations: int | None = None,
        tolerance_gradient: float = 1e-7,
        tolerance_change: float = 1e-9,
        history_size: int = 100,
    ) -> None:
        self.learning_rate = POSITIVE.check(learning_rate, "LBFGS: learning_rate")
        self.max_iterations = positive_integer(max_iterations, "LBFGS: max_iterations")
        self.max_evaluations = positive_integer(
            self.max_iterations * 5 // 4 if max_evaluations is None else max_evaluations,
            "LBFGS: max_evaluations",
        )
        self.tolerance_gradient = NON_NEGATIVE.check(
            tolerance_gradient, "LBFGS: tolerance_gradient"
        )
        self.tolerance_change = NON_NEGATIVE.check(tolerance_change, "LBFGS: tolerance_change")
        self.history_size = positive_integer(history_size, "LBFGS: history_size")
        # pairs (s, y): the last changes of the parameters and of the gradient
        self._history: list[tuple[np.ndarray, np.ndarray]] = []

    def step(self, parameters: Any, closure: Closure) -> Outcome:
        """Follow up to ``max_iterations`` directions.

        Args:
            parameters: Module, or dict or list of Arrays, changed in place.
            closure: From ``parameters`` to ``(loss, gradients)``: ``cr.value_and_grad(loss)``. It
                must give the same loss for the same parameters: the whole data, no dropout.

        Raises:
            NonFiniteError: The loss or its gradient is not finite at the start.
            StateError: The optimizer was used for other parameters.

        Example:
            >>> import chainrule as cr
            >>> params = {"x": cr.variable([2.0])}
            >>> loss = cr.value_and_grad(lambda p: (p["x"] ** 4).sum())
            >>> LBFGS().step(params, loss).loss < 1e-6
            True
        """
        return _Descent(self, parameters, closure).run(self.max_iterations, self.max_evaluations)

    def minimize(
        self, function: Callable[[Any], Any], parameters: Any, max_iterations: int = 1000
    ) -> Outcome:
        """Follow directions until a tolerance is met.

        Args:
            function: From ``parameters`` to a scalar loss.
            parameters: Module, or dict or list of Arrays, changed in place.
            max_iterations: When to give up, ≥ 1.
        """
        limit = positive_integer(max_iterations, "LBFGS: max_iterations")
        return _Descent(self, parameters, value_and_grad(function)).run(limit, 25 * limit)

    def update(self, parameters: Any, gradients: Any) -> None:
        """Refused: one gradient is not enough for a line search.

        Raises:
            ArgumentError: Always; it names what to call instead.
        """
        raise ArgumentError(
            "L-BFGS evaluates the loss several times a step, so gradients alone do not do",
            expected="optimizer.step(model, cr.value_and_grad(loss)) or optimizer.minimize(...)",
            fix="for mini-batches choose Adam or SGD",
            where=str(here()),
        )

    def direction(self, gradient: np.ndarray) -> np.ndarray:
        """−H g by the two-loop recursion; H₀ = (sᵀy / yᵀy) I from the latest pair.

        Args:
            gradient: g, flat, float64.
        """
        # q ← g; from the newest pair: αᵢ ← ρᵢ sᵢᵀq, q ← q − αᵢ yᵢ
        q = gradient.copy()
        alphas = []
        for s, y in reversed(self._history):
            alpha = (s @ q) / (y @ s)
            q -= alpha * y
            alphas.append(alpha)
        if self._history:
            s, y = self._history[-1]
            q *= (s @ y) / (y @ y)
        # from the oldest pair: β ← ρᵢ yᵢᵀr, r ← r + sᵢ (αᵢ − β)
        for (s, y), alpha in zip(self._history, reversed(alphas), strict=True):
            q += s * (alpha - (y @ q) / (y @ s))
        return -q

    def remember(self, s: np.ndarray, y: np.ndarray) -> None:
        """Keep a pair of changes, unless it would make H lose its positive curvature."""
        if s @ y > 1e-10 * (y @ y):
            self._history = [*self._history, (s, y)][-self.history_size :]

    def forget(self) -> None:
        """Drop what is remembered: the next direction is that of steepest descent."""
        self._history = []

    def state_dict(self) -> dict[str, Any]:
        """What the next step depends on besides the parameters."""
        pairs = [{"s": leaf(s), "y": leaf(y)} for s, y in self._history]
        return {"optimizer": "LBFGS", "history": pairs}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what ``state_dict`` returned; hyper-parameters stay as they are.

        Raises:
            StateError: It was saved by another kind of optimizer.
        """
        if state.get("optimizer") != "LBFGS" or "history" not in state:
            raise StateError(
                "this state does not fit the optimizer LBFGS",
                expected="a state saved by LBFGS",
                got=f"one saved by {state.get('optimizer')}",
                where=str(here()),
            )
        pairs = [tuple(_flat_copy(pair[name]) for name in ("s", "y")) for pair in state["history"]]
        self._history = pairs[-self.history_size :]  # type: ignore[assignment]

    def __repr__(self) -> str:
        names = ("learning_rate", "max_iterations", "max_evaluations", "tolerance_gradient",
                 "tolerance_change", "history_size")  # fmt: skip
        return f"LBFGS({', '.join(f'{name}={getattr(self, name)!r}' for name in names)})"


class _Descent:
    """One run: the parameters as a flat float64 vector, and the way back."""

    def __init__(self, optimizer: LBFGS, parameters: Any, closure: Closure) -> None:
        self.optimizer = optimizer
        self.parameters = parameters
        self.closure = closure
        self.targets = find_targets(parameters)
        self.n_evaluations = 0
        if not all(target.value.is_concrete for target in self.targets.trainable.values()):
            raise TracedValueError(
                "L-BFGS can not run inside a compiled function: how often it evaluates the loss "
                "depends on the values",
                fix="compile the loss instead, and call the optimizer from outside",
                where=str(here()),
            )
        size = sum(target.value.size for target in self.targets.trainable.values())
        if optimizer._history and len(optimizer._history[0][0]) != size:
            raise StateError(
                "this L-BFGS remembers steps of other parameters",
                expected=f"{len(optimizer._history[0][0])} elements",
                got=f"{size}",
                fix="optimizer.forget(), or an optimizer of its own",
                where=str(here()),
            )

    def run(self, max_iterations: int, max_evaluations: int) -> Outcome:
        """Follow directions until a tolerance or a limit ends it."""
        optimizer = self.optimizer
        x = self._read()
        loss, gradient = self._evaluate()
        if not (np.isfinite(loss) and np.isfinite(gradient).all()):
            raise NonFiniteError(
                "L-BFGS can not begin where the loss or its gradient is not finite",
                got=f"loss {loss}",
                where=str(here()),
            )
        for iteration in range(max_iterations):
            if np.abs(gradient).max(initial=0.0) <= optimizer.tolerance_gradient:
                return self._outcome(loss, iteration, "the gradient is within its tolerance")
            left = max_evaluations - self.n_evaluations
            if left < 1:
                return self._outcome(loss, iteration, "")
            point = self._search(x, loss, gradient, left)
            new = self._write(x, point)
            if point.length == 0:
                return self._outcome(loss, iteration, "no point along the direction lies lower")
            s, change = new - x, abs(point.value - loss)
            optimizer.remember(s, point.gradient - gradient)
            x, loss, gradient = new, point.value, point.gradient
            if max(np.abs(s).max(initial=0.0), change) <= optimizer.tolerance_change:
                reason = "parameters and loss hardly change"
                return self._outcome(loss, iteration + 1, reason)
        return self._outcome(loss, max_iterations, "")

    def _outcome(self, loss: float, n_iterations: int, reason: str) -> Outcome:
        converged = bool(reason)
        reason = reason or "the limit of iterations or evaluations was reached"
        return Outcome(loss, n_iterations, self.n_evaluations, converged, reason)

    def _search(self, x: np.ndarray, loss: float, gradient: np.ndarray, left: int) -> Point:
        """Go along the direction as far as the line search says."""
        p = self.optimizer.direction(gradient)
        slope = float(p @ gradient)
        if slope >= 0:  # rounding spoiled the memory: begin again
            self.optimizer.forget()
            p = -gradient
            slope = float(p @ gradient)
        self.line = p
        trial = self.optimizer.learning_rate
        if not self.optimizer._history:
            # nothing is known of the scale yet: move by about the rate in all
            trial *= min(1.0, 1.0 / np.abs(gradient).sum())

        def evaluate(length: float) -> Point:
            self._assign(x + length * p)
            value, found = self._evaluate()
            return Point(length, value, float(found @ p), found)

        start = Point(0.0, loss, slope, gradient)
        return StrongWolfe().search(evaluate, start, trial, min(left, 25))

    def _write(self, x: np.ndarray, point: Point) -> np.ndarray:
        """Store the chosen point; returns it as the parameters' type holds it."""
        self._assign(x + point.length * self.line if point.length else x)
        return self._read()

    def _read(self) -> np.ndarray:
        """The parameters, one after another."""
        values = find_targets(self.parameters).trainable.values()
        parts = [np.asarray(t.value.numpy(), dtype=np.float64).ravel() for t in values]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _assign(self, x: np.ndarray) -> None:
        start = 0
        for target in self.targets.trainable.values():
            shape, size = target.value.shape, target.value.size
            part = x[start : start + size].reshape(shape).astype(target.value.dtype)
            target.assign(leaf(part), final=True)
            start += size

    def _evaluate(self) -> tuple[float, np.ndarray]:
        self.n_evaluations += 1
        loss, gradients = self.closure(self.parameters)
        found = match_gradients(self.targets, gradients)
        parts = [np.asarray(g.numpy(), dtype=np.float64).ravel() for g in found.values()]
        return float(loss), np.concatenate(parts) if parts else np.zeros(0)


def _flat_copy(x: Any) -> np.ndarray:
    return np.array(x.numpy() if isinstance(x, Array) else x, dtype=np.float64)
