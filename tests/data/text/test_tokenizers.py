"""Text to tokens and back: characters, bytes, words, parts of words, vocabularies."""

import json
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import data
from chainrule.errors import ArgumentError, DataError, StateError

TEXT = "To be, or not to be: that is the question – é 𝄞 don't."


def subwords(kind, size):
    pytest.importorskip("tokenizers")
    return data.SubwordTokenizer.fit([TEXT] * 20, size=size, kind=kind)


MAKE = {
    "characters": lambda: data.CharacterTokenizer.fit(TEXT),
    "bytes": data.ByteTokenizer,
    "words": lambda: data.WordTokenizer.fit(TEXT),
    "bpe": lambda: subwords("bpe", 300),
    "wordpiece": lambda: subwords("wordpiece", 60),
}


@pytest.mark.parametrize("name", MAKE)
def test_a_tokenizer_and_its_description(name):
    tokenizer = MAKE[name]()
    tokens = tokenizer.encode(TEXT)
    assert tokens.ndim == 1
    assert tokens.dtype.kind == "u"
    assert tokens.max() < tokenizer.size
    text = tokenizer.decode(tokens)
    if name in ("characters", "bytes", "bpe"):
        assert text == TEXT
    stored = json.loads(json.dumps(tokenizer.to_json()))
    same = data.tokenizer_from_json(stored)
    assert type(same) is type(tokenizer)
    assert (same.size, repr(same)) == (tokenizer.size, repr(tokenizer))
    np.testing.assert_array_equal(same.encode(TEXT), tokens)
    assert not len(tokenizer.encode(""))
    assert tokenizer.decode([]) == ""


@pytest.mark.parametrize("name", MAKE)
def test_streamed_text_is_the_text(name):
    tokenizer = MAKE[name]()
    tokens = tokenizer.encode(TEXT)
    stream = tokenizer.stream()
    pieces = [stream([token]) for token in tokens.tolist()]
    assert "".join(pieces) == tokenizer.decode(tokens)
    assert not any("\ufffd" in piece for piece in pieces)


@given(st.text(max_size=60))
@settings(max_examples=60, deadline=None)
def test_any_text_goes_there_and_back(text):
    assert data.ByteTokenizer().decode(data.ByteTokenizer().encode(text)) == text
    if text:
        characters = data.CharacterTokenizer.fit(text)
        assert characters.decode(characters.encode(text)) == text
        assert characters.size == len(set(text))


def test_unknown_characters():
    strict = data.CharacterTokenizer("abc")
    with pytest.raises(DataError, match=r"'x' at place 2") as caught:
        strict.encode("abxc")
    assert "unknown=" in str(caught.value)
    lenient = data.CharacterTokenizer.fit("abc", unknown="?")
    assert lenient.decode(lenient.encode("axc\U0010ffff")) == "a?c?"
    with pytest.raises(ArgumentError, match="one character"):
        data.CharacterTokenizer(["ab"])


@pytest.mark.parametrize("tokens", [[-1], [65], [0, 300]])
def test_tokens_out_of_range(tokens):
    with pytest.raises(DataError, match="there is no token"):
        data.CharacterTokenizer("abc").decode(tokens)
    if max(tokens) > 255 or min(tokens) < 0:
        with pytest.raises(DataError, match="there is no token"):
            data.ByteTokenizer().decode(tokens)
    with pytest.raises(DataError, match="whole numbers"):
        data.CharacterTokenizer("abc").decode([0.5])


def test_words():
    tokenizer = data.WordTokenizer.fit(["The cat. The dog's cat!", "a cat"], min_count=2)
    assert tokenizer.vocabulary.tokens == ["<pad>", "<unknown>", "cat", "the"]
    assert tokenizer.encode("THE zebra, cat").tolist() == [3, 1, 1, 2]
    assert data.WordTokenizer.fit("a a b", max_size=3).size == 3
    with pytest.raises(ArgumentError, match="unknown"):
        data.WordTokenizer(data.Vocabulary(["a"]))


def test_vocabularies():
    words = data.Vocabulary.build(["b", "a", "a", "c"], special=["<pad>"], min_count=1)
    assert words.tokens == ["<pad>", "a", "b", "c"]
    assert words.numbers(["c", "a"]) == [3, 1]
    assert words.words(np.array([[1, 2]])) == ["a", "b"]
    assert "a" in words
    assert "z" not in words
    assert list(words) == words.tokens
    assert words == data.Vocabulary(words.tokens)
    assert words != data.Vocabulary(words.tokens, unknown="a")
    with pytest.raises(DataError, match="no token 'z'"):
        words.numbers(["z"])
    with pytest.raises(ArgumentError, match="twice"):
        data.Vocabulary(["a", "a"])
    with pytest.raises(ArgumentError, match="no tokens"):
        data.Vocabulary([])
    with pytest.raises(ArgumentError, match="not in the vocabulary"):
        data.Vocabulary(["a"], unknown="b")
    with pytest.raises(ArgumentError, match="no room"):
        data.Vocabulary.build("ab", special=["x"], max_size=1)


def test_the_smallest_type_is_taken():
    letters = [chr(0x4E00 + i) for i in range(300)]
    assert data.CharacterTokenizer(letters[:256]).encode(letters[255]).dtype == np.uint8
    assert data.CharacterTokenizer(letters).encode(letters[299]).dtype == np.uint16


def test_published_files(tmp_path):
    tokenizers = pytest.importorskip("tokenizers")
    (tmp_path / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "un", "##want", "##ed", "a"]))
    pieces = data.SubwordTokenizer.load(tmp_path / "vocab.txt")
    assert pieces.encode("Unwanted a zoo").tolist() == [2, 3, 4, 5, 1]
    assert isinstance(pieces.tokenizer, tokenizers.Tokenizer)
    bpe = MAKE["bpe"]()
    (tmp_path / "tokenizer.json").write_text(bpe.tokenizer.to_str())
    same = data.SubwordTokenizer.load(tmp_path / "tokenizer.json")
    np.testing.assert_array_equal(same.encode(TEXT), bpe.encode(TEXT))
    (tmp_path / "broken.json").write_text("{")
    for name in ("broken.json", "none.json", "none.txt"):
        with pytest.raises(DataError):
            data.SubwordTokenizer.load(tmp_path / name)
    with pytest.raises(ArgumentError, match="size"):
        data.SubwordTokenizer.fit(TEXT, size=100)


def test_without_the_library_the_message_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(DataError, match=r"chainrule\[text\]"):
        data.SubwordTokenizer.fit(TEXT)


@pytest.mark.parametrize("stored", [{}, {"kind": "runes"}, {"kind": "characters"}, {"kind": []}])
def test_damaged_descriptions(stored):
    with pytest.raises(StateError, match="tokenizer"):
        data.tokenizer_from_json(stored)
