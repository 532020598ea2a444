"""Attention layers: multi-head, additive (Bahdanau) and multiplicative (Luong)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from chainrule import ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, DtypeError, ShapeError
from chainrule.nn import functional, init
from chainrule.nn.checks import floating_input, one_of, positive_integer
from chainrule.nn.dropout import Dropout
from chainrule.nn.functional.attention import attend
from chainrule.nn.linear import Linear
from chainrule.nn.module import Module
from chainrule.nn.parameter import Parameter
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class MultiheadAttention(Module):
    """Several attentions side by side, each in its own projection of queries, keys and values.

    Self-attention is a call with three times the same Array, which one product then projects. In
    its masks True means *is left out*, as in PyTorch's layer (and unlike the function
    ``functional.scaled_dot_product_attention``). A query that may look nowhere gets zeros, where
    PyTorch gives NaN.

    Args:
        embed_dim: Features of the queries and of the output, at least 1.
        num_heads: Heads, which divide embed_dim.
        dropout: Probability of dropping a weight while training, in [0, 1). It becomes a layer,
            so that its ``p`` may be changed; None if it is 0.
        bias: Whether the projections add a bias.
        kdim: Features of the keys; None: embed_dim.
        vdim: Features of the values; None: embed_dim.
        batch_first: Arrays are (batch, places, features) instead of (places, batch, features).
        dtype: Floating type of the parameters.
        num_key_value_heads: Heads of keys and values, which divide num_heads: each serves a group
            of the queries' heads. None: as many.
        rotary: Applied to queries and keys, as ``nn.RotaryPositions()``; None: nothing is.

    Attributes: ``in_proj_weight`` (queries, keys and values, one below the other: 3·embed_dim rows,
    fewer where key-value heads are), ``in_proj_bias`` of as many numbers or None, ``out_proj``, a
    Linear. If kdim or vdim differ from embed_dim: ``q_proj_weight``, ``k_proj_weight``,
    ``v_proj_weight`` instead of the first. Weights begin Glorot-uniform, biases 0.

    Raises:
        ArgumentError: Heads do not divide the features, or groups the heads.

    Reference: Vaswani et al. 2017, "Attention is all you need", section 3.2.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> layer = nn.MultiheadAttention(8, 2, batch_first=True)
    >>> x = cr.ones((3, 5, 8))
    >>> y, weights = layer(x, x, x)
    >>> y.shape, weights.shape
    ((3, 5, 8), (3, 5, 5))
    """

    in_proj_bias: Array | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = dtypes.float32,
        *,
        num_key_value_heads: int | None = None,
        rotary: Module | None = None,
    ) -> None:
        name = "MultiheadAttention"
        self.embed_dim = positive_integer(embed_dim, f"{name}: embed_dim")
        self.num_heads = positive_integer(num_heads, f"{name}: num_heads")
        groups = num_heads if num_key_value_heads is None else num_key_value_heads
        self.num_key_value_heads = positive_integer(groups, f"{name}: num_key_value_heads")
        _divides(num_heads, embed_dim, f"{name}: the heads must divide the features")
        _divides(groups, num_heads, f"{name}: heads of keys must divide the heads")
        self.kdim = positive_integer(embed_dim if kdim is None else kdim, f"{name}: kdim")
        self.vdim = positive_integer(embed_dim if vdim is None else vdim, f"{name}: vdim")
        self.head_dim = self.embed_dim // self.num_heads
        self.batch_first = bool(batch_first)
        rows = self._rows()
        if self.kdim == self.vdim == self.embed_dim:
            self.in_proj_weight = _drawn((sum(rows), self.embed_dim), dtype)
        else:
            self.q_proj_weight = _drawn((rows[0], self.embed_dim), dtype)
            self.k_proj_weight = _drawn((rows[1], self.kdim), dtype)
            self.v_proj_weight = _drawn((rows[2], self.vdim), dtype)
        self.in_proj_bias = Parameter(init.zeros(sum(rows), dtype=dtype)) if bias else None
        self.out_proj = Linear(self.embed_dim, self.embed_dim, bias, dtype)
        if bias:
            self.out_proj.bias = Parameter(init.zeros(self.embed_dim, dtype=dtype))
        self.dropout = Dropout(dropout) if dropout else None
        self.rotary = rotary

    def _rows(self) -> tuple[int, int, int]:
        shared = self.num_key_value_heads * self.head_dim
        return self.embed_dim, shared, shared

    def forward(
        self,
        query: Any,
        key: Any,
        value: Any,
        key_padding_mask: Any = None,
        need_weights: bool = True,
        attn_mask: Any = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Array, Array | None]:
        """The attended values, and the weights (None unless asked for).

        Args:
            query: (queries, batch, embed_dim), or (queries, embed_dim) for one sequence.
            key: (keys, batch, kdim) or (keys, kdim).
            value: (keys, batch, vdim) or (keys, vdim).
            key_padding_mask: (batch, keys) or (keys,): True (or −inf) leaves a key out.
            need_weights: Return the weights; a compiled step computes nothing for what is unused.
            attn_mask: (queries, keys), (batch·num_heads, queries, keys) or what broadcasts to
                (batch, num_heads, queries, keys). Bools: True is left out. Floats: added.
            average_attn_weights: The weights' mean over the heads, without an axis for them.
            is_causal: Query i sees keys 0 … i only; no mask needs to be given (PyTorch wants both).

        Shape: (queries, batch, embed_dim) and (batch, queries, keys) or (batch, num_heads, queries,
        keys); without the batch for one sequence.

        Raises:
            ShapeError: An input or a mask does not fit.
        """
        shared = key is value, query is key
        q, k, v = (self._batched(x, n) for x, n in self._inputs(query, key, value))
        self._check(q, k, v)
        q, k, v = self._projected(q, k, v, *shared)
        mask = self._mask(attn_mask, key_padding_mask, q, k)
        weights = None
        if need_weights:
            weights = functional.attention_weights(q, k, mask, is_causal)
            if self.dropout is not None:
                weights = self.dropout(weights)
            mean = functional.weighted_mean(weights, v)
        else:
            draw = None if self.dropout is None else self.dropout.draw()
            mean = attend(q, k, v, mask, is_causal, draw=draw)
        heads = ops.moveaxis(mean, 1, 2)
        y: Array = self.out_proj(heads.reshape((*heads.shape[:2], self.embed_dim)))
        single = ops.as_value(query).ndim == 2
        if single:
            y = y[0]
        elif not self.batch_first:
            y = ops.moveaxis(y, 0, 1)
        if not need_weights or weights is None:
            return y, None
        shown = ops.mean(weights, axis=1) if average_attn_weights else weights
        return y, shown[0] if single else shown

    def _inputs(self, query: Any, key: Any, value: Any) -> list[tuple[Any, int]]:
        return [(query, self.embed_dim), (key, self.kdim), (value, self.vdim)]

    def _batched(self, x: Any, features: int) -> Array:
        """As (batch, places, features)."""
        value = floating_input(x, self.out_proj.weight, self)
        if value.ndim not in (2, 3) or value.shape[-1] != features:
            order = "batch, places" if self.batch_first else "places, batch"
            raise ShapeError(
                f"{self!r} does not fit an input of shape {value.shape}",
                expected=f"({order}, {features}), or (places, {features})",
                got=str(value.shape),
                where=str(here()),
            )
        if value.ndim == 2:
            return ops.expand_dims(value, axis=0)
        return value if self.batch_first else ops.moveaxis(value, 0, 1)

    def _check(self, q: Array, k: Array, v: Array) -> None:
        if not q.shape[0] == k.shape[0] == v.shape[0] or k.shape[1] != v.shape[1]:
            shapes = f"{q.shape}, {k.shape} and {v.shape}"
            raise ShapeError(
                f"{self!r}: query, key and value do not fit each other",
                expected="one batch size, and as many values as keys",
                got=f"{shapes} as (batch, places, features)",
                fix="" if self.batch_first else "batch_first=True, if the batch stands in front",
                where=str(here()),
            )

    def _projected(
        self, q: Array, k: Array, v: Array, one_memory: bool, one_input: bool
    ) -> tuple[Array, Array, Array]:
        """Queries, keys and values of each head, (batch, heads, places, head_dim)."""
        a, b, c = self._rows()
        bias = self.in_proj_bias
        if self.kdim == self.vdim == self.embed_dim and one_memory:
            weight = self.in_proj_weight
            if one_input:  # one product for all three
                y = _affine(q, weight, bias)
                q, k, v = y[..., :a], y[..., a : a + b], y[..., a + b :]
            else:
                q = _affine(q, weight[:a], None if bias is None else bias[:a])
                y = _affine(k, weight[a:], None if bias is None else bias[a:])
                k, v = y[..., :b], y[..., b:]
        else:
            parts = slice(0, a), slice(a, a + b), slice(a + b, a + b + c)
            q, k, v = (
                _affine(x, self._weight(name, part), None if bias is None else bias[part])
                for x, name, part in zip((q, k, v), "qkv", parts, strict=True)
            )
        q, k, v = self._heads(q), self._heads(k), self._heads(v)
        return (q, k, v) if self.rotary is None else (self.rotary(q), self.rotary(k), v)

    def _weight(self, name: str, rows: slice) -> Array:
        if self.kdim == self.vdim == self.embed_dim:
            return self.in_proj_weight[rows]
        weight: Array = getattr(self, f"{name}_proj_weight")
        return weight

    def _heads(self, x: Array) -> Array:
        split = x.reshape((*x.shape[:2], x.shape[-1] // self.head_dim, self.head_dim))
        return ops.moveaxis(split, 2, 1)

    def _mask(self, attn_mask: Any, key_padding_mask: Any, q: Array, k: Array) -> Array | None:
        """Both masks in one, as the function takes it: True takes part, or numbers to add."""
        batch, heads, queries, keys = (*q.shape[:3], k.shape[2])
        found = None
        if attn_mask is not None:
            mask = ops.as_value(attn_mask)
            if mask.ndim == 3 and mask.shape[0] == batch * heads:
                mask = mask.reshape((batch, heads, *mask.shape[1:]))
            elif mask.ndim not in (2, 4):
                raise self._wrong_mask(
                    "attn_mask",
                    f"({queries}, {keys}) or ({batch * heads}, {queries}, {keys})",
                    mask,
                )
            found = _taking_part(mask)
        if key_padding_mask is not None:
            mask = ops.as_value(key_padding_mask)
            if mask.shape not in ((batch, keys), *([(keys,)] if batch == 1 else [])):
                raise self._wrong_mask("key_padding_mask", f"({batch}, {keys})", mask)
            mask = _taking_part(mask.reshape((batch, 1, 1, keys)))
            found = mask if found is None else _both(found, mask)
        return found

    def _wrong_mask(self, name: str, expected: str, mask: Array) -> ShapeError:
        return ShapeError(
            f"{self!r}: {name} does not fit",
            expected=expected,
            got=str(mask.shape),
            where=str(here()),
        )

    def extra_repr(self) -> str:
        """Sizes and the order of the axes."""
        return f"{self.embed_dim}, {self.num_heads}, batch_first={self.batch_first}"


def _drawn(shape: tuple[int, int], dtype: Any) -> Parameter:
    return Parameter(init.glorot_uniform(shape, dtype=dtype))


def _divides(part: int, whole: int, complaint: str) -> None:
    if whole % part:
        raise ArgumentError(
            complaint, expected=f"a divisor of {whole}", got=str(part), where=str(here())
        )


def _affine(x: Array, weight: Array, bias: Array | None) -> Array:
    y: Array = ops.tensordot(x, weight, axes=((x.ndim - 1,), (1,)))
    return y if bias is None else y + bias


def _taking_part(mask: Array) -> Array:
    """PyTorch's layers mark what is left out."""
    return ops.logical_not(mask) if mask.dtype == dtypes.bool_ else mask


def _both(first: Array, second: Array) -> Array:
    if first.dtype == second.dtype == dtypes.bool_:
        return ops.logical_and(first, second)
    numbers = [
        ops.where(mask, 0.0, -math.inf) if mask.dtype == dtypes.bool_ else mask
        for mask in (first, second)
    ]
    return numbers[0] + numbers[1]


class _Scored(Module):
    """What additive and multiplicative attention share: masks, the softmax and the mean."""

    query_dim: int
    key_dim: int

    _scores: Callable[[Array, Array], Array]  # given by the class

    def forward(
        self, query: Any, key: Any, value: Any = None, key_padding_mask: Any = None
    ) -> tuple[Array, Array]:
        """The mean of the values as each query weighs them (the context), and the weights.

        Args:
            query: (batch, queries, query_dim), or (batch, query_dim) for one query a sequence.
            key: (batch, keys, key_dim).
            value: (batch, keys, features); None: the keys.
            key_padding_mask: (batch, keys) bools: True leaves a key out.

        Shape: (batch, queries, features) and (batch, queries, keys); without the axis of queries
        if the query had none.

        Raises:
            ShapeError: The inputs or the mask do not fit.
        """
        q, k = (floating_input(x, next(self.parameters()), self) for x in (query, key))
        single = q.ndim == 2
        if single:
            q = ops.expand_dims(q, axis=1)
        self._check(q, k)
        v = k if value is None else floating_input(value, next(self.parameters()), self)
        mask = None
        if key_padding_mask is not None:
            mask = ops.as_value(key_padding_mask)
            if mask.dtype != dtypes.bool_ or mask.shape != k.shape[:2]:
                kind = ShapeError if mask.dtype == dtypes.bool_ else DtypeError
                raise kind(
                    f"{self!r}: key_padding_mask does not fit",
                    expected=f"bools {k.shape[:2]}",
                    got=f"{mask.dtype} {mask.shape}",
                    where=str(here()),
                )
            mask = ops.expand_dims(ops.logical_not(mask), axis=1)
        weights = functional.masked_softmax(self._scores(q, k), mask)
        context = functional.weighted_mean(weights[:, None], v[:, None])[:, 0]
        return (context[:, 0], weights[:, 0]) if single else (context, weights)

    def _check(self, q: Array, k: Array) -> None:
        fits = q.ndim == k.ndim == 3 and q.shape[0] == k.shape[0]
        if not fits or (q.shape[2], k.shape[2]) != (self.query_dim, self.key_dim):
            raise ShapeError(
                f"{self!r}: query and key do not fit",
                expected=f"(batch, queries, {self.query_dim}) and (batch, keys, {self.key_dim})",
                got=f"{q.shape} and {k.shape}",
                where=str(here()),
            )


class AdditiveAttention(_Scored):
    """Scores from a small network: vᵀ tanh(W q + U k) (Bahdanau).

    Args:
        query_dim: Features of a query (a decoder's state), at least 1.
        key_dim: Features of a key (an encoder's output), at least 1.
        attention_dim: Units of the network, at least 1.
        dtype: Floating type of the parameters.

    Attributes: ``query_proj`` (with the bias), ``key_proj`` and ``score``, three Linears.

    Shape: see ``forward``; arrays are (batch, places, features).

    Raises:
        ShapeError: Query, key or mask do not fit.

    Reference: Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to
    align and translate", appendix A.1.2.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> context, weights = nn.AdditiveAttention(4, 6, 8)(cr.ones((2, 4)), cr.ones((2, 5, 6)))
    >>> context.shape, weights.shape
    ((2, 6), (2, 5))
    """

    def __init__(
        self, query_dim: int, key_dim: int, attention_dim: int, dtype: Any = dtypes.float32
    ) -> None:
        self.query_dim = positive_integer(query_dim, "AdditiveAttention: query_dim")
        self.key_dim = positive_integer(key_dim, "AdditiveAttention: key_dim")
        self.attention_dim = positive_integer(attention_dim, "AdditiveAttention: attention_dim")
        self.query_proj = Linear(query_dim, attention_dim, dtype=dtype)
        self.key_proj = Linear(key_dim, attention_dim, bias=False, dtype=dtype)
        self.score = Linear(attention_dim, 1, bias=False, dtype=dtype)

    def _scores(self, query: Array, key: Array) -> Array:
        q = ops.expand_dims(self.query_proj(query), axis=2)
        k = ops.expand_dims(self.key_proj(key), axis=1)
        scores: Array = self.score(ops.tanh(q + k))
        return ops.squeeze(scores, axis=-1)

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.query_dim}, {self.key_dim}, {self.attention_dim}"


class MultiplicativeAttention(_Scored):
    """Scores from products: qᵀ W k (Luong's "general").

    For Luong's "dot", which has no parameters, use ``functional.scaled_dot_product_attention`` with
    ``scale=1``.

    Args:
        query_dim: Features of a query (a decoder's state), at least 1.
        key_dim: Features of a key (an encoder's output), at least 1.
        scaling: ``"none"`` as in the paper, or ``"sqrt"``: divided by √key_dim, with which
            they grow.
        dtype: Floating type of the parameters.

    Attributes: ``query_proj``, a Linear from query_dim to key_dim without bias.

    Shape: see ``forward``; arrays are (batch, places, features).

    Raises:
        ShapeError: Query, key or mask do not fit.

    Reference: Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
    translation", section 3.1.

    >>> import chainrule as cr
    >>> from chainrule import nn
    >>> context, weights = nn.MultiplicativeAttention(4, 6)(cr.ones((2, 3, 4)), cr.ones((2, 5, 6)))
    >>> context.shape, weights.shape
    ((2, 3, 6), (2, 3, 5))
    """

    def __init__(
        self, query_dim: int, key_dim: int, scaling: str = "none", dtype: Any = dtypes.float32
    ) -> None:
        self.query_dim = positive_integer(query_dim, "MultiplicativeAttention: query_dim")
        self.key_dim = positive_integer(key_dim, "MultiplicativeAttention: key_dim")
        self.scaling = one_of(scaling, ("none", "sqrt"), "MultiplicativeAttention: scaling")
        self.query_proj = Linear(query_dim, key_dim, bias=False, dtype=dtype)

    def _scores(self, query: Array, key: Array) -> Array:
        projected: Array = self.query_proj(query)
        factor = 1.0 if self.scaling == "none" else 1.0 / math.sqrt(self.key_dim)
        axes = ((2,), (2,))
        scores: Array = ops.bind("dot_general", projected, key, contract=axes, batch=((0,), (0,)))
        return scores if factor == 1.0 else scores * factor

    def extra_repr(self) -> str:
        """The sizes."""
        return f"{self.query_dim}, {self.key_dim}, scaling={self.scaling!r}"
