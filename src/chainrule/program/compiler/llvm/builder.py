"""Writes LLVM IR as text: typed values, one method an instruction, loops and conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.types import (
    element_of,
    is_float,
    lanes_of,
    literal,
    size_of,
    suffix,
    vector,
)


class Value(NamedTuple):
    """An operand: its LLVM type (``float``, ``<8 x float>``, ``i64``, ``ptr``) and its name."""

    type: str
    name: str


class Loop:
    """What a loop gives to its body: the counter, the carried values, and where to put new ones."""

    def __init__(self, index: Value, carried: list[Value]) -> None:
        self.index = index
        self.carried = carried
        self.results: list[Value] = []

    def carry(self, *values: Value) -> None:
        """Say the carried values of the next iteration (and, after the last, the results)."""
        self.results = list(values)


class Builder:
    """One function of a Module, written from top to bottom.

    Args:
        module: Where the function and the intrinsics that it calls are declared.
        name: The function's name.
        parameters: ``(type, name)`` of each; ``ptr noalias`` and the like keep their attributes.
        internal: Not visible outside the module.
        result: Type returned.
        inline: Written out wherever it is called.
        quickly: Compiled without optimisation, in time that grows only with the length.
    """

    def __init__(
        self,
        module: Module,
        name: str,
        parameters: Sequence[tuple[str, str]],
        *,
        internal: bool = True,
        result: str = "void",
        inline: bool = False,
        quickly: bool = False,
    ) -> None:
        self.module = module
        self.name = name
        self.parameters = [Value(t.split()[0], f"%{n}") for t, n in parameters]
        signature = ", ".join(f"{t} %{n}" for t, n in parameters)
        linkage = "internal " if internal else ""
        attributes = "nounwind alwaysinline" if inline else "nounwind noinline"
        attributes += " optnone" if quickly else ""
        self._lines = [f"define {linkage}{result} @{name}({signature}) {attributes} {{", "entry:"]
        self._label = "entry"
        self._stack: list[str] = []
        self._count = 0
        self._constants: dict[tuple[str, str], Value] = {}

    # -- text ---------------------------------------------------------------------------------

    def raw(self, line: str) -> None:
        """Write one line as it is."""
        self._lines.append(" " + line)

    def define(self, type_: str, text: str) -> Value:
        """Write ``%new = text``; ``type_`` is the type of what it gives."""
        self._count += 1
        name = f"%v{self._count}"
        self._lines.append(f" {name} = {text}")
        return Value(type_, name)

    def _fresh(self, word: str) -> str:
        self._count += 1
        return f"{word}{self._count}"

    def label(self, name: str) -> None:
        """Start a basic block."""
        self._lines.append(f"{name}:")
        self._label = name

    def finish(self, value: Value | None = None) -> None:
        """Return and hand the function's text to the module."""
        self.raw("ret void" if value is None else f"ret {value.type} {value.name}")
        self._lines[2:2] = self._stack
        self._lines.append("}")
        self.module.add_function(self.name, "\n".join(self._lines))

    # -- constants ----------------------------------------------------------------------------

    def constant(self, type_: str, number: float | int | bool) -> Value:
        """A constant; the same number in every lane of a vector type."""
        element, lanes = element_of(type_), lanes_of(type_)
        text = literal(element, number)
        if lanes > 1:
            text = f"splat ({element} {text})"
        return Value(type_, text)

    def constants(self, element: str, numbers: Sequence[float | int | bool]) -> Value:
        """A vector constant of the given lanes."""
        lanes = ", ".join(f"{element} {literal(element, n)}" for n in numbers)
        return Value(f"<{len(numbers)} x {element}>", f"<{lanes}>")

    def i64(self, number: int) -> Value:
        """A 64-bit integer constant."""
        return Value("i64", str(number))

    def poison(self, type_: str) -> Value:
        """A value that nobody reads."""
        return Value(type_, "poison")

    def zero(self, type_: str) -> Value:
        """All bits zero."""
        return Value(type_, "null" if type_ == "ptr" else "zeroinitializer")

    # -- arithmetic ---------------------------------------------------------------------------

    def binary(self, instruction: str, x: Value, y: Value) -> Value:
        """``instruction`` (``fadd``, ``add``, ``and``, ``shl``, ...) on two values of one type."""
        return self.define(x.type, f"{instruction} {x.type} {x.name}, {y.name}")

    def add(self, x: Value, y: Value) -> Value:
        """Sum, of floats or integers; folds constants of index arithmetic."""
        if is_float(x.type):
            return self.binary("fadd", x, y)
        return self._integer("add", x, y)

    def sub(self, x: Value, y: Value) -> Value:
        """Difference, of floats or integers."""
        if is_float(x.type):
            return self.binary("fsub", x, y)
        return self._integer("sub", x, y)

    def mul(self, x: Value, y: Value) -> Value:
        """Product, of floats or integers."""
        if is_float(x.type):
            return self.binary("fmul", x, y)
        return self._integer("mul", x, y)

    def div(self, x: Value, y: Value) -> Value:
        """Quotient of floats."""
        return self.binary("fdiv", x, y)

    def neg(self, x: Value) -> Value:
        """Minus x."""
        if is_float(x.type):
            return self.define(x.type, f"fneg {x.type} {x.name}")
        return self.sub(self.constant(x.type, 0), x)

    def _integer(self, instruction: str, x: Value, y: Value) -> Value:
        if x.type == "i64":
            a, b = _as_integer(x.name), _as_integer(y.name)
            if a is not None and b is not None:
                return self.i64({"add": a + b, "sub": a - b, "mul": a * b}[instruction])
            if b == 0 and instruction in ("add", "sub"):
                return x
            if a == 0 and instruction == "add":
                return y
            if instruction == "mul":
                if a == 0 or b == 0:
                    return self.i64(0)
                if b == 1:
                    return x
                if a == 1:
                    return y
        return self.binary(instruction, x, y)

    def fma(self, x: Value, y: Value, z: Value) -> Value:
        """x·y + z: one rounding where the target has it, else a product and a sum."""
        if not self.module.target.has_fma:
            return self.add(self.mul(x, y), z)
        return self.call_intrinsic("llvm.fma", x.type, x, y, z)

    def sqrt(self, x: Value) -> Value:
        """Square root, correctly rounded."""
        return self.call_intrinsic("llvm.sqrt", x.type, x)

    def call_intrinsic(self, name: str, result: str, *arguments: Value) -> Value:
        """Call an intrinsic overloaded on its first argument's type: ``llvm.fma`` and its like."""
        full = f"{name}.{suffix(arguments[0].type)}"
        return self.call(full, result, *arguments)

    def call(self, name: str, result: str, *arguments: Value) -> Value:
        """Call a function of another module or of C by its whole name, declaring it."""
        self.module.declare(name, result, [a.type for a in arguments])
        text = ", ".join(f"{a.type} {a.name}" for a in arguments)
        if result == "void":
            self.raw(f"call void @{name}({text})")
            return Value("void", "")
        return self.define(result, f"call {result} @{name}({text})")

    def call_own(self, name: str, *arguments: Value) -> None:
        """Call a function that this module defines and that returns nothing."""
        text = ", ".join(f"{a.type} {a.name}" for a in arguments)
        self.raw(f"call void @{name}({text})")

    # -- comparison and choice ----------------------------------------------------------------

    def compare(self, predicate: str, x: Value, y: Value) -> Value:
        """``fcmp`` or ``icmp`` by the type: ``olt``, ``oeq``, ``une``, ``slt``, ``ult``, ``eq``."""
        kind = "fcmp" if is_float(x.type) else "icmp"
        result = vector("i1", lanes_of(x.type))
        return self.define(result, f"{kind} {predicate} {x.type} {x.name}, {y.name}")

    def select(self, condition: Value, x: Value, y: Value) -> Value:
        """x where the condition holds, else y, lane by lane."""
        return self.define(
            x.type,
            f"select {condition.type} {condition.name}, {x.type} {x.name}, {y.type} {y.name}",
        )

    def convert(self, instruction: str, x: Value, element: str) -> Value:
        """``sitofp``, ``fptrunc``, ``zext``, ``bitcast``, ... to lanes of ``element``."""
        result = vector(element, lanes_of(x.type))
        return self.define(result, f"{instruction} {x.type} {x.name} to {result}")

    # -- vectors ------------------------------------------------------------------------------

    def splat(self, x: Value, lanes: int) -> Value:
        """The scalar x in every lane."""
        if lanes == 1:
            return x
        result = vector(x.type, lanes)
        first = self.define(result, f"insertelement {result} poison, {x.type} {x.name}, i32 0")
        return self.define(
            result,
            f"shufflevector {result} {first.name}, {result} poison, "
            f"<{lanes} x i32> zeroinitializer",
        )

    def shuffle(self, x: Value, y: Value, lanes: Sequence[int]) -> Value:
        """Lanes picked from x (0 to n-1) and y (n to 2n-1); -1: any."""
        picked = ", ".join(f"i32 {i}" if i >= 0 else "i32 poison" for i in lanes)
        return self.define(
            vector(element_of(x.type), len(lanes)),
            f"shufflevector {x.type} {x.name}, {y.type} {y.name}, <{len(lanes)} x i32> <{picked}>",
        )

    def extract(self, x: Value, lane: int) -> Value:
        """One lane as a scalar."""
        if lanes_of(x.type) == 1:
            return x
        return self.define(element_of(x.type), f"extractelement {x.type} {x.name}, i32 {lane}")

    def insert(self, x: Value, y: Value, lane: int) -> Value:
        """x with the scalar y in one lane."""
        return self.define(
            x.type, f"insertelement {x.type} {x.name}, {y.type} {y.name}, i32 {lane}"
        )

    # -- memory -------------------------------------------------------------------------------

    def offset(self, pointer: Value, index: Value | int, element: str) -> Value:
        """The address ``index`` elements after ``pointer``."""
        index = self.i64(index) if isinstance(index, int) else index
        if index.name == "0":
            return pointer
        return self.define(
            "ptr", f"getelementptr {element}, ptr {pointer.name}, {index.type} {index.name}"
        )

    def load(self, type_: str, pointer: Value, alignment: int = 0) -> Value:
        """Load a scalar or vector; alignment in bytes, 0: that of one element."""
        alignment = alignment or size_of(type_)
        return self.define(type_, f"load {type_}, ptr {pointer.name}, align {alignment}")

    def store(self, x: Value, pointer: Value, alignment: int = 0) -> None:
        """Store a scalar or vector."""
        alignment = alignment or size_of(x.type)
        self.raw(f"store {x.type} {x.name}, ptr {pointer.name}, align {alignment}")

    def masked_load(self, type_: str, pointer: Value, mask: Value, other: Value) -> Value:
        """Load the lanes where the mask holds; the rest are ``other``'s and are not touched."""
        name = f"llvm.masked.load.{suffix(type_)}.p0"
        self.module.declare(name, type_, ["ptr", mask.type, type_])
        return self.define(
            type_,
            f"call {type_} @{name}(ptr align {size_of(type_)} {pointer.name}, "
            f"{mask.type} {mask.name}, {type_} {other.name})",
        )

    def load_lanes(
        self, type_: str, pointer: Value, wanted: Sequence[bool], guard: Value | None = None
    ) -> Value:
        """Load the lanes that are wanted and for which the guard holds; the rest are 0.

        Registers of which no lane is wanted are left out here: LLVM 22, when it finds out itself
        that a part of a mask is off, may read all of that part.
        """
        pieces = []
        for first, piece in self._registers(type_, wanted):
            part = vector(element_of(type_), len(piece))
            place = self.offset(pointer, first, element_of(type_))
            if not any(piece):
                pieces.append(self.zero(part))
            elif all(piece) and guard is None:
                pieces.append(self.load(part, place))
            else:
                mask = self._mask(piece, guard, first)
                pieces.append(self.masked_load(part, place, mask, self.zero(part)))
        while len(pieces) > 1:
            pairs = zip(pieces[::2], pieces[1::2], strict=True)
            pieces = [self.shuffle(x, y, range(2 * lanes_of(x.type))) for x, y in pairs]
        return pieces[0]

    def store_lanes(self, x: Value, pointer: Value, wanted: Sequence[bool]) -> None:
        """Store the lanes that are wanted."""
        for first, piece in self._registers(x.type, wanted):
            if not any(piece):
                continue
            part = x
            if len(piece) < lanes_of(x.type):
                part = self.shuffle(x, x, range(first, first + len(piece)))
            place = self.offset(pointer, first, element_of(x.type))
            count = sum(piece)
            if all(piece):
                self.store(part, place)
            elif all(piece[:count]):
                self._store_first(part, place, count)
            else:
                self.masked_store(part, place, self._mask(piece, None, first))

    def _store_first(self, x: Value, pointer: Value, count: int) -> None:
        """Store the first lanes in pieces: masked stores take AMD's processors 20 times as long."""
        element, first = element_of(x.type), 0
        while first < count:
            size = 1 << (count - first).bit_length() - 1
            place = self.offset(pointer, first, element)
            if size == 1:
                self.store(self.extract(x, first), place)
            else:
                self.store(self.shuffle(x, x, range(first, first + size)), place)
            first += size

    def _registers(
        self, type_: str, wanted: Sequence[bool]
    ) -> Iterator[tuple[int, Sequence[bool]]]:
        """The lanes cut into registers: number of the first lane, and which are wanted."""
        size = max(self.module.target.vector_bytes, 16) // size_of(type_)
        for first in range(0, len(wanted), size):
            yield first, wanted[first : first + size]

    def _mask(self, piece: Sequence[bool], guard: Value | None, first: int) -> Value:
        """The mask of one register's lanes."""
        constant = self.constants("i1", piece)
        if guard is None:
            return constant
        if len(piece) < lanes_of(guard.type):
            guard = self.shuffle(guard, guard, range(first, first + len(piece)))
        return guard if all(piece) else self.binary("and", constant, guard)

    def masked_store(self, x: Value, pointer: Value, mask: Value) -> None:
        """Store the lanes where the mask holds."""
        name = f"llvm.masked.store.{suffix(x.type)}.p0"
        self.module.declare(name, "void", [x.type, "ptr", mask.type])
        self.raw(
            f"call void @{name}({x.type} {x.name}, ptr align {size_of(x.type)} {pointer.name}, "
            f"{mask.type} {mask.name})"
        )

    def first_lanes(self, count: int, lanes: int) -> Value:
        """The mask of the first ``count`` of ``lanes`` lanes."""
        return self.constants("i1", [i < count for i in range(lanes)])

    def prefetch(self, pointer: Value, *, write: bool = False, locality: int = 3) -> None:
        """Ask for the cache line of ``pointer``: locality 3 the first level, 2 the second."""
        self.module.declare("llvm.prefetch.p0", "void", ["ptr", "i32", "i32", "i32"])
        self.raw(
            f"call void @llvm.prefetch.p0(ptr {pointer.name}, i32 {int(write)}, "
            f"i32 {locality}, i32 1)"
        )

    def stack(
        self, type_: str, count: int = 1, alignment: int = 64, *, zeroed: bool = False
    ) -> Value:
        """Room on the stack for ``count`` elements, made (and zeroed) on entry to the function."""
        self._count += 1
        name = f"%v{self._count}"
        self._stack.append(f" {name} = alloca [{count} x {type_}], align {alignment}")
        if zeroed:
            self._stack.append(f" store [{count} x {type_}] zeroinitializer, ptr {name}")
        return Value("ptr", name)

    # -- control ------------------------------------------------------------------------------

    @contextlib.contextmanager
    def loop(
        self,
        start: Value | int,
        stop: Value | int,
        step: int = 1,
        carried: Sequence[Value] = (),
    ) -> Iterator[Loop]:
        """Count from start to stop (exclusive); runs no time where start >= stop.

        Values that change from iteration to iteration are passed as ``carried`` and read from
        ``loop.carried``; the body ends with ``loop.carry(...)``; ``loop.results`` holds them after.
        """
        first = self.i64(start) if isinstance(start, int) else start
        last = self.i64(stop) if isinstance(stop, int) else stop
        tag = self._fresh("")
        head, body, after = f"head{tag}", f"body{tag}", f"after{tag}"
        before = self._label
        loop = Loop(
            Value("i64", f"%i{tag}"), [Value(v.type, f"%c{tag}_{n}") for n, v in enumerate(carried)]
        )
        runs = isinstance(start, int) and isinstance(stop, int) and start < stop
        if runs:
            self.raw(f"br label %{body}")
        else:
            self.raw(f"br label %{head}")
            self.label(head)
            enter = self.compare("slt", first, last)
            self.raw(f"br i1 {enter.name}, label %{body}, label %{after}")
            before = head
        self.label(body)
        mark = len(self._lines)
        yield loop
        if len(loop.results) != len(carried):
            raise ValueError("a loop's body must carry as many values as came in")
        end = self._label
        following = self.define("i64", f"add nsw i64 {loop.index.name}, {step}")
        again = self.compare("slt", following, last)
        phis = [
            f" {loop.index.name} = phi i64 [{first.name}, %{before}], [{following.name}, %{end}]"
        ]
        phis += [
            f" {c.name} = phi {c.type} [{v.name}, %{before}], [{r.name}, %{end}]"
            for c, v, r in zip(loop.carried, carried, loop.results, strict=True)
        ]
        self._lines[mark:mark] = phis
        self.raw(f"br i1 {again.name}, label %{body}, label %{after}")
        self.label(after)
        if not runs and carried:
            results = loop.results
            loop.results = [
                self.define(v.type, f"phi {v.type} [{v.name}, %{before}], [{r.name}, %{end}]")
                for v, r in zip(carried, results, strict=True)
            ]

    @contextlib.contextmanager
    def repeat(self) -> Iterator[Callable[[Value], None]]:
        """Run the body over and over; it is given a function that leaves unless a value holds."""
        tag = self._fresh("")
        self.raw(f"br label %again{tag}")
        self.label(f"again{tag}")

        def stop_unless(condition: Value) -> None:
            self.raw(f"br i1 {condition.name}, label %more{tag}, label %done{tag}")
            self.label(f"more{tag}")

        yield stop_unless
        self.raw(f"br label %again{tag}")
        self.label(f"done{tag}")

    def leave_unless(self, condition: Value, label: str) -> None:
        """Jump to ``label`` where the condition does not hold."""
        tag = self._fresh("")
        self.raw(f"br i1 {condition.name}, label %stay{tag}, label %{label}")
        self.label(f"stay{tag}")

    @contextlib.contextmanager
    def when(self, condition: Value) -> Iterator[None]:
        """Run the body where the condition (an ``i1``) holds."""
        tag = self._fresh("")
        self.raw(f"br i1 {condition.name}, label %then{tag}, label %past{tag}")
        self.label(f"then{tag}")
        yield
        self.raw(f"br label %past{tag}")
        self.label(f"past{tag}")


def _as_integer(name: str) -> int | None:
    return int(name) if name.lstrip("-").isdigit() else None
