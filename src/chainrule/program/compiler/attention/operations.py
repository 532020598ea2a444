"""The compiler's own ops for attention, and the Composites that become them.

The Composites of ``nn.functional`` give one Array each: the result, its normalisers, the gradients
in queries, keys and values. Kernels compute several of them at once; so those that share operands
become results of one instruction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY, Op
from chainrule.program.compiler.instructions import Instruction, Tensor

FEATURES = 16  # features of a head come in multiples of this: whole vectors on every target
MOST_FEATURES = 256
LEAST_PLACES = 16  # with fewer queries or keys the scores are as small as what tiles would need
_PULLBACKS = (
    "attention_query_pullback",
    "attention_key_pullback",
    "attention_value_pullback",
)

Specs = tuple[tuple[tuple[int, ...], Any], ...]


def _swapped(x: Any) -> tuple[int, ...]:
    """(batch, heads, places, features) → (batch, places, heads, features)."""
    batch, heads, places, features = x.shape
    return batch, places, heads, features


def _infer_forward(query: Any, key: Any, value: Any, causal: bool, scale: float) -> Specs:
    batch, heads, queries, _ = query.shape
    result = (batch, queries, heads, value.shape[3])
    return (result, query.dtype), ((batch, heads, queries), query.dtype)


def _infer_backward(
    g: Any, y: Any, normaliser: Any, query: Any, key: Any, value: Any, causal: bool, scale: float
) -> Specs:
    return tuple((_swapped(x), x.dtype) for x in (query, key, value))


def _repeated(x: np.ndarray, heads: int) -> np.ndarray:
    return np.repeat(x, heads // x.shape[1], axis=1)


def _scores(query: np.ndarray, key: np.ndarray, causal: bool, scale: float) -> np.ndarray:
    scores = scale * np.einsum("bhqd,bhkd->bhqk", query, _repeated(key, query.shape[1]))
    if causal:
        hidden = np.arange(key.shape[2]) > np.arange(query.shape[2])[:, None]
        scores[:, :, hidden] = -np.inf
    return scores


def _evaluate_forward(
    query: np.ndarray, key: np.ndarray, value: np.ndarray, causal: bool, scale: float
) -> tuple[np.ndarray, ...]:
    scores = _scores(query, key, causal, scale)
    highest = scores.max(axis=-1, keepdims=True)
    weights = np.exp(scores - highest)
    total = weights.sum(axis=-1, keepdims=True)
    y = np.einsum("bhqk,bhkd->bqhd", weights / total, _repeated(value, query.shape[1]))
    normaliser = (highest + np.log(total))[..., 0]
    return y.astype(query.dtype), normaliser.astype(query.dtype)


def _evaluate_backward(
    g: np.ndarray,
    y: np.ndarray,
    normaliser: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    causal: bool,
    scale: float,
) -> tuple[np.ndarray, ...]:
    heads, groups = query.shape[1], key.shape[1]
    weights = np.exp(_scores(query, key, causal, scale) - normaliser[..., None])
    by_weights = np.einsum("bhqd,bhkd->bhqk", g, _repeated(value, heads))
    by_scores = scale * weights * (by_weights - (g * y).sum(axis=-1, keepdims=True))
    by_query = np.einsum("bhqk,bhkd->bqhd", by_scores, _repeated(key, heads))
    by_key = np.einsum("bhqk,bhqd->bkhd", by_scores, query)
    by_value = np.einsum("bhqk,bhqd->bkhd", weights, g)
    shared = [
        x.reshape((*x.shape[:2], groups, heads // groups, x.shape[3])).sum(axis=3)
        for x in (by_key, by_value)
    ]
    return tuple(x.astype(query.dtype) for x in (by_query, *shared))


def _no_batch(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("made by the compiler, after everything has been batched")


FORWARD = Op(
    name="attention_forward",
    family="attention",
    arity=3,
    infer=_infer_forward,
    evaluate=_evaluate_forward,
    vjp=None,
    nondifferentiable=True,
    batch=_no_batch,
    multiple=True,
)
"""``(query, key, value)`` → result (batch, places, heads, features), normalisers (batch, heads,
places)."""

BACKWARD = Op(
    name="attention_backward",
    family="attention",
    arity=6,
    infer=_infer_backward,
    evaluate=_evaluate_backward,
    vjp=None,
    nondifferentiable=True,
    batch=_no_batch,
    multiple=True,
)
"""``(cotangent, result, normalisers, query, key, value)`` → gradients in the last three, each
(batch, places, heads, features)."""

OPS = (FORWARD.name, BACKWARD.name)


def pays(query: Tensor, key: Tensor, value: Tensor) -> bool:
    """True where tiles beat the plain formula; it depends on shapes and types alone."""
    if query.dtype not in (np.float32, np.float64) or not query.dtype == key.dtype == value.dtype:
        return False
    if len(query.shape) != 4 or not query.size or not key.size or not value.size:
        return False
    if any(f % FEATURES or f > MOST_FEATURES for f in (query.shape[3], value.shape[3])):
        return False
    return min(query.shape[2], key.shape[2]) >= LEAST_PLACES


class Attentions:
    """Makes instructions of attention's Composites while a graph is imported."""

    def __init__(self) -> None:
        self._made: dict[tuple[Any, ...], Instruction] = {}

    def recognise(
        self,
        name: str,
        attributes: dict[str, Any],
        operands: Sequence[Tensor],
        instructions: list[Instruction],
        origin: Origin,
    ) -> Tensor | None:
        """The result of a Composite; None if it is to be inlined.

        Args:
            name: The Composite's.
            attributes: Its own.
            operands: Its operands.
            instructions: Where instructions are appended.
            origin: Of new instructions.
        """
        setting = (id(instructions), *sorted(attributes.items()))
        if name == "attention_normaliser":
            known = self._made.get(("normaliser", *operands, *setting))
            return None if known is None else known.results[1]
        if name not in ("attention", *_PULLBACKS) or not pays(*operands[-3:]):
            return None
        if name == "attention":
            made = Instruction(FORWARD, operands, attributes, _forward_specs(operands), origin)
            instructions.append(made)
            self._made["normaliser", *operands[:2], *setting] = made
            return _turned(made.results[0], instructions, origin)
        key = ("pullback", *operands, *setting)
        if key not in self._made:
            specs = [(_swapped(x), x.dtype) for x in operands[-3:]]
            self._made[key] = Instruction(BACKWARD, operands, attributes, specs, origin)
            instructions.append(self._made[key])
        return _turned(self._made[key].results[_PULLBACKS.index(name)], instructions, origin)


def _forward_specs(operands: Sequence[Tensor]) -> list[tuple[tuple[int, ...], Any]]:
    query, key, value = operands
    return list(_infer_forward(query, key, value, False, 1.0))


def _turned(x: Tensor, instructions: list[Instruction], origin: Origin) -> Tensor:
    """Heads before places, as the Composite says it."""
    axes = {"axes": (0, 2, 1, 3)}
    turned = Instruction(REGISTRY["transpose"], [x], axes, [(_swapped(x), x.dtype)], origin)
    instructions.append(turned)
    return turned.result
