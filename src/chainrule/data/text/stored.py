"""Tokenizers from their stored descriptions, as run folders keep them."""

from __future__ import annotations

from typing import Any

from chainrule.data.text.base import Tokenizer
from chainrule.data.text.subwords import SubwordTokenizer
from chainrule.data.text.tokenizers import ByteTokenizer, CharacterTokenizer, WordTokenizer
from chainrule.data.text.vocabulary import Vocabulary
from chainrule.errors import ArgumentError, StateError


def tokenizer_from_json(description: dict[str, Any]) -> Tokenizer:
    """The tokenizer that ``to_json`` described.

    Raises:
        StateError: The description is damaged, or of a kind that this version does not know.

    >>> tokenizer_from_json(CharacterTokenizer("ab").to_json()).decode([1, 0])
    'ba'
    """
    try:
        kind = description["kind"]
        if kind == "characters":
            return CharacterTokenizer(description["characters"], description["unknown"])
        if kind == "bytes":
            return ByteTokenizer()
        if kind == "words":
            words = Vocabulary(description["words"], description["unknown"])
            return WordTokenizer(words, description["lower"])
        if kind == "subwords":
            return SubwordTokenizer.from_text(description["tokenizer"])
    except (KeyError, TypeError, ArgumentError) as error:
        raise StateError(
            "the description of the tokenizer is damaged", got=f"{type(error).__name__}: {error}"
        ) from None
    raise StateError(
        "this version does not know the tokenizer",
        expected="characters, bytes, words or subwords",
        got=repr(kind),
    )
