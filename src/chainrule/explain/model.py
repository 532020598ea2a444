"""What an explanation knows: plain data that every output format reads."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from chainrule.explain.expressions import Expr


@dataclass
class Edge:
    """One way back: from a computed value to one of the values its formula reads.

    Args:
        source: Name of the computed value.
        target: Name of the value read.
        formula: The local derivative ∂source/∂target if ``pointwise``, else what the gradient that
            arrives at ``source`` becomes.
        pointwise: The local derivative multiplies the gradient element by element.
        local: Its value; None where it is a matrix that is never formed.
        leaving: Gradient that leaves along this way, of the target's shape.
        at_kink: What the derivative is taken to be at a kink, if the op has one.
    """

    source: str
    target: str
    formula: Expr
    pointwise: bool
    local: np.ndarray | None
    leaving: np.ndarray
    at_kink: str = ""


@dataclass
class Step:
    """One value: given, or computed by a formula.

    Args:
        name: What it is called.
        formula: None for a given value.
        filled: The formula with numbers for the names, ``""`` where those are arrays.
        shapes: The formula with shapes for the names, ``""`` where all are scalars.
        value: What it comes to.
        arrives: The gradient of the loss in it; None where none is asked for.
        edges: Ways back to what its formula reads.
        reads: Names of all that its formula reads.
        parts: Gradients that arrive, one a user, as (user's name, gradient).
        where: The layer that computed it, if it was one.
    """

    name: str
    formula: Expr | None
    value: np.ndarray
    filled: str = ""
    shapes: str = ""
    arrives: np.ndarray | None = None
    edges: list[Edge] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    parts: list[tuple[str, np.ndarray]] = field(default_factory=list)
    where: str = ""

    @property
    def is_scalar(self) -> bool:
        """One element, so that its numbers fit into a formula."""
        return self.value.size == 1


@dataclass
class PathProduct:
    """One product of the chain rule: the local derivatives along one way from the loss.

    Args:
        edges: From the loss to the weight.
        numbers: Values of the factors; empty where one is a matrix.
        product: Their product; None where ``numbers`` is empty.
    """

    edges: list[Edge]
    numbers: list[float]
    product: float | None

    @property
    def factors(self) -> list[tuple[str, str]]:
        """``(E, o1), (o1, net_o1), ...``: what is differentiated by what."""
        return [(edge.source, edge.target) for edge in self.edges]


@dataclass
class Difference:
    """Central differences beside a gradient.

    Args:
        count: How many entries were checked.
        total: How many there are.
        estimate: Difference quotients, one an entry checked.
        gradient: The gradient's own entries at the same places.
        error: Largest difference, relative to the largest entry.
        agrees: ``error`` is what float32 and the step's size allow.
    """

    count: int
    total: int
    estimate: np.ndarray
    gradient: np.ndarray
    error: float
    agrees: bool


@dataclass
class Chain:
    """The whole derivative in one weight.

    Args:
        name: The weight.
        value: Its value.
        gradient: The derivative of the loss in it: what ``gradients`` returns.
        paths: The products, one a path; the first few where there are many.
        n_paths: How many there are.
        cascade: Edges in the order in which a lecturer writes them, loss first, each once.
        difference: The check, or None if it was not asked for.
        updated: The value after one step of gradient descent, or None.
    """

    name: str
    value: np.ndarray
    gradient: np.ndarray
    paths: list[PathProduct]
    n_paths: int
    cascade: list[Edge]
    difference: Difference | None = None
    updated: np.ndarray | None = None


@dataclass
class Shared:
    """A gradient that several products contain.

    Args:
        name: The value at which it arrives.
        value: The gradient.
        weights: Weights whose products contain it.
        uses: Number of products that contain it.
    """

    name: str
    value: np.ndarray
    weights: list[str]
    uses: int


@dataclass
class Savings:
    """How many multiplications sharing saves.

    Args:
        naive: For every product of every weight from scratch.
        backward: By sending gradients back once.
        scalar: All factors are numbers (else one factor counts as one multiplication).
    """

    naive: int
    backward: int
    scalar: bool

    @property
    def saved(self) -> int:
        """The difference."""
        return self.naive - self.backward


@dataclass
class Lecture:
    """Everything there is to tell.

    Args:
        title: Heading.
        loss: Name of the loss.
        steps: All values, operands before users.
        chains: One a weight, in the order asked for.
        shared: Gradients used by several products.
        savings: What sharing them saves.
        learning_rate: Of the update shown, or None.
        remarks: What the numbers show, a sentence each.
    """

    title: str
    loss: str
    steps: list[Step]
    chains: list[Chain]
    shared: list[Shared]
    savings: Savings
    learning_rate: float | None
    remarks: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.by_name = {step.name: step for step in self.steps}

    @property
    def given(self) -> list[Step]:
        """Values that are not computed."""
        return [step for step in self.steps if step.formula is None]

    @property
    def forward(self) -> list[Step]:
        """Computed values, operands before users."""
        return [step for step in self.steps if step.formula is not None]

    @property
    def backward(self) -> list[Step]:
        """Computed values that gradients pass through, the loss first."""
        return [step for step in reversed(self.forward) if step.edges]
