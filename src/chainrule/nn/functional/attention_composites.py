"""Attention as one Composite, and its gradients: compiled Programs make no matrix of all scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from chainrule import ops, random
from chainrule.array import Array
from chainrule.nn.functional.activations import softmax
from chainrule.nn.functional.masks import by_group, causal_mask
from chainrule.ops import composite, dtypes

# All take queries (batch, heads, places, features), keys and values (of as many heads, or of fewer
# that serve groups) and then, where ``masked``, a mask of four axes that broadcasts to the scores:
# bools or numbers of the queries' type; where ``dropped``, the two words of a random key, the
# largest random word that keeps a weight, and the factor of what is kept.


def _mask_of(extras: Sequence[Array], setting: dict[str, Any]) -> Array | None:
    return extras[0] if setting["masked"] else None


def _visible_scores(
    query: Array, key: Array, extras: Sequence[Array], setting: dict[str, Any]
) -> tuple[Array, Array | None]:
    """scale · q kᵀ + mask, the lowest number where a query may not look; where it may."""
    scores = by_group(query * setting["scale"], key, contract_last=True)
    allowed = causal_mask(*scores.shape[-2:]) if setting["causal"] else None
    mask = _mask_of(extras, setting)
    if mask is not None:
        own = mask
        if mask.dtype != dtypes.bool_:
            own = mask != -math.inf
            scores = scores + ops.where(own, mask, 0.0)
        allowed = own if allowed is None else ops.logical_and(own, allowed)
    if allowed is None:
        return scores, None
    # a finite number, so that a row in which nothing is allowed has a maximum to subtract
    return ops.where(allowed, scores, float(ops.finfo(scores.dtype).min)), allowed


def _cleared(weights: Array, allowed: Array | None, setting: dict[str, Any]) -> Array:
    """0 where a query may not look: a row in which it may nowhere has other weights there."""
    if allowed is None or not setting["masked"]:
        return weights
    found: Array = ops.where(allowed, weights, 0.0)
    return found


def _dropped(weights: Array, extras: Sequence[Array], setting: dict[str, Any]) -> Array:
    """Some of the weights 0, the others larger; or the slopes of that."""
    if not setting["dropped"]:
        return weights
    words, limit, factor = extras[-3:]
    kept = random.bits(words, weights.shape) <= limit
    found: Array = ops.where(kept, weights * factor, 0.0)
    return found


def _per_key(x: Array, y: Array, heads: int) -> Array:
    """xᵀ y of each head, summed over the heads that share keys."""
    group = x.shape[-3] // heads
    split = [z.reshape((z.shape[0], heads, group, *z.shape[2:])) for z in (x, y)]
    axes = ((2, 3), (2, 3)), ((0, 1), (0, 1))
    product: Array = ops.bind("dot_general", *split, contract=axes[0], batch=axes[1])
    return product


@composite("attention_normaliser", formula="max s and 1/Σ exp(s − max s) of s = {x}·{y}ᵀ·scale")
def _normaliser(query: Array, key: Array, *mask: Array, **setting: Any) -> Array:
    """(batch, heads, queries, 2): a sum in logarithms would lose its digits beside a large maximum,
    as a mask of −1e9 makes it."""
    scores, allowed = _visible_scores(query, key, mask, setting)
    # weights do not depend on what is subtracted, so nor do their slopes
    highest = ops.stop_gradient(ops.max(scores, axis=-1, keepdims=True))
    total = ops.sum(_cleared(ops.exp(scores - highest), allowed, setting), axis=-1, keepdims=True)
    if setting["masked"]:
        some = total > 0.0
        inverse = ops.where(some, 1.0 / ops.where(some, total, 1.0), 0.0)
    else:
        inverse = 1.0 / total
    found: Array = ops.concat([highest, inverse], axis=-1)
    return found


def _weights_again(
    query: Array,
    key: Array,
    normaliser: Array,
    extras: Sequence[Array],
    setting: dict[str, Any],
) -> Array:
    scores, allowed = _visible_scores(query, key, extras, setting)
    weights = ops.exp(scores - normaliser[..., :1]) * normaliser[..., 1:]
    return _cleared(weights, allowed, setting)


def _by_scores(
    g: Array,
    y: Array,
    normaliser: Array,
    query: Array,
    key: Array,
    value: Array,
    extras: Sequence[Array],
    setting: dict[str, Any],
) -> Array:
    """Cotangent of scale · q kᵀ + mask."""
    by_weights = _dropped(by_group(g, value, contract_last=True), extras, setting)
    centred = by_weights - ops.sum(g * y, axis=-1, keepdims=True)
    return _weights_again(query, key, normaliser, extras, setting) * centred


@composite("attention_query_pullback", formula="scale·P∘({x}·vᵀ − Σ{x}·{y})·k")
def _query_pullback(
    g: Array,
    y: Array,
    normaliser: Array,
    query: Array,
    key: Array,
    value: Array,
    *extras: Array,
    **setting: Any,
) -> Array:
    by_scores = _by_scores(g, y, normaliser, query, key, value, extras, setting)
    return by_group(by_scores * setting["scale"], key, contract_last=False)


@composite("attention_key_pullback", formula="(scale·P∘({x}·vᵀ − Σ{x}·{y}))ᵀ·q")
def _key_pullback(
    g: Array,
    y: Array,
    normaliser: Array,
    query: Array,
    key: Array,
    value: Array,
    *extras: Array,
    **setting: Any,
) -> Array:
    by_scores = _by_scores(g, y, normaliser, query, key, value, extras, setting)
    return _per_key(by_scores * setting["scale"], query, key.shape[-3])


@composite("attention_value_pullback", formula="Pᵀ·{x}")
def _value_pullback(
    g: Array,
    y: Array,
    normaliser: Array,
    query: Array,
    key: Array,
    value: Array,
    *extras: Array,
    **setting: Any,
) -> Array:
    weights = _weights_again(query, key, normaliser, extras, setting)
    return _per_key(_dropped(weights, extras, setting), g, value.shape[-3])


@composite("attention_mask_pullback", formula="P∘({x}·vᵀ − Σ{x}·{y})")
def _mask_pullback(
    g: Array,
    y: Array,
    normaliser: Array,
    query: Array,
    key: Array,
    value: Array,
    *extras: Array,
    **setting: Any,
) -> Array:
    by_scores = _by_scores(g, y, normaliser, query, key, value, extras, setting)
    sizes = zip(extras[0].shape, by_scores.shape, strict=True)
    axes = tuple(axis for axis, (own, whole) in enumerate(sizes) if own != whole)
    return ops.sum(by_scores, axis=axes, keepdims=True) if axes else by_scores


def _attention_vjp(
    g: Array, y: Array, query: Array, key: Array, value: Array, *extras: Array, **setting: Any
) -> tuple[Array | None, ...]:
    """The first three share all but their last product: the compiler computes them at once."""
    own = {name: setting[name] for name in ("causal", "scale", "masked")}
    normaliser = _normaliser(query, key, *extras[: int(setting["masked"])], **own)
    operands = g, y, normaliser, query, key, value, *extras
    rules = _query_pullback, _key_pullback, _value_pullback
    found: list[Array | None] = [rule(*operands, **setting) for rule in rules]
    if setting["masked"]:
        learned = extras[0].dtype != dtypes.bool_
        found.append(_mask_pullback(*operands, **setting) if learned else None)
    if setting["dropped"]:
        found += [None, None, ops.sum(g * y) / extras[-1]]
    return tuple(found)


@composite(
    "attention",
    vjp=_attention_vjp,
    formula="softmax(scale·{x}·{y}ᵀ)·{z}",
    derivative=(
        "scale·P∘(ḡ·vᵀ − Σḡ·y)·k",
        "(scale·P∘(ḡ·vᵀ − Σḡ·y))ᵀ·q",
        "Pᵀ",
    ),
)
def _attention(query: Array, key: Array, value: Array, *extras: Array, **setting: Any) -> Array:
    scores, allowed = _visible_scores(query, key, extras, setting)
    weights = _cleared(softmax(scores), allowed, setting)
    return by_group(_dropped(weights, extras, setting), value, contract_last=False)


def attention(
    query: Array,
    key: Array,
    value: Array,
    mask: Array | None,
    draw: tuple[Array, Any] | None,
    *,
    causal: bool,
    scale: float,
) -> Array:
    """Softmax(scale · q kᵀ + mask) v, of inputs that fit each other, none of them empty.

    Args:
        query: (..., heads, queries, features).
        key: (..., heads, keys, features).
        value: (..., heads, keys, value features).
        mask: Broadcasts to (..., heads, queries, keys); bools: True takes part; numbers: added.
        draw: A random key, and the probability of dropping a weight; None: none is dropped.
        causal: Query i sees keys 0 … i only, beside what the mask says.
        scale: Factor of the scores.
    """
    four = [x.reshape((-1, *(1, *x.shape)[-3:])) for x in (query, key, value)]
    extras: list[Array] = []
    if mask is not None:
        extras.append(_of_four_axes(mask, query.shape[:-3], query.dtype))
    if draw is not None:
        words, p = draw
        chance = ops.as_value(1.0 - p, dtypes.float64)
        # as in random.bernoulli, with a bound that is reached: so all can be kept
        threshold = ops.ceil(chance * 2.0**32) - 1.0
        limit = ops.astype(ops.where(chance >= 1.0, 2.0**32 - 1.0, threshold), dtypes.uint32)
        extras += [words, limit, ops.astype(1.0 / chance, query.dtype)]
    y = _attention(
        *four,
        *extras,
        causal=causal,
        scale=scale,
        masked=mask is not None,
        dropped=draw is not None,
    )
    return y.reshape((*query.shape[:-1], value.shape[-1]))


def _of_four_axes(mask: Array, lead: tuple[int, ...], dtype: Any) -> Array:
    """The mask over (batch, heads, queries, keys), where ``lead`` are joined to the batch."""
    given = mask if mask.dtype == dtypes.bool_ else ops.astype(mask, dtype)
    sizes = (*(1,) * (len(lead) + 3 - given.ndim), *given.shape)
    inner = sizes[len(lead) :]
    if any(n != 1 for n in sizes[: len(lead)]):
        given = ops.broadcast_to(given, (*lead, *inner))
        return given.reshape((math.prod(lead), *inner))
    return given.reshape((1, *inner))
