"""Memory of Programs: aligned, never shared by two at a time, reused, bounded."""

import gc
import os
import threading

import numpy as np
import pytest

from chainrule.program.compiler.runtime import arena
from chainrule.program.compiler.runtime.arena import Pool, aligned_empty, block_size, borrow


@pytest.fixture
def pool(monkeypatch):
    """A pool of the test's own."""
    fresh = Pool()
    monkeypatch.setattr(arena, "_pool", fresh)
    return fresh


@pytest.mark.parametrize("nbytes", [0, 1, 4096, 4097, 100_000, 5_000_000])
def test_borrowed_memory_is_there_and_aligned(nbytes):
    with borrow(nbytes) as memory:
        assert memory.address % 4096 == 0
        assert memory.array.shape == (nbytes,)
        memory.array[...] = 7
        assert memory.array.size == 0 or memory.array.__array_interface__["data"][0] == (
            memory.address
        )


def test_huge_blocks_start_on_a_huge_page():
    with borrow(arena.HUGE_BLOCK) as memory:
        assert memory.address % arena.HUGE_PAGE == 0


def test_sizes_waste_at_most_an_eighth():
    for nbytes in np.random.default_rng(1).integers(1, 1 << 34, 500):
        size = block_size(int(nbytes))
        assert nbytes <= size <= max(nbytes * 9 / 8, nbytes + 4096)
        assert size % 4096 == 0
        assert block_size(size) == size


def test_memory_goes_round(pool):
    with borrow(10_000) as memory:
        first = memory.address
        with borrow(10_000) as second:
            assert second.address != first
    assert pool.kept == 2 * block_size(10_000)
    addresses = set()
    for _ in range(10):
        with borrow(9_000) as memory:  # a larger free block serves too
            addresses.add(memory.address)
    assert len(addresses) == 1
    with borrow(100) as memory:  # but not one of more than twice the size
        assert memory.address not in addresses


def test_memory_comes_back_after_an_exception(pool):
    with pytest.raises(ZeroDivisionError), borrow(5000):
        _ = 1 / 0
    assert pool.kept == block_size(5000)


def test_kept_memory_is_bounded_and_the_oldest_goes_first(pool, monkeypatch):
    monkeypatch.setattr(arena, "KEPT_BYTES", 100 * 4096)
    for pages in [40, 30, 20, 60]:
        pool.give(arena.Block(pages * 4096))
    assert pool.kept == (20 + 60) * 4096
    assert sorted(n // 4096 for n in pool._free) == [20, 60]
    pool.give(arena.Block(1000 * 4096))  # the last one stays, whatever its size
    assert list(pool._free) == [1000 * 4096]
    pool.clear()
    assert pool.kept == 0


def test_a_block_that_comes_back_while_the_pool_is_locked_waits(pool):
    block = arena.Block(4096)
    with pool._lock:
        pool.give(block)
    assert pool.take(4096) is block


@pytest.mark.parametrize("shape", [(), (0,), (3, 5), (784, 1024)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int8, np.bool_])
def test_results_are_aligned_and_writable(shape, dtype):
    x = aligned_empty(shape, dtype)
    assert (x.shape, x.dtype) == (shape, np.dtype(dtype))
    assert x.__array_interface__["data"][0] % 64 == 0
    assert x.flags.c_contiguous
    assert x.flags.writeable
    x[...] = 1
    assert (x == 1).all()


def test_large_results_keep_their_block_as_long_as_a_view_lives(pool):
    x = aligned_empty((1024, 1024), np.float32)
    x[...] = 3
    view = x[5:, ::2].T
    del x
    gc.collect()
    assert pool.kept == 0
    other = aligned_empty((1024, 1024), np.float32)
    other[...] = 4
    assert (view == 3).all()
    address = view.__array_interface__["data"][0]
    del view
    assert pool.kept == block_size(4 * 1024 * 1024)
    again = aligned_empty((1024, 1024), np.float32)
    assert 0 <= address - again.__array_interface__["data"][0] < again.nbytes


def test_threads_never_share_memory():
    wrong = []

    def work(number):
        generator = np.random.default_rng(number)
        for _ in range(200):
            with borrow(int(generator.integers(1, 60_000))) as memory:
                memory.array[...] = number
                if (memory.array != number).any():
                    wrong.append(number)

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="processes as on Unix")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_child_has_memory_of_its_own():
    mine = aligned_empty((1024, 1024), np.float32)
    mine[...] = 1
    child = os.fork()
    if not child:
        mine[...] = 2
        with borrow(mine.nbytes) as memory:
            memory.array[...] = 3
        os._exit(0 if (mine == 2).all() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert (mine == 1).all()
