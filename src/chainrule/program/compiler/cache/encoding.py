"""Values as bytes from which they could be read back, and digests of them."""

from __future__ import annotations

import dataclasses
import hashlib
import struct
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np


def digest_of(x: Any) -> str:
    """SHA-256 in hexadecimal: equal for equal values, in every process; else different.

    Args:
        x: A text, bytes, number, boolean, None or ndarray, or a dataclass, sequence or mapping of
            these. Types count: 1, 1.0 and True are different.

    Raises:
        TypeError: It is or holds something else.
    """
    digest = hashlib.sha256()
    for piece in _encode(x):
        digest.update(piece)
    return digest.hexdigest()


def _encode(x: Any) -> Iterator[bytes]:
    """Bytes from which ``x`` could be read back: no two values share them."""
    if x is None or isinstance(x, bool):
        yield f"{x};".encode()
    elif isinstance(x, int):
        yield f"i{int(x)};".encode()
    elif isinstance(x, float):
        yield b"f" + struct.pack("<d", x)
    elif isinstance(x, str | bytes):
        text = x.encode("utf-8", "surrogatepass") if isinstance(x, str) else x
        yield f"{'s' if isinstance(x, str) else 'b'}{len(text)};".encode()
        yield text
    elif isinstance(x, np.ndarray | np.generic):
        yield from _encode(("array", str(x.dtype), tuple(x.shape)))
        yield x.tobytes()
    elif dataclasses.is_dataclass(x) and not isinstance(x, type):
        fields = [(field.name, getattr(x, field.name)) for field in dataclasses.fields(x)]
        yield from _encode((type(x).__name__, fields))
    elif isinstance(x, list | tuple):
        yield f"l{len(x)};".encode()
        for item in x:
            yield from _encode(item)
    elif isinstance(x, Mapping):
        yield f"m{len(x)};".encode()
        yield from sorted(b"".join(_encode(pair)) for pair in x.items())
    else:
        raise TypeError(f"a {type(x).__name__} can not be part of a key: {x!r}")
