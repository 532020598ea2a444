"""Products over axes that lie in memory in another order than the product counts them."""

import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule.program import compile


def both_engines(function, *arguments):
    return [
        compile(function, engine=engine)(*arguments).numpy()
        for engine in ("interpreter", "compiler")
    ]


@pytest.mark.parametrize("sizes", [(15, 5, 6), (16, 4, 32), (8, 3, 1), (3, 50, 16)], ids=str)
def test_all_orders_of_axes(sizes):
    rng = np.random.default_rng(0)
    x = {
        order: rng.normal(size=[sizes[a] for a in order]).astype("f")
        for order in itertools.permutations(range(3))
    }
    other = rng.normal(size=(sizes[0] * sizes[1], 7)).astype("f")
    narrow = rng.normal(size=(sizes[2], 7)).astype("f")

    def products(*arrays):
        found = []
        for order, array in zip(x, arrays, strict=True):
            plain = cr.permute_dims(array, tuple(np.argsort(order)))
            flat = cr.reshape(plain, (sizes[0] * sizes[1], sizes[2]))
            found += [cr.reshape(flat.T @ other, (-1,)), cr.reshape(flat @ narrow, (-1,))]
            found += [cr.reshape(other.T @ flat, (-1,))]
        return cr.concat(found)

    expected, value = both_engines(products, *x.values())
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("n_inputs", [1, 2, 8])
def test_the_gradient_of_a_projection_of_sequences_turned_time_first(n_inputs):
    rng = np.random.default_rng(1)
    x = rng.normal(size=(50, 15, n_inputs)).astype("f")
    weight = rng.normal(size=(16, n_inputs)).astype("f")
    factors = rng.normal(size=(15, 50, 16)).astype("f")

    def gradient(x, weight, factors):
        def value(w):
            return cr.sum(cr.moveaxis(x @ w.T, 1, 0) * factors)

        return cr.grad(value)(weight)

    expected, value = both_engines(gradient, x, weight, factors)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("shape", [(1, 28, 28), (5, 28, 28), (40, 9, 30), (3, 16, 256)], ids=str)
def test_a_product_of_flattened_images_that_are_computed_first(shape):
    # what is computed may lie in rows with gaps between them, which flattening must not see
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, shape).astype(np.uint8)
    weight = rng.normal(size=(64, shape[1] * shape[2])).astype("f")

    def product(images, weight):
        scaled = (images.astype("float32") - 128.0) / 64.0
        return cr.reshape(scaled, (shape[0], -1)) @ weight.T

    expected, value = both_engines(product, images, weight)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-3)


def test_sums_read_the_copy_that_a_product_needs():
    rng = np.random.default_rng(0)
    parts = [rng.normal(size=(8, 12, 16)).astype("f") for _ in range(3)]
    other = rng.normal(size=(96, 24)).astype("f")

    def both(a, b, c, other):
        joined = cr.concat([cr.permute_dims(x, (1, 0, 2)) for x in (a, b, c)], axis=2)
        rows = cr.reshape(joined, (96, 48))
        return cr.concat([cr.sum(rows, axis=0), cr.reshape(rows.T @ other, (-1,))])

    expected, value = both_engines(both, *parts, other)
    np.testing.assert_allclose(value, expected, rtol=1e-5, atol=1e-4)
