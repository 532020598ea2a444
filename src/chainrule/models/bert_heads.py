"""What BERT learns from text without labels: to name hidden words, and what follows.

    transform, decoder   a layer, GELU and a norm, then a logit for each word; the matrix is the
                         embedding's
    seq_relationship     from the pooled features: does the second part follow the first?

Reference: Devlin et al. 2019, "BERT: pre-training of deep bidirectional Transformers for language
understanding", section 3.1.
"""

from __future__ import annotations

from typing import Any

from chainrule import nn, ops, random
from chainrule.array import Array
from chainrule.models.bert import Bert, draw_normal
from chainrule.models.registry import register
from chainrule.nn import functional
from chainrule.nn.checks import in_range
from chainrule.ops import dtypes

IGNORED = -100
"""Label of the places that need not be named."""


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
        draw_normal(self.cls.predictions.transform, self.bert.initial_deviation)
        draw_normal(self.cls.seq_relationship, self.bert.initial_deviation)

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
