"""What a kernel is called, which lines it comes from, what it reads, how much work it is."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable

from chainrule.program.compiler.batches import MANY
from chainrule.program.compiler.expressions import Apply, Load
from chainrule.program.compiler.instructions import Instruction, Tensor
from chainrule.program.compiler.kernels import FoldInto, InnerLoop, Kernel, Store
from chainrule.program.compiler.lowering.elements import loads


def titles(members: Iterable[Instruction]) -> str:
    """The ops of some instructions, each once; a value that is only put into memory is a copy."""
    return " ".join(dict.fromkeys(m.op.name for m in members)).replace("barrier", "copy")


def origins(members: Iterable[Instruction]) -> str:
    """Where some instructions come from: their layers, else the first line of the user's.

    ``back`` is said of a layer if they belong to its derivative.

    >>> from chainrule.ops.origin import Origin
    >>> from chainrule.ops.record import REGISTRY
    >>> relu = Instruction(REGISTRY["relu"], [], {}, [], Origin("net.py", 3, "body.1", 0))
    >>> origins([relu, relu])
    'body.1'
    """
    known = [m.origin for m in members if m.origin.file]
    backward: dict[str, bool] = {}
    for origin in known:
        if origin.layer:
            backward[origin.layer] = backward.get(origin.layer, False) or origin.derivative_of > 0
    if backward:
        return ", ".join(layer + " back" * back for layer, back in backward.items())
    return f"{os.path.basename(known[0].file)}:{known[0].line}" if known else ""


def loop_loads(loop: InnerLoop) -> list[Load]:
    """Loads of a product's epilogue."""
    values = [*loop.values.values()]
    values += [s.value for s in loop.statements if isinstance(s, Store)]
    return [load for value in values for load in loads(value)]


def tensors_of(kernel: Kernel) -> list[Tensor]:
    """Tensors that a kernel reads or writes, in order of appearance."""
    found: dict[Tensor, None] = {}
    for expression in kernel.expressions():
        found.update(dict.fromkeys(x.tensor for x in loads(expression)))
    found.update(dict.fromkeys(kernel.writes()))
    return list(found)


def work(kernel: Kernel) -> tuple[float, float]:
    """Arithmetic and memory traffic of one run, roughly: what profiles and thread counts need."""
    outer = math.prod(a.extent for a in kernel.outer)
    flops = 0.0
    for loop in kernel.loops:
        turns = outer * math.prod(a.extent for a in loop.axes)
        nodes = [n for v in loop.values.values() for n in v.walk()]
        for statement in loop.statements:
            value = statement.fold.value if isinstance(statement, FoldInto) else statement.value
            nodes += list(value.walk())
            flops += turns * isinstance(statement, FoldInto)
        flops += turns * sum(isinstance(n, Apply) for n in set(nodes))
    return flops, traffic(kernel.reads() | set(kernel.writes()))


def traffic(tensors: Iterable[Tensor]) -> float:
    """Bytes of some tensors; data sets, of which a step reads some rows, are not counted."""
    return float(sum(t.bytes for t in tensors if t.shape[:1] != (MANY,)))
