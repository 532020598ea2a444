"""Arguments of transforms: which leaves are differentiated, and their swap for aliases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from chainrule import ops
from chainrule.array import Array, cut
from chainrule.autodiff.reverse import Place, place
from chainrule.errors import GradientError
from chainrule.execution import evaluate
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.tree import Leaf, Structure, children, flatten, is_container, is_leaf, unflatten


class Differentiated(NamedTuple):
    """One argument, made ready to be differentiated.

    Args:
        value: What the function is called with.
        aliases: The fresh nodes that gradients are collected at.
        names: Their paths in the argument.
        structure: How the gradients are put together: Modules become ``{path: gradient}``.
    """

    value: Any
    aliases: list[Array]
    names: list[str]
    structure: Structure


def _alias(x: Any, path: str) -> Array:
    value = ops.as_value(x)
    if not dtypes.is_floating(value.dtype):
        label = f"{path!r} " if path else ""
        raise GradientError(
            f"the differentiated argument {label}holds {value.dtype}, which has no derivative",
            expected="floating numbers",
            got=f"{value.dtype} of shape {value.shape}",
            fix="make it floating (2.0 instead of 2, cr.astype(x, cr.float32)), "
            "or differentiate another argument with argnums=",
            where=str(here()),
        )
    alias = ops.identity(value)
    alias.node.tracked = True
    alias.node.name = value.name or path
    return alias


def is_module(x: Any) -> bool:
    """True for an object whose leaves are swapped in place and some of which are trainable."""
    return hasattr(x, "__tree_trainable__")


@contextmanager
def differentiated(arguments: Sequence[Any], outermost: bool) -> Iterator[list[Differentiated]]:
    """Swap the trainable leaves for aliases while a function runs, then put them back.

    Buffers that the function wrote keep what was written, cut if this is the outermost transform.
    """
    swapped: list[tuple[Leaf, Array]] = []
    modules: list[Any] = []
    try:
        yield [_prepare(argument, swapped, modules) for argument in arguments]
    finally:
        _restore(swapped, modules, outermost)


def _prepare(
    argument: Any, swapped: list[tuple[Leaf, Array]], modules: list[Any]
) -> Differentiated:
    if not (is_leaf(argument) or is_module(argument) or is_container(argument)):
        raise GradientError(
            f"the differentiated argument, {type(argument).__name__}, has no derivative",
            expected="an Array, a float, a Module, or a container of those",
            got=repr(argument)[:60],
            fix="write 2.0 instead of 2, or differentiate another argument with argnums=",
            where=str(here()),
        )
    aliases: list[Array] = []
    names: list[str] = []
    value, skeleton = _visit(argument, "", _Found(aliases, names, swapped, modules))
    return Differentiated(value, aliases, names, flatten(skeleton)[1])


class _Found(NamedTuple):
    """What the walk through an argument collects."""

    aliases: list[Array]
    names: list[str]
    swapped: list[tuple[Leaf, Array]]
    modules: list[Any]


def _visit(x: Any, path: str, found: _Found) -> tuple[Any, Any]:
    """Return what to call the function with, and the skeleton of the gradients."""
    if is_leaf(x):
        alias = _alias(x, path)
        found.aliases.append(alias)
        found.names.append(path)
        return alias, 0.0
    if is_module(x):
        found.modules.append(x)
        parameters = _swap_module(x, found.swapped)
        found.aliases.extend(parameters.values())
        found.names.extend(parameters)
        return x, dict.fromkeys(parameters, 0.0)
    if not is_container(x):
        return x, x
    keys = [key for key, _ in children(x)]
    pairs = [
        _visit(child, f"{path}.{key}" if path else str(key), found) for key, child in children(x)
    ]
    values, skeletons = [value for value, _ in pairs], [skeleton for _, skeleton in pairs]
    if isinstance(x, dict):
        return dict(zip(keys, values, strict=True)), dict(zip(keys, skeletons, strict=True))
    if isinstance(x, list):
        return values, skeletons
    if hasattr(x, "_fields"):
        return type(x)(*values), type(x)(*skeletons)
    return tuple(values), tuple(skeletons)


def _swap_module(module: Any, swapped: list[tuple[Leaf, Array]]) -> dict[str, Array]:
    """Replace trainable parameters by aliases in place; tied ones share one alias."""
    made: dict[Place, Array] = {}
    found: dict[str, Array] = {}
    for leaf in flatten(module)[0]:
        if not is_module(leaf.owner) or not leaf.owner.__tree_trainable__(leaf.key):
            continue
        key = place(leaf.value)
        if key not in made:
            made[key] = found[leaf.path] = _alias(leaf.value, leaf.path)
        swapped.append((leaf, made[key]))
        leaf.assign(made[key])
    return found


def _restore(swapped: list[tuple[Leaf, Array]], modules: list[Any], outermost: bool) -> None:
    current = {
        (id(leaf.owner), leaf.key): leaf for module in modules for leaf in flatten(module)[0]
    }
    for leaf, alias in swapped:
        now = current.get((id(leaf.owner), leaf.key))
        if now is not None and now.value is alias:
            leaf.assign(leaf.value)
    if outermost:
        cut_written(modules)


def cut_written(modules: Sequence[Any]) -> None:
    """Evaluate what a function stored into Modules, and cut its history."""
    stored = [
        leaf
        for module in modules
        for leaf in flatten(module)[0]
        if isinstance(leaf.value, Array) and leaf.value.node.op is not None
    ]
    evaluate([leaf.value for leaf in stored])
    for leaf in stored:
        trainable = is_module(leaf.owner) and leaf.owner.__tree_trainable__(leaf.key)
        leaf.assign(cut(leaf.value, tracked=trainable, name=str(leaf.key), owned=True))


def detach(tree: Any) -> Any:
    """Evaluate all Arrays of a result together and cut their history."""
    leaves, structure = flatten(tree)
    arrays = [leaf.value for leaf in leaves if isinstance(leaf.value, Array)]
    if any(not x.is_concrete for x in arrays):
        return tree
    evaluate(arrays)
    return unflatten(
        structure, [cut(x.value) if isinstance(x.value, Array) else x.value for x in leaves]
    )
