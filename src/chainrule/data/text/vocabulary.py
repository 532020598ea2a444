"""``Vocabulary``: tokens and their numbers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here


class Vocabulary:
    """Tokens numbered from 0, and back.

    Args:
        tokens: In the order of their numbers, each once.
        unknown: One of them, which stands for all that are not there; None: those are errors.

    Raises:
        ArgumentError: A token comes twice, there is none, or ``unknown`` is not among them.

    >>> words = Vocabulary(["<unknown>", "to", "be"], unknown="<unknown>")
    >>> words.numbers(["to", "be", "or"]), words[2], len(words)
    ([1, 2, 0], 'be', 3)
    """

    def __init__(self, tokens: Sequence[str], unknown: str | None = None) -> None:
        self.tokens = [str(token) for token in tokens]
        self._number_of = {token: number for number, token in enumerate(self.tokens)}
        if not self.tokens or len(self._number_of) != len(self.tokens):
            double = [token for token, n in Counter(self.tokens).items() if n > 1]
            raise ArgumentError(
                "a vocabulary holds each token once",
                expected="at least one token, none of them twice",
                got=f"{double[0]!r} twice" if double else "no tokens",
                where=str(here()),
            )
        if unknown is not None and unknown not in self._number_of:
            raise ArgumentError(
                "the token for what is unknown is not in the vocabulary",
                expected=f"one of its {len(self)} tokens",
                got=repr(unknown),
                where=str(here()),
            )
        self.unknown = unknown

    @classmethod
    def build(
        cls,
        tokens: Iterable[str] | Mapping[str, int],
        *,
        special: Sequence[str] = (),
        unknown: str | None = None,
        max_size: int | None = None,
        min_count: int = 1,
    ) -> Vocabulary:
        """The vocabulary of some tokens: the commonest first, equally common ones by spelling.

        Args:
            tokens: All tokens of a text as they come, or their counts.
            special: Put in front, whether they occur or not: ``["<pad>", "<unknown>"]``.
            unknown: As for the class; it is put in front too if it is not among ``special``.
            max_size: Keep no more tokens, special ones included; None: all.
            min_count: Keep those that occur at least so often.

        Raises:
            ArgumentError: There is no token, or ``max_size`` has no room beside the special ones.

        >>> Vocabulary.build("to be or not to be".split(), unknown="?", max_size=3).tokens
        ['?', 'be', 'to']
        """
        front = list(special)
        if unknown is not None and unknown not in front:
            front.append(unknown)
        if max_size is not None and max_size <= len(front):
            raise ArgumentError(
                "max_size leaves no room for tokens",
                expected=f"more than the {len(front)} special tokens",
                got=str(max_size),
                where=str(here()),
            )
        counts = Counter(tokens)
        common = sorted(
            (t for t, n in counts.items() if n >= min_count and t not in front),
            key=lambda token: (-counts[token], token),
        )
        return cls((front + common)[:max_size], unknown)

    def numbers(self, tokens: Iterable[str]) -> list[int]:
        """The numbers of tokens.

        Raises:
            DataError: One is not there, and no token stands for what is unknown.
        """
        if self.unknown is not None:
            other = self._number_of[self.unknown]
            return [self._number_of.get(token, other) for token in tokens]
        return [self.number(token) for token in tokens]

    def number(self, token: str) -> int:
        """The number of one token; see ``numbers``."""
        found = self._number_of.get(token)
        if found is None and self.unknown is not None:
            found = self._number_of[self.unknown]
        if found is None:
            raise DataError(
                f"the vocabulary has no token {token!r}",
                expected=f"one of its {len(self)} tokens",
                got=repr(token),
                fix="a token for what is unknown: Vocabulary(tokens, unknown='<unknown>')",
                where=str(here()),
            )
        return found

    def words(self, numbers: Any) -> list[str]:
        """The tokens of numbers.

        Raises:
            DataError: A number is out of range.
        """
        flat = np.asarray(numbers).reshape(-1)
        check_range(flat, len(self))
        return [self.tokens[number] for number in flat.tolist()]

    def __getitem__(self, number: int) -> str:
        return self.words([number])[0]

    def __len__(self) -> int:
        return len(self.tokens)

    def __iter__(self) -> Iterator[str]:
        return iter(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._number_of

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return (self.tokens, self.unknown) == (other.tokens, other.unknown)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        some = ", ".join(map(repr, self.tokens[:4])) + (", …" if len(self) > 4 else "")
        return f"Vocabulary({len(self)} tokens: {some})"


def check_range(numbers: np.ndarray, size: int) -> None:
    """Tokens' numbers must lie in the vocabulary.

    Raises:
        DataError: One does not, or they are no integers.
    """
    if numbers.dtype.kind not in "iu":
        if not numbers.size:
            return
        raise DataError(
            "tokens are whole numbers",
            expected="an integer type",
            got=str(numbers.dtype),
            where=str(here()),
        )
    wrong = (numbers < 0) | (numbers >= size)
    if wrong.any():
        place = int(wrong.argmax())
        raise DataError(
            f"there is no token {numbers[place]}",
            expected=f"0 to {size - 1}",
            got=f"{numbers[place]} at place {place}",
            where=str(here()),
        )


def smallest_type(size: int) -> np.dtype[Any]:
    """The smallest unsigned type that holds the numbers 0 .. size − 1."""
    return np.min_scalar_type(max(size - 1, 0))
