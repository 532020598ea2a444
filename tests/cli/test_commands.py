"""The commands as a user types them: what they print, what they leave, how they fail."""

import json
import os
import re
import signal
import struct
import subprocess
import sys
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from chainrule import data
from chainrule.cli import app
from chainrule.version import VERSION


def chainrule(*arguments, cwd=None, check=True):
    environment = {**os.environ, "COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    result = subprocess.run(
        [sys.executable, "-m", "chainrule", *map(str, arguments)],
        capture_output=True,
        text=True,
        cwd=cwd,
        env=environment,
    )
    if check:
        assert result.returncode == 0, result.stderr + result.stdout
    return result


@pytest.fixture
def here(monkeypatch, capsys):
    """A command called in this process, which spares its imports: its status and what it printed.

    What the shell itself decides – signals, pipes, what is imported – needs ``chainrule`` above.
    """
    monkeypatch.setattr(warnings, "showwarning", warnings.showwarning)  # put back at the end
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["chainrule", *map(str, arguments)])
        with pytest.raises(SystemExit) as left:
            app.run()
        return left.value.code or 0, *capsys.readouterr()

    return call


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A short training on some of MNIST: its output and its folder."""
    folder = tmp_path_factory.mktemp("cli")
    result = chainrule(
        "train", "mnist", "--limit", 3000, "--epochs", 2, "--hidden", "64", "--seed", 3, cwd=folder
    )
    (path,) = (folder / "runs").iterdir()
    return result, path


def test_training_tells_what_it_does(run):
    result, path = run
    lines = result.stdout.splitlines()
    assert lines[0] == "mnist: 2,400 samples to train on, 600 to validate, 10,000 to test"
    assert lines[1] == "784-64-10 relu: 50,890 parameters"
    assert any(line.startswith("1/2") for line in lines), "one line an epoch in a pipe"
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", result.stdout).group(1))
    assert accuracy > 80
    assert path.name in lines[-1]
    assert max(map(len, lines[:-1])) <= 80
    assert "\x1b" not in result.stdout, "no colours in a pipe"


@pytest.mark.parametrize("monitor", ["loss", "accuracy"])
def test_the_best_epoch_is_the_one_asked_for(here, tmp_path, monitor):
    status, shown, _ = here(
        "train", "mnist", "--limit", 300, "--hidden", 8, "--epochs", 6, "--learning-rate", 0.1,
        "--no-pictures", "--monitor", monitor, "--out", tmp_path,
    )  # fmt: skip
    assert status == 0
    rows = [line.split() for line in shown.splitlines() if re.match(r"\d/6", line)]
    column = {"loss": 3, "accuracy": 4}[monitor]
    values = [float(row[column]) * (1 if monitor == "loss" else -1) for row in rows]
    starred = [row[-1] == "*" for row in rows]
    assert starred == [
        v == min(values[: i + 1]) and v not in values[:i] for i, v in enumerate(values)
    ]


def test_a_run_folder_holds_everything(run):
    _, path = run
    names = {entry.name for entry in path.iterdir()}
    assert names >= {
        "config.json",
        "metrics.jsonl",
        "checkpoints",
        "weights.safetensors",
        "learning_curve.png",
        "confusion_matrix.png",
        "weights_layer1.png",
        "weights_layer2.png",
        "summary.txt",
    }
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    assert json.loads((path / "config.json").read_text())["recipe"]["seed"] == 3


def test_evaluate_repeats_the_figures_of_the_training(run):
    result, path = run
    shown = chainrule("evaluate", path).stdout
    accuracy = re.search(r"test accuracy +(\d\.\d+)", shown).group(1)
    trained = re.search(r"test accuracy ([\d.]+)%", result.stdout).group(1)
    assert float(accuracy) * 100 == pytest.approx(float(trained), abs=0.006)
    assert len([line for line in shown.splitlines() if re.match(r"\d +\d+", line)]) == 10


def test_predict_reads_pictures_of_any_size_and_polarity(run, tmp_path):
    _, path = run
    test = data.mnist("test")
    for name, image in {
        "plain": Image.fromarray(test.inputs[0]),
        "inverted": Image.fromarray(255 - test.inputs[0]),
        "large": Image.fromarray(test.inputs[0]).resize((280, 280)),
    }.items():
        image.save(tmp_path / f"{name}.png")
    names = ["plain.png", "inverted.png", "large.png"]
    shown = chainrule("predict", path, *names, cwd=tmp_path).stdout
    rows = [line.split() for line in shown.splitlines()[1:]]
    assert [row[0] for row in rows] == names
    assert {row[1] for row in rows} == {str(test.targets[0])}


def test_predict_refuses_what_is_no_picture(run, tmp_path):
    _, path = run
    (tmp_path / "text.png").write_text("not a picture")
    result = chainrule("predict", path, tmp_path / "text.png", check=False)
    assert result.returncode == 1
    assert "can not be read as a picture" in result.stderr
    assert "Traceback" not in result.stderr
    missing = chainrule("predict", path, tmp_path / "none.png", check=False)
    assert missing.returncode == 1


def test_a_huge_picture_is_refused_before_it_is_decoded(run, tmp_path):
    _, path = run
    # a header that claims 60,000 × 60,000 pixels, and nothing behind it
    body = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunk = struct.pack(">I", len(body)) + b"IHDR" + body
    chunk += struct.pack(">I", zlib.crc32(b"IHDR" + body))
    (tmp_path / "huge.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    result = chainrule("predict", path, tmp_path / "huge.png", check=False)
    assert result.returncode == 1
    assert "error" in result.stderr


def test_resume_of_a_finished_run_changes_nothing(run):
    _, path = run
    before = (path / "weights.safetensors").read_bytes()
    result = chainrule("train", "--resume", path, "--no-pictures")
    assert "resuming" in result.stdout
    assert (path / "weights.safetensors").read_bytes() == before


def test_an_interrupted_run_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "chainrule", "train", "mnist", "--hidden", "64"]
    command += ["--limit", "3000", "--epochs", "500", "--progress", "line"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=tmp_path)
    lines = []
    while not any(line.startswith("  2/500") for line in lines):
        lines.append(process.stdout.readline())
        assert lines[-1], "it ended before it was interrupted"
    process.send_signal(signal.SIGINT)
    rest = process.communicate()[0]
    assert process.returncode == 130
    (run,) = (tmp_path / "runs").iterdir()
    assert f"chainrule train --resume runs/{run.name}" in rest
    assert any((run / "checkpoints").iterdir())


def test_the_lecture_network_has_7960_parameters(tmp_path):
    result = chainrule(
        "train", "mnist", "--hidden", 10, "--activation", "sigmoid", "--limit", 600, "--epochs", 1,
        "--no-pictures", cwd=tmp_path,
    )  # fmt: skip
    assert "784-10-10 sigmoid: 7,960 parameters" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["train"], ["say what to train on", "chainrule train mnist"]),
        (["train", "cifar"], ["'cifar'", "mnist"]),
        (["train", "mnist", "--optimizer", "foo"], ["--optimizer", "adam, adamw"]),
        (["train", "mnist", "--activation", "foo"], ["--activation", "relu, leaky_relu"]),
        (["train", "mnist", "--model", "foo"], ["--model", "mlp"]),
        (["train", "mnist", "--schedule", "foo"], ["--schedule", "constant, cosine, linear"]),
        (["train", "mnist", "--monitor", "speed"], ["--monitor", "loss, accuracy"]),
        (["train", "mnist", "--validation", "0", "--monitor", "accuracy"], ["no epoch is chosen"]),
        (["train", "mnist", "--engine", "foo"], ["engine", "interpreter"]),
        (["train", "mnist", "--progress", "foo"], ["progress", "bar"]),
        (["train", "mnist", "--hidden", "3x"], ["--hidden", "300,100"]),
        (["train", "mnist", "--dropout", "1.5"], ["--dropout", "0 to 0.999"]),
        (["train", "mnist", "--learning-rate", "0"], ["--learning-rate"]),
        (["train", "mnist", "--batch-size", "0"], ["--batch-size", "1 to 60000"]),
        (["train", "mnist", "--epochs", "zwei"], ["--epochs"]),
        (["train", "mnist", "--limit", "10", "--validation", "10"], []),
        (["evaluate", "nowhere"], ["no run folder"]),
        (["predict", "nowhere", "a.png"], ["no run folder"]),
        (["train", "--resume", "nowhere"], ["no run folder"]),
        (["explain", "nothing"], ["one-input", "classic"]),
        (["explain", "classic", "--format", "pdf"], ["text, markdown, latex, html"]),
        (["summary", "--activation", "foo"], ["relu"]),
        (["summry"], ["no command 'summry'", "did you mean summary?"]),
        (["train", "--resume", "nowhere", "--epochs", "3"], ["keeps", "--epochs 3"]),
        (["profile", "shakespeare"], ["networks for pictures"]),
        (["models", "--layers"], ["say of which model", "--layers lenet5"]),
        (["train", "mnist", "--model", "lenet"], ["did you mean lenet5?"]),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) and value else None,
)
def test_wrong_values_are_answered_with_the_valid_ones(
    arguments, fragments, here, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    status, _, told = here(*arguments)
    if fragments:
        assert status == 2
    for fragment in fragments:
        assert fragment in told
    assert "Traceback" not in told
    assert ".py:" not in told, "there is no line of the user's to name"
    assert not (tmp_path / "runs").exists() or not fragments, "nothing is made for a wrong value"


def test_explain_lists_and_explains(here):
    assert "classic" in here("explain")[1]
    text = here("explain", "classic")[1]
    for figure in ("0.298371", "0.0821670", "0.358916"):
        assert figure in text
    assert max(map(len, text.splitlines())) <= 80


@pytest.mark.parametrize(
    ("format", "mark"), [("markdown", "#"), ("latex", "\\begin"), ("html", "<!doctype html>")]
)
def test_explain_writes_files(tmp_path, format, mark, here):
    target = tmp_path / "out"
    here("explain", "one-input", "--format", format, "--out", target)
    assert mark in target.read_text(encoding="utf-8").lower().replace("<!DOCTYPE", "<!doctype")


def test_summary_doctor_version():
    assert "266,610 parameters" in chainrule("summary", "--hidden", "300,100").stdout
    doctor = chainrule("doctor").stdout
    assert doctor.count("ok ") == 3
    assert np.__version__ in doctor
    assert chainrule("--version").stdout == f"chainrule {VERSION}\n"


@pytest.mark.parametrize("command", app.COMMANDS)
def test_help_fits_eighty_columns(here, command):
    assert command in here("--help")[1]
    status, shown, _ = here(command, "--help")
    assert status == 0
    assert "Usage:" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_commands_load_only_what_they_use():
    code = (
        "import sys; sys.argv = ['chainrule', 'explain', 'one-input']\n"
        "from chainrule.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('LOADED', *sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    loaded = set(result.stdout.rsplit("LOADED", 1)[1].split())
    assert not loaded & {"matplotlib", "PIL", "safetensors", "chainrule.training", "llvmlite"}
