"""Common subexpressions: equal instructions on equal operands are computed once.

Reason: a derivative repeats parts of the forward pass (masks, keys, broadcast scalars), and an
optimizer computes the same numbers for each parameter.
"""

from __future__ import annotations

import struct
from collections.abc import Hashable
from typing import Any

import numpy as np

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.walking import every_block, replace

#: swapping their operands changes no bit of the result
COMMUTATIVE = frozenset(
    ("add", "multiply", "equal", "not_equal", "bitwise_and", "bitwise_or", "bitwise_xor")
)
SMALL_CONSTANT = 256  # bytes; larger constants are equal only if they are the same array


def common_subexpressions(block: Block) -> bool:
    """Merge equal instructions of each block; a ``barrier`` and control ops are never merged.

    Small constants of equal bytes become one.

    Returns:
        Whether anything was merged.
    """
    constants: dict[Hashable, Tensor] = {}
    changed = False
    for each in every_block(block):
        changed |= _merge(each, constants)
    return changed


def _merge(block: Block, constants: dict[Hashable, Tensor]) -> bool:
    other: dict[Tensor, Tensor] = {}
    seen: dict[Hashable, Instruction] = {}
    kept: list[Instruction] = []
    for x in list(block.constants()):
        first = constants.setdefault(_constant_key(x), x)
        if first is not x:
            other[x] = first
    for instruction in block.instructions:
        if other:
            instruction.operands = [other.get(x, x) for x in instruction.operands]
        if instruction.bodies or instruction.op.name == "barrier":
            kept.append(instruction)
            continue
        first_one = seen.setdefault(_key(instruction), instruction)
        if first_one is instruction:
            kept.append(instruction)
        else:
            other.update(zip(instruction.results, first_one.results, strict=True))
    replace(block, kept, other)
    return bool(other)


def _key(instruction: Instruction) -> Hashable:
    operands = [id(x) for x in instruction.operands]
    name = instruction.op.name
    if name in COMMUTATIVE:
        operands.sort()
    if not instruction.attributes:
        return (name, *operands)
    attributes = tuple(
        [(key, attribute_key(value)) for key, value in sorted(instruction.attributes.items())]
    )
    return (name, *operands, attributes)


def _constant_key(x: Tensor) -> Hashable:
    value = x.constant
    assert value is not None
    if value.nbytes <= SMALL_CONSTANT:
        return (x.shape, x.dtype, value.tobytes())
    return id(value)


def attribute_key(value: Any) -> Hashable:
    """A hashable stand-in for an attribute: equal only for attributes that mean the same.

    0.0 and −0.0 differ, NaN equals itself; arrays go by their bytes.
    """
    if isinstance(value, tuple | list):
        return tuple([attribute_key(part) for part in value])
    if isinstance(value, float | np.floating):
        return ("float", struct.pack("d", value))
    if isinstance(value, np.ndarray):
        return (value.shape, value.dtype, value.tobytes())
    if isinstance(value, slice):
        return ("slice", value.start, value.stop, value.step)
    if isinstance(value, dict):
        return tuple([(key, attribute_key(part)) for key, part in sorted(value.items())])
    return value
