"""``chainrule train``: learn a data set, with progress, into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from chainrule import nn, random
from chainrule.cli.console import existing_run, one_of, output
from chainrule.cli.recipe import Recipe, of_the_model
from chainrule.cli.sources import KNOWN
from chainrule.cli.text import is_text, refuse_for_text, resume_text, train_text
from chainrule.cli.text_recipe import TextRecipe, is_text_run
from chainrule.data import ArrayDataset
from chainrule.errors import ArgumentError
from chainrule.insight import InsightPictures
from chainrule.training import Callback, new_run_folder

_DEFAULT = Recipe(dataset="mnist")
PROGRESS = ("auto", "bar", "line", "none")
#: samples that the pictures of what the network sees are drawn of
LOOKED_AT = 6


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
    model: Annotated[str, typer.Option(help="mlp, lenet5, allconv, …: see chainrule models.")] = (
        _DEFAULT.model
    ),
    image_size: Annotated[
        int | None, typer.Option(help="Pixels that a folder's pictures are scaled to.")
    ] = None,
    grey: Annotated[bool, typer.Option("--grey", help="Take a folder's pictures as grey.")] = False,
    augment: Annotated[
        str | None,
        typer.Option(help="none, digits, clothes or photos (default: by data and model)."),
    ] = None,
    text: Annotated[str | None, typer.Option(help="Column of a CSV file that holds texts.")] = None,
    target: Annotated[
        str | None, typer.Option(help="Column of a CSV file that holds their labels.")
    ] = None,
    tokenizer: Annotated[
        str | None, typer.Option(help="characters, bytes, words, bpe or wordpiece, for text.")
    ] = None,
    vocabulary_size: Annotated[
        int | None, typer.Option(help="The most words or parts of them (default 8000).")
    ] = None,
    context: Annotated[
        int | None, typer.Option(help="Tokens that a language model sees at once (default 64).")
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Updates of a language model (default 2000).")
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(help="Units of an mlp's hidden layers: 300,100, or none (default 512,256)."),
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help="relu, sigmoid, tanh, gelu, … (default: relu in an mlp).")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Probability of dropping a unit (mlp: default 0.2; 0 if small)."),
    ] = None,
    input_dropout: Annotated[
        float | None, typer.Option(help="The same for an mlp's inputs (default 0).")
    ] = None,
    max_norm: Annotated[
        float | None, typer.Option(help="Largest norm of a unit's weights (default: any).")
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam, sgd, momentum, … (default: by model).")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the start (default by optimizer).")
    ] = None,
    weight_decay: Annotated[
        float | None, typer.Option(help="Shrinks the weights (default by optimizer).")
    ] = None,
    schedule: Annotated[str | None, typer.Option(help="constant, cosine or linear.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Samples a step (default 128).")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the data (default by model).")
    ] = None,
    validation: Annotated[
        int | None,
        typer.Option(help="Samples held out to choose the best epoch (5000; folders 15 %)."),
    ] = None,
    limit: Annotated[int, typer.Option(help="Use only so many training samples; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same bits.")] = _DEFAULT.seed,
    engine: Annotated[str | None, typer.Option(help="compiler (default) or interpreter.")] = None,
    out: Annotated[
        Path, typer.Option(help="Where run folders are made.", show_default=True)
    ] = Path("runs"),
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Draw pictures when training ends.")
    ] = True,
    progress: Annotated[str, typer.Option(help="auto, bar, line or none.")] = "auto",
) -> None:
    """Train a network and write a run folder: weights, metrics, pictures."""
    one_of(progress, PROGRESS, "--progress")
    if resume is not None:
        if what:
            raise ArgumentError(
                "a resumed run knows its data set", fix=f"chainrule train --resume {resume}"
            )
        if is_text_run(existing_run(resume)):
            return resume_text(resume, progress, pictures)
        recipe = Recipe.load(resume)
        return _train(recipe, resume, progress, pictures, resuming=True)
    if not what:
        raise ArgumentError(
            "say what to train on",
            expected=f"a data set ({', '.join(KNOWN)}, shakespeare), or a path",
            fix="chainrule train mnist",
        )
    of_text = {
        "text": text,
        "target": target,
        "tokenizer": tokenizer,
        "vocabulary_size": vocabulary_size,
        "context": context,
        "steps": steps,
    }
    if is_text(what, model, of_text):
        refuse_for_text(
            image_size=image_size,
            grey=grey or None,
            augment=augment,
            hidden=hidden,
            activation=activation,
            input_dropout=input_dropout,
            max_norm=max_norm,
            validation=validation,
        )
        text_recipe = TextRecipe.compose(
            what,
            model,
            **of_text,
            dropout=dropout,
            optimizer=optimizer,
            learning_rate=learning_rate,
            weight_decay=weight_decay,
            schedule=schedule,
            batch_size=batch_size,
            epochs=epochs,
            limit=limit,
            seed=seed,
            engine=engine,
        )
        return train_text(text_recipe, out, progress, pictures)
    recipe = Recipe.compose(
        what,
        model,
        image_size=image_size,
        grey=grey,
        augment=augment,
        **of_the_model(model, hidden, activation, dropout, input_dropout),
        max_norm=max_norm,
        optimizer=optimizer,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        schedule=schedule,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        engine=engine,
        validation=_held_out(validation, limit),
        limit=limit,
    )
    run = new_run_folder(out, recipe.name)
    return _train(recipe, run, progress, pictures, resuming=False)


def _held_out(validation: int | None, limit: int) -> int | None:
    """Of a limited training part at most a fifth is held out."""
    if not limit:
        return validation
    return limit // 5 if validation is None else min(validation, limit // 5)


def _train(recipe: Recipe, run: Path, progress: str, pictures: bool, *, resuming: bool) -> None:
    random.seed(recipe.seed)
    training, validation, test = recipe.data()
    model = recipe.build_model(training)
    trainer = recipe.trainer(model, len(training))
    _introduce(recipe, model, len(training), len(validation or ()), len(test))
    output.print(f"{'resuming' if resuming else 'run folder'} {run}", markup=False)
    try:
        trainer.fit(
            recipe.augmented(training),
            validation=validation,
            epochs=recipe.epochs,
            run_dir=run,
            resume=run if resuming else None,
            progress=progress,
            pictures=pictures,
            callbacks=_pictures(model, validation or training) if pictures else (),
            config={"recipe": recipe.to_json()},
        )
    except KeyboardInterrupt:
        output.print(f"nothing is lost; go on with: chainrule train --resume {run}", markup=False)
        raise typer.Exit(130) from None
    figures = trainer.evaluate(test)
    trainer.save_report(run, test)
    output.print(
        f"[bold]test accuracy {figures['accuracy']:.2%}[/], loss {figures['loss']:.4f} "
        f"on {len(test):,} unseen samples"
    )
    output.print(f"weights, metrics and pictures: {run}", markup=False)


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
