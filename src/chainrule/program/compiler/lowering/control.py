"""Loops and branches: control ops become items that hold the items of their bodies.

What a ``scan`` carries is not copied from step to step. A carry that is stacked too is read where
the step before has stacked it; others lie in the two rows of a ring in turn, or, if they are large
and a step reads each element only where it writes it, are overwritten.
"""

from __future__ import annotations

from typing import NamedTuple

from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.bodies import Host, lower_body, own_outputs
from chainrule.program.compiler.lowering.bounded_loops import (
    BoundedLoop,
    Full,
    read_elsewhere,
    row_counts,
    take_bound,
    with_rows,
)
from chainrule.program.compiler.lowering.fewer_rows import FewerRows
from chainrule.program.compiler.passes.row_bounds import bound_outside
from chainrule.program.compiler.schedule import BranchItem, Carried, Item, LoopItem

LARGE = 1 << 18  # bytes of a carry from which a second copy of it costs more than one at the start


def lower_scan(host: Host, x: Instruction, block: Block) -> list[Item]:
    """The items of a ``scan``: what is done once, and the loop.

    Args:
        host: The lowering.
        x: The scan.
        block: The block that it is in.
    """
    n = x.attributes["n_carry"]
    end = n + x.attributes["n_xs"]
    if x.attributes["length"] == 0:
        host.owned += list(x.results)
        return [host.copy(a, b) for a, b in zip(x.operands[:n], x.results[:n], strict=True)]
    body = x.bodies["body"]
    from_stack = _carries_in_stacks(host, x)
    kept = [i for i in range(n) if i not in from_stack]
    bounded = _Bounded.of(x, block)
    stacked = body.outputs[n:]
    body.outputs = [body.outputs[i] for i in kept] + stacked
    smaller = bounded.bodies(body, end) if bounded else {}
    body = own_outputs(body)
    new, stacked = body.outputs[: len(kept)], body.outputs[len(kept) :]
    slices = dict(zip(body.inputs[n:end], x.operands[n:end], strict=True))
    slices |= dict(zip(stacked, x.results[n:], strict=True))
    constants = body.inputs[end:]
    host.aliases |= zip(constants, x.operands[end:], strict=True)
    items: list[Item] = []
    own = {y: body.inputs[i] for y, i in zip(new, kept, strict=True)}
    inner = lower_body(host, body, stacked, own, constants, items)
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
    if bounded:
        in_stack = {body.inputs[i]: stacked[place] for i, place in from_stack.items()}
        full = Full(body, {carry: y for y, carry in own.items()}, stacked, in_stack, end)
        filled = [y for y, r in zip(stacked, x.results[n:], strict=True) if r in bounded.filled]
        choosing = BoundedLoop(host, loop, full, x.operands[end:], items)
        choosing.add(smaller, max(bounded.counts, default=0), bounded.rows, filled)
    return [*items, loop, *after]


class _Bounded(NamedTuple):
    """What is known of the rows that the turns of a loop compute.

    Args:
        rows: How many each turn must, (turns,).
        counts: Numbers of rows for which the body is compiled; none: it runs or does not.
        filled: Stacked results that are read elsewhere.
    """

    rows: Tensor
    counts: tuple[int, ...]
    filled: set[Tensor]

    @classmethod
    def of(cls, scan: Instruction, block: Block) -> _Bounded | None:
        """None if nothing bounds them; the body no longer says so."""
        rows = bound_outside(scan)
        counts = row_counts(scan) if rows is not None else ()
        filled = read_elsewhere(scan, rows, counts, block) if rows is not None else set()
        take_bound(scan)
        return None if rows is None else cls(rows, counts, filled)

    def bodies(self, body: Block, n_moving: int) -> dict[int, Block]:
        """The body for fewer rows, by their number."""
        if not self.counts:
            return {}
        rows = self.counts[-1]
        fewer = FewerRows(body, with_rows(body.inputs[:n_moving], rows), rows)
        return {n: fewer.body_of(n) for n in self.counts[:-1]}


def _carries_in_stacks(host: Host, x: Instruction) -> dict[int, int]:
    """Carry → stacked result that holds it, for carries of which nobody reads the last."""
    n, outputs = x.attributes["n_carry"], x.bodies["body"].outputs
    found = {}
    for i, y in enumerate(outputs[:n]):
        if y.producer is not None and y in outputs[n:] and x.results[i] not in host.read:
            found[i] = outputs[n:].index(y)
    return found


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
