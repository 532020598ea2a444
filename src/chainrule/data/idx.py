"""The IDX format of MNIST: reading that refuses what is malformed, and writing.

Layout (Y. LeCun, "The MNIST database"): two zero bytes, a type code, the number of dimensions, each
size as a big-endian 32-bit number, then the elements in row-major order, big-endian.
"""

from __future__ import annotations

import math
import struct
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
MAX_BYTES = 4 << 30  # no honest file of this format comes near


def read_idx(path: str | Path) -> np.ndarray:
    """Read an IDX file, plain or compressed (``.gz``, ``.xz``).

    Args:
        path: The file.

    Returns:
        The array in native byte order.

    Raises:
        DataError: The file is missing, is no IDX file, or its header and its length disagree. The
            header is checked before anything is allocated, and no more is unpacked than it says.

    Example:
        >>> import tempfile, os
        >>> name = os.path.join(tempfile.mkdtemp(), "a.idx")
        >>> write_idx(name, np.arange(6, dtype=np.uint8).reshape(2, 3))
        >>> read_idx(name).shape
        (2, 3)
    """
    path = Path(path)
    try:
        with _open(path) as file:
            dtype, shape = _read_header(file, path)
            return _read_elements(file, path, dtype, shape)
    except DataError:
        raise
    except FileNotFoundError:
        raise DataError(f"{path} does not exist") from None
    except Exception as error:  # a broken archive raises many kinds: EOFError, LZMAError, ...
        raise DataError(
            f"{path} can not be unpacked", expected="an intact file", got=f"{error}"
        ) from None


def _open(path: Path) -> BinaryIO:
    if path.suffix == ".xz":
        import lzma

        return lzma.open(path)
    if path.suffix == ".gz":
        import gzip

        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _read_header(file: BinaryIO, path: Path) -> tuple[np.dtype[Any], tuple[int, ...]]:
    start = file.read(4)
    if len(start) < 4 or start[:2] != b"\0\0":
        raise DataError(
            f"{path} is no IDX file", expected="two zero bytes at the start", got=repr(start)
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
    sizes = file.read(4 * rank)
    if len(sizes) < 4 * rank:
        raise DataError(
            f"{path} ends within its header", expected=f"{4 + 4 * rank} bytes",
            got=f"{4 + len(sizes)}",
        )  # fmt: skip
    shape = struct.unpack(f">{rank}I", sizes)
    n_bytes = math.prod(shape) * TYPES[code].itemsize
    if n_bytes > MAX_BYTES:
        raise DataError(
            f"{path} claims to hold {n_bytes:,} bytes", expected=f"at most {MAX_BYTES:,}",
            got=f"shape {shape}",
        )  # fmt: skip
    return TYPES[code], shape


def _read_elements(
    file: BinaryIO, path: Path, dtype: np.dtype[Any], shape: tuple[int, ...]
) -> np.ndarray:
    n_bytes = math.prod(shape) * dtype.itemsize
    payload = file.read(n_bytes)
    if len(payload) < n_bytes:
        raise DataError(
            f"{path} ends too early", expected=f"{n_bytes:,} bytes for shape {shape}",
            got=f"{len(payload):,}",
        )  # fmt: skip
    if file.read(1):
        raise DataError(
            f"{path} goes on after its last element", expected=f"{n_bytes:,} bytes for {shape}",
            got="more",
        )  # fmt: skip
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
