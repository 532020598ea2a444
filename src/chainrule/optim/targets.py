"""What an optimizer changes: parameters found in Modules and containers, and their gradients."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from chainrule import ops
from chainrule.array import Array, cut
from chainrule.errors import ArgumentError, DtypeError, ShapeError, StateError
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.tree import Leaf, children, flatten, is_container


class Target(NamedTuple):
    """One parameter.

    Args:
        value: Its Array.
        places: All leaves that hold it: several where parameters are tied.
    """

    value: Array
    places: list[Leaf]

    def assign(self, new: Array, *, final: bool) -> None:
        """Store a new value in all places.

        Args:
            new: Array of the parameter's shape and type.
            final: Evaluate it and cut its history; False inside traces and transforms.
        """
        node = self.value.node
        if final:
            tracked = node.tracked and node.op is None
            new = cut(new, tracked=tracked, name=node.name, owned=True)
        for leaf in self.places:
            leaf.assign(new)


class Targets(NamedTuple):
    """What was found in a Module or container.

    Args:
        trainable: Path → parameter, tied ones once, under the first path.
        resting: Paths of frozen parameters, buffers and scalars.
    """

    trainable: dict[str, Target]
    resting: set[str]


def find_targets(parameters: Any) -> Targets:
    """Find the parameters of a Module, or of dicts and lists of Arrays.

    Raises:
        ArgumentError: ``parameters`` is no container.
        DtypeError: A container holds integers.
    """
    if not is_container(parameters) or isinstance(parameters, tuple):
        raise ArgumentError(
            "an optimizer updates Modules, and dicts or lists of Arrays, in place",
            expected='a Module or a dict such as {"w": w, "b": b}',
            got=type(parameters).__name__,
            fix="put the Array in a dict: params = {'w': w}; optimizer.update(params, {'w': grad})",
            where=str(here()),
        )
    trainable: dict[str, Target] = {}
    resting: set[str] = set()
    leaves = flatten(parameters)[0]
    shared = _places_in_modules(leaves)
    seen: set[tuple[Any, int]] = set()
    for leaf in leaves:
        in_module = hasattr(leaf.owner, "__tree_trainable__")
        if in_module and not leaf.owner.__tree_trainable__(leaf.key):
            resting.add(leaf.path)
            continue
        value = _parameter(leaf)
        key = (value.node, value.index)
        if not in_module:
            trainable[leaf.path] = Target(value, [leaf])
        elif key not in seen:
            seen.add(key)
            trainable[leaf.path] = Target(value, shared[key])
    return Targets(trainable, resting)


def _places_in_modules(leaves: list[Leaf]) -> dict[tuple[Any, int], list[Leaf]]:
    """Where each Array lies; a tied place that is frozen follows the one that is trained."""
    places: dict[tuple[Any, int], list[Leaf]] = {}
    for leaf in leaves:
        if isinstance(leaf.value, Array) and hasattr(leaf.owner, "__tree_trainable__"):
            places.setdefault((leaf.value.node, leaf.value.index), []).append(leaf)
    return places


def _parameter(leaf: Leaf) -> Array:
    value = leaf.value
    if not isinstance(value, Array | np.ndarray) or not dtypes.is_floating(value.dtype):
        kind = getattr(value, "dtype", type(value).__name__)
        raise DtypeError(
            f"{leaf.path!r} is no parameter that an optimizer can change",
            expected="floating Arrays",
            got=f"{kind}",
            fix="make it floating: cr.variable([1.0, 2.0]); keep settings out of the dict",
            where=str(here()),
        )
    found: Array = ops.as_value(value)
    return found


def match_gradients(targets: Targets, gradients: Any) -> dict[str, Array]:
    """Gradients by parameter path, in the order of the parameters; those of frozen ones dropped.

    Raises:
        StateError: A gradient is missing, or belongs to no parameter.
        ShapeError: A gradient's shape differs from its parameter's.
        DtypeError: A gradient holds integers.
    """
    _check_kind(gradients)
    found = {leaf.path: leaf.value for leaf in flatten(gradients)[0]}
    missing = [path for path in targets.trainable if path not in found]
    extra = [p for p in found if p not in targets.trainable and p not in targets.resting]
    if missing or extra:
        raise StateError(
            "the gradients do not fit the parameters",
            expected=f"one for each of: {_some(targets.trainable)}",
            got="; ".join(
                part
                for part in (
                    f"missing: {_some(missing)}" if missing else "",
                    f"belonging to no parameter: {_some(extra)}" if extra else "",
                )
                if part
            ),
            fix="pass the gradients of the same Module or container: "
            "cr.grad(loss)(model) gives {path: gradient}",
            where=str(here()),
        )
    return {
        path: _gradient(path, target.value, found[path])
        for path, target in targets.trainable.items()
    }


def _check_kind(gradients: Any) -> None:
    """Answer what is often given in place of gradients."""
    fix = "loss, grads = cr.value_and_grad(loss_of)(model); optimizer.update(model, grads)"
    if hasattr(gradients, "__tree_trainable__"):
        got, fix = f"the Module {type(gradients).__name__}", "optimizer.update(model, grads)"
    elif isinstance(gradients, Array) or not is_container(gradients):
        got = "one Array: the loss?" if isinstance(gradients, Array) else type(gradients).__name__
    elif isinstance(gradients, tuple) and len(gradients) == 2 and isinstance(gradients[1], dict):
        got = "a pair of (loss, gradients)"
    else:
        return
    raise ArgumentError(
        "these are no gradients",
        expected="a container of gradients, structured like the parameters",
        got=got,
        fix=fix,
        where=str(here()),
    )


def _gradient(path: str, parameter: Array, gradient: Any) -> Array:
    value: Array = ops.as_value(gradient)
    if value.shape != parameter.shape:
        raise ShapeError(
            f"the gradient of {path!r} has another shape than the parameter",
            expected=str(parameter.shape),
            got=str(value.shape),
            fix="a gradient has its parameter's shape; sum over the axes that were broadcast",
            where=str(here()),
        )
    if not dtypes.is_floating(value.dtype):
        raise DtypeError(
            f"the gradient of {path!r} holds {value.dtype}",
            expected=str(parameter.dtype),
            got=str(value.dtype),
            where=str(here()),
        )
    return value


def find_modules(arguments: Any) -> list[tuple[Any, Targets]]:
    """Modules with trainable parameters among the arguments, outermost ones, each once."""
    modules: dict[int, tuple[Any, Targets]] = {}
    pending = [arguments]
    while pending:
        x = pending.pop()
        if hasattr(x, "__tree_trainable__"):
            if id(x) not in modules and (targets := find_targets(x)).trainable:
                modules[id(x)] = x, targets
        elif is_container(x) and not hasattr(x, "__prepare__"):
            pending += [child for _, child in children(x)]
    return list(modules.values())


def _some(names: Any) -> str:
    shown = list(names)
    more = f", … ({len(shown)} in all)" if len(shown) > 6 else ""
    return ", ".join(map(str, shown[:6])) + more if shown else "nothing"
