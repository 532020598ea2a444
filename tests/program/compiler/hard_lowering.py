"""Compiles small blocks by the lowering alone, without passes, schedule or threads."""

import ctypes
import dataclasses

import numpy as np
import pytest

from chainrule.ops.origin import Origin
from chainrule.ops.record import REGISTRY
from chainrule.program.compiler.driver import emit_report
from chainrule.program.compiler.emission.memory import Memory
from chainrule.program.compiler.emission.nests import NestEmitter, n_tasks
from chainrule.program.compiler.emission.vectorisation import choose
from chainrule.program.compiler.fusion import Fusion
from chainrule.program.compiler.groups import ordered
from chainrule.program.compiler.indices import ravel
from chainrule.program.compiler.instructions import Block, Instruction, Tensor
from chainrule.program.compiler.kernels import KernelBuilder
from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.builder import Builder
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.lowering.elements import loads
from chainrule.program.compiler.lowering.singles import SINGLES
from chainrule.program.compiler.target import TARGETS, host_target

NOWHERE = Origin("", 0, "", 0)
GUARD = 64  # bytes behind each array that a kernel must leave alone


def offset(tensor, indices):
    return ravel(indices, tensor.shape)


def forced(name):
    """A narrower target for this machine."""
    if name == "avx2" and host_target().vector_bytes < 32:
        pytest.skip("no AVX2 here")
    return dataclasses.replace(TARGETS[name], triple="")


class Chain:
    """A block that is written op by op; inputs are arrays.

    Args:
        arrays: Values of the block's inputs.
    """

    def __init__(self, *arrays):
        self.arrays = [np.ascontiguousarray(a) for a in arrays]
        self.inputs = [Tensor(a.shape, a.dtype, name=f"x{i}") for i, a in enumerate(self.arrays)]
        self.values = dict(zip(self.inputs, self.arrays, strict=True))
        self.instructions = []

    def add(self, name, *operands, **attributes):
        """Apply an op to tensors of the chain; the result is both evaluated and recorded."""
        op = REGISTRY[name]
        value = np.asarray(op.evaluate(*(self.values[x] for x in operands), **attributes))
        instruction = Instruction(op, operands, attributes, [(value.shape, value.dtype)], NOWHERE)
        self.instructions.append(instruction)
        self.values[instruction.result] = value
        return instruction.result

    def constant(self, value):
        """A constant of the chain."""
        array = np.asarray(value)
        x = Tensor(array.shape, array.dtype, constant=array)
        self.values[x] = array
        return x

    def run(self, output, threads=(1, 2, 3, 5), target=None):
        """The compiled value of ``output`` and the error word; the same on every thread count."""
        kernels = self._compile(output, target or host_target())
        results = [self._execute(kernels, output, n) for n in threads]
        for other, error in results[1:]:
            assert error == results[0][1]
            assert other.tobytes() == results[0][0].tobytes()
        return results[0]

    def _compile(self, output, target):
        module = Module(target)
        emit_report(module)
        block = Block(self.inputs, self.instructions, [output])
        fusion = Fusion(block, set(), {output})
        fusion.run()
        groups = ordered(fusion.groups)
        stored = _stored(groups, fusion, output)
        kernels = []
        for number, group in enumerate(groups):
            emit = _single if group.kind == "single" else _nest
            kernels.append(emit(module, f"kernel{number}", group, stored, fusion))
        self.text = str(module)
        self.n_kernels = len(kernels)
        library = jit.load([jit.emit_object(self.text, target)], [k[0] for k in kernels])
        self.library = library
        return [(library.addresses[name], *rest) for name, *rest in kernels]

    def _execute(self, kernels, output, threads):
        rooms = {x: _room(x, self.values[x]) for x in self.inputs}
        error = np.zeros(2, np.int64)
        for address, pointers, tasks, scratch in kernels:
            for x in pointers:
                rooms.setdefault(x, _room(x))
            buffer = np.full(scratch + GUARD, 77, np.uint8)
            addresses = [rooms[x].ctypes.data for x in pointers] + [buffer.ctypes.data]
            function = ctypes.CFUNCTYPE(None, *[ctypes.c_int64] * (len(addresses) + 3))(address)
            team = threads if tasks > 1 else 1
            for thread in range(team):
                share = [tasks * (thread + i) // team for i in (0, 1)]
                function(*addresses, error.ctypes.data, *share)
            assert (buffer[scratch:] == 77).all()
        for x, room in rooms.items():
            assert (room[x.bytes :] == 77).all(), x
        found = rooms[output][: output.bytes].view(output.dtype).reshape(output.shape)
        return found, tuple(error.tolist())


def _room(x, value=None):
    """Memory of a tensor: results start out as garbage."""
    room = np.full(x.bytes + GUARD, 77, np.uint8)
    if value is not None:
        room[: x.bytes] = np.frombuffer(value.tobytes(), np.uint8)
    return room


def _stored(groups, fusion, output):
    stored = {output}
    for group in groups:
        for member in group.members:
            if member.op.name == "cumsum":
                stored.add(member.result)
            for operand in member.operands:
                for source in fusion.sources(operand):
                    if fusion.group_of.get(source) is not group:
                        stored.add(source)
    return stored


def _function(module, name, pointers, emit):
    parameters = [("ptr", f"p{i}") for i in range(len(pointers))]
    parameters += [("ptr", "scratch"), ("ptr", "error"), ("i64", "begin"), ("i64", "end")]
    b = Builder(module, name, parameters, internal=False)
    table = dict(zip(pointers, b.parameters, strict=False))
    scratch, error, begin, end = b.parameters[-4:]
    memory = Memory(table.__getitem__, offset, lambda instruction: b.i64(1), error)
    emit(b, memory, begin, end, scratch)
    b.finish()


def _nest(module, name, group, stored, fusion):
    kernel = KernelBuilder(group, stored, fusion.is_leaf).build(name)
    stored |= set(kernel.writes())
    choice = choose(kernel, module.target, offset)
    pointers = {x.tensor: None for e in kernel.expressions() for x in loads(e)}
    pointers = list(pointers | dict.fromkeys(kernel.writes()))
    _function(
        module,
        name,
        pointers,
        lambda b, memory, begin, end, _: NestEmitter(b, kernel, memory, choice).emit(begin, end),
    )
    return name, pointers, n_tasks(kernel, choice), 0


def _single(module, name, group, stored, fusion):
    (x,) = group.members
    one = SINGLES[x.op.name]
    size = one.scratch_bytes(x)
    pointers = list(dict.fromkeys([*one.reads(x), *x.results]))

    def emit(b, memory, begin, end, scratch):
        one.emit(b, x, memory, begin, end, scratch if size else None)

    _function(module, name, pointers, emit)
    return name, pointers, one.tasks(x), size


def check(name, *arrays, tolerance=0.0, target=None, **attributes):
    """Compile one op and compare with its own evaluation."""
    chain = Chain(*arrays)
    output = chain.add(name, *chain.inputs, **attributes)
    found, error = chain.run(output, target=target)
    assert error[0] == 0
    assert_close(found, chain.values[output], tolerance)


def assert_close(found, expected, tolerance):
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    if not tolerance:
        assert found.tobytes() == np.ascontiguousarray(expected).tobytes()
        return
    a, b = found.astype(np.float64), expected.astype(np.float64)
    scale = np.max(np.abs(b[np.isfinite(b)]), initial=1.0)
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance * scale)


def spread(rng, shape, dtype):
    """Values of any type, small integers among integers."""
    dtype = np.dtype(dtype)
    if dtype.kind == "b":
        return rng.random(shape) < 0.5
    if dtype.kind in "iu":
        low = 0 if dtype.kind == "u" else -9
        return rng.integers(low, 9, shape).astype(dtype)
    return rng.normal(size=shape).astype(dtype)
