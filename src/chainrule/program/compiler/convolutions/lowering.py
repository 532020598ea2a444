"""Convolutions among the instructions of a block, and the kernels that they become."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler import debug
from chainrule.program.compiler.convolutions.correlations import Correlation
from chainrule.program.compiler.convolutions.depthwise import TapEmitter, TapSums
from chainrule.program.compiler.convolutions.emission import PixelEmitter
from chainrule.program.compiler.convolutions.geometry import Geometry, describe
from chainrule.program.compiler.convolutions.gradients import CorrelationEmitter
from chainrule.program.compiler.convolutions.image_lanes import LaneGradient, LaneSums
from chainrule.program.compiler.convolutions.image_lanes_gradients import LaneGradientEmitter
from chainrule.program.compiler.convolutions.image_lanes_sums import LaneSumsEmitter
from chainrule.program.compiler.convolutions.operands import (
    Convolution,
    Epilogue,
    convolution_of,
    is_plain,
)
from chainrule.program.compiler.convolutions.planning import (
    AnyPlan,
    PixelPlan,
    plan_convolution,
)
from chainrule.program.compiler.convolutions.weights import (
    Weights,
    emit_weights,
    plain_weights,
)
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.indices import Axis, Index
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.kernel_facts import origins, titles, traffic
from chainrule.program.compiler.kernels import Kernel
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.schedule import KernelItem
from chainrule.program.compiler.target import Target

GAIN = 4.0  # how much faster the arithmetic runs than a nest's

Write = Callable[[Builder, Memory, Value, Value], None]


class Host(Protocol):
    """What a lowering offers: where kernels and their memory go."""

    module: Module
    owned: list[Tensor]

    def offset(self, tensor: Tensor, indices: tuple[Index, ...]) -> Index:
        """Number of an element in its tensor's memory."""

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory a tensor lies in."""

    def function(self, pointers: Sequence[Tensor], blames: list[int], emit: Write) -> str:
        """Write a kernel's function; its name."""


def plan_of(x: Instruction, target: Target) -> AnyPlan | None:
    """How a convolution is computed; None if it is a plain loop, or another op."""
    if x.op.name != "convolution" or x.result.dtype not in (np.float32, np.float64):
        return None
    return plan_convolution(describe(x), target)


def plans_of(block: Block, target: Target) -> dict[Instruction, AnyPlan]:
    """The plans of a block's convolutions."""
    found = ((x, plan_of(x, target)) for x in block.instructions)
    return {x: plan for x, plan in found if plan is not None}


def read_in_vectors(plan: AnyPlan) -> tuple[int, ...]:
    """Operands of which the form reads vectors: they must be in memory."""
    return (0,) if isinstance(plan, PixelPlan | LaneSums) else (0, 1)


def bring_images_to_memory(
    block: Block, is_virtual: Callable[[Instruction], bool], target: Target
) -> None:
    """Copy images that would have to be computed while they are laid out."""

    def is_leaf(tensor: Tensor) -> bool:
        return tensor.producer is None or not is_virtual(tensor.producer)

    result: list[Instruction] = []
    for x in block.instructions:
        plan = plan_of(x, target)
        for operand in read_in_vectors(plan) if plan is not None else ():
            if not is_plain(Convolution(x, describe(x), is_leaf), operand):
                image = x.operands[operand]
                copy = Instruction(
                    REGISTRY["barrier"], [image], {}, [(image.shape, image.dtype)], x.origin
                )
                result.append(copy)
                x.operands[operand] = copy.result
        result.append(x)
    block.instructions = result


def convolutions_of(
    block: Block, is_leaf: Callable[[Tensor], bool], target: Target
) -> dict[Instruction, Convolution]:
    """The convolutions that get kernels of their own."""
    found = {}
    for x in block.instructions:
        plan = plan_of(x, target)
        if plan is not None:
            convolution = convolution_of(x, is_leaf, read_in_vectors(plan))
            if convolution is not None:
                found[x] = convolution
    return found


def lower_convolution(host: Host, convolution: Convolution, kernel: Kernel) -> list[KernelItem]:
    """The kernels of a convolution and of what fusion put behind it."""
    x = convolution.instruction
    plan = plan_of(x, host.module.target)
    assert plan is not None
    debug.tell(debug.NESTS, lambda: f"{x!r} as {plan}, then {kernel}")
    axes = [Axis(n, f"c{i}") for i, n in enumerate(x.result.shape)]
    epilogue = Epilogue(kernel, x.result, axes)
    if isinstance(plan, PixelPlan):
        items = _pixels(host, convolution, plan, epilogue)
    elif isinstance(plan, LaneSums):
        items = _lane_sums(host, convolution, plan, epilogue)
    else:
        items = _correlation(host, convolution, plan, epilogue)
    for item in items:
        item.where = origins(kernel.group.members)
    items[-1].title = f"{items[-1].title} {titles(kernel.group.members[1:])}".strip()
    return items


def _pixels(
    host: Host, convolution: Convolution, plan: PixelPlan, epilogue: Epilogue
) -> list[KernelItem]:
    """Packing of the weights, unless tiles read them where they are, then the convolution."""
    weights = plain_weights(convolution, plan, host.offset)
    before = []
    if weights is None:
        packed = Tensor(
            (plan.packed_weights,), convolution.instruction.result.dtype, name="packed weights"
        )
        host.owned.append(packed)
        weights = Weights(packed, plan)
        before = [_packing(host, convolution, plan, packed)]
    emitter = PixelEmitter(convolution, plan, epilogue, weights, host.root)
    pointers = [*_sources(convolution, 0), weights.tensor]
    pointers += [*epilogue.read, *epilogue.written_in_order]
    item = _item(host, list(dict.fromkeys(pointers)), emitter.emit, set(epilogue.written))
    item.tasks, item.flops, item.gain = plan.tasks, plan.geometry.flops, GAIN
    item.title = _title(plan.geometry)
    return [*before, item]


def _packing(host: Host, convolution: Convolution, plan: PixelPlan, packed: Tensor) -> KernelItem:
    """Packing of the weights."""
    item = _item(
        host,
        [*_sources(convolution, 1), packed],
        lambda b, memory, i, j: emit_weights(convolution, plan, b, memory, packed, i, j),
        {packed},
    )
    item.tasks = plan.geometry.groups * plan.geometry.outs
    item.title = "weights of convolution"
    return item


def _lane_sums(
    host: Host, convolution: Convolution, plan: LaneSums, epilogue: Epilogue
) -> list[KernelItem]:
    """The same with images in the lanes."""
    packed = Tensor(
        (plan.packed_weights,), convolution.instruction.result.dtype, name="packed weights"
    )
    host.owned.append(packed)
    (image,) = _sources(convolution, 0)
    emitter = LaneSumsEmitter(convolution, plan, epilogue, image, packed)
    first = _item(host, [*_sources(convolution, 1), packed], emitter.emit_weights, {packed})
    first.tasks, first.title = plan.geometry.outs, "weights of convolution"
    pointers = [image, packed, *epilogue.read, *epilogue.written_in_order]
    second = _item(host, list(dict.fromkeys(pointers)), emitter.emit, set(epilogue.written))
    second.tasks, second.flops, second.gain = plan.tasks, plan.geometry.flops, GAIN
    second.title = _title(plan.geometry)
    return [first, second]


def _correlation(
    host: Host,
    convolution: Convolution,
    plan: Correlation | TapSums | LaneGradient,
    epilogue: Epilogue,
) -> list[KernelItem]:
    """Sums of every part, then of all."""
    x = convolution.instruction
    partial = Tensor((plan.parts * plan.part_sums,), x.result.dtype, name="sums of parts")
    host.owned.append(partial)
    emitter: CorrelationEmitter | TapEmitter | LaneGradientEmitter
    if isinstance(plan, Correlation):
        emitter = CorrelationEmitter(convolution, plan, epilogue, partial)
    elif isinstance(plan, LaneGradient):
        (image,), (cotangent,) = _sources(convolution, 0), _sources(convolution, 1)
        emitter = LaneGradientEmitter(plan, epilogue, image, cotangent, partial)
    else:
        emitter = TapEmitter(convolution, plan, epilogue, partial)
    pointers = [*_sources(convolution, 0), *_sources(convolution, 1), partial]
    first = _item(host, list(dict.fromkeys(pointers)), emitter.emit_parts, {partial})
    first.tasks, first.flops, first.gain = plan.tasks, plan.geometry.flops, GAIN
    first.title = _gradient_title(plan.geometry)
    pointers = [partial, *epilogue.read, *epilogue.written_in_order]
    second = _item(host, list(dict.fromkeys(pointers)), emitter.emit_result, set(epilogue.written))
    second.tasks = emitter.result_tasks
    second.title = "sums of weight gradient"
    return [first, second]


def _title(g: Geometry) -> str:
    kernel = "x".join(str(line.kernel) for line in g.lines)
    groups = f" in {g.groups} groups" if g.groups > 1 else ""
    return f"convolution {g.channels * g.groups}->{g.outs * g.groups} {kernel}{groups}"


def _gradient_title(g: Geometry) -> str:
    """The same of a weight gradient, in the terms of the convolution whose weight it is."""
    kernel = "x".join(str(line.out) for line in g.lines)
    groups = f" in {g.groups} groups" if g.groups > 1 else ""
    return f"weight gradient {g.batch * g.groups}->{g.outs * g.groups} {kernel}{groups}"


def _sources(convolution: Convolution, operand: int) -> dict[Tensor, None]:
    """Tensors in memory that an operand is read from."""
    g = convolution.geometry
    places = [Axis(line.kernel if operand else line.source) for line in g.lines]
    found = convolution.any_element(operand, places)
    return dict.fromkeys(load.tensor for load in loads(found))


def _item(host: Host, pointers: list[Tensor], emit: Write, writes: set[Tensor]) -> KernelItem:
    blames: list[int] = []
    name = host.function(pointers, blames, emit)
    reads = {t for t in pointers if t not in writes}
    return KernelItem(name, pointers, reads, writes, 1, blames, 0.0, traffic(pointers))
