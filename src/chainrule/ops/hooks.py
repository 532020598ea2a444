"""The hooks by which rules build graph without knowing who holds it.

Floor 1 installs all but the last three: recording, constants, tracing, evaluation. Floor 2 installs
``differentiate``, ``pullback`` and ``batch``, which only the ops that carry subgraphs (control flow
and Composites) call. So floor 0 imports nothing above itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np

Value: TypeAlias = Any  # the Array of floor 1, which this floor must not name
Operand: TypeAlias = Any  # a Value, a NumPy array or a Python scalar


class Subgraph(Protocol):
    """What rules may ask of a closed graph: a body of ``scan``, ``cond`` or a Composite."""

    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    def evaluate(self, values: Sequence[np.ndarray]) -> list[np.ndarray]:
        """Run the graph on NumPy arrays."""
        ...

    def apply(self, arguments: Sequence[Value]) -> list[Value]:
        """Record the graph's nodes again, on other inputs."""
        ...


def _missing(*arguments: Any, **keywords: Any) -> Any:
    raise RuntimeError("no graph floor is installed: import chainrule first")


class Hooks:
    """The functions that higher floors install, one attribute each."""

    bind: Callable[[Any, tuple[Value, ...], dict[str, Any]], Any] = staticmethod(_missing)
    constant: Callable[[np.ndarray], Value] = staticmethod(_missing)
    trace: Callable[[Callable[..., Any], Sequence[Value]], Subgraph] = staticmethod(_missing)
    evaluate: Callable[..., list[np.ndarray]] = staticmethod(_missing)
    require_concrete: Callable[..., np.ndarray] = staticmethod(_missing)
    graph: Callable[..., Subgraph] = staticmethod(_missing)
    needed_inputs: Callable[..., set[int]] = staticmethod(_missing)
    differentiate: Callable[..., Any] = staticmethod(_missing)
    pullback: Callable[..., Any] = staticmethod(_missing)
    batch: Callable[..., Any] = staticmethod(_missing)
    array_type: type[Any] = type(None)


hooks = Hooks()
