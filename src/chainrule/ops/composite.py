"""Composites: named graphs of primitives that may have a kernel and a derivative of their own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule.ops import dtypes
from chainrule.ops.hooks import Subgraph, Value, hooks
from chainrule.ops.record import Op, Spec, bind

MOST_BODIES = 256  # kept of one Composite, for as many shapes; the oldest makes room


class CompositeRegistry:
    """All Composites by name, in the order of their definition."""

    def __init__(self) -> None:
        self._members: dict[str, Composite] = {}

    def add(self, member: Composite) -> None:
        """Add a Composite; a second of the same name is a ValueError."""
        if member.name in self._members:
            raise ValueError(f"a Composite named {member.name!r} exists already")
        self._members[member.name] = member

    def __iter__(self) -> Any:
        return iter(self._members.values())

    def __getitem__(self, name: str) -> Composite:
        return self._members[name]


COMPOSITES = CompositeRegistry()


class Composite:
    """A function of Arrays that is recorded as one node, with its body inside.

    Evaluation, shapes, vmap and (unless ``vjp`` is given) derivatives come from the body.

    Args:
        name: Unique name; a compiler may know a kernel for it.
        function: ``function(*arrays, **attributes)`` → Array, built from ops.
        vjp: ``vjp(g, y, *inputs, **attributes)`` → one cotangent (or None) per input; itself
            usually a Composite.
        formula: The value as text, ``{x}``, ``{y}`` for the inputs.
        derivative: The local derivative in each input as text.
    """

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        vjp: Callable[..., tuple[Value | None, ...]] | None = None,
        formula: str = "",
        derivative: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.function = function
        self.op = Op(
            name=name,
            family="composite",
            arity=None,
            infer=_infer,
            evaluate=_evaluate,
            vjp=_body_vjp if vjp is None else _own_vjp(vjp),
            batch=_batch,
            formula=formula,
            derivative=derivative,
        )
        self._bodies: dict[Any, Subgraph] = {}
        COMPOSITES.add(self)

    def __call__(self, *inputs: Value, **attributes: Any) -> Value:
        """Record one node for the whole."""
        key = (tuple((x.shape, x.dtype) for x in inputs), tuple(sorted(attributes.items())))
        body = self._bodies.get(key)
        if body is None:
            body = hooks.trace(lambda *arrays: self.function(*arrays, **attributes), inputs)
            if len(self._bodies) >= MOST_BODIES:
                self._bodies.pop(next(iter(self._bodies)), None)
            self._bodies[key] = body
        return bind(self.op, *inputs, body=body, attributes=key[1])

    def __repr__(self) -> str:
        return self.name


def _infer(*inputs: Value, body: Subgraph, attributes: Any) -> Spec:
    output = body.outputs[0]
    return output.shape, output.dtype


def _evaluate(*arrays: np.ndarray, body: Subgraph, attributes: Any) -> np.ndarray:
    return body.evaluate(arrays)[0]


def _own_vjp(vjp: Callable[..., tuple[Value | None, ...]]) -> Callable[..., Any]:
    def rule(g: Value, y: Value, *inputs: Value, body: Subgraph, attributes: Any) -> Any:
        return vjp(g, y, *inputs, **dict(attributes))

    return rule


def _body_vjp(
    g: Value, y: Value, *inputs: Value, body: Subgraph, attributes: Any
) -> tuple[Value | None, ...]:
    wrt = [i for i, x in enumerate(inputs) if dtypes.is_floating(x.dtype)]
    results = hooks.pullback(body, wrt).apply([*inputs, g])
    found = dict(zip(wrt, results, strict=True))
    return tuple(found.get(i) for i in range(len(inputs)))


def _batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, body: Subgraph, attributes: Any
) -> Value:
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    return hooks.batch(body, list(batched), size).apply(inputs)[0]


def composite(
    name: str,
    *,
    vjp: Callable[..., tuple[Value | None, ...]] | None = None,
    formula: str = "",
    derivative: tuple[str, ...] = (),
) -> Callable[[Callable[..., Any]], Composite]:
    """Decorate a function of Arrays to make it a Composite."""

    def wrap(function: Callable[..., Any]) -> Composite:
        made = Composite(name, function, vjp=vjp, formula=formula, derivative=derivative)
        made.__doc__ = function.__doc__
        return made

    return wrap
