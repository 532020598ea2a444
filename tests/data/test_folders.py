"""Folders of pictures: order, labels, sizes, colours, the cache, and what is refused."""

import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from chainrule import data
from chainrule.data import folders
from chainrule.errors import ArgumentError, DataError


@pytest.fixture
def shapes(tmp_path):
    """Two classes with three PNG files each, of one size, every pixel its own."""
    rng = np.random.default_rng(0)
    root = tmp_path / "shapes"
    for name in ("round", "edgy"):
        for number in range(3):
            pixels = rng.integers(0, 256, (6, 8, 3)).astype(np.uint8)
            save(root / name / f"{number}.png", pixels)
    return root


def save(path, pixels):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def png_header(width, height):
    """A PNG file that claims a size and has no pixels."""

    def chunk(kind, content):
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    size = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    empty = chunk(b"IDAT", zlib.compress(b""))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", size) + empty + chunk(b"IEND", b"")


def test_classes_and_files_come_in_the_order_of_their_names(shapes):
    whole = data.image_folder(shapes)
    assert whole.class_names == ["edgy", "round"]
    assert whole.targets.tolist() == [0, 0, 0, 1, 1, 1]
    assert whole.inputs.shape == (6, 3, 6, 8)
    assert whole.inputs.dtype == np.uint8
    expected = np.asarray(Image.open(shapes / "round" / "1.png")).transpose(2, 0, 1)
    np.testing.assert_array_equal(whole.inputs[4], expected)
    assert whole.name == "shapes"
    train, held_out = data.holdout(whole, 1 / 3, seed=0)
    assert np.bincount(train.targets).tolist() == [2, 2]
    assert np.bincount(held_out.targets).tolist() == [1, 1]


def test_decoded_pixels_are_kept_until_a_file_changes(shapes, monkeypatch):
    first = data.image_folder(shapes)
    assert not first.inputs.flags.writeable
    with monkeypatch.context() as patch:
        patch.setattr(folders, "decode", lambda *a: pytest.fail("decoded again"))
        again = data.image_folder(shapes)
    np.testing.assert_array_equal(first.inputs, again.inputs)
    white = np.full((6, 8, 3), 255, np.uint8)
    save(shapes / "edgy" / "0.png", white)
    os.utime(shapes / "edgy" / "0.png", ns=(0, 12345))
    assert (data.image_folder(shapes).inputs[0] == 255).all()
    assert data.image_folder(shapes, mode="grey").inputs.shape == (6, 1, 6, 8)


def test_large_sets_are_kept_in_a_file_of_their_own(shapes, tmp_path, monkeypatch):
    folder = tmp_path / "kept" / "here"
    first = data.image_folder(shapes, keep=folder).inputs.tobytes()
    assert first == data.image_folder(shapes).inputs.tobytes()
    (file,) = folder.iterdir()
    assert file.stat().st_size < 6 * 3 * 6 * 8 + 200
    with monkeypatch.context() as patch:
        patch.setattr(folders, "decode", lambda *a: pytest.fail("decoded again"))
        again = data.image_folder(shapes, keep=folder)
    assert not again.inputs.flags.writeable
    assert again.inputs.tobytes() == first
    content = file.read_bytes()
    file.unlink()  # others may have it mapped
    file.write_bytes(content[:-50])
    healed = data.image_folder(shapes, keep=folder)
    assert healed.inputs.tobytes() == first
    (shapes / "edgy" / "0.png").write_bytes(b"damaged")
    with pytest.raises(DataError, match="1 of 6"):
        data.image_folder(shapes, keep=folder)
    assert list(folder.iterdir()) == [file], "nothing unfinished stays"


def test_other_files_are_passed_over(shapes):
    (shapes / "edgy" / "notes.txt").write_text("no picture")
    (shapes / "edgy" / ".hidden.png").write_bytes(b"no picture")
    (shapes / ".git").mkdir()
    inner = shapes / "edgy" / "more" / "9.JPEG"
    save(inner, np.zeros((6, 8, 3), np.uint8))
    (shapes / "edgy" / "more" / "again").symlink_to(shapes / "edgy")
    whole = data.image_folder(shapes)
    assert whole.targets.tolist() == [0, 0, 0, 0, 1, 1, 1]
    assert not whole.inputs[3].any()


def test_progress_counts_files(shapes):
    told = []
    data.image_folder(shapes, size=3, progress=lambda *counts: told.append(counts))
    assert told == [(n, 6) for n in range(1, 7)]


def test_class_names_may_be_given_for_a_part(shapes):
    part = data.image_folder(shapes, class_names=["round", "square", "edgy"])
    assert part.targets.tolist() == [0, 0, 0, 2, 2, 2]
    assert part.n_classes == 3
    with pytest.raises(DataError, match=r"not among class_names[\s\S]*got: +edgy"):
        data.image_folder(shapes, class_names=["round"])


@pytest.mark.parametrize(
    ("options", "shape"),
    [
        ({"size": 4}, (3, 4, 4)),
        ({"size": (5, 2), "mode": "grey"}, (1, 5, 2)),
        ({"size": (3, 4), "fit": "stretch"}, (3, 3, 4)),
    ],
)
def test_sizes_and_colours(shapes, options, shape):
    assert data.image_folder(shapes, **options).inputs.shape == (6, *shape)


def test_cropping_keeps_the_middle_and_stretching_keeps_all(tmp_path):
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 200  # a square in the middle
    save(tmp_path / "a.png", pixels)
    assert (data.read_image(tmp_path / "a.png", size=10) == 200).all()
    stretched = data.read_image(tmp_path / "a.png", size=9, fit="stretch", mode="grey")[0]
    assert (stretched[:, 0] == 0).all()
    assert (stretched[:, 4] >= 200).all(), "bicubic edges overshoot"


MODES = {
    "grey": (np.full((4, 4), 100, np.uint8), 100),
    "16 bits": (np.full((4, 4), 100 * 257, np.uint16), 100),
    "transparent": (np.full((4, 4, 4), 100, np.uint8), 100),
}


@pytest.mark.parametrize("name", MODES)
def test_every_kind_of_pixel_is_converted(tmp_path, name):
    pixels, value = MODES[name]
    save(tmp_path / "a.png", pixels)
    for mode, channels in (("RGB", 3), ("grey", 1)):
        image = data.read_image(tmp_path / "a.png", mode=mode)
        assert image.shape == (channels, 4, 4)
        assert (image == value).all()


def test_palettes_and_cmyk_are_converted(tmp_path):
    red = Image.new("RGB", (4, 4), (250, 0, 0))
    red.convert("P").save(tmp_path / "a.png", transparency=b"\x00\x01")
    red.convert("CMYK").save(tmp_path / "b.jpg", quality=95)
    for name in ("a.png", "b.jpg"):
        image = data.read_image(tmp_path / name)
        assert image.shape == (3, 4, 4)
        assert image[0].min() > 200
        assert image[1:].max() < 60


def test_photos_are_turned_upright(tmp_path):
    pixels = np.zeros((8, 16, 3), np.uint8)
    pixels[:, :8] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by 90° clockwise
    Image.fromarray(pixels).save(tmp_path / "a.jpg", exif=exif)
    image = data.read_image(tmp_path / "a.jpg", mode="grey")[0]
    assert image.shape == (16, 8)
    assert image[:6].min() > 200
    assert image[10:].max() < 50


def test_damaged_files_are_all_named(shapes):
    (shapes / "edgy" / "1.png").write_bytes((shapes / "edgy" / "1.png").read_bytes()[:60])
    (shapes / "round" / "0.png").write_bytes(b"GIF89a is no PNG")
    (shapes / "round" / "2.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"3 of 6 pictures") as caught:
        data.image_folder(shapes)
    for name in ("edgy/1.png", "round/0.png", "round/2.png"):
        assert name in str(caught.value)
    assert "round/1.png" not in str(caught.value)


def test_bombs_are_refused_by_their_header(shapes):
    (shapes / "edgy" / "bomb.png").write_bytes(png_header(60_000, 60_000))
    (shapes / "edgy" / "large.png").write_bytes(png_header(10_000, 8_000))
    with pytest.raises(DataError, match="2 of 8 pictures") as caught:
        data.image_folder(shapes)
    assert "10000 × 8000 pixels, more than 50,000,000" in str(caught.value)
    with pytest.raises(DataError, match="more than 40"):
        data.read_image(shapes / "edgy" / "0.png", max_pixels=40)
    with pytest.raises(DataError, match="too much memory"):
        data.image_folder(shapes, size=2, max_bytes=71)
    with pytest.raises(DataError, match="too much memory"):
        data.image_folder(shapes, mode="grey", fit="stretch", max_bytes=100)


def test_mistakes_are_answered(shapes, tmp_path):
    save(shapes / "edgy" / "wide.png", np.zeros((6, 9, 3), np.uint8))
    with pytest.raises(DataError, match=r"differ in size[\s\S]*edgy/0.png[\s\S]*edgy/wide.png"):
        data.image_folder(shapes)
    (shapes / "empty").mkdir()
    with pytest.raises(DataError, match=r"class 'empty' has no pictures"):
        data.image_folder(shapes)
    with pytest.raises(DataError, match="no such folder"):
        data.image_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"no classes[\s\S]*0.png"):
        data.image_folder(shapes / "edgy")
    for part in ("train", "test"):
        (tmp_path / "parts" / part).mkdir(parents=True)
    with pytest.raises(DataError, match=r"parts of a data set[\s\S]*parts/train"):
        data.image_folder(tmp_path / "parts")
    with pytest.raises(DataError, match="no such file"):
        data.read_image(tmp_path / "nothing.png")
    for wrong in ({"size": 0}, {"size": (3, 3, 3)}, {"mode": "L"}, {"fit": "pad"}):
        with pytest.raises(ArgumentError):
            data.image_folder(shapes, **wrong)
