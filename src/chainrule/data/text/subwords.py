"""Parts of words as tokens, by the library ``tokenizers`` (an extra: its dependencies are many)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal

import numpy as np

from chainrule.data.text.base import Tokenizer
from chainrule.data.text.vocabulary import check_range, smallest_type
from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

Kind = Literal["bpe", "wordpiece"]
UNKNOWN, PAD = "[UNK]", "[PAD]"


def _library() -> Any:
    try:
        import tokenizers
    except ImportError:
        raise DataError(
            "subword tokenizers need the package tokenizers",
            expected="tokenizers 0.20 or newer",
            got="it is not installed",
            fix="pip install 'chainrule[text]'; CharacterTokenizer and ByteTokenizer need nothing",
            where=str(here()),
        ) from None
    return tokenizers


class SubwordTokenizer(Tokenizer):
    """Byte-pair encoding or WordPiece, as trained here or published with a model.

    Args:
        tokenizer: A ``tokenizers.Tokenizer``.

    Reference: Sennrich et al. 2016, "Neural machine translation of rare words with subword units";
    Wu et al. 2016, "Google's neural machine translation system" (WordPiece).
    """

    kind = "subwords"
    exact_at_cuts = False

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer

    @classmethod
    def fit(
        cls, texts: str | Iterable[str], size: int = 8000, kind: Kind = "bpe", min_count: int = 2
    ) -> SubwordTokenizer:
        """Learn parts of words from texts.

        Args:
            texts: A text, or several, or pieces of a large one.
            size: The most tokens to learn, ≥ 256 for ``"bpe"``, whose first tokens are the bytes.
            kind: ``"bpe"`` (on bytes as in GPT-2: nothing is unknown) or ``"wordpiece"`` (small
                letters, as in BERT; ``[PAD]`` is 0 and ``[UNK]`` 1).
            min_count: Join only pairs that occur at least so often.

        Raises:
            ArgumentError: ``kind`` or ``size`` is out of range.
            DataError: The package ``tokenizers`` is not installed.
        """
        if kind not in ("bpe", "wordpiece") or size < (256 if kind == "bpe" else 3):
            raise ArgumentError(
                "subwords can not be learned like that",
                expected="kind 'bpe' with a size ≥ 256, or 'wordpiece'",
                got=f"kind={kind!r}, size={size}",
                where=str(here()),
            )
        library = _library()
        options = {"vocab_size": size, "min_frequency": min_count, "show_progress": False}
        if kind == "bpe":
            made = library.Tokenizer(library.models.BPE())
            made.pre_tokenizer = library.pre_tokenizers.ByteLevel(add_prefix_space=False)
            made.decoder = library.decoders.ByteLevel()
            alphabet = library.pre_tokenizers.ByteLevel.alphabet()
            trainer = library.trainers.BpeTrainer(initial_alphabet=alphabet, **options)
        else:
            made = library.Tokenizer(library.models.WordPiece(unk_token=UNKNOWN))
            made.normalizer = library.normalizers.BertNormalizer(lowercase=True)
            made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
            made.decoder = library.decoders.WordPiece()
            trainer = library.trainers.WordPieceTrainer(special_tokens=[PAD, UNKNOWN], **options)
        made.train_from_iterator([texts] if isinstance(texts, str) else texts, trainer)
        return cls(made)

    @classmethod
    def load(cls, path: str | Path) -> SubwordTokenizer:
        """Read a published tokenizer: ``tokenizer.json``, or BERT's ``vocab.txt``.

        Args:
            path: The file; one that ends in .txt holds WordPiece's tokens, one a line.

        Raises:
            DataError: The file is missing or damaged, or ``tokenizers`` is not installed.
        """
        path = Path(path)
        library = _library()
        try:
            if path.suffix == ".txt":
                vocabulary = library.models.WordPiece.read_file(str(path))
                wordpiece = library.models.WordPiece(vocabulary, unk_token=UNKNOWN)
                made = library.Tokenizer(wordpiece)
                made.normalizer = library.normalizers.BertNormalizer(lowercase=True)
                made.pre_tokenizer = library.pre_tokenizers.BertPreTokenizer()
                made.decoder = library.decoders.WordPiece()
                return cls(made)
            return cls.from_text(path.read_text(encoding="utf-8"))
        except OSError as error:
            reason = error.strerror or str(error)
        except DataError:
            raise
        except Exception as error:  # the library raises bare Exceptions
            reason = str(error)
        raise DataError(
            f"{path} holds no tokenizer that can be read",
            expected="tokenizer.json, or a vocab.txt",
            got=reason,
            where=str(here()),
        )

    @classmethod
    def from_text(cls, text: str) -> SubwordTokenizer:
        """From the content of a ``tokenizer.json``.

        Raises:
            DataError: It is damaged, or ``tokenizers`` is not installed.
        """
        library = _library()
        try:
            return cls(library.Tokenizer.from_str(text))
        except Exception as error:  # the library raises bare Exceptions
            raise DataError(
                "the description of the tokenizer is damaged", got=str(error), where=str(here())
            ) from None

    @property
    def size(self) -> int:
        """Number of different tokens."""
        return int(self.tokenizer.get_vocab_size())

    def encode(self, text: str) -> np.ndarray:
        """The numbers of the parts, without any that mark begin or end."""
        numbers = self.tokenizer.encode(text, add_special_tokens=False).ids
        return np.array(numbers, smallest_type(self.size))

    def decode(self, tokens: Any) -> str:
        """The text, without special tokens."""
        flat = np.asarray(tokens).reshape(-1)
        check_range(flat, self.size)
        return str(self.tokenizer.decode(flat.tolist()))

    def stream(self) -> Callable[[Any], str]:
        """See ``Tokenizer.stream``: decodes what came, and holds a character that is not whole."""
        seen: list[int] = []
        shown = 0

        def more(tokens: Any) -> str:
            nonlocal shown
            seen.extend(np.asarray(tokens).reshape(-1).tolist())
            text = self.decode(seen) if seen else ""
            whole = text.rstrip("\ufffd")
            fresh, shown = whole[shown:], max(shown, len(whole))
            return fresh

        return more

    def to_json(self) -> dict[str, Any]:
        """Kind, and the content of a ``tokenizer.json``."""
        return {"kind": self.kind, "tokenizer": self.tokenizer.to_str()}
