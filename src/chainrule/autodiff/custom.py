"""``custom_vjp``: a function whose derivative the user gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array, close, leaf, placeholder
from chainrule.autodiff.reverse import place
from chainrule.autodiff.vectorize import batch_graph
from chainrule.errors import ArgumentError, GradientError, ShapeError
from chainrule.graph import Graph, Node, next_serial, topological
from chainrule.ops import dtypes
from chainrule.ops.elementwise import align_batch
from chainrule.ops.hooks import Value
from chainrule.ops.origin import here
from chainrule.ops.record import Op, Spec, bind, register
from chainrule.tree import children, flatten, is_container, is_leaf, unflatten


class Counts(NamedTuple):
    """How the inputs of a ``custom_vjp`` node divide; what is left was caught by ``backward``.

    Args:
        results: Results of the forward rule, passed on unchanged.
        residuals: What it keeps for the backward rule.
        arguments: The floating arguments, which the cotangents are for.
    """

    results: int
    residuals: int
    arguments: int


# The forward rule is recorded in the open. The node passes its results on; its derivative goes to
# the arguments by the user's rule, and not back through the forward rule. Residuals are ordinary
# values, so that second derivatives pass through them.
# pull: residuals, a cotangent for each floating result, what was caught → cotangents of arguments


def _infer(*inputs: Value, pull: Graph, counts: Counts, name: str) -> tuple[Spec, ...]:
    return tuple((x.shape, x.dtype) for x in inputs[: counts.results])


def _evaluate(
    *arrays: np.ndarray, pull: Graph, counts: Counts, name: str
) -> tuple[np.ndarray, ...]:
    return arrays[: counts.results]


def _vjp(
    g: tuple[Value, ...], y: tuple[Value, ...], *inputs: Value,
    wanted: Sequence[int], pull: Graph, counts: Counts, name: str,
) -> tuple[Value | None, ...]:  # fmt: skip
    start = counts.results + counts.residuals
    stop = start + counts.arguments
    cotangents = [part for part in g if dtypes.is_floating(part.dtype)]
    asked = [i for i in wanted if start <= i < stop]
    part = Graph(pull.inputs, [pull.outputs[i - start] for i in asked])
    results = part.apply([*inputs[counts.results : start], *cotangents, *inputs[stop:]])
    found = dict(zip(asked, results, strict=True))
    return tuple(found.get(i) for i in range(len(inputs)))


def _batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, pull: Graph, counts: Counts, name: str
) -> tuple[Value, ...]:
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    n, start = counts.results, counts.results + counts.residuals
    stop = start + counts.arguments
    n_cotangents = len(pull.inputs) - counts.residuals - (len(inputs) - stop)
    flags = [*batched[n:start], *[True] * n_cotangents, *batched[stop:]]
    wide = batch_graph(pull, flags, size)
    # an argument that all examples share gets the sum of their cotangents
    outputs = [
        x if flag else ops.sum(x, axis=0)
        for x, flag in zip(wide.outputs, batched[start:stop], strict=True)
    ]
    results = [
        x if flag else align_batch([x, inputs[k]], [False, True])[0]
        for k in [list(batched).index(True)]
        for x, flag in zip(inputs[:n], batched[:n], strict=True)
    ]
    return tuple(
        bind(
            CUSTOM_VJP, *results, *inputs[n:],
            pull=Graph(wide.inputs, outputs), counts=counts, name=name,
        )
    )  # fmt: skip


CUSTOM_VJP = register(
    Op(
        name="custom_vjp",
        family="control",
        arity=None,
        multiple=True,
        infer=_infer,
        evaluate=_evaluate,
        vjp=_vjp,
        batch=_batch,
        formula="{x}",
        derivative=("the rule given by the user",),
    )
)


class CustomVjp:
    """A function with a derivative rule of its own; made by ``custom_vjp``.

    Args:
        function: The function as it would be written without the rule.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function
        self.forward: Callable[..., Any] | None = None
        self.backward: Callable[..., Any] | None = None
        self.name = getattr(function, "__name__", "function")
        functools.update_wrapper(self, function, updated=())

    def define(self, forward: Callable[..., Any], backward: Callable[[Any, Any], Any]) -> CustomVjp:
        """Give the rules; returns self.

        Args:
            forward: ``forward(*arguments)`` → ``(result, residuals)``; the result must be that of
                the function, and is what calls return from now on.
            backward: ``backward(residuals, cotangent)`` → a tuple with one cotangent for each
                argument, structured like it, or None for zero; linear in the cotangent.
        """
        self.forward = forward
        self.backward = backward
        return self

    def __call__(self, *arguments: Any) -> Any:
        """Call the forward rule; derivatives of the result take the backward rule."""
        if self.forward is None:
            raise GradientError(
                f"{self.name} is a custom_vjp without rules",
                fix=f"{self.name}.define(forward, backward)",
                where=str(here()),
            )
        aliases, called = _aliases(arguments)
        mark = next_serial()
        answer = self.forward(*called)
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise self._error("forward must return (result, residuals)", got=_kind(answer))
        leaves, structure = flatten(answer[0])
        results = [ops.as_value(part.value) for part in leaves]
        kept, kept_structure = flatten(answer[1])
        residuals = [_as_array(part.value) for part in kept]
        self._refuse_caught([*results, *residuals], aliases, mark)
        pull = self._trace_backward(
            arguments, aliases, results, structure, residuals, kept_structure
        )
        outputs = bind(
            CUSTOM_VJP, *results, *residuals, *aliases, *pull.captured,
            pull=pull, counts=Counts(len(results), len(residuals), len(aliases)), name=self.name,
        )  # fmt: skip
        return unflatten(structure, outputs)

    def _trace_backward(
        self,
        arguments: tuple[Any, ...],
        aliases: Sequence[Array],
        results: Sequence[Array],
        structure: Any,
        residuals: Sequence[Array],
        kept_structure: Any,
    ) -> Any:
        """Record the backward rule on placeholders for the residuals and the cotangents."""
        mark = next_serial()
        stand_ins = [placeholder(x.shape, x.dtype, x.name, x.weak) for x in residuals]
        floating = [placeholder(y.shape, y.dtype) for y in results if dtypes.is_floating(y.dtype)]
        feed = iter(floating)
        cotangents = [
            next(feed) if dtypes.is_floating(y.dtype) else ops.zeros_like(y) for y in results
        ]
        assert self.backward is not None
        answer = self.backward(
            unflatten(kept_structure, stand_ins), unflatten(structure, cotangents)
        )
        if not isinstance(answer, tuple) and len(arguments) == 1:
            answer = (answer,)
        if not isinstance(answer, tuple) or len(answer) != len(arguments):
            raise self._error(
                "backward must return one cotangent for each argument",
                expected=f"a tuple of {len(arguments)}",
                got=_kind(answer),
            )
        found: list[Array | None] = []
        for i, (argument, part) in enumerate(zip(arguments, answer, strict=True)):
            self._collect(argument, part, f"argument {i}", found)
        filled = [
            ops.zeros_like(x) if part is None else self._fit(part, x)
            for part, x in zip(found, aliases, strict=True)
        ]
        return close([*stand_ins, *floating], filled, mark)

    def _collect(self, argument: Any, part: Any, path: str, found: list[Array | None]) -> None:
        """Find the cotangent of each floating leaf of an argument; None for none."""
        if is_leaf(argument):
            if dtypes.is_floating(ops.as_value(argument).dtype):
                if part is not None and not is_leaf(part) and not isinstance(part, int):
                    raise self._error(
                        f"backward: the cotangent of {path} is no Array", got=_kind(part)
                    )
                found.append(part if part is None else ops.as_value(part))
        elif is_container(argument):
            pairs = children(argument)
            parts = dict(children(part)) if is_container(part) else {}
            if part is not None and set(parts) != {key for key, _ in pairs}:
                raise self._error(
                    f"backward: the cotangent of {path} is structured otherwise",
                    expected=f"entries {', '.join(str(key) for key, _ in pairs)}",
                    got=", ".join(str(key) for key in parts) or _kind(part),
                )
            for key, child in pairs:
                self._collect(child, parts.get(key), f"{path}.{key}", found)

    def _fit(self, part: Array, x: Array) -> Array:
        if part.shape != x.shape and (part.shape or not part.node.values):
            raise ShapeError(
                f"{self.name}: backward gave a cotangent of the wrong shape",
                expected=f"that of the argument, {x.shape}",
                got=str(part.shape),
                where=str(here()),
            )
        return ops.astype(ops.broadcast_to(part, x.shape), x.dtype)

    def _refuse_caught(self, outputs: Sequence[Array], aliases: Sequence[Array], mark: int) -> None:
        """An Array that forward uses but does not take would silently lose its derivative."""
        known = {place(x) for x in aliases}
        for node in topological(outputs, lambda node: _carries_derivative(node, mark)):
            for x in node.inputs:
                if (
                    x.node.serial < mark
                    and x.node.tracked
                    and dtypes.is_floating(x.dtype)
                    and place(x) not in known
                ):
                    label = f" {x.name!r}" if x.name else f" of shape {x.shape}"
                    raise GradientError(
                        f"{self.name}: forward uses the Array{label} from outside, which backward "
                        "gives no derivative for",
                        expected="everything that is differentiated among the arguments",
                        fix="pass it as an argument, or mark it: cr.stop_gradient(x)",
                        where=str(node.origin),
                    )

    def _error(self, what: str, **parts: str) -> ArgumentError:
        return ArgumentError(f"{self.name}: {what}", **parts, where=str(here()))

    def __repr__(self) -> str:
        return f"<custom_vjp {self.name}>"


def _carries_derivative(node: Node, mark: int) -> bool:
    return node.serial > mark and node.op is not None and node.op.vjp is not None


def _kind(x: Any) -> str:
    return f"a tuple of {len(x)}" if isinstance(x, tuple) else type(x).__name__


def _aliases(arguments: tuple[Any, ...]) -> tuple[list[Array], tuple[Any, ...]]:
    """Fresh nodes for the floating leaves, and the arguments with them in place."""
    leaves, structure = flatten(arguments)
    aliases, values = [], []
    for part in leaves:
        value = _as_array(part.value)
        if dtypes.is_floating(value.dtype):
            value = ops.identity(value)
            aliases.append(value)
        values.append(value)
    return aliases, unflatten(structure, values)


def _as_array(value: Any) -> Array:
    """A leaf as an Array; a Python float stays one that takes the type of what it meets."""
    if type(value) is float:
        return leaf(np.asarray(value), weak=True)
    return ops.as_value(value)


def custom_vjp(function: Callable[..., Any]) -> CustomVjp:
    """Give a function its own derivative rule.

    Args:
        function: Takes and returns Arrays or nested containers of them; ints, strings and bools
            among the arguments are static and get no cotangent.

    Returns:
        A callable; ``define(forward, backward)`` gives it its rules.

    Raises:
        GradientError: When called: there are no rules, or ``forward`` uses an Array from outside
            that is being differentiated.

    >>> import chainrule as cr
    >>> @custom_vjp
    ... def straight_through(x):
    ...     return cr.round(x)
    >>> _ = straight_through.define(
    ...     lambda x: (cr.round(x), None), lambda residuals, cotangent: (cotangent,)
    ... )
    >>> cr.value_and_grad(lambda x: straight_through(x) ** 2)(1.75)
    (Array(4., float32), Array(4., float32))
    """
    return CustomVjp(function)
