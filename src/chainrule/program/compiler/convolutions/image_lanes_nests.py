"""Loops over elements of tensors that lie with images in the lanes.

A task is a block of images and a part of its channels; it walks through memory in order, while the
plain nest would step from block to block for every pixel.
"""

from __future__ import annotations

from chainrule.program.compiler.convolutions.image_lanes import ImageLanes
from chainrule.program.compiler.emission.nests import NestEmitter
from chainrule.program.compiler.emission.vectorisation import Vectorisation
from chainrule.program.compiler.indices import Axis
from chainrule.program.compiler.instructions import Tensor
from chainrule.program.compiler.kernels import Kernel, Store
from chainrule.program.compiler.layouts import Layout
from chainrule.program.compiler.llvm.builder import Value
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.products.product import quotient, remainder


def runs_in_lanes(kernel: Kernel, choice: Vectorisation, layout_of: dict[Tensor, Layout]) -> bool:
    """True if the lanes are those of images that lie side by side.

    Args:
        kernel: A nest.
        choice: Which axis runs in lanes.
        layout_of: Tensor → how it lies, if not plainly.
    """
    if choice.outer is None or len(kernel.outer) < 2:
        return False
    places = [(x.tensor, x.indices) for e in kernel.expressions() for x in loads(e)]
    places += [(s.tensor, s.indices) for s in kernel.statements() if isinstance(s, Store)]
    for tensor, indices in places:
        layout = layout_of.get(tensor)
        if isinstance(layout, ImageLanes) and indices[0].as_axis() is choice.outer:
            return choice.lanes == layout.lanes
    return False


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
        with self.b.loop(0, inner[0].extent) as loop:
            self.em.enter(inner[0], loop.index)
            self._hoist_all()
            self._loops(inner[1:])
            self.em.leave(inner[0])

    def _hoist_all(self) -> None:
        self.em.hoist(self.kernel.expressions(), self.hidden)


def lane_tasks(kernel: Kernel, choice: Vectorisation) -> int:
    """Number of tasks of a kernel: it depends on the kernel alone."""
    images = choice.outer
    assert images is not None
    rows = [a for a in kernel.outer if a is not images]
    return -(-images.extent // choice.lanes) * rows[0].extent
