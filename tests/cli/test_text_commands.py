"""Commands on text, in this process: training, measuring, writing, classes of texts."""

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from chainrule.cli import text_recipe
from chainrule.cli.app import app
from chainrule.cli.text_recipe import TextRecipe, load_tokenizer
from chainrule.data import ArrayDataset
from chainrule.errors import ArgumentError, DataError, StateError

WORDS = "to be or not to be that is the question whether tis nobler".split()  # noqa: SIM905


def call(*arguments):
    result = CliRunner().invoke(app, list(map(str, arguments)))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def small(*more):
    return (
        "--context", 8, "--batch-size", 4, "--engine", "interpreter", "--progress", "none",
        "--no-pictures", *more,
    )  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("text")
    rng = np.random.default_rng(0)
    (path / "text.txt").write_text(" ".join(rng.choice(WORDS, 150)))
    texts = [word + ", a film" * (1 + i % 3) for i, word in enumerate(WORDS * 4)]
    rows = [f'"{text}",{"good" if i % 2 else "bad"}' for i, text in enumerate(texts)]
    (path / "reviews.csv").write_text("body,label\n" + "\n".join(rows) + "\n")
    return path


@pytest.fixture(scope="module")
def run(folder):
    shown = call(
        "train", folder / "text.txt", "--model", "char-rnn", "--steps", 6,
        "--out", folder / "runs", *small(),
    )  # fmt: skip
    (path,) = (folder / "runs").iterdir()
    return path, shown


def test_training_a_language_model(run):
    path, shown = run
    assert "characters to train on" in shown
    assert "6 steps of 4 × 8" in shown
    assert "bits per character" in shown
    row = json.loads((path / "metrics.jsonl").read_text().splitlines()[-1])
    assert row["val_perplexity"] == pytest.approx(np.exp(row["val_loss"]))
    tokenizer = load_tokenizer(path)
    assert tokenizer.size == len(set(" ".join(WORDS)))
    recipe = TextRecipe.load(path)
    assert (recipe.model, recipe.context, recipe.tokenizer) == ("char_rnn", 8, "characters")


def test_measuring_and_predicting_what_comes_next(run):
    path, trained = run
    shown = call("evaluate", path)
    loss = shown.split("validation loss")[1].split()[0]
    assert f"validation loss {loss}" in " ".join(trained.split())
    table = call("predict", path, "to be", "whether 'tis"[:7])
    assert len(table.splitlines()) == 3
    with pytest.raises(DataError, match="empty"):
        call("predict", path, "")


def test_writing(run):
    path, _ = run
    options = ("generate", path, "--prompt", "to be", "--tokens", 12, "--engine", "interpreter")
    texts = [call(*options, "--seed", seed) for seed in (1, 1, 2)]
    assert texts[0] == texts[1] != texts[2]
    assert texts[0].startswith("to be")
    assert len(texts[0].rstrip("\n")) >= len("to be")
    greedy = call(*options[:4], "--tokens", 3, *options[6:], "--temperature", 0)
    assert call(*options[:4], "--tokens", 3, *options[6:], "--beam", 1) == greedy
    with pytest.raises(DataError, match="'X' is not in the vocabulary"):
        call("generate", path, "--prompt", "X")


def test_going_on_with_a_run(run):
    path, shown = run
    resumed = call("train", "--resume", path, "--progress", "none", "--no-pictures")
    assert shown.split("validation loss")[1].split()[0] in resumed
    for option in ("--steps", "--seed", "--out"):
        with pytest.raises(ArgumentError, match=rf"(?s)keeps the .*got: +{option} 12"):
            call("train", "--resume", path, option, 12)


def test_texts_with_labels(folder):
    shown = call(
        "train", folder / "reviews.csv", "--text", "body", "--target", "label",
        "--out", folder / "classes", "--epochs", 1, *small("--batch-size", 21),
    )  # fmt: skip
    assert "sentence_cnn" in shown
    assert "2 classes" in shown
    (path,) = (folder / "classes").iterdir()
    assert TextRecipe.load(path).classes == ("bad", "good")
    settings = json.loads((path / "config.json").read_text())["training"]
    assert "widths (" in settings["training_data"], "batches of like length"
    measured = call("evaluate", path)
    assert "test accuracy" in measured
    assert len([line for line in measured.splitlines() if line.startswith(("bad", "good"))]) == 2
    table = call("predict", path, "to be, a film")
    assert table.splitlines()[1].split()[-1].endswith("%)")
    with pytest.raises(ArgumentError, match="does not write"):
        call("generate", path)


def test_only_what_gains_is_trained_in_batches_of_like_length():
    cnn, lstm = (TextRecipe("", name) for name in ("sentence_cnn", "sentence_lstm"))
    rows = np.ones((10, 8), int)
    rows[:5, 7:] = 0
    train = ArrayDataset(rows, np.arange(10) % 2)
    assert cnn.bucketed(train) is train
    rows[:5, 4:] = 0
    assert cnn.bucketed(train).widths == (4, 8)
    assert lstm.bucketed(train) is train


def test_a_large_text_is_encoded_into_the_run_folder(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(text_recipe, "MEMORY_BYTES", 10)
    recipe = TextRecipe.compose(str(folder / "text.txt"), "char-lstm", context=8, steps=2)
    tokenizer = recipe.fit_tokenizer()
    parts = recipe.language_parts(tokenizer, tmp_path)
    assert len(list((tmp_path / "tokens").iterdir())) == 1
    text = (folder / "text.txt").read_text()
    assert parts.validation.n_predictions == len(text) - int(0.9 * len(text)) - 1
    assert parts.characters_per_token == 1.0
    assert not parts.is_sampled


def test_of_a_large_text_a_sample_validates_while_training(folder, monkeypatch, tmp_path):
    monkeypatch.setattr(text_recipe, "MOST_VALIDATED", 30)
    shown = call("train", folder / "text.txt", "--model", "char-rnn", *small("--context", 8),
                 "--steps", 3, "--out", tmp_path)  # fmt: skip
    text = (folder / "text.txt").read_text()
    held_out = len(text) - int(0.9 * len(text))
    windows = (held_out - 1) // 8
    sampled = -(-windows // -(-held_out // 30))
    assert f"{held_out} to validate" in shown
    assert f"validated every 3 on {sampled * 8} characters" in shown
    (run,) = tmp_path.iterdir()
    assert f"chainrule evaluate {run}" in "".join(shown.split("\n"))
    whole = call("evaluate", run).split("validation loss")[1].split()[0]
    sample = shown.split("validation loss")[1].split()[0].rstrip(",")
    assert whole != sample
    assert abs(float(whole) - float(sample)) < 0.2


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["shakespeare", "--epochs", 3], "--epochs says nothing of char_gpt"),
        (["shakespeare", "--monitor", "loss"], "--monitor says nothing of char_gpt"),
        (["shakespeare", "--hidden", "10"], "--hidden is about pictures"),
        (["shakespeare", "--grey"], "--grey is about pictures"),
        (["mnist", "--context", 8], "--context is about text, and mnist holds pictures"),
        (["mnist", "--model", "char-gpt"], "--model does not know 'char_gpt'"),
        (["shakespeare", "--model", "resnet18"], "does not know 'resnet18'"),
        (["shakespeare", "--context", 1], "--context is out of range"),
        (["shakespeare", "--tokenizer", "runes"], "--tokenizer"),
        (["shakespeare", "--text", "a"], "CSV file|for texts with labels"),
        (["./nothing.txt", "--model", "char-lstm"], "there is no text"),
        (["reviews.csv"], "which columns"),
        (
            ["reviews.csv", "--text", "body", "--target", "label", "--steps", 3],
            "--steps says nothing of sentence_cnn",
        ),
        (["reviews.csv", "--model", "char-gpt"], "for texts with labels"),
    ],
)
def test_mistakes_are_answered(arguments, match, folder, monkeypatch):
    monkeypatch.chdir(folder)
    with pytest.raises(ArgumentError, match=match):
        call("train", *arguments)


def test_nanogpts_recipe_is_the_usual_one():
    recipe = TextRecipe.compose("shakespeare", "char-gpt")
    assert (recipe.n_rounds, recipe.steps_a_round, recipe.batch_size, recipe.context) == (
        8, 250, 12, 64,
    )  # fmt: skip
    tokenizer = recipe.fit_tokenizer()
    model = recipe.build_model(tokenizer)
    assert model.n_parameters == 804_096
    trainer = recipe.trainer(model, 3000)
    optimizer = trainer.optimizer
    rate = optimizer.schedules["learning_rate"]
    assert float(rate(0)) == pytest.approx(1e-3 / 101)
    assert float(rate(100)) == pytest.approx(1e-3)
    assert float(rate(2000)) == pytest.approx(1e-4)
    assert optimizer.max_norm == 1.0


def test_a_damaged_run_folder(run, tmp_path):
    path, _ = run
    broken = tmp_path / "run"
    broken.mkdir()
    (broken / "config.json").write_text('{"recipe": {"kind": "text", "classes": []}}')
    with pytest.raises(StateError, match="no recipe"):
        call("generate", broken)
    with pytest.raises(StateError, match="can not be read"):
        load_tokenizer(broken)
    (broken / "config.json").write_bytes((path / "config.json").read_bytes())
    (broken / "tokenizer.json").write_text("{")
    with pytest.raises(StateError, match="damaged"):
        load_tokenizer(broken)
