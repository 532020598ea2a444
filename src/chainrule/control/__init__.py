"""Control flow that is recorded: loops and choices whose bodies are graphs of their own.

Python's ``for`` and ``if`` run while a function is being recorded: a loop is unrolled, and a
condition must be known. The functions here become one node each, whatever the number of steps.
Carries, operands and results are nested containers of Arrays; Python numbers among them count as
Arrays that take the type of what they meet. Arrays and Modules caught in closures take part:
gradients flow to them, and what a Module stores into its buffers is carried from step to step.
"""

from chainrule.control.choices import cond, switch
from chainrule.control.loops import fori_loop, scan, while_loop

__all__ = ["cond", "fori_loop", "scan", "switch", "while_loop"]
