"""What a model needs so that ``chainrule.generation`` can let it write: a cache and next logits.

A model that generates has, beside ``forward(tokens)`` with logits for every place,

* ``vocabulary_size``: how many tokens there are;
* ``context_length``: how many tokens it can look back on, or None where nothing limits it;
* ``initial_cache(batch, capacity)`` and ``next_logits(tokens, cache)``, described below.

Both methods are traced into Programs: they are made of ``ops``, look at no values, and leave the
model as it is. Dropout is off, for generation puts the model into evaluation mode.
"""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from chainrule.array import Array

#: Arrays by name (dicts, lists and tuples of them may be nested). Those with axes have the batch
#: in front, so that beam search can reorder them; those without, such as the count of tokens that
#: were seen, hold for the whole batch. Shapes and types never change from step to step.
Cache = dict[str, Any]


@runtime_checkable
class WritesTokens(Protocol):
    """A model that says which token may come next, and remembers what it has seen in a cache.

    For a recurrent model the cache is its state, which has no end. For a Transformer it holds the
    keys and values of each layer, (batch, heads, capacity, features), and how many of the places
    are filled: an int64 scalar, by which new ones are put in their place and later ones masked.
    An encoder–decoder's cache holds what its encoder made of the source as well.

    Attributes:
        vocabulary_size: Number of tokens.
        context_length: The most tokens that the model can look back on; None: without limit.
    """

    vocabulary_size: int
    context_length: int | None

    def initial_cache(self, batch: int, capacity: int | None = None) -> Cache:
        """The cache before the first token.

        Args:
            batch: Sequences that are written at once, ≥ 1.
            capacity: Room for so many tokens, 1 to ``context_length``; None: all of it. Recurrent
                models need none, and take no notice.
        """

    def next_logits(self, tokens: Array, cache: Cache) -> tuple[Array, Cache]:
        """What may come after some more tokens.

        Args:
            tokens: Integers (batch, n), n ≥ 1: those that follow what the cache has seen.
            cache: From ``initial_cache``, or from the call before; it is not changed. The caller
                sees to it that there is room for n more tokens.

        Returns:
            Logits (batch, vocabulary_size) of the token behind the last, and the new cache. With
            any split of a sequence into calls they are those of ``forward`` at its last place.
        """
