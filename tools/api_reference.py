"""Write docs/api.md: every public name with its signature and the first line of its docstring."""

import importlib
import inspect
import re
import sys
from pathlib import Path

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
    "chainrule.plots",
    "chainrule.random",
    "chainrule.explain",
)
TARGET = Path(__file__).parent.parent / "docs" / "api.md"


def signature_of(value: object) -> str:
    """The call signature without annotations, or "" where there is none."""
    if not (inspect.isfunction(value) or inspect.isclass(value)):
        return ""
    try:
        signature = inspect.signature(value)
    except (TypeError, ValueError):
        return ""
    bare = [p.replace(annotation=inspect.Parameter.empty) for p in signature.parameters.values()]
    text = str(inspect.Signature(bare))
    return re.sub(r" at 0x[0-9a-f]+", "", text)


def summary_of(value: object) -> str:
    """The first line of the docstring, for what has one of its own."""
    if inspect.isfunction(value) or inspect.isclass(value) or inspect.ismodule(value):
        return (inspect.getdoc(value) or "").splitlines()[0]
    return ""


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
