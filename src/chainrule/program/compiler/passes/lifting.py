"""Lifting: what a loop's step computes, computed for all steps at once outside of the loop.

A tensor of the body becomes one with the steps in front, or, if it is the same in every step, the
tensor that it is. Ops of many results, control ops and random bits are not lifted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Instruction, Tensor

ELEMENTWISE = frozenset(
    op.name for op in REGISTRY if op.family == "elementwise" and op.name != "barrier"
)
CHEAP = ELEMENTWISE | {
    "reshape",
    "transpose",
    "broadcast_to",
    "slice",
    "pad",
    "concatenate",
    "iota",
}


class Lifted(NamedTuple):
    """A tensor of the body, outside.

    Args:
        x: All steps of it, or itself.
        varies: Whether it has the steps in front.
    """

    x: Tensor
    varies: bool


class Lifter:
    """Writes instructions outside of one loop.

    Args:
        length: Number of steps.
        known: Tensors of the body that are there already; extended.
    """

    def __init__(self, length: int, known: dict[Tensor, Lifted]) -> None:
        self.length = length
        self.known = known
        self.made: list[Instruction] = []

    def emit(self, name: str, *operands: Tensor, origin: Origin, **attributes: Any) -> Tensor:
        """Append an op of one result."""
        op = REGISTRY[name]
        spec = op.infer(*operands, **attributes)
        made = Instruction(op, operands, attributes, [spec], origin)
        self.made.append(made)
        return made.result

    def find(self, x: Tensor) -> Lifted | None:
        """What is known of a tensor of the body; constants are known everywhere."""
        return Lifted(x, False) if x.constant is not None else self.known.get(x)

    def is_free(self, x: Tensor, names: frozenset[str] = CHEAP) -> bool:
        """True if it can be lifted: by instructions of these names, from what is known."""
        pending, seen = [x], {x}
        while pending:
            y = pending.pop()
            if self.find(y) is not None:
                continue
            if y.producer is None or y.producer.op.name not in names:
                return False
            fresh = [z for z in y.producer.operands if z not in seen]
            seen.update(fresh)
            pending += fresh
        return True

    def lift(self, x: Tensor) -> Lifted:
        """All steps of a tensor that ``is_free``."""
        pending = [x]
        while pending:
            y = pending[-1]
            if self.find(y) is not None:
                pending.pop()
                continue
            assert y.producer is not None
            missing = [z for z in y.producer.operands if self.find(z) is None]
            if missing:
                pending += missing
            else:
                self.known[y] = self.apply(y.producer)
        found = self.find(x)
        assert found is not None
        return found

    def spread(self, x: Lifted) -> Tensor:
        """With the steps in front, whether it changes or not."""
        return x.x if x.varies else self._broadcast(x.x)

    def _broadcast(self, x: Tensor) -> Tensor:
        origin = Origin("", 0, "", 0) if x.producer is None else x.producer.origin
        return self.emit("broadcast_to", x, origin=origin, shape=(self.length, *x.shape))

    def apply(self, instruction: Instruction) -> Lifted:
        """One instruction for all steps; its operands are known."""
        operands = [self.find(x) or Lifted(x, False) for x in instruction.operands]
        name, origin = instruction.op.name, instruction.origin
        if not any(x.varies for x in operands):
            plain = [x.x for x in operands]
            return Lifted(self.emit(name, *plain, origin=origin, **instruction.attributes), False)
        if name == "dot_general":
            return Lifted(self._product(instruction, *operands), True)
        rule = _ATTRIBUTES.get(name)
        xs = [self.spread(x) for x in operands]
        if name == "broadcast_to":
            missing = len(instruction.result.shape) - len(instruction.operands[0].shape)
            inner = xs[0].shape[1:]
            shape = (self.length, *(1,) * missing, *inner)
            xs = [self.emit("reshape", xs[0], origin=origin, shape=shape)]
        attributes = instruction.attributes if rule is None else rule(self, instruction)
        return Lifted(self.emit(name, *xs, origin=origin, **attributes), True)

    def _product(self, instruction: Instruction, a: Lifted, b: Lifted) -> Tensor:
        """The steps are a batch of products if both operands change, else more rows of one."""
        contract = [list(axes) for axes in instruction.attributes["contract"]]
        batch = [list(axes) for axes in instruction.attributes["batch"]]
        for side, x in enumerate((a, b)):
            if x.varies:
                contract[side] = [axis + 1 for axis in contract[side]]
                batch[side] = [axis + 1 for axis in batch[side]]
        if a.varies and b.varies:
            batch = [[0, *axes] for axes in batch]
        attributes = {
            "contract": tuple(map(tuple, contract)),
            "batch": tuple(map(tuple, batch)),
        }
        y = self.emit("dot_general", a.x, b.x, origin=instruction.origin, **attributes)
        n_batch = len(batch[0])
        place = 0 if a.varies and b.varies else n_batch
        if not a.varies:
            place += len(a.x.shape) - n_batch - len(contract[0])
        if place == 0:
            return y
        rest = [axis for axis in range(len(y.shape)) if axis != place]
        return self.emit("transpose", y, origin=instruction.origin, axes=(place, *rest))


Attributes = Callable[[Lifter, Instruction], dict[str, Any]]


def _shape(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    return {"shape": (lifter.length, *x.result.shape)}


def _axes(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    return {"axes": _moved(x.attributes["axes"], x)}


def _transposed(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    return {"axes": (0, *_moved(x.attributes["axes"], x))}


def _moved(axes: Sequence[int], x: Instruction) -> tuple[int, ...]:
    rank = len(x.operands[0].shape)
    return tuple(axis % rank + 1 for axis in axes)


def _sliced(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    given = x.attributes
    return {
        "starts": (0, *given["starts"]),
        "stops": (lifter.length, *given["stops"]),
        "strides": (1, *given["strides"]),
    }


def _padded(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    return {key: (0, *x.attributes[key]) for key in ("low", "high", "interior")}


def _joined(lifter: Lifter, x: Instruction) -> dict[str, Any]:
    return {"axis": x.attributes["axis"] % len(x.result.shape) + 1}


_ATTRIBUTES: dict[str, Attributes] = {
    "reshape": _shape,
    "broadcast_to": _shape,
    "transpose": _transposed,
    "slice": _sliced,
    "pad": _padded,
    "concatenate": _joined,
    "sum": _axes,
}
