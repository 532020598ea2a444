"""Reading text: files, folders, pieces, the shipped plays, files of tokens."""

import sys

import numpy as np
import pytest

from chainrule import data
from chainrule.errors import ArgumentError, DataError


def test_a_folder_is_read_in_the_order_of_its_names(tmp_path):
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "2.md").write_text("two ")
    (tmp_path / "b" / "1.txt").write_text("one ")
    (tmp_path / "c.txt").write_bytes("\ufeffthree\r\nfour".encode())
    (tmp_path / ".hidden.txt").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\xff")
    assert data.read_text(tmp_path) == "one two three\nfour"
    assert [file.name for file in data.text_files(tmp_path)] == ["1.txt", "2.md", "c.txt"]
    assert data.text_files(tmp_path / "picture.png") == [tmp_path / "picture.png"]


@pytest.mark.parametrize("n", [1, 3, 10, 1000])
def test_pieces_join_to_the_text_and_keep_words_whole(tmp_path, n):
    text = "to be, or not to be:\nthat is the question é\u0085same line\n" * 5
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    pieces = list(data.text_pieces(tmp_path / "a.txt", n))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= n
    if n == 1000:
        assert pieces == [text]
    if n == 10:
        ends = [piece[-1] for piece in pieces]
        assert sum(end in "\n " for end in ends) > len(ends) / 2


def test_what_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.txt").write_bytes(b"caf\xe9")
    with pytest.raises(DataError, match="0xe9"):
        data.read_text(tmp_path / "a.txt")
    assert data.read_text(tmp_path / "a.txt", encoding="latin-1") == "café"
    with pytest.raises(ArgumentError, match="no encoding"):
        data.read_text(tmp_path / "a.txt", encoding="klingon")
    with pytest.raises(DataError, match="not there"):
        data.read_text(tmp_path / "b.txt")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no text files"):
        data.read_text(tmp_path / "empty")
    with pytest.raises(ArgumentError, match="n_characters"):
        list(data.text_pieces(tmp_path / "a.txt", 0))


def test_the_shipped_plays():
    train, validation, everything = (
        data.shakespeare(split) for split in ("train", "validation", "all")
    )
    assert (len(train), len(validation), len(everything)) == (1_003_854, 111_540, 1_115_394)
    assert train + validation == everything
    assert len(set(everything)) == len(set(train)) == 65
    assert everything.startswith("First Citizen:\nBefore we proceed")
    with pytest.raises(ArgumentError, match="no split"):
        data.shakespeare("test")


def test_damaged_plays_are_refused(tmp_path, monkeypatch):
    plays = sys.modules["chainrule.data.text.shakespeare"]  # the function has its name
    damaged = tmp_path / "tinyshakespeare.txt.xz"
    damaged.write_bytes(plays.FILE.read_bytes()[:-1])
    monkeypatch.setattr(plays, "FILE", damaged)
    plays._text.cache_clear()
    try:
        with pytest.raises(DataError, match="damaged"):
            data.shakespeare()
    finally:
        plays._text.cache_clear()


def test_a_file_of_tokens_is_made_once_and_mapped(tmp_path, monkeypatch):
    (tmp_path / "in").mkdir()
    for name in "ab":
        (tmp_path / "in" / f"{name}.txt").write_text(f"{name} text with words é\n" * 50)
    text = data.read_text(tmp_path / "in")
    tokenizer = data.CharacterTokenizer.fit(data.text_pieces(tmp_path / "in", 100))
    seen = []
    tokens = data.token_file(tmp_path / "in", tokenizer, tmp_path / "keep", progress=seen.append)
    assert tokens.dtype == np.uint8
    assert not tokens.flags.writeable
    assert isinstance(tokens.base, np.memmap) or isinstance(tokens, np.memmap)
    assert tokenizer.decode(tokens) == text
    assert seen[-1] == len(text)
    (path,) = (tmp_path / "keep").iterdir()
    assert path.suffix == ".npy"
    monkeypatch.setattr("chainrule.data.text.streaming._write", None)  # must not be called again
    again = data.token_file(tmp_path / "in", tokenizer, tmp_path / "keep")
    np.testing.assert_array_equal(again, tokens)


def test_a_failed_file_of_tokens_leaves_nothing(tmp_path):
    (tmp_path / "a.txt").write_text("abc")
    with pytest.raises(DataError, match="'b'"):
        data.token_file(tmp_path / "a.txt", data.CharacterTokenizer("a"), tmp_path / "keep")
    assert not list((tmp_path / "keep").iterdir())
