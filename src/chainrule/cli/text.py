"""What ``train``, ``evaluate`` and ``predict`` do with text."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import typer
from rich.markup import escape
from rich.table import Table

from chainrule import nn, random
from chainrule.cli.console import output
from chainrule.cli.groups import spelled
from chainrule.cli.sources import KNOWN
from chainrule.cli.tables import per_class
from chainrule.cli.text_recipe import TextRecipe, load_tokenizer, save_tokenizer
from chainrule.data import Tokenizer
from chainrule.data.text.files import ENDINGS
from chainrule.data.text.padding import pad_sequences
from chainrule.errors import ArgumentError, DataError
from chainrule.models import names
from chainrule.nn.functional import softmax
from chainrule.training import LanguageFigures, Trainer, language_figures, load_best, new_run_folder

ABOUT_PICTURES = (
    "image_size", "grey", "augment", "hidden", "activation", "input_dropout", "max_norm",
    "validation",
)  # fmt: skip
#: tokens that predict shows behind a text
MOST_SHOWN = 5


def is_text(what: str, model: str, given: dict[str, Any]) -> bool:
    """True if ``chainrule train`` is asked to learn text.

    Args:
        what: What it is to learn.
        model: The model's name.
        given: Options about text that were given.
    """
    if what in KNOWN:
        return False
    if given or what == "shakespeare" or model.replace("-", "_") in names("tokens"):
        return True
    path = Path(what).expanduser()
    return path.is_file() and path.suffix.lower() in (*ENDINGS, ".csv", ".tsv")


def refuse_for_text(given: dict[str, Any]) -> None:
    """Options that are about pictures say nothing of text.

    Args:
        given: Options that were given, and their values.

    Raises:
        ArgumentError: One is about pictures.
    """
    for name, value in given.items():
        if name in ABOUT_PICTURES:
            option = spelled(name, value)
            raise ArgumentError(
                f"{option.partition(' ')[0]} is about pictures, and this is text",
                got=option,
                fix="leave it out",
            )


def train_text(recipe: TextRecipe, out: Path, progress: str, pictures: bool) -> None:
    """Train by a new recipe; the run folder is made once the text is read."""
    tokenizer = recipe.fit_tokenizer()
    if not recipe.writes:
        classes = tuple(recipe.labelled().class_names)
        recipe = dataclasses.replace(recipe, classes=classes)
    run = new_run_folder(out, recipe.name)
    save_tokenizer(run, tokenizer)
    run_text(recipe, tokenizer, run, progress, pictures, resuming=False)


def resume_text(run: Path, progress: str, pictures: bool) -> None:
    """Go on with a run."""
    recipe = TextRecipe.load(run)
    run_text(recipe, load_tokenizer(run), run, progress, pictures, resuming=True)


def run_text(
    recipe: TextRecipe, tokenizer: Tokenizer, run: Path, progress: str, pictures: bool,
    *, resuming: bool,
) -> None:  # fmt: skip
    """Train, and say what came of it."""
    random.seed(recipe.seed)
    fit = {
        "run_dir": run,
        "resume": run if resuming else None,
        "progress": progress,
        "pictures": pictures,
        "config": {"recipe": recipe.to_json()},
    }
    try:
        if recipe.writes:
            _train_writer(recipe, tokenizer, run, fit)
        else:
            _train_classifier(recipe, tokenizer, run, fit)
    except KeyboardInterrupt:
        output.print(f"nothing is lost; go on with: chainrule train --resume {run}", markup=False)
        raise typer.Exit(130) from None


def _introduce(recipe: TextRecipe, model: nn.Module, tokenizer: Tokenizer, run: Path) -> None:
    output.print(
        f"{recipe.model}: {model.n_parameters:,} parameters, {tokenizer.size:,} different "
        f"{_unit(recipe)}",
        markup=False,
    )
    output.print(f"run folder {run}", markup=False)


def _unit(recipe: TextRecipe) -> str:
    return recipe.tokenizer if recipe.tokenizer in ("characters", "bytes", "words") else "tokens"


def _train_writer(recipe: TextRecipe, tokenizer: Tokenizer, run: Path, fit: dict[str, Any]) -> None:
    parts = recipe.language_parts(tokenizer, run)
    model = recipe.build_model(tokenizer)
    trainer = recipe.trainer(model, len(parts.train))
    output.print(
        f"{recipe.source_name}: {parts.n_train:,} {_unit(recipe)} to train on, "
        f"{parts.n_held_out:,} to validate",
        markup=False,
    )
    _introduce(recipe, model, tokenizer, run)
    output.print(
        f"{recipe.n_rounds * recipe.steps_a_round:,} steps of {recipe.batch_size} × "
        f"{recipe.context}, validated every {recipe.steps_a_round}"
        + (f" on {parts.validation.n_predictions:,} {_unit(recipe)}" if parts.is_sampled else "")
    )
    trainer.fit(
        parts.train,
        parts.validation,
        epochs=recipe.n_rounds,
        callbacks=[LanguageFigures(parts.characters_per_token)],
        **fit,
    )
    loss = trainer.evaluate(parts.validation)["loss"]
    figures = language_figures(loss, parts.characters_per_token)
    output.print(
        f"[bold]validation loss {loss:.4f}[/], perplexity {figures['perplexity']:.3f}, "
        f"{figures['bits_per_character']:.4f} bits per character"
    )
    if parts.is_sampled:
        output.print(f"on the whole part: chainrule evaluate {run}", markup=False)
    output.print(f"to read on: chainrule generate {run}", markup=False)


def _train_classifier(
    recipe: TextRecipe, tokenizer: Tokenizer, run: Path, fit: dict[str, Any]
) -> None:
    training, validation, test = recipe.labelled_parts(tokenizer)
    model = recipe.build_model(tokenizer)
    trainer = recipe.trainer(model, len(training))
    output.print(
        f"{recipe.source_name}: {len(training):,} texts to train on, {len(validation):,} to "
        f"validate, {len(test):,} to test, {len(recipe.classes)} classes",
        markup=False,
    )
    _introduce(recipe, model, tokenizer, run)
    trainer.fit(
        recipe.bucketed(training),
        validation,
        epochs=recipe.epochs,
        monitor=f"val_{recipe.monitor}",
        **fit,
    )
    figures = trainer.evaluate(test)
    trainer.save_report(run, test)
    output.print(
        f"[bold]test accuracy {figures['accuracy']:.2%}[/], loss {figures['loss']:.4f} "
        f"on {len(test):,} unseen texts"
    )
    output.print(f"weights, metrics and pictures: {run}", markup=False)


# --- trained models -----------------------------------------------------------------------------


def open_run(run: Path) -> tuple[TextRecipe, Tokenizer, nn.Module, Trainer]:
    """What a run folder gives: recipe, tokenizer, the model with its best weights, a Trainer."""
    recipe, tokenizer = TextRecipe.load(run), load_tokenizer(run)
    model = recipe.build_model(tokenizer)
    load_best(run, model)
    return recipe, tokenizer, model, recipe.trainer(model, 1)


def evaluate_text(run: Path, batch_size: int) -> None:
    """Measure on the validation part of a text, or on the test part of labelled ones."""
    recipe, tokenizer, _, trainer = open_run(run)
    if recipe.writes:
        parts = recipe.language_parts(tokenizer, run, sampled=False)
        figures = trainer.evaluate(parts.validation, batch_size=min(batch_size, 256))
        figures |= language_figures(figures["loss"], parts.characters_per_token)
        for name, value in figures.items():
            output.print(f"validation {name.replace('_', ' '):<18} {value:.4f}")
        return
    test = recipe.labelled_parts(tokenizer)[2]
    for name, value in trainer.evaluate(test, batch_size=batch_size).items():
        output.print(f"test {name:<10} {value:.4f}")
    logits = trainer.predict(test.inputs, batch_size=batch_size)
    output.print(per_class(logits, test, [escape(name) for name in recipe.classes]))


def predict_text(run: Path, texts: list[str]) -> None:
    """The likeliest classes of texts, or what is likeliest to come next."""
    recipe, tokenizer, model, trainer = open_run(run)
    rows = [tokenizer.encode(text) for text in texts]
    for text, row in zip(texts, rows, strict=True):
        if not len(row):
            raise DataError("the text is empty", expected="a token or more", got=repr(text))
    if recipe.writes:
        limit = model.context_length or recipe.context  # type: ignore[attr-defined]
        logits = np.concatenate([trainer.predict(row[None, -limit:])[:, -1] for row in rows])
        shown = [repr(tokenizer.decode([number])) for number in range(tokenizer.size)]
        n_shown = MOST_SHOWN
    else:
        width = recipe.context or max(map(len, rows))
        logits = trainer.predict(pad_sequences(rows, width)[0])
        shown, n_shown = list(recipe.classes), min(2, len(recipe.classes))
    probabilities = np.asarray(softmax(logits, axis=1))
    table = Table(box=None, padding=(0, 2, 0, 0))
    for heading in ("text", "next" if recipe.writes else "class", "probability", "then"):
        table.add_column(heading, justify="right" if heading == "probability" else "left")
    for text, row in zip(texts, probabilities, strict=True):
        first, *others = np.argsort(-row, kind="stable")[:n_shown]
        following = ", ".join(f"{escape(shown[c])} ({row[c]:.1%})" for c in others)
        table.add_row(escape(_short(text)), escape(shown[first]), f"{row[first]:.1%}", following)
    output.print(table)


def _short(text: str) -> str:
    line = text.replace("\n", " ")
    return line if len(line) <= 40 else "…" + line[-39:]
