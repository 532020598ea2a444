"""One row an op: how an element of its result is computed from elements of its operands."""

# imported for what they register
from chainrule.program.compiler.lowering import (
    convolution,
    elements,
    reductions,
    scattering,
    sorting,
    windows,
)

__all__ = ["convolution", "elements", "reductions", "scattering", "sorting", "windows"]
