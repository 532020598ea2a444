"""Where a node comes from: the user's line, the layer, the node it is the derivative of.

Origins are plain strings and numbers, never frames, so that keeping a graph keeps no locals alive.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from functools import partial
from typing import NamedTuple

from chainrule import errors

_PACKAGE_FOLDER = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep


class Origin(NamedTuple):
    """The place in the user's program that recorded a node.

    Args:
        file: Path of the user's file, as Python names it.
        line: Line number, 1-based.
        layer: Path of the layer at work (``"encoder.0"``), empty outside layers.
        derivative_of: Serial number of the node whose derivative this belongs to, 0 for none.
    """

    file: str
    line: int
    layer: str
    derivative_of: int

    def __str__(self) -> str:
        place = f"{os.path.basename(self.file)}:{self.line}"
        if self.layer:
            place += f", layer {self.layer}"
        if self.derivative_of:
            place += f" (derivative of node %{self.derivative_of})"
        return place


class _Context(threading.local):
    layer: str = ""
    override: Origin | None = None


_context = _Context()


class _InsidePackage(dict[str, bool]):
    """File name → does it belong to this package? Asked for every frame, so remembered."""

    def __missing__(self, file: str) -> bool:
        self[file] = inside = file.startswith(_PACKAGE_FOLDER)
        return inside


# a ``with`` block of this package's is run by contextlib: that is no user's line either
_inside_package = _InsidePackage({contextlib.__file__: True})


_make_origin = partial(tuple.__new__, Origin)  # twice as fast as Origin(...), once for every node


def here(depth: int = 1) -> Origin:
    """Return the origin for a node recorded now: the innermost line outside this package.

    Args:
        depth: How many callers are known to be of this package and need no look.
    """
    if _context.override is not None:
        return _context.override
    frame = caller = sys._getframe(depth)
    while frame is not None and _inside_package[frame.f_code.co_filename]:
        caller = frame
        frame = frame.f_back  # type: ignore[assignment]
    frame = frame or caller
    return _make_origin((frame.f_code.co_filename, frame.f_lineno, _context.layer, 0))


def stack_level() -> int:
    """The ``stacklevel`` with which the caller's ``warnings.warn`` points at the user's line."""
    level, frame = 1, sys._getframe(1)
    while _inside_package[frame.f_code.co_filename] and frame.f_back is not None:
        level, frame = level + 1, frame.f_back
    return level


errors.locate = lambda: str(here())


class origin_of:
    """Record nodes as coming from ``origin`` (used by transforms and passes).

    Args:
        origin: Where the nodes come from.
        derivative_of: Serial number of the node whose derivative they are; 0 keeps the origin's.
    """

    __slots__ = ("_origin", "_previous")

    def __init__(self, origin: Origin, derivative_of: int = 0) -> None:
        if derivative_of:
            origin = _make_origin((*origin[:3], derivative_of))
        self._origin = origin

    def __enter__(self) -> None:
        self._previous = _context.override
        _context.override = self._origin

    def __exit__(self, *error: object) -> None:
        _context.override = self._previous


def current_layer() -> str:
    """Return the path of the layer whose forward rule is running, or ``""``."""
    return _context.layer


@contextlib.contextmanager
def layer_scope(name: str) -> Iterator[None]:
    """Append ``name`` to the layer path while a layer's forward rule runs."""
    previous = _context.layer
    _context.layer = f"{previous}.{name}" if previous and name else previous or name
    try:
        yield
    finally:
        _context.layer = previous
