"""Derivatives of functions: ``grad`` and its relatives, in any nesting."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from chainrule import ops
from chainrule.array import Array, placeholder
from chainrule.autodiff.arguments import Differentiated, detach, differentiated, is_module
from chainrule.autodiff.reverse import pull_back, require_scalar
from chainrule.autodiff.vectorize import apply_batched
from chainrule.errors import ArgumentError, GradientError, ShapeError, TeachingWarning
from chainrule.graph import Graph, needed_inputs, topological
from chainrule.ops import dtypes
from chainrule.ops.origin import here, stack_level
from chainrule.scope import transform_scope
from chainrule.tree import flatten, unflatten

Argnums = int | Sequence[int]


def value_and_grad(
    function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Make a function that returns the loss and its gradients.

    Args:
        function: Returns a floating scalar, or ``(scalar, anything)`` with ``has_aux``.
        argnums: Which positional arguments to differentiate: Arrays or containers of them. The
            gradients of a Module are a dict from parameter path to Array; frozen parameters and
            buffers are left out, tied ones come once.
        has_aux: The function returns other results beside the loss.

    Returns:
        A function that returns ``(loss, gradients)``, or ``((loss, aux), gradients)``.

    Raises:
        GradientError: The loss is no floating scalar, or an argument holds integers.

    >>> import chainrule as cr
    >>> cr.value_and_grad(lambda x: x * x)(3.0)
    (Array(9., float32), Array(6., float32))
    """

    require_function("value_and_grad", function)

    @functools.wraps(function)
    def with_gradients(*arguments: Any, **keywords: Any) -> Any:
        positions = _positions(argnums, len(arguments))
        with (
            transform_scope() as outermost,
            differentiated([arguments[i] for i in positions], outermost) as prepared,
        ):
            called = list(arguments)
            for i, part in zip(positions, prepared, strict=True):
                called[i] = part.value
            result = function(*called, **keywords)
            loss = result[0] if has_aux else result
            require_scalar(loss)
            aliases = [alias for part in prepared for alias in part.aliases]
            found = pull_back([loss], [ops.ones_like(loss)], aliases)
            if outermost and any(part is None for part in found):
                _warn_lost(loss, [part for part in prepared if not is_module(part.value)])
            parts = _by_argument(found, prepared)
            for i, part, own in zip(positions, prepared, parts, strict=True):
                if is_module(arguments[i]):
                    _warn_unused(part.names, own)
            results = [_filled(part, own) for part, own in zip(prepared, parts, strict=True)]
            answer = (result, results[0] if isinstance(argnums, int) else tuple(results))
            return detach(answer) if outermost else answer

    return with_gradients


def require_function(transform: str, function: Any) -> None:
    """Raise ArgumentError where a value is given in place of the function that computes it."""
    if callable(function):
        return
    value = isinstance(function, Array)
    raise ArgumentError(
        f"cr.{transform} takes a function, not its value",
        expected="a function that computes the loss",
        got=f"an Array of shape {function.shape}" if value else type(function).__name__,
        fix=f"cr.{transform}(lambda w: ...)(w)"
        + (", or cr.gradients(loss, w) for a loss recorded from variables" if value else ""),
        where=str(here()),
    )


def _by_argument(
    found: Sequence[Array | None], prepared: Sequence[Differentiated]
) -> list[list[Array | None]]:
    """Deal cotangents of all aliases out to the arguments that they belong to."""
    remaining = iter(found)
    return [[next(remaining) for _ in part.aliases] for part in prepared]


def _filled(part: Differentiated, found: Sequence[Array | None]) -> Any:
    """Cotangents in the structure of their argument; zeros where no path led."""
    values = [
        ops.zeros_like(x) if g is None else g for x, g in zip(part.aliases, found, strict=True)
    ]
    return unflatten(part.structure, values)


def _positions(argnums: Argnums, count: int) -> list[int]:
    positions = [argnums] if isinstance(argnums, int) else list(argnums)
    for i in positions:
        if not -count <= i < count:
            raise ArgumentError(
                f"argnums {i} names no positional argument",
                expected=f"0 to {count - 1}",
                got=str(i),
                where=str(here()),
            )
    return [i % count for i in positions]


def _warn_lost(loss: Array, prepared: Sequence[Differentiated]) -> None:
    """Warn of arguments that were looked at and then left out of the loss: the way was cut.

    An argument that was merely not used has a gradient of zero, and that may be meant.
    """
    seen = [(name, x) for part in prepared for name, x in zip(part.names, part.aliases, strict=True)
            if x.node.values is not None]  # fmt: skip
    nodes = set(topological([loss])) if seen else set()
    lost = [repr(name) if name else "its argument" for name, x in seen if x.node not in nodes]
    if lost:
        warnings.warn(
            TeachingWarning(
                f"the function took the value of {', '.join(lost)} out of the graph, and its "
                "result does not depend on it any more: the gradient is zero. Stay with Arrays: "
                "float(), .item(), .numpy() and NumPy's functions drop the history; cr has them "
                f"too (cr.mean, cr.sum) (at {here()})"
            ),
            stacklevel=stack_level(),
        )


def _warn_unused(names: Sequence[str], found: Sequence[Array | None]) -> None:
    unused = [name for name, part in zip(names, found, strict=True) if part is None]
    if unused:
        warnings.warn(
            TeachingWarning(
                f"the loss does not depend on the parameters {', '.join(unused)}: their gradient "
                "is zero. Is a layer left out of forward, or its result unused? Freeze parameters "
                f"that are meant to rest: layer.freeze() (at {here()})"
            ),
            stacklevel=stack_level(),
        )


def grad(
    function: Callable[..., Any], argnums: Argnums = 0, has_aux: bool = False
) -> Callable[..., Any]:
    """Make a function that returns the gradients alone; arguments as ``value_and_grad``.

    With ``has_aux`` the result is ``(gradients, aux)``.

    >>> import chainrule as cr
    >>> cr.grad(cr.grad(lambda x: x**3))(2.0)
    Array(12., float32)
    """
    require_function("grad", function)
    both = value_and_grad(function, argnums, has_aux)

    @functools.wraps(function)
    def gradient_function(*arguments: Any, **keywords: Any) -> Any:
        result, found = both(*arguments, **keywords)
        return (found, result[1]) if has_aux else found

    return gradient_function


def vjp(
    function: Callable[..., Any], *primals: Any
) -> tuple[Any, Callable[[Any], tuple[Any, ...]]]:
    """Run ``function``; return its result and the map from its cotangent to those of the inputs.

    Args:
        function: Returns Arrays or a container of them.
        primals: Arrays or containers of floating Arrays.

    >>> import chainrule as cr
    >>> y, pull = cr.vjp(lambda x: x * x, cr.asarray([1.0, 2.0]))
    >>> pull(cr.asarray([1.0, 10.0]))
    (Array([ 2., 40.], float32),)
    """
    require_function("vjp", function)
    with transform_scope() as outermost, differentiated(primals, outermost) as prepared:
        result = function(*(part.value for part in prepared))
    leaves, structure = flatten(result)
    outputs = [ops.as_value(leaf.value) for leaf in leaves]

    def pull(cotangent: Any) -> tuple[Any, ...]:
        given, given_structure = flatten(cotangent)
        if given_structure != structure:
            raise ArgumentError("the cotangent's structure differs from the result's")
        pairs = [
            (y, _matching(ops.as_value(g.value), y))
            for g, y in zip(given, outputs, strict=True)
            if dtypes.is_floating(y.dtype)
        ]
        aliases = [alias for part in prepared for alias in part.aliases]
        found = pull_back([y for y, _ in pairs], [g for _, g in pairs], aliases)
        parts = _by_argument(found, prepared)
        answer = tuple(_filled(part, own) for part, own in zip(prepared, parts, strict=True))
        return detach(answer) if outermost else answer

    return (detach(result) if outermost else result), pull


def _matching(cotangent: Array, y: Array) -> Array:
    if cotangent.shape != y.shape:
        raise ShapeError(
            "a cotangent must have the shape of its result",
            expected=str(y.shape),
            got=str(cotangent.shape),
            where=str(here()),
        )
    return ops.astype(cotangent, y.dtype)


def push_forward(
    outputs: Sequence[Array], wrt: Sequence[Array], tangents: Sequence[Array]
) -> list[Array]:
    """Forward mode by transposition: the pull-back is linear in its cotangent, so pull that back.

    Args:
        outputs: Floating Arrays.
        wrt: The nodes that ``tangents`` belong to.
        tangents: One a node of ``wrt``, of its shape.
    """
    dummies = [placeholder(y.shape, y.dtype) for y in outputs]
    pulled = pull_back(outputs, dummies, wrt)
    used = [(x, t) for x, t in zip(pulled, tangents, strict=True) if x is not None]
    found = pull_back([x for x, _ in used], [t for _, t in used], dummies)
    if needed_inputs([t for t in found if t is not None], dummies):
        raise GradientError(
            "a derivative rule is not linear in its cotangent, so there is no forward mode",
            expected="custom_vjp rules that only scale and add what they are given",
            fix="use reverse mode: cr.grad, cr.vjp",
            where=str(here()),
        )
    return [ops.zeros_like(y) if t is None else t for y, t in zip(outputs, found, strict=True)]


def jvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """The result of ``function`` and its derivative along a direction.

    Args:
        function: Returns Arrays or a container of them.
        primals: Arguments: Arrays or containers of floating Arrays.
        tangents: The direction, one entry an argument, structured alike.

    Returns:
        ``(result, tangent of the result)``.

    >>> import chainrule as cr
    >>> cr.jvp(cr.sin, (0.0,), (2.0,))
    (Array(0., float32), Array(2., float32))
    """
    require_function("jvp", function)
    with transform_scope() as outermost, differentiated(list(primals), outermost) as prepared:
        result = function(*(part.value for part in prepared))
        leaves, structure = flatten(result)
        outputs = [ops.as_value(leaf.value) for leaf in leaves]
        aliases = [alias for part in prepared for alias in part.aliases]
        given = [ops.as_value(leaf.value) for t in tangents for leaf in flatten(t)[0]]
        if len(given) != len(aliases):
            raise ArgumentError(
                "jvp needs one tangent for each primal",
                expected=str(len(aliases)),
                got=str(len(given)),
            )
        directions = [_matching(t, x) for t, x in zip(given, aliases, strict=True)]
        floating = [y for y in outputs if dtypes.is_floating(y.dtype)]
        moved = iter(push_forward(floating, aliases, directions))
        found = [next(moved) if dtypes.is_floating(y.dtype) else ops.zeros_like(y) for y in outputs]
        answer = (result, unflatten(structure, found))
        return detach(answer) if outermost else answer


def hvp(function: Callable[..., Any], primals: Sequence[Any], tangents: Sequence[Any]) -> Any:
    """Hessian of a scalar function times a direction, without the Hessian.

    Args:
        function: Returns a scalar; differentiated in all its arguments.
        primals: Arguments.
        tangents: The direction, structured like the arguments.

    Returns:
        One entry an argument (bare if there is one).
    """
    positions = tuple(range(len(primals)))
    moved = jvp(grad(function, argnums=positions), primals, tangents)[1]
    return moved[0] if len(primals) == 1 else moved


def jacobian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """Make a function that returns all derivatives of an Array by an Array.

    Args:
        function: Returns an Array.
        argnums: The Array argument to differentiate.

    Returns:
        A function whose result has shape ``(*output shape, *argument shape)``.

    >>> import chainrule as cr
    >>> cr.jacobian(lambda x: x * x)(cr.asarray([1.0, 2.0]))
    Array([[2., 0.],
           [0., 4.]], float32)
    """

    require_function("jacobian", function)

    def jacobian_function(*arguments: Any) -> Any:
        position = _positions(argnums, len(arguments))[0]
        with (
            transform_scope() as outermost,
            differentiated([arguments[position]], outermost) as prepared,
        ):
            called = list(arguments)
            called[position] = prepared[0].value
            y = function(*called)
            if not isinstance(y, Array) or len(prepared[0].aliases) != 1:
                raise GradientError(
                    "jacobian takes a function from one Array to one Array",
                    got=f"{len(prepared[0].aliases)} Arrays in, {type(y).__name__} out",
                    fix="use cr.vjp or cr.jvp for containers",
                    where=str(here()),
                )
            x = prepared[0].aliases[0]
            cotangent = placeholder(y.shape, y.dtype)
            pulled = pull_back([y], [cotangent], [x])[0]
            if pulled is None:
                rows = ops.zeros((y.size, *x.shape), dtype=x.dtype)
            else:
                basis = ops.as_value(np.eye(y.size, dtype=np.float32)).astype(y.dtype)
                basis = basis.reshape((y.size, *y.shape))
                rows = apply_batched(Graph([cotangent], [pulled]), [basis], [True], y.size)[0]
            answer = rows.reshape((*y.shape, *x.shape))
            return detach(answer) if outermost else answer

    return jacobian_function


def hessian(function: Callable[..., Any], argnums: int = 0) -> Callable[..., Any]:
    """Make a function that returns all second derivatives: ``(*shape, *shape)`` of the argument."""
    return jacobian(grad(function, argnums), argnums)
