"""``chainrule models`` and ``--model``: what is listed, what is trained, what is refused."""

import re

import pytest
from typer.testing import CliRunner

from chainrule import models
from chainrule.cli.app import app
from chainrule.cli.recipe import Recipe
from chainrule.errors import ArgumentError


def run(*arguments):
    result = CliRunner().invoke(app, arguments, env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def test_a_list_of_the_models_with_their_figures():
    lines = run("models", "cifar").splitlines()
    assert lines[0].split() == ["model", "input", "parameters", "multiply-adds", "source"]
    assert lines[1].split() == [
        "cifar_resnet20", "3×32×32", "269,722", "40.6", "M", "He", "et", "al.", "2016",
    ]  # fmt: skip
    assert len(lines) == 6


def test_names_and_sources_fit_eighty_columns():
    longest = max(models.names(), key=len)
    source = max((models.architecture(n).source for n in models.names()), key=len)
    assert len(longest) <= 17
    assert len(source) <= 24  # beside input 9, parameters 13, multiply-adds 13, four gaps of 1


@pytest.mark.slow
def test_all_models_are_listed_in_eighty_columns():
    lines = run("models").splitlines()
    assert [line.split()[0] for line in lines[1:]] == models.names()
    assert max(map(len, lines)) <= 80


def test_the_layer_table_of_one():
    assert "61,706 parameters" in run("models", "lenet5", "--layers")


def test_an_unknown_model_is_answered_with_near_misses():
    with pytest.raises(ArgumentError, match=r"(?s)chainrule models resnet50"):
        run("models", "resnet51")


def test_a_model_chosen_by_name_takes_the_data_sets_channels_and_classes():
    model = Recipe.compose("mnist", "lenet5", settings={"activation": "relu"}).build_model()
    assert model.n_parameters == 61_706
    assert model.summary((1, 28, 28)).rows[-2].output_shape == (1, 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "vgg16"), r"(?s)vgg16 does not fit.*3 × 224 × 224"),
        (("--model", "unet"), "--model does not know 'unet'"),
        (("--model", "lenet5", "--hidden", "30"), "--hidden 30"),
        (("--model", "resnet18", "--dropout", "0.5"), "no setting 'dropout'"),
        (("--model", "lenet5", "--activation", "swish"), "LeNet5: activation"),
    ],
)
def test_what_does_not_fit_is_refused_before_a_run_folder_is_made(
    arguments, message, tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentError, match=message):
        run("train", "mnist", *arguments)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_lenet_is_trained_evaluated_and_rebuilt(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shown = run("train", "mnist", "--model", "lenet5", "--limit", "3000", "--epochs", "3")
    assert "lenet5: 61,706 parameters, pictures varied as digits" in shown
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", shown).group(1))
    assert accuracy > 80
    (folder,) = (tmp_path / "runs").iterdir()
    names = {path.name for path in (folder / "insight").iterdir()}
    assert names >= {"filters_network.c1.png", "saliency.png", "receptive_fields.png"}
    again = run("evaluate", str(folder))
    found = float(re.search(r"test accuracy +(\d\.\d+)", again).group(1))
    assert found * 100 == pytest.approx(accuracy, abs=0.006)
