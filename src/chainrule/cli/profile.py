"""``chainrule profile``: where the time and the memory of a training step go."""

from __future__ import annotations

from typing import Annotated

import typer

from chainrule import random
from chainrule.cli.console import output, sizes
from chainrule.cli.recipe import Recipe, usual_dropout
from chainrule.errors import ArgumentError

_DEFAULT = Recipe(dataset="mnist")
_LONGEST = 600.0


def profile(
    what: Annotated[str, typer.Argument(help="Data set: mnist.")] = "mnist",
    hidden: Annotated[
        str, typer.Option(help="Units of the hidden layers, such as 300,100, or none.")
    ] = ",".join(map(str, _DEFAULT.hidden)),
    activation: Annotated[
        str, typer.Option(help="relu, sigmoid, tanh, gelu, …")
    ] = _DEFAULT.activation,
    dropout: Annotated[
        float | None,
        typer.Option(help="Probability of dropping a hidden unit (default 0.2; 0 if small)."),
    ] = None,
    optimizer: Annotated[str, typer.Option(help="adam, sgd, momentum, …")] = _DEFAULT.optimizer,
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
    widths = tuple(sizes(hidden, "--hidden"))
    recipe = Recipe(
        dataset=what,
        hidden=widths,
        activation=activation,
        dropout=usual_dropout(widths) if dropout is None else dropout,
        optimizer=optimizer,
        batch_size=batch_size,
    ).check()
    random.seed(recipe.seed)
    training, _, _ = recipe.data()
    model = recipe.build_model(training)
    found = recipe.trainer(model, len(training)).profile(training, seconds=seconds)
    layers = "-".join(str(n) for n in (784, *recipe.hidden, 10))
    output.print(
        f"{recipe.dataset}, {layers} {recipe.activation}, {recipe.optimizer}, "
        f"batches of {recipe.batch_size}"
    )
    print(found)
    if memory:
        print(f"\n{found.memory}")
