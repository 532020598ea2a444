"""Dead code: drop what no output depends on.

Reason: derivatives are recorded for all operands, and other passes leave producers behind that
nobody reads any more. What a loop or a branch computes in vain goes too: unused results, carries
that only feed themselves, operands that no body reads. A bound on the rows of a loop's step stays.
"""

from __future__ import annotations

from collections.abc import Callable

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.row_bounds import bounds
from chainrule.program.compiler.passes.walking import needed


def dead_code(block: Block) -> bool:
    """Remove dead instructions, in bodies too, and what control ops pass in vain.

    The block's own inputs and outputs stay.

    Returns:
        Whether anything was removed.
    """
    changed = False
    pending = [(block, False)]
    while pending:
        current, in_loop = pending.pop()
        changed |= _sweep(current, in_loop)
        for instruction in current.instructions:
            is_loop = instruction.op.name == "scan"
            pending.extend((body, is_loop) for body in instruction.bodies.values())
    return changed


def _sweep(block: Block, in_loop: bool) -> bool:
    live = set(block.outputs)
    if in_loop:
        live.update(x.result for x in bounds(block))
    kept: list[Instruction] = []
    changed = False
    for instruction in reversed(block.instructions):
        if live.isdisjoint(instruction.results):
            changed = True
            continue
        trim = _TRIM.get(instruction.op.name)
        if trim is not None:
            changed |= trim(
                instruction, {i for i, x in enumerate(instruction.results) if x in live}
            )
        live.update(instruction.operands)
        kept.append(instruction)
    kept.reverse()
    block.instructions = kept
    return changed


def _positions(block: Block, outputs: list[Tensor]) -> set[int]:
    live = needed(block, outputs)
    return {i for i, x in enumerate(block.inputs) if x in live}


def _grow(used: set[int], n_state: int, feeds: Callable[[set[int]], set[int]]) -> set[int]:
    """Results in use, and the state that they come to depend on over the steps of a loop."""
    kept = set(used)
    while True:
        grown = kept | {i for i in feeds(kept) if i < n_state}
        if grown == kept:
            return kept
        kept = grown


def _trim_scan(instruction: Instruction, used: set[int]) -> bool:
    body, attributes = instruction.bodies["body"], instruction.attributes
    n, n_xs = attributes["n_carry"], attributes["n_xs"]
    kept = sorted(_grow(used, n, lambda k: _positions(body, [body.outputs[i] for i in k])))
    bound = [x.result for x in bounds(body)]
    reads = _positions(body, [*(body.outputs[i] for i in kept), *bound])
    places = [i for i in range(len(body.inputs)) if (i in kept if i < n else i in reads)]
    if len(kept) == len(body.outputs) and len(places) == len(body.inputs):
        return False
    instruction.results = [instruction.results[i] for i in kept]
    instruction.operands = [instruction.operands[i] for i in places]
    body.inputs = [body.inputs[i] for i in places]
    body.outputs = [body.outputs[i] for i in kept]
    instruction.attributes = attributes | {
        "n_carry": sum(i < n for i in kept),
        "n_xs": sum(n <= i < n + n_xs for i in places),
    }
    return True


def _trim_cond(instruction: Instruction, used: set[int]) -> bool:
    branches = list(instruction.bodies.values())
    kept = sorted(used)
    reads: set[int] = set()
    for branch in branches:
        reads |= _positions(branch, [branch.outputs[i] for i in kept])
    places = sorted(reads)
    n_operands = len(instruction.operands) - 1
    if len(kept) == len(instruction.results) and len(places) == n_operands:
        return False
    instruction.results = [instruction.results[i] for i in kept]
    chosen, *operands = instruction.operands
    instruction.operands = [chosen, *(operands[i] for i in places)]
    for branch in branches:
        branch.inputs = [branch.inputs[i] for i in places]
        branch.outputs = [branch.outputs[i] for i in kept]
    return True


def _trim_while(instruction: Instruction, used: set[int]) -> bool:
    test, body = instruction.bodies["test"], instruction.bodies["body"]
    n, n_test = instruction.attributes["n_state"], instruction.attributes["n_test"]
    tested = _positions(test, test.outputs)
    state = used | {i for i in tested if i < n}
    kept = sorted(_grow(state, n, lambda k: _positions(body, [body.outputs[i] for i in k])))
    reads = _positions(body, [body.outputs[i] for i in kept])
    for_test = [i for i in range(n, len(test.inputs)) if i in tested]
    for_body = [i for i in range(n, len(body.inputs)) if i in reads]
    operands = instruction.operands
    count = len(kept) + len(for_test) + len(for_body)
    if count == len(operands):
        return False
    instruction.operands = [operands[i] for i in (*kept, *for_test)]
    instruction.operands += [operands[i + n_test] for i in for_body]
    instruction.results = [instruction.results[i] for i in kept]
    test.inputs = [test.inputs[i] for i in (*kept, *for_test)]
    body.inputs = [body.inputs[i] for i in (*kept, *for_body)]
    body.outputs = [body.outputs[i] for i in kept]
    instruction.attributes = instruction.attributes | {
        "n_state": len(kept),
        "n_test": len(for_test),
    }
    return True


_TRIM = {"scan": _trim_scan, "cond": _trim_cond, "while_loop": _trim_while}
