"""Tests keep their cache to themselves: an empty folder at the start, gone at the end.

Run on several processes (``-n``), all workers share the folder of the process that started them,
so that what one of them has compiled is there for the others, and share the processors.
"""

import os
import signal
import tempfile

_cache = None
if "PYTEST_XDIST_WORKER" not in os.environ:
    _cache = tempfile.TemporaryDirectory(prefix="chainrule-tests-", ignore_cleanup_errors=True)
    os.environ["CHAINRULE_CACHE"] = _cache.name
else:
    _share = max(1, (os.cpu_count() or 1) // int(os.environ["PYTEST_XDIST_WORKER_COUNT"]))
    for _name in ("CHAINRULE_NUM_THREADS", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
        os.environ.setdefault(_name, str(_share))  # tests of threads choose their own number
# a shell that starts the tests in the background has Ctrl-C ignored, here and in what they start
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_unconfigure():
    if _cache is not None:
        _cache.cleanup()
