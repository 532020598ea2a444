"""Text larger than memory: encoded once into a file of tokens, which is mapped into memory."""

from __future__ import annotations

import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from chainrule.data.text.base import Tokenizer
from chainrule.data.text.files import text_files, text_pieces
from chainrule.data.text.vocabulary import smallest_type
from chainrule.errors import DataError
from chainrule.ops.origin import here

#: bytes of the header of a file with one row of numbers, whatever its length
_HEADER = 128
#: changes whenever the same text gives other tokens
VERSION = 1


def token_file(
    source: str | Path,
    tokenizer: Tokenizer,
    keep: str | Path,
    *,
    encoding: str = "utf-8",
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """Encode a text file or folder of any size into a file, and map that into memory.

    The text is read in pieces that end behind lines or spaces. A file that was made of the same
    text (names, sizes and times of its files) by the same tokenizer is used as it is.

    Args:
        source: A text file, or a folder of them.
        tokenizer: Gives the tokens their numbers.
        keep: Folder for the file, ``tokens-….npy``, 1 to 4 bytes a token.
        encoding: Of the text.
        progress: Called with the number of tokens so far, piece after piece.

    Returns:
        Unsigned integers (n,), read-only, mapped: ``random_windows`` and ``strided_windows`` take
        them without a copy.

    Raises:
        DataError: There is no text, it can not be decoded, or a character has no token.
    """
    folder = Path(keep)
    path = folder / f"tokens-{_digest(Path(source), tokenizer, encoding)[:32]}.npy"
    found = _mapped(path)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}-{os.getpid()}")
    try:
        with open(temporary, "wb") as file:
            n = _write(file, source, tokenizer, encoding, progress)
            file.flush()
            os.fsync(file.fileno())
        if not n:
            raise DataError(f"{source} holds no text", got="0 tokens", where=str(here()))
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    made = _mapped(path)
    assert made is not None
    return made


def _write(
    file: io.BufferedWriter,
    source: str | Path,
    tokenizer: Tokenizer,
    encoding: str,
    progress: Callable[[int], None] | None,
) -> int:
    dtype, n = smallest_type(tokenizer.size), 0
    file.write(bytes(_HEADER))
    for piece in text_pieces(source, encoding=encoding):
        tokens = tokenizer.encode(piece).astype(dtype, copy=False)
        file.write(tokens.tobytes())
        n += len(tokens)
        if progress is not None:
            progress(n)
    header = io.BytesIO()
    description = {
        "descr": np.lib.format.dtype_to_descr(dtype),
        "fortran_order": False,
        "shape": (n,),
    }
    np.lib.format.write_array_header_1_0(header, description)
    assert len(header.getvalue()) == _HEADER
    file.seek(0)
    file.write(header.getvalue())
    return n


def _mapped(path: Path) -> np.ndarray | None:
    try:
        return np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError):  # not there, or no file that was written here
        return None


def _digest(source: Path, tokenizer: Tokenizer, encoding: str) -> str:
    description = json.dumps(tokenizer.to_json(), sort_keys=True)
    digest = hashlib.sha256(repr((VERSION, encoding, description)).encode())
    for path in text_files(source):
        status = path.stat()
        entry = (str(path.resolve()), status.st_size, status.st_mtime_ns)
        digest.update(repr(entry).encode(errors="surrogateescape"))
    return digest.hexdigest()
