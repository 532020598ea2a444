"""Grids and tables of small pictures: written, in the right colours, said in words."""

import numpy as np
import pytest
from PIL import Image

from chainrule import plots
from chainrule.errors import ArgumentError, DataError, ShapeError
from chainrule.plots import Cell


def opened(path):
    with Image.open(path) as picture:
        picture.load()
        return np.asarray(picture.convert("RGB")).astype(int), picture.info["Description"]


def test_a_grid_on_one_scale(tmp_path):
    images = np.stack([np.full((4, 4), v) for v in (1.0, -1.0, 0.0)])
    pixels, text = opened(plots.image_grid(images, tmp_path / "a.png", what="kernels"))
    assert text == "3 kernels of 4 × 4, from -1 to 1"
    blue = (pixels[..., 2] > pixels[..., 0] + 40).mean()
    red = (pixels[..., 0] > pixels[..., 2] + 40).mean()
    assert blue > 0.05
    assert red > 0.05


def test_channels_are_pictures_or_colours(tmp_path):
    images = np.random.default_rng(0).uniform(size=(2, 3, 5, 5))
    assert opened(plots.image_grid(images, tmp_path / "a.png"))[1].startswith("2 images")
    signed = plots.image_grid(images - 0.5, tmp_path / "b.png")
    assert opened(signed)[1].startswith("6 images")
    few = plots.image_grid(images - 0.5, tmp_path / "c.png", max_images=4, title="some")
    assert opened(few)[1].startswith("some: 4 of 6 images")


def test_what_is_no_grid(tmp_path):
    with pytest.raises(ShapeError, match="height, width"):
        plots.image_grid(np.ones((3, 3)), tmp_path / "a.png")
    with pytest.raises(ArgumentError, match="max_images=0"):
        plots.image_grid(np.ones((3, 3, 3)), tmp_path / "a.png", max_images=0)


def test_a_table_of_pictures(tmp_path):
    picture = np.linspace(0, 1, 36).reshape(6, 6)
    cells = [
        [Cell(picture), Cell(picture - 0.5, "signed"), Cell(picture[:3, :3], "heat", picture)],
        [Cell(np.stack([picture] * 3)), Cell(picture[None], "signed"), Cell(picture[None], "heat")],
    ]
    names = ["input", r"$\maps$", "heat"]
    path = plots.picture_table(
        cells, tmp_path / "a.png", column_names=names, row_names=["a", "b"], title="long " * 40
    )
    pixels, text = opened(path)
    assert "rows a, b" in text
    assert pixels.std() > 20
    assert (pixels[:, :3] == 255).all(), "a long title is broken, not cut"
    with pytest.raises(ShapeError, match="rows of 2 cells"):
        plots.picture_table(cells, tmp_path / "a.png", column_names=["a", "b"])
    with pytest.raises(ShapeError, match="row names"):
        plots.picture_table(cells, tmp_path / "a.png", column_names=names, row_names=["a"])
    with pytest.raises(ArgumentError, match="grey or signed or heat"):
        Cell(picture, "rainbow").colours()


def test_constant_pictures_and_ones_that_are_not_finite(tmp_path):
    cells = [[Cell(np.zeros((3, 3)), kind) for kind in ("grey", "signed", "heat")]]
    cells.append([Cell(np.full((3, 3), np.nan), kind) for kind in ("grey", "signed", "heat")])
    plots.picture_table(cells, tmp_path / "a.png", column_names=["a", "b", "c"])
    assert (cells[1][2].colours()[..., :3].round(2) == 0.6).all(), "grey: not a number"


def test_correlation_lines(tmp_path):
    lines = {"gradient": [0.5, 0.1], "edges": [1.0, 1.0]}
    path = plots.correlation_lines(["b", "a"], lines, tmp_path / "a.png", limit=0.5)
    pixels, text = opened(path)
    assert "gradient ends at 0.10, edges ends at 1.00" in text
    assert (pixels == (0x00, 0x72, 0xB2)).all(axis=2).any()
    with pytest.raises(DataError, match="nothing to draw"):
        plots.correlation_lines(["a"], lines, tmp_path / "a.png")
