"""The verifier: what must hold of a block after every pass.

Reason: a pass that breaks a block is found at once and by name, not by a wrong number at the end.
"""

from __future__ import annotations

from collections.abc import Sequence

from chainrule.errors import ChainruleError, CompilerError
from chainrule.program.compiler.instructions import Block, Instruction, Tensor


def verify(block: Block, after: str = "import_graph") -> None:
    """Check a block and the blocks inside it.

    Shapes and types follow from the op's own rule; operands are inputs, constants or made before;
    results belong to the instruction that makes them; bodies are closed and fit their op.

    Args:
        block: What to check.
        after: Name of the pass that ran last, for the message.

    Raises:
        CompilerError: Something does not hold; the message names the pass and the instruction.
    """
    pending = [block]
    while pending:
        current = pending.pop()
        _verify_one(current, after)
        for instruction in current.instructions:
            _verify_bodies(instruction, after)
            pending.extend(instruction.bodies.values())


def _fail(after: str, message: str, instruction: Instruction | None = None) -> None:
    place = "" if instruction is None else f" in {instruction!r}"
    raise CompilerError(
        f"after the pass {after}: {message}{place}",
        where="" if instruction is None else str(instruction.origin),
    )


def _verify_one(block: Block, after: str) -> None:
    defined: set[Tensor] = set()
    for x in block.inputs:
        if x.producer is not None or x.constant is not None:
            _fail(after, f"the input {x!r} is a constant or has a producer")
        if x in defined:
            _fail(after, f"the input {x!r} is listed twice")
        defined.add(x)
    for instruction in block.instructions:
        for x in instruction.operands:
            if x not in defined:
                _require_constant(x, after, instruction)
        _verify_specs(instruction, after)
        for x in instruction.results:
            if x.producer is not instruction or x.constant is not None:
                _fail(after, f"the result {x!r} belongs to another instruction", instruction)
            if x in defined:
                _fail(after, f"{x!r} is made twice", instruction)
            defined.add(x)
    for x in block.outputs:
        if x not in defined:
            _require_constant(x, after, None)


def _require_constant(x: Tensor, after: str, instruction: Instruction | None) -> None:
    if x.constant is None:
        _fail(after, f"{x!r} is read before it is made, or in another block", instruction)
    elif x.producer is not None:
        _fail(after, f"the constant {x!r} has a producer", instruction)
    elif (x.constant.shape, x.constant.dtype) != (x.shape, x.dtype):
        _fail(after, f"the constant {x!r} is {_spec(x.constant)}", instruction)


def _verify_specs(instruction: Instruction, after: str) -> None:
    """Ask the op what its results are, as recording does."""
    op = instruction.op
    if op.family == "composite" or op.name in ("checkpoint", "custom_vjp"):
        _fail(after, f"{op.name} should have been inlined", instruction)
    if op.arity is not None and op.arity != len(instruction.operands):
        _fail(after, f"{op.name} takes {op.arity} operands", instruction)
    try:
        inferred = op.infer(*instruction.operands, **instruction.attributes, **instruction.bodies)
    except (ChainruleError, IndexError, TypeError, ValueError) as error:
        raise CompilerError(
            f"after the pass {after}: {op.name} refuses its operands in {instruction!r}: {error}",
            where=str(instruction.origin),
        ) from error
    expected = list(inferred) if op.multiple else [inferred]
    found = [(x.shape, x.dtype) for x in instruction.results]
    if [(tuple(shape), dtype) for shape, dtype in expected] != found:
        _fail(after, f"the results should be {expected}", instruction)


def _verify_bodies(instruction: Instruction, after: str) -> None:
    """The blocks of a control op take what it passes and give what it expects."""
    name, attributes, bodies = instruction.op.name, instruction.attributes, instruction.bodies
    operands = instruction.operands
    if name == "scan":
        body, n, n_xs = bodies["body"], attributes["n_carry"], attributes["n_xs"]
        slices = [_Spec(x.shape[1:], x) for x in operands[n : n + n_xs]]
        if any(x.shape[0] != attributes["length"] for x in operands[n : n + n_xs]):
            _fail(after, "a sequence has another length", instruction)
        _match([*operands[:n], *slices, *operands[n + n_xs :]], body.inputs, after, instruction)
        _match(operands[:n], body.outputs[:n], after, instruction)
    elif name == "cond":
        if operands[0].shape != () or operands[0].dtype != bool:
            _fail(after, "the condition is no bool scalar", instruction)
        for branch in bodies.values():
            _match(operands[1:], branch.inputs, after, instruction)
            _match(instruction.results, branch.outputs, after, instruction)
    elif name == "while_loop":
        n, n_test = attributes["n_state"], attributes["n_test"]
        state, rest = operands[:n], operands[n:]
        _match([*state, *rest[:n_test]], bodies["test"].inputs, after, instruction)
        _match([*state, *rest[n_test:]], bodies["body"].inputs, after, instruction)
        _match(state, bodies["body"].outputs, after, instruction)
        if [(x.shape, str(x.dtype)) for x in bodies["test"].outputs] != [((), "bool")]:
            _fail(after, "the test gives no bool scalar", instruction)
    elif bodies:
        _fail(after, f"{name} has no bodies", instruction)


class _Spec:
    """A shape and a type, where there is no tensor that has them."""

    def __init__(self, shape: tuple[int, ...], like: Tensor) -> None:
        self.shape = shape
        self.dtype = like.dtype


def _match(
    given: Sequence[Tensor | _Spec],
    taken: Sequence[Tensor],
    after: str,
    instruction: Instruction,
) -> None:
    left = [_spec(x) for x in given]
    right = [_spec(x) for x in taken]
    if left != right:
        _fail(after, f"a body does not fit: {left} against {right}", instruction)


def _spec(x: object) -> str:
    return f"{x.dtype}{list(x.shape)}"  # type: ignore[attr-defined]
