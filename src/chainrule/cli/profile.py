"""``chainrule profile``: where the time and the memory of a training step go."""

from __future__ import annotations

from typing import Annotated

import typer

from chainrule import random
from chainrule.cli.console import output
from chainrule.cli.recipe import Recipe, of_the_model
from chainrule.cli.sources import KNOWN
from chainrule.cli.text import is_text
from chainrule.errors import ArgumentError

_DEFAULT = Recipe(dataset="mnist")
_LONGEST = 600.0


def profile(
    what: Annotated[
        str, typer.Argument(help=f"{', '.join(KNOWN)}, or a folder of pictures.")
    ] = "mnist",
    model: Annotated[
        str, typer.Option(help="mlp, lenet5, allconv, …: see chainrule models.")
    ] = _DEFAULT.model,
    hidden: Annotated[
        str | None,
        typer.Option(help="Units of an mlp's hidden layers: 300,100, or none (default 512,256)."),
    ] = None,
    activation: Annotated[str | None, typer.Option(help="relu, sigmoid, tanh, gelu, …")] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="Probability of dropping a hidden unit (default 0.2; 0 if small)."),
    ] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam, sgd, momentum, … (default: by model).")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Samples a step.")] = _DEFAULT.batch_size,
    seconds: Annotated[float, typer.Option(help="How long to measure.")] = 1.0,
    memory: Annotated[
        bool, typer.Option("--memory", help="Show the memory too: what lies where.")
    ] = False,
) -> None:
    """Run training steps for a moment; show each kernel's time, work and share of peak."""
    if not 0.01 <= seconds <= _LONGEST:
        raise ArgumentError(
            "--seconds is out of range", expected=f"0.01 to {_LONGEST:g}", got=f"{seconds:g}"
        )
    if is_text(what, model, {}):
        raise ArgumentError(
            "chainrule profile measures networks for pictures",
            expected=f"{', '.join(KNOWN)}, or a folder of pictures",
            got=f"{what} --model {model}",
            fix="in Python, Trainer.profile measures any model",
        )
    recipe = Recipe.compose(
        what,
        model,
        **of_the_model(model, hidden, activation, dropout),
        optimizer=optimizer,
        batch_size=batch_size,
    )
    random.seed(recipe.seed)
    training = recipe.data().train
    built = recipe.build_model(training)
    found = recipe.trainer(built, len(training)).profile(training, seconds=seconds)
    output.print(
        f"{recipe.source_name}, {recipe.title}, {recipe.optimizer}, batches of {recipe.batch_size}",
        markup=False,
    )
    print(found)
    if memory:
        print(f"\n{found.memory}")
