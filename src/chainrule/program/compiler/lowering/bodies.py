"""Bodies of loops and branches, lowered by the same lowering as the block around them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.schedule import Item, KernelItem

NOWHERE = Origin("", 0, "", 0)


class Host(Protocol):
    """What a lowering offers."""

    aliases: dict[Tensor, Tensor]
    owned: list[Tensor]
    read: set[Tensor]
    invariant: set[Tensor]
    before: list[Item]

    def lower(
        self,
        block: Block,
        given: set[Tensor],
        writes: Mapping[Tensor, Tensor] | None = None,
        loss: Tensor | None = None,
        resident: Collection[Tensor] = (),
        carried: Mapping[Tensor, Tensor] | None = None,
    ) -> list[Item]:
        """The schedule of a block."""

    def copy(self, source: Tensor, target: Tensor) -> KernelItem:
        """A kernel that copies a tensor."""

    def root(self, tensor: Tensor) -> Tensor:
        """The tensor whose memory a tensor lies in."""


def lower_body(
    host: Host,
    body: Block,
    given: Sequence[Tensor],
    carried: Mapping[Tensor, Tensor],
    constants: Sequence[Tensor],
    items: list[Item],
) -> list[Item]:
    """The items of one step.

    Args:
        host: The lowering.
        body: The step.
        given: Outputs whose memory is there.
        carried: Output → input whose memory it takes over if that is possible.
        constants: Inputs that are the same in every turn.
        items: Gets what is done once, before the loop.
    """
    outside, before = host.invariant, host.before
    host.invariant, host.before = set(constants), []
    inner = host.lower(body, set(given), carried=carried)
    for item in host.before:
        # of a loop in a loop: what even the outer one does not change is done before that
        sources = (
            {host.aliases.get(t, t) for t in item.reads} if isinstance(item, KernelItem) else ()
        )
        (before if sources and outside.issuperset(sources) else items).append(item)
    host.invariant, host.before = outside, before
    return inner


def own_outputs(block: Block) -> Block:
    """The block with every output a result of its own: inputs, constants and twins are copied."""
    seen: set[Tensor] = set()
    outputs = []
    for output in block.outputs:
        if output.producer is None or output in seen or output in block.inputs:
            made = Instruction(
                REGISTRY["barrier"], [output], {}, [(output.shape, output.dtype)], NOWHERE
            )
            block.instructions.append(made)
            output = made.result
        seen.add(output)
        outputs.append(output)
    block.outputs = outputs
    return block
