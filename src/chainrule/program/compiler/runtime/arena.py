"""Memory of Programs: blocks on page boundaries, kept for the next one that asks.

Fresh memory costs a page fault for every 4 KB, more than many kernels take to fill it, so blocks
go round: the arena of a call is borrowed and given back, and large results give their block
back when the last Array that uses it is gone. Free blocks are kept up to 256 MB in all,
the last one given back whatever its size; the longest unused go first.
"""

from __future__ import annotations

import collections
import contextlib
import ctypes
import functools
import itertools
import math
import mmap
import os
import threading
from collections.abc import Sequence
from typing import Any

import numpy as np

#: free bytes that are kept for later
KEPT_BYTES = 256 * 1024 * 1024
#: results from this size on come from the pool; smaller ones from NumPy, whose memory goes round
#: by itself
POOLED_RESULT = 1024 * 1024
#: blocks from this size on are asked for in huge pages and start on the boundary of one
HUGE_BLOCK = 4 * 1024 * 1024
HUGE_PAGE = 2 * 1024 * 1024
PAGE = 4096


class Block:
    """Some pages of memory.

    Args:
        nbytes: At least so many; the sizes that there are lie within an eighth of each other.
    """

    __slots__ = ("_memory", "address", "array", "nbytes", "returned")

    def __init__(self, nbytes: int) -> None:
        self.nbytes = nbytes
        huge = nbytes >= HUGE_BLOCK
        room = nbytes + (HUGE_PAGE if huge else 0)
        if hasattr(mmap, "MAP_PRIVATE"):  # else a forked child would write into our memory
            self._memory = mmap.mmap(-1, room, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        else:
            self._memory = mmap.mmap(-1, room)
        if huge and hasattr(mmap, "MADV_HUGEPAGE"):
            with contextlib.suppress(OSError):  # a kernel without huge pages
                self._memory.madvise(mmap.MADV_HUGEPAGE)
        whole = np.frombuffer(self._memory, np.uint8)
        start = -address(whole) % HUGE_PAGE if huge else 0
        self.array = whole[start : start + nbytes]
        self.address = address(self.array)
        #: when it was last given back: the pool's count
        self.returned = 0


def _slow_address(array: np.ndarray) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


#: where an ndarray object has the address of its first element: right behind what every object
#: has, by NumPy's binary interface, on which compiled extensions rely too
_POINTER = object.__basicsize__
_at: Any = ctypes.c_size_t.from_address


def _fast_address(array: np.ndarray) -> int:
    place: int = _at(id(array) + _POINTER).value
    return place


_probe = np.zeros(1)
#: Address of an array's first element. The fast way takes a tenth of the other's time.
address = _fast_address if _fast_address(_probe) == _slow_address(_probe) else _slow_address


@functools.lru_cache(maxsize=1024)
def block_size(nbytes: int) -> int:
    """The size of block that serves ``nbytes``: whole pages, eight sizes an octave."""
    pages = max(1, -(-nbytes // PAGE))
    step = 1 << max(0, pages.bit_length() - 4)
    return -(-pages // step) * step * PAGE


class Pool:
    """Free blocks by size."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._free: dict[int, list[Block]] = {}
        self._arriving: collections.deque[Block] = collections.deque()
        self._count = itertools.count(1)
        #: bytes of all free blocks
        self.kept = 0

    def take(self, nbytes: int) -> Block:
        """A block of ``nbytes`` or more, not zeroed: a free one if one is not too large."""
        size = block_size(nbytes)
        with self._lock:
            if self._arriving:
                self._sort_in()
            wanted = size
            while wanted <= 2 * size:
                if blocks := self._free.get(wanted):
                    block = blocks.pop()
                    if not blocks:
                        del self._free[wanted]
                    self.kept -= block.nbytes
                    return block
                wanted = block_size(wanted + 1)
        return Block(size)

    def give(self, block: Block) -> None:
        """Take a block back.

        The garbage collector may call this anywhere, even inside ``take``: then the lock is held,
        and the block is sorted in by whoever takes one next.
        """
        self._arriving.append(block)
        if self._lock.acquire(blocking=False):
            try:
                self._sort_in()
            finally:
                self._lock.release()

    def clear(self) -> None:
        """Give all free memory back to the system."""
        with self._lock:
            self._sort_in()
            self._free.clear()
            self.kept = 0

    def _sort_in(self) -> None:
        while self._arriving:
            block = self._arriving.popleft()
            block.returned = next(self._count)
            self._free.setdefault(block.nbytes, []).append(block)
            self.kept += block.nbytes
            while self.kept > KEPT_BYTES and self.kept > block.nbytes:
                self._drop_oldest()

    def _drop_oldest(self) -> None:
        size = min(self._free, key=lambda n: self._free[n][0].returned)
        self.kept -= self._free[size].pop(0).nbytes
        if not self._free[size]:
            del self._free[size]


_pool = Pool()


def pool() -> Pool:
    """The process's pool."""
    return _pool


def _start_again_in_child() -> None:
    """Another thread may have been half-way through the pool when the process was forked."""
    global _pool
    _pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_again_in_child)


class borrow:
    """Memory for the time of a ``with`` block: ``with borrow(nbytes) as arena:``.

    Whatever was there before is still there. Blocks of different borrowers never overlap.

    Args:
        nbytes: At least so many; may be 0.

    Attributes:
        address: Where the memory begins, a multiple of 4096.
    """

    __slots__ = ("_block", "_nbytes", "_pool", "address")

    def __init__(self, nbytes: int) -> None:
        self._nbytes = nbytes

    def __enter__(self) -> borrow:
        self._pool = _pool
        self._block = self._pool.take(self._nbytes)
        self.address = self._block.address
        return self

    def __exit__(self, *failure: object) -> None:
        self._pool.give(self._block)

    @property
    def array(self) -> np.ndarray:
        """The memory as uint8, ``nbytes`` long; not to be used after the ``with`` block."""
        return self._block.array[: self._nbytes]


class _Lease:
    """A block in the hands of an array: the array's base, which goes when the array goes."""

    __slots__ = ("__array_interface__", "_block", "_pool")

    def __init__(self, nbytes: int) -> None:
        self._pool = _pool
        self._block = self._pool.take(nbytes)
        self.__array_interface__ = {
            "shape": (nbytes,),
            "typestr": "|u1",
            "data": (self._block.address, False),
            "version": 3,
        }

    @property
    def address(self) -> int:
        """Where it begins."""
        return self._block.address

    def __del__(self) -> None:
        self._pool.give(self._block)


def aligned_empty(shape: Sequence[int], dtype: np.dtype[Any] | type[np.generic]) -> np.ndarray:
    """An array of any contents that starts on a 64-byte boundary, for results.

    Args:
        shape: Sizes, in C order.
        dtype: Element type.
    """
    return aligned_room(tuple(shape), np.dtype(dtype))[0]


def aligned_room(shape: tuple[int, ...], dtype: np.dtype[Any]) -> tuple[np.ndarray, int]:
    """The same, and its address."""
    nbytes = math.prod(shape) * dtype.itemsize
    if nbytes >= POOLED_RESULT:
        lease = _Lease(nbytes)
        return np.asarray(lease).view(dtype).reshape(shape), lease.address
    room = np.empty(nbytes + 64, np.uint8)
    start = address(room)
    step = -start % 64
    return np.ndarray(shape, dtype, room, step), start + step
