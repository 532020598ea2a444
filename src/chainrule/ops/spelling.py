"""Arguments spelled as elsewhere, such as ``dim=0``: answered by how they are spelled here."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from chainrule.errors import compose_message
from chainrule.ops.origin import here

P = ParamSpec("P")
R = TypeVar("R")

#: what others call an argument → what it may be called here
SPELLED = {
    "dim": ("axis", "axes"),
    "dims": ("axes", "axis"),
    "axis": ("axes",),
    "axes": ("axis",),
    "keepdim": ("keepdims",),
    "ddof": ("correction",),
    "eps": ("epsilon",),
    "layer_norm_eps": ("layer_norm_epsilon",),
}


def answers_spelling(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function answer ``mean(x, dim=0)`` and ``mean(x, 0)`` by ``mean(x, axis=0)``.

    Nothing is looked at before a call has failed.
    """

    @wraps(function)
    def call(*arguments: P.args, **keywords: P.kwargs) -> R:
        try:
            return function(*arguments, **keywords)
        except TypeError:
            answer = _answer(function, arguments, keywords)
            if not answer:
                raise
            raise TypeError(answer) from None

    return call


def _answer(
    function: Callable[..., Any], arguments: tuple[Any, ...], keywords: Mapping[str, Any]
) -> str:
    """What is to be said of a call whose arguments do not fit, ``""`` if nothing is known."""
    parameters = inspect.signature(function).parameters
    for name, value in keywords.items():
        if name in parameters:
            continue
        for spelled in SPELLED.get(name, ()):
            if spelled in parameters:
                complaint = f"{name}= is spelled {spelled}= here"
                made = type(arguments[0]).__name__ if function.__name__ == "__init__" else ""
                return _message(function, complaint, f"{name}={value!r}", spelled, value, made)
    axis = parameters.get("axis")
    if axis is None or axis.kind is not axis.KEYWORD_ONLY:
        return ""
    positional = [p for p in parameters.values() if p.kind is not p.KEYWORD_ONLY]
    surplus = arguments[len(positional) :]
    if len(surplus) != 1 or not _is_axis(surplus[0]):
        return ""
    got = f"{surplus[0]!r} without a name"
    return _message(function, "the axis is given by name", got, "axis", surplus[0])


def _is_axis(value: object) -> bool:
    return isinstance(value, int) or (
        isinstance(value, tuple | list) and all(isinstance(axis, int) for axis in value)
    )


def _message(
    function: Callable[..., Any],
    complaint: str,
    got: str,
    spelled: str,
    value: object,
    made: str = "",
) -> str:
    """Complaint and cure; ``made`` names the class whose ``__init__`` was called."""
    needed = [
        name
        for name, parameter in inspect.signature(function).parameters.items()
        if parameter.default is parameter.empty and name != spelled
    ]
    subject = "x." if needed[0] == "self" and not made else ""
    given = [*(name for name in needed if name != "self"), f"{spelled}={value!r}"]
    return compose_message(
        f"{made or function.__qualname__}: {complaint}",
        got=got[:60],
        fix=f"{subject}{made or function.__name__}({', '.join(given)})"[:80],
        where=str(here()),
    )
