"""The IDX format of MNIST: reading that refuses what is malformed, and writing.

Layout (Y. LeCun, "The MNIST database"): two zero bytes, a type code, the number of dimensions, each
size as a big-endian 32-bit number, then the elements in row-major order, big-endian.
"""

from __future__ import annotations

import contextlib
import math
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from chainrule.errors import DataError

TYPES: dict[int, np.dtype[Any]] = {
    0x08: np.dtype("u1"),
    0x09: np.dtype("i1"),
    0x0B: np.dtype(">i2"),
    0x0C: np.dtype(">i4"),
    0x0D: np.dtype(">f4"),
    0x0E: np.dtype(">f8"),
}
MAX_DIMENSIONS = 8
MAX_BYTES = 1 << 30  # twice the largest set of MNIST's family, EMNIST
MAX_DICTIONARY_BYTES = 128 << 20  # xz -9 needs 65 MiB; a crafted header can ask for 4 GiB
CHUNK_BYTES = 1 << 20

Read = Callable[[int], bytes]  # takes the most bytes wanted; none come at the end


def read_idx(path: str | Path, *, max_bytes: int = MAX_BYTES) -> np.ndarray:
    """Read an IDX file, plain or compressed (``.gz``, ``.xz``).

    Memory grows with what the file really holds, never with what its header claims.

    Args:
        path: The file.
        max_bytes: Refuse files whose unpacked elements take more bytes.

    Returns:
        The array in native byte order.

    Raises:
        DataError: The file is missing, is no IDX file, claims more than ``max_bytes``, or its
            header and its length disagree.

    Example:
        >>> import tempfile, os
        >>> name = os.path.join(tempfile.mkdtemp(), "a.idx")
        >>> write_idx(name, np.arange(6, dtype=np.uint8).reshape(2, 3))
        >>> read_idx(name).shape
        (2, 3)
    """
    path = Path(path)
    try:
        with _opened(path) as read:
            dtype, shape = _read_header(read, path, max_bytes)
            return _read_elements(read, path, dtype, shape)
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(
            f"{path} can not be read", expected="an intact file that you may read", got=f"{error}"
        ) from None


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Read]:
    with path.open("rb") as file:
        if path.suffix == ".xz":
            yield _xz_reader(file)
        elif path.suffix == ".gz":
            import gzip

            with gzip.GzipFile(fileobj=file) as unpacked:
                yield unpacked.read
        else:
            yield file.read


def _xz_reader(file: BinaryIO) -> Read:
    """Unpack piece by piece; ``lzma.open`` would grant any dictionary that a header asks for."""
    import lzma

    def new_stream() -> lzma.LZMADecompressor:
        return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MAX_DICTIONARY_BYTES)

    stream = new_stream()

    def read(size: int) -> bytes:
        nonlocal stream
        while True:
            packed = b""
            if stream.eof:  # a file may hold several streams, one after the other
                packed = stream.unused_data.lstrip(b"\0") or file.read(CHUNK_BYTES)
                if not packed:
                    return b""
                stream = new_stream()
            elif stream.needs_input:
                packed = file.read(CHUNK_BYTES)
                if not packed:
                    raise EOFError("the compressed data ends too early")
            try:
                piece = stream.decompress(packed, size)
            except lzma.LZMAError as error:
                raise OSError(str(error)) from None
            if piece:
                return piece

    return read


def _read_up_to(read: Read, n_bytes: int) -> bytearray:
    taken = bytearray()
    while len(taken) < n_bytes:
        piece = read(min(CHUNK_BYTES, n_bytes - len(taken)))
        if not piece:
            break
        taken += piece
    return taken


def _read_header(read: Read, path: Path, max_bytes: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = bytes(_read_up_to(read, 4))
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(
            f"{path} is no IDX file",
            expected="two zero bytes at the start",
            got=repr(start),
            fix="look at the file; a packed one must end in .gz or .xz",
        )
    code, rank = start[2], start[3]
    if code not in TYPES:
        raise DataError(
            f"{path} has an unknown element type",
            expected=", ".join(f"0x{known:02X}" for known in TYPES),
            got=f"0x{code:02X}",
        )
    if not 1 <= rank <= MAX_DIMENSIONS:
        raise DataError(
            f"{path} has {rank} dimensions", expected=f"1 to {MAX_DIMENSIONS}", got=str(rank)
        )
    sizes = _read_up_to(read, 4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            f"{path} ends within its header",
            expected=f"{4 + 4 * rank} bytes",
            got=f"{4 + len(sizes)}",
        )
    shape = struct.unpack(f">{rank}I", sizes)
    # a zero among the sizes must not excuse the others: NumPy refuses such shapes
    claimed = math.prod(max(size, 1) for size in shape) * TYPES[code].itemsize
    if claimed > max_bytes:
        raise DataError(
            f"{path} claims to hold {claimed:,} bytes",
            expected=f"at most {max_bytes:,}",
            got=f"shape {shape}",
            fix="pass a larger max_bytes if the file is that large and you trust it",
        )
    return TYPES[code], shape


def _read_elements(
    read: Read, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.ndarray:
    n_bytes = math.prod(shape) * dtype.itemsize
    payload = _read_up_to(read, n_bytes)
    if len(payload) < n_bytes:
        raise DataError(
            f"{path} ends too early",
            expected=f"{n_bytes:,} bytes for shape {shape}",
            got=f"{len(payload):,}",
            fix="the download or copy was cut short: fetch the file again",
        )
    if read(1):
        raise DataError(
            f"{path} goes on after its last element",
            expected=f"{n_bytes:,} bytes for shape {shape}",
            got="more",
        )
    return np.frombuffer(payload, dtype).reshape(shape).astype(dtype.newbyteorder("="), copy=False)


def write_idx(path: str | Path, array: np.ndarray) -> None:
    """Write an array as an IDX file, compressed by the name's ending.

    Raises:
        DataError: The format has no code for the array's type.
    """
    codes = {dtype.newbyteorder("="): code for code, dtype in TYPES.items()}
    native = array.dtype.newbyteorder("=")
    if native not in codes or not 1 <= array.ndim <= MAX_DIMENSIONS:
        raise DataError(
            "this array can not be written as IDX",
            expected="uint8, int8, int16, int32, float32 or float64, 1 to 8 dimensions",
            got=f"{array.dtype}, {array.ndim} dimensions",
        )
    header = bytes([0, 0, codes[native], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    payload = header + array.astype(TYPES[codes[native]]).tobytes()
    path = Path(path)
    if path.suffix == ".xz":
        import lzma

        payload = lzma.compress(payload)
    elif path.suffix == ".gz":
        import gzip

        payload = gzip.compress(payload, mtime=0)
    path.write_bytes(payload)
