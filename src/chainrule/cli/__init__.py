"""Floor 6: the shell door, ``chainrule COMMAND``."""


def main() -> None:
    """Entry point of the ``chainrule`` command."""
    from chainrule.cli.app import run

    run()
