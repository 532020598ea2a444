"""Recurrent language models: read token by token, name the next.

    tokens   (batch, places)
    embedding    a row for each token; dropout
    rnn          LSTM, GRU or plain layers, dropout between and behind them
    head         a logit for each word of the vocabulary

What was read so far is in the recurrent states, which can be carried on from piece to piece of a
text: while generating, and for truncated backpropagation through time.

Reference: Mikolov et al. 2010, "Recurrent neural network based language model"; where dropout acts:
Zaremba, Sutskever and Vinyals 2014, "Recurrent neural network regularization", section 3.
"""

from __future__ import annotations

from typing import Any

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models.generation import Cache
from chainrule.models.registry import register
from chainrule.nn.checks import one_of, positive_integer
from chainrule.ops.origin import here

CELLS = {"lstm": nn.LSTM, "gru": nn.GRU, "rnn": nn.RNN}
"""Recurrent layers by name."""


class LanguageRNN(nn.Module):
    """Embedding, recurrent layers, head.

    Args:
        vocabulary_size: Tokens, at least 1.
        embedding_dim: Numbers that stand for a token, at least 1.
        hidden_size: Features of each state, at least 1.
        num_layers: Recurrent layers, at least 1.
        cell: ``"lstm"``, ``"gru"`` or ``"rnn"``.
        dropout: Probability of dropping an input or output of a layer, in [0, 1); the states
            within a layer are never dropped.
        tied: The head's weight is the embedding's, for which embedding_dim and hidden_size must be
            equal.

    Attributes: ``embedding``, ``rnn``, ``head``; ``dropout``, None if it is 0.

    Shape: integers (batch, places) → logits (batch, places, vocabulary_size).

    Raises:
        ArgumentError: A tied head does not fit.

    >>> import chainrule as cr
    >>> model = LanguageRNN(65, 256, 256)
    >>> model.n_parameters
    559681
    >>> model(cr.asarray([[1, 2, 3]])).shape
    (1, 3, 65)
    """

    context_length: int | None = None
    """Nothing limits how far a state may look back."""

    def __init__(
        self,
        vocabulary_size: int,
        embedding_dim: int = 256,
        hidden_size: int = 256,
        num_layers: int = 1,
        *,
        cell: str = "lstm",
        dropout: float = 0.0,
        tied: bool = False,
    ) -> None:
        self.vocabulary_size = positive_integer(vocabulary_size, "LanguageRNN: vocabulary_size")
        layers = CELLS[one_of(cell, tuple(CELLS), "LanguageRNN: cell")]
        if tied and embedding_dim != hidden_size:
            raise ArgumentError(
                "LanguageRNN: a tied head takes the embedding's matrix",
                expected="embedding_dim and hidden_size that are equal",
                got=f"{embedding_dim} and {hidden_size}",
                where=str(here()),
            )
        between = dropout if num_layers > 1 else 0.0
        self.embedding = nn.Embedding(vocabulary_size, embedding_dim)
        self.rnn = layers(embedding_dim, hidden_size, num_layers, dropout=between)
        self.head = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout) if dropout else None
        if tied:
            # rows as small as a head's, or the first losses are in the hundreds
            bound = hidden_size**-0.5
            drawn = nn.init.uniform((vocabulary_size, embedding_dim), low=-bound, high=bound)
            self.embedding.weight = nn.Parameter(drawn)
            self.head.weight = self.embedding.weight

    def forward(self, tokens: Any) -> Array:
        """Logits of the token that follows each place; nothing was read before.

        Args:
            tokens: Integers (batch, places).

        Shape: (batch, places) → (batch, places, vocabulary_size).

        Raises:
            ShapeError: No two axes.
        """
        return self.read(tokens, None)[0]

    def read(self, tokens: Any, cache: Cache | None) -> tuple[Array, Cache]:
        """Logits of the token that follows each place, and the states behind the last.

        Args:
            tokens: Integers (batch, places).
            cache: States from ``initial_cache`` or an earlier call; None: zeros.

        Shape: (batch, places) → (batch, places, vocabulary_size).

        Raises:
            ShapeError: No two axes, or states of another batch.
        """
        given: Array = ops.as_value(tokens)
        if given.ndim != 2:
            raise ShapeError(
                f"LanguageRNN does not fit tokens of shape {given.shape}",
                expected="(batch, places)",
                got=str(given.shape),
                fix="a single text needs a batch axis: tokens[None]",
                where=str(here()),
            )
        x = self._dropped(self.embedding(given.T))  # (places, batch, ...): no copies in the loop
        y, states = self.rnn(x, self._states(cache))
        logits = ops.moveaxis(self.head(self._dropped(y)), 0, 1)
        after = states if isinstance(states, tuple) else (states,)
        return logits, {"states": [ops.moveaxis(s, 0, 1) for s in after]}

    def initial_cache(self, batch: int, capacity: int | None = None) -> Cache:
        """States before anything is read: zeros.

        Args:
            batch: Texts side by side, at least 1.
            capacity: Of no account: states have no end.

        Returns:
            ``states``: one, or two for an LSTM, each (batch, num_layers, hidden_size).
        """
        del capacity
        shape = positive_integer(batch, "batch"), self.rnn.num_layers, self.rnn.hidden_size
        n = 2 if isinstance(self.rnn, nn.LSTM) else 1
        return {"states": [ops.zeros(shape, dtype=self.embedding.weight.dtype) for _ in range(n)]}

    def next_logits(self, tokens: Any, cache: Cache) -> tuple[Array, Cache]:
        """Read on: logits of what follows the last token, and the new states.

        Args:
            tokens: Integers (batch, n): those that follow what the cache has seen.
            cache: From ``initial_cache`` or the call before.

        Shape: (batch, n) → (batch, vocabulary_size).
        """
        logits, cache = self.read(tokens, cache)
        return logits[:, -1], cache

    def _states(self, cache: Cache | None) -> Any:
        if cache is None:
            return None
        states = tuple(ops.moveaxis(state, 0, 1) for state in cache["states"])
        return states if len(states) > 1 else states[0]

    def _dropped(self, x: Array) -> Array:
        return x if self.dropout is None else self.dropout(x)


def _for_characters(cell: str, settings: tuple[int, int, int], dropout: float) -> LanguageRNN:
    vocabulary_size, hidden_size, num_layers = settings
    return LanguageRNN(
        vocabulary_size, hidden_size, hidden_size, num_layers, cell=cell, dropout=dropout
    )


@register((64,), family="RNN", source="Mikolov et al. 2010", takes="tokens")
def char_rnn(
    vocabulary_size: int = 65, hidden_size: int = 256, num_layers: int = 1, dropout: float = 0.0
) -> LanguageRNN:
    """A plain recurrent network that reads characters.

    Args:
        vocabulary_size: Characters.
        hidden_size: Features of the embedding and of the state.
        num_layers: Recurrent layers.
        dropout: Probability of dropping.
    """
    return _for_characters("rnn", (vocabulary_size, hidden_size, num_layers), dropout)


@register((64,), family="RNN", source="Graves 2013", takes="tokens")
def char_lstm(
    vocabulary_size: int = 65, hidden_size: int = 256, num_layers: int = 1, dropout: float = 0.0
) -> LanguageRNN:
    """An LSTM that reads characters.

    Args:
        vocabulary_size: Characters.
        hidden_size: Features of the embedding and of each state.
        num_layers: Recurrent layers.
        dropout: Probability of dropping.
    """
    return _for_characters("lstm", (vocabulary_size, hidden_size, num_layers), dropout)


@register((64,), family="RNN", source="Chung et al. 2014", takes="tokens")
def char_gru(
    vocabulary_size: int = 65, hidden_size: int = 256, num_layers: int = 1, dropout: float = 0.0
) -> LanguageRNN:
    """Gated recurrent units that read characters.

    Args:
        vocabulary_size: Characters.
        hidden_size: Features of the embedding and of the state.
        num_layers: Recurrent layers.
        dropout: Probability of dropping.
    """
    return _for_characters("gru", (vocabulary_size, hidden_size, num_layers), dropout)


@register((35,), family="RNN", source="Zaremba et al. 2014", takes="tokens")
def word_lstm(
    vocabulary_size: int = 10000,
    hidden_size: int = 650,
    num_layers: int = 2,
    dropout: float = 0.5,
    tied: bool = False,
) -> LanguageRNN:
    """An LSTM that reads words: the paper's medium network for the Penn Treebank.

    Args:
        vocabulary_size: Words.
        hidden_size: Features of the embedding and of each state.
        num_layers: Recurrent layers.
        dropout: Probability of dropping.
        tied: The head's weight is the embedding's.
    """
    return LanguageRNN(
        vocabulary_size, hidden_size, hidden_size, num_layers, dropout=dropout, tied=tied
    )
