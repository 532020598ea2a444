"""BERT: a stack of Transformer layers that sees a text from both sides.

    tokens, token types   (batch, places)
    embeddings   rows for the word, the place and the part of the text, added; norm; dropout
    encoder      L layers: attention to all places, then two layers for each place; a norm
                 stands behind each sum (post-norm)
    pooler       the first place's features, through a layer and tanh

Two heads learn from text without labels: words that were masked are to be named
(``mask_tokens``), and whether a second part follows the first. Names and shapes are those of
Hugging Face's checkpoints: see ``models.load_bert``.

Reference: Devlin et al. 2019, "BERT: pre-training of deep bidirectional Transformers for language
understanding", section 3.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule import nn, ops, random
from chainrule.array import Array
from chainrule.errors import ShapeError
from chainrule.models.heads import attended, dividing, joined, split
from chainrule.models.registry import register
from chainrule.nn import functional
from chainrule.nn.checks import in_range, positive_integer, positive_number
from chainrule.ops import dtypes
from chainrule.ops.origin import here

IGNORED = -100
"""Label of the places that need not be named."""


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
        _draw(self, self.initial_deviation)

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


def _draw(model: nn.Module, deviation: float) -> None:
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding):
            drawn = nn.init.normal(module.weight.shape, standard_deviation=deviation)
            module.weight = nn.Parameter(drawn)
        if isinstance(module, nn.Linear) and module.bias is not None:
            module.bias = nn.Parameter(nn.init.zeros(module.bias.shape))


class _Transform(nn.Module):
    def __init__(self, width: int, epsilon: float) -> None:
        self.dense = nn.Linear(width, width)
        self.LayerNorm = nn.LayerNorm(width, epsilon)

    def forward(self, x: Array) -> Array:
        return self.LayerNorm(functional.gelu(self.dense(x)))


class _Predictions(nn.Module):
    """A logit for each word of the vocabulary; the matrix is the embedding's."""

    bias: Array

    def __init__(self, words: nn.Embedding, epsilon: float) -> None:
        count, width = words.weight.shape
        self.bias = nn.Parameter(nn.init.zeros(count))
        self.transform = _Transform(width, epsilon)
        self.decoder = nn.Linear(width, count, bias=False)
        self.decoder.weight = words.weight

    def forward(self, x: Array) -> Array:
        return self.decoder(self.transform(x)) + self.bias


class _Heads(nn.Module):
    def __init__(self, bert: Bert, epsilon: float) -> None:
        self.predictions = _Predictions(bert.embeddings.word_embeddings, epsilon)
        self.seq_relationship = nn.Linear(bert.width, 2)

    def forward(self, x: Array, pooled: Array) -> tuple[Array, Array]:
        return self.predictions(x), self.seq_relationship(pooled)


class BertForPreTraining(nn.Module):
    """BERT with its two heads: masked words, and whether the second part follows the first.

    Args:
        vocabulary_size: Words, at least 1.
        context_length: Places that the model knows, at least 1.
        settings: Others of ``Bert``.

    Attributes: ``bert``, ``cls``.

    Shape: integers (batch, places) → logits (batch, places, vocabulary_size) and (batch, 2); of the
    latter the first says that the second part follows.

    >>> import chainrule as cr
    >>> model = BertForPreTraining(100, 16, width=12, num_layers=2, num_heads=3)
    >>> words, follows = model(cr.asarray([[1, 5, 2]]))
    >>> words.shape, follows.shape
    ((1, 3, 100), (1, 2))
    """

    def __init__(
        self, vocabulary_size: int = 30522, context_length: int = 512, **settings: Any
    ) -> None:
        self.bert = Bert(vocabulary_size, context_length, **settings)
        self.cls = _Heads(self.bert, settings.get("layer_norm_epsilon", 1e-12))
        _draw(self.cls.predictions.transform, self.bert.initial_deviation)
        _draw(self.cls.seq_relationship, self.bert.initial_deviation)

    def forward(
        self,
        tokens: Any,
        token_types: Any = None,
        attention_mask: Any = None,
        places: Any = None,
    ) -> tuple[Array, Array]:
        """Logits of the words and of what follows; arguments as those of ``Bert``.

        Args:
            tokens: Integers (batch, places).
            token_types: Integers (batch, places).
            attention_mask: (batch, places), 1 takes part.
            places: Integers (batch, n): only the words at these places are named, which spares the
                products with the whole vocabulary at all others; None: all.
        """
        x, pooled = self.bert(tokens, token_types, attention_mask)
        if places is not None:
            chosen = ops.expand_dims(ops.as_value(places), axis=2)
            x = ops.take_along_axis(x, chosen, axis=1)
        words, follows = self.cls(x, pooled)
        return words, follows


class BertForMaskedLM(BertForPreTraining):
    """The same with the logits of the words as the only result: a model that a Trainer can train.

    Its loss is ``nn.CrossEntropyLoss(axis=-1)``, which passes over labels of −100. Pooler and the
    head of next sentences, which it makes no use of, are frozen.

    Args:
        vocabulary_size: Words, at least 1.
        context_length: Places that the model knows, at least 1.
        settings: Others of ``Bert``.

    Shape: integers (batch, places) → logits (batch, places, vocabulary_size).
    """

    def __init__(
        self, vocabulary_size: int = 30522, context_length: int = 512, **settings: Any
    ) -> None:
        super().__init__(vocabulary_size, context_length, **settings)
        self.bert.pooler.freeze()
        self.cls.seq_relationship.freeze()

    def forward(  # type: ignore[override]
        self,
        tokens: Any,
        token_types: Any = None,
        attention_mask: Any = None,
        places: Any = None,
    ) -> Array:
        """Logits of the words; arguments as those of ``BertForPreTraining``."""
        return super().forward(tokens, token_types, attention_mask, places)[0]


def mask_tokens(
    key: Array,
    tokens: Any,
    mask_token: int,
    vocabulary_size: int,
    *,
    probability: float = 0.15,
    kept: Any = None,
) -> tuple[Array, Array]:
    """Hide some words, and say which were hidden: what a masked language model learns from.

    Of the chosen places 80 % get the mask, 10 % a random word, 10 % stay as they are.

    Args:
        key: Random key, uint32 (2,).
        tokens: Integers (batch, places).
        mask_token: The word that stands for a hidden one.
        vocabulary_size: Words to draw from.
        probability: Share of the places that is chosen, in [0, 1].
        kept: Bools (batch, places): True is never chosen, such as filling; None: any may be.

    Returns:
        The tokens with some hidden, and labels: the word at chosen places, −100 at all others.

    Reference: Devlin et al. 2019, section 3.1.

    >>> import chainrule as cr
    >>> hidden, labels = mask_tokens(cr.random.key(0), cr.ones((1, 1000), dtype="int64"), 2, 10)
    >>> bool(0.1 < (labels.numpy() == 1).mean() < 0.2)
    True
    """
    in_range(probability, 0.0, 1.0, "mask_tokens: probability")
    given: Array = ops.as_value(tokens)
    keys = random.split(key, 3)
    chosen = random.uniform(keys[0], given.shape) < probability
    if kept is not None:
        chosen = ops.logical_and(chosen, ops.logical_not(ops.as_value(kept)))
    fate = random.uniform(keys[1], given.shape)
    others = random.randint(keys[2], given.shape, 0, vocabulary_size, given.dtype)
    replaced = ops.where(fate < 0.8, mask_token, ops.where(fate < 0.9, others, given))
    labels = ops.where(chosen, ops.astype(given, dtypes.int64), IGNORED)
    return ops.where(chosen, ops.astype(replaced, given.dtype), given), labels


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


@register((512,), family="BERT", source="Devlin et al. 2019", takes="tokens")
def bert_pretraining(
    vocabulary_size: int = 30522, context_length: int = 512, dropout: float = 0.1
) -> BertForPreTraining:
    """BERT of 12 layers of width 768 with its two heads.

    Args:
        vocabulary_size: Words.
        context_length: Places.
        dropout: Probability of dropping.
    """
    return BertForPreTraining(vocabulary_size, context_length, dropout=dropout)


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
