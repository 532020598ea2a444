"""Products of a long transposed operand whose rows collide in the cache: it is packed first."""

import numpy as np
import pytest

from chainrule import ops
from chainrule.program import compile


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("columns", [256, 512])
def test_long_transposed_operands(dtype, columns):
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(523, columns)).astype(dtype), rng.normal(size=(523, 69)).astype(dtype)
    found = np.asarray(compile(lambda a, b: a.T @ b)(a, b))
    expected = a.astype(np.float64).T @ b.astype(np.float64)
    tolerance = 1e-4 if dtype == np.float32 else 1e-12
    np.testing.assert_allclose(found, expected, rtol=tolerance, atol=tolerance)


def test_what_is_read_down_long_columns_lies_in_rows_that_do_not_collide():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(768, 128)).astype("f"), rng.normal(size=(768, 384)).astype("f")
    step = compile(lambda a, b: ops.tanh(a).T @ ops.tanh(b))
    expected = np.tanh(a.astype("d")).T @ np.tanh(b.astype("d"))
    np.testing.assert_allclose(np.asarray(step(a, b)), expected, rtol=1e-4, atol=1e-4)
    if step.engine == "compiler":
        _, program = step.prepare([a, b])
        sizes = {x.size for x in program.native.code.machine.places if x.title.startswith("tanh")}
        assert 768 * (384 + 16) * 4 in sizes  # a cache line behind each row
        assert 768 * 128 * 4 in sizes  # this one is packed
