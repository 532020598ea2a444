"""The code cache: what is stored is found, and nothing else is ever believed."""

import dataclasses
import logging
import os
import random
import stat
import subprocess
import sys
import tempfile

import numpy as np
import pytest

from chainrule.errors import ArgumentError
from chainrule.program.compiler.cache import (
    entries,
    files,
    folder,
    is_enabled,
    keys,
    lookup,
    make_key,
    room,
    sources,
    store,
    survey,
)
from chainrule.program.compiler.target import TARGETS

METADATA = {"exports": ["program"], "arena": 4096, "shape": [2, 3], "none": None, "rate": 0.5}
BLOBS = {"object": bytes(range(256)) * 20, "empty": b"", "other": b"x"}

needs_owners = pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may give files away"
)


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of the code in an empty cache."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("CHAINRULE_CACHE_SIZE", raising=False)
    monkeypatch.setattr(folder, "_told", set())
    monkeypatch.setattr(room, "_unlisted", float("inf"))
    return tmp_path / "cache" / "code"


def assert_rebuilt(key):
    """The key is not there, can be stored, and is there afterwards."""
    assert lookup(key) is None
    assert store(key, METADATA, BLOBS)
    assert lookup(key) == entries.Entry(key, METADATA, BLOBS)


def test_what_is_stored_is_found(code):
    key = make_key("ir", "define void @f()")
    assert_rebuilt(key)
    assert store(key, {"other": 1}, {})
    assert lookup(key) == entries.Entry(key, {"other": 1}, {})
    assert lookup(make_key("ir", "define void @g()")) is None
    assert [path.name for path in code.iterdir()] == [key]


def test_another_process_finds_it(code):
    key = make_key("graph", "a graph", TARGETS["avx2"], {"width": 8})
    script = (
        "from chainrule.program.compiler.cache import store\n"
        f"assert store({key!r}, {METADATA!r}, {BLOBS!r})"
    )
    subprocess.run([sys.executable, "-c", script], check=True)
    assert lookup(key).blobs == BLOBS


def test_only_the_user_may_look(code):
    store(make_key("ir", "x"), METADATA, BLOBS)
    (path,) = code.iterdir()
    assert stat.S_IMODE(code.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(code.stat().st_mode) == 0o700
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_keys_are_equal_for_equal_parts_only():
    target = TARGETS["avx2"]
    parts = [
        (), ("",), (b"",), ("a",), (b"a",), ("a", "b"), ("ab",), (("a", "b"),), (["a"], "b"),
        (1,), (1.0,), (True,), ("1",), (0.0,), (-0.0,), (None,), ("None",), ((),), ({},),
        ({"a": 1, "b": 2},), ({"a": 2, "b": 1},), (target,),
        (dataclasses.replace(target, level1=1),), (np.zeros(2),), (np.zeros(2, "f"),),
        (np.zeros((1, 2)),), (np.float32(1),), (2**70,), ("é\ud800",),
    ]  # fmt: skip
    made = [make_key(level, *each) for level in keys.LEVELS for each in parts]
    assert len(set(made)) == len(made)
    assert made == [make_key(level, *each) for level in keys.LEVELS for each in parts]
    assert make_key("ir", {"a": 1, "b": 2}) == make_key("ir", {"b": 2, "a": 1})
    assert make_key("ir", dataclasses.replace(target)) == make_key("ir", target)
    with pytest.raises(TypeError, match="a set"):
        make_key("ir", {1, 2})
    with pytest.raises(ValueError, match="graph, ir"):
        make_key("sources")
    for wrong in ("../../x", "ir-12", make_key("ir") + "\n"):
        with pytest.raises(ValueError, match="no key"):
            lookup(wrong)
        with pytest.raises(ValueError, match="no key"):
            store(wrong, {}, {})


def test_code_of_graphs_depends_on_the_sources(monkeypatch):
    graph, text = make_key("graph", "x"), make_key("ir", "x")
    monkeypatch.setattr(keys, "sources_digest", lambda: "others")
    assert make_key("graph", "x") != graph
    assert make_key("ir", "x") == text


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package of two source files, old enough to be settled; the digest is computed anew."""
    root = tmp_path / "package"
    (root / "ops" / "inner").mkdir(parents=True)
    (root / "ops" / "inner" / "a.py").write_text("a = 1\n")
    (root / "graph.py").write_text("g = 1\n")
    (root / "graph.txt").write_text("no source")
    monkeypatch.setattr(sources, "_PACKAGE", root)
    monkeypatch.setattr(sources, "_LOADED", sources._LOADED + 1e6)
    sources.sources_digest.cache_clear()
    yield root
    sources.sources_digest.cache_clear()


def digest_again():
    sources.sources_digest.cache_clear()
    return sources.sources_digest()


def test_the_digest_of_the_sources(code, package, monkeypatch):
    first = digest_again()
    assert len(first) == 64
    with monkeypatch.context() as patch:
        patch.setattr(sources, "_read_all", lambda paths: pytest.fail("read though known"))
        assert digest_again() == first
    (package / "graph.txt").write_text("another text")
    assert digest_again() == first
    path = package / "ops" / "inner" / "a.py"
    times = path.stat()
    path.write_text("a = 2\n")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    second = digest_again()
    assert second != first, "same size and time of modification, another text"
    path.write_text("a = 1\n")
    assert digest_again() == first, "the text counts, not the time"
    (package / "ops" / "b.py").write_text("")
    assert digest_again() not in (first, second)


def test_sources_that_change_under_a_process_are_for_it_alone(code, package, monkeypatch):
    monkeypatch.setattr(sources, "_LOADED", (package / "graph.py").stat().st_mtime - 60)
    first = digest_again()
    assert first.startswith("this process")
    assert digest_again() != first
    monkeypatch.setattr(sources, "_PACKAGE", package / "zipped")
    assert digest_again().startswith("this process"), "no sources to be read"


@pytest.mark.parametrize("seed", range(4))
def test_damaged_entries_are_rebuilt(code, seed):
    rng = random.Random(seed)
    key = make_key("ir", seed)
    store(key, METADATA, BLOBS)
    path = code / key
    whole = path.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        kind = rng.randrange(4)
        if kind == 0:
            damaged = damaged[: rng.randrange(len(whole))]
        elif kind == 1:
            damaged[rng.randrange(len(whole))] ^= 1 << rng.randrange(8)
        elif kind == 2:
            damaged += rng.randbytes(rng.randrange(1, 100))
        else:
            start = rng.randrange(len(whole))
            damaged[start : start + 64] = rng.randbytes(len(damaged[start : start + 64]))
        path.write_bytes(damaged)
        assert lookup(key) is None, kind
    assert_rebuilt(key)


def test_every_bit_of_the_head_matters(code):
    key = make_key("ir", "head")
    whole = entries.serialize(key, METADATA, {"object": b"code"})
    assert entries.parse(key, whole) is not None
    for position in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[position] ^= 1 << bit
            assert entries.parse(key, bytes(damaged)) is None


def test_an_entry_under_another_name_is_foreign(code):
    key, other = make_key("ir", 1), make_key("ir", 2)
    store(key, METADATA, BLOBS)
    os.rename(code / key, code / other)
    assert_rebuilt(other)


def put_folder(path, tmp_path):
    path.mkdir()


def put_link(path, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_bytes(entries.serialize(path.name, METADATA, BLOBS))
    elsewhere.chmod(0o600)
    path.symlink_to(elsewhere)


def put_loop(path, tmp_path):
    path.symlink_to(path)


def put_fifo(path, tmp_path):
    os.mkfifo(path, 0o600)


def put_open_file(path, tmp_path):
    path.write_bytes(entries.serialize(path.name, METADATA, BLOBS))
    path.chmod(0o620)


def put_anothers_file(path, tmp_path):
    path.write_bytes(entries.serialize(path.name, METADATA, BLOBS))
    path.chmod(0o600)
    os.chown(path, 12345, 12345)


STRANGE = [put_folder, put_link, put_loop, put_fifo, put_open_file]


@pytest.mark.parametrize("put", [*STRANGE, pytest.param(put_anothers_file, marks=needs_owners)])
def test_strange_things_in_an_entrys_place_are_replaced(code, tmp_path, put):
    key = make_key("ir", "x")
    code.mkdir(parents=True, mode=0o700)
    code.parent.chmod(0o700)
    put(code / key, tmp_path)
    assert_rebuilt(key)
    assert stat.S_ISREG((code / key).lstat().st_mode)


def test_a_full_folder_in_an_entrys_place_stays(code, caplog):
    key = make_key("ir", "x")
    (code / key).mkdir(parents=True, mode=0o700)
    code.chmod(0o700)
    code.parent.chmod(0o700)
    (code / key / "mine").write_text("keep")
    assert lookup(key) is None
    assert not store(key, METADATA, BLOBS)
    assert (code / key / "mine").read_text() == "keep"
    assert [path.name for path in code.iterdir()] == [key], "no temporary file stays"
    assert "can not be written" in caplog.text


def link_it(folder_, tmp_path):
    folder_.rename(tmp_path / "real")
    folder_.symlink_to(tmp_path / "real")


def open_it(folder_, tmp_path):
    folder_.chmod(0o777)


def give_it_away(folder_, tmp_path):
    os.chown(folder_, 12345, 12345)


def make_it_a_file(folder_, tmp_path):
    folder_.rename(tmp_path / "real")
    folder_.write_text("no folder")


@pytest.mark.parametrize("which", ["cache", "code"])
@pytest.mark.parametrize(
    ("change", "told"),
    [
        (link_it, "symbolic link"),
        (open_it, "others may write"),
        (make_it_a_file, "no folder"),
        pytest.param(give_it_away, "another user", marks=needs_owners),
    ],
)
def test_an_unsafe_folder_is_no_cache_and_said_once(code, tmp_path, caplog, which, change, told):
    key = make_key("ir", "x")
    assert store(key, METADATA, BLOBS)
    change(code if which == "code" else code.parent, tmp_path)
    for _ in range(3):
        assert lookup(key) is None
        assert not store(key, METADATA, BLOBS)
        assert not is_enabled()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert record.name == "chainrule.cache"
    assert told in record.getMessage()
    assert "\n" not in record.getMessage()


def test_a_folder_that_can_not_be_made_is_no_cache(tmp_path, monkeypatch, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(folder, "_told", set())
    assert lookup(make_key("ir", "x")) is None
    assert not store(make_key("ir", "x"), METADATA, BLOBS)
    assert not store(make_key("ir", "x"), METADATA, BLOBS)
    (record,) = caplog.records
    assert "can not be made" in record.getMessage()


def test_a_full_disk_is_no_error(code, monkeypatch, caplog):
    def refuse(source, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "replace", refuse)
    assert not store(make_key("ir", "x"), METADATA, BLOBS)
    assert not list(code.iterdir())
    assert "No space left" in caplog.text


AS_ANOTHER_USER = """
import logging, os, sys
from chainrule.program.compiler.cache import lookup, make_key, store, survey
logging.basicConfig(format="%(message)s")
key = make_key("ir", "x")
os.setgroups([])
os.setegid(12345)
os.seteuid(12345)
for step in sys.argv[1:]:
    if step == "lock":
        os.chmod(os.environ["CHAINRULE_CACHE"] + "/code", 0o500)
    else:
        call = {"lookup": lookup, "problem": lambda _: survey.problem()}.get(step)
        print(step, call(key) if call else store(key, {}, {}))
"""


def as_another_user(*steps):
    result = subprocess.run(
        [sys.executable, "-c", AS_ANOTHER_USER, *steps], capture_output=True, text=True
    )
    return result.stdout.splitlines(), result.stderr.splitlines()


@needs_owners
def test_what_the_user_may_not_write_to(monkeypatch):
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        monkeypatch.setenv("CHAINRULE_CACHE", f"{root}/cache")
        told, logged = as_another_user("lookup", "store", "store", "lookup")
        assert told == ["lookup None", "store False", "store False", "lookup None"]
        assert logged == [f"no cache on disk: {root}/cache can not be made: Permission denied"]

        assert store(make_key("ir", "x"), METADATA, BLOBS)
        told, logged = as_another_user("lookup", "problem")
        assert told == ["lookup None", f"problem {root}/cache belongs to another user"]
        assert logged == [f"no cache on disk: {root}/cache belongs to another user"]

        os.mkdir(f"{root}/own", 0o700)
        os.chown(f"{root}/own", 12345, 12345)
        monkeypatch.setenv("CHAINRULE_CACHE", f"{root}/own")
        told, logged = as_another_user("store", "lock", "problem", "store", "lookup")
        assert told[1] == f"problem {root}/own/code can not be written to"
        assert told[2] == "store False"
        assert told[3].startswith("lookup Entry(key='ir-")
        assert logged == [f"the cache in {root}/own can not be written: Permission denied"]


def test_clearing_while_another_process_writes_is_no_failure(code, monkeypatch, caplog):
    replace = os.replace

    def clear_first(source, target):
        survey.clear()
        replace(source, target)

    monkeypatch.setattr(files.os, "replace", clear_first)
    assert not store(make_key("ir", "x"), METADATA, BLOBS)
    assert not caplog.records


def test_the_cache_can_be_turned_off(monkeypatch, caplog):
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    assert folder.location() is None
    assert not is_enabled()
    assert not store(make_key("ir", "x"), METADATA, BLOBS)
    assert lookup(make_key("ir", "x")) is None
    assert not caplog.records


def test_where_the_folder_is(monkeypatch, tmp_path):
    monkeypatch.delenv("CHAINRULE_CACHE")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.setattr(folder.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", "/elsewhere")
    assert str(folder.location()) == "/elsewhere/chainrule"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    assert str(folder.location()) == "/home/somebody/.cache/chainrule"
    monkeypatch.setattr(folder.sys, "platform", "darwin")
    assert str(folder.location()) == "/home/somebody/Library/Caches/chainrule"
    monkeypatch.setattr(folder.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", "/local")
    assert str(folder.location()) == "/local/chainrule"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CHAINRULE_CACHE", "here")
    assert folder.location() == tmp_path / "here"
    monkeypatch.setenv("CHAINRULE_CACHE", "~/there")
    assert str(folder.location()) == "/home/somebody/there"


def test_the_least_recently_used_entries_make_room(code, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "1")
    made = [make_key("ir", i) for i in range(12)]
    for age, key in enumerate(made[:9]):
        assert store(key, {}, {"object": bytes(100_000)})
        os.utime(code / key, (1e9 + age, 1e9 + age))
    assert lookup(made[0]) is not None, "used again: younger than all others"
    for key in made[9:]:
        assert store(key, {}, {"object": bytes(100_000)})
        assert lookup(key) is not None
    assert sum(path.stat().st_size for path in code.iterdir()) <= 1_000_000
    left = {path.name for path in code.iterdir()}
    assert [key in left for key in made] == [True] + 4 * [False] + 7 * [True]
    assert not store(make_key("ir", "large"), {}, {"object": bytes(600_000)})


def test_what_killed_writers_left_is_deleted(code):
    store(make_key("ir", 0), METADATA, BLOBS)
    old, young = code / f"{files.TEMPORARY}1-a", code / f"{files.TEMPORARY}2-b"
    for path in (old, young):
        path.write_bytes(b"half an entry")
    os.utime(old, (1e9, 1e9))
    room.delete_oldest(folder.limit())
    assert not old.exists()
    assert young.exists()


def test_the_limit_is_checked(monkeypatch):
    monkeypatch.delenv("CHAINRULE_CACHE_SIZE", raising=False)
    assert folder.limit() == 256_000_000
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "3")
    assert folder.limit() == 3_000_000
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "much")
    with pytest.raises(ArgumentError, match="megabytes"):
        folder.limit()


WORKER = """
import sys
from chainrule.program.compiler.cache import lookup, make_key, store
seed = int(sys.argv[1])
made = [make_key("ir", i) for i in range(8)]
found = 0
for turn in range(150):
    i = (turn * 7 + seed * 3) % 8
    entry = lookup(made[i])
    if entry is not None:
        assert entry.blobs == {"object": bytes([i]) * 60_000}, "torn"
        found += 1
    store(made[i], {"by": seed}, {"object": bytes([i]) * 60_000})
print(found)
"""


def test_several_processes_share_it(code, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE_SIZE", "1")
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WORKER, str(seed)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for seed in range(3)
    ]
    for worker in workers:
        output, errors = worker.communicate(timeout=60)
        assert worker.returncode == 0, errors
        assert not errors
        assert int(output) > 0
    assert not [path for path in code.iterdir() if path.name.startswith(files.TEMPORARY)]
