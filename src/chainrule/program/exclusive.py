"""One thread at a time takes arguments apart, records functions and writes state back.

While a function is recorded its containers hold placeholders, the ambient random state among them,
which all threads share. Programs then run side by side.
"""

from __future__ import annotations

import os
import threading

_lock = threading.RLock()


def one_thread() -> threading.RLock:
    """The lock, to be held by ``with``."""
    return _lock


def _forget_in_child() -> None:
    """A thread that held it is not there in a forked child."""
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
