"""``run_steps``: many training steps in one call, on mini-batches gathered from resident data."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from chainrule.errors import ArgumentError, DataError, IndexRangeError, NonFiniteError
from chainrule.graph import Buffer
from chainrule.ops.origin import here
from chainrule.program.compilation import CompiledFunction, compile, step_scalars
from chainrule.program.exclusive import one_thread
from chainrule.program.program import Program
from chainrule.program.repetition import Found
from chainrule.program.signature import Call, leaf_buffer
from chainrule.tree import unflatten

_compiled: weakref.WeakKeyDictionary[Any, dict[str | None, CompiledFunction]] = (
    weakref.WeakKeyDictionary()
)


def run_steps(
    step: Callable[..., Any],
    state: Sequence[Any],
    data: Sequence[Any],
    order: Any,
    *,
    scalars: Mapping[int, Any] | None = None,
    engine: str | None = None,
) -> Any:
    """Run ``step(*state, *batch)`` for each row of ``order``, as one native stretch.

    The loss is tested before a step's state is written: a step whose loss is NaN or infinite
    changes nothing, and the steps before it stay done.

    Args:
        step: Returns a scalar loss, or a tuple, list or dict whose first entry is one.
        state: Modules, optimizers and other containers that the step reads and writes.
        data: Arrays with the samples in front, all of one length; a batch is the rows of each.
        order: Sample numbers, (n_steps, batch_size).
        scalars: Position of a float in ``state`` → its value at every step.
        engine: As for ``compile``.

    Returns:
        What ``step`` returns, stacked over the steps, as NumPy arrays.

    Raises:
        NonFiniteError: A loss is not finite; ``.step`` says at which row, the message at which op,
            layer and element it began; ``.outputs`` is what the steps before returned (or None).
        IndexRangeError: ``order`` names a sample that does not exist.

    Example:
        >>> import numpy as np
        >>> from chainrule.array import asarray
        >>> state = {"w": asarray(0.0)}
        >>> def step(state, x):
        ...     state["w"] = state["w"] + x.sum()
        ...     return state["w"]
        >>> run_steps(step, [state], [np.arange(4.0, dtype="f")], [[0, 1], [2, 3]])
        array([1., 6.], dtype=float32)
    """
    compiled = _as_compiled(step, engine)
    if compiled.engine != "compiler":
        return _loop(*prepare_steps(compiled, state, data, order, scalars))
    found = None
    if not scalars:
        arrays, rows = _check_samples(data, order)
        found = compiled.repetitions.find(state, [x[rows[0]] for x in arrays], len(rows))
    if found is not None:
        known = found.known
        steps = Steps(known.program, found.call, arrays, rows, known.batch_slots, found.vectors)
    else:
        steps = prepare_steps(compiled, state, data, order, scalars)
        if not scalars:
            found = compiled.repetitions.add(state, steps.call, steps.program, steps.batch_slots)
    return _run_native(steps, found)


class Steps(NamedTuple):
    """Steps that are ready to run.

    Args:
        program: One of them.
        call: The arguments of the first, taken apart.
        arrays: The data, samples in front.
        rows: Sample numbers, (n_steps, batch_size), checked.
        batch_slots: Slots that are gathered from ``arrays``.
        vectors: Slot → its value at every step.
    """

    program: Program
    call: Call
    arrays: list[np.ndarray]
    rows: np.ndarray
    batch_slots: list[int]
    vectors: dict[int, np.ndarray]


def prepare_steps(
    step: Callable[..., Any],
    state: Sequence[Any],
    data: Sequence[Any],
    order: Any,
    scalars: Mapping[int, Any] | None = None,
    engine: str | None = None,
) -> Steps:
    """Check the arguments of ``run_steps`` and find, or trace, the Program."""
    arrays, rows = _check_samples(data, order)
    compiled = _as_compiled(step, engine)
    first = [x[rows[0]] for x in arrays]
    arguments = [*state, *first]
    call, program = compiled.prepare(arguments)
    vectors = step_scalars(state, call, len(rows))
    for position, vector in (scalars or {}).items():
        vectors[_slot_of_argument(call, position)] = np.asarray(vector, dtype=np.float64)
    batch_slots = [_slot_of_argument(call, len(state) + i) for i in range(len(arrays))]
    return Steps(program, call, arrays, rows, batch_slots, vectors)


def _loop(
    program: Program,
    call: Call,
    arrays: Sequence[np.ndarray],
    rows: np.ndarray,
    batch_slots: Sequence[int],
    vectors: Mapping[int, np.ndarray],
) -> Any:
    values = call.values()
    collected: list[list[np.ndarray]] = []
    state: list[np.ndarray] | None = None
    try:
        for number, batch in enumerate(rows):
            for slot, array in zip(batch_slots, arrays, strict=True):
                values[slot] = array[batch]
            for slot, vector in vectors.items():
                values[slot] = np.asarray(vector[number])
            results, fresh = program.run(values)
            if results and not np.isfinite(results[0]).all():
                error = explain_non_finite(program, values, number, results[0])
                error.outputs = _stacked(program, collected)  # type: ignore[attr-defined]
                raise error
            state = fresh
            for write, value in zip(program.writes, fresh, strict=True):
                values[write.slot] = value
            collected.append(results)
    finally:
        if state is not None:
            program.write_back(call, state)
    return _stacked(program, collected)


def _run_native(steps: Steps, found: Found | None) -> Any:
    """All steps in machine code, which gathers the batches itself.

    Args:
        steps: Ready to run.
        found: Who is to know that the state is written.
    """
    program, call, arrays, rows, batch_slots, vectors = steps
    epoch = program.epoch(batch_slots, sorted(vectors))
    run = epoch.start(call.buffers(), arrays, rows, vectors)
    try:
        finite = run.finish()
    finally:
        if run.done:
            with one_thread():
                fresh = program.write_back(call, run.state)
                if found is not None:
                    found.repetition.wrote(found.known, fresh)
    results = unflatten(program.structure, run.results) if run.done else None
    if finite:
        return results
    values = call.values()
    for slot, array in zip(batch_slots, arrays, strict=True):
        values[slot] = array[rows[run.done]]
    for slot, vector in vectors.items():
        values[slot] = np.asarray(vector[run.done])
    for write, value in zip(program.writes, run.state, strict=True):
        values[write.slot] = value.data if isinstance(value, Buffer) else value
    loss = run.outputs[0][run.done]
    error = explain_non_finite(program, values, run.done, loss)
    error.outputs = results  # type: ignore[attr-defined]
    raise error


def _stacked(program: Program, collected: Sequence[Sequence[np.ndarray]]) -> Any:
    """What the steps returned, put together step over step; None of no steps."""
    if not collected:
        return None
    return unflatten(
        program.structure, [np.stack(column) for column in zip(*collected, strict=True)]
    )


def explain_non_finite(
    program: Program, values: Sequence[np.ndarray], number: int, loss: np.ndarray
) -> NonFiniteError:
    """Replay the failing step and name the op, layer and element where it began."""
    bad_input = next(
        (
            (slot.path, value)
            for slot, value in zip(program.slots, values, strict=True)
            if value.dtype.kind in "fV" and not np.isfinite(value).all()
        ),
        None,
    )
    found = program.plan.first_non_finite(values)
    if bad_input is not None:
        began = f"input {bad_input[0]} holds {_first_bad(bad_input[1])}"
        where = ""
    elif found is not None:
        began = f"op {found[0].op} gave {_first_bad(found[1])}"
        where = str(found[0].origin)
    else:
        began, where = "", ""
    error = NonFiniteError(
        f"the loss is {np.asarray(loss).ravel()[0]} at step {number}",
        expected="a finite loss; nothing of this step was written",
        got=began,
        fix="lower the learning rate, scale the inputs, or clip gradients (max_norm=1.0)",
        where=where,
    )
    error.step = number  # type: ignore[attr-defined]
    return error


def _first_bad(value: np.ndarray) -> str:
    index = tuple(int(i) for i in np.argwhere(~np.isfinite(value))[0])
    return f"{value[index]} at {list(index)} of shape {value.shape}"


def _as_compiled(step: Callable[..., Any], engine: str | None) -> CompiledFunction:
    if isinstance(step, CompiledFunction):
        return step
    known = _compiled.setdefault(step, {})
    if engine not in known:
        # the cache must not keep the function alive through its own value
        reference = weakref.ref(step)
        known[engine] = compile(lambda *arguments: reference()(*arguments), engine=engine)  # type: ignore[misc]
        known[engine].__name__ = getattr(step, "__name__", "step")
    return known[engine]


def _check_samples(data: Sequence[Any], order: Any) -> tuple[list[np.ndarray], np.ndarray]:
    """The data and the sample numbers as arrays, checked."""
    rows = _check_order(order)
    buffers = [leaf_buffer(x) for x in data]
    arrays = [x.data if isinstance(x, Buffer) else x for x in buffers]
    _check_data(arrays, rows)
    if not len(rows):
        raise ArgumentError("order holds no steps", expected="(n_steps, batch_size)", got="0 steps")
    return arrays, rows


def _check_order(order: Any) -> np.ndarray:
    rows = np.asarray(order)
    if rows.ndim != 2 or rows.dtype.kind not in "iu":
        raise ArgumentError(
            "order must hold sample numbers, one row a step",
            expected="integers of shape (n_steps, batch_size)",
            got=f"{rows.dtype} of shape {rows.shape}",
            where=str(here()),
        )
    return rows


def _check_data(arrays: Sequence[np.ndarray], rows: np.ndarray) -> None:
    lengths = {len(x) for x in arrays if x.ndim}
    if len(lengths) != 1 or any(not x.ndim for x in arrays):
        raise DataError(
            "the data arrays differ in their number of samples",
            expected="one length for all",
            got=", ".join(str(x.shape) for x in arrays),
            where=str(here()),
        )
    length = lengths.pop()
    if rows.size and not (rows.min() >= 0 and rows.max() < length):
        raise IndexRangeError(
            "order names a sample that does not exist",
            expected=f"0 to {length - 1}",
            got=f"{rows.min()} to {rows.max()}",
            where=str(here()),
        )


def _slot_of_argument(call: Call, position: int) -> int:
    for leaf, number in zip(call.leaves, call.slot_of, strict=True):
        if leaf.path == str(position):
            return number
    raise ArgumentError(f"argument {position} is no Array, ndarray or float")
