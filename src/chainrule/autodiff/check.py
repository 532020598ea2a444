"""``check_gradients``: derivatives by the chain rule against finite differences in float64."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from chainrule import ops, random
from chainrule.array import Array, leaf
from chainrule.autodiff.arguments import is_module
from chainrule.autodiff.effects import reachable
from chainrule.autodiff.transforms import vjp
from chainrule.errors import ArgumentError, GradientError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.tree import Leaf, children, flatten, is_container, is_leaf

ALL_ENTRIES = 100  # leaves up to this size are checked entry by entry
SOME_ENTRIES = 20  # of larger ones so many entries, drawn at random, and a direction through all
STEP = 1e-3  # fourth-order differences: truncation near 1e-13, rounding near 1e-13
_EPSILON = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class LeafCheck:
    """The worst entry of one differentiated leaf.

    Args:
        order: Which derivative, 1 for the first.
        name: Path of the leaf in the arguments, ``"0.layers.1.weight"``.
        shape: Its shape.
        index: The entry, or None if it is a random direction through the whole leaf.
        analytic: Derivative by the chain rule.
        numeric: Derivative by differences.
        relative_error: |analytic − numeric| / max(|analytic|, |numeric|).
        passed: The difference is within the tolerance.
    """

    order: int
    name: str
    shape: tuple[int, ...]
    index: tuple[int, ...] | None
    analytic: float
    numeric: float
    relative_error: float
    passed: bool

    @property
    def place(self) -> str:
        """The entry as text."""
        return "a direction" if self.index is None else str(list(self.index))


@dataclass(frozen=True)
class GradientReport:
    """What ``check_gradients`` found; prints as a table.

    Args:
        leaves: The worst entry of every leaf, for every order.
        tolerance: Relative tolerance.
    """

    leaves: tuple[LeafCheck, ...]
    tolerance: float

    @property
    def passed(self) -> bool:
        """True if every leaf is within the tolerance."""
        return all(check.passed for check in self.leaves)

    @property
    def worst(self) -> LeafCheck:
        """The first failure with the largest error, else the largest error."""
        return max(self.leaves, key=lambda check: (not check.passed, check.relative_error))

    def __str__(self) -> str:
        head = f"{'leaf':<22} {'worst at':<13} {'chain rule':>13} {'differences':>13} {'error':>8}"
        lines = [head + "  order"]
        for check in self.leaves:
            name = check.name if len(check.name) <= 22 else "…" + check.name[-21:]
            row = f"{name:<22} {check.place:<13} {check.analytic:>13.6g} {check.numeric:>13.6g}"
            mark = "" if check.passed else " ✗"
            lines.append(f"{row} {check.relative_error:>8.1e}  {check.order}{mark}")
        verdict = "all within" if self.passed else "not within"
        return "\n".join([*lines, f"{verdict} a relative tolerance of {self.tolerance:g}"])


def check_gradients(
    function: Callable[..., Any],
    args: Any,
    *,
    order: int = 1,
    step: float | None = None,
    tolerance: float = 1e-6,
    seed: int = 0,
    argnums: int | Sequence[int] | None = None,
) -> GradientReport:
    """Compare derivatives with finite differences, leaf by leaf.

    All floating numbers, parameters of Modules included, are float64 while the check runs. Results
    are weighted with random cotangents and the sum is differentiated: entry by entry in small
    leaves, in some entries and a random direction in large ones, with fourth-order central
    differences. Every evaluation draws the same random numbers; what Modules store is undone.

    Args:
        function: Takes ``args``; returns Arrays in nested containers. A Module's own parameters
            are checked too, under the name ``function``.
        args: Tuple or list of the arguments (one that is neither stands for itself): Arrays,
            containers and Modules. Their trainable and floating leaves are checked.
        order: Highest derivative to check; each is the derivative of the one below, weighted.
        step: Step of the differences, relative to max(1, |x|). Default 1e-3. Inputs should keep
            more than twice that away from kinks.
        tolerance: Relative error allowed.
        seed: Seed of cotangents, directions and entries.
        argnums: Positions of the arguments to check; None for all.

    Returns:
        The worst entry of every leaf.

    Raises:
        GradientError: A derivative is wrong, or a result is NaN or infinite. ``.report`` holds the
            whole table.

    >>> import chainrule as cr
    >>> check_gradients(lambda x: x * x, (cr.asarray([1.0, 2.0]),), order=2).passed
    True
    """
    if order < 1:
        raise ArgumentError("check_gradients: no such order", expected="1 or more", got=str(order))
    arguments = tuple(args) if isinstance(args, tuple | list) else (args,)
    wanted = range(len(arguments)) if argnums is None else _positions(argnums, len(arguments))
    generator = np.random.default_rng(seed)
    with _in_float64(function, arguments) as frozen:
        call = _Flat(function, frozen.arguments, wanted, frozen)
        if not call.names:
            raise ArgumentError(
                "check_gradients: nothing to differentiate",
                expected="at least one floating Array or trainable parameter",
                fix="check the dtypes of the arguments, argnums, and frozen parameters",
                where=str(here()),
            )
        checks: list[LeafCheck] = []
        run: Callable[..., list[Array]] = call
        for number in range(1, order + 1):
            comparison = _Comparison(run, call, number, step or STEP, tolerance, generator)
            checks += comparison.checks()
            run = comparison.derivative
    report = GradientReport(tuple(checks), tolerance)
    if not report.passed:
        raise _failure(report)
    return report


def _positions(argnums: int | Sequence[int], count: int) -> list[int]:
    positions = [argnums] if isinstance(argnums, int) else list(argnums)
    for i in positions:
        if not -count <= i < count:
            raise ArgumentError(
                f"argnums {i} names no argument", expected=f"0 to {count - 1}", got=str(i)
            )
    return [i % count for i in positions]


def _failure(report: GradientReport) -> GradientError:
    worst = report.worst
    finite = np.isfinite(worst.analytic) and np.isfinite(worst.numeric)
    error = GradientError(
        f"the derivative of order {worst.order} in {worst.name} at {worst.place} "
        + ("is wrong" if finite else "is not finite"),
        expected=f"{worst.numeric:.9g} by differences",
        got=f"{worst.analytic:.9g} by the chain rule, relative error {worst.relative_error:.1e}",
        fix="check the derivative rule; keep samples away from kinks; a function that casts to "
        "float32 needs step=1e-2 and a tolerance near 1e-3",
        where=str(here()),
    )
    error.add_note(str(report))
    error.report = report  # type: ignore[attr-defined]
    return error


# --- the function as one of flat float64 Arrays -------------------------------------------------


def _to_float64(x: Any, known: dict[Any, Array]) -> Any:
    """Floating leaves as float64, tied ones as one Array; other leaves unchanged."""
    value = ops.as_value(np.float64(x) if isinstance(x, float) else x)
    if not dtypes.is_floating(value.dtype):
        return x
    place = (value.node, value.index)
    if place not in known:
        data = np.array(value.data, np.float64)
        known[place] = leaf(data, tracked=value.node.tracked, name=value.name)
    return known[place]


def _map_bare(x: Any, path: str, function: Callable[[str, Any], Any]) -> Any:
    """Rebuild a container with its own leaves mapped; Modules inside stay as they are."""
    if is_leaf(x):
        return function(path, x)
    if not is_container(x) or hasattr(x, "__tree_assign__"):
        return x
    pairs = [(key, _map_bare(part, f"{path}.{key}", function)) for key, part in children(x)]
    if isinstance(x, dict):
        return dict(pairs)
    parts = [part for _, part in pairs]
    return type(x)(*parts) if hasattr(x, "_fields") else type(x)(parts)


class _Frozen:
    """State that every evaluation starts from and that is put back after each."""

    def __init__(self, arguments: tuple[Any, ...], places: list[Leaf]) -> None:
        self.arguments = arguments
        self.places = places

    def restore(self) -> None:
        for place in self.places:
            place.assign(place.value)


@contextmanager
def _in_float64(function: Any, arguments: tuple[Any, ...]) -> Iterator[_Frozen]:
    """Cast all that the function can reach; afterwards everything is as it was."""
    containers = [*reachable([function, *arguments]), random.ambient()]
    before = [x for c in containers for x in flatten(c)[0] if x.owner is not None]
    known: dict[Any, Array] = {}
    try:
        cast = [x._replace(value=_to_float64(x.value, known)) for x in before
                if isinstance(x.value, Array)]  # fmt: skip
        copied = _map_bare(arguments, "", lambda path, x: _to_float64(x, known))
        frozen = _Frozen(copied, cast)
        frozen.restore()
        yield frozen
    finally:
        for place in before:
            place.assign(place.value)


class _Flat:
    """``function`` as one of the differentiated leaves alone, returning its floating results."""

    def __init__(
        self, function: Any, arguments: tuple[Any, ...], wanted: Sequence[int], frozen: _Frozen
    ) -> None:
        self.function = function
        self.arguments = arguments
        self.frozen = frozen
        self.wanted = set(wanted)
        self.names: list[str] = []
        self.values: list[np.ndarray] = []
        for i in sorted(self.wanted):
            _map_bare(arguments[i], str(i), self._note)
        self.n_bare = len(self.names)
        self.groups: dict[Any, list[Leaf]] = {}
        roots = [(str(i), arguments[i]) for i in sorted(self.wanted)]
        for name, root in [("function", function) if is_module(function) else ("", None), *roots]:
            self._note_parameters(name, root)

    def _note(self, path: str, x: Any) -> Any:
        if isinstance(x, Array) and dtypes.is_floating(x.dtype):
            self.names.append(path)
            self.values.append(x.data)
        return x

    def _note_parameters(self, name: str, root: Any) -> None:
        for found in flatten(root)[0]:
            if not is_module(found.owner) or not found.owner.__tree_trainable__(found.key):
                continue
            place = (found.value.node, found.value.index)
            if place not in self.groups:
                self.groups[place] = []
                self.names.append(f"{name}.{found.path}")
                self.values.append(found.value.data)
            self.groups[place].append(found)

    def __call__(self, *arrays: Array) -> list[Array]:
        bare = iter(arrays[: self.n_bare])
        called = [
            _map_bare(x, "", lambda path, part: self._next(part, bare)) if i in self.wanted else x
            for i, x in enumerate(self.arguments)
        ]
        try:
            for places, value in zip(self.groups.values(), arrays[self.n_bare :], strict=True):
                for place in places:
                    place.assign(value)
            results = [ops.as_value(x.value) for x in flatten(self.function(*called))[0]]
        finally:
            self.frozen.restore()
        return [y for y in results if dtypes.is_floating(y.dtype)]

    @staticmethod
    def _next(part: Any, feed: Iterator[Array]) -> Any:
        is_float = isinstance(part, Array) and dtypes.is_floating(part.dtype)
        return next(feed) if is_float else part


# --- comparison ---------------------------------------------------------------------------------


class _Comparison:
    """One order: the derivative of ``run``'s weighted results against differences."""

    def __init__(
        self,
        run: Callable[..., list[Array]],
        flat: _Flat,
        order: int,
        step: float,
        tolerance: float,
        generator: np.random.Generator,
    ) -> None:
        self.run = run
        self.flat = flat
        self.order = order
        self.step = step
        self.tolerance = tolerance
        self.generator = generator
        results = self._results(flat.values)
        if not results:
            raise GradientError(
                "check_gradients: the function returns no floating Array", where=str(here())
            )
        for i, y in enumerate(results):
            if not np.isfinite(y).all():
                self._refuse(i, y)
        self.cotangents = [generator.standard_normal(y.shape) for y in results]
        self.size = sum(
            float(np.abs(v * y).sum()) for v, y in zip(self.cotangents, results, strict=True)
        )

    def _refuse(self, number: int, y: np.ndarray) -> None:
        index = tuple(int(i) for i in np.argwhere(~np.isfinite(y))[0])
        what = "result" if self.order == 1 else f"derivative of order {self.order - 1}"
        raise GradientError(
            f"check_gradients: {what} {number} is {y[index]} at {list(index)} of shape {y.shape}",
            expected="finite numbers at the sample",
            fix="choose inputs inside the function's domain",
            where=str(here()),
        )

    def _results(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        arrays = [leaf(np.asarray(x, np.float64)) for x in values]
        return [np.asarray(y.numpy(), np.float64) for y in self.run(*arrays)]

    def derivative(self, *arrays: Array) -> list[Array]:
        """The cotangents of the leaves, as a function of the leaves: the next order's subject."""
        results, pull = vjp(self.run, *arrays)
        weights = [
            ops.as_value(v).astype(y.dtype) for v, y in zip(self.cotangents, results, strict=True)
        ]
        return list(pull(weights))

    def checks(self) -> list[LeafCheck]:
        """The worst entry of each leaf."""
        arrays = [leaf(x) for x in self.flat.values]
        analytic = [np.asarray(g.numpy(), np.float64) for g in self.derivative(*arrays)]
        found = []
        for number, (name, g) in enumerate(zip(self.flat.names, analytic, strict=True)):
            x = self.flat.values[number]
            scale = float(np.abs(g).max()) if g.size else 0.0
            tried = [
                self._compare(number, name, index, direction, g, scale)
                for index, direction in self._directions(x)
            ]
            if tried:
                found.append(max(tried, key=lambda c: (not c.passed, c.relative_error)))
        return found

    def _directions(self, x: np.ndarray) -> Iterator[tuple[tuple[int, ...] | None, np.ndarray]]:
        """Single entries, then one random direction; steps grow with |x|."""
        if not x.size:
            return
        steps = np.maximum(1.0, np.abs(x))
        chosen: Any = range(x.size)
        if x.size > ALL_ENTRIES:
            chosen = np.sort(self.generator.choice(x.size, SOME_ENTRIES, replace=False))
        for flat_index in chosen:
            index = tuple(int(i) for i in np.unravel_index(flat_index, x.shape))
            direction = np.zeros(x.shape)
            direction[index] = steps[index]
            yield index, direction
        direction = self.generator.standard_normal(x.shape) * steps
        yield None, direction / np.abs(direction / steps).max()

    def _compare(
        self,
        number: int,
        name: str,
        index: tuple[int, ...] | None,
        direction: np.ndarray,
        g: np.ndarray,
        scale: float,
    ) -> LeafCheck:
        length = 1.0 if index is None else float(direction[index])
        numeric = self._difference(number, direction) / length
        # at the entry alone: an infinite neighbour times 0 would be NaN
        exact = float((g * direction).sum()) if index is None else float(g[index])
        difference = abs(exact - numeric)
        largest = max(abs(exact), abs(numeric))
        # beside the tolerance: what rounding of the results does to a difference over the step
        rounding = 50 * _EPSILON * max(self.size, scale) / (self.step * length)
        allowed = self.tolerance * max(largest, 1e-3 * scale) + rounding
        passed = bool(np.isfinite(difference)) and difference <= allowed
        error = difference / largest if largest > rounding else 0.0
        error = error if np.isfinite(difference) else float("inf")
        return LeafCheck(self.order, name, g.shape, index, exact, numeric, error, passed)

    def _difference(self, number: int, direction: np.ndarray) -> float:
        """Fourth-order central difference of the weighted sum along a direction."""
        one, two = (self._slope(number, direction, n * self.step) for n in (1, 2))
        return (4.0 * one - two) / 3.0

    def _slope(self, number: int, direction: np.ndarray, step: float) -> float:
        moved = list(self.flat.values)
        difference = 0.0
        results = []
        for sign in (1.0, -1.0):
            moved[number] = self.flat.values[number] + sign * step * direction
            results.append(self._results(moved))
        for v, high, low in zip(self.cotangents, *results, strict=True):
            difference += float((v * (high - low)).sum())
        return difference / (2.0 * step)
