"""The IDX reader: round trips, and refusal of what is malformed."""

import gzip
import lzma
import struct
import tracemalloc
import zlib

import numpy as np
import pytest

from chainrule.data import read_idx, write_idx
from chainrule.errors import DataError


@pytest.mark.parametrize("ending", ["idx", "idx.gz", "idx.xz"])
@pytest.mark.parametrize("dtype", ["uint8", "int8", "int16", "int32", "float32", "float64"])
def test_round_trip(tmp_path, ending, dtype):
    array = np.random.default_rng(0).integers(-100, 100, (3, 4, 2)).astype(dtype)
    path = tmp_path / f"a.{ending}"
    write_idx(path, array)
    back = read_idx(path)
    assert back.dtype == array.dtype
    np.testing.assert_array_equal(back, array)


def test_empty_arrays_are_fine(tmp_path):
    write_idx(tmp_path / "a", np.zeros((0, 28), np.uint8))
    assert read_idx(tmp_path / "a").shape == (0, 28)


def header(code=8, sizes=(2, 3)):
    return bytes([0, 0, code, len(sizes)]) + struct.pack(f">{len(sizes)}I", *sizes)


MALFORMED = {
    "empty": (b"", "no IDX file"),
    "no zero bytes": (b"\x1f\x8b\x08\x01" + bytes(10), "no IDX file"),
    "unknown type": (header(0x0A) + bytes(6), "unknown element type"),
    "no dimension": (bytes([0, 0, 8, 0]), "0 dimensions"),
    "too many dimensions": (bytes([0, 0, 8, 200]) + bytes(800), "200 dimensions"),
    "cut header": (bytes([0, 0, 8, 2, 0, 0, 0, 2]), "ends within its header"),
    "too short": (header() + bytes(5), "ends too early"),
    "too long": (header() + bytes(7), "goes on after"),
    "absurd size": (header(sizes=(2**31, 2**31)) + bytes(8), "claims to hold"),
    "absurd size hidden by a zero": (header(sizes=(0, 2**32 - 1, 2**32 - 1)), "claims to hold"),
}


@pytest.mark.parametrize("name", MALFORMED)
@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_malformed_files_are_refused_with_the_reason(tmp_path, name, pack):
    content, reason = MALFORMED[name]
    ending = {bytes: "", gzip.compress: ".gz", lzma.compress: ".xz"}[pack]
    path = tmp_path / f"bad{ending}"
    path.write_bytes(pack(content))
    with pytest.raises(DataError, match=reason) as caught:
        read_idx(path)
    assert "bad" in str(caught.value)


def test_a_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.xz"
    path.write_bytes(lzma.compress(header(sizes=(10,)) + bytes(200_000_000), preset=0))
    assert peak_bytes_of_refusing(path, "goes on after") < 20_000_000


@pytest.mark.parametrize("pack", [bytes, gzip.compress, lzma.compress], ids=["plain", "gz", "xz"])
def test_memory_follows_the_content_not_the_claim(tmp_path, pack):
    ending = {bytes: "", gzip.compress: ".gz", lzma.compress: ".xz"}[pack]
    path = tmp_path / f"claim{ending}"
    path.write_bytes(pack(header(sizes=(900_000_000,)) + bytes(100)))
    assert peak_bytes_of_refusing(path, "ends too early") < 20_000_000


def test_an_xz_header_may_not_ask_for_a_huge_dictionary(tmp_path):
    path = tmp_path / "greedy.xz"
    packer = lzma.LZMACompressor(filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 1 << 20}])
    content = bytearray(packer.compress(header() + bytes(6)) + packer.flush())
    # block header: its size, flags, filter 0x21 with 1 byte of properties, then CRC-32; a
    # dictionary of 3 GiB is property 39
    start = 12
    n_bytes = 4 * (content[start] + 1)
    content[start + 4] = 39
    checked = bytes(content[start : start + n_bytes - 4])
    content[start + n_bytes - 4 : start + n_bytes] = struct.pack("<I", zlib.crc32(checked))
    path.write_bytes(content)
    assert peak_bytes_of_refusing(path, "Memory usage limit") < 20_000_000


def peak_bytes_of_refusing(path, reason):
    tracemalloc.start()
    with pytest.raises(DataError, match=reason):
        read_idx(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


def test_the_limit_is_the_callers(tmp_path):
    path = tmp_path / "a"
    write_idx(path, np.zeros((10, 10), np.uint8))
    assert read_idx(path, max_bytes=100).shape == (10, 10)
    with pytest.raises(DataError, match="at most 99"):
        read_idx(path, max_bytes=99)


def test_xz_files_of_several_streams(tmp_path):
    path = tmp_path / "a.xz"
    path.write_bytes(lzma.compress(header()) + bytes(8) + lzma.compress(bytes(range(6))))
    assert read_idx(path).tolist() == [[0, 1, 2], [3, 4, 5]]


@pytest.mark.parametrize("content", [b"", b"junk", lzma.compress(header() + bytes(6))[:-9]])
def test_broken_archives_and_missing_files(tmp_path, content):
    path = tmp_path / "broken.xz"
    path.write_bytes(content)
    with pytest.raises(DataError):
        read_idx(path)
    with pytest.raises(DataError, match="can not be read"):
        read_idx(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        read_idx(tmp_path / "nowhere")


def test_types_without_a_code_are_not_written(tmp_path):
    with pytest.raises(DataError, match="can not be written"):
        write_idx(tmp_path / "a", np.zeros(3, np.uint16))
