"""The text of one LLVM module: declarations, constants and functions, in the order of arrival."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from chainrule.program.compiler.target import Target


class Module:
    """Functions written for one target.

    Args:
        target: What the functions may use.
    """

    def __init__(self, target: Target) -> None:
        self.target = target
        self._declarations: dict[str, str] = {}
        self._globals: dict[str, str] = {}
        self._functions: dict[str, str] = {}

    def declare(self, name: str, result: str, parameters: Sequence[str]) -> None:
        """Declare an intrinsic or an outside function, once."""
        if name not in self._declarations:
            immediate = name.startswith("llvm.prefetch")
            types = [f"{t} immarg" if immediate and i else t for i, t in enumerate(parameters)]
            self._declarations[name] = f"declare {result} @{name}({', '.join(types)})"

    def add_global(self, name: str, text: str) -> None:
        """Add a constant table: ``text`` follows ``@name = ``."""
        self._globals[name] = text

    def add_function(self, name: str, text: str) -> None:
        """Add a finished function."""
        if name in self._functions:
            raise ValueError(f"the module has a function {name} already")
        self._functions[name] = text

    def remove_function(self, name: str) -> None:
        """Take a function out again: it equals one that is there already."""
        del self._functions[name]

    def has_function(self, name: str) -> bool:
        """True if a function of that name was added."""
        return name in self._functions

    def function_text(self, name: str) -> str:
        """The text of one function."""
        return self._functions[name]

    @property
    def functions(self) -> Mapping[str, str]:
        """Texts of the finished functions by name, in order."""
        return self._functions

    @property
    def constants(self) -> Mapping[str, str]:
        """Constant tables by name: what follows ``@name = ``."""
        return self._globals

    @property
    def declarations(self) -> Mapping[str, str]:
        """Declarations of intrinsics and outside functions by name."""
        return self._declarations

    def __str__(self) -> str:
        constants = [f"@{name} = {text}" for name, text in self._globals.items()]
        declared = [
            text for name, text in self._declarations.items() if name not in self._functions
        ]
        return "\n".join([*constants, *declared, *self._functions.values(), ""])
