"""Import of graphs, evaluation of blocks, and the verifier."""

import numpy as np
import pytest
from pass_programs import CASES, DIFFERENTIABLE, PROGRAMS, case_graph, gradient_graph, ops, traced

import chainrule as cr
from chainrule.array import asarray, placeholder
from chainrule.errors import CompilerError, IndexRangeError
from chainrule.graph import Graph
from chainrule.ops.composite import composite
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.passes import import_graph, verify_block
from chainrule.program.compiler.passes.evaluate import evaluate_block
from chainrule.program.compiler.passes.walking import every_block


def assert_same(graph, values):
    """The imported block verifies and gives the graph's values to the bit."""
    block = import_graph(graph)
    verify_block(block)
    for x, y in zip(graph.evaluate(values), evaluate_block(block, values), strict=True):
        assert (x.shape, x.dtype) == (y.shape, y.dtype)
        assert x.tobytes() == y.tobytes()
    return block


def test_every_op_and_its_gradient_imports():
    for op, case in CASES:
        for dtype in op.dtypes:
            assert_same(*case_graph(op, case, dtype))
    for op, case in DIFFERENTIABLE:
        assert_same(*gradient_graph(op, case))


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs_import(name):
    assert_same(*PROGRAMS[name]())


def test_the_listing_of_a_small_graph():
    graph, _ = traced(lambda x, w: cr.relu(x @ w) * 2.0, [np.ones((2, 3)), np.ones((3, 4))])
    assert str(import_graph(graph)).splitlines() == [
        "inputs %0: float64[2, 3], %1: float64[3, 4]",
        "%2 = dot_general(%0, %1, contract=((1,), (0,)), batch=((), ()))  float64[2, 4]",
        "%3 = relu(%2)  float64[2, 4]",
        "%4 = broadcast_to(2.0, shape=(2, 4))  float64[2, 4]",
        "%5 = multiply(%3, %4)  float64[2, 4]",
        "return %5",
    ]


def test_inputs_keep_their_order_and_names_even_if_unused():
    inputs = [placeholder((2,), ops.dtypes.float32, name) for name in ("a", "b", "c")]
    block = import_graph(Graph(inputs, [inputs[2], inputs[0], inputs[0]]))
    assert [x.name for x in block.inputs] == ["a", "b", "c"]
    assert block.outputs == [block.inputs[2], block.inputs[0], block.inputs[0]]


def test_composites_are_inlined_with_the_origin_of_their_use():
    @composite("twice_the_sine_for_import")
    def twice(x):
        return cr.sin(x) * 2

    graph, _ = traced(lambda x: twice(x), [np.ones(3)])
    first = graph.nodes[-1].origin
    again, _ = traced(lambda x: cr.exp(twice(x)), [np.ones(3)])  # the body is that of the first use
    block = import_graph(again)
    assert [i.op.name for i in block.instructions] == ["sin", "broadcast_to", "multiply", "exp"]
    lines = {i.origin.line for i in block.instructions}
    assert lines == {again.nodes[-1].origin.line} != {first.line}


def test_checkpoints_are_inlined_and_keep_their_barriers():
    block = import_graph(PROGRAMS["checkpoint"]()[0])
    names = [i.op.name for i in block.instructions]
    assert "checkpoint" not in names
    assert "barrier" in names


def test_one_constant_is_one_tensor_in_all_blocks():
    table = asarray(np.arange(6.0).reshape(2, 3))
    graph, _ = traced(lambda x: (x + 2.0) * 2.0 + cr.sum(table), [np.ones(3)])
    constants = list(import_graph(graph).constants())
    assert len({id(x.constant) for x in constants}) == len(constants)


def test_depth_costs_no_stack():
    def deep(x):
        for _ in range(5000):
            x = cr.sin(x)
        return x

    graph, values = traced(deep, [np.ones(2)])
    assert len(assert_same(graph, values).instructions) == 5000


def test_a_placeholder_that_is_no_input_is_named():
    x, y = (placeholder((2,), ops.dtypes.float32, name) for name in "xy")
    with pytest.raises(CompilerError, match="placeholder 'y'"):
        import_graph(Graph([x], [x + y]))


def test_evaluation_names_the_line_of_a_bad_index():
    graph, _ = traced(lambda x, i: x[i], [np.ones(3), np.array([0])])
    with pytest.raises(IndexRangeError, match=r"test_import_graph\.py"):
        evaluate_block(import_graph(graph), [np.ones(3), np.array([7])])


# --- the verifier -----------------------------------------------------------------------------


def small_block():
    graph, _ = traced(lambda x, y: cr.exp(x + y), [np.ones(3), np.ones(3)])
    return import_graph(graph)


def scan_block():
    block = import_graph(PROGRAMS["scan"]()[0])
    return block, block.instructions[-1]


def test_a_wrong_shape_names_pass_and_instruction():
    block = small_block()
    block.instructions[0].results[0].shape = (4,)
    with pytest.raises(CompilerError, match=r"after the pass shrink: .*float64\[4\]\] = add") as e:
        verify_block(block, "shrink")
    assert "test_import_graph.py" in str(e.value)


def test_operands_that_do_not_fit_are_refused():
    block = small_block()
    block.instructions[0].operands[1] = Tensor((), np.float64, constant=np.asarray(1.0))
    with pytest.raises(CompilerError, match="add refuses"):
        verify_block(block, "any")


def test_reading_before_making_is_refused():
    block = small_block()
    block.instructions.reverse()
    with pytest.raises(CompilerError, match="before it is made"):
        verify_block(block)


def test_an_output_from_elsewhere_is_refused():
    block = small_block()
    block.outputs = [small_block().outputs[0]]
    with pytest.raises(CompilerError, match="before it is made"):
        verify_block(block)


def test_a_result_of_another_instruction_is_refused():
    block = small_block()
    block.instructions[0].results[0].producer = block.instructions[1]
    with pytest.raises(CompilerError, match="belongs to another"):
        verify_block(block)


def test_an_instruction_that_is_listed_twice_is_refused():
    block = small_block()
    block.instructions.insert(0, block.instructions[0])
    with pytest.raises(CompilerError, match="made twice"):
        verify_block(block)


def test_a_constant_of_another_type_is_refused():
    block = small_block()
    block.instructions[0].operands[1] = Tensor((3,), np.float64, constant=np.ones(3, np.float32))
    with pytest.raises(CompilerError, match="the constant"):
        verify_block(block)


def test_inputs_must_be_distinct_and_without_producer():
    block = small_block()
    with pytest.raises(CompilerError, match="twice"):
        verify_block(Block([block.inputs[0]] * 2, [], []))
    with pytest.raises(CompilerError, match="has a producer"):
        verify_block(Block([block.outputs[0]], [], []))


def test_the_number_of_operands_is_checked():
    block = small_block()
    del block.instructions[0].operands[1]
    with pytest.raises(CompilerError, match="takes 2 operands"):
        verify_block(block)


def test_bodies_must_fit_and_be_closed():
    block, scan = scan_block()
    scan.bodies["body"].outputs[0] = scan.bodies["body"].inputs[2]
    with pytest.raises(CompilerError, match=r"should be|does not fit"):
        verify_block(block)
    block, scan = scan_block()
    scan.bodies["body"].instructions[0].operands[0] = block.inputs[0]
    with pytest.raises(CompilerError, match="in another block"):
        verify_block(block)
    block, scan = scan_block()
    scan.attributes = scan.attributes | {"length": 9}
    with pytest.raises(CompilerError, match=r"another length|should be"):
        verify_block(block)


@pytest.mark.parametrize("name", ["cond", "while"])
def test_branches_and_loops_must_fit(name):
    block = import_graph(PROGRAMS[name]()[0])
    control = next(i for i in block.instructions if i.bodies)
    first = next(iter(control.bodies.values()))
    first.inputs.pop()
    with pytest.raises(CompilerError, match=r"does not fit|before it is made"):
        verify_block(block)


def test_what_should_have_been_inlined_is_refused():
    graph = PROGRAMS["checkpoint"]()[0]
    node = next(n for n in graph.nodes if n.op is not None and n.op.name == "checkpoint")
    inputs = [Tensor(x.shape, x.dtype) for x in node.inputs]
    made = Instruction(node.op, inputs, {}, node.specs, node.origin)
    with pytest.raises(CompilerError, match="inlined"):
        verify_block(Block(inputs, [made], made.results))


def test_every_block_visits_bodies():
    block, scan = scan_block()
    assert list(every_block(block)) == [block, scan.bodies["body"]]
