"""Attention among the instructions of a block, and the kernels that it becomes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler import debug
from chainrule.program.compiler.attention.backward import BackwardEmitter
from chainrule.program.compiler.attention.blocks import (
    numbers_of,
    operand_rows,
    result_rows,
    rows_of,
)
from chainrule.program.compiler.attention.forward import ForwardEmitter
from chainrule.program.compiler.attention.geometry import Geometry, flops, geometry_of
from chainrule.program.compiler.attention.operations import FORWARD, OPS
from chainrule.program.compiler.contractions import flat_offset
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.indices import Axis
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.kernel_facts import origins, traffic
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.schedule import KernelItem

GAIN = 3.0  # how much faster the arithmetic runs than a nest's

Write = Callable[[Builder, Memory, Value, Value], None]


class Host(Protocol):
    """What a lowering offers: where kernels and their memory go."""

    module: Module
    owned: list[Tensor]

    def function(self, pointers: Sequence[Tensor], blames: list[int], emit: Write) -> str:
        """Write a kernel's function; its name."""


def is_attention(x: Instruction) -> bool:
    """True for the instructions that this folder lowers."""
    return x.op.name in OPS


def bring_rows_to_memory(block: Block, is_virtual: Callable[[Instruction], bool]) -> None:
    """Copy operands of attention whose rows are computed while they are read, or not whole."""

    def is_leaf(tensor: Tensor) -> bool:
        return tensor.producer is None or not is_virtual(tensor.producer)

    result: list[Instruction] = []
    for x in block.instructions:
        for position, operand in enumerate(x.operands) if is_attention(x) else ():
            ready = _in_rows if len(operand.shape) == 4 else numbers_of
            if not ready(operand, is_leaf):
                spec = [(operand.shape, operand.dtype)]
                copy = Instruction(REGISTRY["barrier"], [operand], {}, spec, x.origin)
                result.append(copy)
                x.operands[position] = copy.result
        result.append(x)
    block.instructions = result


def _in_rows(operand: Tensor, is_leaf: Callable[[Tensor], bool]) -> bool:
    rows = rows_of(operand, is_leaf)
    if rows is None:
        return False
    place = flat_offset(rows.load.tensor, rows.load.indices)
    if not all(isinstance(atom, Axis) for atom in place.terms):
        return False
    return len(rows.axes) < 4 or place.terms.get(rows.axes[3], 0) == 1


def lower_attention(
    host: Host, x: Instruction, is_leaf: Callable[[Tensor], bool]
) -> list[KernelItem]:
    """The kernels of one instruction."""
    geometry = geometry_of(x, host.module.target)
    debug.tell(debug.NESTS, lambda: f"{x!r} as {geometry}")
    operands = operand_rows(x, is_leaf)
    few = [y for y in x.operands if len(y.shape) < 4]
    numbers = [element for y in few for element in numbers_of(y, is_leaf)]
    loads = [*(rows.load for rows in operands), *(y for y in numbers if isinstance(y, Load))]
    sources = list(dict.fromkeys(load.tensor for load in loads))
    host.owned += [r for r in x.results if r not in host.owned]
    if x.op is FORWARD:
        first = ForwardEmitter(geometry, operands, numbers, result_rows(x.results[0]), x.results[1])
        item = _item(host, [*sources, *x.results], first.emit, set(x.results))
        item.tasks, item.flops, item.title = first.tasks, flops(x, geometry), _title(geometry)
        items = [item]
    else:
        elements = geometry.parts * geometry.batch * geometry.heads * geometry.padded_queries
        dtype = x.results[0].dtype
        partial = Tensor((elements * geometry.features,), dtype, name="sums of parts")
        host.owned.append(partial)
        by_query, *by_keys = x.results
        rows = [*map(result_rows, x.results)]
        emitter = BackwardEmitter(geometry, operands, numbers, rows, partial)
        parts = _item(host, [*sources, *by_keys, partial], emitter.emit_parts, {*by_keys, partial})
        parts.tasks, parts.flops = emitter.tasks, flops(x, geometry)
        parts.title = f"gradients of {_title(geometry)}"
        sums = _item(host, [partial, by_query], emitter.emit_result, {by_query})
        sums.tasks, sums.title = emitter.result_tasks, "sums of query gradient"
        items = [parts, sums]
    items[0].gain = GAIN
    for item in items:
        item.where = origins([x])
    return items


def _title(g: Geometry) -> str:
    seen = "causal attention" if g.causal else "attention"
    title = f"{seen} {g.heads}x{g.queries}x{g.keys} of {g.features}"
    title += f", a mask of {g.masked}" if g.masked else ""
    return title + (", dropped" if g.dropped else "")


def _item(host: Host, pointers: list[Tensor], emit: Write, writes: set[Tensor]) -> KernelItem:
    blames: list[int] = []
    name = host.function(pointers, blames, emit)
    reads = {t for t in pointers if t not in writes}
    return KernelItem(name, pointers, reads, writes, 1, blames, 0.0, traffic(pointers))
