"""One file over HTTP: in pieces, gone on with where it was cut off, whole or not at all."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from chainrule.errors import DataError
from chainrule.version import VERSION

CHUNK_BYTES = 1 << 18
#: seconds without a byte after which a connection is given up
TIMEOUT = 30.0
#: connections that may break before it is said, and seconds of rest between them
ATTEMPTS = 4
PAUSE = 1.0
#: HTTP's answer to a range that begins at the file's end or after it
RANGE_REFUSED = 416

Progress = Callable[[int, int], None]


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows redirections, but never from https to less."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):  # type: ignore[no-untyped-def]
        if req.type == "https" and urllib.parse.urlsplit(newurl).scheme != "https":
            raise urllib.error.URLError(f"it redirects to {newurl}, which is not encrypted")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def fetch(url: str, part: Path, most: int, progress: Progress | None = None) -> None:
    """Download into ``part``, from where an earlier attempt ended.

    What a part is of is kept beside it, so a file that changed on the server is begun anew.

    Args:
        url: ``http`` or ``https``.
        part: The file to write; it stays if the download breaks off.
        most: Refuse more bytes.
        progress: Called with the bytes that are there, and how many there will be (0: unknown).

    Raises:
        DataError: The server does not give the file, or too much; or the connection breaks again
            and again.
    """
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise DataError(f"{url!r} can not be downloaded", expected="http:// or https://")
    with _locked(part) as file:
        problem: Exception | None = None
        for number in range(ATTEMPTS):
            time.sleep(PAUSE if number else 0.0)
            before = file.seek(0, os.SEEK_END)
            try:
                if _attempt(url, file, _note(part), most, progress):
                    _note(part).unlink(missing_ok=True)
                    return
                problem = None
            except urllib.error.HTTPError as error:
                error.close()
                if error.code == RANGE_REFUSED and before:
                    # killed after the last byte: the part is whole; else it is of another file
                    if error.headers.get("Content-Range") == f"bytes */{before}":
                        _note(part).unlink(missing_ok=True)
                        return
                    file.truncate(0)
                elif error.code < 500:
                    _refuse(url, f"HTTP status {error.code} {error.reason}", before)
                problem = error
            except (OSError, http.client.HTTPException) as error:
                problem = error
        reason = f"{problem}" if problem else "the connection ends too early"
        _refuse(url, reason, file.seek(0, os.SEEK_END))


def _refuse(url: str, reason: str, n_bytes: int) -> None:
    raise DataError(
        f"{url} can not be downloaded",
        expected="a file",
        got=reason,
        fix=f"the same command goes on after the {n_bytes:,} bytes that are there"
        if n_bytes
        else "look at the connection, or name a mirror: --mirror URL",
    )


def _note(part: Path) -> Path:
    """Where it is kept what a part is of."""
    return part.with_name(part.name + ".json")


@contextlib.contextmanager
def _locked(part: Path) -> Iterator[IO[bytes]]:
    """The part, open for this process alone (where the platform can say so)."""
    with part.open("ab") as file:
        try:
            import fcntl
        except ImportError:  # Windows
            pass
        else:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise DataError(
                    f"{part.name} is being downloaded by another process",
                    fix="wait until that is done",
                ) from None
        yield file
        file.flush()
        os.fsync(file.fileno())


def _attempt(url: str, file: IO[bytes], note: Path, most: int, progress: Progress | None) -> bool:
    """Read from one connection; True if the file is whole then."""
    start = file.seek(0, os.SEEK_END)
    known = _read_note(note) if start else {}
    headers = {"User-Agent": f"chainrule/{VERSION}", "Accept-Encoding": "identity"}
    if start and known.get("url") == url and known.get("validator"):
        # If-Range: all from the beginning, should the file be another one by now
        headers |= {"Range": f"bytes={start}-", "If-Range": known["validator"]}
    opener = urllib.request.build_opener(_Redirects)
    request = urllib.request.Request(url, headers=headers)
    with opener.open(request, timeout=TIMEOUT) as answer:
        start = _place(answer, start)
        total = int(answer.headers.get("Content-Length") or 0) + start
        if total > most:
            _too_large(url, most, total)
        file.truncate(start)
        file.seek(start)
        if not start:
            # a weak ETag does not promise the same bytes
            tag = answer.headers.get("ETag") or ""
            validator = tag if tag.startswith('"') else answer.headers.get("Last-Modified") or ""
            note.write_text(json.dumps({"url": url, "validator": validator}), encoding="utf-8")
        n_bytes = start
        while piece := answer.read(CHUNK_BYTES):
            n_bytes += len(piece)
            if n_bytes > most:
                _too_large(url, most, n_bytes)
            file.write(piece)
            if progress is not None:
                progress(n_bytes, total if answer.headers.get("Content-Length") else 0)
    return n_bytes == total or not answer.headers.get("Content-Length")


def _place(answer: Any, start: int) -> int:
    """Where in the file the answer begins."""
    if answer.status != 206:
        return 0
    told = answer.headers.get("Content-Range", "")
    if not told.startswith(f"bytes {start}-"):
        raise http.client.HTTPException(f"the server sends another part: {told!r}")
    return start


def _too_large(url: str, most: int, n_bytes: int) -> None:
    raise DataError(
        f"{url} is larger than it may be",
        expected=f"at most {most:,} bytes",
        got=f"{n_bytes:,} or more",
        fix="this is not the file that was meant: look where the address leads",
    )


def _read_note(note: Path) -> dict[str, str]:
    try:
        known = json.loads(note.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}
