"""The passes over a block, in the order in which they run, each with its reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from chainrule.program.compiler.instructions import Block
from chainrule.program.compiler.passes.algebra import algebra
from chainrule.program.compiler.passes.canonical import canonical
from chainrule.program.compiler.passes.common_subexpressions import common_subexpressions
from chainrule.program.compiler.passes.contractions import contractions
from chainrule.program.compiler.passes.dead_code import dead_code
from chainrule.program.compiler.passes.fold_constants import fold_constants
from chainrule.program.compiler.passes.full_windows import full_windows
from chainrule.program.compiler.passes.import_graph import import_graph
from chainrule.program.compiler.passes.joining import joining
from chainrule.program.compiler.passes.lookups import lookups
from chainrule.program.compiler.passes.loop_merging import loop_merging
from chainrule.program.compiler.passes.loop_products import loop_products
from chainrule.program.compiler.passes.loops import loops
from chainrule.program.compiler.passes.narrowing import narrowing
from chainrule.program.compiler.passes.one_hot import one_hot
from chainrule.program.compiler.passes.verifier import verify as verify_block

__all__ = ["MAX_ROUNDS", "PASSES", "Pass", "import_graph", "run_passes", "verify_block"]


class Pass(NamedTuple):
    """One pass.

    Args:
        name: What it is called in listings and errors.
        reason: Why it is there, in a sentence.
        run: Changes a block in place; returns whether it changed anything.
    """

    name: str
    reason: str
    run: Callable[[Block], bool]


PASSES: list[Pass] = [
    Pass("canonical", "one way to say each thing", canonical),
    Pass("fold_constants", "what depends on constants alone is computed now", fold_constants),
    Pass("common_subexpressions", "equal instructions are computed once", common_subexpressions),
    Pass("loop_merging", "scans that compute the same are one", loop_merging),
    Pass("loop_products", "products of all steps are one, outside of the loop", loop_products),
    Pass("lookups", "tables are multiplied, not the many rows looked up in them", lookups),
    Pass("one_hot", "one number a row is chosen by comparing, not scattered", one_hot),
    Pass("algebra", "elementwise work is done with less", algebra),
    Pass("narrowing", "work is done before copies and behind selection", narrowing),
    Pass("joining", "a sum of parts side by side is those parts, joined", joining),
    Pass("loops", "what does not change from step to step leaves the loop", loops),
    Pass("full_windows", "a convolution that slides nowhere is a matrix product", full_windows),
    Pass("contractions", "products read transposed and copied operands as they are", contractions),
    Pass("dead_code", "what no output depends on is not computed", dead_code),
]
MAX_ROUNDS = 16


def run_passes(
    block: Block,
    observer: Callable[[Pass, Block], None] | None = None,
    verify: bool = False,
) -> Block:
    """Run all passes in turn until none changes anything, each at most ``MAX_ROUNDS`` times.

    Args:
        block: What ``import_graph`` made; changed in place.
        observer: Called after every pass that changed something, to print or count.
        verify: Verify the block after every pass.

    Returns:
        The same block.

    Raises:
        CompilerError: The block does not verify.
    """
    if verify:
        verify_block(block)
    idle = 0  # passes in a row that found nothing to do
    for _ in range(MAX_ROUNDS):
        for each in PASSES:
            changed = each.run(block)
            idle = 0 if changed else idle + 1
            if idle == len(PASSES):
                return block
            if changed and verify:
                verify_block(block, each.name)
            if changed and observer is not None:
                observer(each, block)
    return block
