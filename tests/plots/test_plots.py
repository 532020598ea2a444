"""Pictures are written, hold what they should, and say it in words."""

import numpy as np
import pytest
from PIL import Image

from chainrule import plots
from chainrule.errors import ArgumentError, DataError, ShapeError


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return np.asarray(picture.convert("RGB")), picture.info["Description"]


def test_learning_curves(tmp_path):
    history = {
        "epoch": [1, 2, 3],
        "loss": [1.0, 0.5, 0.25],
        "validation_loss": [1.1, 0.6, 0.7],
        "accuracy": [0.5, 0.8, 0.9],
        "learning_rate": [0.1, 0.1, 0.1],
    }
    pixels, text = opened(plots.learning_curves(history, tmp_path / "a.png", best_epoch=2))
    assert "3 epochs" in text
    assert "validation loss from 1.1 to 0.7" in text
    assert "learning_rate" not in text
    assert pixels.shape[1] > 1.5 * pixels.shape[0], "two panels side by side"
    assert (pixels == (0x00, 0x72, 0xB2)).all(axis=2).any(), "the training line is drawn"
    with pytest.raises(DataError, match="nothing to draw"):
        plots.learning_curves({"epoch": [1]}, tmp_path / "b.png")


def test_learning_curves_mark_the_least_validation_loss(tmp_path):
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "validation_loss": [3.0, 1.5, float("nan"), 2.0]}
    marked = opened(plots.learning_curves(history, tmp_path / "a.png"))[1]
    assert "epoch 2 is marked" in marked
    diverged = {"loss": [float("nan")] * 2, "validation_loss": [float("inf")] * 2}
    assert "marked" not in opened(plots.learning_curves(diverged, tmp_path / "b.png"))[1]


def test_measures_of_the_validation_part_alone_are_drawn(tmp_path):
    history = {"loss": [1.0], "validation_auc": [0.7], "a": [1.0], "b": [1.0], "validation_c": []}
    pixels, text = opened(plots.learning_curves(history, tmp_path / "a.png"))
    assert "validation auc from 0.7 to 0.7" in text
    assert pixels.shape[0] > 700, "four panels take two rows"


def test_confusion_matrix(tmp_path):
    matrix = np.array([[8, 2], [0, 10]])
    pixels, text = opened(plots.confusion_matrix(matrix, ["cat", "dog"], tmp_path / "a.png"))
    assert "90.00% on the diagonal" in text
    assert pixels.std() > 10
    with pytest.raises(ShapeError, match=r"\(3, 3\)"):
        plots.confusion_matrix(matrix, ["a", "b", "c"], tmp_path / "b.png")
    with pytest.raises(ShapeError, match="at least one class"):
        plots.confusion_matrix(np.zeros((0, 0)), [], tmp_path / "b.png")
    with pytest.raises(DataError, match="-1 to 10"):
        plots.confusion_matrix([[8, -1], [0, 10]], ["a", "b"], tmp_path / "b.png")


def test_names_are_no_formulas_and_empty_classes_no_errors(tmp_path):
    names = [r"$\unheard$", "_{x}^"]
    plots.confusion_matrix([[3, 1], [0, 0]], names, tmp_path / "a.png", title=r"$\unheard$")
    plots.weight_images(np.ones((2, 2)), tmp_path / "a.png", title=r"$\unheard$")


def test_many_classes_make_no_endless_picture(tmp_path):
    names = [f"class {i}" for i in range(200)]
    pixels, _ = opened(plots.confusion_matrix(np.eye(200, dtype=int), names, tmp_path / "a.png"))
    assert max(pixels.shape) < 2000


def test_weight_images(tmp_path):
    weights = np.zeros((4, 6))
    weights[0], weights[1] = 1.0, -1.0
    pixels, text = opened(plots.weight_images(weights, tmp_path / "a.png", image_shape=(2, 3)))
    assert "4 of 4 units" in text
    blue, red = (
        pixels[..., 2].astype(int) - pixels[..., 0],
        pixels[..., 0].astype(int) - pixels[..., 2],
    )
    assert (blue > 60).any(), "positive weights are blue"
    assert (red > 60).any(), "negative weights are red"
    _, text = opened(plots.weight_images(weights, tmp_path / "map.png"))
    assert "4 × 6" in text
    with pytest.raises(ShapeError, match="units, 9"):
        plots.weight_images(weights, tmp_path / "b.png", image_shape=(3, 3))
    with pytest.raises(ShapeError, match=r"\(0, 6\)"):
        plots.weight_images(weights[:0], tmp_path / "b.png")
    with pytest.raises(ArgumentError, match="max_images"):
        plots.weight_images(weights, tmp_path / "b.png", image_shape=(2, 3), max_images=0)


@pytest.mark.parametrize("image_shape", [None, (2, 3)])
def test_weights_that_are_not_finite_are_grey(tmp_path, image_shape):
    weights = np.full((4, 6), np.nan)
    weights[0, 0] = np.inf
    path = plots.weight_images(weights, tmp_path / "a.png", image_shape=image_shape)
    pixels, text = opened(path)
    assert "24 weights are not finite" in text
    assert (pixels == 0x99).all(axis=2).mean() > 0.2


def test_a_sparse_matrix_keeps_its_few_weights_visible(tmp_path):
    weights = np.zeros((100, 100))
    weights[3, 4] = 0.01
    pixels, _ = opened(plots.weight_images(weights, tmp_path / "a.png"))
    dark_blue = (pixels[..., 2] > pixels[..., 0] + 60) & (pixels[..., 0] < 60)
    assert dark_blue[:, : pixels.shape[1] * 3 // 4].any(), "beside the colour bar"


def test_schedule_curve(tmp_path):
    _, text = opened(plots.schedule_curve([0.1, 0.05, 0.0], tmp_path / "a.png"))
    assert "from 0.1 to 0" in text
    axes = plots.schedule_curve([0.1, 0.2]).axes[0]
    assert axes.get_ylabel() == "learning rate"
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
    assert plots.schedule_curve([0.1, -0.2]).axes[0].get_ylim()[0] < -0.2, "nothing is cut off"
    with pytest.raises(DataError, match="a rate for each step"):
        plots.schedule_curve([])
