"""Matrix products of the compiler against NumPy in double precision, over shapes and layouts."""

from __future__ import annotations

import ctypes
import dataclasses

import numpy as np
import pytest

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.builder import Builder, Value
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.types import vector
from chainrule.program.compiler.products import (
    Access,
    Product,
    pack_panels,
    plan,
    preferred_panel,
    strided_access,
    unpack_panels,
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
    (13, 10, 17),
    (37, 41, 43),
    (40, 10, 1100),
]
MORE_SHAPES = [
    (2, 33, 7),
    (7, 1, 9),
    (3, 16, 4),
    (6, 16, 8),
    (32, 10, 784),
    (100, 48, 64),
    (97, 101, 1030),
    (14, 20, 2100),
    (300, 300, 300),
]
FEW = [(2, 3, 0), (3, 33, 7), (7, 1, 40), (29, 19, 35)]


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


@pytest.mark.parametrize(
    "shape", [*SHAPES, *(pytest.param(s, marks=pytest.mark.slow) for s in MORE_SHAPES)], ids=str
)
def test_products_of_all_layouts_agree_with_numpy(shape):
    target = host_target()
    a, b = operands(*shape, "float")
    for product, lay_a, lay_b in layouts(*shape, "float", target).values():
        check(Kernel(product, target), a, b, lay_a(a), lay_b(b))


@pytest.mark.parametrize("name", ["avx2", "sse2", "scalar"])
@pytest.mark.parametrize("element", ELEMENTS)
def test_products_at_all_vector_widths(name, element):
    target = forced(name)
    for shape in FEW:
        a, b = operands(*shape, element)
        for product, lay_a, lay_b in layouts(*shape, element, target).values():
            check(Kernel(product, target), a, b, lay_a(a), lay_b(b))


@pytest.mark.parametrize("name", ["avx512", "neon"])
def test_products_are_valid_code_for_targets_elsewhere(name):
    target = TARGETS[name]
    for shape in [(29, 19, 35), (3, 10, 784)]:
        for product, _, _ in layouts(*shape, "float", target).values():
            text = emitted(product, target)
            assert "fmla" in text or "vfmadd" in text


def emitted(product: Product, target: Target) -> str:
    """The assembly of a product's stages."""
    module = Module(target)
    chosen = plan(product, target)
    for i, stage in enumerate(chosen.stages):
        parameters = [("ptr", n) for n in "abcs"] + [("i64", "begin"), ("i64", "end")]
        builder = Builder(module, f"stage{i}", parameters, internal=False)
        a, b, c, scratch, begin, end = builder.parameters
        access = strided_access(product, a, b, scratch)
        chosen.emit(builder, stage, begin, end, access, store_epilogue(c, product))
        builder.finish()
    return jit.emit_assembly(str(module), target)


def table_of(rows: np.ndarray) -> np.ndarray:
    """Addresses of the rows of a matrix."""
    return rows.ctypes.data + np.arange(rows.shape[0], dtype=np.int64) * rows.strides[0]


def through_table(of_a: bool):
    """An Access whose A (or B) is a table of addresses, one a row."""

    def make(product: Product, a: Value, b: Value, scratch: Value) -> Access:
        def row(table: Value):
            def address(builder: Builder, index: Value) -> Value:
                return builder.load("ptr", builder.offset(table, index, "i64"), 8)

            return address

        def plain(pointer: Value, stride: int, type_: str):
            def address(builder: Builder, index: Value) -> Value:
                return builder.offset(pointer, builder.mul(index, builder.i64(stride)), type_)

            return address

        if of_a:
            other = plain(b, product.b_column_stride, product.b_type)
            return Access(row(a), other, scratch)
        return Access(plain(a, product.a_row_stride or 0, product.a_type), row(b), scratch)

    return make


@pytest.mark.parametrize("shape", [(37, 41, 43), (5, 10, 100), (130, 20, 33)], ids=str)
def test_rows_that_are_gathered_through_pointers(shape):
    target = host_target()
    rows, columns, depth = shape
    a, b = operands(*shape, "float")
    plain = Product(rows, columns, depth, "float", depth, 1, columns, 1)
    replace = dataclasses.replace

    rows_of_a = replace(plain, a_row_stride=None)
    check(Kernel(rows_of_a, target, through_table(True)), a, b, table_of(a), b)
    turned = replace(rows_of_a, b_depth_stride=1, b_column_stride=depth)
    b_turned = np.ascontiguousarray(b.T)
    check(Kernel(turned, target, through_table(True)), a, b, table_of(a), b_turned)

    columns_of_a = replace(plain, a_row_stride=1, a_depth_stride=None)
    a_turned = np.ascontiguousarray(a.T)
    check(Kernel(columns_of_a, target, through_table(True)), a, b, table_of(a_turned), b)

    rows_of_b = replace(plain, b_depth_stride=None)
    check(Kernel(rows_of_b, target, through_table(False)), a, b, a, table_of(b))


def from_bytes(builder: Builder, x: Value) -> Value:
    lanes = 1 if not x.type.startswith("<") else int(x.type[1 : x.type.index(" ")])
    number = builder.convert("uitofp", x, "float")
    return builder.mul(number, builder.constant(vector("float", lanes), 0.5))


@pytest.mark.parametrize("shape", [(37, 41, 43), (9, 150, 30), (40, 10, 100)], ids=str)
def test_operands_that_are_converted_as_they_are_loaded(shape):
    target = host_target()
    rng = np.random.default_rng(3)
    rows, columns, depth = shape
    a8 = rng.integers(0, 256, (rows, depth), dtype=np.uint8)
    b8 = rng.integers(0, 256, (depth, columns), dtype=np.uint8)
    a, b = a8.astype(np.float32) / 2, b8.astype(np.float32) / 2

    def converting(product: Product, *pointers: Value) -> Access:
        access = strided_access(product, *pointers)
        if product.a_storage:
            access.convert_a = from_bytes
        if product.b_storage:
            access.convert_b = from_bytes
        return access

    for product, lay_a, lay_b in layouts(*shape, "float", target).values():
        stored_a = dataclasses.replace(product, a_storage="i8")
        check(Kernel(stored_a, target, converting), a, b, lay_a(a8), lay_b(b))
        stored_b = dataclasses.replace(product, b_storage="i8")
        check(Kernel(stored_b, target, converting), a, b, lay_a(a), lay_b(b8))


@pytest.mark.parametrize("inline", [False, True])
def test_epilogues_see_every_element_once_inline_or_not(inline):
    target = host_target()
    for shape in [(13, 41, 17), (20, 10, 64)]:
        a, b = operands(*shape, "float")
        product, lay_a, lay_b = layouts(*shape, "float", target)["panels"]
        check(Kernel(product, target, inline=inline), a, b, lay_a(a), lay_b(b))


def test_the_prefetch_hook_names_the_rows_of_the_next_tile():
    target = host_target()
    product, lay_a, lay_b = layouts(30, 32, 64, "float", target)["panels"]
    a, b = operands(30, 32, 64, "float")

    def prefetching(product: Product, *pointers: Value) -> Access:
        access = strided_access(product, *pointers)

        def prefetch(builder: Builder, m: Value, n: Value) -> None:
            place = builder.add(builder.mul(m, builder.i64(32)), n)
            builder.prefetch(builder.offset(pointers[0], place, "float"), write=True)

        access.prefetch = prefetch
        return access

    kernel = Kernel(product, target, prefetching)
    check(kernel, a, b, lay_a(a), lay_b(b))
    assert "call void @llvm.prefetch" in kernel.text


def test_panels_and_back():
    matrix = np.arange(3 * 37, dtype=np.float32).reshape(3, 37)
    panels = pack_panels(matrix, 16)
    assert panels.shape == (3, 3, 16)
    assert panels[2, 1, 0] == matrix[1, 32]
    assert not panels[2, :, 5:].any()
    assert np.array_equal(unpack_panels(panels, 37), matrix)


def test_nothing_beyond_the_operands_is_touched():
    mmap = pytest.importorskip("mmap")
    library = ctypes.CDLL(None)
    if not hasattr(library, "mprotect"):
        pytest.skip("no mprotect here")
    page = mmap.PAGESIZE
    kept = []

    def at_the_end(x: np.ndarray) -> np.ndarray:
        """A copy whose last element is followed by memory that must not be read."""
        pages = -(-max(x.nbytes, 1) // page)
        area = mmap.mmap(-1, (pages + 1) * page)
        kept.append(area)
        whole = np.frombuffer(area, np.uint8)
        library.mprotect(ctypes.c_void_p(whole.ctypes.data + pages * page), page, 0)
        view = whole[pages * page - x.nbytes : pages * page].view(x.dtype).reshape(x.shape)
        view[...] = x
        return view

    target = host_target()
    for shape in [(5, 19, 21), (13, 10, 37), (33, 41, 9)]:
        a, b = operands(*shape, "float")
        for product, lay_a, lay_b in layouts(*shape, "float", target).values():
            kernel = Kernel(product, target)
            check(kernel, a, b, at_the_end(lay_a(a)), at_the_end(lay_b(b)))


def test_sums_stay_in_registers():
    target = forced("avx2")
    shape = (60, 64, 128)
    product, _, _ = layouts(*shape, "float", target)["panels"]
    on_the_stack = [
        line for line in emitted(product, target).splitlines() if "%ymm" in line and "(%rsp" in line
    ]
    assert not on_the_stack


def test_tasks_depend_on_the_shape_only():
    target = host_target()
    product, _, _ = layouts(128, 1024, 784, "float", target)["panels"]
    (stage,) = plan(product, target).stages
    assert stage.name == "multiply"
    assert stage.tasks > 8
    assert plan(product, target) == plan(product, target)
    small, _, _ = layouts(32, 10, 784, "float", target)["turned b"]
    assert plan(small, target).stages[-1].tasks <= 32
