"""Attention as functions: weights, weighted means, and rotations that tell positions apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops, random
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn.functional.activations import softmax
from chainrule.nn.functional.normalization import floating
from chainrule.ops import composite, dtypes
from chainrule.ops.origin import here


def masked_softmax(scores: Any, mask: Any = None) -> Array:
    """Softmax over the last axis, of what the mask lets through; a row without any is all 0.

    Args:
        scores: (..., n).
        mask: Broadcasts to the scores. Bools: True takes part. Numbers: added; −inf takes no part.

    Raises:
        DtypeError: The mask holds integers, which could mean either.

    >>> import chainrule as cr
    >>> masked_softmax(cr.zeros((2, 3)), [[True, True, False], [False] * 3])
    Array([[0.5, 0.5, 0. ],
           [0. , 0. , 0. ]], float32)
    """
    values = floating(scores)
    if mask is None:
        return softmax(values)
    given: Array = ops.as_value(mask)
    _check_mask(values, given)
    allowed = given
    if given.dtype != dtypes.bool_:
        allowed = given != -math.inf
        values = values + ops.astype(ops.where(allowed, given, 0.0), values.dtype)
    # a finite number, so that a row in which nothing is allowed has a maximum to subtract
    lowest = float(ops.finfo(values.dtype).min)
    weights = softmax(ops.where(allowed, values, lowest))
    return ops.where(allowed, weights, 0.0)


def _check_mask(scores: Array, mask: Array) -> None:
    if mask.dtype != dtypes.bool_ and not dtypes.is_floating(mask.dtype):
        raise DtypeError(
            "a mask of integers is ambiguous",
            expected="bools (True takes part) or floats (added to the scores)",
            got=str(mask.dtype),
            fix="mask.astype(bool)",
            where=str(here()),
        )
    sizes = (1,) * (scores.ndim - mask.ndim) + mask.shape
    if len(sizes) != scores.ndim or any(
        m not in (1, n) for m, n in zip(sizes, scores.shape, strict=True)
    ):
        raise ShapeError(
            "the mask does not fit the scores",
            expected=f"what broadcasts to {scores.shape}",
            got=str(mask.shape),
            fix="axes are (..., queries, keys): a mask of keys is mask[:, None, None, :]",
            where=str(here()),
        )


def causal_mask(queries: int, keys: int | None = None, offset: int = 0) -> Array:
    """True where a query may look: at keys up to its own place.

    Args:
        queries: Number of queries.
        keys: Number of keys; None: as many.
        offset: Place of the first query among the keys, for queries that continue a sequence.

    Shape: bools (queries, keys).

    >>> causal_mask(2, 3, offset=1).tolist()
    [[True, True, False], [True, True, True]]
    """
    n = queries if keys is None else keys
    places = ops.expand_dims(ops.arange(queries) + offset, axis=1)
    return ops.expand_dims(ops.arange(n), axis=0) <= places


def attention_weights(
    query: Any,
    key: Any,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
) -> Array:
    """softmax(scale · q kᵀ + mask): how much each query takes of each key. Each row sums to 1.

    Args:
        query: (..., heads, queries, features).
        key: (..., heads, keys, features); of fewer heads, each serves a group of queries' heads.
        attn_mask: As for ``masked_softmax``, over (..., queries, keys).
        is_causal: Query i sees keys 0 … i only, beside what the mask says.
        scale: Factor; None: 1/√features.

    Shape: (..., heads, queries, keys).

    Raises:
        ShapeError: Query, key or mask do not fit each other.
    """
    q, k = floating(query), floating(key)
    _check_pair(q, k, "key")
    features = q.shape[-1]
    factor = 1.0 / math.sqrt(max(features, 1)) if scale is None else scale
    scores = _by_group(q * factor, k, contract_last=True)
    mask = None if attn_mask is None else ops.as_value(attn_mask)
    if is_causal:
        visible = causal_mask(q.shape[-2], k.shape[-2])
        if mask is None:
            mask = visible
        elif mask.dtype == dtypes.bool_:
            mask = ops.logical_and(mask, visible)
        else:
            mask = ops.where(visible, mask, -math.inf)
    return masked_softmax(scores, mask)


def _by_group(x: Array, y: Array, *, contract_last: bool) -> Array:
    """Products over all leading axes; y's heads serve equal groups of x's, without copies of y."""
    lead, (rows, inner) = x.shape[:-2], x.shape[-2:]
    if lead != y.shape[:-2]:
        group = lead[-1] // y.shape[-3]
        x = x.reshape((*y.shape[:-2], group * rows, inner))
    n = x.ndim - 2
    axes = tuple(range(n))
    last = n + 1 if contract_last else n
    product: Array = ops.bind("dot_general", x, y, contract=((n + 1,), (last,)), batch=(axes, axes))
    return product.reshape((*lead, rows, product.shape[-1]))


def weighted_mean(weights: Any, value: Any) -> Array:
    """Σ weights · values: what ``attention_weights`` are for.

    Args:
        weights: (..., heads, queries, keys).
        value: (..., heads, keys, features), or fewer heads, as the keys.

    Shape: (..., heads, queries, features).
    """
    w, v = floating(weights), floating(value)
    _check_values(v, w, w.shape[-1])
    return _by_group(w, v, contract_last=False)


def _check_values(value: Array, query: Array, keys: int) -> None:
    """``query`` or weights say how many heads there are."""
    w, v = query, value
    heads_fit = w.ndim == v.ndim and w.shape[:-3] == v.shape[:-3] and keys == v.shape[-2]
    if not heads_fit or (w.ndim > 2 and (not v.shape[-3] or w.shape[-3] % v.shape[-3])):
        raise ShapeError(
            "the values do not fit the keys",
            expected=f"(..., heads, {keys}, features)",
            got=str(v.shape),
            where=str(here()),
        )


def _visible_scores(query: Array, key: Array, causal: bool, scale: float) -> Array:
    """scale · q kᵀ, the lowest number where a query may not look."""
    scores = _by_group(query * scale, key, contract_last=True)
    if not causal:
        return scores
    lowest = float(ops.finfo(scores.dtype).min)
    return ops.where(causal_mask(query.shape[-2], key.shape[-2]), scores, lowest)


def _per_key(x: Array, y: Array, heads: int) -> Array:
    """xᵀ y of each head, summed over the heads that share keys."""
    group = x.shape[-3] // heads
    split = [z.reshape((z.shape[0], heads, group, *z.shape[2:])) for z in (x, y)]
    axes = ((2, 3), (2, 3)), ((0, 1), (0, 1))
    product: Array = ops.bind("dot_general", *split, contract=axes[0], batch=axes[1])
    return product


@composite("attention_normaliser", formula="ln Σ exp({x}·{y}ᵀ·scale)")
def _normaliser(query: Array, key: Array, *, causal: bool, scale: float) -> Array:
    found: Array = ops.logsumexp(_visible_scores(query, key, causal, scale), axis=-1)
    return found


def _weights_again(
    query: Array, key: Array, normaliser: Array, causal: bool, scale: float
) -> Array:
    scores = _visible_scores(query, key, causal, scale)
    return ops.exp(scores - ops.expand_dims(normaliser, axis=-1))


def _by_scores(
    g: Array, y: Array, normaliser: Array, query: Array, key: Array, value: Array, **setting: Any
) -> Array:
    """Cotangent of q kᵀ."""
    by_weights = _by_group(g, value, contract_last=True)
    centred = by_weights - ops.sum(g * y, axis=-1, keepdims=True)
    weights = _weights_again(query, key, normaliser, **setting)
    return weights * centred * setting["scale"]


@composite("attention_query_pullback", formula="scale·P∘({x}·vᵀ − Σ{x}·{y})·k")
def _query_pullback(
    g: Array, y: Array, normaliser: Array, query: Array, key: Array, value: Array, **setting: Any
) -> Array:
    by_scores = _by_scores(g, y, normaliser, query, key, value, **setting)
    return _by_group(by_scores, key, contract_last=False)


@composite("attention_key_pullback", formula="(scale·P∘({x}·vᵀ − Σ{x}·{y}))ᵀ·q")
def _key_pullback(
    g: Array, y: Array, normaliser: Array, query: Array, key: Array, value: Array, **setting: Any
) -> Array:
    by_scores = _by_scores(g, y, normaliser, query, key, value, **setting)
    return _per_key(by_scores, query, key.shape[-3])


@composite("attention_value_pullback", formula="Pᵀ·{x}")
def _value_pullback(
    g: Array, y: Array, normaliser: Array, query: Array, key: Array, value: Array, **setting: Any
) -> Array:
    return _per_key(_weights_again(query, key, normaliser, **setting), g, value.shape[-3])


def _attention_vjp(
    g: Array, y: Array, query: Array, key: Array, value: Array, **setting: Any
) -> tuple[Array, ...]:
    """The three gradients share all but their last product: the compiler computes them at once."""
    operands = g, y, _normaliser(query, key, **setting), query, key, value
    rules = _query_pullback, _key_pullback, _value_pullback
    return tuple(rule(*operands, **setting) for rule in rules)


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
def _attention(query: Array, key: Array, value: Array, *, causal: bool, scale: float) -> Array:
    weights = softmax(_visible_scores(query, key, causal, scale))
    return _by_group(weights, value, contract_last=False)


def attention(query: Any, key: Any, value: Any, is_causal: bool, scale: float | None) -> Array:
    """``scaled_dot_product_attention`` without masks or dropout, of inputs that fit each other.

    One Composite, of which compiled Programs make no matrix of all scores.
    """
    q, k, v = floating(query), floating(key), floating(value)
    factor = 1.0 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    whole = q.dtype == k.dtype == v.dtype and q.dtype.itemsize >= 4
    if not whole or k.shape[:-2] != v.shape[:-2] or not (q.size and k.size and v.size):
        return weighted_mean(attention_weights(q, k, None, is_causal, factor), v)
    four = [x.reshape((-1, *(1, *x.shape)[-3:])) for x in (q, k, v)]
    y = _attention(*four, causal=bool(is_causal), scale=factor)
    return y.reshape((*q.shape[:-1], v.shape[-1]))


def scaled_dot_product_attention(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Array:
    """softmax(q kᵀ / √d) v: for each query the mean of the values, weighed by how keys match.

    A query that may look nowhere gives 0. Unlike the layers' masks, True means *takes part* here,
    as in PyTorch.

    Args:
        query: (..., heads, queries, features).
        key: (..., heads, keys, features).
        value: (..., heads, keys, value features).
        attn_mask: Broadcasts to (..., queries, keys). Bools: True takes part. Floats: added.
        dropout_p: Probability of dropping a weight, in [0, 1); draws whenever it is not 0.
        is_causal: Query i sees keys 0 … i only, beside what the mask says.
        scale: Factor of the scores; None: 1/√features.
        enable_gqa: Keys and values may have fewer heads, each for a group of the queries' heads.

    Shape: (..., heads, queries, value features).

    Raises:
        ShapeError: The shapes do not fit each other.
        ArgumentError: dropout_p is outside [0, 1).

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.2.1; groups: Ainslie et
    al. 2023, "GQA".

    >>> import chainrule as cr
    >>> v = cr.asarray([[1.0], [3.0]])
    >>> scaled_dot_product_attention(cr.zeros((2, 4)), cr.zeros((2, 4)), v, is_causal=True).tolist()
    [[1.0], [2.0]]
    """
    q, k = floating(query), floating(key)
    if not enable_gqa and q.shape[:-2] != k.shape[:-2]:
        raise ShapeError(
            "queries and keys have different leading axes",
            expected=str((*q.shape[:-2], "keys", q.shape[-1])),
            got=str(k.shape),
            fix="enable_gqa=True lets one head of keys serve a group of heads of queries",
            where=str(here()),
        )
    if not 0.0 <= dropout_p < 1.0:
        raise ArgumentError(
            "scaled_dot_product_attention: dropout_p is out of its range",
            expected="a number in [0, 1)",
            got=repr(dropout_p),
            where=str(here()),
        )
    if attn_mask is None and not dropout_p:
        _check_pair(q, k, "key")
        _check_values(floating(value), q, k.shape[-2])
        return attention(q, k, value, is_causal, scale)
    weights = attention_weights(q, k, attn_mask, is_causal, scale)
    if dropout_p:
        kept = random.bernoulli(random.layer_key(), 1.0 - dropout_p, weights.shape)
        weights = ops.where(kept, weights / (1.0 - dropout_p), 0.0)
    return weighted_mean(weights, value)


def _check_pair(q: Array, k: Array, what: str) -> None:
    fits = q.ndim == k.ndim >= 2 and q.shape[-1] == k.shape[-1] and q.shape[:-3] == k.shape[:-3]
    if fits and q.ndim > 2:
        fits = k.shape[-3] > 0 and q.shape[-3] % k.shape[-3] == 0
    if not fits:
        raise ShapeError(
            f"query and {what} do not fit each other",
            expected="(..., heads, places, features) with the same features, and heads of keys "
            "that divide those of the queries",
            got=f"query {q.shape}, {what} {k.shape}",
            where=str(here()),
        )


def sinusoidal_positions(
    length: int, features: int, base: float = 10000.0, dtype: Any = dtypes.float32
) -> Array:
    """Waves that name places: sin(t/base^(2i/d)) in column 2i, the cosine in column 2i + 1.

    Args:
        length: Places, at least 0.
        features: d, columns.
        base: The longest wave is about 2π · base places.
        dtype: Floating type.

    Shape: (length, features).

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.5.

    >>> sinusoidal_positions(1, 4).tolist()
    [[0.0, 1.0, 0.0, 1.0]]
    """
    table = np.zeros((length, features))
    angles = np.outer(np.arange(length), float(base) ** (-np.arange(0, features, 2) / features))
    table[:, 0::2] = np.sin(angles)
    table[:, 1::2] = np.cos(angles[:, : features // 2])
    return ops.as_value(table, dtypes.as_dtype(dtype))


def rotate_positions(
    x: Any, offset: int = 0, base: float = 10000.0, interleaved: bool = False
) -> Array:
    """Turn pairs of features by angles that grow with the place: q·k then depends on distances.

    Args:
        x: Queries or keys, (..., places, features); an even number of features.
        offset: Place of the first of them, at least 0.
        base: Pair i turns by base^(−2i/features) a place.
        interleaved: Pairs are neighbours (2i, 2i + 1), as in the paper; else (i, i + features/2),
            as in GPT-NeoX and Llama.

    Shape: the same.

    Raises:
        ShapeError: An odd number of features, or fewer than two axes.

    Reference: Su et al. 2021, "RoFormer: enhanced Transformer with rotary position embedding",
    section 3.4.2.

    >>> import chainrule as cr
    >>> rotate_positions(cr.asarray([[1.0, 0.0]]), offset=0).tolist()
    [[1.0, 0.0]]
    """
    value = floating(x)
    if value.ndim < 2 or value.shape[-1] % 2:
        raise ShapeError(
            "rotations need pairs of features",
            expected="(..., places, an even number of features)",
            got=str(value.shape),
            where=str(here()),
        )
    *lead, length, features = value.shape
    half = features // 2
    rates = float(base) ** (-np.arange(half) / max(half, 1))
    angles = np.outer(np.arange(offset, offset + length), rates)
    pairs = value.reshape((*lead, length, half, 2) if interleaved else (*lead, length, 2, half))
    axis = -1 if interleaved else -2
    first, second = ops.unstack(pairs, axis=axis)
    cosine: Array = ops.as_value(np.cos(angles), value.dtype)
    sine: Array = ops.as_value(np.sin(angles), value.dtype)
    turned = [first * cosine - second * sine, first * sine + second * cosine]
    return ops.stack(turned, axis=axis).reshape(value.shape)
