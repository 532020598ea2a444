"""``chainrule summary``: layers, shapes, parameters and costs of a network, nothing allocated."""

from __future__ import annotations

from typing import Annotated

import typer

from chainrule.cli.console import one_of, output, sizes
from chainrule.models import ACTIVATIONS, MLP


def summary(
    hidden: Annotated[str, typer.Option(help="Units of the hidden layers, or none.")] = "512,256",
    input_shape: Annotated[str, typer.Option(help="Shape of one sample.")] = "28,28",
    outputs: Annotated[int, typer.Option(help="Units of the last layer.")] = 10,
    activation: Annotated[str, typer.Option(help="Between the layers.")] = "relu",
    dropout: Annotated[float, typer.Option(help="Probability of dropping a unit.")] = 0.0,
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 1,
) -> None:
    """Print a multilayer perceptron's layers with parameters, multiply-adds and bytes."""
    one_of(activation, ACTIVATIONS, "--activation")
    shape = tuple(sizes(input_shape, "--input-shape"))
    model = MLP(shape, sizes(hidden, "--hidden"), outputs, activation=activation, dropout=dropout)
    output.print(str(model.summary(shape, batch_size=batch_size)))
