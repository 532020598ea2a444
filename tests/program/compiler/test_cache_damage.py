"""Compiled functions whose cache is damaged, emptied or replaced between compilations."""

import os
import random

import numpy as np
import pytest

import chainrule as cr
from chainrule.program.compiler.cache import folder, room

pytest.importorskip("llvmlite")

X = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)


def compile_and_run():
    function = cr.compile(lambda x: cr.tanh(x @ x.T).sum(axis=0) * 2.0, engine="compiler")
    return function(cr.asarray(X)).numpy()


def truncate(path, rng):
    os.truncate(path, rng.randrange(path.stat().st_size))


def flip_a_bit(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)


def put_rubbish(path, rng):
    path.write_bytes(rng.randbytes(rng.randrange(5000)))


def put_a_folder(path, rng):
    path.unlink()
    path.mkdir()


def put_a_link(path, rng):
    path.rename(path.parent.parent / path.name)
    path.symlink_to(path.parent.parent / path.name)


def put_a_fifo(path, rng):
    path.unlink()
    os.mkfifo(path, 0o600)


def swap(path, rng):
    other = rng.choice(sorted(path.parent.iterdir()))
    path.write_bytes(other.read_bytes() if other.is_file() else b"")


def open_to_others(path, rng):
    path.chmod(0o666)


def delete(path, rng):
    path.unlink()


HARM = [
    truncate, flip_a_bit, put_rubbish, put_a_folder, put_a_link, put_a_fifo, swap, open_to_others,
    delete,
]  # fmt: skip


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(i, marks=pytest.mark.slow) for i in range(1, 6))]
)
def test_results_are_right_whatever_happens_to_the_files(tmp_path, monkeypatch, seed):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(folder, "_told", set())
    monkeypatch.setattr(room, "_unlisted", float("inf"))
    expected = compile_and_run()
    code = tmp_path / "cache" / "code"
    assert list(code.iterdir())
    rng = random.Random(seed)
    for harm in rng.sample(HARM, len(HARM)):
        for path in sorted(code.iterdir()):
            # put right again by the run before, or (what was not needed) still as it was left
            if path.is_file() and not path.is_symlink() and path.stat().st_size:
                harm(path, rng)
        np.testing.assert_array_equal(compile_and_run(), expected, err_msg=harm.__name__)
