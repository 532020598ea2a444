"""Floor 2: Programs, traced graphs with state, and the engines that run them."""

from chainrule.program.compilation import CompiledFunction, compile
from chainrule.program.engines import ENGINES
from chainrule.program.profiling import memory_of_steps, profile_steps
from chainrule.program.program import Program
from chainrule.program.steps import run_steps

__all__ = [
    "ENGINES",
    "CompiledFunction",
    "Program",
    "compile",
    "memory_of_steps",
    "profile_steps",
    "run_steps",
]
