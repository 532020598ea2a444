"""What tokenizers have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np


class Tokenizer:
    """Base of the tokenizers: what every one of them can do.

    ``size`` is the number of different tokens; ``kind`` names the class in stored descriptions.
    """

    kind: ClassVar[str] = ""
    #: True if texts may be cut anywhere before they are encoded, with the same tokens
    exact_at_cuts: ClassVar[bool] = True

    @property
    def size(self) -> int:
        """Number of different tokens."""
        raise NotImplementedError

    def encode(self, text: str) -> np.ndarray:
        """The numbers of a text's tokens, (n,), in the smallest unsigned type that holds them.

        Raises:
            DataError: The text holds something that no token stands for.
        """
        raise NotImplementedError

    def decode(self, tokens: Any) -> str:
        """The text of tokens: integers of any shape, in row-major order.

        Raises:
            DataError: A number is out of range.
        """
        raise NotImplementedError

    def stream(self) -> Callable[[Any], str]:
        """A function that takes tokens as they come and returns the text that is complete.

        What it returned so far is what ``decode`` gives for all tokens so far, but for a character
        whose last bytes have not come yet.
        """
        return self.decode

    def to_json(self) -> dict[str, Any]:
        """A description as plain data, from which ``tokenizer_from_json`` makes its equal."""
        raise NotImplementedError

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.size} tokens)"
