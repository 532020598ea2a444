"""Loops over elements of tensors that lie with images in the lanes.

A task is a block of images and a part of its channels; it walks through memory in order, while the
plain nest would step from block to block for every pixel.
"""

from __future__ import annotations

from collections.abc import Mapping

from chainrule.program.compiler.convolutions.image_lanes import ImageLanes
from chainrule.program.compiler.emission.memory import Offset
from chainrule.program.compiler.emission.nests import NestEmitter
from chainrule.program.compiler.emission.values import Emitter
from chainrule.program.compiler.emission.vectorisation import Vectorisation, stride_of
from chainrule.program.compiler.expressions import Load
from chainrule.program.compiler.indices import Axis
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.kernels import InnerLoop, Kernel, Store
from chainrule.program.compiler.layouts import Layout
from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.products.packing import transpose
from chainrule.program.compiler.products.product import minimum, quotient, remainder


def lanes_of_images(
    kernel: Kernel, choice: Vectorisation, layout_of: Mapping[Tensor, Layout], offset: Offset
) -> Vectorisation | None:
    """The choice whose lanes are those of images that lie side by side; None: it is not the best.

    Args:
        kernel: A nest.
        choice: Which axis would run in lanes.
        layout_of: Tensor → how it lies, if not plainly.
        offset: Number of an element in its tensor's memory.
    """
    if len(kernel.outer) < 2:
        return None
    places = [(x.tensor, x.indices) for e in kernel.expressions() for x in loads(e)]
    written = [(s.tensor, s.indices) for s in kernel.statements() if isinstance(s, Store)]
    for tensor, indices in [*written, *places]:
        layout = layout_of.get(tensor)
        axis = indices[0].as_axis() if indices else None
        if not isinstance(layout, ImageLanes) or axis not in kernel.outer:
            continue
        found = Vectorisation(axis, (None,) * len(kernel.loops), layout.lanes)
        if found == choice:
            return choice
        all_written = all(isinstance(layout_of.get(t), ImageLanes) for t, _ in written)
        if all_written and written and is_turned(kernel, found, offset):
            return found
    return None


def is_turned(kernel: Kernel, choice: Vectorisation, offset: Offset) -> bool:
    """True if all that is read is one element of a tensor whose rows lie plainly."""
    # not those of the numbers of rows that are looked up
    found = {x for e in kernel.expressions() for x in e.walk() if isinstance(x, Load)}
    images, column = choice.outer, kernel.outer[-1]
    if len(found) != 1 or len(kernel.loops) != 1 or kernel.loops[0].axes or images is None:
        return False
    (load,) = found
    place = offset(load.tensor, load.indices)
    if load.guard is not None or images is column or column.extent < choice.lanes:
        return False
    along, across = (stride_of(place, axis, choice.lanes) for axis in (column, images))
    return along == 1 and images in place.axes and across != 1


class LaneNestEmitter(NestEmitter):
    """Emits the tasks of such a kernel: blocks of images times the outermost other axis."""

    def emit(self, begin: Value, end: Value) -> None:
        """Write the loops over the tasks."""
        if any(a.extent == 0 for a in self.kernel.outer):
            return
        b, em = self.b, self.em
        images = self.choice.outer
        assert images is not None
        self._hoist_all()
        first, inner = self.rows[0], self.rows[1:]
        with b.loop(begin, end) as task:
            em.push()
            block = quotient(b, task.index, first.extent)
            row = remainder(b, task.index, first.extent)
            start = b.mul(block, b.i64(self.choice.lanes))
            rest = images.extent % self.choice.lanes
            whole = images.extent // self.choice.lanes
            if rest and whole:
                for active in (self.choice.lanes, rest):
                    is_last = "eq" if active == rest else "slt"
                    with b.when(b.compare(is_last, block, b.i64(whole))):
                        em.push()
                        self._block(images, start, active, first, row, inner)
                        em.pop()
            else:
                self._block(images, start, rest or self.choice.lanes, first, row, inner)
            em.pop()

    def _block(
        self, images: Axis, start: Value, active: int, first: Axis, row: Value, inner: list[Axis]
    ) -> None:
        em = self.em
        em.active = active
        em.enter(images, start, vectorised=True)
        em.enter(first, row)
        self._hoist_all()
        self._loops(inner)
        em.leave(first)
        em.leave(images)
        em.active = self.choice.lanes

    def _loops(self, inner: list[Axis]) -> None:
        if not inner:
            self._body()
            return
        if len(inner) == 1 and is_turned(self.kernel, self.choice, self.em.memory.offset):
            self._turned(inner[0])
            return
        with self.b.loop(0, inner[0].extent) as loop:
            self.em.enter(inner[0], loop.index)
            self._hoist_all()
            self._loops(inner[1:])
            self.em.leave(inner[0])

    # -- what comes from plain memory -------------------------------------------------------------

    def _turned(self, column: Axis) -> None:
        """Read vectors along rows, one an image, and turn squares of them."""
        b, em, lanes = self.b, self.em, self.choice.lanes
        images = self.choice.outer
        assert images is not None
        (loop,) = self.kernel.loops
        statements = [s for s in loop.statements if isinstance(s, Store)]
        with b.loop(0, column.extent, lanes) as x:
            first = minimum(b, x.index, column.extent - lanes)
            rows = self._rows(images, column, first, loop)
            for statement in statements:
                for step, value in enumerate(transpose(b, rows[statement.tensor])):
                    em.enter(column, b.add(first, b.i64(step)))
                    em.store(statement.tensor, statement.indices, value)
                    em.leave(column)

    def _rows(
        self, images: Axis, column: Axis, first: Value, loop: InnerLoop
    ) -> dict[Tensor, list[Value]]:
        """What is to be stored of each image, as vectors along a row; lanes without repeat one."""
        em, reader = self.em, Emitter(self.b, self.em.memory, self.choice.lanes)
        found: dict[Tensor, list[Value]] = {}
        for row in self.rows:
            if row is not column:
                reader.enter(row, em.counters[row])
        reader.named = loop.values
        for lane in range(self.choice.lanes):
            place = self.b.i64(min(lane, em.active - 1))
            reader.enter(images, self.b.add(em.counters[images], place))
            reader.enter(column, first, vectorised=True)
            for statement in loop.statements:
                if isinstance(statement, Store):
                    value = reader.vector(statement.value)
                    found.setdefault(statement.tensor, []).append(value)
            reader.leave(column)
            reader.leave(images)
        return found

    def _hoist_all(self) -> None:
        self.em.hoist(self.kernel.expressions(), self.hidden)


def lane_tasks(kernel: Kernel, choice: Vectorisation) -> int:
    """Number of tasks of a kernel: it depends on the kernel alone."""
    images = choice.outer
    assert images is not None
    rows = [a for a in kernel.outer if a is not images]
    return -(-images.extent // choice.lanes) * rows[0].extent
