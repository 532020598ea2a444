"""Attention as functions: weights, weighted means, and rotations that tell positions apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from chainrule import ops, random
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.nn.functional.attention_composites import attention
from chainrule.nn.functional.masks import by_group, causal_mask, check_mask, masked_softmax
from chainrule.nn.functional.normalization import floating
from chainrule.ops import dtypes
from chainrule.ops.origin import here


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
    scores = by_group(q * factor, k, contract_last=True)
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


def weighted_mean(weights: Any, value: Any) -> Array:
    """Σ weights · values: what ``attention_weights`` are for.

    Args:
        weights: (..., heads, queries, keys).
        value: (..., heads, keys, features), or fewer heads, as the keys.

    Shape: (..., heads, queries, features).
    """
    w, v = floating(weights), floating(value)
    _check_values(v, w, w.shape[-1])
    return by_group(w, v, contract_last=False)


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


def attend(
    query: Any,
    key: Any,
    value: Any,
    attn_mask: Any = None,
    is_causal: bool = False,
    scale: float | None = None,
    draw: tuple[Array, Any] | None = None,
) -> Array:
    """``scaled_dot_product_attention`` with its draw of what is dropped given.

    One Composite, of which compiled Programs make no matrix of all scores.

    Args:
        query: (..., heads, queries, features).
        key: (..., heads, keys, features); of fewer heads, each serves a group of queries' heads.
        value: (..., heads, keys, value features), heads as the keys.
        attn_mask: Broadcasts to (..., queries, keys). Bools: True takes part. Floats: added.
        is_causal: Query i sees keys 0 … i only, beside what the mask says.
        scale: Factor of the scores; None: 1/√features.
        draw: A random key, and the probability with which each weight is dropped, a number in
            [0, 1) or an Array of one; None: none is.

    Shape: (..., heads, queries, value features).

    Raises:
        ShapeError: The shapes do not fit each other.
    """
    q, k, v = floating(query), floating(key), floating(value)
    _check_pair(q, k, "key")
    _check_values(v, q, k.shape[-2])
    shape = (*q.shape[:-1], k.shape[-2])
    mask = None if attn_mask is None else ops.as_value(attn_mask)
    if mask is not None:
        check_mask(shape, mask)
    factor = 1.0 / math.sqrt(max(q.shape[-1], 1)) if scale is None else float(scale)
    whole = q.dtype == k.dtype == v.dtype and q.dtype.itemsize >= 4
    if whole and k.shape[:-2] == v.shape[:-2] and q.size and k.size and v.size:
        return attention(q, k, v, mask, draw, causal=bool(is_causal), scale=factor)
    weights = attention_weights(q, k, mask, is_causal, factor)
    if draw is not None:
        chance = 1.0 - draw[1]
        weights = ops.where(random.bernoulli(draw[0], chance, shape), weights / chance, 0.0)
    return weighted_mean(weights, v)


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
    draw = (random.layer_key(), dropout_p) if dropout_p else None
    return attend(q, k, value, attn_mask, is_causal, scale, draw)


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
