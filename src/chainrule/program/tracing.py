"""From a function to a Program: record it once on placeholders, note what it read and wrote."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array, close, cut, placeholder
from chainrule.errors import StateError
from chainrule.execution import evaluate
from chainrule.graph import Graph, Node, next_serial
from chainrule.ops.origin import here
from chainrule.program.program import Program, Write
from chainrule.program.signature import Call, Slot
from chainrule.scope import transform_scope
from chainrule.tree import Leaf, children, flatten, is_container, is_leaf, is_mutable, put_in


def trace_program(
    function: Callable[..., Any], arguments: Sequence[Any], call: Call, engine: str
) -> Program:
    """Record ``function`` on placeholders for the slots of ``call``.

    The arguments' containers hold placeholders while the function runs and are put back
    afterwards, whatever happens.

    Raises:
        StateError: A Module was caught in a closure, or a container gained or lost entries.
    """
    mark = next_serial()
    inputs = [placeholder(s.shape, s.dtype, s.path, s.weak) for s in call.slots]
    stand_ins = iter([inputs[number] for number in call.slot_of])
    tuples: list[tuple[Any, Any, Any]] = []
    try:
        replaced = [_substitute(argument, stand_ins, tuples) for argument in arguments]
        with transform_scope():
            result = function(*replaced)
        after = flatten(tuple(replaced))[0]
    finally:
        for leaf in call.leaves:
            if leaf.owner is not None:
                leaf.assign(leaf.value)
        for owner, key, whole in tuples:
            put_in(owner, key, whole)
    writes, written = _collect_writes(call, inputs, after)
    leaves, structure = flatten(result)
    outputs = [ops.as_value(leaf.value) for leaf in leaves]
    graph = _close(inputs, [*outputs, *written], mark, call.slots)
    return Program(
        name=getattr(function, "__name__", "program"),
        graph=graph,
        slots=call.slots,
        structure=structure,
        n_outputs=len(outputs),
        writes=writes,
        engine=engine,
    )


def _substitute(x: Any, stand_ins: Any, tuples: list[tuple[Any, Any, Any]]) -> Any:
    """Put a stand-in in the place of every leaf; tuples are rebuilt around them.

    Args:
        x: A leaf, a container or what is neither.
        stand_ins: The next ones.
        tuples: Gets the tuples that were replaced: container, key, tuple.
    """
    if is_leaf(x):
        return next(stand_ins)
    if not is_container(x):
        return x
    if is_mutable(x):
        for key, child in children(x):
            new = _substitute(child, stand_ins, tuples)
            if new is not child:
                put_in(x, key, new)
                if isinstance(child, tuple):
                    tuples.append((x, key, child))
        return x
    parts = [_substitute(child, stand_ins, tuples) for child in x]
    return type(x)(*parts) if hasattr(x, "_fields") else tuple(parts)


def _collect_writes(
    call: Call, inputs: Sequence[Array], after: Sequence[Leaf]
) -> tuple[list[Write], list[Array]]:
    """Compare the containers with what was put in: leaves that hold another value were written."""
    before = [leaf.path for leaf in call.leaves]
    if before != [leaf.path for leaf in after]:
        changed = sorted(set(before) ^ {leaf.path for leaf in after})
        raise StateError(
            "a compiled function added or removed entries of a container that was passed to it",
            expected="the same entries after the call as before it",
            got=f"changed: {', '.join(changed[:5])}",
            fix="create all state before the call: optimizer.initialise(model), or fill the dict",
            where=str(here()),
        )
    new_value: dict[int, Array] = {}
    places: dict[int, list[int]] = {}
    for position, (number, leaf) in enumerate(zip(call.slot_of, after, strict=True)):
        if leaf.value is inputs[number]:
            continue
        value = ops.as_value(leaf.value)
        known = new_value.setdefault(number, value)
        if (known.node, known.index) != (value.node, value.index):
            raise StateError(
                f"{leaf.path} is tied to {call.slots[number].path} but was given another value",
                fix="assign one Array to both",
                where=str(here()),
            )
        places.setdefault(number, []).append(position)
    writes, written = [], []
    for number, value in new_value.items():
        slot = call.slots[number]
        if not slot.weak and (value.shape, value.dtype) != (slot.shape, slot.dtype):
            raise StateError(
                f"state {slot.path} changed its shape or type during the call",
                expected=f"{slot.dtype}{list(slot.shape)}",
                got=f"{value.dtype}{list(value.shape)}",
                fix="cast the new value: cr.astype(value, old.dtype)",
                where=str(value.node.origin),
            )
        writes.append(Write(number, tuple(places[number])))
        written.append(value)
    return writes, written


def _close(
    inputs: Sequence[Array], outputs: Sequence[Array], mark: int, slots: Sequence[Slot]
) -> Graph:
    """Make what was caught from outside constant; state must not be caught."""
    graph = close(inputs, outputs, mark)
    own = [x for x in graph.captured if x.node.owned]
    if own:
        names = ", ".join(sorted({x.name or "a buffer" for x in own}))
        raise StateError(
            f"a compiled function caught state in its closure: {names}",
            expected="Modules, optimizers and variables among the arguments",
            fix="pass the Module as an argument: step(model, x), not a model from outside",
            where=_first_use(graph, len(inputs), own[0].node),
        )
    evaluate(graph.captured)
    constants = [cut(x) for x in graph.captured]
    return Graph(inputs, graph.apply([*inputs, *constants]))


def _first_use(graph: Any, n_inputs: int, caught: Node) -> str:
    stand_in = next(
        x.node
        for x, original in zip(graph.inputs[n_inputs:], graph.captured, strict=True)
        if original.node is caught
    )
    for node in graph.nodes:
        if any(x.node is stand_in for x in node.inputs):
            return str(node.origin)
    return str(here())
