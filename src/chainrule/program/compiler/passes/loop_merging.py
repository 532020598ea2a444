"""Merged loops: scans over the same sequences that compute the same become one.

Reason: the derivative of a scan runs the forward scan once more, to stack what its way back reads.
Each step of both computes the same from the same, so one loop serves the results and the stacks.

Carries are equal if they start equal and, as long as all of them are, every step keeps them so:
that is found by assuming the most and taking back what a step contradicts. Exact to the bit.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.common_subexpressions import COMMUTATIVE, attribute_key
from chainrule.program.compiler.passes.walking import every_block

_FREE = ("movement", "creation", "bound")


def loop_merging(block: Block) -> bool:
    """Merge the scans of the block and of its bodies, and equal carries of each.

    Returns:
        Whether anything changed.
    """
    changed = False
    for each in every_block(block):
        while _merge_one(each):
            changed = True
    return changed


def _merge_one(block: Block) -> bool:
    """Merge two scans, or carries of one; False if there is nothing to merge."""
    scans = [x for x in block.instructions if x.op.name == "scan" and x.attributes["length"]]
    for x in scans:
        own = _Classes([x])
        if len(set(own.carries)) < len(own.carries):
            _replace(block, [x], own)
            return True
    for place, first in enumerate(scans):
        for second in scans[place + 1 :]:
            if not _fit(first, second):
                continue
            classes = _Classes([first, second])
            if classes.shared and _bring_together(block, first, second):
                _replace(block, [first, second], classes)
                return True
    return False


def _fit(first: Instruction, second: Instruction) -> bool:
    same = all(first.attributes[k] == second.attributes[k] for k in ("length", "reverse"))
    return same and not set(first.operands).isdisjoint(second.operands)


class _Classes:
    """Numbers for the tensors of some bodies: equal numbers, equal values in every step.

    Args:
        scans: Loops of the same length and direction.
    """

    def __init__(self, scans: Sequence[Instruction]) -> None:
        self.scans = scans
        self.numbers: dict[Tensor, Hashable] = {}
        starts = [("start", x) for s in scans for x in s.operands[: s.attributes["n_carry"]]]
        self.carries: list[Hashable] = list(starts)
        while True:
            before = len(set(self.carries))
            self._number()
            new = [self.of(y) for s in scans for y in _split(s, s.bodies["body"].outputs)[0]]
            # what begins equal stays in one class only if each step keeps it so
            refined = list(zip(self.carries, new, strict=True))
            names = {pair: f"carry {n}" for n, pair in enumerate(dict.fromkeys(refined))}
            if len(names) == before:
                break
            self.carries = [names[pair] for pair in refined]

    def of(self, x: Tensor) -> Hashable:
        """The number of a tensor of a body."""
        return self.numbers.get(x, x)

    @property
    def shared(self) -> bool:
        """Whether the last loop computes anything that the one before computes as well."""
        first, last = (_work(s, self) for s in (self.scans[0], self.scans[-1]))
        return not first.isdisjoint(last)

    def _number(self) -> None:
        self.numbers = {}
        known: dict[Hashable, int] = {}
        carries = iter(self.carries)
        for s in self.scans:
            body = s.bodies["body"]
            carried, xs, _ = _split_inputs(s, body.inputs)
            for x, operand in zip(body.inputs, s.operands, strict=True):
                self.numbers[x] = ("slice" if x in xs else "constant", operand)
            for x in carried:
                self.numbers[x] = next(carries)
            for instruction in body.instructions:
                key = self._key(instruction)
                for place, result in enumerate(instruction.results):
                    self.numbers[result] = known.setdefault((place, key), len(known))

    def _key(self, x: Instruction) -> Hashable:
        if x.bodies or x.op.name == "barrier":
            return id(x)
        operands = [self.of(y) for y in x.operands]
        attributes = tuple((k, attribute_key(v)) for k, v in sorted(x.attributes.items()))
        if x.op.name in COMMUTATIVE:
            return (x.op.name, frozenset(operands), len(set(operands)), attributes)
        return (x.op.name, tuple(operands), attributes)


def _work(scan: Instruction, classes: _Classes) -> set[Hashable]:
    """Numbers of what takes work in a step."""
    return {
        classes.of(x)
        for instruction in scan.bodies["body"].instructions
        for x in instruction.results
        if instruction.op.family not in _FREE
    }


def _split(scan: Instruction, items: Sequence[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
    n = scan.attributes["n_carry"]
    return list(items[:n]), list(items[n:])


def _split_inputs(
    scan: Instruction, items: Sequence[Tensor]
) -> tuple[list[Tensor], set[Tensor], list[Tensor]]:
    """Carries, slices and constants of a body's inputs or a scan's operands."""
    n, end = scan.attributes["n_carry"], scan.attributes["n_carry"] + scan.attributes["n_xs"]
    return list(items[:n]), set(items[n:end]), list(items[end:])


def _bring_together(block: Block, first: Instruction, second: Instruction) -> bool:
    """Order the block so that only the second scan follows the first; False if it needs it."""
    begin, end = block.instructions.index(first), block.instructions.index(second)
    late = set(first.results)
    before: list[Instruction] = []
    after: list[Instruction] = []
    for x in block.instructions[begin + 1 : end]:
        if late.isdisjoint(x.operands):
            before.append(x)
        else:
            late.update(x.results)
            after.append(x)
    if not late.isdisjoint(second.operands):
        return False
    block.instructions[begin : end + 1] = [*before, first, second, *after]
    return True


def _replace(block: Block, scans: Sequence[Instruction], classes: _Classes) -> None:
    """One scan in the place of some that stand side by side; equal carries are one."""
    other: dict[Tensor, Tensor] = {}
    first = scans[0]
    inputs: dict[str, dict[Hashable, tuple[Tensor, Tensor]]] = {"carry": {}, "slice": {}, "": {}}
    stand_in: dict[Tensor, Tensor] = {}
    n_all = []  # carries that stay: outputs and results of each
    for s in scans:
        body = s.bodies["body"]
        carried, xs, _ = _split_inputs(s, body.inputs)
        for place, (x, operand) in enumerate(zip(body.inputs, s.operands, strict=True)):
            kind = "carry" if place < len(carried) else ("slice" if x in xs else "")
            key = classes.of(x) if kind == "carry" else operand
            kept = inputs[kind].setdefault(key, (x, operand))[0]
            if kept is not x:
                stand_in[x] = kept
            elif kind == "carry":
                n_all.append((key, body.outputs[place], s.results[place]))
    results = {key: result for key, _, result in n_all}
    for s in scans:
        for x, result in zip(_split(s, s.bodies["body"].inputs)[0], s.results, strict=False):
            if results[classes.of(x)] is not result:
                other[result] = results[classes.of(x)]
    stacked = [
        pair
        for s in scans
        for pair in zip(
            _split(s, s.bodies["body"].outputs)[1], _split(s, s.results)[1], strict=True
        )
    ]
    pairs = [pair for kind in ("carry", "slice", "") for pair in inputs[kind].values()]
    outputs = [*(y for _, y, _ in n_all), *(y for y, _ in stacked)]
    firsts: dict[Hashable, Tensor] = {}
    instructions = []
    for instruction in [i for s in scans for i in s.bodies["body"].instructions]:
        kept_ones = [firsts.setdefault(classes.of(x), x) for x in instruction.results]
        stand_in.update(zip(instruction.results, kept_ones, strict=True))
        if kept_ones == instruction.results:
            instruction.operands = [stand_in.get(x, x) for x in instruction.operands]
            instructions.append(instruction)
    body = Block([x for x, _ in pairs], instructions, [stand_in.get(x, x) for x in outputs])
    made = Instruction(
        first.op,
        [operand for _, operand in pairs],
        first.attributes | {"n_carry": len(n_all), "n_xs": len(inputs["slice"])},
        [],
        first.origin,
        {"body": body},
    )
    made.results = [*(r for _, _, r in n_all), *(r for _, r in stacked)]
    for result in made.results:
        result.producer = made
    place = block.instructions.index(first)
    block.instructions[place : place + len(scans)] = [made]
    for instruction in block.instructions:
        instruction.operands = [other.get(x, x) for x in instruction.operands]
    block.outputs = [other.get(x, x) for x in block.outputs]
