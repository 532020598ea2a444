"""Progress: readable in a pipe and at 80 columns, live on a terminal, silent when asked."""

import io
import subprocess
import sys

import pytest
from rich.console import Console
from training_helpers import make_data, make_trainer

from chainrule.errors import ArgumentError
from chainrule.training import EarlyStopping, EpochLine, GradientNormMonitor, ProgressBar, Timer


def printed(callback, stream, *more, metrics=("accuracy",), epochs=11):
    trainer = make_trainer(metrics=metrics)
    trainer.fit(
        make_data(64), make_data(20, 1), epochs=epochs, callbacks=[callback, *more], progress="none"
    )
    return stream.getvalue()


@pytest.mark.parametrize(
    "metrics", [["accuracy"], ["accuracy", "f1", "balanced_accuracy", "matthews"]], ids=len
)
def test_lines_are_aligned_and_fit(metrics):
    stream = io.StringIO()
    more = (GradientNormMonitor(), Timer())
    lines = printed(EpochLine(stream), stream, *more, metrics=metrics).splitlines()
    assert len(lines) == 12
    assert max(map(len, lines)) <= 80
    header, *rows = lines
    assert header.split()[:2] == ["epoch", "loss"]
    assert "val_loss" in header
    assert [row.split()[0] for row in rows[:2]] == ["1/11", "2/11"]
    assert rows[0].startswith(" 1/11")
    end_of_loss = header.index("loss") + len("loss")
    for row in rows:
        assert row[end_of_loss - 1].isdigit()
        assert row[end_of_loss] == " "
        assert len(row.removesuffix(" *")) == len(header)
    assert rows[0].endswith(" *")
    assert "\x1b" not in "".join(lines)


@pytest.mark.filterwarnings("ignore:the learning rate is 0")
def test_the_reason_of_an_early_end_is_said():
    stream = io.StringIO()
    trainer = make_trainer(optimizer=__import__("chainrule").optim.SGD(0.0))
    trainer.fit(
        make_data(64),
        make_data(20, 1),
        epochs=9,
        callbacks=[EpochLine(stream), EarlyStopping(patience=2)],
        progress="none",
    )
    assert "stopped: val_loss has not improved for 2 epochs" in stream.getvalue()


def test_a_bar_on_a_terminal_redraws_at_most_ten_times_a_second(chunk_size):
    chunk_size(1)
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=True, width=80)
    text = printed(ProgressBar(console), stream, epochs=2)
    assert "epoch 1/2" in text
    assert "1/2" in text.splitlines()[-2] or "2/2" in text
    assert "val_loss" in text


def test_in_a_pipe_there_are_lines_and_nothing_when_silent(capsys):
    for progress, expected in (("auto", 3), ("line", 3), ("none", 0)):
        make_trainer().fit(make_data(32), epochs=2, progress=progress)
        assert len(capsys.readouterr().out.splitlines()) == expected
    with pytest.raises(ArgumentError, match=r"no progress 'lots'[\s\S]*'bar'"):
        make_trainer().fit(make_data(32), epochs=2, progress="lots")


def test_rich_is_not_imported_for_lines():
    code = (
        "import sys, numpy as np\n"
        "from chainrule import nn, ops, optim\n"
        "from chainrule.training import Trainer\n"
        "x = np.random.default_rng(0).normal(size=(8, 2)).astype('f')\n"
        "t = Trainer(nn.Linear(2, 1), loss=lambda p, y: ops.mean(ops.square(p - y)),\n"
        "            optimizer=optim.SGD(0.1))\n"
        "t.fit((x, x[:, :1]), epochs=1)\n"
        "sys.exit('rich' in sys.modules or 'matplotlib' in sys.modules)\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[1].startswith("1/1")
