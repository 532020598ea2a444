"""Looked-up rows that lie in padding: nothing is read there, so no index is to be blamed."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.errors import IndexRangeError


def picked(table, places):
    """The row picked is padded; the derivative keeps the places in memory."""

    def loss(table):
        row = ops.take_along_axis(table, places, axis=0)
        return ops.sum(ops.square(ops.pad(row, ((1, 0), (0, 0)))))

    return loss(table), cr.grad(loss)(table)


def through_a_convolution(table, places):
    def loss(table):
        row = ops.reshape(ops.take_along_axis(table, places, axis=0), (1, 1, 1, 1))
        kernel = np.ones((1, 1, 2, 1), "f")
        return ops.sum(
            ops.square(ops.convolution(row, kernel, padding=((2, 0), (0, 0)), dilation=(2, 2)))
        )

    return loss(table), cr.grad(loss)(table)


@pytest.mark.parametrize("function", [picked, through_a_convolution])
def test_padding_blames_no_index(function):
    table = np.random.default_rng(0).normal(size=(33, 1)).astype("f")
    found = cr.compile(function)(table, np.array([[31]]))
    wanted = cr.compile(function, engine="interpreter")(table, np.array([[31]]))
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    with pytest.raises(IndexRangeError, match="33"):
        cr.compile(function)(table, np.array([[33]]))
