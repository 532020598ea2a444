"""Products of a long transposed operand whose rows collide in the cache: it is packed first."""

import numpy as np
import pytest

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
