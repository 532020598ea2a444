"""Products of loops: what is multiplied in every step is multiplied once for all steps.

Reason: a step of a recurrent cell multiplies few rows. The products of its inputs with the weights
depend on no state: one product of all steps' rows goes before the loop. The gradient of the weights
is a sum over the steps of products: one product with the steps in its depth goes behind the loop,
and so does what only leaves the loop, such as an output layer or the inputs' gradient. In the loop
stays what each step needs from the one before.

- A sum that a carry collects, of products or sums of what each step has, is one product or sum of
  what all steps have. Added up in another order.
- A product with a constant of the loop, of what no step computes, moves before the loop; the
  steps' results are read as slices. Exact.
- Stacked results that products with constants of the loop make, and nobody in the step reads, are
  computed behind the loop from what those products read. Exact.
- What is looked up in a small table for all steps is looked up in each step. Exact.
- A product of joined operands, of which the steps compute some, is the sum of the products of the
  parts; a product of which parts leave the loop is computed in parts. So the rules above find them.

Steps that have many rows of their own keep their products: nothing is gained, and stacks cost room.
So do steps with a bound on their rows, which leave out those of sequences that are over; their sums
of products leave the loop as products of the rows that count alone (``packed_products``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from chainrule.ops import dtypes
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes.lifting import CHEAP, Lifted, Lifter
from chainrule.program.compiler.passes.lookups import is_small
from chainrule.program.compiler.passes.packed_products import is_packable, packed_product
from chainrule.program.compiler.passes.product_parts import part_of_product, product_of_parts
from chainrule.program.compiler.passes.rewriting import copied, made_by, uniform
from chainrule.program.compiler.passes.row_bounds import bound_outside
from chainrule.program.compiler.passes.walking import every_block

MANY_ROWS = 256  # rows, or depth, of a step's product from which more of them gain nothing
_LINEAR = (
    "reshape",
    "transpose",
    "pad",
    "slice",
)  # what a sum may move through, on its way to the carry
_LATER = CHEAP | {"dot_general", "sum"}


def loop_products(block: Block) -> bool:
    """Move products out of the loops of the block and of its bodies.

    Returns:
        Whether anything changed.
    """
    changed = False
    for each in every_block(block):
        for x in list(each.instructions):
            if x.op.name == "scan" and x.attributes["length"] > 1:
                changed |= _Scan(each, x).run()
    return changed


class _Scan:
    """One loop of a block."""

    def __init__(self, block: Block, scan: Instruction) -> None:
        self.block = block
        self.scan = scan
        self.body = scan.bodies["body"]
        self.n_carry: int = scan.attributes["n_carry"]
        self.length: int = scan.attributes["length"]
        self.bound = bound_outside(scan)
        self.changed = False

    def run(self) -> bool:
        """Apply every rule once."""
        self._unstack_constants()
        self._read_copies_once()
        self._split_joined()
        self._split_read_parts()
        if self.bound is None:  # else the steps of a sequence that is over would be computed
            self._before()
        self._look_up_inside()
        self._sums()
        if self.bound is None:
            self._after()
        return self.changed

    # -- what there is ----------------------------------------------------------------------------

    def _inputs(self) -> dict[Tensor, Lifted]:
        """Slices and constants of the loop, as they are outside."""
        n, end = self.n_carry, self.n_carry + self.scan.attributes["n_xs"]
        pairs = list(zip(self.body.inputs, self.scan.operands, strict=True))
        return {x: Lifted(y, place < end - n) for place, (x, y) in enumerate(pairs[n:])}

    def _known_behind(self) -> dict[Tensor, Lifted]:
        """Slices, constants and what is stacked."""
        outputs, results = self.body.outputs, self.scan.results
        stacked = zip(outputs[self.n_carry :], results[self.n_carry :], strict=True)
        return {x: Lifted(y, True) for x, y in stacked} | self._inputs()

    def _uses(self) -> dict[Tensor, int]:
        table: dict[Tensor, int] = {}
        read = [x for i in self.body.instructions for x in i.operands]
        for x in [*read, *self.body.outputs]:
            table[x] = table.get(x, 0) + 1
        return table

    # -- changes ----------------------------------------------------------------------------------

    def _insert(self, made: Sequence[Instruction], *, after: bool) -> None:
        place = self.block.instructions.index(self.scan) + after
        self.block.instructions[place:place] = made
        self.changed = True

    def _swap(self, other: dict[Tensor, Tensor], since: Sequence[Instruction]) -> None:
        """Let readers behind the loop, but not those just made, read something else."""
        for instruction in self.block.instructions:
            if instruction not in since:
                instruction.operands = [other.get(x, x) for x in instruction.operands]
        self.block.outputs = [other.get(x, x) for x in self.block.outputs]

    def _read_slices(self, outside: Tensor, inside: Tensor) -> None:
        """A result of the body comes as a slice from outside."""
        end = self.n_carry + self.scan.attributes["n_xs"]
        piece = Tensor(inside.shape, inside.dtype)
        self.body.inputs.insert(end, piece)
        self.scan.operands.insert(end, outside)
        self.scan.attributes = self.scan.attributes | {"n_xs": self.scan.attributes["n_xs"] + 1}
        for instruction in self.body.instructions:
            instruction.operands = [piece if x is inside else x for x in instruction.operands]
        self.body.outputs = [piece if x is inside else x for x in self.body.outputs]

    def _stack(self, x: Tensor) -> Tensor:
        """All steps of a tensor of the body, as a result of the loop."""
        for place, y in enumerate(self.body.outputs[self.n_carry :], self.n_carry):
            if y is x:
                return self.scan.results[place]
        result = Tensor((self.length, *x.shape), x.dtype, self.scan)
        self.scan.results.append(result)
        self.body.outputs.append(x)
        return result

    # -- what does not change ---------------------------------------------------------------------

    def _unstack_constants(self) -> None:
        """Stacked results that are the same in every step are copies."""
        constants = {x: y for x, y in self._inputs().items() if not y.varies}
        lifter = Lifter(self.length, constants)
        other: dict[Tensor, Tensor] = {}
        for place in reversed(range(self.n_carry, len(self.body.outputs))):
            y = self.body.outputs[place]
            if lifter.is_free(y):
                other[self.scan.results[place]] = lifter.spread(lifter.lift(y))
                del self.body.outputs[place], self.scan.results[place]
        if other:
            self._insert(lifter.made, after=True)
            self._swap(other, [])

    def _read_copies_once(self) -> None:
        """Slices of copies along the steps are a constant of the loop."""
        end = self.n_carry + self.scan.attributes["n_xs"]
        for place in reversed(range(self.n_carry, end)):
            x = self.scan.operands[place]
            source = copied(x)
            if source is None or (len(source.shape) == len(x.shape) and source.shape[0] != 1):
                continue
            lifter = Lifter(1, {})
            origin = x.producer.origin if x.producer is not None else self.scan.origin
            if len(source.shape) == len(x.shape):
                source = lifter.emit("reshape", source, origin=origin, shape=source.shape[1:])
            if source.shape != x.shape[1:]:
                source = lifter.emit("broadcast_to", source, origin=origin, shape=x.shape[1:])
            self._insert(lifter.made, after=False)
            self.scan.operands.append(source)
            self.body.inputs.append(self.body.inputs.pop(place))
            del self.scan.operands[place]
            n_xs = self.scan.attributes["n_xs"] - 1
            self.scan.attributes = self.scan.attributes | {"n_xs": n_xs}
            self.changed = True

    # -- before the loop --------------------------------------------------------------------------

    def _before(self) -> None:
        inputs = self._inputs()
        lifter = Lifter(self.length, dict(inputs))
        constant = Lifter(self.length, {x: y for x, y in inputs.items() if not y.varies})
        for x in list(self.body.instructions):
            if x.op.name != "dot_general" or not _is_narrow(x, constant):
                continue
            if all(lifter.is_free(y) for y in x.operands):
                for y in x.operands:
                    lifter.lift(y)
                outside = lifter.apply(x)
                self.body.instructions.remove(x)
                self._read_slices(outside.x, x.result)
                self._insert(lifter.made, after=False)
                lifter.made.clear()
                lifter.known[self.body.inputs[self._last_slice()]] = outside

    def _look_up_inside(self) -> None:
        """Slices of what was looked up in a small table are looked up in the step.

        The table stays in the cache; all of its rows for all steps would not.
        """
        users = self.body.users()
        n, end = self.n_carry, self.n_carry + self.scan.attributes["n_xs"]
        for place in range(n, end):
            found = made_by(self.scan.operands[place], "gather")
            inside = self.body.inputs[place]
            readers = users.get(inside, [])
            if found is None or not is_small(*found.operands) or inside in self.body.outputs:
                continue
            if any(x.op.name not in CHEAP for x in readers) or len(found.operands[1].shape) < 2:
                continue
            data, places = found.operands
            rows = Tensor(data.shape, data.dtype)
            piece = Tensor(places.shape[1:], places.dtype)
            lifter = Lifter(1, {})
            value = lifter.emit("gather", rows, piece, origin=found.origin)
            for x in readers:
                x.operands = [value if y is inside else y for y in x.operands]
            self.body.instructions[:0] = lifter.made
            self.body.inputs[place], self.scan.operands[place] = piece, places
            self.body.inputs.append(rows)
            self.scan.operands.append(data)
            self.changed = True

    def _last_slice(self) -> int:
        return self.n_carry + int(self.scan.attributes["n_xs"]) - 1

    # -- sums over the steps ----------------------------------------------------------------------

    def _sums(self) -> None:
        for place in range(self.n_carry):
            carry, out = self.body.inputs[place], self.body.outputs[place]
            uses = self._uses()
            if uses.get(carry) != 1 or uses[out] != 1 or not dtypes.is_floating(out.dtype):
                continue
            terms = _terms(out, carry, uses)
            if terms is None:
                continue
            known = self._known_behind()
            moving = [x for x in terms if self._is_movable(x, uses, known)]
            if moving:
                self._move_sums(place, moving, [x for x in terms if x not in moving])

    def _is_movable(
        self, term: Tensor, uses: dict[Tensor, int], known: dict[Tensor, Lifted]
    ) -> bool:
        core = _core(term, uses)
        if core is None or not self._is_only_moved(core.result, uses):
            return False
        lifter = Lifter(self.length, known)
        if all(lifter.is_free(x) for x in core.operands):
            return True
        if core.op.name == "sum":  # adding up costs little; a stack for it alone costs room
            return False
        contract = core.attributes["contract"][0]
        return math.prod(core.operands[0].shape[axis] for axis in contract) < MANY_ROWS

    def _is_only_moved(self, x: Tensor, uses: dict[Tensor, int]) -> bool:
        """True if nothing of the step would still compute a product that is summed outside."""
        if uses[x] == 1:
            return True
        readers = self.body.users()[x]
        return len(readers) == uses[x] and all(r.op.name in _LINEAR for r in readers)

    def _move_sums(self, place: int, moving: list[Tensor], rest: list[Tensor]) -> None:
        carry, result = self.body.inputs[place], self.scan.results[place]
        start = self.scan.operands[place]
        lifter = Lifter(self.length, self._known_behind())
        total: Tensor | None = None
        if rest:
            total = result
        elif uniform(start) is None or uniform(start) != 0:
            total = start
        uses = self._uses()
        for term in moving:
            value = self._summed(lifter, term, uses)
            if total is not None:
                origin = lifter.made[-1].origin
                value = lifter.emit("add", total, value, origin=origin)
            total = value
        assert total is not None
        made = list(lifter.made)
        self._insert(made, after=True)
        self.body.outputs[place] = self._added(carry, rest)
        self._swap({result: total}, [*made, self.scan])

    def _added(self, carry: Tensor, rest: list[Tensor]) -> Tensor:
        """What is left to add up in the loop."""
        total = carry
        for x in rest:
            of = self.scan if x.producer is None else x.producer
            lifter = Lifter(self.length, {})
            total = lifter.emit("add", total, x, origin=of.origin)
            self.body.instructions += lifter.made
        return total

    def _summed(self, lifter: Lifter, term: Tensor, uses: dict[Tensor, int]) -> Tensor:
        """The sum over all steps of one term."""
        path: list[Instruction] = []
        core = _core(term, uses, path)
        assert core is not None
        for x in core.operands:
            if not lifter.is_free(x):
                lifter.known[x] = Lifted(self._stack(x), True)
        operands = [lifter.spread(lifter.lift(x)) for x in core.operands]
        if core.op.name == "sum":
            axes = (0, *(axis + 1 for axis in core.attributes["axes"]))
            value = lifter.emit("sum", *operands, origin=core.origin, axes=axes)
        else:
            contract = tuple(
                (0, *(axis + 1 for axis in axes)) for axes in core.attributes["contract"]
            )
            batch = tuple(tuple(axis + 1 for axis in axes) for axes in core.attributes["batch"])
            if self.bound is not None and is_packable(core):
                value = packed_product(lifter, operands, contract, self.bound, core.origin)
            else:
                value = lifter.emit(
                    "dot_general", *operands, origin=core.origin, contract=contract, batch=batch
                )
        for step in reversed(path):
            value = lifter.emit(step.op.name, value, origin=step.origin, **step.attributes)
        return value

    # -- behind the loop --------------------------------------------------------------------------

    def _after(self) -> None:
        inputs = self._inputs()
        constant = Lifter(self.length, {x: y for x, y in inputs.items() if not y.varies})
        leaving = self._leaving()
        for place in range(self.n_carry, len(self.body.outputs)):
            y = self.body.outputs[place]
            products = _products_behind(y, leaving)
            if not products or not all(_is_narrow(x, constant) for x in products):
                continue
            self._move_behind(place, leaving)
            return  # the table of what leaves has changed; the next round goes on

    def _leaving(self) -> set[Tensor]:
        """Results that only stacked results depend on, by ops that can be lifted."""
        kept = set(self.body.outputs[: self.n_carry])
        leaving: set[Tensor] = set()
        for x in reversed(self.body.instructions):
            inside = kept.intersection(x.results)
            if not inside and not x.op.multiple and x.op.name in _LATER:
                leaving.update(x.results)
            else:
                kept.update(x.operands)
        return leaving

    def _move_behind(self, place: int, leaving: set[Tensor]) -> None:
        y, result = self.body.outputs[place], self.scan.results[place]
        lifter = Lifter(self.length, self._inputs())
        frontier: list[Tensor] = []
        pending, seen = [y], {y}
        while pending:
            x = pending.pop()
            if lifter.find(x) is not None:
                continue
            if x not in leaving:
                frontier.append(x)
                continue
            assert x.producer is not None
            fresh = [z for z in x.producer.operands if z not in seen]
            seen.update(fresh)
            pending += fresh
        for x in frontier:
            lifter.known[x] = Lifted(self._stack(x), True)
        outside = lifter.spread(lifter.lift(y))
        made = list(lifter.made)
        self._insert(made, after=True)
        del self.body.outputs[place], self.scan.results[place]
        self._swap({result: outside}, [*made, self.scan])

    # -- parts ------------------------------------------------------------------------------------

    def _split_joined(self) -> None:
        """A product of joined operands, some of which no step computes, is a sum of products."""
        lifter = Lifter(self.length, self._inputs())
        instructions: list[Instruction] = []
        other: dict[Tensor, Tensor] = {}
        for x in self.body.instructions:
            x.operands = [other.get(y, y) for y in x.operands]
            made = product_of_parts(x, lifter) if x.op.name == "dot_general" else None
            instructions += [x] if made is None else made
            if made is not None:
                other[x.result] = made[-1].result
                self.changed = True
        self.body.instructions = instructions
        self.body.outputs = [other.get(y, y) for y in self.body.outputs]

    def _split_read_parts(self) -> None:
        """A product of which some parts only leave the loop is computed in parts."""
        users = self.body.users()
        outputs, leaving = set(self.body.outputs), self._leaving()
        for x in list(self.body.instructions):
            if x.op.name != "dot_general" or x.result in outputs:
                continue
            readers = users.get(x.result, [])
            if any(r.op.name != "slice" for r in readers):
                continue
            if len({r.result in leaving for r in readers}) < 2:
                continue
            if sum(r.result.size for r in readers) > x.result.size:
                continue
            for reader in readers:
                made = part_of_product(x, reader)
                if made is None:
                    break
                self._put(reader, made)
                self.changed = True

    def _put(self, old: Instruction, made: list[Instruction]) -> None:
        """Other instructions, the last of which gives the result, in the place of one."""
        place = self.body.instructions.index(old)
        self.body.instructions[place : place + 1] = made
        new = made[-1].result
        for instruction in self.body.instructions:
            instruction.operands = [new if x is old.result else x for x in instruction.operands]
        self.body.outputs = [new if x is old.result else x for x in self.body.outputs]


def _is_narrow(x: Instruction, constant: Lifter) -> bool:
    """True for a product of a few rows with a constant of the loop."""
    changing = [y for y in x.operands if not constant.is_free(y)]
    if len(changing) != 1:
        return False
    side = x.operands.index(changing[0])
    depth = math.prod(changing[0].shape[axis] for axis in x.attributes["contract"][side])
    return changing[0].size < MANY_ROWS * max(1, depth)


def _terms(out: Tensor, carry: Tensor, uses: dict[Tensor, int]) -> list[Tensor] | None:
    """What a step adds to a carry; None if it does more than adding."""
    terms: list[Tensor] = []
    found = False
    pending = [out]
    while pending:
        x = pending.pop()
        if x is carry:
            found = True
        elif x.producer is not None and x.producer.op.name == "add" and uses[x] == 1:
            pending += x.producer.operands
        else:
            terms.append(x)
    return terms if found and terms else None


def _core(
    term: Tensor, uses: dict[Tensor, int], path: list[Instruction] | None = None
) -> Instruction | None:
    """The product or sum that a term is, behind movements, which are appended to ``path``."""
    x = term
    while x.producer is not None:
        name = x.producer.op.name
        if name in ("dot_general", "sum"):
            return x.producer if uses[x] == 1 or name == "dot_general" else None
        if name not in _LINEAR or uses[x] > 1:
            return None
        if path is not None:
            path.append(x.producer)
        x = x.producer.operands[0]
    return None


def _products_behind(y: Tensor, leaving: set[Tensor]) -> list[Instruction]:
    """The products among what only leads to a stacked result."""
    found: list[Instruction] = []
    pending, seen = [y], {y}
    while pending:
        x = pending.pop()
        if x not in leaving or x.producer is None:
            continue
        if x.producer.op.name == "dot_general":
            found.append(x.producer)
        fresh = [z for z in x.producer.operands if z not in seen]
        seen.update(fresh)
        pending += fresh
    return found
