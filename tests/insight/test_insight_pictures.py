"""Pictures of the insides: each is written, and says in words what it shows."""

import numpy as np
import pytest
from PIL import Image

import chainrule as cr
from chainrule import data, insight, models, nn, optim
from chainrule.errors import ArgumentError, ShapeError

ENGINE = {"engine": "interpreter"}


def words(path):
    with Image.open(path) as picture:
        picture.load()
        assert np.asarray(picture.convert("L")).std() > 5
        return picture.info["Description"]


@pytest.fixture(scope="module")
def net():
    cr.random.seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.ReLU(), nn.MaxPool2d(2), nn.GlobalAvgPool(), nn.Linear(3, 2)
    )


x = np.random.default_rng(0).standard_normal((2, 1, 10, 10)).astype(np.float32)


def test_everything_at_once(net, tmp_path):
    files = insight.draw_all(net, x, tmp_path / "run", class_names=["yes", "no"], **ENGINE)
    assert [file.name for file in files] == [
        "filters_0.png", "activations_0.png", "saliency.png", "receptive_fields.png",
    ]  # fmt: skip
    text = [words(file) for file in files]
    assert "3 kernels of 3 × 3" in text[0]
    assert "6 maps of 8 × 8" in text[1]
    assert "occlusion, grad cam" in text[2]
    assert "yes" in text[2] or "no" in text[2]
    assert text[3].endswith("0 3 × 3; 2 4 × 4"), "computed and measured agree"


def test_a_network_without_convolutions(tmp_path):
    model = models.MLP((6, 6), [4], 3)
    files = insight.draw_all(model, x[:, 0, :6, :6], tmp_path, **ENGINE)
    assert [file.name for file in files] == ["saliency.png"]
    with pytest.raises(ShapeError, match="weight_images"):
        insight.draw_filters(model, "2", tmp_path / "a.png")
    with pytest.raises(ShapeError, match="gives no maps"):
        insight.draw_activations(model, x[:, 0, :6, :6], "2", tmp_path / "a.png", **ENGINE)
    with pytest.raises(ArgumentError, match="part of a picture"):
        insight.draw_receptive_fields(model, (6, 6), tmp_path / "a.png")


def test_saliency_says_what_it_can_draw(net, tmp_path):
    with pytest.raises(ArgumentError, match="grad_cam, occlusion"):
        insight.draw_saliency(net, x, tmp_path / "a.png", methods=["magic"])
    with pytest.raises(ShapeError, match="no images"):
        insight.draw_saliency(nn.Linear(3, 2), np.ones((1, 3)), tmp_path / "a.png")


def test_sanity_and_shifts(net, tmp_path):
    checks = {
        "gradient": insight.sanity_check(net, x, **ENGINE),
        "edges": insight.sanity_check(net, x, method=insight.edge_detector),
    }
    text = words(insight.draw_sanity_checks(checks, tmp_path / "a.png"))
    assert "edges (1.00)" in text
    assert "trained, …4, …0" in text
    shifted = insight.translation_equivariance(net, x, "2", (2, 0), **ENGINE)
    text = words(insight.draw_equivariance(shifted, tmp_path / "b.png"))
    assert "error 0.0e+00 inside" in text


def test_pictures_at_the_end_of_training(tmp_path):
    cr.random.seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 2))
    samples = data.ArrayDataset(x[:, :, :6, :6], np.array([0, 1]))
    trainer = cr.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.SGD(0.1))
    pictures = insight.InsightPictures(samples.inputs)
    with pytest.raises(ArgumentError, match="no folder"):
        trainer.fit(samples, epochs=1, callbacks=[pictures], progress="none")
    trainer.fit(
        samples, epochs=1, callbacks=[pictures], progress="none", run_dir=tmp_path, pictures=False
    )
    assert "smooth grad" in words(next(tmp_path.rglob("insight/saliency.png")))
