"""``chainrule train``: learn a data set, with progress, into a run folder."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from chainrule import nn, random
from chainrule.cli.console import existing_run, one_of, output
from chainrule.cli.groups import given, grouped, spelled
from chainrule.cli.recipe import Recipe, of_the_model
from chainrule.cli.sources import KNOWN
from chainrule.cli.text import is_text, refuse_for_text, resume_text, train_text
from chainrule.cli.text_recipe import TextRecipe, is_text_run
from chainrule.cli.train_options import (
    LearningOptions,
    NetworkOptions,
    PictureOptions,
    RunOptions,
    TextOptions,
)
from chainrule.data import ArrayDataset
from chainrule.errors import ArgumentError
from chainrule.insight import InsightPictures
from chainrule.training import Callback, new_run_folder

PROGRESS = ("auto", "bar", "line", "none")
#: samples that the pictures of what the network sees are drawn of
LOOKED_AT = 6


@grouped
def train(
    what: Annotated[
        str,
        typer.Argument(
            help=f"{', '.join(KNOWN)}, shakespeare, or a path: a folder of pictures, ./text.txt, "
            "./reviews.csv."
        ),
    ] = "",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run that was stopped: its folder.")
    ] = None,
    *,
    network: NetworkOptions,
    learning: LearningOptions,
    pictures: PictureOptions,
    text: TextOptions,
    run: RunOptions,
) -> None:
    """Train a network and write a run folder: weights, metrics, pictures.

    In parentheses: what an option is where it is not given.
    """
    one_of(run.progress, PROGRESS, "--progress")
    if resume is not None:
        _refuse_beside_resume(resume, what, given(network, learning, pictures, text, run))
        _resume(existing_run(resume), run)
    elif not what:
        raise ArgumentError(
            "say what to train on",
            expected=f"a data set ({', '.join(KNOWN)}, shakespeare), or a path",
            fix="chainrule train mnist",
        )
    elif is_text(what, network.model, given(text)):
        recipe = _text_recipe(what, network, learning, pictures, text)
        train_text(recipe, run.out, run.progress, run.pictures)
    else:
        _refuse_for_pictures(what, given(text))
        _train(_recipe(what, network, learning, pictures), run)


def _refuse_beside_resume(resume: Path, what: str, options: dict[str, Any]) -> None:
    """A run that goes on keeps what it was started with; only what it shows may differ."""
    typed = [what] if what else []
    typed += [spelled(n, x) for n, x in options.items() if n not in ("progress", "pictures")]
    if typed:
        raise ArgumentError(
            "a resumed run keeps the data set and the options that it was started with",
            got=" ".join(typed),
            fix=f"chainrule train --resume {resume}",
        )


def _refuse_for_pictures(what: str, options: dict[str, Any]) -> None:
    """Options that are about text say nothing of pictures."""
    for name, value in options.items():
        option = spelled(name, value)
        raise ArgumentError(
            f"{option.partition(' ')[0]} is about text, and {what} holds pictures",
            got=option,
            fix="leave it out",
        )


def _resume(folder: Path, run: RunOptions) -> None:
    if is_text_run(folder):
        resume_text(folder, run.progress, run.pictures)
    else:
        _train(Recipe.load(folder), run, folder)


def _text_recipe(
    what: str,
    network: NetworkOptions,
    learning: LearningOptions,
    pictures: PictureOptions,
    text: TextOptions,
) -> TextRecipe:
    refuse_for_text(given(pictures, network, learning))
    common = dataclasses.asdict(learning)
    del common["validation"]  # a text's is what the model has not seen of it
    return TextRecipe.compose(
        what, network.model, **dataclasses.asdict(text), dropout=network.dropout, **common
    )


def _recipe(
    what: str, network: NetworkOptions, learning: LearningOptions, pictures: PictureOptions
) -> Recipe:
    shaping = of_the_model(
        network.model, network.hidden, network.activation, network.dropout, network.input_dropout
    )
    common = dataclasses.asdict(learning)
    common["validation"] = _held_out(learning.validation, learning.limit)
    return Recipe.compose(
        what,
        network.model,
        **dataclasses.asdict(pictures),
        **shaping,
        max_norm=network.max_norm,
        **common,
    )


def _held_out(validation: int | None, limit: int) -> int | None:
    """Of a limited training part at most a fifth is held out."""
    if not limit:
        return validation
    return limit // 5 if validation is None else min(validation, limit // 5)


def _train(recipe: Recipe, run: RunOptions, resumed: Path | None = None) -> None:
    folder = new_run_folder(run.out, recipe.name) if resumed is None else resumed
    random.seed(recipe.seed)
    training, validation, test = recipe.data()
    model = recipe.build_model(training)
    trainer = recipe.trainer(model, len(training))
    _introduce(recipe, model, len(training), len(validation or ()), len(test))
    output.print(f"{'run folder' if resumed is None else 'resuming'} {folder}", markup=False)
    try:
        trainer.fit(
            recipe.augmented(training),
            validation=validation,
            epochs=recipe.epochs,
            monitor=None if validation is None else f"val_{recipe.monitor}",
            run_dir=folder,
            resume=resumed,
            progress=run.progress,
            pictures=run.pictures,
            callbacks=_pictures(model, validation or training) if run.pictures else (),
            config={"recipe": recipe.to_json()},
        )
    except KeyboardInterrupt:
        message = f"nothing is lost; go on with: chainrule train --resume {folder}"
        output.print(message, markup=False)
        raise typer.Exit(130) from None
    figures = trainer.evaluate(test)
    trainer.save_report(folder, test)
    output.print(
        f"[bold]test accuracy {figures['accuracy']:.2%}[/], loss {figures['loss']:.4f} "
        f"on {len(test):,} unseen samples"
    )
    output.print(f"weights, metrics and pictures: {folder}", markup=False)


def _introduce(recipe: Recipe, model: nn.Module, train: int, validation: int, test: int) -> None:
    output.print(
        f"{recipe.source_name}: {train:,} samples to train on, "
        f"{validation:,} to validate, {test:,} to test",
        markup=False,
    )
    augmented = "" if recipe.augment == "none" else f", pictures varied as {recipe.augment}"
    output.print(f"{recipe.title}: {model.n_parameters:,} parameters{augmented}", markup=False)


def _pictures(model: nn.Module, samples: ArrayDataset) -> list[Callback]:
    """Pictures of what a network of convolutions sees, of some samples of different classes."""
    if not any(isinstance(module, nn.Conv2d) for module in model.modules()):
        return []
    first = [int(np.flatnonzero(samples.targets == c)[0]) for c in np.unique(samples.targets)]
    chosen = np.asarray(samples.inputs)[first[:LOOKED_AT]]
    return [InsightPictures(chosen, class_names=samples.class_names)]
