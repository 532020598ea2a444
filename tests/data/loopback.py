"""A small web server on this machine that can break off, change its files, and forget ranges."""

import contextlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """What is served and how.

    ``files``: path → content. ``breaks``: bytes after which a connection is cut, one for each
    of the next connections. ``ranges``: False: always the whole file. ``redirects``: path → URL.
    """

    def __init__(self):
        self.files, self.breaks, self.ranges, self.redirects = {}, [], True, {}
        self.lengths, self.status = True, 0
        self.asked = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.answer(self)

            def log_message(self, *arguments):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def answer(self, request):
        asked = request.headers.get("Range")
        self.asked.append((request.path, asked))
        content = self.files.get(request.path)
        if request.path in self.redirects:
            request.send_response(302)
            request.send_header("Location", self.redirects[request.path])
            request.end_headers()
            return
        if content is None or self.status:
            request.send_error(self.status or 404)
            return
        tag = f'"{hash(content)}"'
        start = 0
        if asked and self.ranges and request.headers.get("If-Range") in (None, tag):
            start = int(asked.removeprefix("bytes=").rstrip("-"))
            if start >= len(content):
                request.send_response(416)
                request.send_header("Content-Range", f"bytes */{len(content)}")
                request.end_headers()
                return
        request.send_response(206 if start else 200)
        if start:
            last = len(content) - 1
            request.send_header("Content-Range", f"bytes {start}-{last}/{len(content)}")
        request.send_header("ETag", tag)
        if self.lengths:
            request.send_header("Content-Length", str(len(content) - start))
        request.end_headers()
        piece = content[start:]
        with contextlib.suppress(OSError):  # the other side may have hung up
            request.wfile.write(piece[: self.breaks.pop(0)] if self.breaks else piece)


@contextlib.contextmanager
def serving():
    server = Server()
    thread = threading.Thread(target=server.http.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.http.shutdown()
        server.http.server_close()
        thread.join()
