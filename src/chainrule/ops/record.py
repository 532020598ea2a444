"""One record per primitive: everything that any part of the system asks about an op."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from chainrule.ops.dtypes import ALL, Dtype
from chainrule.ops.hooks import Value, hooks

Shape = tuple[int, ...]
Spec = tuple[Shape, Dtype]


@dataclass(frozen=True)
class Case:
    """Inputs for one generated test of an op.

    Args:
        shapes: One shape an input.
        attributes: Attributes of the call.
        domain: Interval that samples of floating inputs are drawn from.
        integers: Position of an integer input → its exclusive upper bound.
        masks: Positions of bool inputs.
    """

    shapes: tuple[Shape, ...]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: tuple[float, float] = (-2.0, 2.0)
    integers: dict[int, int] = field(default_factory=dict)
    masks: tuple[int, ...] = ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Op:
    """A primitive, whole.

    Args:
        name: The field's word for it, unique in the registry.
        family: ``elementwise``, ``movement``, ``reduction``, ``contraction``, ``window``,
            ``indexing``, ``sorting``, ``random``, ``creation``, ``control`` or ``composite``.
        arity: Number of inputs; None where it varies.
        infer: ``infer(*inputs, **attributes)`` → ``(shape, dtype)`` of the output, or a tuple of
            such pairs for an op with several outputs. Checks its inputs.
        evaluate: ``evaluate(*arrays, **attributes)`` → NumPy array (or tuple of them).
        vjp: ``vjp(g, y, *inputs, **attributes)`` → one cotangent per input (None: no derivative
            in that input), linear in ``g`` and built from ops; or None for an op without
            derivative, which then is ``nondifferentiable``. In the family ``control`` it also gets
            ``wanted``, the positions of the inputs whose cotangents are asked for.
        batch: ``batch(inputs, batched, **attributes)`` → outputs with the batch axis in front.
        multiple: The op has several outputs; ``g`` and ``y`` are then tuples.
        nondifferentiable: The derivative is zero or undefined everywhere, and that is meant.
        formula: The value as text with ``{x}``, ``{y}``, ... for the inputs.
        derivative: The local derivative in each input as text; ``{out}`` is the output.
        at_kink: What the derivative is taken to be at ties and kinks, as text.
        kinks: Points that generated samples keep away from.
        dtypes: Element types that those inputs may have which no case fixes.
        cases: Inputs for the generated tests.
        tolerance: Relative tolerance against float64, by dtype name.
    """

    name: str
    family: str
    arity: int | None
    infer: Callable[..., Any]
    evaluate: Callable[..., Any]
    vjp: Callable[..., tuple[Value | None, ...]] | None
    batch: Callable[..., Any]
    multiple: bool = False
    nondifferentiable: bool = False
    formula: str = ""
    derivative: tuple[str, ...] = ()
    at_kink: str = ""
    kinks: tuple[float, ...] = ()
    dtypes: tuple[Dtype, ...] = ALL
    cases: tuple[Case, ...] = ()
    tolerance: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if (self.vjp is None) != self.nondifferentiable:
            raise ValueError(f"op {self.name}: give a vjp or say nondifferentiable=True")

    def __repr__(self) -> str:
        return self.name


class Registry:
    """All primitives by name, in the order of their definition."""

    def __init__(self) -> None:
        self._ops: dict[str, Op] = {}

    def register(self, op: Op) -> Op:
        """Add ``op`` and return it; a second op of the same name is a ValueError."""
        if op.name in self._ops:
            raise ValueError(f"an op named {op.name!r} is registered already")
        self._ops[op.name] = op
        return op

    def __iter__(self) -> Iterator[Op]:
        return iter(self._ops.values())

    def __len__(self) -> int:
        return len(self._ops)

    def __getitem__(self, name: str) -> Op:
        return self._ops[name]

    def __contains__(self, name: str) -> bool:
        return name in self._ops


REGISTRY = Registry()
register = REGISTRY.register


def bind(op: Op | str, *inputs: Value, **attributes: Any) -> Any:
    """Record ``op`` (or the op of that name) on ``inputs``; return its output or outputs.

    Rules name the ops of other files by string, which keeps the files free of import circles.
    """
    return hooks.bind(REGISTRY[op] if op.__class__ is str else op, inputs, attributes)
