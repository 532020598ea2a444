"""``explain`` and what it returns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule.array import Array
from chainrule.autodiff.reverse import require_scalar
from chainrule.errors import ArgumentError, GradientError
from chainrule.explain import drawing, latex, markdown, page, terminal
from chainrule.explain.analysis import analyse
from chainrule.explain.model import Lecture
from chainrule.explain.snapshot import inline_composites
from chainrule.graph import topological
from chainrule.ops import dtypes
from chainrule.ops.origin import here
from chainrule.tree import flatten, is_container


class Explanation:
    """A derivation, step by step: print it, or write it as Markdown, LaTeX, a drawing or a page.

    Args:
        lecture: What there is to tell: ``lecture.steps``, ``lecture.chains``, ...
    """

    def __init__(self, lecture: Lecture) -> None:
        self.lecture = lecture

    @property
    def title(self) -> str:
        """The heading."""
        return self.lecture.title

    @property
    def value(self) -> float:
        """The loss."""
        return float(self.lecture.by_name[self.lecture.loss].value.item())

    @property
    def values(self) -> dict[str, np.ndarray]:
        """Every named value, given or computed, in the order of the forward pass."""
        return {step.name: step.value for step in self.lecture.steps}

    @property
    def gradients(self) -> dict[str, np.ndarray]:
        """The derivative of the loss in each value asked for; equal to ``cr.gradients``."""
        return {chain.name: chain.gradient for chain in self.lecture.chains}

    @property
    def updated(self) -> dict[str, np.ndarray]:
        """The values after one step of gradient descent; empty without a learning rate."""
        chains = self.lecture.chains
        return {chain.name: chain.updated for chain in chains if chain.updated is not None}

    @property
    def agrees(self) -> bool:
        """True if no gradient differs from central differences (also where none were taken)."""
        checks = [chain.difference for chain in self.lecture.chains]
        return all(check.agrees for check in checks if check is not None)

    def text(self, width: int = 80, colour: bool = False) -> str:
        """For a terminal.

        Args:
            width: Columns, at least 40.
            colour: With ANSI colours; it reads as well without.
        """
        return terminal.render(self.lecture, width, colour)

    def markdown(self) -> str:
        """Headings, tables and code blocks of GitHub's Markdown."""
        return markdown.render(self.lecture)

    def latex(self) -> str:
        """``aligned`` environments, for a document that uses the package amsmath."""
        return latex.render(self.lecture)

    def graph_svg(self) -> str:
        """The graph from left to right: values above the arrows, gradients below."""
        return drawing.render(self.lecture)

    def html(self) -> str:
        """A page that needs nothing else: drawing, steps to walk through by key, all the text."""
        return page.render(self.lecture)

    def save(self, path: str | Path) -> Path:
        """Write a file; its ending decides the form: .html, .md, .tex, .svg or .txt.

        Args:
            path: Where to; folders must exist.

        Returns:
            The path.

        Raises:
            ArgumentError: Another ending.
        """
        target = Path(path)
        forms = {
            ".html": self.html, ".htm": self.html, ".md": self.markdown, ".tex": self.latex,
            ".svg": self.graph_svg, ".txt": self.text,
        }  # fmt: skip
        if target.suffix.lower() not in forms:
            raise ArgumentError(
                "the ending of the path says no form that an explanation has",
                expected=", ".join(forms),
                got=target.name,
            )
        target.write_text(forms[target.suffix.lower()](), encoding="utf-8")
        return target

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        lecture = self.lecture
        return (
            f"<Explanation of {lecture.loss}: {len(lecture.forward)} steps, "
            f"{len(lecture.chains)} derivatives; print it>"
        )

    def _repr_markdown_(self) -> str:
        return self.markdown()


def explain(
    loss: Array,
    wrt: Any = None,
    *,
    learning_rate: float | None = None,
    check: bool = True,
    expand: bool = False,
    title: str = "",
    name: str = "E",
    remarks: Sequence[str] = (),
) -> Explanation:
    """Walk forward and backward through a loss like a lecturer.

    Every value is shown with its formula in your names (``cr.variable(v, name="w1")``,
    ``cr.named(x, "h1")``), the numbers filled in, its local derivatives, the gradient that arrives
    and those that leave, and every product of the chain rule in full.

    Args:
        loss: Scalar Array of a floating type, computed from variables.
        wrt: What to differentiate by: an Array, a sequence of them, a dict or a Module (names are
            then the paths there); None: every variable that the loss depends on.
        learning_rate: Also show one step of gradient descent with it; a finite number.
        check: Compare each gradient with central differences in float64.
        expand: Show the bodies of Composites (softmax cross-entropy, ...) op by op.
        title: Heading.
        name: What to call a loss that has no name.
        remarks: Sentences to put at the end.

    Returns:
        The explanation; ``print`` it or ``save`` it.

    Raises:
        GradientError: The loss is no floating scalar, or does not depend on one of ``wrt``.
        ArgumentError: ``wrt`` is empty, or the learning rate is not finite.

    >>> import chainrule as cr
    >>> w = cr.variable(3.0, name="w")
    >>> e = explain(w * w, [w], learning_rate=0.1)
    >>> e.gradients["w"], e.updated["w"]
    (array(6., dtype=float32), array(2.4, dtype=float32))
    """
    require_scalar(loss)
    if learning_rate is not None and not np.isfinite(learning_rate):
        raise ArgumentError(
            "the learning rate must be a finite number", got=str(learning_rate), where=str(here())
        )
    pairs = _pairs(loss, wrt)
    while expand and any(
        n.op is not None and n.op.family == "composite" for n in topological([loss])
    ):
        loss, moved = inline_composites(loss)
        pairs = [(label, moved.get((x.node, x.index), x)) for label, x in pairs]
    lecture = analyse(
        loss, pairs, learning_rate=learning_rate, check=check, title=title, loss_name=name
    )
    lecture.remarks += remarks
    return Explanation(lecture)


def _pairs(loss: Array, wrt: Any) -> list[tuple[str, Array]]:
    """Names and Arrays asked for, each once."""
    if isinstance(wrt, Array):
        pairs = [("", wrt)]
    elif wrt is None:
        pairs = [
            ("", Array(node)) for node in sorted(topological([loss]), key=lambda node: node.serial)
            if node.op is None and node.tracked and dtypes.is_floating(node.specs[0][1])
        ]  # fmt: skip
    elif isinstance(wrt, Mapping) or hasattr(wrt, "__tree_children__"):
        pairs = _from_tree(loss, wrt)
    elif is_container(wrt) or isinstance(wrt, Sequence):
        pairs = [("", x) for x in wrt]
    else:
        pairs = [("", wrt)]
    seen: dict[Any, tuple[str, Array]] = {}
    for label, x in pairs:
        if not isinstance(x, Array):
            raise GradientError(
                "wrt takes Arrays, or a dict or Module of them",
                got=type(x).__name__,
                fix="make it a variable before the loss is computed: cr.variable(x, name='x')",
                where=str(here()),
            )
        seen.setdefault((x.node, x.index), (label, x))
    if not seen:
        raise ArgumentError(
            "there is nothing to differentiate by",
            expected="at least one variable that the loss depends on",
            fix="make inputs variables: w = cr.variable(0.5, name='w')",
            where=str(here()),
        )
    return list(seen.values())


def _from_tree(loss: Array, container: Any) -> list[tuple[str, Array]]:
    """Floating Arrays of a container by path; a Module's buffers and frozen parts are left out."""
    reached = set(topological([loss]))
    leaves, _ = flatten(container)
    pairs = []
    for part in leaves:
        trainable = getattr(part.owner, "__tree_trainable__", None)
        kept = trainable(part.key) if trainable is not None else True
        if kept and isinstance(part.value, Array) and part.value.node in reached:
            pairs.append((part.path, part.value))
    return pairs
