"""Sentence classifiers: a convolutional network and an LSTM over word vectors.

The convolutional one, as in figure 1 of the paper:

    tokens      (batch, places)
    embedding   a vector of 300 numbers for each word; two of them in the multichannel form
    convs       100 maps each of 3, 4 and 5 words, ReLU
    max         over time: one number a map
    dropout, full connection

References: Kim 2014, "Convolutional neural networks for sentence classification"; Hochreiter and
Schmidhuber 1997, "Long short-term memory".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models.registry import register
from chainrule.nn.checks import one_of, positive_integer
from chainrule.ops import dtypes
from chainrule.ops.origin import here

PADDING = 0
"""Token that fills short sentences; its vector is zeros and learns nothing."""


class SentenceCNN(nn.Module):
    """Convolutions of several widths over word vectors, the largest value of each map, a head.

    The paper also limits the norm of the head's rows to 3 after each step; that is the optimizer's
    part: ``optim.group("head.weight", max_row_norm=3.0)``.

    Args:
        vocabulary_size: Words, at least 1; word 0 is the filling of short sentences.
        num_classes: Classes, at least 1.
        embedding_dim: Numbers of a word's vector, at least 1.
        widths: Words that a map sees at once, one group of maps each.
        maps: Maps of each width, at least 1.
        channels: ``"non-static"``: the vectors are learned; ``"static"``: they stay; or
            ``"multichannel"``: both, side by side, each with its slice of every filter.
        dropout: Probability of dropping one of the maxima, in [0, 1).
        vectors: Word vectors to begin with, (vocabulary_size, embedding_dim), such as word2vec's;
            None: drawn uniformly in ±0.25.

    Attributes: ``embedding``; ``static_embedding``, None unless multichannel; ``convs``, ``head``,
    ``dropout``.

    Shape: integers (batch, places) → logits (batch, num_classes).

    Raises:
        ShapeError: The vectors do not fit.

    >>> import chainrule as cr
    >>> SentenceCNN(100)(cr.asarray([[5, 8, 2, 0, 0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_classes: int = 2,
        *,
        embedding_dim: int = 300,
        widths: Sequence[int] = (3, 4, 5),
        maps: int = 100,
        channels: str = "non-static",
        dropout: float = 0.5,
        vectors: Any = None,
    ) -> None:
        one_of(channels, ("static", "non-static", "multichannel"), "SentenceCNN: channels")
        start = _vectors(vectors, vocabulary_size, embedding_dim)
        self.embedding = _table(start)
        self.static_embedding = _table(start).freeze() if channels == "multichannel" else None
        if channels == "static":
            self.embedding.freeze()
        self.widths = tuple(positive_integer(w, "SentenceCNN: a width") for w in widths)
        depth = embedding_dim * (2 if channels == "multichannel" else 1)
        # filling on both sides: short sentences have as many places as a filter, and each word
        # meets each place of it
        margin = max(self.widths) - 1
        self.convs = [nn.Conv1d(depth, maps, w, padding=margin) for w in self.widths]
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.head = nn.Linear(maps * len(self.convs), num_classes)

    def forward(self, tokens: Any) -> Array:
        """Shape: integers (batch, places) → logits (batch, num_classes)."""
        given = _tokens(tokens, "SentenceCNN")
        x = self.embedding(given)
        if self.static_embedding is not None:
            x = ops.concat([x, self.static_embedding(given)], axis=-1)
        x = ops.moveaxis(x, -1, 1)
        found = ops.concat([_over_time(conv, x) for conv in self.convs], axis=-1)
        logits: Array = self.head(found if self.dropout is None else self.dropout(found))
        return logits


def _over_time(conv: nn.Conv1d, x: Array) -> Array:
    """The largest value of each map, ReLU, (batch, maps).

    A filter that sees only filling gives its bias. That always counts, so that it makes no
    difference how much filling there is. ReLU keeps the order, and comes last for it has fewer
    numbers to see then.
    """
    found: Array = ops.relu(ops.maximum(ops.max(conv(x), axis=-1), conv.bias))
    return found


class SentenceLSTM(nn.Module):
    """An LSTM reads the sentence; a head sees its outputs, summed up in one of three ways.

    Args:
        vocabulary_size: Words, at least 1; word 0 is the filling of short sentences.
        num_classes: Classes, at least 1.
        embedding_dim: Numbers of a word's vector, at least 1.
        hidden_size: Features of each state, at least 1.
        bidirectional: A second LSTM reads from the end.
        pooling: ``"last"``: the states after the last word (of both ways); ``"mean"`` or ``"max"``
            of the outputs of all words.
        dropout: Probability of dropping a number of a vector, and one that the head sees, in
            [0, 1).
        vectors: Word vectors to begin with, as for ``SentenceCNN``.

    Attributes: ``embedding``, ``lstm``, ``head``, ``dropout``.

    Shape: integers (batch, places) → logits (batch, num_classes).

    >>> import chainrule as cr
    >>> SentenceLSTM(100)(cr.asarray([[5, 8, 2, 0, 0]])).shape
    (1, 2)
    """

    def __init__(
        self,
        vocabulary_size: int,
        num_classes: int = 2,
        *,
        embedding_dim: int = 128,
        hidden_size: int = 128,
        bidirectional: bool = True,
        pooling: str = "max",
        dropout: float = 0.5,
        vectors: Any = None,
    ) -> None:
        self.pooling = one_of(pooling, ("last", "mean", "max"), "SentenceLSTM: pooling")
        self.embedding = _table(_vectors(vectors, vocabulary_size, embedding_dim))
        self.lstm = nn.LSTM(embedding_dim, hidden_size, bidirectional=bidirectional)
        self.dropout = nn.Dropout(dropout) if dropout else None
        self.head = nn.Linear(hidden_size * (2 if bidirectional else 1), num_classes)

    def forward(self, tokens: Any) -> Array:
        """Shape: integers (batch, places) → logits (batch, num_classes).

        Args:
            tokens: Words, and 0 behind the last one. A sentence of no words has a state of zeros.
        """
        given = _tokens(tokens, "SentenceLSTM").T
        words = given != PADDING
        lengths = ops.sum(ops.astype(words, dtypes.int64), axis=0)
        outputs, (h, _) = self.lstm(self._dropped(self.embedding(given)), lengths=lengths)
        if self.pooling == "last":
            found = ops.moveaxis(h, 0, 1).reshape((given.shape[1], -1))
        elif self.pooling == "mean":
            count = ops.expand_dims(ops.astype(ops.maximum(lengths, 1), outputs.dtype), axis=1)
            found = ops.sum(outputs, axis=0) / count
        else:
            lowest = float(ops.finfo(outputs.dtype).min)
            seen = ops.max(ops.where(ops.expand_dims(words, axis=2), outputs, lowest), axis=0)
            found = ops.where(ops.expand_dims(lengths > 0, axis=1), seen, 0.0)
        logits: Array = self.head(self._dropped(found))
        return logits

    def _dropped(self, x: Array) -> Array:
        return x if self.dropout is None else self.dropout(x)


def _tokens(tokens: Any, name: str) -> Array:
    given: Array = ops.as_value(tokens)
    if given.ndim != 2 or not given.shape[1]:
        raise ShapeError(
            f"{name} does not fit tokens of shape {given.shape}",
            expected="(batch, places), at least one place",
            got=str(given.shape),
            fix="a single sentence needs a batch axis: tokens[None]",
            where=str(here()),
        )
    return given


def _vectors(vectors: Any, vocabulary_size: int, embedding_dim: int) -> Array:
    shape = (
        positive_integer(vocabulary_size, "vocabulary_size"),
        positive_integer(embedding_dim, "embedding_dim"),
    )
    if vectors is None:
        return nn.init.uniform(shape, low=-0.25, high=0.25)
    given: Array = ops.as_value(vectors)
    if given.shape != shape or not dtypes.is_floating(given.dtype):
        kind = ShapeError if dtypes.is_floating(given.dtype) else ArgumentError
        raise kind(
            "the word vectors do not fit",
            expected=f"floats {shape}, one row a word",
            got=f"{given.dtype} {given.shape}",
            where=str(here()),
        )
    return ops.astype(given, dtypes.float32)


def _table(start: Array) -> nn.Embedding:
    """An embedding that begins with these rows, the filling's with zeros."""
    rows, numbers = start.shape
    table = nn.Embedding(rows, numbers, padding_idx=PADDING)
    is_filling = ops.expand_dims(ops.arange(rows) == PADDING, axis=1)
    table.weight = nn.Parameter(ops.where(is_filling, 0.0, start))
    return table


@register((56,), family="Sentences", source="Kim 2014", takes="tokens")
def sentence_cnn(
    vocabulary_size: int = 18765,
    num_classes: int = 2,
    channels: str = "non-static",
    dropout: float = 0.5,
) -> SentenceCNN:
    """The convolutional sentence classifier, of the size used for movie reviews.

    Args:
        vocabulary_size: Words.
        num_classes: Classes.
        channels: ``"non-static"``, ``"static"`` or ``"multichannel"``.
        dropout: Probability of dropping.
    """
    return SentenceCNN(vocabulary_size, num_classes, channels=channels, dropout=dropout)


@register((56,), family="Sentences", source="Tai et al. 2015", takes="tokens")
def sentence_lstm(
    vocabulary_size: int = 18765,
    num_classes: int = 2,
    bidirectional: bool = True,
    dropout: float = 0.5,
) -> SentenceLSTM:
    """A bidirectional LSTM over sentences, of the baseline's size: vectors of 300, states of 168.

    Args:
        vocabulary_size: Words.
        num_classes: Classes.
        bidirectional: A second LSTM reads from the end.
        dropout: Probability of dropping.
    """
    return SentenceLSTM(
        vocabulary_size,
        num_classes,
        embedding_dim=300,
        hidden_size=168,
        bidirectional=bidirectional,
        dropout=dropout,
    )
