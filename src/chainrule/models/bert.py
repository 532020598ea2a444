"""BERT: a stack of Transformer layers that sees a text from both sides.

    tokens, token types   (batch, places)
    embeddings   rows for the word, the place and the part of the text, added; norm; dropout
    encoder      L layers: attention to all places, then two layers for each place; a norm
                 stands behind each sum (post-norm)
    pooler       the first place's features, through a layer and tanh

Its heads are in ``bert_heads``. Names and shapes are those of Hugging Face's checkpoints: see
``models.load_bert``.

Reference: Devlin et al. 2019, "BERT: pre-training of deep bidirectional Transformers for language
understanding", section 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.models.heads import attended, dividing, joined, split
from chainrule.models.registry import register
from chainrule.nn import functional
from chainrule.nn.checks import positive_integer, positive_number
from chainrule.ops import dtypes
from chainrule.ops.origin import here


class _Sizes(NamedTuple):
    width: int
    num_heads: int
    hidden: int
    dropout: float
    epsilon: float


class _Embeddings(nn.Module):
    """Words, places and parts of the text, added up."""

    def __init__(self, words: int, places: int, types: int, sizes: _Sizes) -> None:
        self.word_embeddings = nn.Embedding(words, sizes.width)
        self.position_embeddings = nn.Embedding(places, sizes.width)
        self.token_type_embeddings = nn.Embedding(types, sizes.width)
        self.LayerNorm = nn.LayerNorm(sizes.width, sizes.epsilon)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, tokens: Array, token_types: Array | None) -> Array:
        kinds = ops.zeros((1, 1), dtype=dtypes.int64) if token_types is None else token_types
        places = self.position_embeddings(ops.arange(tokens.shape[1]))
        x = self.word_embeddings(tokens) + places + self.token_type_embeddings(kinds)
        return self.dropout(self.LayerNorm(x))


class _SelfAttention(nn.Module):
    def __init__(self, sizes: _Sizes) -> None:
        self.num_heads = sizes.num_heads
        self.query = nn.Linear(sizes.width, sizes.width)
        self.key = nn.Linear(sizes.width, sizes.width)
        self.value = nn.Linear(sizes.width, sizes.width)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, x: Array, visible: Array | None) -> Array:
        projected = self.query(x), self.key(x), self.value(x)
        q, k, v = (split(part, self.num_heads) for part in projected)
        return joined(attended(q, k, v, visible, dropout=self.dropout))


class _Output(nn.Module):
    """How a branch ends: a layer, dropout, the sum with the branch's input, a norm."""

    def __init__(self, width: int, sizes: _Sizes) -> None:
        self.dense = nn.Linear(width, sizes.width)
        self.LayerNorm = nn.LayerNorm(sizes.width, sizes.epsilon)
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, y: Array, x: Array) -> Array:
        return self.LayerNorm(self.dropout(self.dense(y)) + x)


class _Attention(nn.Module):
    def __init__(self, sizes: _Sizes) -> None:
        self.self = _SelfAttention(sizes)
        self.output = _Output(sizes.width, sizes)

    def forward(self, x: Array, visible: Array | None) -> Array:
        return self.output(self.self(x, visible), x)


class _Intermediate(nn.Module):
    def __init__(self, sizes: _Sizes) -> None:
        self.dense = nn.Linear(sizes.width, sizes.hidden)

    def forward(self, x: Array) -> Array:
        return functional.gelu(self.dense(x))


class BertLayer(nn.Module):
    """Attention to all places, then two layers for each; a norm behind each sum.

    Args:
        width: Features, which the heads divide.
        num_heads: Heads, at least 1.
        hidden: Features between the two layers.
        dropout: Probability of dropping, in [0, 1).
        layer_norm_epsilon: Added to the variances, > 0.

    Attributes: ``attention`` (``self``, ``output``), ``intermediate``, ``output``.

    Shape: (batch, places, width) → the same.
    """

    def __init__(
        self,
        width: int,
        num_heads: int,
        hidden: int,
        dropout: float = 0.1,
        layer_norm_epsilon: float = 1e-12,
    ) -> None:
        sizes = _Sizes(width, num_heads, hidden, dropout, layer_norm_epsilon)
        self.attention = _Attention(sizes)
        self.intermediate = _Intermediate(sizes)
        self.output = _Output(hidden, sizes)

    def forward(self, x: Array, visible: Array | None = None) -> Array:
        """The sequence after the layer.

        Args:
            x: (batch, places, width).
            visible: Bools that broadcast to (batch, heads, queries, keys): True takes part.
        """
        x = self.attention(x, visible)
        return self.output(self.intermediate(x), x)


class _Encoder(nn.Module):
    def __init__(self, num_layers: int, sizes: _Sizes) -> None:
        self.layer = [BertLayer(*sizes) for _ in range(num_layers)]

    def forward(self, x: Array, visible: Array | None) -> Array:
        for layer in self.layer:
            x = layer(x, visible)
        return x


class _Pooler(nn.Module):
    def __init__(self, width: int) -> None:
        self.dense = nn.Linear(width, width)

    def forward(self, x: Array) -> Array:
        return ops.tanh(self.dense(x[:, 0]))


class Bert(nn.Module):
    """Embeddings, encoder and pooler, without a head.

    Weights begin as N(0, σ²), biases as 0.

    Args:
        vocabulary_size: Words, at least 1.
        context_length: Places that the model knows, at least 1.
        width: Features, which the heads divide.
        num_layers: Layers, at least 1.
        num_heads: Heads, at least 1.
        hidden: Features inside the feed-forward layers; None: 4 · width.
        token_types: Kinds of parts that a text may have, at least 1.
        dropout: Probability of dropping, in [0, 1).
        layer_norm_epsilon: Added to the variances, > 0.
        initial_deviation: σ of the weights at the start, > 0; as published 0.02, which narrow
            models find too small to learn soon.

    Attributes: ``embeddings``, ``encoder``, ``pooler``.

    Shape: integers (batch, places) → features (batch, places, width) and (batch, width).

    >>> import chainrule as cr
    >>> model = Bert(100, 16, width=12, num_layers=2, num_heads=3)
    >>> features, pooled = model(cr.asarray([[1, 5, 2]]))
    >>> features.shape, pooled.shape
    ((1, 3, 12), (1, 12))
    """

    def __init__(
        self,
        vocabulary_size: int = 30522,
        context_length: int = 512,
        *,
        width: int = 768,
        num_layers: int = 12,
        num_heads: int = 12,
        hidden: int | None = None,
        token_types: int = 2,
        dropout: float = 0.1,
        layer_norm_epsilon: float = 1e-12,
        initial_deviation: float = 0.02,
    ) -> None:
        self.vocabulary_size = positive_integer(vocabulary_size, "Bert: vocabulary_size")
        self.context_length = positive_integer(context_length, "Bert: context_length")
        heads, self.width = dividing(num_heads, width, "Bert")
        inner = 4 * width if hidden is None else positive_integer(hidden, "Bert: hidden")
        sizes = _Sizes(self.width, heads, inner, dropout, layer_norm_epsilon)
        self.embeddings = _Embeddings(vocabulary_size, context_length, token_types, sizes)
        self.encoder = _Encoder(positive_integer(num_layers, "Bert: num_layers"), sizes)
        self.pooler = _Pooler(width)
        self.initial_deviation = positive_number(initial_deviation, "Bert: initial_deviation")
        draw_normal(self, self.initial_deviation)

    def forward(
        self, tokens: Any, token_types: Any = None, attention_mask: Any = None
    ) -> tuple[Array, Array]:
        """Features of each place, and of the whole text.

        Args:
            tokens: Integers (batch, places), at most context_length places.
            token_types: Integers (batch, places), the part that a token belongs to; None: all 0.
            attention_mask: (batch, places), bools or integers: True or 1 takes part, False or 0 is
                the filling of a short text; None: all take part.

        Shape: (batch, places, width) and (batch, width).

        Raises:
            ShapeError: Too many places, or no two axes, or a mask that does not fit.
        """
        given: Array = ops.as_value(tokens)
        if given.ndim != 2 or not 0 < given.shape[1] <= self.context_length:
            raise ShapeError(
                f"Bert does not fit tokens of shape {given.shape}",
                expected=f"(batch, places), at most {self.context_length} places",
                got=str(given.shape),
                fix="a single text needs a batch axis; longer ones are cut",
                where=str(here()),
            )
        types = None if token_types is None else _fitting("token_types", token_types, given)
        visible = None
        if attention_mask is not None:
            mask = _fitting("attention_mask", attention_mask, given) != 0
            visible = mask.reshape((given.shape[0], 1, 1, given.shape[1]))
        x: Array = self.encoder(self.embeddings(given, types), visible)
        return x, self.pooler(x)

    def extra_repr(self) -> str:
        """Vocabulary and places."""
        return f"vocabulary_size={self.vocabulary_size}, context_length={self.context_length}"


def _fitting(name: str, given: Any, tokens: Array) -> Array:
    value: Array = ops.as_value(given)
    if value.shape != tokens.shape:
        raise ShapeError(
            f"Bert: {name} does not fit the tokens",
            expected=str(tokens.shape),
            got=str(value.shape),
            where=str(here()),
        )
    return value


def draw_normal(model: nn.Module, deviation: float) -> None:
    """Draw all matrices and tables anew as N(0, σ²); biases become zeros.

    Args:
        model: Whose.
        deviation: σ, > 0.
    """
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            drawn = nn.init.normal(module.weight.shape, standard_deviation=deviation)
            module.weight = nn.Parameter(drawn)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias = nn.Parameter(nn.init.zeros(module.bias.shape))


@register((512,), family="BERT", source="Devlin et al. 2019", takes="tokens")
def bert_base(
    vocabulary_size: int = 30522, context_length: int = 512, dropout: float = 0.1
) -> Bert:
    """BERT of 12 layers of width 768, without a head.

    Args:
        vocabulary_size: Words.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return Bert(vocabulary_size, context_length, dropout=dropout)


@register((512,), family="BERT", source="Devlin et al. 2019", takes="tokens")
def bert_large(
    vocabulary_size: int = 30522, context_length: int = 512, dropout: float = 0.1
) -> Bert:
    """BERT of 24 layers of width 1024, without a head.

    Args:
        vocabulary_size: Words.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return Bert(
        vocabulary_size,
        context_length,
        width=1024,
        num_layers=24,
        num_heads=16,
        dropout=dropout,
    )


@register((512,), family="BERT", source="Wang et al. 2020", takes="tokens")
def minilm_l6(
    vocabulary_size: int = 30522, context_length: int = 512, dropout: float = 0.1
) -> Bert:
    """MiniLM's form of BERT: 6 layers of width 384.

    Args:
        vocabulary_size: Words.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return Bert(
        vocabulary_size, context_length, width=384, num_layers=6, num_heads=12, dropout=dropout
    )
