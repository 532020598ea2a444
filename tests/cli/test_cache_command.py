"""``chainrule cache``: what it shows and deletes."""

import os
import re
import subprocess
import sys

import pytest

from chainrule.program.compiler.cache import make_key, store


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    store(make_key("ir", 1), {}, {"object": bytes(2000)})
    return tmp_path / "cache"


def command(*arguments):
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    return subprocess.run(
        [sys.executable, "-m", "chainrule", "cache", *arguments],
        capture_output=True,
        text=True,
        env=environment,
    )


def test_info_and_clear(cache):
    lines = [re.split("  +", line.strip()) for line in command().stdout.splitlines()]
    assert lines == [
        ["folder", str(cache)],
        ["code of LLVM texts", "1 file, 2.2 kB"],
        ["together", "1 file, 2.2 kB, of 256.0 MB at most"],
    ]
    (path,) = (cache / "code").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    verified = command("info", "--verify").stdout
    assert verified.splitlines()[-2:] == [f"damaged, deleted: {path}", "as written: 0 files"]
    store(make_key("ir", 1), {}, {"object": bytes(2000)})
    assert command("clear").stdout == f"deleted 1 file, 2.2 kB, from {cache}\n"
    assert list(cache.iterdir()) == []


def test_what_can_not_be_used_is_told(cache, monkeypatch):
    cache.chmod(0o777)
    told = command()
    assert "problem" in told.stdout
    assert "others may write" in told.stdout
    assert command("clear").stdout.startswith("nothing deleted: others may write")
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    assert "the cache is off" in command().stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [(["prune"], "info, clear"), (["clear", "--verify"], "nothing is left to verify")],
)
def test_mistakes_are_answered(cache, arguments, told):
    result = command(*arguments)
    assert result.returncode == 2
    assert told in result.stderr
    assert "Traceback" not in result.stderr
