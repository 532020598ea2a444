"""``scan``, ``fori_loop`` and ``while_loop``: a body recorded once and run many times."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule import ops, random
from chainrule.array import Array, CapturedGraph, close, placeholder
from chainrule.autodiff.effects import Slot, Watch, store
from chainrule.control.carried import (
    Tree,
    check_state,
    check_structure,
    named,
    settle,
    strong,
    take_apart,
)
from chainrule.control.choices import predicate
from chainrule.errors import ArgumentError, ShapeError
from chainrule.graph import Graph, next_serial
from chainrule.ops import dtypes
from chainrule.ops.hooks import hooks
from chainrule.ops.origin import here
from chainrule.ops.record import bind
from chainrule.random import RandomState
from chainrule.scope import is_outermost, transform_scope
from chainrule.tree import Leaf

Body = Callable[[Sequence[Array], Sequence[Array]], tuple[Tree, Tree]]


class _Loop(NamedTuple):
    """A body recorded once.

    Args:
        graph: Carries, stored state, slices and what was caught → carries, state, results.
        init: The carries at the start, in the types that they settle to.
        state: Places that the body stores into; they hold the state at the start.
        draws: The stand-in for the ambient random state; its step may be among the state.
        result: The body's results other than the carry.
    """

    graph: CapturedGraph
    init: list[Array]
    state: list[Leaf]
    draws: RandomState
    result: Tree

    @property
    def start(self) -> list[Array]:
        """Carries and state at the start."""
        return [*self.init, *(place.value for place in self.state)]

    def store(self, values: Sequence[Array]) -> None:
        """Put the last state into its places."""
        outermost = is_outermost()
        for place, value in zip(self.state, values, strict=True):
            if place.owner is not self.draws:
                store(place, value, outermost)


def _record_loop(
    what: str, roots: Sequence[Any], init: Tree, slices: Sequence[Array], body: Body
) -> _Loop:
    """Record a body until it is known what it stores and which types its carries take.

    Args:
        what: Name of the loop, for messages.
        roots: Where containers that it may store into are looked for.
        init: The carry at the start.
        slices: Placeholders for what each step reads.
        body: From carries and slices to the new carry and the step's results.
    """
    draws = RandomState()
    draws.key = placeholder((2,), dtypes.uint32, "random key")
    watch = Watch(*roots, draws, random_states=True)
    start = list(init.arrays)
    state: dict[Slot, Leaf] = {}
    while True:
        mark = next_serial()
        carries = _stand_ins(start, init.paths)
        places = _stand_ins([p.value for p in state.values()], [p.path for p in state.values()])
        try:
            _assign(state.values(), places)
            with transform_scope(), random.use(draws):
                draws.begin()
                carry, result = body(carries, slices)
                draws.finish()
        finally:
            written = watch.take()
        check_structure(what, "the carry that the body returns", init, carry)
        leaves = zip(init.paths, start, carry.arrays, strict=True)
        settled = [settle(what, path, old, new) for path, old, new in leaves]
        fresh = {slot: part.leaf for slot, part in written.items() if slot not in state}
        if not fresh and all(a is b for a, b in zip(settled, start, strict=True)):
            break
        state |= fresh
        start = settled
    # every place of the state was written at least with its stand-in
    stored = [written[slot].value for slot in state]
    for place, value in zip(state.values(), stored, strict=True):
        check_state(what, place, value)
    result = result._replace(arrays=[strong(y) for y in result.arrays])
    carried = [ops.astype(y, x.dtype) for x, y in zip(start, carry.arrays, strict=True)]
    graph = close([*carries, *places, *slices], [*carried, *stored, *result.arrays], mark)
    # the draws inside start from one draw of the state around the loop
    caught = [random.layer_key("loop") if x.node is draws.key.node else x for x in graph.captured]
    graph = CapturedGraph(graph.inputs, graph.outputs, caught)
    return _Loop(graph, start, list(state.values()), draws, result)


def _stand_ins(values: Sequence[Array], names: Sequence[str]) -> list[Array]:
    return [
        placeholder(x.shape, x.dtype, name, x.weak) for x, name in zip(values, names, strict=True)
    ]


def _assign(places: Iterable[Leaf], values: Sequence[Array]) -> None:
    for place, value in zip(places, values, strict=True):
        place.assign(value)


def scan(
    function: Callable[[Any, Any], tuple[Any, Any]],
    init: Any,
    xs: Any = None,
    length: int | None = None,
    reverse: bool = False,
) -> tuple[Any, Any]:
    """Run ``carry, y = function(carry, x)`` over the leading axis of ``xs``.

    The body is recorded once (or a few times, until its types and writes are known) and evaluated
    step by step. Draws inside differ from step to step.

    Args:
        function: From the carry and a slice of ``xs`` to the next carry, of the same structure,
            shapes and types, and a result (None for none).
        init: Carry before the first step.
        xs: Arrays in nested containers, all with the same leading size; or None.
        length: Number of steps; needed if ``xs`` holds no Arrays.
        reverse: Start with the last slice; results stay in the places of their slices.

    Returns:
        The last carry, and the results stacked along a new leading axis.

    Raises:
        ShapeError: Leading sizes differ, or a carry changes its shape.
        DtypeError: A carry changes its type.
        StateError: The carry changes its structure.

    >>> import chainrule as cr
    >>> total, sums = scan(lambda s, x: (s + x, s + x), 0.0, cr.asarray([1.0, 2.0, 3.0]))
    >>> sums
    Array([1., 3., 6.], float32)
    """
    carry, given = take_apart(init), take_apart(xs)
    steps = _length(given, length)
    slices = [
        placeholder(x.shape[1:], x.dtype, path)
        for x, path in zip(given.arrays, given.paths, strict=True)
    ]

    def body(carries: Sequence[Array], parts: Sequence[Array]) -> tuple[Tree, Tree]:
        answer = function(carry.rebuild(carries), given.rebuild(parts))
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise ArgumentError(
                "scan: the body must return a pair",
                expected="(carry, result), with None for no result",
                got=f"a tuple of {len(answer)}"
                if isinstance(answer, tuple)
                else type(answer).__name__,
                where=str(here()),
            )
        return take_apart(answer[0]), take_apart(answer[1])

    loop = _record_loop("scan", [function], carry, slices, body)
    outputs = _bind_scan(loop, given.arrays, steps, reverse)
    n, n_all = len(carry.arrays), len(loop.start)
    loop.store(outputs[n:n_all])
    return carry.rebuild(outputs[:n]), loop.result.rebuild(outputs[n_all:])


def _bind_scan(loop: _Loop, xs: Sequence[Array], length: int, reverse: bool) -> tuple[Array, ...]:
    """Record the node, without the slices that the body never reads."""
    graph, n = loop.graph, len(loop.start)
    used = hooks.needed_inputs(graph.outputs, graph.inputs)
    kept = [i for i in range(len(xs)) if n + i in used]
    inputs = [*graph.inputs[:n], *(graph.inputs[n + i] for i in kept), *graph.inputs[n + len(xs) :]]
    return bind(
        "scan", *loop.start, *(xs[i] for i in kept), *graph.captured,
        body=Graph(inputs, graph.outputs), n_carry=n, n_xs=len(kept), length=length,
        reverse=reverse,
    )  # fmt: skip


def _length(xs: Tree, length: int | None) -> int:
    sizes: dict[int, str] = {} if length is None else {length: "length"}
    for x, path in zip(xs.arrays, xs.paths, strict=True):
        if not x.shape:
            raise ShapeError(
                f"scan: {named(path, 'xs')} is a scalar",
                expected="a leading axis to run over",
                fix="catch it in the closure, or put it into the carry",
                where=str(here()),
            )
        sizes.setdefault(x.shape[0], named(path, "xs"))
    if len(sizes) != 1:
        raise ShapeError(
            "scan: the lengths differ" if sizes else "scan: nothing says how many steps to run",
            expected="one leading size" if sizes else "xs, or length=",
            got=", ".join(f"{n} of {label}" for n, label in sizes.items()),
            where=str(here()),
        )
    steps = next(iter(sizes))
    if steps < 0:
        raise ArgumentError("scan: length is negative", got=str(steps), where=str(here()))
    return steps


def fori_loop(lower: int, upper: int, body: Callable[[Array, Any], Any], init: Any) -> Any:
    """Run ``carry = body(i, carry)`` for i = lower .. upper − 1; a ``scan`` underneath.

    Args:
        lower: First index, a Python int.
        upper: Bound that is not reached; at or below ``lower`` nothing runs.
        body: ``i`` is an int64 scalar Array.
        init: Carry before the first step.

    Returns:
        The last carry.

    >>> fori_loop(1, 5, lambda i, product: product * i, 1)
    Array(24, int64)
    """
    for bound in (lower, upper):
        if not isinstance(bound, int | np.integer):
            raise ArgumentError(
                "fori_loop: the bounds must be known",
                expected="Python ints",
                got=type(bound).__name__,
                fix="use cr.while_loop for a number of steps that is computed",
                where=str(here()),
            )
    indices = ops.arange(lower, max(lower, upper))
    return scan(lambda carry, i: (body(i, carry), None), init, indices)[0]


def while_loop(test: Callable[[Any], Any], body: Callable[[Any], Any], state: Any) -> Any:
    """Run ``state = body(state)`` while ``test(state)`` is true.

    There is no reverse-mode derivative: how many steps it runs is known too late. Use ``scan`` with
    a fixed length where gradients are needed.

    Args:
        test: From the state to a bool scalar.
        body: From the state to the next, of the same structure, shapes and types.
        state: Where it starts.

    Returns:
        The state for which the test failed first.

    >>> while_loop(lambda n: n < 100, lambda n: n * 3, 1)
    Array(243, int64)
    """
    start = take_apart(state)

    def step(carries: Sequence[Array], parts: Sequence[Array]) -> tuple[Tree, Tree]:
        return take_apart(body(start.rebuild(carries))), take_apart(None)

    loop = _record_loop("while_loop", [body], start, [], step)
    n = len(start.arrays)
    mark = next_serial()
    inputs = _stand_ins(loop.start, [*start.paths, *(place.path for place in loop.state)])
    try:
        _assign(loop.state, inputs[n:])
        with transform_scope():
            going = predicate("while_loop", test(start.rebuild(inputs[:n])))
    finally:
        _assign(loop.state, loop.start[n:])
    check = close(inputs, [going], mark)
    outputs = bind(
        "while_loop", *loop.start, *check.captured, *loop.graph.captured,
        test=check, body=loop.graph, n_state=len(inputs), n_test=len(check.captured),
    )  # fmt: skip
    loop.store(outputs[n:])
    return start.rebuild(outputs[:n])
