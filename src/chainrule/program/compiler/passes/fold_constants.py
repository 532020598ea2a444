"""Constant folding: what depends on constants alone is computed while compiling.

Reason: derivatives and schedules leave arithmetic on numbers of the code behind, and closures bring
tables along. Copies and counters stay lazy: inside a kernel they cost an index, not a load.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from chainrule.errors import IndexRangeError
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.evaluate import evaluate_instruction
from chainrule.program.compiler.passes.rewriting import Rewriter, constant, rewrite, table
from chainrule.program.compiler.passes.walking import every_block

MAX_FOLDED = 4096  # elements; larger results are folded where they are no larger than an operand
MAX_READ = 1 << 24  # elements that folding may look at

#: stay as they are: cheap to make anew, effects of an order of their own, or random
_LAZY = ("broadcast_to", "iota")
_KEPT = ("barrier", *_LAZY)
_KEPT_FAMILIES = ("control", "random", "creation")


def fold_constants(block: Block) -> bool:
    """Fold the constants of the block and its bodies, with NumPy.

    - An op of constants becomes a constant if its result is small, or no larger than an operand.
    - A constant whose elements are all the same becomes copies of a scalar.
    - Constants that are passed to loops and branches move inside.

    An index out of range is left for the run to report.

    Returns:
        Whether anything changed.
    """
    changed = False
    for each in every_block(block):
        for instruction in each.instructions:
            if instruction.bodies:
                changed |= _move_inside(instruction)
        changed |= _spread_uniform(each)
    return rewrite(block, _RULES) or changed


def _fold(walk: Rewriter, instruction: Instruction) -> Tensor | None:
    operands = instruction.operands
    if not operands:
        return None
    values = []
    largest = n_read = 0
    for x in operands:
        value = x.constant if x.constant is not None else _lazy_value(x)
        if value is None:
            return None
        values.append(value)
        n_read += value.size
        if x.constant is not None:
            largest = max(largest, value.size)
    family = instruction.op.family
    alone = len(operands) == 1 and family == "movement"
    if largest == 0 and (alone or family == "elementwise"):
        return None  # copies and counters: the kernel that reads them does better
    if n_read > MAX_READ or instruction.result.size > max(MAX_FOLDED, largest):
        return None
    try:
        with np.errstate(all="ignore"):
            (result,) = evaluate_instruction(instruction, values)
    except IndexRangeError:
        return None
    return constant(np.asarray(result, order="C"))


def _lazy_value(x: Tensor) -> np.ndarray | None:
    """Copies of a constant, or a counter, as an array that takes no memory of its size."""
    producer = x.producer
    if producer is None or producer.op.name not in _LAZY:
        return None
    values = [operand.constant for operand in producer.operands]
    if any(value is None for value in values):
        return None
    result: np.ndarray = producer.op.evaluate(*values, **producer.attributes)
    return result


_RULES = table(
    *(
        (op.name, _fold)
        for op in REGISTRY
        if op.name not in _KEPT and op.family not in _KEPT_FAMILIES and not op.multiple
    )
)


# --- constants of one number ------------------------------------------------------------------


def _spread_uniform(block: Block) -> bool:
    """Make constants of which all elements are equal copies of a scalar."""
    other: dict[Tensor, Tensor] = {}
    made: list[Instruction] = []
    for x in block.constants():
        value = x.constant
        assert value is not None
        if not (x.shape and value.size and _is_uniform(value)):
            continue
        first = next((i for i in block.instructions if x in i.operands), None)
        if first is None:
            continue
        scalar = constant(np.asarray(value.reshape(-1)[0]))
        copies = Instruction(
            REGISTRY["broadcast_to"],
            [scalar],
            {"shape": x.shape},
            [(x.shape, x.dtype)],
            first.origin,
        )
        made.append(copies)
        other[x] = copies.result
    if other:
        for instruction in block.instructions:
            instruction.operands = [other.get(x, x) for x in instruction.operands]
        block.instructions = [*made, *block.instructions]
    return bool(other)


def _is_uniform(value: np.ndarray) -> bool:
    if not any(value.strides):
        return True
    if value.size > MAX_FOLDED:
        return False
    one = value.reshape(-1)[:1].tobytes()  # bytes: 0.0 and −0.0 differ, a NaN equals itself
    return value.tobytes() == one * value.size


# --- into bodies ------------------------------------------------------------------------------


def _unchanging(instruction: Instruction) -> Iterator[tuple[Block, Tensor, Tensor]]:
    """What a control op passes to its bodies unchanged: body, its input, the operand.

    Sequences count, too, where all their slices are the same copies.
    """
    name, attributes, bodies = instruction.op.name, instruction.attributes, instruction.bodies
    operands = instruction.operands
    if name == "scan":
        body = bodies["body"]
        for i in range(attributes["n_carry"], len(operands)):
            yield body, body.inputs[i], operands[i]
    elif name == "cond":
        for branch in bodies.values():
            for x, operand in zip(branch.inputs, operands[1:], strict=True):
                yield branch, x, operand
    elif name == "while_loop":
        n, n_test = attributes["n_state"], attributes["n_test"]
        test, body = bodies["test"], bodies["body"]
        for i in range(n, n + n_test):
            yield test, test.inputs[i], operands[i]
        for i in range(n, len(body.inputs)):
            yield body, body.inputs[i], operands[i + n_test]


def _move_inside(instruction: Instruction) -> bool:
    """Put constants, and copies of a constant scalar, in the place of bodies' inputs."""
    changed = False
    for body, x, operand in _unchanging(instruction):
        source = operand
        producer = operand.producer
        if producer is not None and producer.op.name == "broadcast_to":
            source = producer.operands[0]
        value = source.constant
        if value is None or (source is not operand and value.size != 1):
            continue
        if source is operand and operand.shape != x.shape:
            continue  # a sequence of different slices
        if not any(x in i.operands for i in body.instructions) and x not in body.outputs:
            continue
        changed = True
        new = source
        if source is not operand:
            made = Instruction(
                REGISTRY["broadcast_to"],
                [constant(value.reshape(()))],
                {"shape": x.shape},
                [(x.shape, x.dtype)],
                instruction.origin,
            )
            body.instructions.insert(0, made)
            new = made.result
        for inner in body.instructions:
            inner.operands = [new if operand is x else operand for operand in inner.operands]
        body.outputs = [new if output is x else output for output in body.outputs]
    return changed
