"""Commands with many options: dataclasses that each hold some of them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of the dataclasses that it takes.

    Every field of such a dataclass becomes an option of the command; when it is called, the command
    gets the dataclass made of them.

    Args:
        command: Its parameters are arguments and options as typer knows them, and keyword-only ones
            annotated with a dataclass whose fields are ``Annotated`` with a ``typer.Option`` and
            have defaults.

    Returns:
        A function with all options among its parameters, which typer can read.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, Any] = {
        n: kind for n, kind in hints.items() if dataclasses.is_dataclass(kind)
    }
    parameters = []
    for name, parameter in inspect.signature(command).parameters.items():
        if name in groups:
            parameters += _options_of(groups[name])
        else:
            parameters.append(parameter.replace(annotation=hints[name]))

    def flat(**given: Any) -> None:
        made = {
            name: group(**{x.name: given.pop(x.name) for x in dataclasses.fields(group)})
            for name, group in groups.items()
        }
        command(**given, **made)

    flat.__name__, flat.__doc__ = command.__name__, command.__doc__
    flat.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    flat.__annotations__ = {}  # those of the signature are what counts
    return flat


def _options_of(group: Any) -> list[inspect.Parameter]:
    hints = get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=hints[field.name],
        )
        for field in dataclasses.fields(group)
    ]


def given(*groups: Any) -> dict[str, Any]:
    """The options that were given another value than they have unasked: field → value."""
    return {
        field.name: value
        for group in groups
        for field in dataclasses.fields(group)
        if (value := getattr(group, field.name)) != field.default
    }


def spelled(name: str, value: Any) -> str:
    """An option as it is typed: ``--batch-size 32``."""
    option = "--" + name.replace("_", "-")
    return option if value is True else f"{option} {value}"
