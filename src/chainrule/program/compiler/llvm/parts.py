"""Cutting a module into parts that are compiled side by side.

LLVM takes longer for a training step than all else together, and works on one module with one
thread. Functions that only others call are given to the parts so that these have about the same
length; each part has copies of the small functions and constants that it needs. The machine code of
a function does not depend on the part that it is in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from chainrule.program.compiler.llvm.module import Module

#: characters of text that are worth a thread; LLVM takes about a tenth of a second for them
WORTH_A_PART = 150_000
#: most parts of one module
MOST_PARTS = 4
#: functions shorter than this are copied to where they are called
COPIED = 3_000

_NAME = re.compile(r"@([\w.]+)")
_HEAD = re.compile(r"define internal (\w+)\s+@([\w.]+)\(([^)]*)\)")


def cut(module: Module, n_cores: int) -> list[str]:
    """The texts of a module's parts; one if it is short or there is one core.

    Args:
        module: Its exported functions stay in the first part.
        n_cores: Cores that may be used.
    """
    whole = str(module)
    n_parts = min(n_cores, MOST_PARTS, len(whole) // WORTH_A_PART)
    functions = module.functions
    movable = {name for name, text in functions.items() if _is_movable(text)}
    if n_parts < 2 or not movable:
        return [whole]
    lengths = [sum(len(text) for name, text in functions.items() if name not in movable)]
    parts: list[list[str]] = [[name for name in functions if name not in movable]]
    parts += [[] for _ in range(n_parts - 1)]
    lengths += [0] * (n_parts - 1)
    for name in sorted(movable, key=lambda name: (-len(functions[name]), name)):
        lightest = lengths.index(min(lengths))
        parts[lightest].append(name)
        lengths[lightest] += len(functions[name])
    return [_text(module, part, movable) for part in parts if part]


def _is_movable(text: str) -> bool:
    return len(text) >= COPIED and _HEAD.match(text) is not None


def _text(module: Module, own: Sequence[str], movable: set[str]) -> str:
    """One part: its functions, what they need of the rest, and declarations of the others."""
    functions = module.functions
    chosen: dict[str, None] = {}
    outside: dict[str, None] = {}
    pending = [*reversed(own)]
    while pending:
        name = pending.pop()
        if name in chosen:
            continue
        chosen[name] = None
        for other in dict.fromkeys(_NAME.findall(functions[name])):
            if other in movable and other not in own:
                outside[other] = None
            elif other in functions:
                pending.append(other)
    texts = [_exported(functions[name]) if name in movable else functions[name] for name in chosen]
    declared = [_declaration(functions[name]) for name in outside]
    needed = set(_NAME.findall("\n".join(texts)))
    return "\n".join(
        [
            *_lines(module.constants, needed, "@{name} = {text}"),
            *_lines(module.declarations, needed - functions.keys(), "{text}"),
            *declared,
            *texts,
            "",
        ]
    )


def _lines(texts: Mapping[str, str], needed: set[str], form: str) -> list[str]:
    return [form.format(name=n, text=text) for n, text in texts.items() if n in needed]


def _exported(text: str) -> str:
    return text.replace("define internal ", "define ", 1)


def _declaration(text: str) -> str:
    """A function of another part as its callers know it."""
    head = _HEAD.match(text)
    assert head is not None
    result, name, parameters = head.groups()
    types = [" ".join(x.split()[:-1]) for x in parameters.split(",") if x.strip()]
    return f"declare {result} @{name}({', '.join(types)})"
