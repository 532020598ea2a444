"""How the next token is chosen from logits: the likeliest, or one drawn at random."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from chainrule import ops, random
from chainrule.array import Array, asarray
from chainrule.errors import ArgumentError
from chainrule.ops import dtypes
from chainrule.ops.origin import here


@dataclass(frozen=True)
class Choice:
    """How tokens are drawn.

    Args:
        temperature: Logits are divided by it: below 1 likely tokens become likelier, above 1 less
            so; 0 takes the likeliest, the first at a tie.
        top_k: Draw among the k likeliest only, ≥ 1; None: among all.
        top_p: Draw among the fewest likeliest tokens whose probabilities sum to p or more, in
            (0, 1]; what ``top_k`` left over is what counts as all.

    Raises:
        ArgumentError: One is out of range.

    Reference: Fan et al. 2018, "Hierarchical neural story generation" (top-k); Holtzman et al.
    2020, "The curious case of neural text degeneration" (top-p).
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float = 1.0

    def __post_init__(self) -> None:
        for name, fits, expected in [
            ("temperature", 0 <= self.temperature < math.inf, "a number ≥ 0"),
            ("top_k", self.top_k is None or self.top_k >= 1, "a whole number ≥ 1"),
            ("top_p", 0 < self.top_p <= 1, "a number in (0, 1]"),
        ]:
            if not fits:
                raise ArgumentError(
                    f"{name} is out of range",
                    expected=expected,
                    got=repr(getattr(self, name)),
                    where=str(here()),
                )

    @property
    def kind(self) -> str:
        """What a Program is made for: ``"likeliest"``, ``"drawn"`` or ``"filtered"``."""
        if self.temperature == 0:
            return "likeliest"
        return "drawn" if self.top_k is None and self.top_p == 1 else "filtered"

    def settings(self, vocabulary_size: int) -> dict[str, Any]:
        """The numbers as inputs of a Program: changing them compiles nothing."""
        if self.kind == "likeliest":
            return {}
        found: dict[str, Any] = {"temperature": float(self.temperature)}
        if self.kind == "filtered":
            k = vocabulary_size if self.top_k is None else min(self.top_k, vocabulary_size)
            found |= {"top_k": asarray(k), "top_p": float(self.top_p)}
        return found


def choose(kind: str, logits: Array, key: Array, settings: dict[str, Any]) -> Array:
    """The next token of each row.

    Noise is a function of key and place in ``logits``: the draw of a row does not depend on how
    many rows stand behind it.

    Args:
        kind: That of the ``Choice``.
        logits: (batch, vocabulary).
        key: For the draws.
        settings: Those of the ``Choice``.

    Shape: int64 (batch,).
    """
    if kind == "likeliest":
        likeliest: Array = ops.argmax(logits, axis=-1)
        return likeliest
    noise = random.gumbel(key, logits.shape, logits.dtype)
    if kind == "drawn":
        drawn: Array = ops.argmax(logits / settings["temperature"] + noise, axis=-1)
        return drawn
    # in the order of likelihood, both filters are a border; equal logits keep their order
    order = ops.argsort(logits, axis=-1, descending=True)
    scores = ops.take_along_axis(logits, order, axis=-1) / settings["temperature"]
    rank = ops.arange(logits.shape[-1]).reshape((1, -1))
    scores = ops.where(rank < settings["top_k"], scores, -math.inf)
    weights = ops.exp(scores - scores[:, :1])
    before = ops.cumulative_sum(weights, axis=-1) - weights
    enough = settings["top_p"] * ops.sum(weights, axis=-1, keepdims=True)
    # the first always stays: rounding must not empty the choice
    kept = (before < enough) | (rank == 0)
    place = ops.argmax(ops.where(kept, scores + noise, -math.inf), axis=-1)
    found: Array = ops.take_along_axis(order, ops.expand_dims(place, axis=-1), axis=-1)[:, 0]
    return ops.astype(found, dtypes.int64)
