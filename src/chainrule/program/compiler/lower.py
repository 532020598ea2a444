"""Lowering: a block becomes a schedule of kernels, whose functions are written into a module."""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from chainrule.errors import CompilerError
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler import debug
from chainrule.program.compiler.attention.lowering import (
    bring_rows_to_memory,
    is_attention,
    lower_attention,
)
from chainrule.program.compiler.contractions import (
    Contraction,
    bring_operands_to_memory,
    describe,
    is_candidate,
    is_split,
)
from chainrule.program.compiler.convolutions.image_lanes_nests import (
    LaneNestEmitter,
    lane_tasks,
    lanes_of_images,
)
from chainrule.program.compiler.convolutions.image_lanes_tensors import (
    bring_images_to_lanes,
    cheap_again,
    lane_layouts,
)
from chainrule.program.compiler.convolutions.lowering import (
    bring_images_to_memory,
    convolutions_of,
    lower_convolution,
    plan_of,
    plans_of,
)
from chainrule.program.compiler.convolutions.planning import AnyPlan
from chainrule.program.compiler.convolutions.statistics import split_sums, summing
from chainrule.program.compiler.early import early_founders
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.nests import NestEmitter, n_tasks
from chainrule.program.compiler.emission.products import ProductEmitter
from chainrule.program.compiler.emission.vectorisation import choose
from chainrule.program.compiler.fusion import Fusion
from chainrule.program.compiler.groups import Group, is_virtual, ordered
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.joining_axes import join_axes
from chainrule.program.compiler.kernel_facts import (
    loop_loads,
    origins,
    tensors_of,
    titles,
    traffic,
    work,
)
from chainrule.program.compiler.kernel_writer import KernelWriter
from chainrule.program.compiler.kernels import Kernel, KernelBuilder
from chainrule.program.compiler.layouts import Panels, operand_layouts, state_layouts
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.lowering.bodies import NOWHERE
from chainrule.program.compiler.lowering.control import (
    lower_branches,
    lower_scan,
    lower_while,
)
from chainrule.program.compiler.lowering.elements import ELEMENTS, loads
from chainrule.program.compiler.lowering.reductions import FOLDS
from chainrule.program.compiler.lowering.singles import SINGLES
from chainrule.program.compiler.products.planning import Stage, plan
from chainrule.program.compiler.schedule import (
    CheckItem,
    Item,
    KernelItem,
    overwritten,
)

PRODUCT_GAIN = 4.0  # how much faster a product's arithmetic runs than a nest's


class Lowering(KernelWriter):
    """Lowers the blocks of one program into one module.

    Args:
        module: Takes the kernels' functions.
        checked: Check that every access lies inside its tensor's memory.
    """

    def __init__(self, module: Module, *, checked: bool = False) -> None:
        super().__init__(module, checked=checked)
        self.owned: list[Tensor] = []
        self.read: set[Tensor] = set()  # somewhere, or leaving a block
        self.invariant: set[Tensor] = set()  # inputs of a loop's body that stay the same
        self.before: list[Item] = []  # what is done once, before that loop

    # -- blocks -------------------------------------------------------------------------------

    def lower(
        self,
        block: Block,
        given: set[Tensor],
        writes: Mapping[Tensor, Tensor] | None = None,
        loss: Tensor | None = None,
        resident: Collection[Tensor] = (),
        carried: Mapping[Tensor, Tensor] | None = None,
    ) -> list[Item]:
        """The schedule of a block.

        Args:
            block: Its outputs are results of its own instructions, each once.
            given: Results whose memory is provided by the caller.
            writes: Result → input whose memory it takes over at the end of a step.
            loss: Result that must be finite before anything of ``writes`` is overwritten.
            resident: Inputs that hold the same from step to step, and may be laid out at will.
            carried: Result → input whose memory it takes over if that is possible, and is an alias
                of then; the memory of the others is provided by the caller.
        """
        self.read |= {y for x in block.instructions for y in x.operands} | set(block.outputs)
        forced = set(block.outputs)
        forced |= _operands_in_memory(block)
        bring_operands_to_memory(block, is_virtual)
        repeated = split_sums(block, plans_of(block, self.module.target))
        bring_images_to_lanes(block, is_virtual, forced, self._plan_of)
        bring_images_to_memory(block, is_virtual, self.module.target)
        bring_rows_to_memory(block, is_virtual)
        fusion = Fusion(block, set(), forced)
        fusion.repeated = repeated | cheap_again(block, is_virtual, self._plan_of)
        products = self._products(block, fusion)
        convolutions = convolutions_of(block, fusion.is_leaf, self.module.target)
        fusion.products = {*products, *convolutions}
        plans = plans_of(block, self.module.target)
        fusion.summing = summing({x: plans[x] for x in convolutions})
        fusion.run()
        stored = _stored(block, fusion)
        in_place = self._overwrite(fusion, {**(writes or {}), **(carried or {})}, loss)
        given = given | ((carried or {}).keys() - in_place.keys())
        groups = ordered(fusion.groups, early_founders(fusion, stored, loss, convolutions))
        self._lay_out(block, fusion, products, in_place, stored - given, set(resident))
        free = {t for t in stored - given - forced if self.root(t) is t and t.producer is not None}
        self.layouts |= lane_layouts(block, fusion, convolutions, free, self._plan_of)
        items: list[Item] = []
        for group in groups:
            if group.kind == "single":
                items += self._single(group.members[0], fusion)
            elif group.members[0] in convolutions:
                kernel = KernelBuilder(group, stored, fusion.is_leaf).build("epilogue")
                items += lower_convolution(self, convolutions[group.members[0]], kernel)
            elif group.kind == "product":
                items += self._product(group, products[group.members[0]], stored, fusion)
            else:
                items.append(self._nest(group, stored, fusion))
            for member in group.members:
                self.owned += [r for r in member.results if r in stored and r not in given]
        if loss is not None:
            items = self._checked(items, loss, in_place)
        for new, old in (writes or {}).items():
            if new not in in_place:
                items.append(self.copy(new, old))
        return items

    def _plan_of(self, x: Instruction) -> AnyPlan | None:
        return plan_of(x, self.module.target)

    def _overwrite(
        self, fusion: Fusion, writes: Mapping[Tensor, Tensor], loss: Tensor | None
    ) -> dict[Tensor, Tensor]:
        """Let results take the place of the state that they replace, where nobody reads it later.

        Returns:
            Result → state, of those that do.
        """
        done: dict[Tensor, Tensor] = {}
        for new, old in writes.items():
            group = fusion.group_of[new]
            before = fusion.readers(old)
            if loss is not None:
                before.append(fusion.group_of[loss])
                if fusion.group_of[loss] is group:
                    continue
            if not fusion.reads_in_place(group, old, new):
                continue
            if fusion.run_after(group, before):
                self.aliases[new] = old
                done[new] = old
        return done

    def _lay_out(
        self,
        block: Block,
        fusion: Fusion,
        products: dict[Instruction, Contraction],
        in_place: Mapping[Tensor, Tensor],
        stored: set[Tensor],
        resident: set[Tensor],
    ) -> None:
        """Choose where elements lie: of inputs that stay, and of what products read."""
        before = dict(self.layouts)
        target = self.module.target
        self.layouts |= state_layouts(products.values(), fusion, in_place, resident, target)
        for x in products.values():
            for tensor, layout in operand_layouts(x).items():
                own = tensor in stored and tensor.producer is not None
                if own and self.root(tensor) is tensor:
                    self.layouts[tensor] = layout
        for load in [load for x in products.values() for load in (x.a, x.b)]:
            root = self.root(load.tensor)
            # several axes are read as one: there must be no gaps between its rows
            split = is_split(self.offset(load.tensor, load.indices))
            if split and not isinstance(self.layouts.get(root), Panels):
                self.layouts.pop(root, None)
        for group in fusion.groups:
            if group.kind == "single":  # such kernels, and loops over rows, count row by row
                (single,) = group.members
                read = [s for operand in single.operands for s in fusion.sources(operand)]
                for tensor in [*read, *single.results]:
                    self.layouts.pop(self.root(tensor), None)
        if any(self._oriented(x, fusion, in_place) is None for x in products.values()):
            self.layouts = before
        for instruction, x in products.items():
            products[instruction] = self._oriented(x, fusion, in_place) or x

    def _oriented(
        self, x: Contraction, fusion: Fusion, in_place: Mapping[Tensor, Tensor]
    ) -> Contraction | None:
        """The product or its transpose: the one whose epilogue steps through memory."""
        group = fusion.group_of[x.instruction.result]
        state = [in_place[r] for m in group.members for r in m.results if r in in_place]
        axes = {layout.axis for old in state if isinstance(layout := self.layouts.get(old), Panels)}
        both = [x, x.turned()] if axes != {0} else [x.turned(), x]
        return next((c for c in both if c.product(self.offset) is not None), None)

    def _checked(
        self, items: list[Item], loss: Tensor, in_place: Mapping[Tensor, Tensor]
    ) -> list[Item]:
        """Put the test of the loss before the first item that overwrites state."""
        written = {self.root(x) for x in in_place}
        position = len(items)
        for number, item in enumerate(items):
            if not written.isdisjoint(map(self.root, overwritten(item))):
                position = number
                break
        return [*items[:position], CheckItem(loss), *items[position:]]

    def _products(self, block: Block, fusion: Fusion) -> dict[Instruction, Contraction]:
        found = {}
        for x in block.instructions:
            contraction = describe(x, fusion.is_leaf) if is_candidate(x) else None
            if contraction is not None and contraction.product(self.offset) is not None:
                found[x] = contraction
        return found

    def _product(
        self, group: Group, contraction: Contraction, stored: set[Tensor], fusion: Fusion
    ) -> list[Item]:
        kernel = KernelBuilder(group, stored, fusion.is_leaf).build("epilogue")
        debug.tell(debug.NESTS, lambda: f"{contraction.instruction!r}, then {kernel}")
        product = contraction.product(self.offset)
        assert product is not None
        reused = contraction.b.tensor in self.invariant
        chosen = plan(product, self.module.target, reused=reused)
        scratch = None
        if chosen.scratch_bytes:
            size = chosen.scratch_bytes * contraction.batch.extent
            scratch = Tensor((size,), np.uint8, name="packed operands")
            self.owned.append(scratch)
        emitter = ProductEmitter(contraction, chosen, kernel, scratch)
        items: list[Item] = []
        for stage in chosen.stages:
            item = self._stage(emitter, stage, kernel, scratch)
            (self.before if reused and stage.name == "pack_b" else items).append(item)
        return items

    def _stage(
        self, emitter: ProductEmitter, stage: Stage, kernel: Kernel, scratch: Tensor | None
    ) -> KernelItem:
        x = emitter.contraction
        last = stage == emitter.plan.stages[-1]
        sides = {"pack_a": [x.a], "pack_b": [x.b]}.get(stage.name, [x.a, x.b])
        sources = dict.fromkeys(load.tensor for side in sides for load in loads(side))
        operands = set(sources)
        reads = operands | {load.tensor for loop in [emitter.loop] for load in loop_loads(loop)}
        writes = {s.tensor for s in emitter.loop.statements}
        pointers = list(sources)
        if last:
            more = [load.tensor for load in loop_loads(emitter.loop)]
            more += [s.tensor for s in emitter.loop.statements]
            pointers = list(dict.fromkeys([*pointers, *more]))
        if scratch is not None:
            pointers.append(scratch)
            (reads if last else writes).add(scratch)
        blames: list[int] = []
        name = self.function(
            pointers,
            blames,
            lambda b, memory, begin, end: emitter.emit(b, stage, memory, begin, end),
        )
        product = emitter.plan.product
        flops = float(product.flops * x.batch.extent) if last else 0.0
        moved = traffic(pointers)
        title = f"{stage.name} {product.rows}x{product.depth}x{product.columns}"
        title = f"{title} {titles(kernel.group.members[1:])}".strip()
        if not last:
            reads, writes = operands, {scratch} if scratch is not None else set()
        return KernelItem(
            name,
            pointers,
            reads,
            writes,
            emitter.tasks(stage),
            blames,
            flops,
            moved,
            title=title,
            where=origins(kernel.group.members),
            gain=PRODUCT_GAIN,
        )

    def _nest(self, group: Group, stored: set[Tensor], fusion: Fusion) -> KernelItem:
        kernel = KernelBuilder(group, stored, fusion.is_leaf).build(self.next_name)
        stored |= set(kernel.writes())
        choice = choose(kernel, self.module.target, self.offset)
        images = lanes_of_images(kernel, choice, self.layouts, self.offset)
        choice = images or choice
        if not images:
            kernel = join_axes(kernel, self.offset)
            choice = choose(kernel, self.module.target, self.offset)
        debug.tell(debug.NESTS, lambda: str(kernel))
        pointers = tensors_of(kernel)
        blames: list[int] = []

        def emit(b: Builder, memory: Memory, begin: Value, end: Value) -> None:
            form = LaneNestEmitter if images else NestEmitter
            form(b, kernel, memory, choice).emit(begin, end)

        name = self.function(pointers, blames, emit)
        flops, moved = work(kernel)
        return KernelItem(
            name,
            pointers,
            kernel.reads(),
            set(kernel.writes()),
            lane_tasks(kernel, choice) if images else n_tasks(kernel, choice),
            blames,
            flops,
            moved,
            title=titles(group.members),
            where=origins(group.members),
        )

    # -- instructions with kernels or loops of their own ---------------------------------------

    def _single(self, x: Instruction, fusion: Fusion) -> list[Item]:
        if is_attention(x):
            return [*lower_attention(self, x, fusion.is_leaf)]
        if x.op.name == "scan":
            return lower_scan(self, x, fusion.block)
        if x.op.name == "cond":
            return lower_branches(self, x)
        if x.op.name == "while_loop":
            return lower_while(self, x)
        if x.op.name not in SINGLES:
            raise CompilerError(f"the compiler has no lowering for the op {x.op.name}")
        single = SINGLES[x.op.name]
        operands = list(dict.fromkeys(single.reads(x)))
        pointers = [*operands, *x.results]
        scratch = None
        size = single.scratch_bytes(x)
        if size:
            scratch = Tensor((size,), np.uint8, name="scratch")
            self.owned.append(scratch)
            pointers.append(scratch)
        blames: list[int] = []

        def emit(b: Builder, memory: Memory, begin: Value, end: Value) -> None:
            room = None if scratch is None else memory.pointers(scratch)
            single.emit(b, x, memory, begin, end, room)

        name = self.function(pointers, blames, emit)
        moved = traffic(pointers)
        item = KernelItem(
            name,
            pointers,
            set(operands),
            set(x.results),
            single.tasks(x),
            blames,
            0.0,
            moved,
            scratch,
            x.op.name,
            origins([x]),
        )
        self.owned += [r for r in x.results if r not in self.owned]
        return [item]

    def copy(self, source: Tensor, target: Tensor) -> KernelItem:
        """A kernel that copies a tensor, by the same machinery as any other."""
        instruction = Instruction(
            REGISTRY["barrier"], [source], {}, [(source.shape, source.dtype)], NOWHERE
        )
        block = Block([source], [instruction], [instruction.result])
        self.aliases[instruction.result] = target  # before: elements lie as the target's do
        (item,) = self.lower(block, {instruction.result})
        assert isinstance(item, KernelItem)
        return item


def _operands_in_memory(block: Block) -> set[Tensor]:
    """Operands of instructions with kernels of their own: they read memory."""
    found: set[Tensor] = set()
    for x in block.instructions:
        if x.op.name in SINGLES:
            found.update(SINGLES[x.op.name].reads(x))
        elif is_attention(x):
            continue  # its rows are found in other tensors' memory
        elif x.op.name not in ELEMENTS and x.op.name not in FOLDS:
            found.update(x.operands)
    return {x for x in found if x.producer is not None}


def _stored(block: Block, fusion: Fusion) -> set[Tensor]:
    """Tensors that are read outside of their group, or leave."""
    stored = set(block.outputs)
    for group in fusion.groups:
        for member in group.members:
            if member.op.name == "cumsum":
                stored.add(member.result)
            for operand in member.operands:
                for source in fusion.sources(operand):
                    if fusion.group_of.get(source) is not group:
                        stored.add(source)
    return stored
