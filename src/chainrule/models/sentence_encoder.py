"""Sentences as vectors: the mean of BERT's features over the words, of length 1.

Texts of like meaning get vectors of which the product is large. The pretrained weights are those of
sentence-transformers' models of this form, such as all-MiniLM-L6-v2.

Reference: Reimers and Gurevych 2019, "Sentence-BERT: sentence embeddings using Siamese
BERT-networks", section 3.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from chainrule import nn, ops
from chainrule.array import Array
from chainrule.errors import DataError
from chainrule.models.bert import Bert
from chainrule.models.pretrained import load_bert
from chainrule.nn.checks import positive_integer
from chainrule.ops.origin import here
from chainrule.program import CompiledFunction, compile


class SentenceEncoder(nn.Module):
    """BERT, the mean over the words, and division by its length.

    Args:
        bert: The encoder.

    Attributes: ``bert``.

    Shape: integers (batch, places) → (batch, width), rows of length 1.

    >>> import chainrule as cr
    >>> encoder = SentenceEncoder(Bert(100, 16, width=12, num_layers=1, num_heads=3)).eval()
    >>> vectors = encoder(cr.asarray([[1, 5, 2]]))
    >>> bool(abs((vectors * vectors).sum().item() - 1) < 1e-5)
    True
    """

    def __init__(self, bert: Bert) -> None:
        self.bert = bert

    def forward(self, tokens: Any, attention_mask: Any = None) -> Array:
        """Vectors of some texts.

        Args:
            tokens: Integers (batch, places).
            attention_mask: (batch, places): 1 takes part, 0 is filling; None: all take part.

        Shape: (batch, places) → (batch, width).
        """
        features, _ = self.bert(tokens, None, attention_mask)
        if attention_mask is None:
            mean = ops.mean(features, axis=1)
        else:
            mask = ops.astype(ops.as_value(attention_mask), features.dtype)
            count = ops.maximum(ops.sum(mask, axis=1), 1.0)
            total = ops.sum(features * ops.expand_dims(mask, axis=2), axis=1)
            mean = total / ops.expand_dims(count, axis=1)
        square = ops.sum(mean * mean, axis=1, keepdims=True)
        return mean / ops.sqrt(ops.maximum(square, 1e-24))


class SentenceEmbedder:
    """Texts to vectors: a tokenizer, an encoder, and Programs for texts of several lengths.

    Texts of like length are taken together, so that short ones cost little. ``encoder`` is put into
    evaluation mode.

    Args:
        encoder: Computes the vectors.
        tokenizer: A ``tokenizers.Tokenizer`` that puts BERT's marks around a text.
        max_length: Words and marks after which a text is cut; None: as many as the encoder knows.
        engine: Engine of the Programs; None for the default.
    """

    def __init__(
        self,
        encoder: SentenceEncoder,
        tokenizer: Any,
        max_length: int | None = None,
        *,
        engine: str | None = None,
    ) -> None:
        known = encoder.bert.context_length
        longest = known if max_length is None else max_length
        self.encoder = encoder.eval()
        self.max_length = min(positive_integer(longest, "SentenceEmbedder: max_length"), known)
        self.tokenizer = tokenizer
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_length)
        self._engine = engine
        self._programs: dict[int, CompiledFunction] = {}

    def __call__(self, texts: str | Sequence[str], *, batch_size: int = 32) -> np.ndarray:
        """Vectors of texts.

        Args:
            texts: One, or several.
            batch_size: Texts that are computed at once, at least 1.

        Returns:
            float32 (texts, width), rows of length 1; (width,) for one text.
        """
        if isinstance(texts, str):
            found: np.ndarray = self([texts], batch_size=1)[0]
            return found
        rows = [text.ids for text in self.tokenizer.encode_batch(list(texts))]
        size = min(positive_integer(batch_size, "batch_size"), max(len(rows), 1))
        vectors = np.zeros((len(rows), self.encoder.bert.width), np.float32)
        order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
        for start in range(0, len(order), size):
            chosen = order[start : start + size]
            tokens, mask = self._filled([rows[i] for i in chosen], size)
            vectors[chosen] = self._program(tokens.shape[1])(self.encoder, tokens, mask).numpy()[
                : len(chosen)
            ]
        return vectors

    def _filled(self, rows: Sequence[Sequence[int]], size: int) -> tuple[np.ndarray, np.ndarray]:
        """Tokens and mask (size, places); rows that are missing are one word long."""
        places = min(_steps(max(len(row) for row in rows)), self.max_length)
        tokens = np.zeros((size, places), np.int64)
        mask = np.zeros((size, places), bool)
        mask[len(rows) :, 0] = True
        for i, row in enumerate(rows):
            tokens[i, : len(row)] = row
            mask[i, : len(row)] = True
        return tokens, mask

    def _program(self, places: int) -> CompiledFunction:
        if places not in self._programs:
            self._programs[places] = compile(_vectors, engine=self._engine)
        return self._programs[places]


def _vectors(encoder: SentenceEncoder, tokens: Array, mask: Array) -> Array:
    vectors: Array = encoder(tokens, mask)
    return vectors


def _steps(length: int) -> int:
    """The next of 8, 12, 16, 20, 24, 28, 32, 40, 48 …: little of a text is filling."""
    octave = 8
    while 2 * octave < length:
        octave *= 2
    step = max(octave // 4, 4)
    return max(-(-length // step) * step, 8)


def load_sentence_encoder(folder: str | Path, *, engine: str | None = None) -> SentenceEmbedder:
    """A sentence encoder with published weights, in the layout of sentence-transformers.

    Args:
        folder: With BERT's ``config.json`` and ``model.safetensors``, ``tokenizer.json``, and
            perhaps ``sentence_bert_config.json``, which says where texts are cut.
        engine: Engine of the Programs; None for the default.

    Raises:
        DataError: Files are missing or damaged, vectors are made in another way than as the mean,
            or the package ``tokenizers`` is not installed.
        StateError: The weights do not fit the configuration.
    """
    folder = Path(folder)
    pooling = _entries(folder / "1_Pooling" / "config.json")
    others = [n for n, on in pooling.items() if n.startswith("pooling_mode_") and on is True]
    if others not in ([], ["pooling_mode_mean_tokens"]):
        raise DataError(
            f"{folder} makes vectors in another way",
            expected="pooling_mode_mean_tokens",
            got=", ".join(others),
            where=str(here()),
        )
    bert = load_bert(folder)
    # data sets and their readers are much to import for those who want another model
    from chainrule.data.text.subwords import SubwordTokenizer

    tokenizer = SubwordTokenizer.load(folder / "tokenizer.json").tokenizer
    longest = _entries(folder / "sentence_bert_config.json").get("max_seq_length")
    return SentenceEmbedder(SentenceEncoder(bert), tokenizer, longest, engine=engine)


def _entries(path: Path) -> dict[str, Any]:
    """A small JSON file, or nothing if there is none."""
    if not path.exists():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} can not be read", got=str(error), where=str(here())) from None
    return found if isinstance(found, dict) else {}
