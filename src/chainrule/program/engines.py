"""Which engines there are, and which one runs what names none."""

from __future__ import annotations

import importlib.util
import logging

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here


def has_compiler() -> bool:
    """Is llvmlite installed, which the compiler makes machine code with? Nothing is loaded."""
    try:
        return importlib.util.find_spec("llvmlite") is not None
    except ImportError:  # someone's import hook forbids it
        return False


ENGINES = ("compiler", "interpreter") if has_compiler() else ("interpreter",)
HOW_TO_GET = "install llvmlite: pip install llvmlite"
_told = False


def choose_engine(name: str | None) -> str:
    """The engine of a name; without one the compiler, or, said once, the interpreter.

    Raises:
        ArgumentError: No such engine, or it is the compiler and llvmlite is not installed.
    """
    if name is None:
        if "compiler" not in ENGINES:
            _tell_of_interpreter()
        return ENGINES[0]
    if name in ENGINES:
        return name
    missing = name == "compiler"
    raise ArgumentError(
        "the compiler needs llvmlite, which is not installed"
        if missing
        else f"there is no engine {name!r}",
        expected=" or ".join(repr(known) for known in ENGINES),
        got=repr(name),
        fix=HOW_TO_GET if missing else "",
        where=str(here()),
    )


def require_compiler(what: str, name: str, engine: str) -> None:
    """Refuse what only machine code has.

    Args:
        what: What was asked for, in the plural.
        name: The function that it was asked of.
        engine: What the function runs on.

    Raises:
        ArgumentError: It runs on the interpreter.
    """
    if engine == "compiler":
        return
    raise ArgumentError(
        f"{what} show machine code, and {name} runs on the {engine}",
        expected="engine='compiler'",
        got=f"engine={engine!r}",
        fix="" if "compiler" in ENGINES else HOW_TO_GET,
        where=str(here()),
    )


def _tell_of_interpreter() -> None:
    """One line a process; a program that has set up no logging sees it on the error stream."""
    global _told
    if not _told:
        _told = True
        logging.getLogger("chainrule.program").warning(
            "llvmlite is not installed: Programs run on the interpreter, several times slower"
        )
