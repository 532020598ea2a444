"""Every primitive, found by the registry: values, types, shapes, derivatives, batches."""

import itertools

import numpy as np
import pytest
from op_oracles import ORACLES
from op_samples import (
    CASES,
    DIFFERENTIABLE,
    apply,
    assert_close,
    case_id,
    check_derivative,
    gradient_function,
    is_float,
    main_dtype,
    outputs_of,
    sample,
    tolerance,
)

from chainrule import ops
from chainrule.array import Array, asarray, trace
from chainrule.autodiff import jvp, vmap
from chainrule.autodiff.reverse import pull_back
from chainrule.autodiff.transforms import push_forward
from chainrule.ops import dtypes
from chainrule.ops.record import REGISTRY, bind

# these take graphs: their cases are made by hand in test_control_flow.py and beside their files
WITH_SUBGRAPHS = {"scan", "cond", "while_loop", "custom_vjp", "checkpoint"}
ELEMENTWISE = [(op, case) for op, case in CASES if op.family == "elementwise"]
SHAPES = [(), (0,), (1,), (7,), (33, 5)]
PAIRS = [((), (3,)), ((3, 1), (1, 4)), ((4,), (2, 3, 4)), ((2, 1, 3), (5, 1)), ((0, 1), (1, 3))]
FUNCTION_OF = {
    "left_shift": ops.bitwise_left_shift,
    "right_shift": ops.bitwise_right_shift,
    "power": ops.pow,
}


def by_case(cases):
    return pytest.mark.parametrize(("op", "case"), cases, ids=case_id)


# --- completeness -----------------------------------------------------------------------------


@pytest.mark.parametrize("op", REGISTRY, ids=str)
def test_every_op_has_an_oracle_and_cases(op):
    if op.family != "control":
        assert op.name in ORACLES, f"{op}: add a NumPy oracle to op_oracles.py"
        assert op.cases, f"{op}: add cases to its record"
    else:
        assert op.name in WITH_SUBGRAPHS, f"{op}: make its cases by hand"


def test_no_oracle_is_left_over():
    assert set(ORACLES) <= {op.name for op in REGISTRY}


@pytest.mark.parametrize("op", REGISTRY, ids=str)
def test_every_op_says_what_it_is(op):
    assert op.formula
    assert (op.vjp is None) == op.nondifferentiable
    if op.kinks and not op.nondifferentiable:
        assert op.at_kink
    if op.nondifferentiable or op.name == "while_loop":
        return
    assert op.derivative
    if op.arity is not None:
        assert len(op.derivative) == op.arity, f"{op}: a local derivative for each input"


@pytest.mark.parametrize("op", REGISTRY, ids=str)
def test_formulas_name_only_inputs_and_attributes(op):
    attributes = {name for case in op.cases for name in case.attributes} | {"length"}
    known = dict.fromkeys({"x", "y", "z", "out"} | attributes, "a")
    for text in (op.formula, *op.derivative):
        text.format(**known)


def test_a_second_op_of_one_name_is_refused():
    with pytest.raises(ValueError, match="registered already"):
        REGISTRY.register(REGISTRY["add"])


def test_batching_by_scan_is_used_by_no_op():
    """A rule that falls back to ``scan`` runs one example at a time: list here who does."""
    falls_back = set()
    for op, case in CASES:
        arrays = sample(op, case, main_dtype(op))
        if not arrays:
            continue
        graph = trace(vmap(apply(op, case)), [asarray(np.stack([a, a])) for a in arrays])
        if any(node.op is not None and node.op.name == "scan" for node in graph.nodes):
            falls_back.add(op.name)
    assert falls_back == set()


# --- values -----------------------------------------------------------------------------------


@by_case(CASES)
def test_values_in_float64_equal_the_oracle(op, case):
    dtype = main_dtype(op)
    arrays = sample(op, case, dtype)
    result = apply(op, case)(*map(asarray, arrays))
    assert_close(result.numpy(), ORACLES[op.name](*arrays, **case.attributes), 1e-12)


@by_case(CASES)
def test_inferred_shape_and_type_are_those_of_the_value(op, case):
    for dtype in op.dtypes:
        arrays = sample(op, case, dtype)
        result = apply(op, case)(*map(asarray, arrays))
        value = op.evaluate(*arrays, **case.attributes)
        assert (result.shape, result.dtype) == (value.shape, value.dtype), dtype


@by_case(CASES)
def test_each_type_is_as_exact_as_it_can_be(op, case):
    for dtype in op.dtypes:
        arrays = sample(op, case, dtype)
        wide = [a.astype(np.float64) if is_float(a) else a for a in arrays]
        result = apply(op, case)(*map(asarray, arrays)).numpy()
        expected = ORACLES[op.name](*wide, **case.attributes)
        assert_close(result, np.asarray(expected).astype(result.dtype), tolerance(op, dtype), dtype)


@by_case(ELEMENTWISE)
def test_types_outside_the_record_are_refused(op, case):
    for dtype in set(dtypes.ALL) - set(op.dtypes):
        arrays = [a.astype(dtype) for a in sample(op, case)]
        with pytest.raises(TypeError, match=op.name):
            bind(op, *map(asarray, arrays), **case.attributes)


@by_case(ELEMENTWISE)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_elementwise_ops_take_every_shape(op, case, shape):
    dtype = main_dtype(op)
    arrays = sample(op, case, dtype, shapes=[shape] * len(case.shapes))
    result = apply(op, case)(*map(asarray, arrays))
    assert result.shape == shape
    assert_close(result.numpy(), ORACLES[op.name](*arrays, **case.attributes), 1e-12)


@by_case([(op, case) for op, case in ELEMENTWISE if op.arity == 2])
@pytest.mark.parametrize("shapes", PAIRS, ids=str)
def test_functions_of_two_arrays_broadcast(op, case, shapes):
    dtype = main_dtype(op)
    arrays = sample(op, case, dtype, shapes=shapes)
    function = FUNCTION_OF.get(op.name) or getattr(ops, op.name)
    expected = ORACLES[op.name](*np.broadcast_arrays(*arrays))
    assert_close(function(*map(asarray, arrays)).numpy(), expected, 1e-12)


@by_case(CASES)
def test_strided_inputs_give_the_same(op, case):
    dtype = main_dtype(op)
    arrays = sample(op, case, dtype)
    strided = [np.repeat(a[..., None], 3, axis=-1)[..., 1] for a in arrays]
    plain = op.evaluate(*arrays, **case.attributes)
    assert_close(op.evaluate(*strided, **case.attributes), plain, 1e-13)


# --- derivatives ------------------------------------------------------------------------------


@by_case(DIFFERENTIABLE)
def test_first_derivative_agrees_with_differences(op, case):
    check_derivative(apply(op, case), sample(op, case))


@by_case(DIFFERENTIABLE)
def test_second_derivative_agrees_with_differences(op, case):
    check_derivative(
        gradient_function(apply(op, case), seed=5), sample(op, case, seed=1), rtol=5e-7
    )


@by_case(DIFFERENTIABLE)
def test_forward_mode_is_the_transpose_of_reverse_mode(op, case):
    arrays = sample(op, case, seed=2)
    rng = np.random.default_rng(9)
    inputs = [asarray(a) for a in arrays]
    variables = [ops.identity(x) for x in inputs]
    y = apply(op, case)(*variables)
    floating = [x for x in variables if is_float(x)]
    if not is_float(y) or not floating:
        pytest.skip("no floating result")
    tangents = [asarray(rng.normal(size=x.shape)) for x in floating]
    cotangent = asarray(rng.normal(size=y.shape))
    moved = push_forward([y], floating, tangents)[0]
    pulled = pull_back([y], [cotangent], floating)
    left = float((cotangent.numpy() * moved.numpy()).sum())
    right = sum(
        float((t.numpy() * g.numpy()).sum())
        for t, g in zip(tangents, pulled, strict=True)
        if g is not None
    )
    assert left == pytest.approx(right, rel=1e-9, abs=1e-9)


@by_case(DIFFERENTIABLE)
def test_forward_mode_agrees_with_differences(op, case):
    arrays = sample(op, case, seed=3)
    rng = np.random.default_rng(4)
    places = [i for i, a in enumerate(arrays) if a.dtype == np.float64]
    directions = [rng.normal(size=arrays[i].shape) for i in places]

    def on_floats(*floats):
        every = dict(zip(places, floats, strict=True))
        return apply(op, case)(*(every.get(i, asarray(a)) for i, a in enumerate(arrays)))

    def moved_by(step):
        return on_floats(
            *(asarray(arrays[i] + step * d) for i, d in zip(places, directions, strict=True))
        ).numpy()

    primals = [asarray(arrays[i]) for i in places]
    _, tangent = jvp(on_floats, primals, [asarray(d) for d in directions])
    if not is_float(tangent):
        assert not tangent.numpy().any()
        return
    numeric = (moved_by(1e-6).astype(float) - moved_by(-1e-6).astype(float)) / 2e-6
    if tangent.dtype == np.float64:
        assert_close(tangent.numpy(), numeric, 5e-7)


@by_case([(op, case) for op, case in CASES if op.nondifferentiable and case.shapes])
def test_ops_without_derivative_send_nothing_back(op, case):
    arrays = sample(op, case, main_dtype(op))
    inputs = [ops.identity(asarray(a)) for a in arrays]
    y = apply(op, case)(*inputs)
    floating = [x for x in inputs if is_float(x)]
    if is_float(y):
        assert pull_back([y], [ops.ones_like(y) * 3], floating) == [None] * len(floating)
    else:
        assert not is_float(y)


# --- batches ----------------------------------------------------------------------------------


@by_case([(op, case) for op, case in CASES if case.shapes])
def test_vmap_equals_a_loop(op, case):
    dtype = main_dtype(op)
    n_inputs, size = len(case.shapes), 3
    members = [sample(op, case, dtype, seed=10 + i) for i in range(size)]
    for batched in itertools.product([True, False], repeat=n_inputs):
        if not any(batched):
            continue
        arrays = [
            np.stack([m[i] for m in members]) if flag else members[0][i]
            for i, flag in enumerate(batched)
        ]
        axes = [0 if flag else None for flag in batched]
        together = vmap(apply(op, case), in_axes=axes)(*map(asarray, arrays))
        for number in range(size):
            one = [a[number] if flag else a for a, flag in zip(arrays, batched, strict=True)]
            alone = apply(op, case)(*map(asarray, one))
            assert alone.dtype == together.dtype
            assert_close(together.numpy()[number], alone.numpy(), 1e-13, f"batched {batched}")


@by_case([(op, case) for op, case in DIFFERENTIABLE if len(case.shapes) <= 2])
def test_vmap_of_the_gradient_equals_a_loop(op, case):
    members = [sample(op, case, seed=20 + i) for i in range(2)]
    stacked = [asarray(np.stack(parts)) for parts in zip(*members, strict=True)]
    together = outputs_of(vmap(gradient_function(apply(op, case)))(*stacked))
    for number, one in enumerate(members):
        alone = outputs_of(gradient_function(apply(op, case))(*map(asarray, one)))
        for x, y in zip(together, alone, strict=True):
            assert isinstance(x, Array)
            assert_close(x.numpy()[number], y.numpy(), 1e-12)
