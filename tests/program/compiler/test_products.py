"""Matrix products of the compiler against NumPy in double precision, over shapes and layouts."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.products import (
    Product,
    pack_panels,
    plan,
    preferred_panel,
    strided_access,
)
from chainrule.program.compiler.target import TARGETS, Target, host_target

ELEMENTS = {"float": np.float32, "double": np.float64}
GUARD = -12345.0


def forced(name: str) -> Target:
    host = host_target()
    narrow = TARGETS[name]
    if name == "avx2" and host.vector_bytes < 32:
        pytest.skip("no AVX2 here")
    return dataclasses.replace(narrow, triple="")


def store_epilogue(pointer: Value, product: Product):
    element = product.element

    def epilogue(builder: Builder, m: Value, n: Value, x: Value, lanes: int) -> None:
        place = builder.add(builder.mul(m, builder.i64(product.columns)), n)
        target = builder.offset(pointer, place, element)
        width = 1 if not x.type.startswith("<") else int(x.type[1 : x.type.index(" ")])
        if width == lanes:
            builder.store(x, target)
        else:
            builder.masked_store(x, target, builder.first_lanes(lanes, width))

    return epilogue


class Kernel:
    """A product's stages as functions of this process."""

    def __init__(self, product: Product, target: Target, access=None, **how) -> None:
        self.product = product
        self.plan = plan(product, target)
        module = Module(target)
        names = ["a", "b", "c", "scratch"]
        for i, stage in enumerate(self.plan.stages):
            parameters = [("ptr noalias", n) for n in names] + [("i64", "begin"), ("i64", "end")]
            builder = Builder(module, f"stage{i}", parameters, internal=False)
            a, b, c, scratch, begin, end = builder.parameters
            make = access or strided_access
            self.plan.emit(
                builder,
                stage,
                begin,
                end,
                make(product, a, b, scratch),
                store_epilogue(c, product),
                **how,
            )
            builder.finish()
        exports = [f"stage{i}" for i in range(len(self.plan.stages))]
        self.text = str(module)
        self.target = target
        self.library = jit.load([jit.emit_object(self.text, target)], exports)
        kind = ctypes.CFUNCTYPE(None, *[ctypes.c_void_p] * 4, ctypes.c_int64, ctypes.c_int64)
        self.functions = [kind(self.library.addresses[n]) for n in exports]
        self.scratch = np.zeros(self.plan.scratch_bytes + 64, np.uint8)

    def __call__(self, a: np.ndarray, b: np.ndarray, step: int | None = None) -> np.ndarray:
        """The product; tasks one by one backwards with step 1, all in one call without."""
        product = self.product
        size = product.rows * product.columns
        whole = np.full(size + 32, GUARD, ELEMENTS[product.element])
        scratch = (self.scratch.ctypes.data + 63) // 64 * 64
        pointers = a.ctypes.data, b.ctypes.data, whole.ctypes.data, scratch
        for function, stage in zip(self.functions, self.plan.stages, strict=True):
            if step is None:
                function(*pointers, 0, stage.tasks)
            else:
                for task in reversed(range(0, stage.tasks, step)):
                    function(*pointers, task, min(task + step, stage.tasks))
        assert (whole[size:] == GUARD).all()
        return whole[:size].reshape(product.rows, product.columns)


def layouts(rows: int, columns: int, depth: int, element: str, target: Target):
    """Name → (product, how to lay out A, how to lay out B)."""
    p = preferred_panel(target, element)
    plain = Product(rows, columns, depth, element, depth, 1, columns, 1)
    replace = dataclasses.replace
    turned_a = {"a_row_stride": 1, "a_depth_stride": max(rows, 1)}
    panel_b = {"b_depth_stride": p, "b_panel": p}
    turned_b = {"b_depth_stride": 1, "b_column_stride": depth}

    def same(x):
        return np.ascontiguousarray(x)

    def turn(x):
        return np.ascontiguousarray(x.T)

    def panels(x):
        return pack_panels(x, p)

    def depth_panels(x):
        return pack_panels(np.ascontiguousarray(x.T), p)

    def depth_panels_of_a(x):
        return pack_panels(x, p)

    depth_b = {
        "b_depth_stride": 1,
        "b_column_stride": p,
        "b_depth_panel": p,
        "b_depth_panel_stride": columns * p,
    }
    depth_a = {"a_row_stride": p, "a_depth_panel": p, "a_depth_panel_stride": rows * p}
    return {
        "plain": (plain, same, same),
        "panels": (replace(plain, **panel_b), same, panels),
        "turned a": (replace(plain, **turned_a), turn, same),
        "turned a, panels": (replace(plain, **turned_a, **panel_b), turn, panels),
        "turned b": (replace(plain, **turned_b), same, turn),
        "both turned": (replace(plain, **turned_a, **turned_b), turn, turn),
        "a in panels": (replace(plain, **depth_a, **panel_b), depth_panels_of_a, panels),
        "both in panels": (replace(plain, **depth_a, **depth_b), depth_panels_of_a, depth_panels),
        "weight read backwards": (replace(plain, **depth_b), same, depth_panels),
    }


SHAPES = [
    (0, 5, 3),
    (5, 0, 3),
    (4, 7, 0),
    (1, 1, 1),
    (1, 17, 5),
    (2, 33, 7),
    (7, 1, 9),
    (3, 16, 4),
    (13, 10, 17),
    (6, 16, 8),
    (37, 41, 43),
    (32, 10, 784),
    (100, 48, 64),
    (97, 101, 1030),
]


def check(kernel: Kernel, a: np.ndarray, b: np.ndarray, laid_a: np.ndarray, laid_b: np.ndarray):
    expected = a.astype(np.float64) @ b.astype(np.float64)
    scale = np.abs(a).astype(np.float64) @ np.abs(b).astype(np.float64) + 1e-30
    eps = np.finfo(a.dtype).eps
    got = kernel(laid_a, laid_b)
    error = np.abs(got - expected) / scale
    assert (error < eps * (4 + np.sqrt(a.shape[1]))).all(), error.max()
    assert np.array_equal(kernel(laid_a, laid_b, 1), got)


def operands(rows: int, columns: int, depth: int, element: str):
    rng = np.random.default_rng(rows * 31 + columns * 7 + depth)
    a = rng.standard_normal((rows, depth)).astype(ELEMENTS[element])
    b = rng.standard_normal((depth, columns)).astype(ELEMENTS[element])
    return a, b


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_products_of_all_layouts_agree_with_numpy(shape):
    target = host_target()
    a, b = operands(*shape, "float")
    for product, lay_a, lay_b in layouts(*shape, "float", target).values():
        check(Kernel(product, target), a, b, lay_a(a), lay_b(b))
