"""Keys of programs: lines may move, threads may ask at once, and errors name today's line."""

import threading

import numpy as np
import pytest

import chainrule as cr
from chainrule import ops
from chainrule.array import asarray, trace
from chainrule.errors import IndexRangeError
from chainrule.program.compiler import machine
from chainrule.program.compiler.keys import GraphKey
from chainrule.program.compiler.native import NativeProgram

SOURCE = """
def embedded(table, words):
    rows = ops.take(table, words, axis=0)
    best = ops.argmax(rows, axis=1)
    return {gap}ops.take_along_axis(rows, best.reshape((-1, 1)), axis=1)
"""


def written(lines_before, gap=""):
    """The function as if it stood further down in its file."""
    space = {"ops": ops}
    exec(compile("\n" * lines_before + SOURCE.format(gap=gap), "words.py", "exec"), space)
    return space["embedded"]


def gradient(function):
    return cr.value_and_grad(lambda table, words: ops.sum(function(table, words)))


def arguments(n=4):
    rng = np.random.default_rng(n)
    return rng.normal(size=(6, 3)).astype(np.float32), rng.integers(0, 6, n)


def key_of(function):
    return GraphKey(trace(function, [asarray(x) for x in arguments()]))


def test_lines_may_move():
    assert key_of(written(0)).text == key_of(written(40)).text
    places = key_of(written(0)).places, key_of(written(40)).places
    assert all(a != b for a, b in zip(*places, strict=True))


def test_nodes_recorded_before_do_not_count():
    """A derivative's origin holds a serial number, which grows with everything that is recorded."""
    before = key_of(gradient(written(0))).text
    ops.tanh(asarray(1.0))
    assert key_of(gradient(written(0))).text == before


def test_which_ops_share_a_line_counts():
    """Else two lines could not be told apart by code that was made for one."""
    again = "0.0 * {}ops.take(table, words, axis=0)[:, :1] + "
    together = written(0, gap=again.format(""))
    moved = written(3, gap=again.format(""))
    apart = written(0, gap=again.format("\\\n "))
    assert key_of(together).text == key_of(moved).text
    assert key_of(together).text != key_of(apart).text


def test_errors_name_the_line_of_today():
    table, words = arguments()
    for lines in (5, 70):
        compiled = cr.compile(written(lines), engine="compiler")
        compiled(table, words)
        (program,) = compiled.programs.values()
        assert program.native.code.from_cache == (lines == 70)
        with pytest.raises(IndexRangeError, match=rf"words\.py:{lines + 3}\b"):
            compiled(table, words + 100)


def test_threads_that_want_one_program_make_it_once(monkeypatch):
    made, graph = [], trace(gradient(written(0)), [asarray(x) for x in arguments(9)])
    from chainrule.program.compiler import compiling

    compile_assembly = compiling.compile_assembly

    def counting(*given, **options):
        made.append(threading.get_ident())
        return compile_assembly(*given, **options)

    monkeypatch.setattr(compiling, "compile_assembly", counting)
    programs = []
    threads = [
        threading.Thread(target=lambda: programs.append(NativeProgram(graph))) for _ in "abcd"
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(programs) == 4
    assert len(made) == 1
    assert not machine._making
