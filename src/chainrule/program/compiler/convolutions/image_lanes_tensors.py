"""Which tensors lie with images in the lanes: those that such convolutions read, and neighbours."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import partial

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.convolutions.geometry import describe
from chainrule.program.compiler.convolutions.image_lanes import (
    ImageLanes,
    LaneGradient,
    LaneSums,
)
from chainrule.program.compiler.convolutions.operands import Convolution
from chainrule.program.compiler.convolutions.planning import AnyPlan
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.fusion import Fusion
from chainrule.program.compiler.groups import Group
from chainrule.program.compiler.indices import Axis, axis_index
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.elements import ELEMENTS
from chainrule.program.compiler.lowering.reductions import FOLDS
from chainrule.program.compiler.reading import Reader

PlanOf = Callable[[Instruction], "AnyPlan | None"]
CHEAP = frozenset(("add", "subtract", "multiply", "negative", "greater", "less", "equal"))
LEAST_AXES = 3  # of a neighbour: images, channels, pixels


def lane_operands(x: Instruction, plan: AnyPlan | None) -> dict[int, bool]:
    """Operands that must lie in lanes, and whether images are their second axis."""
    if isinstance(plan, LaneSums):
        return {0: False}
    return {0: True, 1: True} if isinstance(plan, LaneGradient) else {}


def bring_images_to_lanes(
    block: Block,
    is_virtual: Callable[[Instruction], bool],
    forced: Collection[Tensor],
    plan_of: PlanOf,
) -> None:
    """Copy operands of such convolutions whose memory can not be laid out for them.

    Args:
        block: Its instructions are changed.
        is_virtual: True for instructions without memory of their own.
        forced: Tensors that lie as the caller wants them.
        plan_of: How a convolution is computed.
    """
    plans = {x: plan for x in block.instructions if (plan := plan_of(x)) is not None}
    if not any(lane_operands(x, plan) for x, plan in plans.items()):
        return
    own = {r for x in block.instructions if not is_virtual(x) for r in x.results}
    readers = _memory_readers(block, is_virtual)
    result: list[Instruction] = []
    copies: dict[Tensor, Tensor] = {}

    def emit(name: str, operand: Tensor, shape: tuple[int, ...], **attributes: object) -> Tensor:
        op, origin = REGISTRY[name], x.origin
        made = Instruction(op, [operand], attributes, [(shape, operand.dtype)], origin)
        result.append(made)
        return made.result

    for x in block.instructions:
        for position, swapped in lane_operands(x, plans.get(x)).items():
            operand = x.operands[position]
            source = _source(operand, swapped)
            if source is None:  # only where images are the second axis
                source = emit("transpose", operand, _swap(operand.shape), axes=_order(operand))
            elif source in own and source not in forced and _is_free(readers[source], plans):
                continue
            if source not in copies:
                copies[source] = emit("barrier", source, source.shape)
            copy = copies[source]
            if swapped:
                copy = emit("transpose", copy, operand.shape, axes=_order(operand))
            x.operands[position] = copy
        result.append(x)
    block.instructions = result


def _swap(shape: tuple[int, ...]) -> tuple[int, ...]:
    return (shape[1], shape[0], *shape[2:])


def _order(x: Tensor) -> tuple[int, ...]:
    return (1, 0, *range(2, len(x.shape)))


def _source(operand: Tensor, swapped: bool) -> Tensor | None:
    """The tensor behind movement of which images are the first axis, channels the second."""
    found = None if swapped else operand
    axes = [axis_index(Axis(n)) for n in operand.shape]
    wanted = (axes[1], axes[0], *axes[2:]) if swapped else tuple(axes)
    tensor = operand
    while tensor.producer is not None and tensor.producer.op.name in ("transpose", "reshape"):
        tensor = tensor.producer.operands[0]
        value = Reader(partial(_is_leaf, tensor))(operand, tuple(axes))
        if isinstance(value, Load) and value.tensor is tensor and value.indices == wanted:
            found = tensor
    return found


def _is_leaf(leaf: Tensor, tensor: Tensor) -> bool:
    return tensor is leaf or tensor.producer is None


def _memory_readers(
    block: Block, is_virtual: Callable[[Instruction], bool]
) -> dict[Tensor, list[Instruction]]:
    """Who reads each tensor, directly or through tensors without memory."""
    readers: dict[Tensor, list[Instruction]] = {}
    for x in reversed(block.instructions):
        behind = [x]
        if is_virtual(x):
            behind = [r for result in x.results for r in readers.get(result, [])]
        for operand in x.operands:
            readers.setdefault(operand, []).extend(behind)
    for x in block.instructions:
        for made in x.results:
            readers.setdefault(made, [])
    return readers


def _is_free(readers: list[Instruction], plans: Mapping[Instruction, AnyPlan]) -> bool:
    """True if all readers find elements wherever they lie."""
    for x in readers:
        if x in plans:
            if not lane_operands(x, plans[x]):
                return False
        elif x.op.name == "dot_general" or x.op.name not in {*ELEMENTS, *FOLDS}:
            return False
    return True


def lane_layouts(
    block: Block,
    fusion: Fusion,
    convolutions: Mapping[Instruction, Convolution],
    free: Collection[Tensor],
    plan_of: PlanOf,
) -> dict[Tensor, ImageLanes]:
    """The layouts of what such convolutions read, and of what is read or written beside it.

    Args:
        block: What is lowered.
        fusion: Its groups.
        convolutions: The convolutions with kernels of their own.
        free: Tensors whose layout may be chosen.
        plan_of: How a convolution is computed.
    """
    found: dict[Tensor, ImageLanes] = {}
    plans = {x: plan for x in convolutions if (plan := plan_of(x)) is not None}
    for x, plan in plans.items():
        for position in lane_operands(x, plan):
            g = describe(x)
            places = [Axis(line.kernel if position else line.source) for line in g.lines]
            load = convolutions[x].any_element(position, places)
            assert isinstance(load, Load)
            assert isinstance(plan, LaneSums | LaneGradient)
            found[load.tensor] = ImageLanes(load.tensor.shape, lanes=plan.lanes)
    if not found:
        return found
    readers = _memory_readers(block, lambda x: not any(fusion.is_leaf(r) for r in x.results))
    candidates = {
        t
        for t in free
        if len(t.shape) >= LEAST_AXES and t not in found and _is_free(readers.get(t, []), plans)
    }
    touched = [_touched(group, fusion) for group in fusion.groups if _steps_freely(group, plans)]
    pending = list(found)
    while pending:
        known = pending.pop()
        alike = (t for tensors in touched if known in tensors for t in tensors & candidates)
        for tensor in dict.fromkeys(alike):
            same = tensor.shape[0] == known.shape[0] and tensor.dtype == known.dtype
            if same and tensor not in found:
                found[tensor] = ImageLanes(tensor.shape, lanes=found[known].lanes)
                pending.append(tensor)
    return found


def _touched(group: Group, fusion: Fusion) -> set[Tensor]:
    """Tensors that a group reads or makes."""
    made = {r for m in group.members for r in m.results}
    return made.union(*(fusion.sources(x) for m in group.members for x in m.operands))


def _steps_freely(group: Group, plans: Mapping[Instruction, AnyPlan]) -> bool:
    """True for loops over elements, and for convolutions with images in the lanes."""
    if group.kind == "nest":
        return True
    return group.kind == "product" and isinstance(plans.get(group.members[0]), LaneSums)


def cheap_again(
    block: Block, is_virtual: Callable[[Instruction], bool], plan_of: PlanOf
) -> set[Instruction]:
    """Elementwise work that whoever reads it had better do itself, from a tensor in memory anyway.

    1 − tanh² of a convolution's output is as large as the output; written beside it and read much
    later it costs memory traffic, computed again two operations.
    """
    plans = [x for x in block.instructions if isinstance(plan_of(x), LaneSums)]
    batches = {x.result.shape[0] for x in plans}
    users, kept = block.users(), set(block.outputs)
    source_of: dict[Tensor, Tensor] = {}  # of a chain's result, what it is computed from
    chains: dict[Tensor, set[Instruction]] = {}
    for x in block.instructions:
        if x.op.name not in CHEAP or len(x.results) != 1 or x.result in kept:
            continue
        shape = x.result.shape
        sources = {source_of.get(o, o) for o in x.operands if not _is_uniform(o)}
        if len(sources) != 1 or len(shape) < LEAST_AXES or shape[0] not in batches:
            continue
        (source,) = sources
        chain = {x}.union(*(chains.get(o, set()) for o in x.operands))
        once = all(len(set(users.get(m.result, []))) == 1 for m in chain)
        if once and source.shape == shape and source.producer is not None:
            source_of[x.result], chains[x.result] = source, chain
    found: set[Instruction] = set()
    for end, source in source_of.items():
        others = [u for u in users[source] if u not in chains[end]]
        in_memory = any(is_virtual(u) or u.op.name not in ELEMENTS for u in others)
        last = users[end][0].result not in source_of if users[end][0].results else True
        if last and in_memory and source.producer is not None and not is_virtual(source.producer):
            found |= chains[end]
    return found


def _is_uniform(x: Tensor) -> bool:
    """True for copies of one number."""
    if x.size == 1:
        return True
    made = x.producer
    return made is not None and made.op.name == "broadcast_to" and made.operands[0].size == 1
