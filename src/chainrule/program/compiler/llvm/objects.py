"""Object files of LLVM texts: the second level of the code cache.

A text that was compiled before is not compiled again, whichever graph it came from and whichever
state of the compiler's sources wrote it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from chainrule.program.compiler import cache
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.parts import cut
from chainrule.program.compiler.runtime.counts import available_cores
from chainrule.program.compiler.target import Target

if TYPE_CHECKING:
    from chainrule.program.compiler.llvm.module import Module


class ObjectFile(NamedTuple):
    """Machine code of one text.

    Args:
        key: Its key in the cache.
        parts: The object files.
    """

    key: str
    parts: tuple[bytes, ...]

    @property
    def code(self) -> bytes:
        """All of it, one object file after the other."""
        return b"".join(self.parts)


def object_of(text: str, target: Target, level: int = 3) -> ObjectFile:
    """The object file of a text: from the cache, or compiled and kept there.

    Args:
        text: LLVM IR.
        target: What it is compiled for.
        level: As for ``jit.emit_object``.

    Raises:
        CompilerError: The text is not a valid module: a fault of the compiler.
    """
    return _known_or(text, target, level, lambda: (jit.emit_object(text, target, level),))


def object_of_module(module: Module, target: Target) -> ObjectFile:
    """The same of a module, whose parts are compiled side by side where that pays."""

    def make() -> tuple[bytes, ...]:
        return tuple(jit.emit_objects(cut(module, available_cores()), target))

    return _known_or(str(module), target, 3, make)


def _known_or(
    text: str, target: Target, level: int, make: Callable[[], tuple[bytes, ...]]
) -> ObjectFile:
    key = cache.make_key("ir", text, target, level, "parts")
    known = object_with(key)
    if known is None:
        known = ObjectFile(key, make())
        cache.store(key, {}, {f"code{n}": code for n, code in enumerate(known.parts)})
    return known


def object_with(key: str) -> ObjectFile | None:
    """The object file that an earlier process kept under a key of ``object_of``."""
    entry = cache.lookup(key)
    if entry is None:
        return None
    return ObjectFile(key, tuple(entry.blobs[f"code{n}"] for n in range(len(entry.blobs))))
