"""``checkpoint``: forget what lies inside a function, and compute it again for the derivative."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array, close, placeholder
from chainrule.autodiff.effects import Watch, store
from chainrule.autodiff.subgraphs import pullback
from chainrule.autodiff.vectorize import batch_graph
from chainrule.graph import Graph, needed_inputs, next_serial
from chainrule.ops import dtypes
from chainrule.ops.hooks import Value
from chainrule.ops.record import Op, Spec, bind, register
from chainrule.scope import transform_scope
from chainrule.tree import flatten, unflatten

# inputs: whatever the body uses; body: those → the results


def _infer(*inputs: Value, body: Graph) -> tuple[Spec, ...]:
    return tuple((y.shape, y.dtype) for y in body.outputs)


def _vjp(
    g: tuple[Value, ...], y: tuple[Value, ...], *inputs: Value, wanted: Sequence[int], body: Graph
) -> tuple[Value | None, ...]:
    """One node again: it computes the body anew and pulls back through that."""
    # results that nobody asks after, such as buffers written on the way, are left out
    asked = [
        i for i, (part, out) in enumerate(zip(g, y, strict=True))
        if dtypes.is_floating(out.dtype) and not _is_zero(part)
    ]  # fmt: skip
    if not asked:
        return (None,) * len(inputs)
    forward = Graph(body.inputs, [body.outputs[i] for i in asked])
    backward = _behind_barriers(pullback(forward, wanted), len(inputs))
    kept = sorted(needed_inputs(backward.outputs, backward.inputs))
    arguments = [*inputs, *(g[i] for i in asked)]
    slim = Graph([backward.inputs[i] for i in kept], backward.outputs)
    results = bind(CHECKPOINT, *(arguments[i] for i in kept), body=slim)
    found = dict(zip(wanted, results, strict=True))
    return tuple(found.get(i) for i in range(len(inputs)))


def _is_zero(x: Value) -> bool:
    """True for the zeros that stand for a cotangent that never arrived."""
    node = x.node
    if node.op is None or node.op.name != "broadcast_to":
        return False
    source = node.inputs[0].node
    return source.op is None and source.values is not None and not source.values[0].data.any()


def _behind_barriers(graph: Graph, n: int) -> Graph:
    """The graph with its first ``n`` inputs behind barriers: no pass merges it with the forward."""
    inputs = [placeholder(x.shape, x.dtype, x.name, x.weak) for x in graph.inputs]
    guarded = [ops.barrier(x) for x in inputs[:n]]
    return Graph(inputs, graph.apply([*guarded, *inputs[n:]]))


def _batch(inputs: Sequence[Value], batched: Sequence[bool], *, body: Graph) -> tuple[Value, ...]:
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    return tuple(bind(CHECKPOINT, *inputs, body=batch_graph(body, list(batched), size)))


def _evaluate(*arrays: np.ndarray, body: Graph) -> tuple[np.ndarray, ...]:
    return tuple(body.evaluate(arrays))


CHECKPOINT = register(
    Op(
        name="checkpoint",
        family="control",
        arity=None,
        multiple=True,
        infer=_infer,
        evaluate=_evaluate,
        vjp=_vjp,
        batch=_batch,
        formula="the body, of which only the results are kept",
        derivative=("that of the body, computed again",),
    )
)


def checkpoint(function: Callable[..., Any]) -> Callable[..., Any]:
    """Trade time for memory: keep only the inputs and results of ``function``.

    Its inner values are dropped after the forward pass and computed again, from the inputs, when
    the derivative needs them. Random draws are the same both times; what Modules store into their
    buffers is stored once.

    Args:
        function: A function or a Module, of anything; returns Arrays in nested containers. Arrays
            caught in closures take part.

    Returns:
        A function with the same results and derivatives.

    Reference: Chen, Xu, Zhang, Guestrin, "Training deep nets with sublinear memory cost", 2016.

    >>> import chainrule as cr
    >>> cr.grad(lambda x: checkpoint(cr.sin)(x * x))(0.0)
    Array(0., float32)
    """

    @functools.wraps(function, updated=())  # a Module's attributes stay its own
    def with_checkpoint(*arguments: Any, **keywords: Any) -> Any:
        watch = Watch(function, arguments, keywords)
        mark = next_serial()
        with transform_scope() as outermost:
            try:
                result = function(*arguments, **keywords)
            finally:
                written = list(watch.take().values())
        leaves, structure = flatten(result)
        arrays = [leaf.value for leaf in leaves if isinstance(leaf.value, Array)]
        # everything older than the mark, arguments included, becomes an input of the node
        body = close([], [*arrays, *(write.value for write in written)], mark)
        outputs = bind(CHECKPOINT, *body.captured, body=body)
        for write, output in zip(written, outputs[len(arrays) :], strict=True):
            store(write.leaf, output, outermost)
        fresh = iter(Array(y.node, y.index, x.weak) for x, y in zip(arrays, outputs, strict=False))
        values = [next(fresh) if isinstance(x.value, Array) else x.value for x in leaves]
        return unflatten(structure, values)

    return with_checkpoint
