"""Checkpoint files: round trips, atomic writing, and every way in which a file can be wrong."""

import json
import math
import os
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from chainrule.array import asarray
from chainrule.errors import StateError
from chainrule.training import checkpoint

FIXTURES = Path(__file__).parent / "fixtures"


def make_state():
    rng = np.random.default_rng(0)
    return {
        "weights": {
            "0.weight": asarray(rng.normal(size=(3, 2)).astype("f")),
            "0.bias": np.zeros(3),
        },
        "half": rng.normal(size=4).astype(ml_dtypes.bfloat16),
        "step": np.int64(7),
        "flags": [True, None, "text", 3, 0.1, math.inf, -math.inf],
        "nothing": {},
        "mask": np.array([True, False]),
        "empty": np.zeros((0, 4), np.float32),
        "strided": np.arange(12.0).reshape(3, 4)[:, ::2],
    }


def test_round_trip_keeps_every_bit(tmp_path):
    state = make_state()
    path = checkpoint.save(state, tmp_path / "a.safetensors")
    found = checkpoint.load(path)
    np.testing.assert_array_equal(
        found["weights"]["0.weight"], state["weights"]["0.weight"].numpy()
    )
    assert found["half"].dtype == ml_dtypes.bfloat16
    assert found["half"].tobytes() == state["half"].tobytes()
    assert found["flags"] == state["flags"]
    assert found["step"].shape == ()
    assert found["step"].dtype == np.int64
    assert found["empty"].shape == (0, 4)
    np.testing.assert_array_equal(found["strided"], state["strided"])
    assert list(found) == list(state)
    found["strided"][0, 0] = 5  # what was loaded may be written to


def test_other_libraries_can_open_it(tmp_path):
    from safetensors.numpy import load_file

    path = checkpoint.save({"model": {"w": np.arange(3.0)}}, tmp_path / "a.safetensors")
    np.testing.assert_array_equal(load_file(path)["model/w"], np.arange(3.0))


def test_floats_survive_exactly(tmp_path):
    values = [*np.random.default_rng(1).normal(size=50).tolist(), 5e-324, 1e308, math.nan]
    found = checkpoint.load(checkpoint.save({"v": values}, tmp_path / "a.safetensors"))["v"]
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": object()}}, "'a/b' holds a object"),
        ({"a": np.array(["x"])}, "'a' holds <U1"),
        ({"a": {1: 2}}, "keys must be plain texts"),
        ({"a": {"$tensor": 2}}, "keys must be plain texts"),
    ],
)
def test_what_can_not_be_saved_is_named(tmp_path, state, message):
    with pytest.raises(StateError, match=message):
        checkpoint.save(state, tmp_path / "a.safetensors")
    assert not list(tmp_path.iterdir())


def rewrite_metadata(content, **changes):
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    header["__metadata__"].update(changes)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + size :]


def damaged_files():
    whole = checkpoint.serialize(make_state())
    flipped = bytearray(whole)
    flipped[-3] ^= 1
    return {
        "empty": (b"", "truncated: 0 bytes"),
        "short": (whole[:100], "truncated"),
        "cut": (whole[:-5], "damaged or truncated"),
        "bit flipped": (bytes(flipped), "damaged: its content does not match"),
        "huge header": ((1 << 60).to_bytes(8, "little") + b"x" * 20, "header claims"),
        "picture": (b"\x89PNG\r\n\x1a\n" + b"x" * 200, "no safetensors file"),
        "no json": ((4).to_bytes(8, "little") + b"abcd", "header is no JSON"),
        "json list": ((2).to_bytes(8, "little") + b"[]", "header is no JSON"),
        "other state": (rewrite_metadata(whole, state="{}"), "does not match its SHA-256"),
        "foreign": (rewrite_metadata(whole, format="pt"), "no checkpoint of chainrule"),
        "newer": (rewrite_metadata(whole, format_version="99"), "written by a newer chainrule"),
        "bad version": (rewrite_metadata(whole, format_version="x"), "format version is 'x'"),
    }


@pytest.mark.parametrize("case", damaged_files())
def test_a_damaged_file_says_what_is_wrong(tmp_path, case):
    content, message = damaged_files()[case]
    path = tmp_path / "epoch-000001-step-000000000.safetensors"
    path.write_bytes(content)
    with pytest.raises(StateError, match=message) as caught:
        checkpoint.load(path)
    assert path.name in str(caught.value)


def test_any_single_damaged_byte_is_refused():
    whole = checkpoint.serialize(make_state())
    digest = checkpoint.read_header(whole)["sha256"]
    rng = np.random.default_rng(2)
    for position in rng.integers(0, len(whole), 300):
        changed = bytearray(whole)
        changed[position] ^= 1 << int(rng.integers(8))
        try:
            found = checkpoint.deserialize(bytes(changed))
        except StateError:
            continue
        # what is left is a change outside all that counts, such as a space in the header
        assert checkpoint.read_header(checkpoint.serialize(found))["sha256"] == digest
    for length in rng.integers(0, len(whole), 100):
        with pytest.raises(StateError):
            checkpoint.deserialize(whole[:length])


def test_a_missing_file():
    with pytest.raises(StateError, match="can not be read: No such file"):
        checkpoint.load("/nowhere/a.safetensors")


def test_the_latest_valid_one_is_used(tmp_path, caplog):
    for epoch, step in [(1, 0), (1, 50), (2, 0)]:
        checkpoint.save({"at": [epoch, step]}, tmp_path / checkpoint.file_name(epoch, step))
    assert checkpoint.load_latest(tmp_path)[0]["at"] == [2, 0]
    latest = checkpoint.checkpoints(tmp_path)[0]
    latest.write_bytes(latest.read_bytes()[:-1])
    state, path = checkpoint.load_latest(tmp_path)
    assert state["at"] == [1, 50]
    assert path.name == checkpoint.file_name(1, 50)
    assert "skipped a checkpoint" in caplog.text
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    with pytest.raises(StateError, match=r"no valid checkpoint[\s\S]*truncated"):
        checkpoint.load_latest(tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path, monkeypatch):
    path = checkpoint.save({"a": 1}, tmp_path / "a.safetensors")

    def fail(handle):
        raise OSError("disk full")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        checkpoint.save({"a": 2}, path)
    assert [p.name for p in tmp_path.iterdir()] == ["a.safetensors"]
    assert checkpoint.load(path) == {"a": 1}


def test_pruning_keeps_the_latest_and_sweeps_leftovers(tmp_path):
    for epoch in range(5):
        checkpoint.save({}, tmp_path / checkpoint.file_name(epoch, 0))
    (tmp_path / ".writing-x.safetensors").write_bytes(b"half")
    checkpoint.prune(tmp_path, 2)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        checkpoint.file_name(3, 0),
        checkpoint.file_name(4, 0),
    ]
