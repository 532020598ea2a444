"""Convolutions that slide nowhere become products, gradients too."""

import numpy as np
import pytest
from pass_programs import apply_pass, names

import chainrule as cr
from chainrule import ops
from chainrule.program.compiler.passes import run_passes

RNG = np.random.default_rng(31)


def gradients(x, w):
    y = ops.convolution(x, w)
    return [y, *cr.gradients((y * y).sum(), [x, w])]


def counted(function, *arrays):
    found = names(apply_pass(run_passes, function, *arrays, rtol=1e-12))
    return {name: found.count(name) for name in ("convolution", "dot_general", "flip", "transpose")}


@pytest.mark.parametrize("spatial", [(5,), (5, 4), (2, 3, 2)])
def test_a_kernel_as_large_as_its_image_and_its_gradients(spatial):
    x, w = RNG.normal(size=(3, 2, *spatial)), RNG.normal(size=(4, 2, *spatial))
    found = counted(gradients, x, w)
    assert found == {"convolution": 0, "dot_general": 3, "flip": 0, "transpose": 0}


def test_what_slides_or_has_groups_stays():
    x = RNG.normal(size=(3, 4, 5, 5))
    for w, settings in (
        (RNG.normal(size=(4, 4, 3, 3)), {}),
        (RNG.normal(size=(4, 4, 5, 5)), {"padding": 1}),
        (RNG.normal(size=(4, 2, 5, 5)), {"groups": 2}),
        (RNG.normal(size=(4, 4, 1, 1)), {}),
    ):
        found = counted(lambda x, w, s=settings: ops.convolution(x, w, **s), x, w)
        assert (found["convolution"], found["dot_general"]) == (1, 0)


def test_the_products_have_kernels_of_their_own():
    """Their axes are split in memory, but without gaps."""
    step = cr.compile(gradients)
    x = RNG.normal(size=(16, 6, 5, 5)).astype("f")
    w = RNG.normal(size=(20, 6, 5, 5)).astype("f")
    found = step(x, w)
    if step.engine == "compiler":
        kernels = next(iter(step.programs.values())).native.code.machine.kernels
        assert sum(k.title.startswith("multiply") for k in kernels) == 3
        assert not any("dot_general" in k.title or "convolution" in k.title for k in kernels)
    for a, b in zip(found, cr.compile(gradients, engine="interpreter")(x, w), strict=True):
        np.testing.assert_allclose(a.numpy(), b.numpy(), rtol=2e-4, atol=1e-3)
