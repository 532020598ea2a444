"""Text files and folders of them: read whole, or in pieces where they are larger than memory."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from chainrule.errors import ArgumentError, DataError
from chainrule.ops.origin import here

#: endings of the files that a folder is searched for
ENDINGS = (".txt", ".text", ".md")
#: characters of a piece
PIECE_CHARACTERS = 1 << 20
_READ_BYTES = 1 << 20


def text_files(path: str | Path) -> list[Path]:
    """The text files of a folder and the folders in it, in the order of their names; or one file.

    Args:
        path: A file, whatever its ending, or a folder, which is searched for names that end in
            .txt, .text or .md. Hidden files and folders are passed over, links to folders too.

    Raises:
        DataError: There is no such file or folder, or no text file in it.
    """
    root = Path(path)
    if root.is_file():
        return [root]
    if not root.is_dir():
        raise DataError(
            f"{root} is not there",
            expected="a text file, or a folder of them",
            got="no such file or folder",
            where=str(here()),
        )
    found = []
    for folder, inner, files in os.walk(root):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in files:
            if not name.startswith(".") and Path(name).suffix.lower() in ENDINGS:
                found.append(Path(folder) / name)
    if not found:
        raise DataError(
            f"{root} holds no text files",
            expected=f"names that end in {', '.join(ENDINGS)}",
            got=f"{len(os.listdir(root))} other entries",
            fix="name the file itself, whatever its ending",
            where=str(here()),
        )
    return sorted(found, key=lambda file: file.relative_to(root).as_posix())


def read_text(path: str | Path, encoding: str = "utf-8") -> str:
    """The text of a file; or of all files of a folder, one behind the other.

    Line ends of all systems become ``\\n``; a byte order mark is left out.

    Args:
        path: A file or folder, see ``text_files``.
        encoding: Of the bytes.

    Raises:
        DataError: Nothing is there, or bytes are no text in this encoding.

    >>> import pathlib, tempfile
    >>> path = pathlib.Path(tempfile.mkdtemp()) / "a.txt"
    >>> path.write_bytes(b"to be\\r\\nor not")
    13
    >>> read_text(path)
    'to be\\nor not'
    """
    return "".join(text_pieces(path, encoding=encoding))


def text_pieces(
    path: str | Path, n_characters: int = PIECE_CHARACTERS, encoding: str = "utf-8"
) -> Iterator[str]:
    """The text of a file or folder in pieces, so that it may be larger than memory.

    Pieces end behind a line or a space wherever there is one in the second half of a piece, so
    that words stay whole.

    Args:
        path: A file or folder, see ``text_files``.
        n_characters: The most that a piece may have, ≥ 1.
        encoding: Of the bytes.

    Raises:
        ArgumentError: ``n_characters`` or ``encoding`` is out of range.
        DataError: Nothing is there, or bytes are no text in this encoding.
    """
    if n_characters < 1:
        raise ArgumentError(
            "n_characters is out of range",
            expected="1 or more",
            got=str(n_characters),
            where=str(here()),
        )
    rest = ""
    for chunk in _chunks(text_files(path), encoding):
        rest += chunk
        while len(rest) > n_characters:
            end = _last_gap(rest, n_characters)
            yield rest[:end]
            rest = rest[end:]
    if rest:
        yield rest


def _last_gap(text: str, n: int) -> int:
    """How many of the first ``n`` characters to take, so that no word is cut if that can be."""
    for gap in ("\n", " "):
        place = text.rfind(gap, n // 2, n)
        if place >= 0:
            return place + 1
    return n


def _chunks(files: list[Path], encoding: str) -> Iterator[str]:
    for path in files:
        try:
            with open(path, encoding=_marked(encoding)) as file:
                while chunk := file.read(_READ_BYTES):
                    yield chunk
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path} is no text in {encoding}",
                expected=f"bytes that {encoding} can decode",
                got=f"the byte 0x{error.object[error.start]:02x}: {error.reason}",
                fix="read_text(path, encoding='latin-1') for old files; or is it no text at all?",
                where=str(here()),
            ) from None
        except LookupError:
            raise ArgumentError(
                f"there is no encoding {encoding!r}",
                expected="'utf-8', 'latin-1', 'utf-16', …",
                got=repr(encoding),
                where=str(here()),
            ) from None
        except OSError as error:
            raise DataError(
                f"{path} can not be read", got=error.strerror or str(error), where=str(here())
            ) from None


def _marked(encoding: str) -> str:
    """The codec that leaves a byte order mark out."""
    return "utf-8-sig" if encoding.lower().replace("_", "-") in ("utf-8", "utf8") else encoding
