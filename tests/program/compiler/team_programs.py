"""Small programs for the thread team, and the native code that they become."""

import functools
import threading

import numpy as np

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.builder import Builder
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.runtime import team
from chainrule.program.compiler.runtime.synchronisation import emit_barrier
from chainrule.program.compiler.target import host_target

PARAMETERS = [("ptr", "barrier"), ("i64", "thread"), ("i64", "n"), ("ptr", "table")]
MOST = 8
compiling = threading.Lock()


def meeting(module, name, *, barrier=True):
    """Every round, each thread writes its number, meets the others, and adds up all numbers.

    Table (int64): rounds; wrong sums by thread; two rows of numbers, used in turn, so that a
    thread that does not wait reads an old number or overwrites one still needed.
    """
    b = Builder(module, name, PARAMETERS, internal=False)
    state, thread, n, table = b.parameters
    rounds = b.load("i64", table)
    wrong = b.offset(table, b.add(thread, b.i64(1)), "i64")
    rows = b.offset(table, 1 + MOST, "i64")
    with b.loop(0, rounds) as loop:
        parity = b.binary("and", loop.index, b.i64(1))
        row = b.offset(rows, b.mul(parity, b.i64(MOST)), "i64")
        b.store(b.add(loop.index, thread), b.offset(row, thread, "i64"))
        if barrier:
            b.call_own(emit_barrier(module), state, n)
        with b.loop(0, n, carried=[b.i64(0)]) as adding:
            number = b.load("i64", b.offset(row, adding.index, "i64"))
            right = b.add(loop.index, adding.index)
            bad = b.convert("zext", b.compare("ne", number, right), "i64")
            adding.carry(b.add(adding.carried[0], bad))
        b.store(b.add(b.load("i64", wrong), adding.results[0]), wrong)
    b.finish()


def roll_call(module):
    """Table (int64): each thread writes the number of threads at its place."""
    b = Builder(module, "roll_call", PARAMETERS, internal=False)
    _, thread, n, table = b.parameters
    b.store(n, b.offset(table, thread, "i64"))
    b.finish()


def product(module):
    """Table (float32): each thread multiplies the first two into its place after them."""
    b = Builder(module, "product", PARAMETERS, internal=False)
    _, thread, _, table = b.parameters
    x, y = b.load("float", table), b.load("float", b.offset(table, 1, "float"))
    b.store(b.mul(x, y), b.offset(table, b.add(thread, b.i64(2)), "float"))
    b.finish()


@functools.cache
def programs():
    """Name → address of ``meeting``, ``crowd`` (one without barriers), ``roll_call``, ``product``.

    The library stays loaded with the cache.
    """
    target = host_target()
    module = Module(target)
    meeting(module, "meeting")
    meeting(module, "crowd", barrier=False)
    roll_call(module)
    product(module)
    names = ("meeting", "crowd", "roll_call", "product")
    return jit.load([jit.emit_object(str(module), target)], names)


def run(name, table, n):
    """Run a program by name on n threads; gives the number that ran it."""
    with compiling:  # two threads at once would each make a library, and one be dropped
        address = programs().addresses[name]
    return team.run(address, table.ctypes.data, n)


def wrong_sums(n, rounds, name="meeting"):
    """Run ``meeting`` and count the numbers that were not what they should be."""
    table = np.zeros(1 + 3 * MOST, np.int64)
    table[0] = rounds
    used = run(name, table, n)
    assert used in (1, n)
    assert table[1 + MOST] >= 0
    assert not table[1 + used : 1 + MOST].any()
    return int(table[1 : 1 + MOST].sum())
