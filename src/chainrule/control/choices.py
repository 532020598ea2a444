"""``cond`` and ``switch``: one of several branches."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule import ops
from chainrule.array import Array, CapturedGraph, close, placeholder
from chainrule.autodiff.effects import Slot, Watch, Written, store
from chainrule.control.carried import Tree, check_state, check_structure, named, take_apart
from chainrule.errors import ArgumentError, ChainruleError, DtypeError, ShapeError
from chainrule.graph import Graph, next_serial
from chainrule.ops import dtypes
from chainrule.ops.operands import common_dtype
from chainrule.ops.origin import here
from chainrule.ops.record import bind
from chainrule.scope import is_outermost, transform_scope


def predicate(what: str, value: Any) -> Array:
    """A condition as a bool scalar Array; DtypeError or ShapeError if it is none."""
    chosen: Array = ops.as_value(value)
    if chosen.dtype != dtypes.bool_:
        raise DtypeError(
            f"{what}: the condition must be a bool",
            got=str(chosen.dtype),
            fix="pass a comparison, such as x > 0",
            where=str(here()),
        )
    if chosen.shape:
        raise ShapeError(
            f"{what}: the condition must be one bool",
            expected="shape ()",
            got=str(chosen.shape),
            fix="reduce it (cr.all, cr.any), choose element by element (cr.where), or cr.vmap",
            where=str(here()),
        )
    return chosen


class _Branch(NamedTuple):
    """A branch recorded: its name, its results, what it stored, and the mark before its nodes."""

    name: str
    result: Tree
    written: dict[Slot, Written]
    mark: int


def _record_branch(name: str, function: Callable[..., Any], operands: tuple[Any, ...]) -> _Branch:
    watch = Watch(function, operands)
    mark = next_serial()
    written: dict[Slot, Written] = {}
    try:
        with transform_scope():
            result = function(*operands)
    finally:
        written = watch.take()
    return _Branch(name, take_apart(result), written, mark)


def cond(
    pred: Any, true_function: Callable[..., Any], false_function: Callable[..., Any], *operands: Any
) -> Any:
    """``true_function(*operands)`` where ``pred`` holds, else ``false_function(*operands)``.

    Both branches are recorded, one is evaluated. (Under ``vmap`` with a batched condition both are,
    and the results are selected.)

    Args:
        pred: A bool scalar.
        true_function: Returns Arrays in nested containers.
        false_function: Returns the same structure, shapes and types.
        operands: Anything, Modules included; may also be caught in closures.

    Raises:
        ShapeError: The branches' results differ in shape.
        DtypeError: They differ in type, or the condition is no bool.
        StateError: They differ in structure.

    >>> import chainrule as cr
    >>> x = cr.asarray(-2.0)
    >>> cond(x > 0, lambda x: x, lambda x: x * 0.1, x)
    Array(-0.2, float32)
    """
    branches = {"true_function": true_function, "false_function": false_function}
    return _choose("cond", predicate("cond", pred), branches, operands)


def _choose(
    what: str, chosen: Array, functions: dict[str, Callable[..., Any]], operands: tuple[Any, ...]
) -> Any:
    """Record both functions by name, the one for True first, and the node that chooses."""
    first, second = (_record_branch(name, f, operands) for name, f in functions.items())
    check_structure(what, f"the result of {second.name}", first.result, second.result)
    pairs = _agreeing(what, first, second)
    places = {
        slot: part.leaf for branch in (first, second) for slot, part in branch.written.items()
    }
    graphs = []
    for number, branch in enumerate((first, second)):
        stored = [
            branch.written[slot].value if slot in branch.written else place.value
            for slot, place in places.items()
        ]
        for place, value in zip(places.values(), stored, strict=True):
            check_state(what, place, value)
        graphs.append(close([], [*(pair[number] for pair in pairs), *stored], branch.mark))
    caught = {(x.node, x.index): x for graph in graphs for x in graph.captured}
    on_true, on_false = (_with_inputs(graph, caught) for graph in graphs)
    outputs = bind("cond", chosen, *caught.values(), on_true=on_true, on_false=on_false)
    outermost = is_outermost()
    for place, value in zip(places.values(), outputs[len(pairs) :], strict=True):
        store(place, value, outermost)
    return first.result.rebuild(outputs[: len(pairs)])


def _agreeing(what: str, first: _Branch, second: _Branch) -> list[tuple[Array, Array]]:
    """Both branches' results, of one type each: a number adopts that of the other branch."""
    pairs = []
    leaves = zip(first.result.paths, first.result.arrays, second.result.arrays, strict=True)
    for path, a, b in leaves:
        common = common_dtype((a, b))
        if a.weak and b.weak and dtypes.is_floating(common):
            common = dtypes.default_float
        if (a.weak and b.weak) or (a.weak and b.dtype == common) or (b.weak and a.dtype == common):
            a, b = (ops.astype(x, common) for x in (a, b))
        if (a.shape, a.dtype) != (b.shape, b.dtype):
            error: type[ChainruleError] = DtypeError if a.shape == b.shape else ShapeError
            raise error(
                f"{what}: {named(path, 'the result')} differs between the branches",
                expected=f"{a.dtype}{list(a.shape)}, as {first.name} gives it",
                got=f"{b.dtype}{list(b.shape)} from {second.name}",
                fix="cast or broadcast in one of them",
                where=str(here()),
            )
        pairs.append((a, b))
    return pairs


def _with_inputs(graph: CapturedGraph, caught: dict[Any, Array]) -> Graph:
    """The graph with an input for everything that either branch caught."""
    own = {
        (x.node, x.index): stand_in
        for x, stand_in in zip(graph.captured, graph.inputs, strict=True)
    }
    inputs = [
        own[place] if place in own else placeholder(x.shape, x.dtype, x.name, x.weak)
        for place, x in caught.items()
    ]
    return Graph(inputs, graph.outputs)


def switch(index: Any, branches: Sequence[Callable[..., Any]], *operands: Any) -> Any:
    """``branches[index](*operands)``; an index outside is taken as the nearest branch.

    Args:
        index: Integer scalar.
        branches: At least one; results as for ``cond``. Recorded as nested choices between halves.
        operands: As for ``cond``.

    >>> import chainrule as cr
    >>> switch(cr.asarray(1), [cr.sin, cr.square, cr.exp], cr.asarray(3.0))
    Array(9., float32)
    """
    number: Array = ops.as_value(index)
    if not branches:
        raise ArgumentError("switch needs at least one branch", where=str(here()))
    if not dtypes.is_integer(number.dtype) or number.shape:
        raise DtypeError(
            "switch: the index must be one integer",
            expected="an integer of shape ()",
            got=f"{number.dtype} of shape {number.shape}",
            where=str(here()),
        )
    return _switch(number, list(branches), 0, operands)


def _switch(
    number: Array, branches: list[Callable[..., Any]], first: int, operands: tuple[Any, ...]
) -> Any:
    if len(branches) == 1:
        return branches[0](*operands)
    middle, end = first + len(branches) // 2, first + len(branches)
    halves = {
        _span(first, middle): lambda *parts: _switch(
            number, branches[: middle - first], first, parts
        ),
        _span(middle, end): lambda *parts: _switch(
            number, branches[middle - first :], middle, parts
        ),
    }
    return _choose("switch", number < middle, halves, operands)


def _span(start: int, stop: int) -> str:
    return f"branch {start}" if stop == start + 1 else f"branches {start} to {stop - 1}"
