"""Loops: what does not change from step to step leaves the loop.

Reason: a derivative's loop is recorded with all that its forward step reads, so values are carried
that never change, stacked twice, and computed again in every step although nothing of the step is
in them.

- A carry of a ``scan`` that is passed on unchanged becomes a constant of the loop.
- What is passed twice is passed once; what is stacked twice is stacked once.
- Instructions of constants of the loop are computed before it, unless they only move elements:
  those are an index inside, and an array outside. Nothing is moved out of loops that may have no
  step if it could fail.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.walking import every_block, replace

_FAMILIES = ("elementwise", "reduction", "contraction", "window", "sorting", "indexing")
_MOVING = ("movement", "creation")
Others = dict[Tensor, Tensor]


def loops(block: Block) -> bool:
    """Simplify the loops of the block and of its bodies.

    Returns:
        Whether anything changed.
    """
    changed = False
    for each in every_block(block):
        if any(instruction.bodies for instruction in each.instructions):
            changed |= _simplify(each)
    return changed


def _simplify(block: Block) -> bool:
    other: Others = {}
    kept: list[Instruction] = []
    changed = False
    for instruction in block.instructions:
        if other:
            instruction.operands = [other.get(x, x) for x in instruction.operands]
        if instruction.op.name == "scan":
            changed |= _fix_carries(instruction, other)
            changed |= _share_operands(instruction)
            changed |= _share_results(instruction, other)
        before = _hoist(instruction)
        changed |= bool(before)
        kept += [*before, instruction]
    replace(block, kept, other)
    return changed


def _pick(items: Sequence[Tensor], places: Sequence[int]) -> list[Tensor]:
    return [items[i] for i in places]


def _substitute(body: Block, other: Others) -> None:
    for instruction in body.instructions:
        instruction.operands = [other.get(x, x) for x in instruction.operands]
    body.outputs = [other.get(x, x) for x in body.outputs]


def _fix_carries(scan: Instruction, other: Others) -> bool:
    """Carries that every step passes on unchanged: their results are their operands."""
    body, n = scan.bodies["body"], scan.attributes["n_carry"]
    fixed = [i for i in range(n) if body.outputs[i] is body.inputs[i]]
    if not fixed:
        return False
    other.update((scan.results[i], scan.operands[i]) for i in fixed)
    results = [i for i in range(len(scan.results)) if i not in fixed]
    places = [*(i for i in range(len(scan.operands)) if i not in fixed), *fixed]
    scan.results = _pick(scan.results, results)
    body.outputs = _pick(body.outputs, results)
    scan.operands = _pick(scan.operands, places)
    body.inputs = _pick(body.inputs, places)
    scan.attributes = scan.attributes | {"n_carry": n - len(fixed)}
    return True


def _share_operands(scan: Instruction) -> bool:
    """Sequences and constants that are passed more than once."""
    body, n, n_xs = scan.bodies["body"], scan.attributes["n_carry"], scan.attributes["n_xs"]
    first: dict[tuple[Tensor, bool], int] = {}
    other: Others = {}
    places = list(range(n))
    for i in range(n, len(scan.operands)):
        place = first.setdefault((scan.operands[i], i < n + n_xs), i)
        if place == i:
            places.append(i)
        else:
            other[body.inputs[i]] = body.inputs[place]
    if not other:
        return False
    _substitute(body, other)
    scan.operands = _pick(scan.operands, places)
    body.inputs = _pick(body.inputs, places)
    scan.attributes = scan.attributes | {"n_xs": sum(n <= i < n + n_xs for i in places)}
    return True


def _share_results(scan: Instruction, other: Others) -> bool:
    """Values that are stacked more than once."""
    body, n = scan.bodies["body"], scan.attributes["n_carry"]
    first: dict[Tensor, int] = {}
    places = list(range(n))
    for i in range(n, len(scan.results)):
        place = first.setdefault(body.outputs[i], i)
        if place == i:
            places.append(i)
        else:
            other[scan.results[i]] = scan.results[place]
    if len(places) == len(scan.results):
        return False
    scan.results = _pick(scan.results, places)
    body.outputs = _pick(body.outputs, places)
    return True


# --- out of the loop --------------------------------------------------------------------------


def _hoist(loop: Instruction) -> list[Instruction]:
    """Move invariant instructions of the body before the loop; return them, in order."""
    if loop.op.name == "scan":
        if loop.attributes["length"] == 0:
            return []
        first, offset, may_fail = loop.attributes["n_carry"] + loop.attributes["n_xs"], 0, True
    elif loop.op.name == "while_loop":
        first, offset, may_fail = loop.attributes["n_state"], loop.attributes["n_test"], False
    else:
        return []
    body = loop.bodies["body"]
    outside = {x: loop.operands[i + offset] for i, x in enumerate(body.inputs) if i >= first}
    copies = _copy_invariant(body, outside, may_fail)
    wanted = _cut(body, copies)
    if not wanted:
        return []
    stand_ins = {x: Tensor(x.shape, x.dtype) for x in wanted}
    body.instructions = [i for i in body.instructions if i.results[0] not in stand_ins]
    _substitute(body, stand_ins)
    body.inputs += stand_ins.values()
    loop.operands += [outside[x] for x in wanted]
    return _needed_copies(list(copies.values()), [outside[x] for x in wanted])


def _copy_invariant(body: Block, outside: Others, may_fail: bool) -> dict[Instruction, Instruction]:
    """Copies, for outside, of the instructions that depend on constants of the loop alone.

    Args:
        body: The loop's body.
        outside: Tensor of the body → the same outside; extended.
        may_fail: Instructions that read indices may be moved.
    """
    copies = {}
    for instruction in body.instructions:
        op = instruction.op
        if (
            op.multiple
            or op.name == "barrier"
            or op.family not in (*_FAMILIES, *_MOVING)
            or (op.family == "indexing" and not may_fail)
            or not all(x.constant is not None or x in outside for x in instruction.operands)
        ):
            continue
        result = instruction.results[0]
        copy = Instruction(
            op,
            [x if x.constant is not None else outside[x] for x in instruction.operands],
            instruction.attributes,
            [(result.shape, result.dtype)],
            instruction.origin,
        )
        outside[result] = copy.result
        copies[instruction] = copy
    return copies


def _cut(body: Block, copies: dict[Instruction, Instruction]) -> list[Tensor]:
    """Invariant results of real work that the rest of the body reads."""
    live = set(body.outputs)
    wanted = []
    for instruction in reversed(body.instructions):
        if live.isdisjoint(instruction.results):
            continue
        if instruction in copies and instruction.op.family not in _MOVING:
            wanted.append(instruction.results[0])
        else:
            live.update(instruction.operands)
    return wanted[::-1]


def _needed_copies(copies: list[Instruction], results: list[Tensor]) -> list[Instruction]:
    live = set(results)
    kept = []
    for copy in reversed(copies):
        if not live.isdisjoint(copy.results):
            live.update(copy.operands)
            kept.append(copy)
    return kept[::-1]
