"""Where a node comes from: the user's line, the layer, the node it is the derivative of.

Origins are plain strings and numbers, never frames, so that keeping a graph keeps no locals alive.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

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


def here() -> Origin:
    """Return the origin for a node recorded now: the innermost line outside this package."""
    if _context.override is not None:
        return _context.override
    frame = sys._getframe(1)
    caller = frame
    while frame is not None and frame.f_code.co_filename.startswith(_PACKAGE_FOLDER):
        caller = frame
        frame = frame.f_back  # type: ignore[assignment]
    frame = frame or caller
    return Origin(frame.f_code.co_filename, frame.f_lineno, _context.layer, 0)


@contextmanager
def origin_of(origin: Origin, derivative_of: int = 0) -> Iterator[None]:
    """Record nodes as coming from ``origin`` (used by transforms and passes)."""
    previous = _context.override
    _context.override = origin._replace(derivative_of=derivative_of or origin.derivative_of)
    try:
        yield
    finally:
        _context.override = previous


def current_layer() -> str:
    """Return the path of the layer whose forward rule is running, or ``""``."""
    return _context.layer


@contextmanager
def layer_scope(name: str) -> Iterator[None]:
    """Append ``name`` to the layer path while a layer's forward rule runs."""
    previous = _context.layer
    _context.layer = f"{previous}.{name}" if previous and name else previous or name
    try:
        yield
    finally:
        _context.layer = previous
