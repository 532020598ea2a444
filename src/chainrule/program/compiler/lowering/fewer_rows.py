"""A loop's body for fewer rows of the batch: the same instructions on the first rows of all.

What a result's rows need of its operands is found from the outputs up; where an instruction mixes
rows, or is none of those known here, there is no such body.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor

WHOLE = -1  # in the place of an axis: all of a tensor
Need = tuple[Tensor, int]
Attributes = dict[str, Any]


class FewerRows:
    """Finds what of each tensor of a body is needed where only some rows are computed.

    Args:
        body: The body; outputs have the rows in front.
        with_rows: Inputs that have the rows in front.
        rows: How many there are.
    """

    def __init__(self, body: Block, with_rows: set[Tensor], rows: int) -> None:
        self.body = body
        self.with_rows = with_rows
        self.rows = rows
        self.needs: dict[Tensor, set[int]] = {}
        self.fits = all(y.shape[:1] == (rows,) for y in body.outputs) and self._find()

    def _find(self) -> bool:
        """Collect the needs; False if some cannot be met."""
        for y in self.body.outputs:
            self.needs.setdefault(y, set()).add(0)
        for x in reversed(self.body.instructions):
            if x.op.multiple:
                if any(r in self.needs for r in x.results):
                    return False
                continue
            for axis in self.needs.get(x.result, ()):
                found = _operand_needs(x, axis, self.rows)
                if found is None:
                    return False
                for tensor, place in found:
                    self.needs.setdefault(tensor, set()).add(place)
        return all(self.needs.get(x, {0}) == {0} for x in self.with_rows)

    def body_of(self, rows: int) -> Block:
        """The body that computes the first ``rows`` rows; inputs and outputs as in the full one."""
        inputs = {
            x: Tensor((rows, *x.shape[1:]) if x in self.with_rows else x.shape, x.dtype)
            for x in self.body.inputs
        }
        made: dict[Need, Tensor] = {(x, 0): inputs[x] for x in self.with_rows}
        instructions: list[Instruction] = []

        def find(tensor: Tensor, axis: int) -> Tensor:
            if axis == WHOLE:
                return inputs.get(tensor, made.get((tensor, WHOLE), tensor))
            if (tensor, axis) not in made:  # an input or a constant without rows
                whole = inputs.get(tensor, tensor)
                made[tensor, axis] = _cut(whole, axis, rows, instructions, self.body)
            return made[tensor, axis]

        for x in self.body.instructions:
            for axis in sorted(self.needs.get(x.results[0], ())):
                needs = _operand_needs(x, axis, self.rows)
                assert needs is not None
                attributes = x.attributes if axis == WHOLE else _attributes(x, axis, rows)
                operands = [find(*need) for need in needs]
                spec = x.op.infer(*operands, **attributes)
                instructions.append(Instruction(x.op, operands, attributes, [spec], x.origin))
                made[x.result, axis] = instructions[-1].result
        outputs = [find(y, 0) for y in self.body.outputs]
        return Block([inputs[x] for x in self.body.inputs], instructions, outputs)


def _cut(x: Tensor, axis: int, rows: int, instructions: list[Instruction], body: Block) -> Tensor:
    """The first rows of a tensor along an axis."""
    if x.constant is not None:
        value = x.constant[(slice(None),) * axis + (slice(rows),)]
        return Tensor(value.shape, value.dtype, constant=value)
    stops = (*x.shape[:axis], rows, *x.shape[axis + 1 :])
    attributes = {"starts": (0,) * len(stops), "stops": stops, "strides": (1,) * len(stops)}
    origin = body.instructions[0].origin
    instructions.append(Instruction(REGISTRY["slice"], [x], attributes, [(stops, x.dtype)], origin))
    return instructions[-1].result


def _operand_needs(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    """What of its operands an instruction reads for the first rows along an axis of its result."""
    if x.bodies or x.op.name == "barrier":
        return None
    if axis == WHOLE:
        return [(y, WHOLE) for y in x.operands]
    if x.op.family == "elementwise":
        same = all(y.shape == x.result.shape for y in x.operands)
        return [(y, axis) for y in x.operands] if same else None
    rule = _RULES.get(x.op.name)
    return None if rule is None else rule(x, axis, rows)


def _broadcast(x: Instruction, axis: int, rows: int) -> list[Need]:
    (source,) = x.operands
    place = axis - (len(x.result.shape) - len(source.shape))
    return [(source, place if place >= 0 and source.shape[place] != 1 else WHOLE)]


def _reshape(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    (source,) = x.operands
    leads = source.shape[: axis + 1] == x.result.shape[: axis + 1]
    return [(source, axis)] if leads else None


def _transpose(x: Instruction, axis: int, rows: int) -> list[Need]:
    return [(x.operands[0], x.attributes["axes"][axis])]


def _slice(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    (source,) = x.operands
    whole = x.result.shape[axis] == source.shape[axis] and x.attributes["strides"][axis] == 1
    return [(source, axis)] if whole else None


def _pad(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    same = all(x.attributes[key][axis] == 0 for key in ("low", "high", "interior"))
    return [(x.operands[0], axis)] if same else None


def _concatenate(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    return None if x.attributes["axis"] == axis else [(y, axis) for y in x.operands]


def _iota(x: Instruction, axis: int, rows: int) -> list[Need]:
    return []


def _reduction(x: Instruction, axis: int, rows: int) -> list[Need]:
    (source,) = x.operands
    kept = [a for a in range(len(source.shape)) if a not in x.attributes["axes"]]
    return [(source, kept[axis])]


def _gather(x: Instruction, axis: int, rows: int) -> list[Need] | None:
    data, places = x.operands
    return [(data, WHOLE), (places, axis)] if axis < len(places.shape) - 1 else None


def _product(x: Instruction, axis: int, rows: int) -> list[Need]:
    contract, batch = x.attributes["contract"], x.attributes["batch"]
    if axis < len(batch[0]):
        return [(y, batch[side][axis]) for side, y in enumerate(x.operands)]
    place = axis - len(batch[0])
    needs: list[Need] = []
    for side, y in enumerate(x.operands):
        free = [a for a in range(len(y.shape)) if a not in (*contract[side], *batch[side])]
        needs.append((y, free[place] if 0 <= place < len(free) else WHOLE))
        place -= len(free)
    return needs


_RULES: dict[str, Callable[[Instruction, int, int], list[Need] | None]] = {
    "broadcast_to": _broadcast,
    "reshape": _reshape,
    "transpose": _transpose,
    "slice": _slice,
    "pad": _pad,
    "concatenate": _concatenate,
    "iota": _iota,
    "sum": _reduction,
    "max": _reduction,
    "min": _reduction,
    "gather": _gather,
    "dot_general": _product,
}


def _attributes(x: Instruction, axis: int, rows: int) -> Attributes:
    """The attributes of an instruction whose result has fewer rows along an axis."""
    shape = (*x.result.shape[:axis], rows, *x.result.shape[axis + 1 :])
    if x.op.name in ("broadcast_to", "reshape", "iota"):
        return x.attributes | {"shape": shape}
    if x.op.name == "slice":
        stops = x.attributes["stops"]
        return x.attributes | {"stops": (*stops[:axis], rows, *stops[axis + 1 :])}
    return x.attributes
