"""Which ops make one line of the lecture: what is noise or unnamed arithmetic joins its user.

A line ends at a value that the user named, that is used more than once, that gradients are asked
for, or that comes out of an activation, a Composite or any other op that is a step of its own.
Sums, products, powers and logarithms between such values are one formula, as written.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from chainrule.explain.expressions import Expr, call, num, sym, symbols_of, write
from chainrule.explain.formulas import forward_formula
from chainrule.explain.names import Names
from chainrule.explain.snapshot import Place, Snapshot
from chainrule.graph import Node
from chainrule.ops import dtypes

_CARRIERS = {"broadcast_to", "cast", "identity", "barrier", "transpose"}
_ARITHMETIC = {"add", "subtract", "multiply", "divide", "negative", "power"}
_MATHEMATICS = {"exp", "log", "sqrt", "log1p", "expm1"}
_LONGEST = 64  # characters of a formula that still takes in another


@dataclass
class Region:
    """The ops of one line.

    Args:
        place: The value that the line computes.
        name: What it is called.
        formula: In terms of the names of ``inputs``.
        nodes: The ops folded into it, operands before users, its own last; none for a leaf.
        inputs: Names and places of what the formula reads.
        active: The value depends on something that gradients are asked for.
    """

    place: Place
    name: str
    formula: Expr
    nodes: list[Node] = field(default_factory=list)
    inputs: dict[str, Place] = field(default_factory=dict)
    active: bool = False

    @property
    def is_leaf(self) -> bool:
        """Given, not computed."""
        return not self.nodes


class Folder:
    """Walks the graph once and cuts it into regions.

    Args:
        snapshot: The graph.
        wrt: Places that gradients are asked for, with the names they shall have.
        loss_name: What the loss is called if it has no name.
    """

    def __init__(self, snapshot: Snapshot, wrt: dict[Place, str], loss_name: str) -> None:
        self.snapshot = snapshot
        self.wrt = wrt
        self.loss_place: Place = (snapshot.loss.node, snapshot.loss.index)
        self.loss_name = loss_name
        self.names = Names()
        self.regions: dict[Place, Region] = {}
        self.formulas: dict[Place, Expr] = {}
        self.bodies: dict[Place, tuple[list[Node], dict[str, Place]]] = {}
        self.active_names: set[str] = set()
        self.active = self._active_nodes()
        self.users = self._count_users()
        self._reserve_names()

    def fold(self) -> list[Region]:
        """All lines, operands before users, leaves among them."""
        for node in self.snapshot.order:
            if self.snapshot.records[node].op is None:
                self._leaf(node)
            else:
                self._computed(node)
        return list(self.regions.values())

    # --- preparation ------------------------------------------------------------------------

    def _active_nodes(self) -> set[Node]:
        sources = {node for node, _ in self.wrt}
        active = set()
        for node in self.snapshot.order:
            record = self.snapshot.records[node]
            floating = any(dtypes.is_floating(dtype) for _, dtype in node.specs)
            reached = any(x.node in active for x in record.inputs)
            passes = record.op is not None and record.op.vjp is not None
            if node in sources or (reached and floating and passes):
                active.add(node)
        return active

    def _count_users(self) -> dict[Node, set[Node]]:
        """Who reads a node, seen through the ops that only carry it."""
        users: dict[Node, set[Node]] = {}
        for node in reversed(self.snapshot.order):
            record = self.snapshot.records[node]
            seen = users.get(node, set()) if self._carries(node) else {node}
            for x in record.inputs:
                users.setdefault(x.node, set()).update(seen)
        return users

    def _carries(self, node: Node) -> bool:
        record = self.snapshot.records[node]
        if record.op is None or record.name or any(place[0] is node for place in self.wrt):
            return False
        if node is self.loss_place[0]:
            return False
        if record.op.name == "reshape":
            before, after = record.inputs[0].shape, node.specs[0][0]
            return [n for n in before if n != 1] == [n for n in after if n != 1]
        return record.op.name in _CARRIERS

    def _reserve_names(self) -> None:
        """Users' names first, in the order of the graph, so that made-up ones step aside."""
        self.given: dict[Place, str] = {}
        for node in self.snapshot.order:
            wanted = self.snapshot.records[node].name
            for index in range(len(node.specs)):
                place = (node, index)
                if self.wrt.get(place):
                    self.given[place] = self.names.take(self.wrt[place])
                elif wanted:
                    owner = self._layer(node) if node.owned else ""
                    self.given[place] = self.names.take(f"{owner}.{wanted}" if owner else wanted)
        if self.loss_place not in self.given:
            self.given[self.loss_place] = self.names.take(self.loss_name)

    def _layer(self, leaf: Node) -> str:
        """Path of the layer that uses a parameter, which tells two ``weight`` apart."""
        users = self.users.get(leaf, set())
        paths = sorted({self.snapshot.records[user].origin.layer for user in users})
        return paths[0] if paths else ""

    # --- cutting ----------------------------------------------------------------------------

    def _leaf(self, node: Node) -> None:
        place = (node, 0)
        value = self.snapshot.value(place)
        constant = place not in self.given and not node.tracked
        if constant and value.size and (value.size == 1 or _is_uniform(value)):
            first = value.reshape(-1)[0]
            self.formulas[place] = num(float(first), "" if value.dtype.kind != "b" else str(first))
            return
        name = self.given.get(place) or self.names.make("c" if constant else "v")
        self._add(Region(place, name, sym(name), active=node in self.active))

    def _add(self, region: Region) -> None:
        self.regions[region.place] = region
        self.formulas[region.place] = sym(region.name)
        if region.active:
            self.active_names.add(region.name)

    def _computed(self, node: Node) -> None:
        record = self.snapshot.records[node]
        operands = [self.formulas[x.node, x.index] for x in record.inputs]
        nodes, inputs = self._gather(x for x in ((x.node, x.index) for x in record.inputs))
        formula = forward_formula(record, operands, node.specs[0])
        if self._is_index(node) and not all(f.kind == "num" for f in operands):
            formula = call("indices", *(sym(name) for name in sorted(inputs)))
        if len(node.specs) == 1 and self._folds(node, formula):
            self.formulas[node, 0] = formula
            self.bodies[node, 0] = ([*nodes, node], inputs)
            return
        for index in range(len(node.specs)):
            place = (node, index)
            name = self.given.get(place) or self.names.make("v")
            shown = formula if len(node.specs) == 1 else Expr("index", (formula,), f"[{index}]")
            self._add(Region(place, name, shown, [*nodes, node], inputs, node in self.active))

    def _gather(self, operands: Iterable[Place]) -> tuple[list[Node], dict[str, Place]]:
        """Nodes and inputs of the formulas that come together."""
        nodes: dict[Node, None] = {}
        inputs: dict[str, Place] = {}
        for place in operands:
            if place in self.regions:
                inputs.setdefault(self.regions[place].name, place)
            elif place in self.bodies:
                part, read = self.bodies[place]
                nodes.update(dict.fromkeys(part))
                inputs.update(read)
        return list(nodes), inputs

    def _folds(self, node: Node, formula: Expr) -> bool:
        """True if this op is no line of its own."""
        if self._carries(node):
            return True
        place = (node, 0)
        if place in self.given or place in self.wrt:
            return False
        if self._is_index(node):
            return True
        users = self.users.get(node, set())
        if len(users) != 1 or len(write(formula)) > _LONGEST:
            return False
        record = self.snapshot.records[node]
        assert record.op is not None
        return self._joins(record.op.name, self._user_of(node), formula, node)

    def _is_index(self, node: Node) -> bool:
        """Whole numbers that choose places: how they were made is no part of the lecture."""
        op = self.snapshot.records[node].op
        computed = op is not None and op.family in ("elementwise", "movement", "creation")
        return computed and all(dtypes.is_integer(dtype) for _, dtype in node.specs)

    def _user_of(self, node: Node) -> str:
        """Name of the only op that reads ``node``, seen through a sign that only it reads."""
        while True:
            users = self.users.get(node, set())
            user = next(iter(users))
            op = self.snapshot.records[user].op
            assert op is not None
            onward = self.users.get(user, set())
            if op.name != "negative" or len(onward) != 1 or (user, 0) in self.given:
                return op.name
            node = user

    def _joins(self, op: str, user: str, formula: Expr, node: Node) -> bool:
        active = symbols_of(formula) & self.active_names
        into_arithmetic = user in _ARITHMETIC or user == "sum"
        if op == "divide" and "exp(" in write(formula):
            return False  # a sigmoid or softmax written out is a step, as it would be as an op
        if op in _ARITHMETIC or op == "sum":
            return into_arithmetic or (user in _MATHEMATICS and len(active) <= 1)
        if op in _MATHEMATICS:
            return into_arithmetic and len(active) <= 1
        if op == "dot_general":
            return user in ("add", "subtract")
        if op in ("slice", "reshape", "gather"):
            return node not in self.active and into_arithmetic
        return self._is_condition(node)

    def _is_condition(self, node: Node) -> bool:
        return all(dtype == dtypes.bool_ for _, dtype in node.specs)


def _is_uniform(value: np.ndarray) -> bool:
    return bool((value == value.reshape(-1)[0]).all())
