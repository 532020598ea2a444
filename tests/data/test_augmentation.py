"""Augmentation: what each transform does, and that draws depend on seed, epoch and sample alone."""

import numpy as np
import pytest

from chainrule import data
from chainrule.data.augmentation import Draws
from chainrule.data.augmentation.mixing import beta
from chainrule.data.augmentation.warps import resampled
from chainrule.errors import ArgumentError, DataError, ShapeError

# every transform, with settings that change something
TRANSFORMS = {
    "crop": data.RandomCrop(9, padding=2),
    "centre crop": data.CenterCrop((5, 7)),
    "horizontal flip": data.RandomHorizontalFlip(),
    "vertical flip": data.RandomVerticalFlip(),
    "erasing": data.RandomErasing(p=0.7),
    "affine": data.RandomAffine(20, 0.1, (0.8, 1.2), 10),
    "rotation": data.RandomRotation(30),
    "elastic": data.ElasticTransform(2.0, 4.0),
    "resized crop": data.RandomResizedCrop((6, 5)),
    "jitter": data.ColorJitter(0.5, 0.5),
    "normalize": data.Normalize((0.4, 0.5, 0.6), 0.25),
    "mixup": data.MixUp(0.4, p=0.7),
    "cutmix": data.CutMix(p=0.7),
}
KEEPS_SHAPE = [name for name in TRANSFORMS if "crop" not in name]


def images(n=20, shape=(3, 10, 12), dtype=np.uint8, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (n, *shape))
    return pixels.astype(dtype) / np.float32(255) if dtype == np.float32 else pixels.astype(dtype)


def dataset(n=20, dtype=np.uint8, shape=(3, 10, 12)):
    pixels = images(n, shape, dtype)
    return data.ArrayDataset(pixels, np.arange(n) % 4, weights=np.linspace(1, 2, n))


def draws(n=20, seed=0, place=0):
    return Draws(seed, 0, np.arange(n), place)


def bits(arrays):
    return [(x.dtype.name, x.shape, x.tobytes()) for x in arrays]


@pytest.mark.parametrize("name", TRANSFORMS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_a_sample_is_the_same_in_any_company(name, dtype):
    whole = dataset(dtype=dtype)
    before = whole.inputs.tobytes()
    train = data.Augmented(whole, [data.RandomCrop(10, padding=1), TRANSFORMS[name]], seed=3)
    order = np.random.default_rng(1).permutation(20)
    together = train.batch(order, epoch=2)
    for n_parts in (2, 5, 20):
        parts = [train.batch(part, epoch=2) for part in np.split(order, 20 // (20 // n_parts))]
        joined = [np.concatenate(column) for column in zip(*parts, strict=True)]
        assert bits(joined) == bits(together)
    assert whole.inputs.tobytes() == before, "the data set itself is never changed"
    if TRANSFORMS[name].random:
        assert bits(train.batch(order, epoch=3)) != bits(together)
        other = data.Augmented(whole, train.augmentation.transforms, seed=4)
        assert bits(other.batch(order, epoch=2)) != bits(together)


@pytest.mark.parametrize("name", KEEPS_SHAPE)
@pytest.mark.parametrize("shape", [(9, 9), (1, 8, 11), (3, 7, 6)], ids=str)
def test_shapes_and_types_are_kept(name, shape):
    transform = TRANSFORMS[name] if name != "normalize" else data.Normalize(0.5, 0.3)
    for dtype in (np.uint8, np.float32):
        found = data.Augmented(dataset(6, dtype, shape), [transform]).batch(range(6))
        assert found[0].shape == (6, *shape)
        floating = name in ("normalize", "mixup")
        assert found[0].dtype == (np.float32 if floating else dtype)
        assert len(found) == 3


def test_draws_are_even_and_unrelated():
    several = [draws(4000).uniform(2), draws(4000, place=1).uniform(2), draws(4000, 1).uniform(2)]
    later = draws(4000)
    later.uniform(2)
    several.append(later.uniform(2))
    columns = np.concatenate(several, axis=1)
    np.testing.assert_allclose(columns.mean(axis=0), 0.5, atol=0.02)
    np.testing.assert_allclose(columns.std(axis=0), 12**-0.5, atol=0.01)
    correlations = np.corrcoef(columns.T) - np.eye(8)
    assert np.abs(correlations).max() < 0.06
    assert set(draws().integers(3).tolist()) == {0, 1, 2}


def test_crops_are_parts_of_the_padded_image():
    pixels = images(200, (1, 5, 5))
    out = data.RandomCrop(5, padding=2, fill=7).apply(pixels.copy(), draws(200))
    places = set()
    for image, crop in zip(pixels, out, strict=True):
        whole = np.full((9, 9), 7, np.uint8)
        whole[2:7, 2:7] = image[0]
        found = [
            (y, x)
            for y in range(5)
            for x in range(5)
            if (whole[y : y + 5, x : x + 5] == crop).all()
        ]
        assert len(found) == 1
        places |= set(found)
    assert len(places) == 25, "every place is taken"
    settled = data.RandomCrop(3, padding=2).settle(pixels)
    np.testing.assert_array_equal(settled, pixels[..., 1:4, 1:4])
    larger = data.RandomCrop(7, padding=4).settle(pixels)
    np.testing.assert_array_equal(larger[..., 1:6, 1:6], pixels)


def test_flips_mirror_half_of_the_images():
    pixels = images(400, (2, 3, 4))
    out = data.RandomHorizontalFlip().apply(pixels.copy(), draws(400))
    mirrored = (out == pixels[..., ::-1]).all(axis=(1, 2, 3))
    assert 160 < mirrored.sum() < 240
    np.testing.assert_array_equal(out[~mirrored], pixels[~mirrored])
    always = data.RandomVerticalFlip(1.0).apply(pixels.copy(), draws(400))
    np.testing.assert_array_equal(always, pixels[..., ::-1, :])


def test_erased_rectangles_have_the_area_that_was_asked_for():
    pixels = images(300, (20, 30)) | 1
    out = data.RandomErasing(0.5, (0.1, 0.2), (0.5, 2.0), fill=0).apply(pixels.copy(), draws(300))
    shares = (out == 0).mean(axis=(1, 2))
    assert 110 < np.count_nonzero(shares) < 190
    chosen = shares[shares > 0]
    assert chosen.min() > 0.08
    assert chosen.max() < 0.22
    for image in out[shares > 0][:20] == 0:
        rows, columns = image.any(axis=1), image.any(axis=0)
        assert image.sum() == rows.sum() * columns.sum(), "a full rectangle"
        assert 0.4 < rows.sum() / columns.sum() < 2.5


def test_nothing_to_warp_changes_nothing():
    pixels = images()
    np.testing.assert_array_equal(data.RandomAffine().apply(pixels.copy(), draws()), pixels)


def fixed(monkeypatch, **values):
    """An affine transform with one outcome."""
    transform = data.RandomAffine()

    def between(self, low, high, *shape):
        return np.full((len(self), *shape), high)

    monkeypatch.setattr(Draws, "between", between)
    vars(transform).update(values)
    return transform


def test_rotations_by_a_right_angle_move_pixels_exactly(monkeypatch):
    pixels = images(3, (2, 7, 7))
    turned = fixed(monkeypatch, degrees=90.0).apply(pixels.copy(), draws(3))
    np.testing.assert_array_equal(turned, np.rot90(pixels, axes=(2, 3)))


def test_shifts_by_whole_pixels_move_them_exactly(monkeypatch):
    pixels = images(3, (8, 8))
    moved = fixed(monkeypatch, translate=0.25, fill=9.0).apply(pixels.copy(), draws(3))
    np.testing.assert_array_equal(moved[:, 2:, 2:], pixels[:, :-2, :-2])
    assert (moved[:, :2] == 9).all()
    assert (moved[:, :, :2] == 9).all()


def test_scaling_enlarges_about_the_centre(monkeypatch):
    pixels = np.zeros((1, 9, 9), np.float32)
    pixels[0, 3:6, 3:6] = 1
    grown = fixed(monkeypatch, scale=(2.0, 2.0)).apply(pixels, draws(1))[0]
    # the 3 × 3 square has edges at ±1.5 where linear interpolation is ½: now at ±3
    assert (grown[2:7, 2:7] == 1).all()
    np.testing.assert_allclose(grown[4], [0, 0.5, 1, 1, 1, 1, 1, 0.5, 0], atol=1e-6)


def test_resampling_interpolates_linearly():
    down, right = np.meshgrid(np.linspace(0, 4, 6), np.linspace(0, 5, 7), indexing="ij")
    rows, columns = np.mgrid[0:5, 0:6]
    plane = (2 * rows + 3 * columns + 1).astype(np.float32)[None]
    found = resampled(plane, down[None].astype("f"), right[None].astype("f"), 0.0)
    assert found.shape == (1, 6, 7)
    np.testing.assert_allclose(found[0], 2 * down + 3 * right + 1, rtol=1e-5)


def test_resized_crops_show_parts_of_every_size():
    rows, columns = np.mgrid[0:24, 0:30].astype(np.float32)
    ramp = np.broadcast_to(np.stack([rows, columns]), (200, 2, 24, 30)).copy()
    cropped = data.RandomResizedCrop((8, 6), scale=(0.2, 0.5))
    out = cropped.apply(ramp.copy(), draws(200))
    assert out.shape == (200, 2, 8, 6)
    # from the first pixel's centre to the last one's, plus a pixel
    heights = (out[:, 0, -1, 0] - out[:, 0, 0, 0]) * 8 / 7
    widths = (out[:, 1, 0, -1] - out[:, 1, 0, 0]) * 6 / 5
    shares, ratios = heights * widths / (24 * 30), widths / heights
    assert 0.19 < shares.min() < 0.23 < 0.47 < shares.max() < 0.51
    assert 0.74 < ratios.min() < 0.8 < 1.25 < ratios.max() < 1.34
    settled = cropped.settle(ramp[:1])[0]
    np.testing.assert_allclose(settled[0, :, 0], np.arange(8) * 3 + 1, atol=1e-4)
    np.testing.assert_allclose(settled[1, 0], 6 + np.arange(6) * 3 + 1, atol=1e-4)
    same = data.RandomResizedCrop((24, 30)).settle(ramp[:1])
    np.testing.assert_array_equal(same, ramp[:1])


def test_bends_are_smooth_and_bounded():
    ramp = np.broadcast_to(np.arange(40, dtype=np.float32), (8, 40, 40)).copy()
    out = data.ElasticTransform(3.0, 8.0, fill=0).apply(ramp.copy(), draws(8))
    moved = (out - ramp)[:, 5:-5, 5:-5]
    assert 1 < np.abs(moved).max() < 3
    assert np.abs(np.diff(moved, axis=1)).max() < 1


def test_normalize_uses_the_published_constants():
    pixels = images()
    train = data.Augmented(data.ArrayDataset(pixels, np.arange(20)), [data.Normalize.fit(pixels)])
    out = train.batch(np.arange(20))[0]
    np.testing.assert_allclose(out.mean(axis=(0, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std(axis=(0, 2, 3)), 1, atol=1e-5)
    np.testing.assert_array_equal(train.settled().inputs, out)
    by_hand = (pixels / 255 - [[[0.1]], [[0.2]], [[0.3]]]) / 0.5
    found = data.Normalize((0.1, 0.2, 0.3), 0.5).settle(pixels)
    np.testing.assert_allclose(found, by_hand, atol=1e-6)
    whole, parts = data.Normalize(0.5, 0.5).settle(pixels), images(dtype=np.float32)
    np.testing.assert_allclose(whole, data.Normalize(0.5, 0.5).settle(parts), atol=1e-6)


def test_jitter_changes_mean_and_contrast():
    pixels = images(dtype=np.float32)
    bright = data.ColorJitter(0.5, 0).apply(pixels.copy(), draws())
    factors = (bright / pixels.clip(1e-6)).reshape(20, -1)[:, :50].mean(axis=1)
    assert 0.5 <= factors.min() < 0.75 < 1.25 < factors.max() <= 1.5
    contrast = data.ColorJitter(0, 0.5).apply(pixels.copy(), draws())
    axes = (1, 2, 3)
    np.testing.assert_allclose(contrast.mean(axis=axes), pixels.mean(axis=axes), rtol=1e-5)
    assert (contrast.std(axis=axes) / pixels.std(axis=axes)).std() > 0.1
    whole = data.ColorJitter(1.0, 1.0).apply(images(), draws())
    assert whole.dtype == np.uint8


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 3.0, 300.0])
def test_quantiles_of_beta(alpha):
    # the variance of Beta(α, α) is 1 / (4 (2α + 1)); it is symmetric about ½
    u = (np.arange(20_000) + 0.5) / 20_000
    x = beta(u, alpha)
    assert (np.diff(x) >= 0).all()
    np.testing.assert_allclose(x.mean(), 0.5, atol=1e-6)
    np.testing.assert_allclose(x.var(), 1 / (4 * (2 * alpha + 1)), rtol=2e-3)
    if alpha == 0.5:  # the arcsine distribution
        np.testing.assert_allclose(x, np.sin(np.pi * u / 2) ** 2, atol=1e-6)


def constant(n=200):
    """Every pixel of a sample is its number, and so is its target."""
    numbers = np.arange(n, dtype=np.float32)
    return np.broadcast_to(numbers[:, None, None], (n, 10, 10)).copy(), numbers


def test_mixup_mixes_images_targets_and_weights_alike():
    pixels, numbers = constant()
    whole = data.ArrayDataset(pixels, numbers, weights=numbers)
    x, y, w = data.Augmented(whole, [data.MixUp(1.0)]).batch(np.arange(200))
    np.testing.assert_allclose(x[:, 3, 4], y, rtol=1e-5)
    np.testing.assert_allclose(w, y, rtol=1e-5)
    assert (y != numbers).mean() > 0.95
    some = data.Augmented(whole, [data.MixUp(1.0, p=0.25)]).batch(np.arange(200))[1]
    assert 0.12 < (some != numbers).mean() < 0.38


def test_cutmix_targets_are_the_shares_of_the_area():
    pixels, _ = constant(100)
    labels = np.arange(100) % 5
    train = data.Augmented((pixels, labels), [data.CutMix()])
    x, y = train.batch(np.arange(100))
    assert y.shape == (100, 5)
    assert y.dtype == np.float32
    np.testing.assert_allclose(y.sum(axis=1), 1, rtol=1e-6)
    for row in range(100):
        expected = np.bincount(x[row].ravel().astype(int) % 5, minlength=5) / 100
        np.testing.assert_allclose(y[row], expected, atol=1e-6)
    assert (y.max(axis=1) < 1).mean() > 0.5


def test_partners_went_through_the_transforms_before():
    pixels, numbers = constant(50)
    first = data.Normalize(10.0, 2.0)
    x, y = data.Augmented((pixels, numbers), [first, data.MixUp(1.0)]).batch(np.arange(50))
    np.testing.assert_allclose(x[:, 0, 0], (y - 10) / 2, atol=1e-4)


def test_measuring_leaves_out_what_is_random():
    whole = dataset(1100)
    transforms = [TRANSFORMS[name] for name in ("rotation", "erasing", "mixup", "centre crop")]
    settled = data.Augmented(whole, transforms).settled()
    np.testing.assert_array_equal(settled.inputs, whole.inputs[..., 2:7, 2:9])
    np.testing.assert_array_equal(settled.targets, whole.targets)


def test_a_transform_of_ones_own():
    class Inverted(data.Transform):
        def apply(self, images, draws):
            chosen = draws.chance(0.5)
            images[chosen] = 255 - images[chosen]
            return images

    train = data.Augmented(dataset(), [Inverted()], seed=1)
    same = (train.batch(range(20))[0] == train.inputs).all(axis=(1, 2, 3))
    assert 0 < same.sum() < 20


WRONG = {
    "no transform": (lambda: [len], ArgumentError, "no transform"),
    "a class": (lambda: [data.RandomCrop], ArgumentError, r"make one: RandomCrop\(\.\.\.\)"),
    "size": (lambda: [data.RandomCrop(0)], ArgumentError, "≥ 1"),
    "padding": (lambda: [data.RandomCrop(3, padding=-1)], ArgumentError, "padding"),
    "too large": (lambda: [data.RandomCrop(13, padding=1)], ShapeError, "13 × 13 or more"),
    "probability": (lambda: [data.RandomHorizontalFlip(1.5)], ArgumentError, "0 to 1"),
    "range": (lambda: [data.RandomAffine(scale=1.2)], ArgumentError, "no range"),
    "channels": (lambda: [data.Normalize((1, 2), 1)], ShapeError, "or 3: one a channel"),
    "deviation": (lambda: [data.Normalize(0.5, 0)], ArgumentError, "above 0"),
    "alpha": (lambda: [data.MixUp(0)], ArgumentError, "alpha"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_are_answered_at_once(name):
    make, error, told = WRONG[name]
    with pytest.raises(error, match=told):
        data.Augmented(dataset(), make())


def test_other_data_is_refused():
    with pytest.raises(DataError, match=r"only images[\s\S]*reshape flat rows"):
        data.Augmented((np.zeros((4, 784), np.uint8), np.arange(4)), [])
    with pytest.raises(DataError, match=r"only images[\s\S]*int64\[4, 2, 2\]"):
        data.Augmented((np.zeros((4, 2, 2), np.int64), np.arange(4)), [])
    with pytest.raises(DataError, match="several inputs"):
        data.Augmented(((np.zeros((4, 2, 2)), np.zeros(4)), np.arange(4)), [])
    with pytest.raises(DataError, match="counted from 0"):
        data.Augmented((np.zeros((4, 2, 2)), np.arange(4) - 1), [data.MixUp()])
    with pytest.raises(ArgumentError, match="workers"):
        data.Augmented(dataset(), [], workers=0)
