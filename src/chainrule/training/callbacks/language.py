"""What people read of a language model: perplexity and bits per character."""

from __future__ import annotations

import math
from collections.abc import Mapping

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.training.callbacks.base import Callback
from chainrule.training.fit import Fit


def language_figures(loss: float, characters_per_token: float = 1.0) -> dict[str, float]:
    """Perplexity and bits per character of a mean cross-entropy.

    Args:
        loss: In nats per token.
        characters_per_token: Of the measured text, > 0.

    Returns:
        ``perplexity``, e to the loss: among how many equally likely tokens the choice is as hard;
        and ``bits_per_character``, which models with different tokens can be compared by.

    >>> language_figures(0.0, characters_per_token=2.0)
    {'perplexity': 1.0, 'bits_per_character': 0.0}
    """
    return {
        "perplexity": math.exp(loss) if loss < 700 else math.inf,
        "bits_per_character": loss / math.log(2.0) / characters_per_token,
    }


class LanguageFigures(Callback):
    """Columns with perplexity and bits per character, of the validation data.

    Args:
        characters_per_token: Of the text that is measured, > 0; 1 for tokens that are characters.
        training: Of the training data instead, where there is no validation.

    Raises:
        ArgumentError: ``characters_per_token`` is out of range.
    """

    def __init__(self, characters_per_token: float = 1.0, *, training: bool = False) -> None:
        if not 0 < characters_per_token < math.inf:
            raise ArgumentError(
                "characters_per_token is out of range",
                expected="a number above 0",
                got=repr(characters_per_token),
                where=str(here()),
            )
        self.characters_per_token = characters_per_token
        self._prefix = "" if training else "val_"

    def columns(self) -> Mapping[str, bool]:
        """Both: lower is better."""
        return dict.fromkeys(
            [f"{self._prefix}perplexity", f"{self._prefix}bits_per_character"], False
        )

    def measure(self, fit: Fit) -> Mapping[str, float]:
        """From the loss of the epoch that ends; NaN where it was not measured."""
        loss = float(fit.measured.get(f"{self._prefix}loss", math.nan))
        figures = language_figures(loss, self.characters_per_token)
        return {f"{self._prefix}{name}": value for name, value in figures.items()}
