"""State dicts: taking a Module's state, checking a foreign one, loading all of it or nothing."""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np

from chainrule import ops
from chainrule.array import Array, asarray, cut, leaf
from chainrule.errors import DtypeError, StateError
from chainrule.graph import Node
from chainrule.nn.parameter import own_leaf
from chainrule.ops import dtypes
from chainrule.ops.origin import here

Module: TypeAlias = Any  # the class stands above this file, which only asks it for named_state()
Key: TypeAlias = tuple[Node, int]
_SHOWN = 8  # entries of each kind that a message lists


class LoadResult(NamedTuple):
    """What ``load_state_dict(strict=False)`` passed over.

    Args:
        missing: Paths of the Module that were not given.
        unexpected: Given paths that the Module does not have.
    """

    missing: list[str]
    unexpected: list[str]


def key_of(x: Array) -> Key:
    """What makes two places tied: one output of one node."""
    return x.node, x.index


def places_of(module: Module) -> dict[str, list[tuple[Module, str]]]:
    """For each state path, all places (Module and attribute) that hold the same Array."""
    holders: dict[Key, list[tuple[Module, str]]] = {}
    found: dict[str, list[tuple[Module, str]]] = {}
    for path, owner, name in module.named_state():
        found[path] = holders.setdefault(key_of(getattr(owner, name)), [])
        found[path].append((owner, name))
    return found


def take(module: Module) -> dict[str, Array]:
    """The state by path, cut from all history."""
    taken: dict[Key, Array] = {}
    result = {}
    for path, owner, name in module.named_state():
        value = getattr(owner, name)
        result[path] = taken.setdefault(key_of(value), cut(value, name=value.name))
    return result


def cast_floating(module: Module, dtype: Any) -> None:
    """Cast floating state in place; see ``Module.astype``."""
    target = dtypes.as_dtype(dtype)
    if not dtypes.is_floating(target):
        raise DtypeError(
            "a model computes in a floating type",
            expected=", ".join(str(known) for known in dtypes.FLOATS),
            got=str(target),
            where=str(here()),
        )
    made: dict[Key, Array] = {}
    for _, owner, name in list(module.named_state()):
        value = getattr(owner, name)
        if not dtypes.is_floating(value.dtype) or value.dtype == target:
            continue
        if key_of(value) not in made:
            cast = ops.astype(value, target)
            made[key_of(value)] = own_leaf(cast, tracked=value.node.tracked, name=value.name)
        owner.__tree_assign__(name, made[key_of(value)])


def nearest(name: str, known: Sequence[str]) -> str:
    """The most similar of the known names, else the first few of them."""
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"perhaps {close[0]!r}"
    return "one of " + ", ".join(repr(k) for k in known[:_SHOWN]) if known else "no state at all"


def load(module: Module, values: Mapping[str, Any], strict: bool) -> LoadResult:
    """See ``Module.load_state_dict``."""
    targets = {path: getattr(owner, name) for path, owner, name in module.named_state()}
    given: dict[Key, str] = {}
    fresh: dict[Key, Array] = {}
    problems: list[str] = []
    for path, target in targets.items():
        if path not in values:
            continue
        data, problem = _fit(values[path], target)
        if problem:
            problems.append(f"{path}: {problem}")
            continue
        key = key_of(target)
        if key not in given:
            given[key] = path
            fresh[key] = leaf(data, tracked=target.node.tracked, name=target.name, owned=True)
        elif not np.array_equal(fresh[key].data, data, equal_nan=dtypes.is_floating(target.dtype)):
            problems.append(f"{path}: tied to {given[key]}, but the two values differ")
    missing = [path for path, target in targets.items()
               if path not in values and key_of(target) not in given]  # fmt: skip
    unexpected = [path for path in values if path not in targets]
    if problems or (strict and (missing or unexpected)):
        raise _refusal(module, problems, missing if strict else [], unexpected if strict else [],
                       list(targets), list(values))  # fmt: skip
    for _, owner, name in list(module.named_state()):
        key = key_of(getattr(owner, name))
        if key in fresh:
            owner.__tree_assign__(name, fresh[key])
    return LoadResult(missing, unexpected)


def _fit(value: Any, target: Array) -> tuple[np.ndarray, str]:
    """The value as an array of the target's shape and type, or what is wrong with it."""
    try:
        data = asarray(value).data
    except (TypeError, ValueError) as error:
        return np.empty(0), f"no array: {type(value).__name__} ({error})"
    if data.shape != target.shape:
        hint = ""
        if data.T.shape == target.shape:
            hint = "; it is the transpose: weights are (out_features, in_features)"
        return data, f"expected shape {target.shape}, got {data.shape}{hint}"
    if data.dtype == target.dtype:
        return data.copy(), ""
    with np.errstate(all="ignore"):
        cast = data.astype(target.dtype)
    if not _keeps_meaning(data, cast, target.dtype):
        return data, f"expected {target.dtype}, got {data.dtype} whose values do not fit it"
    return cast, ""


def _keeps_meaning(data: np.ndarray, cast: np.ndarray, dtype: dtypes.Dtype) -> bool:
    """Floats may be rounded but not overflow; whole numbers must stay what they are."""
    source = dtypes.as_dtype(data.dtype)
    if dtypes.is_floating(source) and dtypes.is_floating(dtype):
        finite = np.isfinite(data.astype(np.float64))
        return bool(np.isfinite(cast.astype(np.float64))[finite].all())
    if dtypes.is_floating(source):
        return False
    with np.errstate(all="ignore"):
        return bool(np.array_equal(cast.astype(data.dtype), data))


def _refusal(
    module: Module,
    problems: list[str],
    missing: list[str],
    unexpected: list[str],
    known: list[str],
    given: list[str],
) -> StateError:
    spare = [path for path in given if path not in known]
    groups = [
        ("missing", [_with_nearest(path, spare, "given") for path in missing]),
        ("unexpected", [_with_nearest(path, known, "the model has") for path in unexpected]),
        ("unfit", problems),
    ]
    lines = []
    for title, entries in groups:
        if entries:
            shown = entries[:_SHOWN]
            more = len(entries) - len(shown)
            lines.append(f"{title} ({len(entries)}):")
            lines += [f"  {entry}" for entry in shown] + ([f"  and {more} more"] if more else [])
    return StateError(
        f"the state does not fit {type(module).__name__}; nothing was loaded\n    "
        + "\n    ".join(lines),
        fix=""
        if problems
        else "load_state_dict(values, strict=False) passes over missing and unexpected entries",
        where=str(here()),
    )


def _with_nearest(path: str, candidates: list[str], label: str) -> str:
    close = difflib.get_close_matches(path, candidates, n=1, cutoff=0.5)
    return f"{path} ({label}: {close[0]})" if close else path
