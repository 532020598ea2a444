"""Write docs/api.md: every public name with its signature and the first line of its docstring."""

import importlib
import inspect
import sys
from pathlib import Path
from types import NoneType

import numpy as np

PACKAGES = (
    "chainrule",
    "chainrule.nn",
    "chainrule.nn.functional",
    "chainrule.nn.init",
    "chainrule.optim",
    "chainrule.data",
    "chainrule.metrics",
    "chainrule.models",
    "chainrule.training",
    "chainrule.program.compiler.profile",
    "chainrule.plots",
    "chainrule.random",
    "chainrule.explain",
    "chainrule.generation",
    "chainrule.insight",
)
TARGET = Path(__file__).parent.parent / "docs" / "api.md"


class _Shown:
    """A default value as the page shows it."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature_of(value: object) -> str:
    """The call signature without annotations, or "" where there is none."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return ""
    # a class is made by __init__; __new__ may only be there to answer mistakes
    called = maker_of(value) if inspect.isclass(value) else value
    try:
        signature = inspect.signature(called)
    except (TypeError, ValueError):
        return ""
    parameters = list(signature.parameters.values())
    if called is not value:
        parameters = parameters[1:]  # self
    bare = [
        p.replace(annotation=inspect.Parameter.empty, default=shown(p.default)) for p in parameters
    ]
    return str(inspect.Signature(bare))


def maker_of(value: type) -> object:
    """The ``__init__`` written in Python that makes objects of a class, else the class itself."""
    return value.__init__ if inspect.isfunction(value.__init__) else value


def shown(default: object) -> object:
    """A default as a reader would write it: no addresses, ``float32`` for a dtype."""
    if isinstance(default, np.dtype):
        return _Shown(default.name)
    if callable(default) or "<" in repr(default):
        return default if default is inspect.Parameter.empty else _Shown("…")
    return default


def summary_of(value: object) -> str:
    """The first line of the docstring; for data, what they are."""
    if inspect.isfunction(value) or inspect.isclass(value) or inspect.ismodule(value):
        return (inspect.getdoc(value) or "").splitlines()[0]
    if isinstance(value, dict):
        return f"By name: {', '.join(f'`{key}`' for key in value)}."
    if isinstance(value, np.dtype):
        return "An element type."
    if isinstance(value, float):
        return f"The number {value:.6g}."
    return {str: "A string.", NoneType: "None."}.get(type(value), "A type.")


def reference() -> str:
    """The whole page."""
    lines = ["# Public names", "", "Written by `python tools/api_reference.py`.", ""]
    for package in PACKAGES:
        module = importlib.import_module(package)
        lines += [f"## {package}", "", "| name | what it is |", "|---|---|"]
        for name in sorted(public_names(module)):
            value = getattr(module, name)
            call = f"{name}{signature_of(value)}".replace("|", "\\|")
            lines.append(f"| `{call}` | {summary_of(value).replace('|', chr(92) + '|')} |")
        lines.append("")
    return "\n".join(lines)


def public_names(module: object) -> list[str]:
    """``__all__``, or what a module without one defines itself."""
    listed = getattr(module, "__all__", None)
    if listed is not None:
        return list(listed)
    return [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__
    ]


if __name__ == "__main__":
    TARGET.write_text(reference(), encoding="utf-8")
    print(f"written: {TARGET}", file=sys.stderr)
