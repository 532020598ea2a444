"""Sequence to sequence: one recurrent network reads a text, another writes its translation.

    source    embedding, recurrent layer in both directions: an output for each place
    bridge    the last states of both directions → the writer's first state
    target    embedding, recurrent layer, head: logits of the next token

Without attention all that the writer learns of the source passes through the bridge. With it each
step takes a mean of the reader's outputs, weighed by how they fit the writer's state:

    "additive"        before the step, by its old state (Bahdanau); the mean enters the step
    "multiplicative"  after the step, by its new state (Luong); the mean enters the head

While learning the writer is given the right tokens (teacher forcing), while generating its own.

References: Sutskever, Vinyals and Le 2014, "Sequence to sequence learning with neural networks";
Bahdanau, Cho and Bengio 2015, "Neural machine translation by jointly learning to align and
translate"; Luong, Pham and Manning 2015, "Effective approaches to attention-based neural machine
translation" (without input feeding).
"""

from __future__ import annotations

from typing import Any, NamedTuple

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.control import scan
from chainrule.errors import ShapeError
from chainrule.models.generation import Cache
from chainrule.models.registry import register
from chainrule.nn.checks import one_of, positive_integer
from chainrule.ops import dtypes
from chainrule.ops.origin import here

PADDING = 0
"""Token that fills short texts."""
LAYERS = {"gru": (nn.GRU, nn.GRUCell), "lstm": (nn.LSTM, nn.LSTMCell)}
"""Layer of the reader, cell of the writer."""


class Source(NamedTuple):
    """What the reader made of a text.

    Args:
        outputs: (batch, source places, 2 · hidden_size).
        filling: Bools (batch, source places): True where there is no token.
        states: The writer's first states, each (batch, hidden_size).
    """

    outputs: Array
    filling: Array
    states: tuple[Array, ...]


class Seq2Seq(nn.Module):
    """A reader, a writer, and perhaps attention between them.

    Args:
        vocabulary_size: Tokens that are written, at least 1; token 0 is the filling of short texts.
        source_vocabulary_size: Tokens that are read; None: as many.
        embedding_dim: Numbers that stand for a token, at least 1.
        hidden_size: Features of each state, at least 1.
        attention: None, ``"additive"`` or ``"multiplicative"``.
        cell: ``"gru"`` or ``"lstm"``.
        dropout: Probability of dropping a number of an embedding, and one that the head sees, in
            [0, 1).

    Attributes: ``source_embedding``, ``encoder``, ``bridge``; ``target_embedding``, ``decoder``,
    ``attention``, ``combine`` (only with attention: state and mean → what the head sees), ``head``.

    Shape: integers (batch, source places) and (batch, places) → logits (batch, places,
    vocabulary_size).

    >>> import chainrule as cr
    >>> model = Seq2Seq(12, attention="additive")
    >>> model(cr.asarray([[3, 4, 5, 0]]), cr.asarray([[1, 7]])).shape
    (1, 2, 12)
    """

    context_length: int | None = None
    """Nothing limits how far a state may look back."""

    def __init__(
        self,
        vocabulary_size: int,
        source_vocabulary_size: int | None = None,
        *,
        embedding_dim: int = 64,
        hidden_size: int = 128,
        attention: str | None = None,
        cell: str = "gru",
        dropout: float = 0.0,
    ) -> None:
        self.vocabulary_size = positive_integer(vocabulary_size, "Seq2Seq: vocabulary_size")
        words = vocabulary_size if source_vocabulary_size is None else source_vocabulary_size
        layer, step = LAYERS[one_of(cell, tuple(LAYERS), "Seq2Seq: cell")]
        both = 2 * positive_integer(hidden_size, "Seq2Seq: hidden_size")
        self.source_embedding = nn.Embedding(words, embedding_dim, padding_idx=PADDING)
        self.encoder = layer(embedding_dim, hidden_size, bidirectional=True)
        self.bridge = [nn.Linear(both, hidden_size) for _ in range(2 if cell == "lstm" else 1)]
        self.target_embedding = nn.Embedding(vocabulary_size, embedding_dim, padding_idx=PADDING)
        self.attention: nn.Module | None = None
        if attention is None:
            self.decoder = layer(embedding_dim, hidden_size)
        elif one_of(attention, ("additive", "multiplicative"), "Seq2Seq: attention") == "additive":
            self.attention = nn.AdditiveAttention(hidden_size, both, hidden_size)
            self.decoder = step(embedding_dim + both, hidden_size)
        else:
            self.attention = nn.MultiplicativeAttention(hidden_size, both)
            self.decoder = layer(embedding_dim, hidden_size)
        self.combine = None if attention is None else nn.Linear(hidden_size + both, hidden_size)
        self.head = nn.Linear(hidden_size, vocabulary_size)
        self.dropout = nn.Dropout(dropout) if dropout else None

    def forward(self, source: Any, target: Any) -> Array:
        """Logits of the token that follows each place of the target, if those before are right.

        Args:
            source: Integers (batch, source places), 0 behind the last token.
            target: Integers (batch, places): the token that starts a text, then the text.

        Shape: (batch, places, vocabulary_size).

        Raises:
            ShapeError: No two axes, or another batch.
        """
        return self._written(self.read(source), target)[0]

    def attention_map(self, source: Any, target: Any) -> Array:
        """How much each step takes from each place of the source; rows sum to 1.

        Args:
            source: Integers (batch, source places).
            target: Integers (batch, places), as for ``forward``.

        Shape: (batch, places, source places).

        Raises:
            ShapeError: The model has no attention, or the inputs do not fit.
        """
        weights = self._written(self.read(source), target)[1]
        if weights is None:
            raise ShapeError(
                "this Seq2Seq has no attention",
                expected="Seq2Seq(..., attention='additive') or 'multiplicative'",
                where=str(here()),
            )
        return weights

    def read(self, source: Any) -> Source:
        """What the reader makes of a text.

        Args:
            source: Integers (batch, source places), 0 behind the last token.
        """
        tokens = _texts(source, "source").T
        filling = tokens == PADDING
        lengths = ops.sum(ops.astype(ops.logical_not(filling), dtypes.int64), axis=0)
        embedded = self._dropped(self.source_embedding(tokens))
        outputs, last = self.encoder(embedded, lengths=lengths)
        pairs = last if isinstance(last, tuple) else (last,)
        states = []
        for number, (bridge, pair) in enumerate(zip(self.bridge, pairs, strict=True)):
            state = bridge(ops.concat([pair[0], pair[1]], axis=-1))
            states.append(state if number else ops.tanh(state))  # an LSTM's memory has no bounds
        return Source(ops.moveaxis(outputs, 0, 1), filling.T, tuple(states))

    def _written(
        self, source: Source, target: Any
    ) -> tuple[Array, Array | None, tuple[Array, ...]]:
        """Logits, the attention's weights, and the states behind the last token."""
        tokens = _texts(target, "target")
        if tokens.shape[0] != source.outputs.shape[0]:
            raise ShapeError(
                "Seq2Seq: source and target are of different batches",
                expected=f"{source.outputs.shape[0]} targets",
                got=str(tokens.shape[0]),
                where=str(here()),
            )
        x = self._dropped(self.target_embedding(tokens.T))
        if isinstance(self.attention, nn.AdditiveAttention):
            y, weights, states = self._step_by_step(source, x)
        else:
            y, states = self._all_steps(source.states, x)
            weights = None
            if self.attention is not None:
                queries = ops.moveaxis(y, 0, 1)
                mean, weights = self.attention(
                    queries, source.outputs, key_padding_mask=source.filling
                )
                y = ops.concat([y, ops.moveaxis(mean, 0, 1)], axis=-1)
        if self.combine is not None:
            y = ops.tanh(self.combine(y))
        return ops.moveaxis(self.head(self._dropped(y)), 0, 1), weights, states

    def _all_steps(self, states: tuple[Array, ...], x: Array) -> tuple[Array, tuple[Array, ...]]:
        """Steps that need nothing of the source: one call of the layer."""
        start = tuple(ops.expand_dims(state, axis=0) for state in states)
        y, last = self.decoder(x, start if len(start) > 1 else start[0])
        return y, tuple(state[0] for state in (last if isinstance(last, tuple) else (last,)))

    def _step_by_step(self, source: Source, x: Array) -> tuple[Array, Array, tuple[Array, ...]]:
        """Each step looks at the source with the state before it."""

        def step(states: tuple[Array, ...], x: Array) -> tuple[tuple[Array, ...], Any]:
            mean, weights = self.attention(  # type: ignore[misc]
                states[0], source.outputs, key_padding_mask=source.filling
            )
            after = self.decoder(
                ops.concat([x, mean], axis=-1), states if len(states) > 1 else states[0]
            )
            after = after if isinstance(after, tuple) else (after,)
            return after, (ops.concat([after[0], mean], axis=-1), weights)

        states, (y, weights) = scan(step, source.states, x)
        return y, ops.moveaxis(weights, 0, 1), states

    def source_cache(self, source: Any) -> Cache:
        """Where writing begins: give it to ``generation.generate`` or ``beam_search`` as ``cache``.

        Args:
            source: Integers (batch, source places).

        Returns:
            ``outputs``, ``filling`` and ``states`` of ``Source``, the batch in front.
        """
        return dict(self.read(source)._asdict())

    def next_logits(self, tokens: Any, cache: Cache) -> tuple[Array, Cache]:
        """Write on: logits of what follows the last token, and the new cache.

        Args:
            tokens: Integers (batch, n): those that follow what the cache has seen.
            cache: From ``source_cache`` or the call before.

        Shape: (batch, n) → (batch, vocabulary_size).
        """
        source = Source(cache["outputs"], cache["filling"], tuple(cache["states"]))
        logits, _, states = self._written(source, tokens)
        return logits[:, -1], dict(source._replace(states=states)._asdict())

    def _dropped(self, x: Array) -> Array:
        return x if self.dropout is None else self.dropout(x)


def _texts(tokens: Any, name: str) -> Array:
    given: Array = ops.as_value(tokens)
    if given.ndim != 2 or not given.shape[1]:
        raise ShapeError(
            f"Seq2Seq: {name} does not fit",
            expected="integers (batch, places), at least one place",
            got=str(given.shape),
            fix="a single text needs a batch axis: tokens[None]",
            where=str(here()),
        )
    return given


@register(((50,), (50,)), family="Seq2Seq", source="Cho et al. 2014", takes="tokens")
def seq2seq(
    vocabulary_size: int = 30000,
    source_vocabulary_size: int | None = None,
    embedding_dim: int = 620,
    hidden_size: int = 1000,
    dropout: float = 0.0,
) -> Seq2Seq:
    """A reader and a writer without attention, of the size that the one with it was compared to.

    Args:
        vocabulary_size: Tokens that are written.
        source_vocabulary_size: Tokens that are read; None: as many.
        embedding_dim: Numbers that stand for a token.
        hidden_size: Features of each state.
        dropout: Probability of dropping.
    """
    return Seq2Seq(
        vocabulary_size,
        source_vocabulary_size,
        embedding_dim=embedding_dim,
        hidden_size=hidden_size,
        dropout=dropout,
    )


@register(((50,), (50,)), family="Seq2Seq", source="Bahdanau et al. 2015", takes="tokens")
def seq2seq_attention(
    vocabulary_size: int = 30000,
    source_vocabulary_size: int | None = None,
    embedding_dim: int = 620,
    hidden_size: int = 1000,
    attention: str = "additive",
    dropout: float = 0.0,
) -> Seq2Seq:
    """A reader and a writer with attention, of the paper's sizes.

    Args:
        vocabulary_size: Tokens that are written.
        source_vocabulary_size: Tokens that are read; None: as many.
        embedding_dim: Numbers that stand for a token.
        hidden_size: Features of each state.
        attention: ``"additive"`` or ``"multiplicative"``.
        dropout: Probability of dropping.
    """
    return Seq2Seq(
        vocabulary_size,
        source_vocabulary_size,
        embedding_dim=embedding_dim,
        hidden_size=hidden_size,
        attention=attention,
        dropout=dropout,
    )
