"""Comparing what dicts and lists hold with what they held before, at the speed of machine code.

A call of a compiled function asks whether its model still is what it was: some hundred comparisons,
which take longer in Python than a small network does. The code below asks CPython by functions of
its stable interface (``PyDict_Next``, ``PyList_Size``, ``PyList_GetItem``) and compares addresses.
It runs with the interpreter lock held.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from chainrule.program.compiler.llvm import jit
from chainrule.program.compiler.llvm.module import Module
from chainrule.program.compiler.llvm.objects import object_of
from chainrule.program.compiler.target import host_target


class Held(NamedTuple):
    """Stands for an object that is given at each comparison instead of kept.

    Args:
        number: Its place in the list that is given.
    """

    number: int


class Contents:
    """What some dicts and lists hold, by identity.

    Args:
        dicts: Each with the keys and values that it is to hold, in order.
        lists: Each with its elements.

    A value or element may be a ``Held``. The dicts and lists, their keys and all other values are
    kept alive by this object.
    """

    def __init__(
        self,
        dicts: Sequence[tuple[dict[Any, Any], Sequence[tuple[Any, Any]]]],
        lists: Sequence[tuple[list[Any], Sequence[Any]]],
    ) -> None:
        self._kept = [dicts, lists]
        python = ctypes.pythonapi
        functions = python.PyDict_Next, python.PyList_Size, python.PyList_GetItem
        words = [ctypes.cast(x, ctypes.c_void_p).value or 0 for x in functions]
        words += [id(None), len(dicts), len(lists)]
        for holder, pairs in dicts:
            words += [id(holder), len(pairs)]
            words += [word for key, value in pairs for word in (id(key), _word(value))]
        for elements, values in lists:
            words += [id(elements), len(values), *map(_word, values)]
        self._words = (ctypes.c_int64 * len(words))(*words)
        # threads that begin at once may have made several, of which one is kept for those to come
        self._native = _native()
        #: ``same(held)`` is not 0 if all of them hold what they held: the same objects under the
        #: same keys. ``held`` is a list of what the ``Held`` stand for; None is never the same.
        self.same: Callable[[list[Any]], int] = functools.partial(
            self._native.same, ctypes.addressof(self._words)
        )


def _word(value: Any) -> int:
    """An address, which is even, or an odd number for a place in the list."""
    return 2 * value.number + 1 if isinstance(value, Held) else id(value)


class _Native(NamedTuple):
    same: Callable[[int, list[Any]], int]
    library: jit.Library


@functools.cache
def _native() -> _Native:
    target = host_target()
    module = Module(target)
    module.add_function("expected", _EXPECTED)
    module.add_function("same", _SAME)
    library = jit.load([object_of(str(module), target).code], ["same"])
    kind = ctypes.PYFUNCTYPE(ctypes.c_int64, ctypes.c_void_p, ctypes.py_object)
    return _Native(kind(library.addresses["same"]), library)


# is an object the one that a word stands for?
_EXPECTED = """\
define internal i1 @expected(ptr %words, ptr %held, ptr %found, i64 %word) nounwind {
entry:
 %odd = and i64 %word, 1
 %given = icmp ne i64 %odd, 0
 br i1 %given, label %ask, label %compare
compare:
 %address = ptrtoint ptr %found to i64
 %equal = icmp eq i64 %address, %word
 ret i1 %equal
ask:
 %get.at = getelementptr i64, ptr %words, i64 2
 %get = load ptr, ptr %get.at, align 8
 %none.at = getelementptr i64, ptr %words, i64 3
 %none = load ptr, ptr %none.at, align 8
 %number = lshr i64 %word, 1
 %wanted = call ptr %get(ptr %held, i64 %number)
 %right = icmp eq ptr %found, %wanted
 %some = icmp ne ptr %found, %none
 %both = and i1 %right, %some
 ret i1 %both
}"""

_SAME = """\
define i64 @same(ptr %words, ptr %held) nounwind {
entry:
 %place = alloca i64, align 8
 %key = alloca ptr, align 8
 %value = alloca ptr, align 8
 %next = load ptr, ptr %words, align 8
 %size.at = getelementptr i64, ptr %words, i64 1
 %size = load ptr, ptr %size.at, align 8
 %get.at = getelementptr i64, ptr %words, i64 2
 %get = load ptr, ptr %get.at, align 8
 %n.dicts.at = getelementptr i64, ptr %words, i64 4
 %n.dicts = load i64, ptr %n.dicts.at, align 8
 %n.lists.at = getelementptr i64, ptr %words, i64 5
 %n.lists = load i64, ptr %n.lists.at, align 8
 %begin = getelementptr i64, ptr %words, i64 6
 br label %dicts
dicts:
 %d = phi i64 [0, %entry], [%d1, %dict.ended]
 %at = phi ptr [%begin, %entry], [%pair, %dict.ended]
 %more.dicts = icmp slt i64 %d, %n.dicts
 br i1 %more.dicts, label %dict, label %lists
dict:
 %d1 = add i64 %d, 1
 %holder = load ptr, ptr %at, align 8
 %n.at = getelementptr i64, ptr %at, i64 1
 %n = load i64, ptr %n.at, align 8
 %first = getelementptr i64, ptr %at, i64 2
 store i64 0, ptr %place, align 8
 br label %pairs
pairs:
 %i = phi i64 [0, %dict], [%i1, %value.right]
 %pair = phi ptr [%first, %dict], [%pair1, %value.right]
 %got = call i32 %next(ptr %holder, ptr %place, ptr %key, ptr %value)
 %some = icmp ne i32 %got, 0
 %i.more = icmp slt i64 %i, %n
 %agree = icmp eq i1 %some, %i.more
 br i1 %agree, label %ended.or.not, label %differ
ended.or.not:
 br i1 %some, label %look, label %dict.ended
look:
 %i1 = add i64 %i, 1
 %pair1 = getelementptr i64, ptr %pair, i64 2
 %key.found = load ptr, ptr %key, align 8
 %key.wanted = load ptr, ptr %pair, align 8
 %key.right = icmp eq ptr %key.found, %key.wanted
 br i1 %key.right, label %look.value, label %differ
look.value:
 %word.at = getelementptr i64, ptr %pair, i64 1
 %word = load i64, ptr %word.at, align 8
 %value.found = load ptr, ptr %value, align 8
 %right = call i1 @expected(ptr %words, ptr %held, ptr %value.found, i64 %word)
 br i1 %right, label %value.right, label %differ
value.right:
 br label %pairs
dict.ended:
 br label %dicts
lists:
 %l = phi i64 [0, %dicts], [%l1, %elements]
 %list.at = phi ptr [%at, %dicts], [%element.at, %elements]
 %more.lists = icmp slt i64 %l, %n.lists
 br i1 %more.lists, label %list, label %agreed
list:
 %l1 = add i64 %l, 1
 %owner = load ptr, ptr %list.at, align 8
 %m.at = getelementptr i64, ptr %list.at, i64 1
 %m = load i64, ptr %m.at, align 8
 %m.first = getelementptr i64, ptr %list.at, i64 2
 %m.found = call i64 %size(ptr %owner)
 %m.right = icmp eq i64 %m.found, %m
 br i1 %m.right, label %elements, label %differ
elements:
 %e = phi i64 [0, %list], [%e1, %element.right]
 %element.at = phi ptr [%m.first, %list], [%element.at1, %element.right]
 %e.more = icmp slt i64 %e, %m
 br i1 %e.more, label %element, label %lists
element:
 %e1 = add i64 %e, 1
 %element.at1 = getelementptr i64, ptr %element.at, i64 1
 %e.word = load i64, ptr %element.at, align 8
 %e.found = call ptr %get(ptr %owner, i64 %e)
 %e.right = call i1 @expected(ptr %words, ptr %held, ptr %e.found, i64 %e.word)
 br i1 %e.right, label %element.right, label %differ
element.right:
 br label %elements
agreed:
 ret i64 1
differ:
 ret i64 0
}"""
