"""The Transformer: an encoder reads a text, a decoder writes its translation; both are attention.

    source   embedding · √width + waves that name the places; dropout
    encoder  N layers: attention to all places, two layers for each place
    target   the same embedding and waves
    decoder  N layers: attention to what was written, attention to the encoder's output, two layers
    head     a logit for each token; its matrix is the embedding

Around each branch stands a sum with its input, and a norm behind it (post-norm, figure 1 of the
paper). Names are those of PyTorch's ``nn.Transformer``.

Reference: Vaswani et al. 2017, "Attention is all you need".
"""

from __future__ import annotations

import math
from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models.generation import Cache
from chainrule.models.heads import (
    Memory,
    attended,
    dividing,
    joined,
    split,
    visible_places,
    written,
)
from chainrule.models.registry import register
from chainrule.nn import functional
from chainrule.nn.checks import positive_integer
from chainrule.ops import dtypes
from chainrule.ops.origin import here

PADDING = 0
"""Token that fills short texts."""


class Transformer(nn.Module):
    """Encoder, decoder, embeddings and head.

    Matrices begin Glorot-uniform, embeddings as N(0, 1/width).

    Args:
        vocabulary_size: Tokens that are written, at least 1; token 0 is the filling of short texts.
        source_vocabulary_size: Tokens that are read, with an embedding of their own; None: both
            sides share one.
        context_length: The most places of a text, at least 1.
        width: Features, which the heads divide.
        num_layers: Layers of the encoder and of the decoder, at least 1.
        num_heads: Heads, at least 1.
        hidden: Features inside the feed-forward layers; None: 4 · width.
        dropout: Probability of dropping, in [0, 1).
        norm_first: Norms stand before the branches instead of behind the sums, and one more at the
            end of each stack: deep ones learn without warm-up.
        tied: The head's matrix is the target's embedding.

    Attributes: ``embedding``, ``source_embedding`` (None if shared), ``encoder``, ``decoder``,
    ``head``, ``dropout``.

    Shape: integers (batch, source places) and (batch, places) → logits (batch, places,
    vocabulary_size).

    >>> import chainrule as cr
    >>> model = Transformer(12, width=8, num_layers=1, num_heads=2)
    >>> model(cr.asarray([[3, 4, 5, 0]]), cr.asarray([[1, 7]])).shape
    (1, 2, 12)
    """

    def __init__(
        self,
        vocabulary_size: int,
        source_vocabulary_size: int | None = None,
        context_length: int = 512,
        *,
        width: int = 512,
        num_layers: int = 6,
        num_heads: int = 8,
        hidden: int | None = None,
        dropout: float = 0.1,
        norm_first: bool = False,
        tied: bool = True,
    ) -> None:
        self.vocabulary_size = positive_integer(vocabulary_size, "Transformer: vocabulary_size")
        self.context_length = positive_integer(context_length, "Transformer: context_length")
        self.num_heads, self.width = dividing(num_heads, width, "Transformer")
        inner = 4 * width if hidden is None else hidden
        settings: dict[str, Any] = {"batch_first": True, "norm_first": norm_first}
        reader = nn.TransformerEncoderLayer(width, num_heads, inner, dropout, **settings)
        writer = nn.TransformerDecoderLayer(width, num_heads, inner, dropout, **settings)
        last = [nn.LayerNorm(width) if norm_first else None for _ in range(2)]
        self.encoder = nn.TransformerEncoder(reader, num_layers, last[0])
        self.decoder = nn.TransformerDecoder(writer, num_layers, last[1])
        self.head = nn.Linear(width, vocabulary_size, bias=False)
        _draw(self)
        self.embedding = self._table(vocabulary_size)
        self.source_embedding: nn.Embedding | None = None
        if source_vocabulary_size is not None:
            self.source_embedding = self._table(source_vocabulary_size)
        if tied:
            self.head.weight = self.embedding.weight
        self.dropout = nn.Dropout(dropout) if dropout else None

    def _table(self, rows: int) -> nn.Embedding:
        table = nn.Embedding(rows, self.width)
        drawn = nn.init.normal((rows, self.width), standard_deviation=self.width**-0.5)
        table.weight = nn.Parameter(drawn)
        return table

    def forward(self, source: Any, target: Any) -> Array:
        """Logits of the token that follows each place of the target, if those before are right.

        Args:
            source: Integers (batch, source places), 0 behind the last token.
            target: Integers (batch, places): the token that starts a text, then the text.

        Shape: (batch, places, vocabulary_size).

        Raises:
            ShapeError: Too many places, no two axes, or another batch.
        """
        memory, filling = self.read(source)
        tokens = self._texts(target, "target")
        if tokens.shape[0] != memory.shape[0]:
            raise ShapeError(
                "Transformer: source and target are of different batches",
                expected=f"{memory.shape[0]} targets",
                got=str(tokens.shape[0]),
                where=str(here()),
            )
        x = self._embedded(self.embedding, tokens, ops.arange(tokens.shape[1]))
        x = self.decoder(x, memory, memory_key_padding_mask=filling, tgt_is_causal=True)
        logits: Array = self.head(x)
        return logits

    def read(self, source: Any) -> tuple[Array, Array]:
        """What the encoder makes of a text, and where there is only filling.

        Args:
            source: Integers (batch, source places), 0 behind the last token.

        Shape: (batch, source places, width) and bools (batch, source places).
        """
        tokens = self._texts(source, "source")
        filling = tokens == PADDING
        table = self.embedding if self.source_embedding is None else self.source_embedding
        x = self._embedded(table, tokens, ops.arange(tokens.shape[1]))
        return self.encoder(x, src_key_padding_mask=filling), filling

    def _embedded(self, table: nn.Embedding, tokens: Array, places: Array) -> Array:
        weight = table.weight
        waves = functional.sinusoidal_positions(self.context_length, self.width, dtype=weight.dtype)
        x = table(tokens) * math.sqrt(self.width) + ops.take(waves, places, axis=0)
        return x if self.dropout is None else self.dropout(x)

    def source_cache(self, source: Any, capacity: int | None = None) -> Cache:
        """Where writing begins: give it to ``generation.generate`` or ``beam_search`` as ``cache``.

        Args:
            source: Integers (batch, source places).
            capacity: Tokens that will be written at most; None: context_length.

        Returns:
            ``seen``, an int64 scalar; ``filling`` of the source; ``sources`` and ``layers``: keys
            and values of the source and of what was written, for each layer of the decoder.
        """
        memory, filling = self.read(source)
        rows = self.context_length if capacity is None else capacity
        if not 0 < rows <= self.context_length:
            raise ArgumentError(
                "Transformer.source_cache: capacity is out of range",
                expected=f"1 to {self.context_length}",
                got=repr(capacity),
                where=str(here()),
            )
        shape = (memory.shape[0], self.num_heads, rows, self.width // self.num_heads)
        zeros = [ops.zeros(shape, dtype=memory.dtype) for _ in range(2 * self.decoder.num_layers)]
        sources = []
        for layer in self.decoder.layers:
            _, k, v = _projected(layer.multihead_attn, memory)
            sources.append((k, v))
        return {
            "seen": ops.zeros((), dtype=dtypes.int64),
            "filling": filling,
            "sources": sources,
            "layers": list(zip(zeros[0::2], zeros[1::2], strict=True)),
        }

    def next_logits(self, tokens: Any, cache: Cache) -> tuple[Array, Cache]:
        """Write on: logits of what follows the last token, and the new cache.

        Args:
            tokens: Integers (batch, n): those that follow what the cache has seen.
            cache: From ``source_cache`` or the call before; there must be room for n more.

        Shape: (batch, n) → (batch, vocabulary_size).
        """
        given: Array = ops.as_value(tokens)
        seen = cache["seen"]
        x = self._embedded(self.embedding, given, seen + ops.arange(given.shape[1]))
        batch, places = cache["filling"].shape
        visible = ops.logical_not(cache["filling"]).reshape((batch, 1, 1, places))
        layers = []
        steps = zip(self.decoder.layers, cache["sources"], cache["layers"], strict=True)
        for layer, source, memory in steps:
            x, memory = _next(layer, x, (source, visible), memory, seen)
            layers.append(memory)
        x = x[:, -1] if self.decoder.norm is None else self.decoder.norm(x[:, -1])
        logits: Array = self.head(x)
        return logits, {**cache, "seen": seen + given.shape[1], "layers": layers}

    def _texts(self, tokens: Any, name: str) -> Array:
        given: Array = ops.as_value(tokens)
        if given.ndim != 2 or not 0 < given.shape[1] <= self.context_length:
            raise ShapeError(
                f"Transformer: {name} does not fit",
                expected=f"integers (batch, places), at most {self.context_length} places",
                got=str(given.shape),
                fix="a single text needs a batch axis: tokens[None]",
                where=str(here()),
            )
        return given

    def extra_repr(self) -> str:
        """Vocabulary and places."""
        return f"vocabulary_size={self.vocabulary_size}, context_length={self.context_length}"


def _draw(model: nn.Module) -> None:
    """Layers of a stack are copies: each gets weights of its own."""
    for module in model.modules():
        for name in ("weight", "in_proj_weight"):
            value = module.__dict__.get(name)
            if isinstance(value, Array) and value.ndim == 2:
                setattr(module, name, nn.Parameter(nn.init.glorot_uniform(value.shape)))


def _projected(attention: nn.MultiheadAttention, x: Array) -> tuple[Array, Array, Array]:
    """Queries, keys and values of x for each head; what is not used is not computed."""
    weight, bias = attention.in_proj_weight, attention.in_proj_bias
    y = ops.tensordot(x, weight, axes=((2,), (1,)))
    y = y if bias is None else y + bias
    n = attention.embed_dim
    parts = y[..., :n], y[..., n : 2 * n], y[..., 2 * n :]
    q, k, v = (split(part, attention.num_heads) for part in parts)
    return q, k, v


def _next(
    layer: nn.TransformerDecoderLayer,
    x: Array,
    source: tuple[Memory, Array],
    memory: Memory,
    seen: Array,
) -> tuple[Array, Memory]:
    """A decoder layer for the next places, with what it remembers of those before."""

    def to_itself(x: Array) -> Array:
        nonlocal memory
        q, k, v = _projected(layer.self_attn, x)
        memory = written(memory, k, v, seen)
        visible = visible_places(x.shape[1], memory[0].shape[2], seen)
        return layer.self_attn.out_proj(joined(attended(q, *memory, visible)))

    def to_source(x: Array) -> Array:
        (keys, values), visible = source
        q = _projected(layer.multihead_attn, x)[0]
        return layer.multihead_attn.out_proj(joined(attended(q, keys, values, visible)))

    def feed_forward(x: Array) -> Array:
        return layer.linear2(functional.relu(layer.linear1(x)))

    branches = (to_itself, to_source, feed_forward)
    for norm, branch in zip((layer.norm1, layer.norm2, layer.norm3), branches, strict=True):
        x = x + branch(norm(x)) if layer.norm_first else norm(x + branch(x))
    return x, memory


@register(((64,), (64,)), family="Transformer", source="Vaswani et al. 2017", takes="tokens")
def transformer_base(
    vocabulary_size: int = 37000,
    source_vocabulary_size: int | None = None,
    context_length: int = 512,
    dropout: float = 0.1,
) -> Transformer:
    """The paper's base model: 6 layers of width 512.

    Args:
        vocabulary_size: Tokens that are written.
        source_vocabulary_size: Tokens that are read; None: one embedding for both sides.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return Transformer(vocabulary_size, source_vocabulary_size, context_length, dropout=dropout)


@register(((64,), (64,)), family="Transformer", source="Vaswani et al. 2017", takes="tokens")
def transformer_big(
    vocabulary_size: int = 37000,
    source_vocabulary_size: int | None = None,
    context_length: int = 512,
    dropout: float = 0.3,
) -> Transformer:
    """The paper's big model: 6 layers of width 1024.

    Args:
        vocabulary_size: Tokens that are written.
        source_vocabulary_size: Tokens that are read; None: one embedding for both sides.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return Transformer(
        vocabulary_size,
        source_vocabulary_size,
        context_length,
        width=1024,
        num_heads=16,
        dropout=dropout,
    )
