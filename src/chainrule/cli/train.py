"""``chainrule train``: learn a data set, with progress, into a run folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from chainrule import random
from chainrule.cli.console import existing_run, one_of, output, sizes
from chainrule.cli.recipe import OPTIMIZERS, Recipe, usual_dropout
from chainrule.errors import ArgumentError
from chainrule.training import new_run_folder

_DEFAULT = Recipe(dataset="mnist")
PROGRESS = ("auto", "bar", "line", "none")


def train(
    what: Annotated[str, typer.Argument(help="Data set: mnist.")] = "",
    resume: Annotated[
        Path | None, typer.Option(help="Go on with a run that was stopped: its folder.")
    ] = None,
    model: Annotated[str, typer.Option(help="mlp, lenet5, allconv, …: see chainrule models.")] = (
        _DEFAULT.model
    ),
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
    optimizer: Annotated[str, typer.Option(help="adam, sgd, momentum, …")] = _DEFAULT.optimizer,
    learning_rate: Annotated[
        float | None, typer.Option(help="At the start (default by optimizer).")
    ] = None,
    schedule: Annotated[str, typer.Option(help="constant, cosine or linear.")] = _DEFAULT.schedule,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = _DEFAULT.batch_size,
    epochs: Annotated[int, typer.Option(help="Passes over the data.")] = _DEFAULT.epochs,
    validation: Annotated[
        int, typer.Option(help="Training samples held out to choose the best epoch.")
    ] = _DEFAULT.validation,
    limit: Annotated[int, typer.Option(help="Use only so many training samples; 0: all.")] = 0,
    seed: Annotated[int, typer.Option(help="Same seed, same bits.")] = _DEFAULT.seed,
    engine: Annotated[str | None, typer.Option(help="compiler (default) or interpreter.")] = None,
    out: Annotated[
        Path, typer.Option(help="Where run folders are made.", show_default=True)
    ] = Path("runs"),
    progress: Annotated[str, typer.Option(help="auto, bar, line or none.")] = "auto",
) -> None:
    """Train a network and write a run folder: weights, metrics, pictures."""
    one_of(progress, PROGRESS, "--progress")
    if resume is not None:
        if what:
            raise ArgumentError(
                "a resumed run knows its data set", fix=f"chainrule train --resume {resume}"
            )
        return _train(Recipe.load(existing_run(resume)), resume, progress, resuming=True)
    if not what:
        raise ArgumentError(
            "say what to train on", expected="a data set: mnist", fix="chainrule train mnist"
        )
    if learning_rate is None and optimizer in OPTIMIZERS:
        learning_rate = OPTIMIZERS[optimizer][1]
    recipe = Recipe(
        dataset=what,
        model=model,
        **_model_settings(model, hidden, activation, dropout),
        optimizer=optimizer,
        learning_rate=_DEFAULT.learning_rate if learning_rate is None else learning_rate,
        schedule=schedule,
        batch_size=batch_size,
        epochs=epochs,
        seed=seed,
        engine=engine,
        validation=min(validation, limit // 5) if limit else validation,
        limit=limit,
    ).check()
    return _train(recipe, new_run_folder(out, recipe.name), progress, resuming=False)


def _model_settings(
    model: str, hidden: str | None, activation: str | None, dropout: float | None
) -> dict[str, Any]:
    """What a recipe stores of the options that shape the model; others than given are usual."""
    if model == "mlp":
        widths = _DEFAULT.hidden if hidden is None else tuple(sizes(hidden, "--hidden"))
        return {
            "hidden": widths,
            "activation": _DEFAULT.activation if activation is None else activation,
            "dropout": usual_dropout(widths) if dropout is None else dropout,
        }
    if hidden is not None:
        raise ArgumentError(
            f"the layers of {model} are those of its paper",
            got=f"--hidden {hidden}",
            fix="leave --hidden out, or --model mlp",
        )
    given = {"activation": activation, "dropout": dropout}
    return {"settings": {name: value for name, value in given.items() if value is not None}}


def _train(recipe: Recipe, run: Path, progress: str, *, resuming: bool) -> None:
    random.seed(recipe.seed)
    training, validation, test = recipe.data()
    model = recipe.build_model(training)
    trainer = recipe.trainer(model, len(training))
    layers = "-".join(str(n) for n in (784, *recipe.hidden, 10))
    described = f"{layers} {recipe.activation}" if recipe.model == "mlp" else recipe.model
    output.print(
        f"{recipe.dataset}: {len(training):,} samples to train on, "
        f"{len(validation or ()):,} to validate, {len(test):,} to test"
    )
    output.print(f"{described}: {model.n_parameters:,} parameters")
    output.print(f"{'resuming' if resuming else 'run folder'} {run}")
    try:
        trainer.fit(
            training,
            validation=validation,
            epochs=recipe.epochs,
            run_dir=run,
            resume=run if resuming else None,
            progress=progress,
            config={"recipe": recipe.to_json()},
        )
    except KeyboardInterrupt:
        output.print(f"nothing is lost; go on with: chainrule train --resume {run}")
        raise typer.Exit(130) from None
    figures = trainer.evaluate(test)
    trainer.save_report(run, test)
    output.print(
        f"[bold]test accuracy {figures['accuracy']:.2%}[/], loss {figures['loss']:.4f} "
        f"on {len(test):,} unseen samples"
    )
    output.print(f"weights, metrics and pictures: {run}")
