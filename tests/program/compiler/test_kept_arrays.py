"""Arrays kept as mapped files: made once, equal ever after, made again where anything is wrong."""

import hashlib
import os
import random

import numpy as np
import pytest

from chainrule.program.compiler.cache import arrays, files, folder, lookup, make_key, room, store
from chainrule.program.compiler.cache.arrays import is_whole, kept_array

SOURCE = hashlib.sha256(b"packed").hexdigest()
IMAGES = np.random.default_rng(0).integers(0, 256, (50, 28, 28), np.uint8)


class Maker:
    """Returns the images, and counts how often."""

    calls = 0

    def __call__(self):
        self.calls += 1
        return IMAGES.copy()


@pytest.fixture
def make():
    return Maker()


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of the data in an empty cache."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_CACHE_SIZE", raising=False)
    monkeypatch.setattr(folder, "_told", set())
    monkeypatch.setattr(room, "_unlisted", float("inf"))
    return tmp_path / "cache" / "data"


def only_file(kept):
    (path,) = kept.iterdir()
    return path


def assert_images(array):
    assert type(array) is np.ndarray
    assert not array.flags.writeable
    assert array.flags.c_contiguous
    np.testing.assert_array_equal(array, IMAGES)
    assert array.dtype == IMAGES.dtype


def test_an_array_is_made_once(kept, make):
    for _ in range(3):
        array = kept_array("images", SOURCE, make)
        assert_images(array)
        assert array.ctypes.data % 64 == 0
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 0
    assert make.calls == 1
    assert only_file(kept).stat().st_mode & 0o777 == 0o600
    assert is_whole(only_file(kept))


def test_another_source_is_made_again(kept, make):
    kept_array("images", SOURCE, make)
    kept_array("images", hashlib.sha256(b"new").hexdigest(), make)
    kept_array("other", SOURCE, make)
    assert make.calls == 3
    # the file's name holds the beginning of the digest only
    assert_images(kept_array("images", SOURCE[:16] + "0" * 48, make))
    assert make.calls == 4


@pytest.mark.parametrize(
    "array",
    [
        np.arange(7, dtype=np.int64),
        np.float32(3).reshape(()),
        np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        np.arange(12)[::3],
        np.zeros((0, 3)),
    ],
    ids=["int64", "scalar", "fortran", "strided", "empty"],
)
def test_arrays_of_all_sorts(kept, array):
    for _ in range(2):
        found = kept_array("any", SOURCE, array.copy)
        np.testing.assert_array_equal(found, array)
        assert (found.dtype, found.shape) == (array.dtype, array.shape)


def test_an_array_outlives_its_file(kept, make):
    array = kept_array("images", SOURCE, make)
    only_file(kept).unlink()
    assert_images(array)


def test_without_a_cache_it_is_made_each_time(kept, make, monkeypatch, tmp_path):
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    for _ in range(2):
        assert_images(kept_array("images", SOURCE, make))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file"))
    assert_images(kept_array("images", SOURCE, make))
    assert make.calls == 3
    assert not kept.exists()


def test_a_full_disk_is_no_error(kept, make, monkeypatch, caplog):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", refuse)
    assert_images(kept_array("images", SOURCE, make))
    assert not list(kept.iterdir())
    assert "No space left" in caplog.text


def test_what_takes_half_of_the_cache_is_not_kept(kept, make, monkeypatch):
    monkeypatch.setattr(room, "limit", lambda: IMAGES.nbytes)
    assert_images(kept_array("images", SOURCE, make))
    assert not list(kept.iterdir())


def test_unused_data_makes_room_for_code(kept, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "1")
    kept_array("large", SOURCE, lambda: np.zeros(450_000, np.uint8))
    os.utime(only_file(kept), (1e9, 1e9))
    made = [make_key("ir", i) for i in range(7)]
    for key in made:
        store(key, {}, {"object": bytes(100_000)})
    assert not list(kept.iterdir())
    assert all(lookup(key) for key in made)


def put_nothing(path, rng):
    path.write_bytes(b"")


def put_less(path, rng):
    path.write_bytes(path.read_bytes()[: rng.randrange(path.stat().st_size)])


def put_more(path, rng):
    path.write_bytes(path.read_bytes() + b"x")


def flip_a_bit_of_the_header(path, rng):
    content = bytearray(path.read_bytes())
    content[rng.randrange(arrays.PAGE)] ^= 1 << rng.randrange(8)
    status = path.stat()
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def write_into_it(path, rng):
    with path.open("r+b") as file:
        file.seek(rng.randrange(arrays.PAGE, path.stat().st_size))
        file.write(b"\xff")


def open_it(path, rng):
    path.chmod(0o606)


def link_it(path, rng):
    other = path.parent.parent / "other"
    path.rename(other)
    path.symlink_to(other)


def put_a_folder(path, rng):
    path.unlink()
    path.mkdir()


def put_a_fifo(path, rng):
    path.unlink()
    os.mkfifo(path, 0o600)


@pytest.mark.parametrize(
    "harm",
    [
        put_nothing, put_less, put_more, flip_a_bit_of_the_header, write_into_it, open_it, link_it,
        put_a_folder, put_a_fifo,
    ],
)  # fmt: skip
def test_what_is_wrong_is_made_again(kept, make, harm):
    rng = random.Random(0)
    for turn in range(10):
        assert_images(kept_array("images", SOURCE, make))
        assert make.calls == turn + 1
        harm(only_file(kept), rng)
        assert not is_whole(only_file(kept))
    assert_images(kept_array("images", SOURCE, make))
    assert_images(kept_array("images", SOURCE, make))
    assert make.calls == 11


def test_hashing_finds_what_the_times_do_not_tell(kept, make):
    kept_array("images", SOURCE, make)
    path = only_file(kept)
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not is_whole(path)
