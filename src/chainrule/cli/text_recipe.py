"""Recipes for text: which model learns which text, how, and from which seed.

Two kinds: language models, which learn what comes next, and classifiers of texts with labels.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from chainrule import nn, optim
from chainrule.cli.console import one_of
from chainrule.cli.usual import MONITORS, OPTIMIZERS
from chainrule.data import (
    ArrayDataset,
    Bucketed,
    ByteTokenizer,
    CharacterTokenizer,
    LabelledTexts,
    SubwordTokenizer,
    Tokenizer,
    TokenWindows,
    WordTokenizer,
    random_windows,
    read_text,
    shakespeare,
    stratified_split,
    strided_windows,
    text_csv,
    text_files,
    text_folder,
    text_pieces,
    token_file,
    tokenizer_from_json,
)
from chainrule.errors import ArgumentError, DataError, StateError
from chainrule.models import architecture, create, names
from chainrule.program.engines import choose_engine
from chainrule.training import Trainer
from chainrule.training.checkpoint import write_atomically

TOKENIZERS = ("characters", "bytes", "words", "bpe", "wordpiece")
SCHEDULES = ("constant", "cosine", "linear")
LANGUAGE = tuple(n for n in names("tokens") if architecture(n).family in ("RNN", "GPT"))
CLASSIFIERS = tuple(n for n in names("tokens") if architecture(n).family == "Sentences")
#: share of a text, from its begin, that is trained on
TRAINING_SHARE = 0.9
#: shares of labelled texts that are held out, to validate and to test
HELD_OUT = 0.1
#: what is trained in batches of like length; an LSTM leaves the filling out by itself
BUCKETED = ("sentence_cnn",)
#: but only where that leaves out this share of all places: each width costs a compilation
LEAST_SAVED = 0.2
#: steps between validations, about
STEPS_A_ROUND = 250
#: texts up to this size are encoded in memory, larger ones into a file in the run folder
MEMORY_BYTES = 256 << 20
#: tokens that are validated on while a language model is trained, about; of larger texts a sample
MOST_VALIDATED = 1 << 18
#: tokens of a text that are decoded to learn how long they are
MEASURED_TOKENS = 1 << 20
MIDDLING = {"optimizer": "adam", "learning_rate": 2e-3, "weight_decay": 0.0, "max_norm": 1.0}
# what suits the models where nothing else is asked for; char_gpt: nanoGPT's recipe for a CPU
USUAL: dict[str, dict[str, Any]] = {
    "GPT": {
        "optimizer": "adamw", "learning_rate": 1e-3, "weight_decay": 0.1, "beta2": 0.99,
        "max_norm": 1.0, "warmup": 100, "final_share": 0.1, "batch_size": 12, "steps": 2000,
        "context": 64, "dropout": 0.0,
    },
    "RNN": {
        **MIDDLING, "final_share": 0.1, "batch_size": 32, "steps": 2000, "context": 64,
        "dropout": 0.0,
    },
    "Sentences": {
        **MIDDLING, "learning_rate": 1e-3, "max_norm": 0.0, "batch_size": 50, "epochs": 5,
        "dropout": 0.5, "tokenizer": "words",
    },
}  # fmt: skip


class LanguageParts(NamedTuple):
    """A text cut in parts, as windows.

    Args:
        train: Random windows.
        validation: The whole part, once, or windows at equal distances of it.
        characters_per_token: Of the validation part.
        n_train: Tokens that are trained on.
        n_held_out: Tokens of the whole validation part.
    """

    train: TokenWindows
    validation: TokenWindows
    characters_per_token: float
    n_train: int
    n_held_out: int

    @property
    def is_sampled(self) -> bool:
        """Whether not all of the validation part is validated on."""
        return len(self.validation) < (self.n_held_out - 1) // self.validation.length


def _refuse_for_model(model: str, asked: Mapping[str, Any]) -> None:
    """Options that say nothing of language models, or of classifiers."""
    writes = model in LANGUAGE
    fixes = {"epochs": "--steps", "monitor": "leave it out: the loss decides"}
    for option, fix in fixes.items() if writes else [("steps", "--epochs")]:
        if option in asked:
            raise ArgumentError(
                f"--{option} says nothing of {model}", got=f"--{option} {asked[option]}", fix=fix
            )


@dataclasses.dataclass(frozen=True)
class TextRecipe:
    """What to train on which text, how, and from which seed.

    Args:
        source: ``"shakespeare"``, or the absolute path of a text file, a folder, or a CSV file.
        model: One of ``LANGUAGE`` or ``CLASSIFIERS``.
        text: Column of a CSV file with the texts.
        target: Column with the labels.
        tokenizer: One of ``TOKENIZERS``.
        vocabulary_size: The most tokens to keep, for words and their parts.
        context: Tokens of a window; for labelled texts the most of a text, 0: all.
        dropout: Probability of dropping, in [0, 1).
        optimizer: Key of ``usual.OPTIMIZERS``.
        learning_rate: The largest; positive.
        final_share: Where the schedule ends, as a share of the rate.
        warmup: Steps in which the rate rises.
        weight_decay: ≥ 0, of matrices only.
        beta2: Of Adam and its like; 0: the optimizer's own.
        max_norm: Gradients are clipped to this norm; 0: they are not.
        schedule: One of ``SCHEDULES``.
        batch_size: Windows or texts a step.
        steps: Of language models.
        epochs: Of classifiers.
        monitor: Of classifiers, one of ``usual.MONITORS``: what decides which epoch is best.
        limit: Use only the first so many characters or texts; 0: all.
        seed: Fixes initialisation, windows, splits, order and dropout.
        engine: Engine of the Programs; None for the default.
        classes: Names of the classes of labelled texts; the data says them.
    """

    source: str
    model: str
    text: str = ""
    target: str = ""
    tokenizer: str = "characters"
    vocabulary_size: int = 8000
    context: int = 0
    dropout: float = 0.0
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    final_share: float = 0.0
    warmup: int = 0
    weight_decay: float = 0.0
    beta2: float = 0.0
    max_norm: float = 0.0
    schedule: str = "cosine"
    batch_size: int = 32
    steps: int = 0
    epochs: int = 0
    monitor: str = "loss"
    limit: int = 0
    seed: int = 0
    engine: str | None = None
    classes: tuple[str, ...] = ()

    @classmethod
    def compose(cls, what: str, model: str, **given: Any) -> TextRecipe:
        """A checked recipe: what is not given (None) is what suits the model.

        Args:
            what: ``"shakespeare"``, or a path.
            model: Its name; ``"mlp"``, the command's default, stands for what suits the data.
            given: Fields.

        Raises:
            ArgumentError: A value is unknown or out of range, or does not fit the model.
            DataError: There is no such text.
        """
        labelled = bool(given.get("text") or given.get("target")) or what.endswith((".csv", ".tsv"))
        asked = {name: value for name, value in given.items() if value is not None}
        model = model.replace("-", "_")
        if model == "mlp":
            model = "sentence_cnn" if labelled else "char_gpt"
        one_of(model, LANGUAGE + CLASSIFIERS, "--model")
        if labelled:
            one_of(model, CLASSIFIERS, "--model for texts with labels")
        if what != "shakespeare":
            if not Path(what).expanduser().exists():
                raise ArgumentError(
                    f"there is no text {what!r}",
                    expected="shakespeare, or a path: ./text.txt, ./folder, ./reviews.csv",
                    got=repr(what),
                )
            what = str(Path(what).expanduser().resolve())
        _refuse_for_model(model, asked)
        usual = USUAL[architecture(model).family]
        if asked.get("optimizer", usual["optimizer"]) != usual["optimizer"]:
            own = {"optimizer", "learning_rate", "weight_decay", "beta2"}
            usual = {name: value for name, value in usual.items() if name not in own}
            one_of(asked["optimizer"], OPTIMIZERS, "--optimizer")
            usual["learning_rate"] = OPTIMIZERS[asked["optimizer"]][1]
        return cls(what, model, **{**usual, **asked})._checked()

    @property
    def writes(self) -> bool:
        """True for language models."""
        return self.model in LANGUAGE

    def _checked(self) -> TextRecipe:
        one_of(self.tokenizer, TOKENIZERS, "--tokenizer")
        one_of(self.optimizer, OPTIMIZERS, "--optimizer")
        one_of(self.schedule, SCHEDULES, "--schedule")
        one_of(self.monitor, MONITORS, "--monitor")
        if self.engine is not None:
            choose_engine(self.engine)
        for name, value, low, high in [
            ("--dropout", self.dropout, 0.0, 0.999),
            ("--learning-rate", self.learning_rate, 1e-12, 1e6),
            ("--weight-decay", self.weight_decay, 0.0, 1e6),
            ("--batch-size", self.batch_size, 1, 60_000),
            ("--context", self.context, 2 if self.writes else 0, 1_000_000),
            ("--steps", self.steps, 1 if self.writes else 0, 100_000_000),
            ("--epochs", self.epochs, 0 if self.writes else 1, 100_000),
            ("--vocabulary-size", self.vocabulary_size, 2, 10_000_000),
            ("--limit", self.limit, 0, 10**15),
        ]:
            if not low <= value <= high:
                raise ArgumentError(
                    f"{name} is out of range", expected=f"{low:g} to {high:g}", got=f"{value:g}"
                )
        if self.source.endswith((".csv", ".tsv")) and not (self.text and self.target):
            raise ArgumentError(
                "say which columns of the file hold texts and labels",
                expected="both --text and --target",
                got=f"--text {self.text or 'missing'}, --target {self.target or 'missing'}",
                fix="--text body --target label",
            )
        if self.text and not self.source.endswith((".csv", ".tsv")):
            raise ArgumentError(
                "--text and --target name columns of a CSV file", got=f"--text {self.text}"
            )
        return self

    # --- names ------------------------------------------------------------------------------

    @property
    def source_name(self) -> str:
        """Short name of the text."""
        return Path(self.source).stem

    @property
    def name(self) -> str:
        """Short name for the run folder."""
        return f"{self.source_name}-{self.model}"

    @property
    def n_rounds(self) -> int:
        """How many times a language model is validated: its epochs."""
        return max(1, round(self.steps / STEPS_A_ROUND))

    @property
    def steps_a_round(self) -> int:
        """Steps between two validations; rounded up, so the last round may be a few longer."""
        return -(-self.steps // self.n_rounds)

    # --- data -------------------------------------------------------------------------------

    def fit_tokenizer(self) -> Tokenizer:
        """The tokenizer for this text, which may be larger than memory.

        Raises:
            DataError: There is no such text, or a package is missing.
        """
        texts = self._pieces() if self.writes else self.labelled().texts
        if self.tokenizer == "bytes":
            return ByteTokenizer()
        if self.tokenizer == "characters":
            return CharacterTokenizer.fit(texts, unknown=None if self.writes else "\0")
        if self.tokenizer == "words":
            return WordTokenizer.fit(texts, max_size=self.vocabulary_size)
        kind = "bpe" if self.tokenizer == "bpe" else "wordpiece"
        return SubwordTokenizer.fit(texts, size=self.vocabulary_size, kind=kind)  # type: ignore[arg-type]

    def _pieces(self) -> Any:
        if self.source == "shakespeare":
            return [self._limited(shakespeare("all"))]
        if self.limit:
            return [self._limited(read_text(self.source))]
        return text_pieces(self.source)

    def _limited(self, text: str) -> str:
        return text[: self.limit] if self.limit else text

    def language_parts(
        self, tokenizer: Tokenizer, run: Path, *, sampled: bool = True
    ) -> LanguageParts:
        """The text as windows to train and to validate on.

        Args:
            tokenizer: Gives the tokens.
            run: A file with the tokens is kept there if the text is large.
            sampled: Of a large text, about ``MOST_VALIDATED`` tokens validate; False: all.

        Raises:
            DataError: The text is too short.
        """
        tokens = self._tokens(tokenizer, run)
        border = int(TRAINING_SHARE * len(tokens))
        held_out = tokens[border:]
        if min(border, len(held_out)) <= self.context:
            raise DataError(
                f"{self.source_name} is too short to train on",
                expected=f"parts of more than {self.context} tokens, the validation's tenth too",
                got=f"{len(tokens):,} tokens",
                fix="a smaller --context, or more text",
            )
        sample = held_out[:MEASURED_TOKENS]
        return LanguageParts(
            random_windows(
                tokens[:border], self.context, per_epoch=self.steps_a_round * self.batch_size
            ),
            self._validation(held_out, sampled),
            len(tokenizer.decode(sample)) / len(sample),
            border,
            len(held_out),
        )

    def _validation(self, held_out: np.ndarray, sampled: bool) -> TokenWindows:
        if len(held_out) <= MOST_VALIDATED:
            return strided_windows(held_out, self.context, whole=True)
        windows = strided_windows(held_out, self.context)  # copies nothing
        every = -(-len(held_out) // MOST_VALIDATED) if sampled else 1
        return TokenWindows(windows.inputs[::every], windows.targets[::every])

    def _tokens(self, tokenizer: Tokenizer, run: Path) -> np.ndarray:
        if self.source == "shakespeare" or self.limit:
            return tokenizer.encode(self._pieces()[0])
        if sum(path.stat().st_size for path in text_files(self.source)) > MEMORY_BYTES:
            return token_file(self.source, tokenizer, run / "tokens")
        return tokenizer.encode(read_text(self.source))

    def labelled(self) -> LabelledTexts:
        """The texts with labels."""
        if self.text:
            found = text_csv(self.source, text=self.text, target=self.target)
        else:
            found = text_folder(self.source)
        return found.subset(np.arange(len(found))[: self.limit]) if self.limit else found

    def labelled_parts(self, tokenizer: Tokenizer) -> tuple[ArrayDataset, ...]:
        """The texts to train, to validate and to test on, each with every class's share."""
        whole = self.labelled().encode(tokenizer, self.context or None)
        shares = [1 - 2 * HELD_OUT, HELD_OUT, HELD_OUT]
        return stratified_split(whole, shares, self.seed)

    def bucketed(self, train: ArrayDataset) -> ArrayDataset | Bucketed:
        """The training part of labelled texts as it is trained on."""
        found = Bucketed(train)
        pays = self.model in BUCKETED and found.saved >= LEAST_SAVED
        return found if pays else train

    # --- model and training -------------------------------------------------------------------

    def build_model(self, tokenizer: Tokenizer) -> nn.Module:
        """The model for a vocabulary."""
        accepted = inspect.signature(architecture(self.model).build).parameters
        sizes = {
            "vocabulary_size": tokenizer.size,
            "context_length": self.context,
            "num_classes": len(self.classes),
            "dropout": self.dropout,
        }
        return create(self.model, **{n: v for n, v in sizes.items() if n in accepted})

    def trainer(self, model: nn.Module, n_train: int) -> Trainer:
        """A Trainer with the schedule stretched over the whole training."""
        rounds = self.n_rounds if self.writes else self.epochs
        steps = rounds * -(-n_train // self.batch_size)
        make, _ = OPTIMIZERS[self.optimizer]
        more: dict[str, Any] = {"max_norm": self.max_norm or None}
        if self.weight_decay:
            more["weight_decay"] = self.weight_decay
            more["groups"] = [
                optim.group(path, weight_decay=0.0)
                for path, parameter in model.named_parameters()
                if parameter.ndim < 2
            ]
        if self.beta2:
            more["betas"] = (0.9, self.beta2)
        return Trainer(
            model,
            loss=nn.CrossEntropyLoss(axis=-1) if self.writes else nn.CrossEntropyLoss(),
            optimizer=make(self._rate(steps), **more),
            metrics=[] if self.writes else ["accuracy"],
            seed=self.seed,
            batch_size=min(self.batch_size, n_train),
            engine=self.engine,
        )

    def _rate(self, steps: int) -> Any:
        rate: Any = self.learning_rate
        warmup = min(self.warmup, steps // 2)
        final = self.final_share * self.learning_rate
        if self.schedule == "cosine":
            rate = optim.Cosine(rate, max(1, steps - warmup), final)
        elif self.schedule == "linear":
            rate = optim.Linear(rate, final or rate / 100, max(1, steps - warmup))
        return optim.Warmup(warmup, rate) if warmup else rate

    # --- storing ------------------------------------------------------------------------------

    def to_json(self) -> dict[str, Any]:
        """The recipe as plain data."""
        return {"kind": "text", **dataclasses.asdict(self)}

    @classmethod
    def load(cls, run: Path) -> TextRecipe:
        """Read the recipe of a run folder.

        Raises:
            StateError: The folder was not made by this command.
        """
        try:
            stored = dict(stored_recipe(run))
            del stored["kind"]
            return cls(**{**stored, "classes": tuple(stored["classes"])})._checked()
        except (KeyError, TypeError, ValueError) as error:
            raise StateError(
                f"{run} holds no recipe that this version can read",
                expected="config.json with an entry recipe, written by chainrule train",
                got=f"{type(error).__name__}: {error}",
            ) from None


def stored_recipe(run: Path) -> dict[str, Any]:
    """The recipe in a run folder as it was stored; {} if there is none that can be read."""
    try:
        found = json.loads((run / "config.json").read_text(encoding="utf-8"))["recipe"]
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


def is_text_run(run: Path) -> bool:
    """True if the run folder is one of a model that reads text."""
    return stored_recipe(run).get("kind") == "text"


def save_tokenizer(run: Path, tokenizer: Tokenizer) -> None:
    """Keep the tokenizer, and with it the vocabulary, in a run folder."""
    text = json.dumps(tokenizer.to_json(), ensure_ascii=False)
    write_atomically(run / "tokenizer.json", text.encode("utf-8", "surrogatepass"))


def load_tokenizer(run: Path) -> Tokenizer:
    """The tokenizer of a run folder.

    Raises:
        StateError: It is missing or damaged.
    """
    path = run / "tokenizer.json"
    try:
        described = json.loads(path.read_bytes().decode("utf-8", "surrogatepass"))
    except OSError as error:
        raise StateError(f"{path} can not be read: {error.strerror}") from None
    except ValueError as error:
        raise StateError(f"{path} is damaged: {error}") from None
    return tokenizer_from_json(described)
