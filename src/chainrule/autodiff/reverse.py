"""Reverse mode: from a graph to the graph of its gradients, by the chain rule.

A node's cotangent is the sum of what its users send back. The rules are the ops' own, so the
result is a graph again and can be differentiated, printed and compiled like any other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import GradientError
from chainrule.graph import Node, topological
from chainrule.ops import dtypes
from chainrule.ops.origin import here, origin_of

Place = tuple[Node, int]


def place(x: Array) -> Place:
    """The node and output that an Array stands for: Arrays of one place are one value."""
    return x.node, x.index


def active_nodes(outputs: Sequence[Array], wrt: Sequence[Array]) -> list[tuple[Node, list[int]]]:
    """The nodes on a path from ``wrt`` to ``outputs``, operands before users.

    Each comes with the positions of those operands that are on such a path, too, and floating.
    """
    active = {x.node for x in wrt}
    order = []
    for node in topological(outputs):
        positions = [
            i for i, x in enumerate(node.inputs) if x.node in active and dtypes.is_floating(x.dtype)
        ]
        if positions:
            active.add(node)
            order.append((node, positions))
    return order


def pull_back(
    outputs: Sequence[Array], cotangents: Sequence[Array], wrt: Sequence[Array]
) -> list[Array | None]:
    """Send cotangents of ``outputs`` back to ``wrt``.

    Args:
        outputs: Floating Arrays.
        cotangents: One a output, of its shape.
        wrt: Where to collect; intermediate values are allowed.

    Returns:
        One cotangent for each of ``wrt``; None where no path leads there.
    """
    received: dict[Place, Array] = {}
    for output, cotangent in zip(outputs, cotangents, strict=True):
        _accumulate(received, place(output), cotangent)
    for node, positions in reversed(active_nodes(outputs, wrt)):
        arrived = [received.get((node, i)) for i in range(len(node.specs))]
        if all(part is None for part in arrived):
            continue
        sent = _apply_rule(node, arrived, positions)
        for i in positions:
            part = sent[i]
            if part is not None:
                _accumulate(received, place(node.inputs[i]), part)
    return [received.get(place(x)) for x in wrt]


def _accumulate(received: dict[Place, Array], key: Place, cotangent: Array) -> None:
    known = received.get(key)
    if known is None:
        received[key] = cotangent
    else:
        node = key[0]
        with origin_of(node.origin, node.serial):
            received[key] = ops.add(known, cotangent)


def _apply_rule(
    node: Node, parts: list[Array | None], positions: list[int]
) -> Sequence[Array | None]:
    """Call the op's derivative rule; what it records is marked as this node's derivative."""
    op = node.op
    assert op is not None
    if op.vjp is None:
        return [None] * len(node.inputs)
    with origin_of(node.origin, node.serial):
        if not op.multiple:
            return op.vjp(parts[0], Array(node), *node.inputs, **node.attributes)
        outputs = tuple(Array(node, i) for i in range(len(node.specs)))
        filled = tuple(
            ops.zeros_like(y) if part is None else part
            for y, part in zip(outputs, parts, strict=True)
        )
        # a body is derived as a whole: its rule is told what for
        wanted = {"wanted": positions} if op.family == "control" else {}
        return op.vjp(filled, outputs, *node.inputs, **wanted, **node.attributes)


def gradients(loss: Array, wrt: Array | Iterable[Array]) -> Array | list[Array]:
    """Derivatives of a scalar with respect to variables or values between them and it.

    Args:
        loss: Floating Array of one element.
        wrt: One Array or several; each a variable or a value computed from one.

    Returns:
        One Array of the same shape for each of ``wrt`` (a list if several were asked for).

    Raises:
        GradientError: ``loss`` is no floating scalar, or does not depend on one of ``wrt``, or its
            history was cut.

    >>> import chainrule as cr
    >>> w = cr.variable(3.0)
    >>> gradients(w * w, w)
    Array(6., float32)
    """
    several = not isinstance(wrt, Array) and isinstance(wrt, Iterable)
    wanted: list[Any] = list(wrt) if several else [wrt]
    require_scalar(loss)
    for x in wanted:
        _require_variable(x)
    results = pull_back([loss], [ops.ones_like(loss)], wanted)
    for x, result in zip(wanted, results, strict=True):
        if result is None:
            raise _unreachable(loss, x)
    found = [result for result in results if result is not None]
    return found if several else found[0]


def require_scalar(loss: Array) -> None:
    """Raise GradientError unless ``loss`` is a floating Array of one element."""
    if not isinstance(loss, Array):
        raise _no_array(loss)
    if loss.size != 1 or not dtypes.is_floating(loss.dtype):
        raise GradientError(
            "gradients need one floating number to differentiate",
            expected="a scalar of a floating type",
            got=f"{loss.dtype} of shape {loss.shape}",
            fix="reduce the loss: loss.mean() or loss.sum(); for all rows at once see cr.jacobian",
            where=str(here()),
        )


def _no_array(loss: Any) -> GradientError:
    if loss is None:
        fix = "did the function forget its return?"
    elif isinstance(loss, tuple | list):
        fix = "return the loss alone, or (loss, anything) with has_aux=True"
    else:
        fix = (
            "stay with Arrays up to the loss: float(), .item(), .numpy() and NumPy's functions "
            "drop the history; cr has them too (cr.mean, cr.sum)"
        )
    return GradientError(
        "the loss is no Array, so no gradient can be taken of it",
        expected="a scalar Array",
        got=type(loss).__name__,
        fix=fix,
        where=str(here()),
    )


def _require_variable(x: Array) -> None:
    """Whether a plain value can be differentiated must not depend on who looked at it before."""
    if not isinstance(x, Array) or not x.node.tracked:
        label = f" of shape {x.shape}" if isinstance(x, Array) else ""
        raise GradientError(
            f"gradients were asked of a plain {type(x).__name__}{label}, not of a variable",
            expected="a cr.variable, or a value computed from one",
            fix="w = cr.variable(w) before the loss is computed, or cr.grad(function)(w)",
            where=str(here()),
        )


def _unreachable(loss: Array, x: Array) -> GradientError:
    label = f"{x.name!r}" if x.name else f"the Array of shape {x.shape}"
    if not dtypes.is_floating(x.dtype):
        return GradientError(
            f"{label} holds {x.dtype}, which has no derivative",
            fix="make it floating: cr.variable(x, dtype=cr.float32)",
            where=str(here()),
        )
    if loss.node.op is None and loss.node is not x.node:
        return GradientError(
            "the loss has no history: it was returned by a transform or a Program, stored, "
            "or evaluated without descending from a variable",
            expected="a loss recorded from variables",
            fix="make the inputs variables (cr.variable(x)), or use cr.grad on the whole function",
            where=str(loss.node.origin),
        )
    return GradientError(
        f"the loss does not depend on {label}",
        expected="a path of differentiable operations from it to the loss",
        got="no path",
        fix="check that the loss was computed from this very Array, not from a copy, a value "
        "made before cr.variable, or through cr.stop_gradient, argmax or a cast to integers",
        where=str(here()),
    )
