"""Pictures are written, hold what they should, and say it in words."""

import numpy as np
import pytest
from PIL import Image

from chainrule import plots
from chainrule.errors import DataError, ShapeError


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


def test_confusion_matrix(tmp_path):
    matrix = np.array([[8, 2], [0, 10]])
    pixels, text = opened(plots.confusion_matrix(matrix, ["cat", "dog"], tmp_path / "a.png"))
    assert "90.00% on the diagonal" in text
    assert pixels.std() > 10
    with pytest.raises(ShapeError, match=r"\(3, 3\)"):
        plots.confusion_matrix(matrix, ["a", "b", "c"], tmp_path / "b.png")


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


def test_schedule_curve(tmp_path):
    _, text = opened(plots.schedule_curve([0.1, 0.05, 0.0], tmp_path / "a.png"))
    assert "from 0.1 to 0" in text
    assert plots.schedule_curve([0.1, 0.2]).axes[0].get_ylabel() == "learning rate"
