"""LeNet-5 of 1998: its connections, its sparse C3, its pictures of digits."""

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn
from chainrule.errors import ArgumentError
from chainrule.models.bitmaps import DIGIT_BITMAPS
from chainrule.models.lenet import C3_READS, RadialBasis, SparseConv2d, Subsampling


def test_the_paper_counts_its_parameters_layer_by_layer():
    rows = models.lenet5_1998().summary((1, 28, 28)).rows
    counts = {row.path: row.n_parameters for row in rows if row.n_parameters}
    assert counts == {
        "c1": 156, "s2.0": 12, "c3": 1_516, "s4.0": 32, "c5": 48_120, "f6": 10_164,
    }  # fmt: skip


def test_the_paper_counts_its_connections():
    """Section II.B: 122,304 + 5,880 + 151,600 + 2,000 + 48,120 + 10,164; in all 340,908."""
    n_reads = sum(map(len, C3_READS))
    c1, s2 = 6 * 28 * 28 * (25 + 1), 6 * 14 * 14 * (4 + 1)
    c3, s4 = 10 * 10 * (n_reads * 25 + 16), 16 * 5 * 5 * (4 + 1)
    assert (c1, s2, c3, s4) == (122_304, 5_880, 151_600, 2_000)
    assert c1 + s2 + c3 + s4 + 48_120 + 10_164 + 840 == 340_908


def test_each_map_of_s2_is_read_by_ten_of_c3():
    readers = [sum(i in maps for maps in C3_READS) for i in range(6)]
    assert readers == [10] * 6


def test_a_sparse_convolution_sees_only_the_maps_that_it_reads():
    cr.random.seed(1)
    reads = ((0, 2), (1,), (0, 1, 2))
    layer = SparseConv2d(reads, 3, 3)
    dense = layer.dense_weight().numpy()
    for o, maps in enumerate(reads):
        for i in range(3):
            assert dense[o, i].any() == (i in maps)
    assert np.array_equal(dense[2, 1], layer.weight.numpy()[4])
    x = np.random.default_rng(0).normal(size=(2, 3, 5, 6)).astype("f4")
    other = x.copy()
    other[:, 1] += 1
    changed = np.abs(layer(other).numpy() - layer(x).numpy()).max(axis=(0, 2, 3)) > 1e-3
    assert changed.tolist() == [False, True, True]


def test_subsampling_adds_up_four_neighbours():
    layer = Subsampling(2)
    layer.weight, layer.bias = np.array([0.5, 2.0], "f4"), np.array([1.0, -1.0], "f4")
    x = np.random.default_rng(0).normal(size=(3, 2, 4, 6)).astype("f4")
    sums = x.reshape(3, 2, 2, 2, 3, 2).sum(axis=(3, 5))
    expected = sums * np.array([0.5, 2.0])[:, None, None] + np.array([1.0, -1.0])[:, None, None]
    np.testing.assert_allclose(layer(x).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_the_nearest_picture_wins():
    layer = RadialBasis()
    rng = np.random.default_rng(0)
    seen = DIGIT_BITMAPS + rng.normal(scale=0.3, size=DIGIT_BITMAPS.shape)
    scores = layer(cr.asarray(seen.astype("f4"))).numpy()
    assert scores.argmax(axis=1).tolist() == list(range(10))
    assert scores[3, 5] == pytest.approx(-((seen[3] - DIGIT_BITMAPS[5]) ** 2).sum(), rel=1e-5)


def test_the_pictures_differ_and_are_never_learned():
    distances = ((DIGIT_BITMAPS[:, None] - DIGIT_BITMAPS.astype(int)) ** 2).sum(axis=2)
    assert (distances + 1000 * np.eye(10)).min() >= 4 * 7  # at least 7 cells apart
    model = models.lenet5_1998()
    assert "output.bitmaps" in dict(model.named_buffers())


def test_options_are_checked():
    with pytest.raises(ArgumentError, match="subsampling"):
        models.LeNet5(subsampling="median")
    with pytest.raises(ArgumentError, match="ten digits"):
        models.LeNet5(26, output="rbf")


def test_the_papers_form_learns_a_few_pictures():
    losses = train_on_bitmaps("lenet5_1998", 30)
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("name", [pytest.param("lenet5", marks=pytest.mark.slow), "lenet5_1998"])
def test_engines_agree_on_its_steps(name):
    mine, reference = (train_on_bitmaps(name, 2, e) for e in ("compiler", "interpreter"))
    np.testing.assert_allclose(mine, reference, rtol=1e-4)


def train_on_bitmaps(name, n_steps, engine=None):
    """Losses of steps on a noisy picture of each digit."""
    cr.random.seed(0)
    y = np.arange(10)
    x = np.zeros((10, 1, 28, 28), "f4")
    x[:, 0, 2:26, 7:21] = np.kron(DIGIT_BITMAPS.reshape(10, 12, 7), np.ones((2, 2)))
    x += np.random.default_rng(0).normal(scale=0.1, size=x.shape).astype("f4")
    state = models.create(name), cr.optim.Adam(3e-3)

    def step(model, optimizer, x, y):
        loss, grads = cr.value_and_grad(lambda m: nn.cross_entropy(m(x), y))(model)
        optimizer.update(model, grads)
        return loss

    order = np.tile(np.arange(10), (n_steps, 1))
    return cr.run_steps(step, state, (x, y), order, engine=engine)
