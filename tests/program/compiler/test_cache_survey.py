"""What the cache holds: counted, verified and deleted, and nothing else touched."""

import os

import numpy as np
import pytest

from chainrule.program.compiler.cache import make_key, store
from chainrule.program.compiler.cache.arrays import kept_array
from chainrule.program.compiler.cache.survey import amounts, clear, delete_damaged, problem


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A cache with an entry of each kind and things that are not its own."""
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    store(make_key("graph", 1), {}, {"object": bytes(1000)})
    store(make_key("ir", 1), {}, {"object": bytes(2000)})
    store(make_key("ir", 2), {}, {"object": bytes(3000)})
    kept_array("digits", "0" * 64, lambda: np.arange(1000))
    code = tmp_path / "cache" / "code"
    (code / ".writing-1-ab").write_bytes(b"half")
    for name in ("mine", "data-" + "0" * 64, "graph-" + "0" * 64 + ".txt"):
        (code / name).write_text("mine")
    (code / f"ir-{'1' * 64}").mkdir()
    (tmp_path / "cache" / "mine").write_text("mine")
    (tmp_path / "cache" / "data" / "mine.array").write_text("mine")
    return tmp_path / "cache"


def test_files_are_counted_by_kind(cache):
    found = amounts()
    counts = {kind: amount.files for kind, amount in found.items() if kind != "sources"}
    assert counts == {"graph": 1, "ir": 2, "data": 1, "unfinished": 1}
    assert 5000 < found["ir"].bytes < 5600
    assert found["data"].bytes == 4096 + 8000
    assert not problem()


def test_damaged_files_are_deleted_on_request(cache):
    assert delete_damaged() == []
    entry, array = cache / "code" / make_key("ir", 1), cache / "data" / f"digits-{'0' * 16}.array"
    for path in (entry, array):
        with path.open("r+b") as file:
            file.seek(-1, os.SEEK_END)
            file.write(b"x")
    link = cache / "code" / f"ir-{'2' * 64}"
    link.symlink_to(cache / "mine")
    assert sorted(delete_damaged()) == sorted([entry, array, link])
    assert delete_damaged() == []
    assert (cache / "mine").read_text() == "mine"


def test_clearing_deletes_what_the_cache_made(cache):
    (cache / "code" / f"ir-{'2' * 64}").symlink_to(cache / "mine")
    before = sum(amount.files for amount in amounts().values())
    assert clear().files == before
    assert sorted(path.name for path in cache.rglob("*") if not path.is_dir()) == sorted(
        ["mine", "mine", "data-" + "0" * 64, "graph-" + "0" * 64 + ".txt", "mine.array"]
    )
    assert clear().files == 0


def test_clearing_an_undisturbed_cache_leaves_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    store(make_key("ir", 1), {}, {})
    assert clear().files == 1
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_unsafe_folder_is_not_touched(cache, tmp_path, monkeypatch):
    (tmp_path / "link").symlink_to(cache)
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "link"))
    assert "symbolic link" in problem()
    assert clear().files == 0
    assert delete_damaged() == []
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    assert problem() == "the cache is off"
    assert clear().files == 0
    monkeypatch.setenv("CHAINRULE_CACHE", str(cache))
    assert amounts()["ir"].files == 2
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "never made"))
    assert not problem()
    assert sum(amount.files for amount in amounts().values()) == 0
    assert not (tmp_path / "never made").exists()


@pytest.mark.skipif(
    not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere"
)
def test_a_folder_that_can_not_be_written_to_is_told(cache):
    (cache / "code").chmod(0o500)
    assert "can not be written" in problem()
    (cache / "code").chmod(0o700)
