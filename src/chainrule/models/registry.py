"""The architectures by name: ``create("resnet18", num_classes=10)``."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from chainrule.errors import ArgumentError
from chainrule.nn.checks import one_of
from chainrule.nn.module import Module
from chainrule.nn.summary import Summary
from chainrule.ops.origin import here

Builder = TypeVar("Builder", bound=Callable[..., Module])


@dataclass(frozen=True)
class Architecture:
    """What the registry knows of a model.

    Args:
        name: Its name, that of the function that builds it.
        build: Takes ``num_classes``, ``in_channels`` and settings of its own; if the model takes
            tokens, ``vocabulary_size`` and settings of its own.
        input_shape: Shape of one sample as published: (channels, height, width), or (places,) of
            tokens; one such shape for each input if there are several.
        family: What it belongs to: ``"ResNet"``.
        source: Who published it, and when: ``"He et al. 2016"``, the year last.
        takes: ``"pictures"`` or ``"tokens"``.
    """

    name: str
    build: Callable[..., Module]
    input_shape: tuple[Any, ...]
    family: str
    source: str
    takes: str = "pictures"

    def summary(self) -> Summary:
        """The layer table of the model with its published settings, for one sample."""
        kind = "int64" if self.takes == "tokens" else "float32"
        return self.build().summary(self.input_shape, kind)


_ARCHITECTURES: dict[str, Architecture] = {}


def register(
    input_shape: tuple[Any, ...], *, family: str, source: str, takes: str = "pictures"
) -> Callable[[Builder], Builder]:
    """Decorator: the function below builds a model that ``create`` shall find by its name.

    Args:
        input_shape: Shape of one sample as published.
        family: What it belongs to.
        source: Who published it, and when, the year last.
        takes: What it reads, ``"pictures"`` or ``"tokens"``.
    """
    one_of(takes, ("pictures", "tokens"), "register: takes")

    def remember(build: Builder) -> Builder:
        name = build.__name__
        _ARCHITECTURES[name] = Architecture(name, build, input_shape, family, source, takes)
        return build

    return remember


def names(takes: str | None = None) -> list[str]:
    """Names that ``create`` knows, older ones first.

    Args:
        takes: ``"pictures"`` or ``"tokens"``: only models that read these; None: all.

    >>> names("pictures")[:2]
    ['lenet5', 'lenet5_1998']
    """
    found = [name for name, known in _ARCHITECTURES.items() if takes in (None, known.takes)]
    return sorted(found, key=lambda name: _ARCHITECTURES[name].source[-4:])


def architecture(name: str) -> Architecture:
    """What is known of a model.

    Args:
        name: One of ``names()``.

    Raises:
        ArgumentError: No such name; the message has the nearest ones and the whole list.

    >>> architecture("lenet5").input_shape
    (1, 28, 28)
    """
    if name in _ARCHITECTURES:
        return _ARCHITECTURES[name]
    close = nearest_names(str(name))
    raise ArgumentError(
        f"there is no model {name!r}",
        expected=", ".join(names()),
        got=repr(name),
        fix=" or ".join(f"create({n!r})" for n in close) if close else "",
        where=str(here()),
    )


def nearest_names(name: str) -> list[str]:
    """At most three registered names that are spelled much like ``name``.

    Args:
        name: What was asked for; case, ``-`` and ``_`` do not count.

    >>> nearest_names("ResNet-50")[0]
    'resnet50'
    """
    plain = {_plain(known): known for known in _ARCHITECTURES}
    close = difflib.get_close_matches(_plain(name), plain, n=3, cutoff=0.6)
    return [plain[found] for found in close]


def _plain(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def create(name: str, **settings: Any) -> Module:
    """Build a model by its name; weights are drawn when they are first needed.

    Args:
        name: One of ``names()``.
        settings: Keywords of the function of this name: ``num_classes`` and ``in_channels`` of
            models that take pictures, ``vocabulary_size`` of those that take tokens; others as its
            docstring says.

    Raises:
        ArgumentError: No such name, or no such setting.

    >>> from chainrule import models
    >>> models.create("resnet18", num_classes=10).n_parameters
    11181642
    """
    known = architecture(name)
    accepted = list(inspect.signature(known.build).parameters)
    for setting in settings:
        if setting not in accepted:
            close = difflib.get_close_matches(setting, accepted, n=1, cutoff=0.5)
            raise ArgumentError(
                f"{name} has no setting {setting!r}",
                expected=", ".join(accepted),
                got=repr(setting),
                fix=f"create({name!r}, {close[0]}=...)" if close else "",
                where=str(here()),
            )
    return known.build(**settings)
