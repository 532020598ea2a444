"""The picture of attention: its file, its text alternative, what it refuses."""

import numpy as np
import pytest
from PIL import Image

from chainrule import plots
from chainrule.errors import DataError, ShapeError


def test_the_picture_says_in_words_where_each_step_looks(tmp_path):
    weights = np.array([[0.1, 0.8, 0.1], [0.0, 0.25, 0.75]])
    path = plots.attention_map(weights, ["$a", "b", "c"], ["x", "y$"], tmp_path / "a.png")
    with Image.open(path) as picture:
        assert picture.width > picture.height > 100
        assert picture.info["Description"].endswith("3 places: x from b, y$ from c")
    assert plots.attention_map(weights, "abc", "xy", tmp_path / "b.png", title="T").exists()


def test_weights_that_are_none_are_refused(tmp_path):
    with pytest.raises(ShapeError, match=r"\(2, 3\)"):
        plots.attention_map(np.ones((3, 2)), "abc", "xy", tmp_path / "a.png")
    with pytest.raises(ShapeError, match="1 to 80"):
        plots.attention_map(np.ones((1, 81)), "a" * 81, "x", tmp_path / "a.png")
    for wrong in (np.nan, -0.5, 1.5):
        with pytest.raises(DataError, match=r"\[0, 1\]"):
            plots.attention_map([[wrong]], "a", "x", tmp_path / "a.png")
