"""Code for processors that are not at hand: every op is emitted, and calls no library."""

import re
import sys
from pathlib import Path

import pytest

from chainrule.program.compiler.compiling import plan
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.native import assemble_program
from chainrule.program.compiler.target import TARGETS

sys.path.insert(0, str(Path(__file__).parent))
from test_engines_agree_on_ops import OPS, apply, program_of, sample, types_of

LABEL = re.compile(r"([A-Za-z_][\w.$]*):")
CALL = re.compile(r"\s+(?:callq?|jmpq?|bl|b)\s+\*?([A-Za-z_][\w.$]*)")


def called(assembly):
    """Functions that assembly jumps to and does not hold."""
    lines = assembly.splitlines()
    held = {found[1] for line in lines if (found := LABEL.match(line))}
    return {found[1] for line in lines if (found := CALL.match(line))} - held


def test_calls_are_seen():
    text = "declare double @sin(double)\ndefine double @f(double %x) {\n"
    text += "  %y = call double @sin(double %x)\n  %z = fadd double %y, %x\n  ret double %z\n}\n"
    for name in ("avx2", "neon"):
        assert called(jit.emit_assembly(text, TARGETS[name])) == {"sin"}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(TARGETS))
def test_no_op_calls_a_library(name):
    for op in OPS:
        parts = [
            (apply(op, case), sample(op, case, dtype))
            for case in op.cases
            for dtype in types_of(op, case)
        ]
        module = plan(assemble_program(program_of(parts)[0]), TARGETS[name]).module
        assert called(jit.emit_assembly(str(module), TARGETS[name])) == set(), op.name
