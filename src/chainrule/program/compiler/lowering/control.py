"""Loops and branches: control ops become items that hold the items of their bodies.

What a ``scan`` carries is not copied from step to step. A carry that is stacked too is read where
the step before has stacked it; others lie in the two rows of a ring in turn, or, if they are large
and a step reads each element only where it writes it, are overwritten.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Protocol

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.schedule import BranchItem, Carried, Item, KernelItem, LoopItem

NOWHERE = Origin("", 0, "", 0)
LARGE = 1 << 18  # bytes of a carry from which a second copy of it costs more than one at the start


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


def lower_scan(host: Host, x: Instruction) -> list[Item]:
    """The items of a ``scan``: what is done once, and the loop."""
    n = x.attributes["n_carry"]
    end = n + x.attributes["n_xs"]
    if x.attributes["length"] == 0:
        host.owned += list(x.results)
        return [host.copy(a, b) for a, b in zip(x.operands[:n], x.results[:n], strict=True)]
    body = x.bodies["body"]
    from_stack = _carries_in_stacks(host, x)
    kept = [i for i in range(n) if i not in from_stack]
    stacked = body.outputs[n:]
    body.outputs = [body.outputs[i] for i in kept] + stacked
    body = own_outputs(body)
    new, stacked = body.outputs[: len(kept)], body.outputs[len(kept) :]
    slices = dict(zip(body.inputs[n:end], x.operands[n:end], strict=True))
    slices |= dict(zip(stacked, x.results[n:], strict=True))
    constants = body.inputs[end:]
    host.aliases |= zip(constants, x.operands[end:], strict=True)
    items: list[Item] = []
    inner = _lower_body(host, body, stacked, dict(zip(new, kept, strict=True)), constants, items)
    carried: list[Carried] = []
    after: list[Item] = []
    for i, y in zip(kept, new, strict=True):
        carry, start, result = body.inputs[i], x.operands[i], x.results[i]
        host.owned.append(result)
        if host.aliases.get(y) is carry:
            host.owned.append(carry)
            items.append(host.copy(start, carry))
            after.append(host.copy(carry, result))
        else:
            ring = Tensor((2, *y.shape), y.dtype, name="carry")
            host.owned.append(ring)
            carried.append(Carried(carry, start, ring, y, result))
    for i, place in from_stack.items():
        carried.append(Carried(body.inputs[i], x.operands[i], x.results[n + place]))
    host.owned += x.results[n:]
    loop = LoopItem(x.attributes["length"], x.attributes["reverse"], slices, inner, carried)
    return [*items, loop, *after]


def _carries_in_stacks(host: Host, x: Instruction) -> dict[int, int]:
    """Carry → stacked result that holds it, for carries of which nobody reads the last."""
    n, outputs = x.attributes["n_carry"], x.bodies["body"].outputs
    found = {}
    for i, y in enumerate(outputs[:n]):
        if y.producer is not None and y in outputs[n:] and x.results[i] not in host.read:
            found[i] = outputs[n:].index(y)
    return found


def _lower_body(
    host: Host,
    body: Block,
    stacked: Sequence[Tensor],
    carries: dict[Tensor, int],
    constants: Sequence[Tensor],
    items: list[Item],
) -> list[Item]:
    """The items of one step; ``items`` gets what is done once, before the loop."""
    outside, before = host.invariant, host.before
    host.invariant, host.before = set(constants), []
    carried = {y: body.inputs[i] for y, i in carries.items()}
    inner = host.lower(body, set(stacked), carried=carried)
    for item in host.before:
        # of a loop in a loop: what even the outer one does not change is done before that
        sources = (
            {host.aliases.get(t, t) for t in item.reads} if isinstance(item, KernelItem) else ()
        )
        (before if sources and outside.issuperset(sources) else items).append(item)
    host.invariant, host.before = outside, before
    return inner


def lower_branches(host: Host, x: Instruction) -> list[Item]:
    """The item of a ``cond``."""
    branches = []
    for key in ("on_true", "on_false"):
        body = own_outputs(x.bodies[key])
        host.aliases |= zip(body.inputs, x.operands[1:], strict=True)
        host.aliases |= zip(body.outputs, x.results, strict=True)
        branches.append(host.lower(body, set(body.outputs)))
    host.owned += list(x.results)
    return [BranchItem(x.operands[0], branches[0], branches[1])]


def lower_while(host: Host, x: Instruction) -> list[Item]:
    """The items of a ``while_loop``: its state is copied, then overwritten in each turn."""
    n_state, n_test = x.attributes["n_state"], x.attributes["n_test"]
    test, body = own_outputs(x.bodies["test"]), own_outputs(x.bodies["body"])
    constants = x.operands[n_state:]
    items: list[Item] = []
    for place, start in enumerate(x.operands[:n_state]):
        result = x.results[place]
        host.owned.append(result)
        items.append(host.copy(start, result))
        host.aliases[test.inputs[place]] = result
        host.aliases[body.inputs[place]] = result
    host.aliases |= zip(test.inputs[n_state:], constants[:n_test], strict=True)
    host.aliases |= zip(body.inputs[n_state:], constants[n_test:], strict=True)
    before = host.lower(test, set())
    inner = host.lower(body, set())
    inner += [host.copy(new, result) for new, result in zip(body.outputs, x.results, strict=True)]
    items.append(LoopItem(None, False, {}, inner, test_items=before, test=test.outputs[0]))
    return items


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
