"""``chainrule train`` on folders of pictures and on data sets that were downloaded."""

import json
import re

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from chainrule.cli.app import app
from chainrule.cli.recipe import Recipe
from chainrule.cli.sources import find_source
from chainrule.cli.usual import settings, transforms
from chainrule.data.cifar import CIFAR10_CLASSES
from chainrule.errors import ArgumentError, DataError


def run(*arguments):
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80"})
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.stdout


def write_class(folder, brightness, count=12):
    """Noisy pictures of one brightness, each a little wider than high."""
    rng = np.random.default_rng(int(brightness))
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.normal(brightness, 10, (20, 24, 3)).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")


@pytest.fixture
def shades(tmp_path, monkeypatch):
    """A folder with three classes, one of them with a name that looks like markup."""
    monkeypatch.chdir(tmp_path)
    for name, brightness in (("dark", 40), ("mid", 120), ("[bold]light", 220)):
        write_class(tmp_path / "shades" / name, brightness)
    return tmp_path


def test_a_folder_is_trained_evaluated_and_asked(shades):
    shown = run(
        "train", "./shades", "--image-size", 16, "--hidden", 8, "--epochs", 60, "--batch-size", 8,
        "--learning-rate", 0.01, "--progress", "none", "--no-pictures",
    )  # fmt: skip
    lines = shown.splitlines()
    assert lines[0] == "shades: 26 samples to train on, 5 to validate, 5 to test"
    assert lines[1] == "768-8-3 relu: 6,179 parameters, pictures varied as photos"
    accuracy = float(re.search(r"test accuracy ([\d.]+)%", shown).group(1))
    assert accuracy > 80
    (folder,) = (shades / "runs").iterdir()
    recipe = json.loads((folder / "config.json").read_text())["recipe"]
    assert recipe["classes"] == ["[bold]light", "dark", "mid"]
    assert recipe["shape"] == [3, 16, 16]
    again = run("evaluate", folder)
    assert "[bold]light" in again
    assert float(re.search(r"accuracy +(\d\.\d+)", again).group(1)) * 100 == pytest.approx(accuracy)
    # the folder itself is not needed to ask
    picture = shades / "shades" / "dark" / "00.png"
    kept = picture.rename(shades / "kept.png")
    assert run("predict", folder, kept).splitlines()[1].split()[1] == "dark"


def test_parts_that_are_there_are_taken_as_they_are(shades):
    for part, count in (("train", 10), ("val", 4), ("test", 6)):
        for name, brightness in (("dark", 40), ("light", 220)):
            write_class(shades / "cut" / part / name, brightness, count)
    parts = find_source("./cut", 8, grey=True).read(None, 0, 0)
    assert [len(part) for part in parts] == [20, 8, 12]
    assert parts.train.inputs.shape == (20, 1, 8, 8)
    held_out = find_source("./cut", 8).read(4, 0, 0)
    assert [len(part) for part in held_out] == [16, 4, 12]


def test_a_limit_takes_some_of_each_class(shades):
    parts = find_source("./shades", 8).read(3, 9, 0)
    assert np.bincount(parts.train.targets).tolist() == [2, 2, 2]
    assert np.bincount(parts.validation.targets).tolist() == [1, 1, 1]
    assert not set(map(bytes, parts.train.inputs)) & set(map(bytes, parts.test.inputs))


def test_what_is_no_source_is_answered(shades):
    with pytest.raises(ArgumentError, match=r"(?s)does not know 'shades'.*try: +\./shades"):
        find_source("shades")
    with pytest.raises(ArgumentError, match="have their size and colours"):
        Recipe.compose("mnist", "mlp", image_size=32)
    with pytest.raises(DataError, match=r"nothing at .*nowhere"):
        Recipe.compose("./nowhere", "mlp")
    with pytest.raises(ArgumentError, match=r"(?s)alexnet does not fit.*--image-size"):
        Recipe.compose("./shades", "alexnet", image_size=16)


def test_a_model_says_the_size_of_a_folders_pictures(shades):
    sizes = {m: Recipe.compose("./shades", m).shape for m in ("mlp", "lenet5", "resnet18")}
    assert sizes == {"mlp": (3, 32, 32), "lenet5": (3, 28, 28), "resnet18": (3, 64, 64)}


def write_cifar(folder, n):
    rng = np.random.default_rng(n)
    folder.mkdir(parents=True, exist_ok=True)
    for name in [*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin"]:
        records = rng.integers(0, 256, (n, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(n) % 10
        records.tofile(folder / name)


def test_cifar_is_trained_on_once_its_files_are_there(tmp_path, monkeypatch):
    monkeypatch.setenv("CHAINRULE_DATA", str(tmp_path / "data"))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"(?s)not on this machine.*chainrule data download cifar1"):
        run("train", "cifar10", "--hidden", 4)
    assert not (tmp_path / "runs").exists()
    write_cifar(tmp_path / "data" / "cifar10", 40)
    shown = run(
        "train", "cifar10", "--hidden", 4, "--validation", 50, "--epochs", 1, "--progress", "none",
        "--no-pictures",
    )  # fmt: skip
    assert "cifar10: 150 samples to train on, 50 to validate, 40 to test" in shown
    assert "3072-4-10 relu" in shown
    assert Recipe.compose("cifar10", "cifar_resnet20").classes == CIFAR10_CLASSES


def test_settings_go_from_what_is_given_to_what_is_usual():
    lenet = settings("digits", "lenet5", {})
    assert (lenet["augment"], lenet["optimizer"]) == ("digits", "adamw")
    other = settings("digits", "lenet5", {"optimizer": "sgd", "epochs": 2, "augment": None})
    assert (other["learning_rate"], other["epochs"], other["augment"]) == (0.1, 2, "digits")
    assert settings("digits", "mlp", {}) == {"learning_rate": 1e-3}
    assert "weight_decay" not in settings("photos", "resnet18", {"optimizer": "momentum"})


@pytest.mark.parametrize("name", ["none", "digits", "clothes", "photos"])
def test_augmentations_keep_the_shape(name):
    recipe = Recipe("mnist", augment=name, shape=(3, 12, 10))
    images = np.random.default_rng(0).integers(0, 256, (5, 3, 12, 10), dtype=np.uint8)
    from chainrule.data import ArrayDataset

    train = recipe.augmented(ArrayDataset(images, np.arange(5)))
    if name == "none":
        assert train.inputs is images
    else:
        changed = train.batch(np.arange(5), epoch=1)[0]
        assert changed.shape == images.shape
        assert not np.array_equal(changed, images)


def test_an_unknown_augmentation_is_refused():
    with pytest.raises(ArgumentError, match="none, digits, clothes, photos"):
        transforms("wild", (1, 4, 4))
    with pytest.raises(ArgumentError, match="--augment"):
        Recipe.compose("mnist", "mlp", augment="wild")


def test_max_norm_and_input_dropout_reach_the_training():
    recipe = Recipe.compose("mnist", "mlp", max_norm=2.0, input_dropout=0.2, hidden=(8,))
    model = recipe.build_model()
    assert [type(layer).__name__ for layer in model][:3] == ["Standardize", "Flatten", "Dropout"]
    trainer = recipe.trainer(model, 100)
    assert "max_row_norm=2.0" in repr(trainer.optimizer)
