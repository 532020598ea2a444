"""The compiler's own ops for attention, and the Composites that become them.

The Composites of ``nn.functional`` give one Array each: the result, its normalisers, the gradients
in queries, keys and values. Kernels compute several of them at once; so those that share operands
become results of one instruction.

Behind queries, keys and values come what ``nn.functional.attention_composites`` says: a mask where
``masked`` (the instructions have it as numbers to add), key words, limit and factor where
``dropped``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.ops.kernels.philox import random_bits
from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY, Op
from chainrule.program.compiler.instructions import Instruction, Tensor

FEATURES = 16  # features of a head come in multiples of this: whole vectors on every target
MOST_FEATURES = 256
# Fewer queries or keys make no whole vectors, and 8 of them take longer in tiles. Whoever measures
# this: heads lie side by side, as a projection leaves them, and plain products read them slowly.
LEAST_PLACES = 16
_PULLBACKS = (
    "attention_query_pullback",
    "attention_key_pullback",
    "attention_value_pullback",
)

Specs = tuple[tuple[tuple[int, ...], Any], ...]


class Extras(NamedTuple):
    """What may come behind queries, keys and values.

    Args:
        mask: Added to the scores, four axes of which some are 1; −inf: takes no part.
        draw: Key words, the largest word that keeps a weight, and the factor of what is kept.
    """

    mask: Any = None
    draw: tuple[Any, Any, Any] | None = None


def extras_of(extras: Sequence[Any], masked: bool, dropped: bool) -> Extras:
    """The last operands by their names."""
    draw = (extras[-3], extras[-2], extras[-1]) if dropped else None
    return Extras(extras[0] if masked else None, draw)


def inputs_of(x: Instruction) -> Sequence[Tensor]:
    """Queries, keys, values and what comes behind them."""
    return x.operands if x.op is FORWARD else x.operands[3:]


def _swapped(x: Any) -> tuple[int, ...]:
    """(batch, heads, places, features) → (batch, places, heads, features)."""
    batch, heads, places, features = x.shape
    return batch, places, heads, features


def _infer_forward(query: Any, key: Any, value: Any, *extras: Any, **setting: Any) -> Specs:
    batch, heads, queries, _ = query.shape
    result = (batch, queries, heads, value.shape[3])
    return (result, query.dtype), ((batch, heads, queries, 2), query.dtype)


def _infer_backward(
    g: Any, y: Any, norm: Any, query: Any, key: Any, value: Any, *extras: Any, **setting: Any
) -> Specs:
    return tuple((_swapped(x), x.dtype) for x in (query, key, value))


def _repeated(x: np.ndarray, heads: int) -> np.ndarray:
    return np.repeat(x, heads // x.shape[1], axis=1)


def _scores(
    query: np.ndarray, key: np.ndarray, mask: np.ndarray | None, causal: bool, scale: float
) -> np.ndarray:
    scores = scale * np.einsum("bhqd,bhkd->bhqk", query, _repeated(key, query.shape[1]))
    if mask is not None:
        scores = scores + mask
    if causal:
        hidden = np.arange(key.shape[2]) > np.arange(query.shape[2])[:, None]
        scores[:, :, hidden] = -np.inf
    return scores


def _kept(draw: tuple[np.ndarray, ...] | None, shape: tuple[int, ...]) -> np.ndarray | float:
    """The factor of each weight: 0 or that of what is kept."""
    if draw is None:
        return 1.0
    words, limit, factor = draw
    return np.where(random_bits(words, shape) <= limit, factor, 0.0)


def _evaluate_forward(
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *extras: np.ndarray,
    causal: bool,
    scale: float,
    masked: bool,
    dropped: bool,
) -> tuple[np.ndarray, ...]:
    mask, draw = extras_of(extras, masked, dropped)
    scores = _scores(query, key, mask, causal, scale)
    highest = np.maximum(scores.max(axis=-1, keepdims=True), np.finfo(query.dtype).min)
    weights = np.exp(scores - highest)
    total = weights.sum(axis=-1, keepdims=True)
    inverse = np.divide(1.0, total, out=np.zeros_like(total), where=total != 0.0)
    weights = weights * inverse * _kept(draw, weights.shape)
    y = np.einsum("bhqk,bhkd->bqhd", weights, _repeated(value, query.shape[1]))
    normaliser = np.concatenate([highest, inverse], axis=-1)
    return y.astype(query.dtype), normaliser.astype(query.dtype)


def _evaluate_backward(
    g: np.ndarray,
    y: np.ndarray,
    normaliser: np.ndarray,
    query: np.ndarray,
    key: np.ndarray,
    value: np.ndarray,
    *extras: np.ndarray,
    causal: bool,
    scale: float,
    masked: bool,
    dropped: bool,
) -> tuple[np.ndarray, ...]:
    heads, groups = query.shape[1], key.shape[1]
    mask, draw = extras_of(extras, masked, dropped)
    highest, inverse = normaliser[..., :1], normaliser[..., 1:]
    weights = np.exp(_scores(query, key, mask, causal, scale) - highest) * inverse
    kept = _kept(draw, weights.shape)
    by_weights = kept * np.einsum("bhqd,bhkd->bhqk", g, _repeated(value, heads))
    by_scores = scale * weights * (by_weights - (g * y).sum(axis=-1, keepdims=True))
    by_query = np.einsum("bhqk,bhkd->bqhd", by_scores, _repeated(key, heads))
    by_key = np.einsum("bhqk,bhqd->bkhd", by_scores, query)
    by_value = np.einsum("bhqk,bhqd->bkhd", weights * kept, g)
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
    arity=None,
    infer=_infer_forward,
    evaluate=_evaluate_forward,
    vjp=None,
    nondifferentiable=True,
    batch=_no_batch,
    multiple=True,
)
"""``(query, key, value, …)`` → result (batch, places, heads, features), normalisers (batch, heads,
places, 2): the largest score of a row, and one over the sum of exp(score − largest); 0 where a
query may look nowhere."""

BACKWARD = Op(
    name="attention_backward",
    family="attention",
    arity=None,
    infer=_infer_backward,
    evaluate=_evaluate_backward,
    vjp=None,
    nondifferentiable=True,
    batch=_no_batch,
    multiple=True,
)
"""``(cotangent, result, normalisers, query, key, value, …)`` → gradients in query, key and value,
each (batch, places, heads, features)."""

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
        if name not in ("attention", "attention_normaliser", *_PULLBACKS):
            return None
        place = (id(instructions), *(attributes[x] for x in ("causal", "scale", "masked")))
        if name == "attention_normaliser":
            known = self._made.get(("normaliser", *operands, *place))
            return None if known is None else known.results[1]
        inputs = operands if name == "attention" else operands[3:]
        if not pays(*inputs[:3]):
            return None
        setting = (name == "attention", *operands, *place, attributes["dropped"])
        made = self._made.get(setting)
        if made is None:
            op = FORWARD if name == "attention" else BACKWARD
            given = list(operands)
            if attributes["masked"]:
                at = len(operands) - len(inputs) + 3
                given[at] = _as_numbers(operands[at], inputs, instructions, origin)
            specs = op.infer(*given, **attributes)
            made = self._made[setting] = Instruction(op, given, attributes, list(specs), origin)
            instructions.append(made)
        if name != "attention":
            return _turned(made.results[_PULLBACKS.index(name)], instructions, origin)
        mask = operands[3 : 3 + int(attributes["masked"])]
        self._made["normaliser", *operands[:2], *mask, *place] = made
        return _turned(made.results[0], instructions, origin)


def _as_numbers(
    mask: Tensor, inputs: Sequence[Tensor], instructions: list[Instruction], origin: Origin
) -> Tensor:
    """A mask as numbers to add, with a number for each key."""

    def emit(name: str, *operands: Tensor, **attributes: Any) -> Tensor:
        op = REGISTRY[name]
        spec = op.infer(*operands, **attributes)
        made = Instruction(op, list(operands), attributes, [spec], origin)
        instructions.append(made)
        return made.result

    query, key = inputs[:2]
    shape = (*mask.shape[:3], key.shape[2])
    if mask.shape != shape:
        mask = emit("broadcast_to", mask, shape=shape)
    if mask.dtype != np.bool_:
        return mask
    numbers = [Tensor((), query.dtype, constant=np.array(x, query.dtype)) for x in (0.0, -np.inf)]
    seen, hidden = (emit("broadcast_to", x, shape=shape) for x in numbers)
    return emit("where", mask, seen, hidden)


def _turned(x: Tensor, instructions: list[Instruction], origin: Origin) -> Tensor:
    """Heads before places, as the Composite says it."""
    axes = {"axes": (0, 2, 1, 3)}
    turned = Instruction(REGISTRY["transpose"], [x], axes, [(_swapped(x), x.dtype)], origin)
    instructions.append(turned)
    return turned.result
