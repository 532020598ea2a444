"""Windows of tokens, padding, buckets, labelled texts."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chainrule import data
from chainrule.errors import ArgumentError, DataError

TOKENS = np.random.default_rng(0).integers(0, 65, 1000).astype(np.uint8)


@given(st.integers(2, 60), st.integers(1, 20), st.integers(1, 20), st.sampled_from("BHIq"))
@settings(max_examples=150, deadline=None)
def test_whole_windows_predict_every_token_once(n, length, stride, kind):
    tokens = np.arange(n).astype(kind)
    part = data.strided_windows(tokens, length, min(stride, length), whole=True)
    assert part.inputs.shape == part.targets.shape == (len(part), length)
    counted = part.targets != -100
    assert part.n_predictions == n - 1
    np.testing.assert_array_equal(np.sort(part.targets[counted]), np.arange(1, n))
    # the token behind the input is the target
    np.testing.assert_array_equal(part.targets[counted], part.inputs[counted].astype(int) + 1)


def test_strided_windows_are_views():
    part = data.strided_windows(TOKENS, 32, 8)
    assert np.shares_memory(part.inputs, TOKENS)
    assert np.shares_memory(part.targets, TOKENS)
    assert len(part) == (1000 - 33) // 8 + 1
    np.testing.assert_array_equal(part.inputs[3], TOKENS[24:56])
    np.testing.assert_array_equal(part.targets[3], TOKENS[25:57])
    assert part.n_predictions == part.targets.size


def test_random_windows_depend_on_seed_epoch_and_number_alone():
    train = data.random_windows(TOKENS, 16, per_epoch=500)
    assert (len(train), train.length) == (500, 16)
    draw = train.augmentation.batch
    rows = np.array([3, 400, 7])
    inputs, targets = draw((), rows, 2, 5)
    np.testing.assert_array_equal(inputs[:, 1:], targets[:, :-1])
    alone = draw((), rows[1:2], 2, 5)
    np.testing.assert_array_equal(alone[0][0], inputs[1])
    for other in [draw((), rows, 3, 5), draw((), rows, 2, 6), draw((), rows + 1, 2, 5)]:
        assert (other[0] != inputs).any()
    own = data.random_windows(TOKENS, 16, seed=5).augmentation.batch
    np.testing.assert_array_equal(own((), rows, 2, 99)[0], inputs)


def test_random_windows_reach_every_place():
    row = np.arange(12)
    inputs, targets = data.random_windows(row, 4).augmentation.batch((), np.arange(2000), 0, 0)
    counts = np.bincount(inputs[:, 0], minlength=8)
    assert len(counts) == 8
    assert counts.min() > 180
    assert targets.max() == 11
    assert len(data.random_windows(row, 4)) == 2
    assert len(data.random_windows(row, 4, per_epoch=7)) == 7


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: data.random_windows(TOKENS, 0), ArgumentError, "length"),
        (lambda: data.random_windows(TOKENS, 1000), DataError, "no window"),
        (lambda: data.random_windows(TOKENS, 8, per_epoch=0), ArgumentError, "per_epoch"),
        (lambda: data.random_windows("to be", 2), DataError, "no tokens"),
        (lambda: data.strided_windows(TOKENS * 1.0, 2), DataError, "no tokens"),
        (lambda: data.strided_windows(TOKENS, 8, 9), ArgumentError, "stride"),
        (lambda: data.strided_windows(TOKENS[:1], 8, whole=True), DataError, "at least 2"),
        (lambda: data.pad_sequences([]), DataError, "no sequences"),
        (lambda: data.pad_sequences([[1.5]]), DataError, "no row of tokens"),
        (lambda: data.pad_sequences([[1]], 0), ArgumentError, "length"),
        (lambda: data.pad_sequences([[1]], side="top"), ArgumentError, "side"),
        (lambda: data.length_buckets([]), DataError, "no lengths"),
        (lambda: data.length_buckets([1], 0), ArgumentError, "n_buckets"),
        (lambda: data.bucket_batches([[1]], 0), ArgumentError, "batch_size"),
    ],
)
def test_mistakes_are_answered(call, error, match):
    with pytest.raises(error, match=match):
        call()


def test_padding():
    rows, lengths = data.pad_sequences([[1, 2, 3], [], [4]], 2, value=300, side="left")
    assert rows.tolist() == [[1, 2], [300, 300], [300, 4]]
    assert lengths.tolist() == [2, 0, 1]


@given(st.lists(st.integers(0, 40), min_size=1, max_size=50), st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_buckets_hold_every_sequence_once_with_the_least_filling(lengths, n):
    buckets = data.length_buckets(lengths, n)
    assert 1 <= len(buckets) <= n
    assert sorted(row for b in buckets for row in b.rows.tolist()) == list(range(len(lengths)))
    filled = 0
    for bucket in buckets:
        inside = np.maximum(np.array(lengths)[bucket.rows], 1)
        assert inside.max() == bucket.length
        filled += bucket.length * len(inside)
    # as a check of the search: no border of two buckets does better
    if n == 2:
        counts = np.maximum(lengths, 1)
        best = min(
            border * (counts <= border).sum() + counts.max() * (counts > border).sum()
            for border in counts
        )
        assert filled == best


def test_batches_of_buckets():
    rng = np.random.default_rng(1)
    sequences = [rng.integers(1, 9, n) for n in rng.integers(1, 30, 60)]
    batches = data.bucket_batches(sequences, 8, n_buckets=3, seed=2, epoch=1)
    assert sorted(row for b in batches for row in b.rows.tolist()) == list(range(60))
    assert len({b.tokens.shape[1] for b in batches}) == 3
    for batch in batches:
        for row, tokens, n in zip(batch.rows, batch.tokens, batch.lengths, strict=True):
            np.testing.assert_array_equal(tokens[:n], sequences[row])
            assert not tokens[n:].any()
    again = data.bucket_batches(sequences, 8, n_buckets=3, seed=2, epoch=1)
    assert all((a.rows == b.rows).all() for a, b in zip(batches, again, strict=True))
    other = data.bucket_batches(sequences, 8, n_buckets=3, seed=2, epoch=2)
    assert [b.rows.tolist() for b in other] != [b.rows.tolist() for b in batches]


def test_texts_from_csv(tmp_path):
    path = tmp_path / "reviews.csv"
    path.write_text(
        '\ufeffid,body,stars\n1,"good, really\nvery good",5\n2,bad,1\n\n3,fair,10\n',
        encoding="utf-8",
    )
    found = data.text_csv(path, text="body", target="stars")
    assert found.texts == ["good, really\nvery good", "bad", "fair"]
    assert found.class_names == ["1", "5", "10"]
    assert found.targets.tolist() == [1, 0, 2]
    encoded = found.encode(data.WordTokenizer.fit(found.texts))
    assert encoded.inputs.shape == (3, 5)
    assert encoded.class_names == ["1", "5", "10"]
    assert found.subset([2, 0]).texts == ["fair", "good, really\nvery good"]
    (tmp_path / "a.tsv").write_text("t\tl\nhello, you\tx\nbye\ty\n")
    assert data.text_csv(tmp_path / "a.tsv", text="t", target="l").texts == ["hello, you", "bye"]


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("body,label\na,x\n", "no column 'text'"),
        ("text,label\na\n", "too few columns"),
        ("text,label\na,\n", "without a label"),
        ("text,label\n", "no rows"),
        ("text,label\n" + "".join(f"t,{i}\n" for i in range(150)), "no classes"),
        ("text,label\n\xe9,x\n", "can not be read"),
    ],
)
def test_damaged_csv(tmp_path, content, match):
    path = tmp_path / "a.csv"
    path.write_bytes(content.encode("latin-1"))
    with pytest.raises(DataError, match=match):
        data.text_csv(path, text="text", target="label")


def test_texts_from_folders(tmp_path):
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "negative.txt").write_text("bad \u0085 still bad\n\n worse \n", "utf-8")
    (tmp_path / "lines" / "positive.txt").write_text("good\n", "utf-8")
    found = data.text_folder(tmp_path / "lines")
    assert found.texts == ["bad \u0085 still bad", "worse", "good"]
    assert found.class_names == ["negative", "positive"]
    assert found.targets.tolist() == [0, 0, 1]
    for name in ("no", "yes"):
        (tmp_path / "files" / name).mkdir(parents=True)
        (tmp_path / "files" / name / "1.txt").write_text(f"{name}\nreally\n")
    assert data.text_folder(tmp_path / "files").texts == ["no\nreally", "yes\nreally"]
    for folder in (tmp_path / "files" / "no", tmp_path / "none"):
        with pytest.raises(DataError):
            data.text_folder(folder)
