"""Tokenizers of our own: characters, bytes, words. Text becomes numbers, and numbers text again."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from chainrule.data.text.base import Tokenizer
from chainrule.data.text.vocabulary import Vocabulary, check_range, smallest_type
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


class CharacterTokenizer(Tokenizer):
    """Each character is a token.

    Args:
        characters: Every character that is known, in the order of their numbers.
        unknown: One of them that stands for all others; None: others are errors.

    Raises:
        ArgumentError: A character comes twice, or a token is no single character.

    >>> tokenizer = CharacterTokenizer.fit("to be or not to be")
    >>> tokenizer.size, tokenizer.decode(tokenizer.encode("not to be"))
    (7, 'not to be')
    """

    kind = "characters"

    def __init__(self, characters: Iterable[str], unknown: str | None = None) -> None:
        self.vocabulary = Vocabulary(list(characters), unknown)
        for token in self.vocabulary:
            if len(token) != 1:
                raise ArgumentError(
                    "a token of characters is one character",
                    got=repr(token),
                    fix="WordTokenizer, or SubwordTokenizer",
                    where=str(here()),
                )
        codes = np.array([ord(token) for token in self.vocabulary], np.uint32)
        self._order = np.argsort(codes)
        self._codes = codes[self._order]

    @classmethod
    def fit(cls, text: str | Iterable[str], unknown: str | None = None) -> CharacterTokenizer:
        """The characters of a text in the order of their code points.

        Args:
            text: A text, or its pieces.
            unknown: Added, if need be, for characters that the text does not hold.

        Raises:
            ArgumentError: The text is empty.
        """
        found: set[str] = set() if unknown is None else {unknown}
        for piece in [text] if isinstance(text, str) else text:
            found.update(piece)
        return cls(sorted(found), unknown)

    @property
    def size(self) -> int:
        """Number of different characters."""
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """One number a character; see ``Tokenizer.encode``."""
        codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)
        places = np.minimum(np.searchsorted(self._codes, codes), len(self._codes) - 1)
        numbers = self._order[places]
        strange = self._codes[places] != codes
        if strange.any():
            if self.vocabulary.unknown is None:
                self._refuse(text, int(strange.argmax()))
            numbers[strange] = self.vocabulary.number(str(self.vocabulary.unknown))
        return numbers.astype(smallest_type(self.size))

    def _refuse(self, text: str, place: int) -> None:
        known = "".join(self.vocabulary)
        raise DataError(
            f"the character {text[place]!r} is not in the vocabulary",
            expected=f"one of {known!r}" if len(known) <= 100 else f"one of {len(known)}",
            got=f"{text[place]!r} at place {place} of the text",
            fix="CharacterTokenizer.fit(text, unknown='\\ufffd') has a token for all others",
            where=str(here()),
        )

    def decode(self, tokens: Any) -> str:
        """The characters, joined; see ``Tokenizer.decode``."""
        return "".join(self.vocabulary.words(tokens))

    def to_json(self) -> dict[str, Any]:
        """Kind, characters and what stands for unknown ones."""
        return {
            "kind": self.kind,
            "characters": "".join(self.vocabulary),
            "unknown": self.vocabulary.unknown,
        }


class ByteTokenizer(Tokenizer):
    """Each byte of the text in UTF-8 is a token: 256 of them, and nothing is unknown.

    >>> ByteTokenizer().encode("é").tolist()
    [195, 169]
    """

    kind = "bytes"

    @property
    def size(self) -> int:
        """256."""
        return 256

    def encode(self, text: str) -> np.ndarray:
        """The bytes, uint8."""
        return np.frombuffer(text.encode("utf-8", "surrogatepass"), np.uint8).copy()

    def decode(self, tokens: Any) -> str:
        """The text; bytes that are none in UTF-8 become ``\\ufffd``."""
        return self._bytes(tokens).decode("utf-8", "replace")

    def stream(self) -> Callable[[Any], str]:
        """See ``Tokenizer.stream``: holds the bytes of a character until it is whole."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return lambda tokens: decoder.decode(self._bytes(tokens))

    def _bytes(self, tokens: Any) -> bytes:
        flat = np.asarray(tokens).reshape(-1)
        check_range(flat, self.size)
        return flat.astype(np.uint8).tobytes()

    def to_json(self) -> dict[str, Any]:
        """The kind says everything."""
        return {"kind": self.kind}


class WordTokenizer(Tokenizer):
    """Words and punctuation marks are tokens; spaces separate them and are lost.

    Args:
        vocabulary: With a token for what is unknown.
        lower: Take capitals as small letters.

    Raises:
        ArgumentError: The vocabulary has no token for what is unknown.

    >>> tokenizer = WordTokenizer.fit(["To be, or not to be?"])
    >>> tokenizer.encode("Be not!").tolist()
    [2, 6, 1]
    >>> tokenizer.decode([2, 6, 1])
    'be not <unknown>'
    """

    kind = "words"
    exact_at_cuts = False
    PAD, UNKNOWN = "<pad>", "<unknown>"
    _PATTERN = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")

    def __init__(self, vocabulary: Vocabulary, lower: bool = True) -> None:
        if vocabulary.unknown is None:
            raise ArgumentError(
                "a vocabulary of words needs a token for what is unknown",
                fix="Vocabulary(tokens, unknown='<unknown>')",
                where=str(here()),
            )
        self.vocabulary = vocabulary
        self.lower = lower

    @classmethod
    def fit(
        cls,
        texts: str | Iterable[str],
        *,
        max_size: int | None = None,
        min_count: int = 1,
        lower: bool = True,
    ) -> WordTokenizer:
        """The words of some texts, the commonest first, behind ``<pad>`` (0) and ``<unknown>`` (1).

        Args:
            texts: A text, or several.
            max_size: The most tokens to keep; None: all.
            min_count: Keep words that occur at least so often.
            lower: Take capitals as small letters.
        """
        counts: Counter[str] = Counter()
        for text in [texts] if isinstance(texts, str) else texts:
            counts.update(cls._PATTERN.findall(text.lower() if lower else text))
        vocabulary = Vocabulary.build(
            counts,
            special=[cls.PAD, cls.UNKNOWN],
            unknown=cls.UNKNOWN,
            max_size=max_size,
            min_count=min_count,
        )
        return cls(vocabulary, lower)

    @property
    def size(self) -> int:
        """Number of different words and marks."""
        return len(self.vocabulary)

    def encode(self, text: str) -> np.ndarray:
        """One number a word or mark; see ``Tokenizer.encode``."""
        words = self._PATTERN.findall(text.lower() if self.lower else text)
        return np.array(self.vocabulary.numbers(words), smallest_type(self.size))

    def decode(self, tokens: Any) -> str:
        """The words with a space between them."""
        return " ".join(self.vocabulary.words(tokens))

    def stream(self) -> Callable[[Any], str]:
        """See ``Tokenizer.stream``: puts the space in front of all but the first word."""
        begun = False

        def more(tokens: Any) -> str:
            nonlocal begun
            words = self.vocabulary.words(tokens)
            lead = " " if begun and words else ""
            begun = begun or bool(words)
            return lead + " ".join(words)

        return more

    def to_json(self) -> dict[str, Any]:
        """Kind, words and settings."""
        return {
            "kind": self.kind,
            "words": self.vocabulary.tokens,
            "unknown": self.vocabulary.unknown,
            "lower": self.lower,
        }
