"""Object files of LLVM texts: the second level of the code cache.

A text that was compiled before is not compiled again, whichever graph it came from and whichever
state of the compiler's sources wrote it.
"""

from __future__ import annotations

from typing import NamedTuple

from chainrule.program.compiler import cache
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.target import Target


class ObjectFile(NamedTuple):
    """Machine code of one text.

    Args:
        key: Its key in the cache.
        code: The object file.
    """

    key: str
    code: bytes


def object_of(text: str, target: Target, level: int = 3) -> ObjectFile:
    """The object file of a text: from the cache, or compiled and kept there.

    Args:
        text: LLVM IR.
        target: What it is compiled for.
        level: As for ``jit.emit_object``.

    Raises:
        CompilerError: The text is not a valid module: a fault of the compiler.
    """
    key = cache.make_key("ir", text, target, level)
    known = object_with(key)
    if known is None:
        known = ObjectFile(key, jit.emit_object(text, target, level))
        cache.store(key, {}, {"code": known.code})
    return known


def object_with(key: str) -> ObjectFile | None:
    """The object file that an earlier process kept under a key of ``object_of``."""
    entry = cache.lookup(key)
    return None if entry is None else ObjectFile(key, entry.blobs["code"])
