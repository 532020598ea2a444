"""Loops whose turns compute some of a batch's rows: those of sequences that are not over.

The body is lowered for a few numbers of rows; each turn takes the smallest that is enough, or none.
All of them work on the same memory, whose first rows they read and write. What a turn leaves out
keeps its carries, and is zero in stacks; a stack that only loops of the same bound read, which
leave out the same rows, is not even filled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.lowering.bodies import NOWHERE, Host, lower_body, own_outputs
from chainrule.program.compiler.lowering.fewer_rows import FewerRows
from chainrule.program.compiler.passes.row_bounds import ROW_BOUND, bound_outside
from chainrule.program.compiler.schedule import BranchItem, Item, KernelItem, LoopItem

PARTS = 4  # into so many parts a batch is cut: as many bodies are compiled
LEAST = 4  # rows of a part


class Full(NamedTuple):
    """The body of a loop for all rows, lowered.

    Args:
        body: The body.
        kept: Carry → what a turn makes of it, of those with memory of their own.
        stacked: What a turn stacks.
        in_stack: Carry → the stacked tensor that is its next value.
        n_moving: Inputs that are carries or slices; constants follow.
    """

    body: Block
    kept: dict[Tensor, Tensor]
    stacked: list[Tensor]
    in_stack: dict[Tensor, Tensor]
    n_moving: int


def row_counts(scan: Instruction) -> tuple[int, ...]:
    """For how many rows the body of a bounded scan is compiled, all of them being the last."""
    body, n = scan.bodies["body"], scan.attributes["n_carry"]
    sizes = {y.shape[:1] for y in body.outputs}
    if len(sizes) != 1 or sizes == {()}:
        return ()
    ((rows,),) = sizes
    moving = body.inputs[: n + scan.attributes["n_xs"]]
    if not FewerRows(body, with_rows(moving, rows), rows).fits:
        return ()
    step = max(LEAST, -(-rows // PARTS))
    step = -(-step // LEAST) * LEAST
    return (*range(step, rows, step), rows)


def with_rows(moving: Sequence[Tensor], rows: int) -> set[Tensor]:
    """Carries and slices that have a row for each sequence."""
    return {x for x in moving if x.shape[:1] == (rows,)}


def take_bound(scan: Instruction) -> Tensor | None:
    """The rows of each turn, as they come from outside; the body no longer says so."""
    bound, body = bound_outside(scan), scan.bodies["body"]
    body.instructions = [x for x in body.instructions if x.op is not ROW_BOUND]
    return bound


class BoundedLoop:
    """Adds the bodies for fewer rows to a loop.

    Args:
        host: The lowering.
        loop: The loop, with the items for all rows.
        full: Its body.
        constants: Operands of the scan that are the same in every turn.
        before: What is done once, before the loop; extended.
    """

    def __init__(
        self,
        host: Host,
        loop: LoopItem,
        full: Full,
        constants: Sequence[Tensor],
        before: list[Item],
    ) -> None:
        self.host = host
        self.loop = loop
        self.full = full
        self.constants = constants
        self.before = before

    def add(
        self, bodies: Mapping[int, Block], rows: int, bound: Tensor, filled: Sequence[Tensor]
    ) -> None:
        """Let each turn choose.

        Args:
            bodies: Number of rows → the body for so many, smaller than the full one's.
            rows: Rows of the full body; 0 if it has none, and runs or does not.
            bound: Rows of all turns, (turns,).
            filled: Tensors of ``full.stacked`` that are read elsewhere.
        """
        everything = self.loop.body
        chosen: list[Item] = self._rest(0, rows, filled)
        least = 0
        for number, body in sorted(bodies.items()):
            items = [*self._rest(number, rows, filled), *self._lowered(body)]
            chosen = [BranchItem(self._more_than(bound, least), items, chosen)]
            least = number
        self.loop.body = [BranchItem(self._more_than(bound, least), everything, chosen)]

    def _more_than(self, bound: Tensor, number: int) -> Tensor:
        """Whether a turn has more rows than a number."""
        limit = Tensor((), bound.dtype, constant=np.asarray(number, bound.dtype))
        spread = _made("broadcast_to", [limit], shape=bound.shape)
        flags = _made("greater", [bound, spread.result])
        self.before += self.host.lower(Block([bound], [spread, flags], [flags.result]), set())
        inside = Tensor((), np.bool_)
        self.loop.slices[inside] = flags.result
        return inside

    def _rest(self, first: int, rows: int, filled: Sequence[Tensor]) -> list[Item]:
        """Items for the rows from ``first`` on, which are not computed."""
        host, full = self.host, self.full
        targets: dict[Tensor, Tensor | None] = dict.fromkeys(filled)
        targets |= {stacked: carry for carry, stacked in full.in_stack.items()}
        for carry, new in full.kept.items():
            if host.aliases.get(new) is not carry:
                targets[new] = carry
        inputs, instructions = [], []
        for target, source in targets.items():
            shape = (rows - first, *target.shape[1:]) if rows else target.shape
            if source is None:
                zero = Tensor((), target.dtype, constant=np.zeros((), target.dtype))
                made = _made("broadcast_to", [zero], shape=shape)
            else:
                inputs.append(self._view(source, shape, first))
                made = _made("barrier", [inputs[-1]])
            host.aliases[made.result] = target
            if first:
                self.loop.views[made.result] = (target, first * (target.bytes // rows))
            instructions.append(made)
        results = [x.result for x in instructions]
        return host.lower(Block(inputs, instructions, results), set(results)) if results else []

    def _view(self, x: Tensor, shape: tuple[int, ...], first: int) -> Tensor:
        view = Tensor(shape, x.dtype)
        self.host.aliases[view] = x
        if first:
            self.loop.views[view] = (x, first * (x.bytes // x.shape[0]))
        return view

    def _lowered(self, body: Block) -> list[Item]:
        """The items of a body for fewer rows, on the memory of the full one."""
        host, full = self.host, self.full
        body = own_outputs(body)
        moving, constants = body.inputs[: full.n_moving], body.inputs[full.n_moving :]
        host.aliases |= zip(moving, full.body.inputs, strict=False)
        host.aliases |= zip(constants, self.constants, strict=True)
        new, stacked = body.outputs[: len(full.kept)], body.outputs[len(full.kept) :]
        host.aliases |= zip(stacked, full.stacked, strict=True)
        own = dict(zip(full.body.inputs, body.inputs, strict=True))
        carried: dict[Tensor, Tensor] = {}
        for y, (carry, whole) in zip(new, full.kept.items(), strict=True):
            if host.aliases.get(whole) is carry:
                carried[y] = own[carry]
            else:
                host.aliases[y] = whole
        given = [*stacked, *(y for y in new if y not in carried)]
        packs: list[Item] = []
        items = lower_body(host, body, given, carried, constants, packs)
        for y, carry in carried.items():
            if host.aliases.get(y) is not carry:
                host.owned.append(y)
                items.append(host.copy(y, carry))
        self._share(packs)
        return items

    def _share(self, packs: Sequence[Item]) -> None:
        """Do once what is done before the loop, such as packing a weight, for several bodies."""
        known = {self._key(x): x for x in self.before if isinstance(x, KernelItem)}
        for item in packs:
            first = known.get(self._key(item)) if isinstance(item, KernelItem) else None
            if first is None or not isinstance(item, KernelItem):
                self.before.append(item)
                continue
            pairs = zip(item.pointers, first.pointers, strict=True)
            self.host.aliases |= {x: y for x, y in pairs if x in item.writes}

    def _key(self, x: KernelItem) -> tuple[object, ...]:
        sources = [None if y in x.writes else self.host.root(y) for y in x.pointers]
        return (x.name, x.tasks, *sources)


def _made(name: str, operands: list[Tensor], **attributes: object) -> Instruction:
    op = REGISTRY[name]
    return Instruction(op, operands, attributes, [op.infer(*operands, **attributes)], NOWHERE)


def read_elsewhere(
    scan: Instruction, bound: Tensor, counts: tuple[int, ...], block: Block
) -> set[Tensor]:
    """Stacked results that others read than loops of the same bound and numbers of rows."""
    users = block.users()
    found = {x for x in scan.results if x in block.outputs}
    for x in scan.results[scan.attributes["n_carry"] :]:
        for reader in users.get(x, []):
            alike = _slices_only(reader, x) and bound_outside(reader) is bound
            if not alike or row_counts(reader) != counts:
                found.add(x)
    return found


def _slices_only(reader: Instruction, x: Tensor) -> bool:
    if reader.op.name != "scan":
        return False
    n = reader.attributes["n_carry"]
    end = n + reader.attributes["n_xs"]
    return x not in reader.operands[:n] and x not in reader.operands[end:]
