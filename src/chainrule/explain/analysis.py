"""From a loss to everything that can be told about its derivatives."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule import ops
from chainrule.array import Array, leaf
from chainrule.autodiff.reverse import gradients, pull_back
from chainrule.explain.differences import Replay, check_entries
from chainrule.explain.digits import number, shape_text
from chainrule.explain.expressions import (
    ONE,
    Expr,
    num,
    recognise,
    simplify,
    substitute,
    sym,
    write,
)
from chainrule.explain.folding import Folder, Region
from chainrule.explain.formulas import backward_formulas
from chainrule.explain.model import Edge, Lecture, Step
from chainrule.explain.paths import Walker
from chainrule.explain.snapshot import Place, Snapshot


def analyse(
    loss: Array,
    wrt: Sequence[tuple[str, Array]],
    *,
    learning_rate: float | None,
    check: bool,
    title: str,
    loss_name: str,
) -> Lecture:
    """Walk forward and backward and collect what there is to tell.

    Args:
        loss: Scalar Array with its history.
        wrt: Names (``""``: the value's own) and values to differentiate by.
        learning_rate: For the update shown, or None.
        check: Compare with central differences.
        title: Heading.
        loss_name: What the loss is called if it has no name.
    """
    snapshot = Snapshot(loss, [x for _, x in wrt])
    places = {(x.node, x.index): name for name, x in wrt}
    folder = Folder(snapshot, places, loss_name)
    regions = folder.fold()
    found = gradients(loss, [x for _, x in wrt])
    analyst = _Analyst(snapshot, regions, folder)
    steps = analyst.steps()
    walker = Walker(analyst.loss, steps, [analyst.regions[place].name for place in places])
    replay = Replay(snapshot) if check else None
    chains = []
    for (_, x), gradient in zip(wrt, found, strict=True):
        region = analyst.regions[x.node, x.index]
        chain = walker.chain(region.name, gradient.data)
        if replay is not None:
            chain.difference = check_entries(replay, (x.node, x.index), chain.gradient)
        if learning_rate is not None:
            rate = chain.value.dtype.type(learning_rate)
            chain.updated = np.asarray(chain.value - rate * chain.gradient)
        chains.append(chain)
    return Lecture(
        title, analyst.regions[folder.loss_place].name, steps, chains,
        walker.shared(), walker.savings(), learning_rate,
    )  # fmt: skip


class _Analyst:
    """Makes a step of each region: formulas, values and the gradients along its edges."""

    def __init__(self, snapshot: Snapshot, regions: list[Region], folder: Folder) -> None:
        self.snapshot = snapshot
        self.folder = folder
        self.loss_place = folder.loss_place
        self.regions = {region.place: region for region in regions}
        self.loss = self.regions[self.loss_place].name
        self.arrivals = self._arrivals()
        self.made: dict[str, Step] = {}

    def _arrivals(self) -> dict[Place, np.ndarray]:
        active = [r.place for r in self.regions.values() if r.active]
        arrays = [Array(node, index) for node, index in active]
        loss = self.snapshot.loss
        found = pull_back([loss], [ops.ones_like(loss)], arrays)
        return {
            place: part.data for place, part in zip(active, found, strict=True) if part is not None
        }

    def steps(self) -> list[Step]:
        """One step a region, operands before users."""
        for region in self.regions.values():
            self.made[region.name] = self._step(region)
        for step in list(self.made.values()):
            for edge in step.edges:
                self.made[edge.target].parts.append((step.name, edge.leaving))
        return list(self.made.values())

    def _step(self, region: Region) -> Step:
        value = self.snapshot.value(region.place)
        step = Step(region.name, None if region.is_leaf else region.formula, value)
        step.arrives = self.arrivals.get(region.place)
        if region.is_leaf:
            return step
        origin = self.snapshot.records[region.place[0]].origin
        step.where = f"layer {origin.layer}" if origin.layer else ""
        step.reads = list(region.inputs)
        step.filled, step.shapes = self._filled(region, value)
        if step.arrives is not None:
            step.edges = self._edges(region)
        return step

    def _filled(self, region: Region, value: np.ndarray) -> tuple[str, str]:
        values = {name: self.snapshot.value(place) for name, place in region.inputs.items()}
        if all(v.size == 1 for v in (*values.values(), value)):
            numbers = {n: num(float(v.item()), number(v.reshape(-1)[0])) for n, v in values.items()}
            return write(substitute(region.formula, numbers), " × "), ""
        families = {
            record.op.family
            for record in map(self.snapshot.records.get, region.nodes)
            if record and record.op
        }
        if not families & {"contraction", "composite"}:
            return "", ""
        shapes = {name: sym(shape_text(v.shape)) for name, v in values.items()}
        return "", f"{write(substitute(region.formula, shapes))} → {shape_text(value.shape)}"

    # --- backward ---------------------------------------------------------------------------

    def _edges(self, region: Region) -> list[Edge]:
        targets = [
            (name, place)
            for name, place in region.inputs.items()
            if place in self.arrivals and self.regions[place].active
        ]
        if not targets:
            return []
        places = [place for _, place in targets]
        at_loss = region.place == self.loss_place
        pointwise = self._is_pointwise(region)
        start = ONE if pointwise or at_loss else sym(f"∂{self.loss}/∂{region.name}")
        formulas = self._backward(region, start)
        arrives = self.arrivals[region.place]
        leaving = self._pull(region, places, arrives)
        local = self._pull(region, places, np.ones_like(arrives)) if pointwise else leaving
        kink = self._kink(region)
        edges = []
        for (name, place), out, factor in zip(targets, leaving, local, strict=True):
            formula = simplify(formulas.get(place, num(0.0)))
            formula = recognise(formula, region.formula, sym(region.name))
            shown = factor if pointwise else None
            edges.append(Edge(region.name, name, formula, pointwise, shown, out, kink))
        return edges

    def _kink(self, region: Region) -> str:
        op = self.snapshot.records[region.nodes[-1]].op
        return op.at_kink if op is not None and op.kinks else ""

    def _is_pointwise(self, region: Region) -> bool:
        """The Jacobian is diagonal: all is scalar, or elementwise on values of one shape."""
        node, index = region.place
        if len(node.specs) > 1:
            return False
        shape = node.specs[index][0]
        moving = [n for n in region.nodes if n in self.folder.active]
        read = [x for n in moving for x in self.snapshot.records[n].inputs]
        read = [x for x in read if x.node in self.folder.active]
        if all(n.specs[0][0] in ((), (1,)) for n in moving) and all(x.size == 1 for x in read):
            return True
        for part in moving:
            op = self.snapshot.records[part].op
            if op is None or part.specs[0][0] != shape:
                return False
            if op.family != "elementwise" and op.name != "cast":
                return False
        return all(x.shape == shape for x in read)

    def _backward(self, region: Region, start: Expr) -> dict[Place, Expr]:
        """Formulas of what leaves at each input, walking the region's ops from its end."""
        collected: dict[Place, Expr] = {region.place: start}
        formulas = self.folder.formulas
        for node in reversed(region.nodes):
            place = region.place if node is region.place[0] else (node, 0)
            g = collected.pop(place, None)
            if g is None:
                continue
            record = self.snapshot.records[node]
            operands = [formulas[x.node, x.index] for x in record.inputs]
            parts = backward_formulas(record, operands, formulas[place], simplify(g), node.specs[0])
            for x, part in zip(record.inputs, parts, strict=True):
                if part is None or x.node not in self.folder.active:
                    continue
                known = collected.get((x.node, x.index))
                collected[x.node, x.index] = part if known is None else Expr("add", (known, part))
        return collected

    def _pull(
        self, region: Region, targets: Sequence[Place], cotangent: np.ndarray
    ) -> list[np.ndarray]:
        """Send a gradient back through the region's ops alone."""
        fresh = {
            place: leaf(self.snapshot.value(place), tracked=True)
            for place in region.inputs.values()
        }
        known = dict(fresh)
        self.snapshot.replay(region.nodes, known)
        found = pull_back([known[region.place]], [leaf(cotangent)], [fresh[p] for p in targets])
        return [
            np.zeros_like(self.snapshot.value(place)) if part is None else part.data
            for place, part in zip(targets, found, strict=True)
        ]
