"""``vmap``: a function of one example becomes a function of a batch, op by op."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array, placeholder, trace
from chainrule.autodiff.effects import Watch
from chainrule.errors import ArgumentError, ShapeError, StateError
from chainrule.graph import Graph, Node
from chainrule.ops.hooks import hooks
from chainrule.ops.origin import here, origin_of
from chainrule.scope import transform_scope
from chainrule.tree import flatten, unflatten


def batch_graph(graph: Graph, batched: Sequence[bool], size: int) -> Graph:
    """A graph that does for a batch in front of the flagged inputs what ``graph`` does for one.

    Args:
        graph: Works on one example.
        batched: Which inputs have the batch axis in front.
        size: Number of examples.
    """
    inputs = [
        placeholder((size, *x.shape) if flag else x.shape, x.dtype)
        for x, flag in zip(graph.inputs, batched, strict=True)
    ]
    return Graph(inputs, apply_batched(graph, inputs, batched, size))


def apply_batched(
    graph: Graph, arguments: Sequence[Array], batched: Sequence[bool], size: int
) -> list[Array]:
    """Record ``graph`` on batched arguments; every output gets the batch axis in front."""
    known: dict[tuple[Node, int], tuple[Array, bool]] = {
        (x.node, x.index): (argument, flag)
        for x, argument, flag in zip(graph.inputs, arguments, batched, strict=True)
    }
    for node in graph.nodes:
        if node.op is None:
            continue
        operands = [known.get((x.node, x.index), (x, False)) for x in node.inputs]
        flags = [flag for _, flag in operands]
        if not any(flags) and all(a is b for (a, _), b in zip(operands, node.inputs, strict=True)):
            continue
        with origin_of(node.origin):
            values = [value for value, _ in operands]
            if any(flags):
                results = node.op.batch(values, flags, **node.attributes)
            else:
                results = hooks.bind(node.op, tuple(values), node.attributes)
        for i, result in enumerate(results if node.op.multiple else (results,)):
            known[node, i] = (result, any(flags))
    outputs = []
    for x in graph.outputs:
        value, flag = known.get((x.node, x.index), (x, False))
        outputs.append(value if flag else ops.broadcast_to(value, (size, *value.shape)))
    return outputs


def vmap(
    function: Callable[..., Any], in_axes: int | Sequence[Any] | None = 0, out_axes: int = 0
) -> Callable[..., Any]:
    """Turn a function of one example into one of a batch.

    Args:
        function: Takes and returns Arrays or containers of them.
        in_axes: The batch axis of every argument, or one entry an argument; None: the argument is
            shared by all examples.
        out_axes: Where the batch axis goes in every result.

    Raises:
        ShapeError: Batch sizes differ, or no argument is batched.
        StateError: The function stored something into a Module.

    >>> import chainrule as cr
    >>> dots = vmap(lambda a, b: (a * b).sum())
    >>> dots(cr.ones((3, 2)), cr.ones((3, 2)))
    Array([2., 2., 2.], float32)
    """

    def batched_function(*arguments: Any) -> Any:
        axes = _argument_axes(in_axes, len(arguments))
        leaves, structures, leaf_axes = [], [], []
        for argument, axis in zip(arguments, axes, strict=True):
            found, structure = flatten(argument)
            structures.append((structure, len(found)))
            leaves += [ops.as_value(leaf.value) for leaf in found]
            leaf_axes += [axis] * len(found)
        moved = [
            x if axis is None else ops.moveaxis(x, axis, 0)
            for x, axis in zip(leaves, leaf_axes, strict=True)
        ]
        flags = [axis is not None for axis in leaf_axes]
        size = _batch_size(moved, flags)
        result_structure = None

        def on_leaves(*values: Array) -> list[Array]:
            nonlocal result_structure
            rebuilt, position = [], 0
            for structure, count in structures:
                rebuilt.append(unflatten(structure, values[position : position + count]))
                position += count
            results, result_structure = flatten(function(*rebuilt))
            return [ops.as_value(leaf.value) for leaf in results]

        like = [
            (x.shape[1:] if flag else x.shape, x.dtype)
            for x, flag in zip(moved, flags, strict=True)
        ]
        watch = Watch(function)
        with transform_scope():
            graph: Any = trace(on_leaves, like)
        _refuse_writes(watch)
        caught = list(graph.captured)
        outputs = apply_batched(graph, [*moved, *caught], flags + [False] * len(caught), size)
        placed = [ops.moveaxis(y, 0, out_axes) for y in outputs]
        assert result_structure is not None
        return unflatten(result_structure, placed)

    return batched_function


def _refuse_writes(watch: Watch) -> None:
    """A value stored for one example has no place to go for a batch of them."""
    for written in watch.take().values():
        raise StateError(
            f"vmap: the function stored {written.leaf.path!r} while it was mapped over examples",
            expected="a function that returns what it computes and stores nothing",
            got=f"a new value of {written.leaf.path!r}, one an example",
            fix="return it and store it outside vmap, or use the layer's evaluation mode",
            where=str(here()),
        )


def _argument_axes(in_axes: Any, count: int) -> list[int | None]:
    axes = list(in_axes) if isinstance(in_axes, list | tuple) else [in_axes] * count
    if len(axes) != count:
        raise ArgumentError(
            "vmap: in_axes does not fit the arguments",
            expected=f"{count} entries",
            got=str(len(axes)),
            where=str(here()),
        )
    return axes


def _batch_size(values: Sequence[Array], flags: Sequence[bool]) -> int:
    sizes = {x.shape[0] for x, flag in zip(values, flags, strict=True) if flag}
    if len(sizes) != 1:
        raise ShapeError(
            "vmap needs one batch size",
            expected="at least one argument with a batch axis, all of one size",
            got=f"sizes {sorted(sizes)}" if sizes else "no batched argument",
            fix="check in_axes",
            where=str(here()),
        )
    return sizes.pop()


hooks.batch = batch_graph
