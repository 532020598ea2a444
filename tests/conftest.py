"""Tests keep their cache to themselves: an empty folder at the start, gone at the end."""

import os
import tempfile

_cache = tempfile.TemporaryDirectory(prefix="chainrule-tests-", ignore_cleanup_errors=True)
os.environ["CHAINRULE_CACHE"] = _cache.name


def pytest_unconfigure():
    _cache.cleanup()
