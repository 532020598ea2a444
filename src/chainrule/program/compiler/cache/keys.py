"""Keys of the code cache: digests of everything that decides what the machine code is."""

from __future__ import annotations

import functools
import platform
import sys
from typing import Any

import numpy as np

from chainrule.program.compiler.cache.encoding import digest_of
from chainrule.program.compiler.cache.sources import sources_digest
from chainrule.version import VERSION

#: ``graph``: from canonical graph, options and target to a whole Program's code;
#: ``ir``: from LLVM's text and target to its object code
LEVELS = ("graph", "ir")


def make_key(level: str, *parts: Any) -> str:
    """The key of ``parts``: equal for equal parts, in every process; else different.

    What the parts do not say is added: for ``graph`` the compiler's own sources and the versions of
    chainrule, NumPy and llvmlite; for ``ir`` the version of llvmlite; for both the kind of machine.

    Args:
        level: ``"graph"`` or ``"ir"``.
        parts: Texts, bytes, numbers, booleans, None, ndarrays, and dataclasses, sequences and
            mappings of these. Types count: 1, 1.0 and True are different parts.

    Raises:
        TypeError: A part is something else.
        ValueError: No such level.
    """
    if level not in LEVELS:
        raise ValueError(f"no level {level!r} but {', '.join(LEVELS)}")
    machine = (sys.platform, platform.machine(), sys.byteorder)
    surroundings: tuple[str, ...] = (*machine, _llvmlite_version())
    if level == "graph":
        surroundings += (VERSION, np.__version__, sources_digest())
    return f"{level}-{digest_of((surroundings, parts))}"


@functools.cache
def _llvmlite_version() -> str:
    try:
        from llvmlite import __version__
    except ImportError:
        return "absent"
    return str(__version__)
