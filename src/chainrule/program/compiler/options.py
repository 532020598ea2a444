"""What the environment asks of the compiler; all of it is part of the cache's keys."""

from __future__ import annotations

import os


def is_checked() -> bool:
    """``CHAINRULE_CHECK=1``: machine code checks that every access lies inside its memory."""
    return os.environ.get("CHAINRULE_CHECK", "") not in ("", "0")
