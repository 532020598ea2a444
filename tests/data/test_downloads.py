"""Downloads from this machine: resumed, checked, unpacked, whole or not at all; and the readers."""

import gzip
import hashlib
import io
import json
import os
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from loopback import serving
from typer.testing import CliRunner

from chainrule import data
from chainrule.cli.app import app
from chainrule.data import catalog, fetching
from chainrule.data.archives import unpack
from chainrule.data.catalog import CATALOG, Entry, RemoteFile
from chainrule.data.downloads import download
from chainrule.errors import ArgumentError, DataError


@pytest.fixture(autouse=True)
def place(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(fetching, "PAUSE", 0.0)
    return tmp_path / "data"


@pytest.fixture
def server():
    with serving() as running:
        yield running


def cifar_records(n, n_labels, seed, n_classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, n_classes, (n, n_labels)).astype(np.uint8)
    pixels = rng.integers(0, 256, (n, 3072)).astype(np.uint8)
    return np.concatenate([labels, pixels], axis=1).tobytes()


def tar_gz(files, kind=tarfile.REGTYPE):
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size, member.type, member.linkname = len(content), kind, "/etc/passwd"
            tar.addfile(member, io.BytesIO(content))
    return packed.getvalue()


CIFAR10 = {
    **{f"cifar-10-batches-bin/data_batch_{k}.bin": cifar_records(4, 1, k, 10) for k in range(1, 6)},
    "cifar-10-batches-bin/test_batch.bin": cifar_records(3, 1, 9, 10),
    "cifar-10-batches-bin/readme.html": b"<p>not wanted</p>",
}
CIFAR100 = {
    "cifar-100-binary/train.bin": cifar_records(6, 2, 1, 20),
    "cifar-100-binary/test.bin": cifar_records(2, 2, 2, 20),
    "cifar-100-binary/fine_label_names.txt": "".join(f"class_{k}\n" for k in range(100)).encode(),
    "cifar-100-binary/coarse_label_names.txt": "".join(f"kind_{k}\n" for k in range(20)).encode(),
}


def idx(array):
    header = bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">i4").tobytes()
    return gzip.compress(header + array.astype(np.uint8).tobytes(), mtime=0)


def fashion():
    rng = np.random.default_rng(0)
    files = {}
    for stem, n in (("train", 5), ("t10k", 3)):
        files[f"{stem}-images-idx3-ubyte.gz"] = idx(rng.integers(0, 256, (n, 28, 28)))
        files[f"{stem}-labels-idx1-ubyte.gz"] = idx(rng.integers(0, 10, n))
    return files


@pytest.fixture
def offered(server, monkeypatch):
    """The catalogue with addresses on this machine, and checksums of the small files there."""
    packed = {
        "cifar10": {"cifar-10-binary.tar.gz": tar_gz(CIFAR10)},
        "cifar100": {"cifar-100-binary.tar.gz": tar_gz(CIFAR100)},
        "fashion-mnist": fashion(),
    }
    for name, files in packed.items():
        known = CATALOG[name]
        remote = []
        for file in known.files:
            content = files[file.name]
            server.files[f"/{name}/{file.name}"] = content
            md5 = hashlib.md5(content).hexdigest() if name != "cifar100" else ""
            remote.append(RemoteFile(f"{server.url}/{name}/{file.name}", 200_000, md5=md5))
        entry = Entry(known.title, tuple(remote), known.members, known.terms)
        monkeypatch.setitem(CATALOG, name, entry)
    return server


def test_cifar10_from_server_to_array(offered, place):
    told = []
    (done,) = download("cifar10", progress=lambda *counts: told.append(counts))
    assert done.how == "checked by its authors' MD5"
    size = len(offered.files["/cifar10/cifar-10-binary.tar.gz"])
    assert told[-1] == ("cifar-10-binary.tar.gz", size, size)
    left = sorted(path.name for path in (place / "cifar10").iterdir())
    assert left == sorted(CATALOG["cifar10"].members), "neither archive nor part stays"
    train, test = data.cifar10("train"), data.cifar10("test")
    assert train.inputs.shape == (20, 3, 32, 32)
    assert len(test) == 3
    record = np.frombuffer(CIFAR10["cifar-10-batches-bin/data_batch_2.bin"], np.uint8)
    record = record.reshape(4, 3073)[1]
    assert train.targets[5] == record[0]
    assert train.inputs[5, 1, 0, 2] == record[1 + 1024 + 2], "red, green, blue, row by row"
    assert train.class_names[3] == "cat"
    n_asked = len(offered.asked)
    assert download("cifar10") == []
    assert len(offered.asked) == n_asked, "nothing is asked for again"


def test_cifar100_has_two_kinds_of_labels(offered):
    (done,) = download("cifar100")
    assert done.how == "trusted, for it is the first download"
    fine, coarse = data.cifar100("train"), data.cifar100("train", labels="coarse")
    records = np.frombuffer(CIFAR100["cifar-100-binary/train.bin"], np.uint8).reshape(6, 3074)
    assert coarse.targets.tolist() == records[:, 0].tolist()
    assert fine.targets.tolist() == records[:, 1].tolist()
    assert (fine.n_classes, coarse.n_classes) == (100, 20)
    assert coarse.class_names[7] == "kind_7"
    with pytest.raises(ArgumentError, match="'fine' or 'coarse'"):
        data.cifar100(labels="both")


def test_fashion_mnist_is_kept_as_it_comes(offered, place):
    assert len(download("fashion-mnist")) == 4
    train, test = data.fashion_mnist("train"), data.fashion_mnist("test")
    assert train.inputs.shape == (5, 28, 28)
    assert len(test) == 3
    assert train.class_names[9] == "Ankle boot"
    (place / "fashion-mnist" / "t10k-labels-idx1-ubyte.gz").unlink()
    assert [done.name for done in download("fashion-mnist")] == ["t10k-labels-idx1-ubyte.gz"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_broken_connection_is_gone_on_with(offered, ranges):
    offered.ranges = ranges
    offered.breaks = [1000, 2500, 7000]
    download("cifar10")
    asked = [part for _, part in offered.asked]
    if ranges:
        assert asked == [None, "bytes=1000-", "bytes=3500-", "bytes=10500-"]
    assert len(data.cifar10()) == 20


def test_a_later_call_goes_on_where_an_earlier_one_ended(offered, place):
    offered.breaks = [1000] * fetching.ATTEMPTS
    with pytest.raises(DataError, match="goes on after the 4,000 bytes"):
        download("cifar10")
    with pytest.raises(DataError, match="not on this machine"):
        data.cifar10()
    download("cifar10")
    assert offered.asked[-1][1] == "bytes=4000-"
    assert len(data.cifar10()) == 20


def test_a_file_that_changed_meanwhile_is_begun_anew(offered, place):
    path = "/cifar100/cifar-100-binary.tar.gz"
    old = offered.files[path]
    offered.files[path] = old + b"another one"
    offered.breaks = [1000] * fetching.ATTEMPTS
    with pytest.raises(DataError):
        download("cifar100")
    offered.files[path] = old
    download("cifar100")
    assert offered.asked[-1][1] == "bytes=4000-"
    assert len(data.cifar100("test")) == 2


def test_a_process_killed_after_the_last_byte_downloads_no_more(offered, place):
    content = offered.files["/cifar10/cifar-10-binary.tar.gz"]
    part = place / "cifar10" / "cifar-10-binary.tar.gz.part"
    part.parent.mkdir(parents=True)
    url = CATALOG["cifar10"].files[0].url
    for kept in (content, content + b"more than there is"):
        part.write_bytes(kept)
        note = {"url": url, "validator": f'"{hash(content)}"'}
        part.with_name(part.name + ".json").write_text(json.dumps(note))
        download("cifar10")
        assert len(data.cifar10()) == 20
        os.unlink(place / "cifar10" / "test_batch.bin")
    assert offered.asked[0][1] == f"bytes={len(content)}-"


def test_servers_that_tell_no_length(offered):
    offered.lengths = False
    download("cifar10")
    assert len(data.cifar10()) == 20


def test_wrong_checksums_are_refused(offered, place):
    path = "/cifar10/cifar-10-binary.tar.gz"
    right = offered.files[path]
    offered.files[path] = right[:-1] + b"\1"
    with pytest.raises(DataError, match=r"its authors publish[\s\S]*MD5") as caught:
        download("cifar10")
    assert hashlib.md5(offered.files[path]).hexdigest() in str(caught.value)
    assert list((place / "cifar10").iterdir()) == [], "a wrong file does not stay"
    offered.files[path] = right
    download("cifar10")


def test_the_first_download_is_remembered(offered, place):
    path = "/cifar100/cifar-100-binary.tar.gz"
    (first,) = download("cifar100")
    record = json.loads((place / "checksums.json").read_text())
    assert record == {offered.url + path: first.sha256}
    for file in (place / "cifar100").iterdir():
        file.unlink()
    (again,) = download("cifar100")
    assert again.how == "checked by the SHA-256 of the first download"
    (place / "cifar100" / "test.bin").unlink()
    offered.files[path] = tar_gz({**CIFAR100, "more": b"bytes"})
    with pytest.raises(DataError, match=r"first download had[\s\S]*delete the line in"):
        download("cifar100")
    (place / "checksums.json").write_text("{")
    with pytest.raises(DataError, match="can not be read"):
        download("cifar100")


def test_what_the_server_must_not_do(offered):
    offered.files["/cifar10/cifar-10-binary.tar.gz"] = bytes(300_000)
    with pytest.raises(DataError, match=r"larger than it may be[\s\S]*200,000"):
        download("cifar10")
    offered.lengths = False
    with pytest.raises(DataError, match="larger than it may be"):
        download("cifar10")
    offered.status = 503
    with pytest.raises(DataError, match="503"):
        download("cifar100")
    assert len([path for path, _ in offered.asked if "cifar100" in path]) == fetching.ATTEMPTS
    offered.status = 0
    del offered.files["/cifar100/cifar-100-binary.tar.gz"]
    with pytest.raises(DataError, match=r"404[\s\S]*--mirror"):
        download("cifar100")
    offered.redirects["/cifar100/cifar-100-binary.tar.gz"] = "file:///etc/passwd"
    with pytest.raises(DataError, match="can not be downloaded"):
        download("cifar100")
    with pytest.raises(DataError, match="http:// or https://"):
        download("cifar100", mirror="file:///etc")


def test_redirections_never_leave_encryption():
    import urllib.error
    import urllib.request

    secure = urllib.request.Request("https://example.org/a")
    with pytest.raises(urllib.error.URLError, match="not encrypted"):
        fetching._Redirects().redirect_request(secure, None, 302, "", {}, "http://example.org/a")


def test_two_processes_do_not_write_one_file(tmp_path, server):
    pytest.importorskip("fcntl")
    server.files["/a"] = b"content"
    with (
        fetching._locked(tmp_path / "a.part"),
        pytest.raises(DataError, match="by another process"),
    ):
        fetching.fetch(f"{server.url}/a", tmp_path / "a.part", 100)


HOSTILE = {
    "a link": (tar_gz({"x/a.bin": b""}, tarfile.SYMTYPE), "a link"),
    "a device": (tar_gz({"x/a.bin": b""}, tarfile.CHRTYPE), "a special file"),
    "too large a member": (tar_gz({"x/a.bin": bytes(101)}), "at most 100"),
    "another archive": (tar_gz({"x/b.bin": b""}), "no a.bin"),
    "a bomb": (tar_gz({"x/other": bytes(40_000_000), "x/a.bin": b""}), "more than it may"),
    "no archive": (b"no gzip at all", "intact"),
    "cut off": (tar_gz({"x/a.bin": os.urandom(90)})[:-60], "intact"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_archives_are_not_trusted(tmp_path, name):
    content, told = HOSTILE[name]
    (tmp_path / "x.tar.gz").write_bytes(content)
    target = tmp_path / "target"
    target.mkdir()
    with pytest.raises(DataError, match=told):
        unpack(tmp_path / "x.tar.gz", target, {"a.bin": 100})


def test_names_in_archives_lead_nowhere_else(tmp_path):
    (tmp_path / "x.tar.gz").write_bytes(tar_gz({"../../a.bin": b"1", "/abs/b.bin": b"2"}))
    target = tmp_path / "deep" / "target"
    target.mkdir(parents=True)
    unpack(tmp_path / "x.tar.gz", target, {"a.bin": 9, "b.bin": 9})
    assert (target / "a.bin").read_bytes() == b"1"
    assert (target / "b.bin").read_bytes() == b"2"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["deep", "x.tar.gz"]


def write_cifar(folder):
    folder.mkdir()
    for files in (CIFAR10, CIFAR100):
        for name, content in files.items():
            (folder / name.rpartition("/")[2]).write_bytes(content)
    return folder


def test_readers_take_any_folder_and_refuse_damage(tmp_path):
    folder = write_cifar(tmp_path / "own")
    assert len(data.cifar10(folder=folder)) == 20
    with pytest.raises(ArgumentError, match="'train' or 'test'"):
        data.cifar10("valid", folder=folder)
    batch = folder / "data_batch_3.bin"
    whole = batch.read_bytes()
    for content in (whole[:-1], b""):
        batch.write_bytes(content)
        with pytest.raises(DataError, match="records of 3,073 bytes"):
            data.cifar10(folder=folder)
    batch.write_bytes(b"\x0a" + whole[1:])
    with pytest.raises(DataError, match=r"0 to 9[\s\S]*10 in record 8"):
        data.cifar10(folder=folder)
    (folder / "fine_label_names.txt").write_text("one\ntwo\n")
    with pytest.raises(DataError, match="100 different names"):
        data.cifar100(folder=folder)
    with pytest.raises(DataError, match=r"fashion-mnist is not on this machine"):
        data.fashion_mnist(folder=folder)
    with pytest.raises(DataError, match="chainrule data download cifar10"):
        data.cifar10()


def test_the_folder_for_data(monkeypatch):
    monkeypatch.delenv("CHAINRULE_DATA")
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", "/somewhere")
    assert catalog.data_folder() == Path("/somewhere/chainrule/data")
    monkeypatch.setenv("XDG_DATA_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert catalog.data_folder() == Path("/home/me/.local/share/chainrule/data")


def command(*arguments):
    return CliRunner().invoke(app, ["data", *arguments])


def test_the_command(offered, place, monkeypatch):
    from chainrule.cli import data as module

    monkeypatch.setattr(module, "output", type(module.output)(width=200, soft_wrap=True))
    told = command("download", "cifar10")
    assert told.exception is None, told.output
    assert "cifar-10-binary.tar.gz: checked by its authors' MD5" in told.output
    assert f"cifar10 is in {place / 'cifar10'}" in told.output
    assert "was there before" in command("download", "cifar10").output
    lines = {line.split()[0]: line.split()[-1] for line in command().output.splitlines() if line}
    assert lines["mnist"] == lines["cifar10"] == "yes"
    assert lines["cifar100"] == lines["fashion-mnist"] == "no"
    other = place.parent / "other"
    told = command(
        "download", "cifar100", "--folder", str(other), "--mirror", f"{offered.url}/cifar100/"
    )
    assert "trusted, for it is the first download" in told.output
    assert data.cifar100("test", folder=other / "cifar100").n_classes == 100
    for arguments, message in (
        (["prune"], "list, download"),
        (["download"], "which data set"),
        (["download", "mnist"], "it is shipped"),
        (["list", "cifar10"], "takes no data set"),
    ):
        error = command(*arguments).exception
        assert isinstance(error, ArgumentError)
        assert message in str(error)
