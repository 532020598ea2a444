"""Control flow: ``scan``, ``cond`` and ``while_loop``, whose bodies are closed graphs.

The functions that users call, with nested containers, are in ``chainrule.control``.

A body is derived as a whole, so the derivative rules of this family are told by ``wanted`` which
inputs lie on the way to what is differentiated; the other cotangents would be computed in vain.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from chainrule.errors import GradientError
from chainrule.ops import dtypes
from chainrule.ops.hooks import Subgraph, Value, hooks
from chainrule.ops.operands import as_value
from chainrule.ops.origin import here
from chainrule.ops.record import Op, Spec, bind, register
from chainrule.ops.unary import zeros_like

# --- scan -------------------------------------------------------------------------------------
# inputs: carries, then arrays with the time axis in front, then constants
# body: carries, slices, constants → new carries, one slice of each result


def _scan_infer(
    *inputs: Value, body: Subgraph, n_carry: int, n_xs: int, length: int, reverse: bool
) -> tuple[Spec, ...]:
    carries = [(x.shape, x.dtype) for x in body.outputs[:n_carry]]
    slices = [((length, *y.shape), y.dtype) for y in body.outputs[n_carry:]]
    return (*carries, *slices)


def _scan_evaluate(
    *inputs: np.ndarray, body: Subgraph, n_carry: int, n_xs: int, length: int, reverse: bool
) -> tuple[np.ndarray, ...]:
    carry = list(inputs[:n_carry])
    xs, constants = inputs[n_carry : n_carry + n_xs], inputs[n_carry + n_xs :]
    results = [np.empty((length, *y.shape), y.dtype) for y in body.outputs[n_carry:]]
    for step in reversed(range(length)) if reverse else range(length):
        outputs = body.evaluate([*carry, *(x[step] for x in xs), *constants])
        carry = outputs[:n_carry]
        for result, value in zip(results, outputs[n_carry:], strict=True):
            result[step] = value
    return (*carry, *results)


def _scan_vjp(
    g: tuple[Value, ...], y: tuple[Value, ...], *inputs: Value, wanted: Sequence[int],
    body: Subgraph, n_carry: int, n_xs: int, length: int, reverse: bool,
) -> tuple[Value | None, ...]:  # fmt: skip
    """Backward = the forward scan again, with residuals as results, and a reversed scan."""
    wrt = _active_inputs(body, wanted, n_carry)
    split = hooks.differentiate(body, wrt)
    stacked = _residual_scan(split, inputs, body, n_carry, n_xs, length, reverse)
    xs = inputs[n_carry : n_carry + n_xs]
    constants = inputs[n_carry + n_xs :]
    # where each residual comes from: a slice of xs, a constant, or the stack just made
    sources = [("stack", 0)] * len(split.residuals)
    position = 0
    for i, place in enumerate(split.residual_inputs):
        if place is not None and place >= n_carry:
            kind = "xs" if place < n_carry + n_xs else "constant"
            sources[i] = (kind, place - n_carry - (n_xs if kind == "constant" else 0))
        else:
            sources[i] = ("stack", position)
            position += 1
    carry_wrt = [i for i in wrt if i < n_carry]
    xs_wrt = [i for i in wrt if n_carry <= i < n_carry + n_xs]
    constant_wrt = [i for i in wrt if i >= n_carry + n_xs]
    float_out = [i for i, out in enumerate(body.outputs) if dtypes.is_floating(out.dtype)]
    slice_out = [i for i in float_out if i >= n_carry]

    start = [g[i] for i in carry_wrt] + [zeros_like(inputs[i]) for i in constant_wrt]
    sequences = [g[i] for i in slice_out] + list(stacked) + list(xs)
    n_start, n_slices = len(start), len(slice_out)

    def backward(*values: Value) -> list[Value]:
        state, rest = values[:n_start], values[n_start:]
        cotangents = dict(zip(carry_wrt, state[: len(carry_wrt)], strict=True))
        cotangents |= dict(zip(slice_out, rest[:n_slices], strict=True))
        pool = {
            "stack": rest[n_slices : n_slices + len(stacked)],
            "xs": rest[n_slices + len(stacked) : n_slices + len(stacked) + n_xs],
            "constant": rest[n_slices + len(stacked) + n_xs :],
        }
        residuals = [pool[kind][i] for kind, i in sources]
        filled = [
            cotangents[i] if i in cotangents else zeros_like(body.outputs[i]) for i in float_out
        ]
        gradients = dict(zip(wrt, split.backward.apply([*residuals, *filled]), strict=True))
        sums = [
            total + gradients[i]
            for total, i in zip(state[len(carry_wrt) :], constant_wrt, strict=True)
        ]
        return [*(gradients[i] for i in carry_wrt), *sums, *(gradients[i] for i in xs_wrt)]

    outputs = scan_graph(backward, start, sequences, constants, length, not reverse)
    found: dict[int, Value] = dict(zip([*carry_wrt, *constant_wrt, *xs_wrt], outputs, strict=True))
    return tuple(found.get(i) for i in range(len(inputs)))


def _active_inputs(body: Subgraph, wanted: Sequence[int], n_carry: int) -> list[int]:
    """The wanted inputs, and the carries that come to depend on them in some step."""
    floating = [i for i in range(n_carry) if dtypes.is_floating(body.outputs[i].dtype)]
    needs = {i: hooks.needed_inputs([body.outputs[i]], body.inputs) for i in floating}
    active = set(wanted)
    while True:
        grown = {i for i in floating if needs[i] & active} - active
        if not grown:
            return sorted(active)
        active |= grown


def _residual_scan(
    split: Any, inputs: Sequence[Value], body: Subgraph, n_carry: int, n_xs: int, length: int,
    reverse: bool,
) -> list[Value]:  # fmt: skip
    """Stack the residuals of every step; only the carries that they need are carried along."""
    wanted = [
        i for i, place in enumerate(split.residual_inputs) if place is None or place < n_carry
    ]
    if not wanted:
        return []
    needed = hooks.needed_inputs([split.residuals[i] for i in wanted], body.inputs)
    carried: set[int] = set()
    while True:
        grown = {i for i in needed if i < n_carry} | carried
        if grown == carried:
            break
        carried = grown
        needed = needed | hooks.needed_inputs([body.outputs[i] for i in carried], body.inputs)
    kept = sorted(carried)
    xs, constants = inputs[n_carry : n_carry + n_xs], inputs[n_carry + n_xs :]

    def forward(*values: Value) -> list[Value]:
        full = [zeros_like(x) for x in body.inputs[:n_carry]]
        for place, value in zip(kept, values, strict=False):
            full[place] = value
        arguments = [*full, *values[len(kept) :]]
        results: list[Value] = hooks.graph(
            body.inputs, [*(body.outputs[i] for i in kept), *(split.residuals[i] for i in wanted)]
        ).apply(arguments)
        return results

    outputs = scan_graph(forward, [inputs[i] for i in kept], xs, constants, length, reverse)
    return list(outputs[len(kept) :])


def scan_graph(
    function: Any, carry: Sequence[Value], xs: Sequence[Value], constants: Sequence[Value],
    length: int, reverse: bool,
) -> list[Value]:  # fmt: skip
    """Trace ``function(*carries, *slices, *constants)`` and bind its scan; unused xs drop out."""
    slices = [(x.shape[1:], x.dtype) for x in xs]
    body = hooks.trace(function, [*carry, *slices, *constants])
    n_carry = len(carry)
    caught = list(getattr(body, "captured", ()))
    used = hooks.needed_inputs(body.outputs, body.inputs)
    kept_xs = [i for i in range(len(xs)) if n_carry + i in used]
    first = n_carry + len(xs)
    extra = [*constants, *caught]
    kept_constants = [i for i in range(len(extra)) if first + i in used]
    places = [
        *range(n_carry),
        *(n_carry + i for i in kept_xs),
        *(first + i for i in kept_constants),
    ]
    slim = hooks.graph([body.inputs[i] for i in places], body.outputs)
    outputs = bind(
        "scan", *carry, *(xs[i] for i in kept_xs), *(extra[i] for i in kept_constants),
        body=slim, n_carry=n_carry, n_xs=len(kept_xs), length=length, reverse=reverse,
    )  # fmt: skip
    return list(outputs)


def _scan_batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, body: Subgraph,
    n_carry: int, n_xs: int, length: int, reverse: bool,
) -> tuple[Value, ...]:  # fmt: skip
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    arguments = []
    flags = []
    for i, (x, flag) in enumerate(zip(inputs, batched, strict=True)):
        if i < n_carry and not flag:  # a carry may become batched in the first step
            x, flag = bind("broadcast_to", x, shape=(size, *x.shape)), True
        elif n_carry <= i < n_carry + n_xs and flag:  # time in front of the batch
            x = bind("transpose", x, axes=(1, 0, *range(2, len(x.shape))))
        arguments.append(x)
        flags.append(flag)
    batched_body = hooks.batch(body, flags, size)
    outputs = bind(
        "scan", *arguments, body=batched_body, n_carry=n_carry, n_xs=n_xs, length=length,
        reverse=reverse,
    )  # fmt: skip
    return tuple(
        y if i < n_carry else bind("transpose", y, axes=(1, 0, *range(2, len(y.shape))))
        for i, y in enumerate(outputs)
    )


SCAN = register(
    Op(
        name="scan",
        family="control",
        arity=None,
        multiple=True,
        infer=_scan_infer,
        evaluate=_scan_evaluate,
        vjp=_scan_vjp,
        batch=_scan_batch,
        formula="scan over {length} steps",
        derivative=("the reversed scan",),
    )
)


# --- cond -------------------------------------------------------------------------------------
# inputs: a bool scalar, then the operands of both branches


def _cond_evaluate(
    chosen: np.ndarray, *operands: np.ndarray, on_true: Subgraph, on_false: Subgraph
) -> tuple[np.ndarray, ...]:
    return tuple((on_true if chosen else on_false).evaluate(operands))


def _cond_vjp(
    g: tuple[Value, ...], y: tuple[Value, ...], chosen: Value, *operands: Value,
    wanted: Sequence[int], on_true: Subgraph, on_false: Subgraph,
) -> tuple[Value | None, ...]:  # fmt: skip
    wrt = [i - 1 for i in wanted]
    floats = [i for i, out in enumerate(y) if dtypes.is_floating(out.dtype)]
    arguments = [*operands, *(g[i] for i in floats)]
    branches = [hooks.pullback(branch, wrt) for branch in (on_true, on_false)]
    used = set().union(*(hooks.needed_inputs(b.outputs, b.inputs) for b in branches))
    kept = sorted(used)
    slim = [hooks.graph([b.inputs[i] for i in kept], b.outputs) for b in branches]
    outputs = bind("cond", chosen, *(arguments[i] for i in kept), on_true=slim[0], on_false=slim[1])
    found = dict(zip(wrt, outputs, strict=True))
    return (None, *(found.get(i) for i in range(len(operands))))


def _cond_batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, on_true: Subgraph, on_false: Subgraph
) -> tuple[Value, ...]:
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    chosen, *operands = inputs
    branches = [hooks.batch(branch, list(batched[1:]), size) for branch in (on_true, on_false)]
    if not batched[0]:
        return tuple(bind("cond", *inputs, on_true=branches[0], on_false=branches[1]))
    # different members choose differently: run both and select
    results = []
    for a, b in zip(*(branch.apply(operands) for branch in branches), strict=True):
        shaped = bind("reshape", chosen, shape=(size,) + (1,) * (len(a.shape) - 1))
        results.append(bind("where", bind("broadcast_to", shaped, shape=a.shape), a, b))
    return tuple(results)


COND = register(
    Op(
        name="cond",
        family="control",
        arity=None,
        multiple=True,
        infer=lambda chosen, *operands, on_true, on_false: tuple(
            (y.shape, y.dtype) for y in on_true.outputs
        ),
        evaluate=_cond_evaluate,
        vjp=_cond_vjp,
        batch=_cond_batch,
        formula="one of two branches by {x}",
        derivative=("that of the branch taken",),
    )
)


# --- while_loop -------------------------------------------------------------------------------
# inputs: the state, then constants of the test, then constants of the body


def _while_evaluate(
    *inputs: np.ndarray, test: Subgraph, body: Subgraph, n_state: int, n_test: int
) -> tuple[np.ndarray, ...]:
    state = list(inputs[:n_state])
    for_test, for_body = inputs[n_state : n_state + n_test], inputs[n_state + n_test :]
    while test.evaluate([*state, *for_test])[0]:
        state = body.evaluate([*state, *for_body])
    return tuple(state)


def _while_vjp(
    g: Any, y: Any, *inputs: Value, wanted: Sequence[int], **attributes: Any
) -> tuple[Value | None, ...]:
    raise GradientError(
        "while_loop has no derivative: how often it runs is known only when it has run",
        expected="a loop whose number of steps is known",
        fix="use cr.scan with a fixed length, and cr.where to keep the state once it is done",
        where=str(here()),
    )


def _while_batch(
    inputs: Sequence[Value], batched: Sequence[bool], *, test: Subgraph, body: Subgraph,
    n_state: int, n_test: int,
) -> tuple[Value, ...]:  # fmt: skip
    """Run while any member's test holds; members that are done keep their state."""
    size = next(x.shape[0] for x, flag in zip(inputs, batched, strict=True) if flag)
    state = [
        x if flag else bind("broadcast_to", x, shape=(size, *x.shape))
        for x, flag in zip(inputs[:n_state], batched[:n_state], strict=True)
    ]
    constants = inputs[n_state:]
    flags = batched[n_state:]
    all_test = hooks.batch(test, [True] * n_state + list(flags[:n_test]), size)
    all_body = hooks.batch(body, [True] * n_state + list(flags[n_test:]), size)

    def any_going(*values: Value) -> list[Value]:
        going = all_test.apply(values[: n_state + n_test])[0]
        count = bind("sum", bind("cast", going, dtype=dtypes.int64), axes=(0,))
        return [count > as_value(0, dtypes.int64)]

    def advance(*values: Value) -> list[Value]:
        old = values[:n_state]
        going = all_test.apply(values[: n_state + n_test])[0]
        new = all_body.apply([*old, *values[n_state + n_test :]])
        kept = []
        for a, b in zip(new, old, strict=True):
            mask = bind("reshape", going, shape=(size,) + (1,) * (len(a.shape) - 1))
            kept.append(bind("where", bind("broadcast_to", mask, shape=a.shape), a, b))
        return kept

    going, body = (hooks.trace(f, [*state, *constants]) for f in (any_going, advance))
    # what batching computed beforehand, such as broadcast constants, was caught from outside
    for_test = [*constants, *getattr(going, "captured", ())]
    for_body = [*constants, *getattr(body, "captured", ())]
    return tuple(
        bind(
            "while_loop", *state, *for_test, *for_body,
            test=going, body=body, n_state=n_state, n_test=len(for_test),
        )
    )  # fmt: skip


WHILE_LOOP = register(
    Op(
        name="while_loop",
        family="control",
        arity=None,
        multiple=True,
        infer=lambda *inputs, test, body, n_state, n_test: tuple(
            (x.shape, x.dtype) for x in inputs[:n_state]
        ),
        evaluate=_while_evaluate,
        vjp=_while_vjp,
        batch=_while_batch,
        formula="repeat while a test holds",
    )
)
