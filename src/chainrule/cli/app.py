"""The command line: which commands there are, and how errors leave it."""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Annotated, Any

import typer

from chainrule.cli.console import meant, print_error, print_warning
from chainrule.errors import ArgumentError, ChainruleError, compose_message
from chainrule.version import VERSION

# command → module that holds a function of the same name; loaded when the command is called
COMMANDS = (
    "train",
    "evaluate",
    "predict",
    "generate",
    "summary",
    "explain",
    "profile",
    "data",
    "models",
    "cache",
    "doctor",
)


class LazyGroup(typer.core.TyperGroup):
    """A command group that imports a command's module only to run it or print its help."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the list above."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the command's module and make its command."""
        if cmd_name not in COMMANDS:
            return None
        module = importlib.import_module(f"chainrule.cli.{cmd_name}")
        inner = typer.Typer(pretty_exceptions_enable=False, add_completion=False)
        inner.command(cmd_name)(getattr(module, cmd_name))
        command = typer.main.get_command(inner)
        command.name = cmd_name
        return command

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; an unknown one is answered with the known ones."""
        if args[0] not in COMMANDS:
            raise ArgumentError(
                f"there is no command {args[0]!r}",
                expected=", ".join(COMMANDS),
                got=args[0],
                fix=meant(args[0], COMMANDS),
            )
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    help="Deep learning you can see through.",
)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"chainrule {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Deep learning you can see through."""


def run() -> None:
    """Run the command line; errors of the library are told without a traceback."""
    warnings.showwarning = lambda message, *rest, **keywords: print_warning(str(message))
    try:
        app()
    except ChainruleError as error:
        # no line of a program is the user's here; a layer's path still helps
        layer = error.where.partition(", ")[2]
        print_error(compose_message(error.message, error.expected, error.got, error.fix, layer))
        sys.exit(2 if isinstance(error, ArgumentError) else 1)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(1)
