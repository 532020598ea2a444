"""Inside Programs denormal numbers flush to zero: the functions keep their errors there."""

import numpy as np
import pytest
from test_vector_math import CASES
from vector_math_cases import NUMPY, error_in_ulps, is_denormal, sample

import chainrule as cr


@pytest.mark.parametrize("element", ["float", "double"])
def test_errors_hold_where_denormal_numbers_are_flushed(element):
    dtype = NUMPY[element]
    tiny = np.finfo(dtype).tiny
    smallest = (np.arange(1, 40) * tiny).astype(dtype)
    x = np.concatenate([sample(element)[::41], smallest, -smallest])
    x = x[~is_denormal(x)]
    program = cr.compile(lambda v: tuple(getattr(cr, name)(v) for name in CASES))
    for got, (name, (reference, *bounds)) in zip(program(x), CASES.items(), strict=True):
        with np.errstate(all="ignore"):
            exact = reference(x.astype(np.float64 if element == "float" else np.longdouble))
            error = error_in_ulps(got.numpy(), exact)
        flushed = (np.abs(exact) < tiny) & (np.abs(got.numpy()) <= tiny)
        worst = np.where(flushed, 0, error).max()
        assert worst <= bounds[element == "double"], name


def test_denormal_numbers_count_as_zero():
    x = np.array([1e-40, -1e-40], np.float32)
    logarithm, power = cr.compile(lambda v: (cr.log(v), v**1.5))(x)
    np.testing.assert_array_equal(logarithm.numpy(), [-np.inf, -np.inf])
    np.testing.assert_array_equal(power.numpy(), [0, 0])
