"""Row bounds: how many rows of a batch a loop's step must compute.

Reason: sequences of a batch end at different steps. Where they are sorted by length, those that
are over are the last rows, and a step that leaves them out saves their work.

The graph says it by the Composite ``leading_rows(x, n)``, which is x itself and promises: from row
n on the step hands on what it carries unchanged, and nothing depends on what it stacks, which may
as well be 0. Imported, it is an instruction of the compiler's own in the loop's body, which gives
nothing and is read by nobody; ``loop_products`` leaves products in such a loop, and the lowering
computes the rows in front.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.ops.origin import Origin
from chainrule.ops.record import Op
from chainrule.program.compiler.instructions import Block, Instruction, Tensor

COMPOSITE = "leading_rows"


def _infer(n: Any) -> tuple[tuple[int, ...], Any]:
    return (), n.dtype


def _no_rule(*_: Any, **__: Any) -> Any:
    raise NotImplementedError("made by the compiler, and read by nobody")


ROW_BOUND = Op(
    name="row_bound",
    family="bound",
    arity=1,
    infer=_infer,
    evaluate=lambda n: np.asarray(n),
    vjp=None,
    nondifferentiable=True,
    batch=_no_rule,
)
"""``(n)``, an integer scalar: rows from n on need not be computed in this step."""


def bound_by(n: Tensor, origin: Origin) -> Instruction:
    """The instruction that says so."""
    return Instruction(ROW_BOUND, [n], {}, [((), n.dtype)], origin)


def bounds(body: Block) -> list[Instruction]:
    """Those of a loop's body."""
    return [x for x in body.instructions if x.op is ROW_BOUND]


def bound_outside(scan: Instruction) -> Tensor | None:
    """The numbers of rows of all steps, (steps,), as they come from outside; None: no bound."""
    body, n = scan.bodies["body"], scan.attributes["n_carry"]
    found = {x.operands[0] for x in bounds(body)}
    if len(found) != 1:
        return None
    (inside,) = found
    slices = body.inputs[n : n + scan.attributes["n_xs"]]
    return scan.operands[n + slices.index(inside)] if inside in slices else None
