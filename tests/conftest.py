"""Tests keep their cache to themselves: an empty folder at the start, gone at the end."""

import os
import signal
import tempfile

_cache = tempfile.TemporaryDirectory(prefix="chainrule-tests-", ignore_cleanup_errors=True)
os.environ["CHAINRULE_CACHE"] = _cache.name
# a shell that starts the tests in the background has Ctrl-C ignored, here and in what they start
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    _cache.cleanup()
