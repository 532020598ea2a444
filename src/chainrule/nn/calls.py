"""Which layer is at work: layer paths for messages and random keys, and observers of outputs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from chainrule.ops.origin import current_layer, layer_scope

Observer = Callable[[Any, str, Any], None]


class _Frame:
    """One running call of a Module.

    Args:
        module: The Module.
    """

    __slots__ = ("_names", "module")

    def __init__(self, module: Any) -> None:
        self.module = module
        self._names: dict[int, str] | None = None

    def name_of(self, called: Any) -> str:
        """Path of a Module below this one; its type's name if it lies elsewhere."""
        if self._names is None:
            self._names = {}
            for name, module in self.module.named_modules():
                self._names.setdefault(id(module), name)
        name = self._names.get(id(called))
        return type(called).__name__ if name is None else name


class _Active(threading.local):
    frame: _Frame | None = None
    observers: tuple[Observer, ...] = ()


_active = _Active()


@contextmanager
def at_work(module: Any) -> Iterator[None]:
    """Set the layer path to where the Module at work holds ``module``.

    Args:
        module: A layer that is asked for something else than its output.
    """
    outer = _active.frame
    _active.frame = _Frame(module)
    try:
        with layer_scope(outer.name_of(module) if outer else ""):
            yield
    finally:
        _active.frame = outer


def call_layer(module: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
    """Run ``module.forward`` with the layer path set to where its caller holds it."""
    with at_work(module):
        result = module.forward(*arguments, **keywords)
        for observer in _active.observers:
            observer(module, current_layer(), result)
    return result


@contextmanager
def observe_calls(observer: Observer) -> Iterator[None]:
    """Watch the layers at work: ``observer(module, path, output)`` runs after each call.

    Outer layers come after the inner ones that they call; the model itself has path ``""``.

    Args:
        observer: Must not change what it is shown.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> shapes = {}
    >>> with nn.observe_calls(lambda module, path, output: shapes.update({path: output.shape})):
    ...     _ = nn.Sequential(nn.Linear(3, 2), nn.Identity())(cr.ones((4, 3)))
    >>> shapes
    {'0': (4, 2), '1': (4, 2), '': (4, 2)}
    """
    previous = _active.observers
    _active.observers = (*previous, observer)
    try:
        yield
    finally:
        _active.observers = previous
