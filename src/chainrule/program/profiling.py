"""Where the time of training goes, kernel by kernel, and what memory it will need."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from chainrule.errors import NonFiniteError
from chainrule.ops.origin import here
from chainrule.program.engines import require_compiler
from chainrule.program.steps import prepare_steps

if TYPE_CHECKING:
    from chainrule.program.compiler.profile import Memory, Profile


def profile_steps(
    step: Callable[..., Any],
    state: Sequence[Any],
    data: Sequence[Any],
    order: Any,
    *,
    scalars: Mapping[int, Any] | None = None,
    seconds: float = 0.5,
) -> Profile:
    """Run steps as ``run_steps`` does, again and again, and say where the time goes.

    Nothing is written: every time begins at ``state`` as it is, which stays so.

    Args:
        step: As for ``run_steps``.
        state: As for ``run_steps``.
        data: As for ``run_steps``.
        order: As for ``run_steps``; some hundred steps make the figures steady.
        scalars: As for ``run_steps``.
        seconds: How long to measure; ``order`` is run once at least.

    Returns:
        A table of kernels to print; ``.rows`` as data, ``.memory`` for what they need.

    Raises:
        ArgumentError: The step runs on the interpreter, which has no kernels.
        NonFiniteError: A loss is not finite.

    Example:
        >>> import numpy as np
        >>> from chainrule.array import asarray
        >>> def step(state, x):
        ...     state["w"] = state["w"] + x.sum()
        ...     return state["w"]
        >>> x = np.arange(4.0, dtype="f")
        >>> profile = profile_steps(step, [{"w": asarray(0.0)}], [x], [[0, 1]], seconds=0.01)
        >>> profile.rows[0].title
        'sum add copy'
    """
    steps = prepare_steps(step, state, data, order, scalars)
    program = steps.program
    require_compiler("profiles", program.name, program.engine)
    from chainrule.program.compiler.native import NativeEpoch
    from chainrule.program.compiler.profile import memory_of, profile_code

    written = [write.slot for write in program.writes]
    roles = steps.batch_slots, sorted(steps.vectors), written
    epoch = NativeEpoch(program.graph, program.n_outputs, *roles, profiled=True)
    values = steps.call.values()

    def run() -> int:
        started = epoch.start(values, steps.arrays, steps.rows, steps.vectors)
        if not started.finish():
            raise NonFiniteError(
                f"the loss is not finite at step {started.done}: there is nothing to measure",
                fix="run_steps with the same arguments says where it began",
                where=str(here()),
            )
        return started.done

    memory = memory_of(program.name, epoch.code.machine, written, steps.batch_slots)
    return profile_code(program.name, epoch.code, memory, run, seconds)


def memory_of_steps(
    step: Callable[..., Any],
    state: Sequence[Any],
    data: Sequence[Any],
    order: Any,
    *,
    scalars: Mapping[int, Any] | None = None,
) -> Memory:
    """What ``run_steps`` with these arguments would need beside the data, without a step run.

    Args:
        step: As for ``run_steps``.
        state: As for ``run_steps``.
        data: As for ``run_steps``.
        order: As for ``run_steps``; one row is enough.
        scalars: As for ``run_steps``.

    Returns:
        A table to print, with the arena, the peak and what the values of each layer take.

    Raises:
        ArgumentError: The step runs on the interpreter, which plans no memory.

    Example:
        >>> import numpy as np
        >>> from chainrule.array import asarray
        >>> def step(state, x):
        ...     state["w"] = state["w"] + x.sum()
        ...     return state["w"]
        >>> x = np.arange(4.0, dtype="f")
        >>> memory_of_steps(step, [{"w": asarray(0.0)}], [x], [[0, 1]]).state
        4
    """
    steps = prepare_steps(step, state, data, order, scalars)
    program = steps.program
    require_compiler("plans of memory", program.name, program.engine)
    from chainrule.program.compiler.profile import memory_of

    written = [write.slot for write in program.writes]
    code = program.epoch(steps.batch_slots, sorted(steps.vectors)).code
    return memory_of(program.name, code.machine, written, steps.batch_slots)
