"""How deep in transforms and traces the code stands; the outermost cuts and applies effects."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class _Depth(threading.local):
    value: int = 0


_depth = _Depth()


@contextmanager
def transform_scope() -> Iterator[bool]:
    """Enter a transform or trace; yields True for the outermost one of this thread."""
    _depth.value += 1
    try:
        yield _depth.value == 1
    finally:
        _depth.value -= 1


def is_outermost() -> bool:
    """True outside all transforms and traces."""
    return _depth.value == 0
