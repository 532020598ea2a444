"""Every error and warning of the library: what happened, what was expected, what came, what to do.

Each class also derives from the built-in that a NumPy user would catch (``ValueError``,
``TypeError``, ``IndexError``, ...), so existing ``except`` clauses keep working.
"""

from __future__ import annotations

from collections.abc import Callable

#: gives the user's line to errors that do not name their place; set by ``chainrule.ops.origin``
locate: Callable[[], str] = str


class ChainruleError(Exception):
    """Base of all errors raised on purpose by chainrule.

    Args:
        message: One sentence that says what is wrong.
        expected: What would have been right, in symbols or numbers.
        got: What came instead.
        fix: The usual remedy.
        where: The user's line and the layer's path, ``"file.py:12, layer encoder.0"``; where
            nothing is said, the line that is running now.
    """

    def __init__(
        self,
        message: str,
        *,
        expected: str = "",
        got: str = "",
        fix: str = "",
        where: str = "",
    ) -> None:
        where = where or locate()
        self.message = message
        self.expected = expected
        self.got = got
        self.fix = fix
        self.where = where
        super().__init__(compose_message(message, expected, got, fix, where))


def compose_message(
    message: str, expected: str = "", got: str = "", fix: str = "", where: str = ""
) -> str:
    """Join the parts of an error or warning into aligned lines."""
    parts = [("expected", expected), ("got", got), ("try", fix), ("at", where)]
    lines = [message] + [f"  {label + ':':<9} {text}" for label, text in parts if text]
    return "\n".join(lines)


class ShapeError(ChainruleError, ValueError):
    """Shapes that do not fit together."""


class DtypeError(ChainruleError, TypeError):
    """An element type that an operation does not take, or two that do not mix."""


class ArgumentError(ChainruleError, ValueError):
    """An argument outside its range or not among the valid ones."""


class IndexRangeError(ChainruleError, IndexError):
    """An index or a label outside its range."""


class MissingNameError(ChainruleError, AttributeError):
    """An attribute or function that is not there; the message says what is used instead."""


class ImmutableError(ChainruleError, TypeError):
    """An attempt to change an Array, which never changes."""


class TracedValueError(ChainruleError, TypeError):
    """Traced code asked for a number that exists only when the Program runs."""


class GradientError(ChainruleError, ValueError):
    """A derivative that does not exist or can not be reached."""


class StateError(ChainruleError, ValueError):
    """A state dict, checkpoint or container that does not match what it is loaded into."""


class NonFiniteError(ChainruleError, FloatingPointError):
    """NaN or infinity where training needs a finite number."""


class DataError(ChainruleError, ValueError):
    """A data set that can not be learned from as it is."""


class CompilerError(ChainruleError, RuntimeError):
    """The native compiler failed on a valid program: a fault of chainrule, not of its user."""


class TeachingWarning(UserWarning):
    """Something legal that is most likely a mistake."""
