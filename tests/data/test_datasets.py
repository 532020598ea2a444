"""Data sets, their order, their parts, their preprocessing."""

import importlib

import numpy as np
import pytest

from chainrule import data
from chainrule.errors import ArgumentError, DataError, IndexRangeError, ShapeError, StateError

# the function of the same name hides the module in the package
mnist_module = importlib.import_module("chainrule.data.mnist")


def test_mnist_is_all_there():
    train, test = data.mnist("train"), data.mnist("test")
    assert train.inputs.shape == (60_000, 28, 28)
    assert test.inputs.shape == (10_000, 28, 28)
    assert train.inputs.dtype == train.targets.dtype == np.uint8
    assert train.targets[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(test.targets).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip
    assert train.n_classes == 10
    assert data.mnist().inputs is train.inputs, "unpacked once a process"
    with pytest.raises(ValueError, match="read-only"):
        train.inputs[0] = 0
    with pytest.raises(ArgumentError, match="'train' or 'test'"):
        data.mnist("validation")


def test_a_damaged_copy_of_mnist_is_refused(tmp_path, monkeypatch):
    name = "t10k-labels-idx1-ubyte.xz"
    (tmp_path / name).write_bytes((mnist_module.FOLDER / name).read_bytes() + b"x")
    monkeypatch.setattr(mnist_module, "FOLDER", tmp_path)
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    mnist_module._load.cache_clear()
    with pytest.raises(DataError, match="damaged"):
        mnist_module._load(name)
    mnist_module._load.cache_clear()


def test_mnist_is_unpacked_once_for_all_processes(tmp_path, monkeypatch):
    name = "t10k-images-idx3-ubyte.xz"
    monkeypatch.setenv("CHAINRULE_CACHE", str(tmp_path / "cache"))
    mnist_module._load.cache_clear()
    first = mnist_module._load(name)
    mnist_module._load.cache_clear()
    with monkeypatch.context() as patch:
        patch.setattr(mnist_module, "_unpack", lambda name: pytest.fail("unpacked again"))
        second = mnist_module._load(name)
    monkeypatch.setenv("CHAINRULE_CACHE", "off")
    mnist_module._load.cache_clear()
    third = mnist_module._load(name)
    mnist_module._load.cache_clear()
    for images in (first, second, third):
        assert type(images) is np.ndarray
        assert not images.flags.writeable
    assert first.tobytes() == second.tobytes() == third.tobytes()


def test_a_dataset_checks_its_lengths():
    with pytest.raises(DataError, match="number of samples"):
        data.ArrayDataset(np.zeros((3, 2)), np.zeros(4))
    with pytest.raises(DataError, match="empty"):
        data.ArrayDataset(np.zeros((0, 2)), np.zeros(0))
    with pytest.raises(DataError, match="negative"):
        data.ArrayDataset(np.zeros((2, 2)), np.zeros(2), weights=[1.0, -1.0])
    with pytest.raises(DataError, match="nan in row 1"):
        data.ArrayDataset(np.zeros((2, 2)), np.zeros(2), weights=[1.0, np.nan])
    with pytest.raises(DataError, match=r"one number a sample[\s\S]*\[2, 3\]"):
        data.ArrayDataset(np.zeros((2, 2)), np.zeros(2), weights=np.ones((2, 3)))
    with pytest.raises(DataError, match="inputs are no array"):
        data.ArrayDataset([[1, 2], [3]], [0, 1])
    with pytest.raises(DataError, match=r"targets mix kinds[\s\S]*None"):
        data.ArrayDataset([1, 2], [0, None])
    with pytest.raises(DataError, match="labels 0 to 2"):
        data.ArrayDataset(np.zeros(3), [0, 1, 2], class_names=["cat", "dog"])
    with pytest.raises(DataError, match="counted from 0"):
        _ = data.ArrayDataset(np.zeros(2), [-1, 1]).n_classes
    with pytest.raises(DataError, match="counted from 0"):
        _ = data.ArrayDataset(np.zeros(2), ["a", "b"]).n_classes
    with pytest.raises(DataError, match="no data set"):
        data.as_dataset("mnist")


def test_parts_of_a_dataset():
    whole = data.ArrayDataset(
        (np.arange(6), np.arange(12).reshape(6, 2)), [0, 1, 2, 0, 1, 2], weights=np.arange(6.0)
    )
    part = whole.subset([4, 1])
    assert part.inputs[0].tolist() == [4, 1]
    assert part.targets.tolist() == [1, 1]
    assert part.weights.tolist() == [4, 1]
    assert whole.subset(whole.targets == 0).inputs[0].tolist() == [0, 3]
    assert [x.tolist() for x in whole[2]] == [2, [4, 5], 2, 2.0]
    doubled = whole.map_inputs(lambda x: x * 2)
    assert doubled.inputs[1][5].tolist() == [20, 22]
    with pytest.raises(IndexRangeError, match="0 to 5"):
        whole.subset([6])
    for nothing_like_it in ([], [True, False], [0.5], [[0, 1]], "first"):
        with pytest.raises(DataError, match="sample numbers or by a mask"):
            whole.subset(nothing_like_it)
    with pytest.raises(DataError, match="number of samples"):
        whole.map_inputs(lambda x: x[:-1])


def test_numbers_that_are_not_finite_are_located():
    x = np.ones((4, 3))
    x[2, 1] = np.nan
    with pytest.raises(DataError, match=r"nan in row 2, column \[1\]"):
        data.ArrayDataset(x, np.zeros(4)).check_finite()
    with pytest.raises(DataError, match=r"targets hold 1 [\s\S]*inf in row 3"):
        data.ArrayDataset(np.ones(4), [0, 1, 2, np.inf]).check_finite()
    data.ArrayDataset(np.ones((4, 3)), np.zeros(4)).check_finite()


def test_order_depends_on_seed_and_epoch_alone():
    first = data.epoch_order(100, seed=1, epoch=0)
    assert sorted(first) == list(range(100))
    np.testing.assert_array_equal(first, data.epoch_order(100, 1, 0))
    for seed, epoch in [(1, 1), (2, 0), (0, 1)]:
        assert (first != data.epoch_order(100, seed, epoch)).any()
    sizes = [len(b) for b in data.batches(first, 30)]
    assert sizes == [30, 30, 30, 10]
    assert len(data.batches(first, 30, drop_last=True)) == 3
    with pytest.raises(ArgumentError, match="batch_size"):
        data.batches(first, 0)
    with pytest.raises(ArgumentError, match="n_samples"):
        data.epoch_order(0, seed=1, epoch=0)


def test_holdout_keeps_the_share_of_each_class():
    labels = np.repeat([0, 1, 2], [50, 30, 20])
    whole = data.ArrayDataset(np.arange(100), labels)
    rest, part = data.holdout(whole, 0.2, seed=3)
    assert np.bincount(part.targets).tolist() == [10, 6, 4]
    assert sorted([*rest.inputs, *part.inputs]) == list(range(100))
    again = data.holdout(whole, 0.2, seed=3)[1]
    np.testing.assert_array_equal(part.inputs, again.inputs)
    other = data.holdout(whole, 0.2, seed=4)[1]
    assert (part.inputs != other.inputs).any()


def test_holdout_rounds_by_the_largest_remainders():
    labels = np.repeat([0, 1, 2], [7, 7, 6])
    part = data.holdout(data.ArrayDataset(np.arange(20), labels), 0.25, seed=0)[1]
    assert len(part) == 5
    assert np.bincount(part.targets).tolist() == [2, 2, 1]
    # 0.29 · 100 is 28.999999999999996 in floating point
    whole = data.ArrayDataset(np.arange(100), np.repeat([0, 1], 50))
    parts = data.stratified_split(whole, [0.29, 0.71])
    assert [len(part) for part in parts] == [29, 71]


def test_holdout_by_other_labels_or_none():
    groups = np.repeat(["a", "b"], [80, 20])
    whole = (np.arange(100), np.linspace(0, 1, 100))
    part = data.holdout(whole, 0.1, stratify=groups)[1]
    assert (part.inputs < 80).sum() == 8
    at_random = [data.holdout(whole, 0.1, 5, stratify=how)[1].inputs for how in (True, False, None)]
    np.testing.assert_array_equal(at_random[0], at_random[1])
    np.testing.assert_array_equal(at_random[0], at_random[2])
    with pytest.raises(DataError, match="100 labels"):
        data.holdout(whole, 0.1, stratify=groups[:50])


def test_stratified_split_cuts_every_class_alike():
    labels = np.random.default_rng(0).permutation(np.repeat([0, 1, 2], [500, 300, 200]))
    whole = data.ArrayDataset(np.arange(1000), labels)
    parts = data.stratified_split(whole, [0.7, 0.2, 0.1], seed=1)
    assert [np.bincount(part.targets).tolist() for part in parts] == [
        [350, 210, 140],
        [100, 60, 40],
        [50, 30, 20],
    ]
    together = np.concatenate([part.inputs for part in parts])
    assert sorted(together) == list(range(1000)), "each sample in one part"
    np.testing.assert_array_equal(parts[0].targets, labels[parts[0].inputs])
    again, other = (data.stratified_split(whole, [0.7, 0.2, 0.1], seed) for seed in (1, 2))
    np.testing.assert_array_equal(parts[2].inputs, again[2].inputs)
    assert (parts[2].inputs != other[2].inputs).any()


def test_stratified_split_refuses_what_it_can_not_cut():
    whole = data.ArrayDataset(np.arange(10), np.repeat([0, 1], [8, 2]))
    with pytest.raises(DataError, match=r"class 1 has only 2 members[\s\S]*at least 3"):
        data.stratified_split(whole, [0.5, 0.25, 0.25])
    for wrong in ([0.5, 0.4], [1.2, -0.2], [], [np.nan, 0.5]):
        with pytest.raises(ArgumentError, match="add up to 1"):
            data.stratified_split(whole, wrong)
    with pytest.raises(ArgumentError, match="leave a part empty"):
        data.stratified_split(whole, [0.99, 0.01])
    measured = data.ArrayDataset(np.arange(10), np.linspace(0, 1, 10))
    with pytest.raises(DataError, match="labels to stratify by"):
        data.stratified_split(measured, [0.5, 0.5])


def test_holdout_refuses_what_leaves_a_part_empty():
    few = data.ArrayDataset(np.arange(4), [0, 0, 0, 1])
    for fraction in (0.01, 1.0, -0.5, np.nan):
        with pytest.raises(ArgumentError, match="empty"):
            data.holdout(few, fraction, seed=0)
    with pytest.raises(DataError, match="only 1 member"):
        data.holdout(few, 0.5, seed=0)
    assert len(data.holdout(few, 0.5, seed=0, stratify=False)[1]) == 2


def test_standardizer_is_fitted_on_the_training_part_only():
    rng = np.random.default_rng(0)
    train, test = rng.normal(5, 2, (100, 3)), rng.normal(7, 2, (10, 3))
    train[:, 2] = 4.0
    scaler = data.Standardizer().fit(train)
    standard = scaler.transform(train)
    assert standard.dtype == np.float32
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(standard.std(axis=0), [1, 1, 0], atol=1e-6)
    assert abs(scaler.transform(test)[:, 0].mean()) > 0.3, "the test part keeps its own mean"
    np.testing.assert_allclose(scaler.inverse_transform(standard), train, rtol=1e-5)
    copy = data.Standardizer()
    copy.load_state_dict(scaler.state_dict())
    np.testing.assert_array_equal(copy.transform(test), scaler.transform(test))


def test_constant_columns_are_only_centred():
    # the mean of 1000 times 0.1 is not 0.1, and its deviation 1e-16 instead of 0
    constant = np.full((1000, 1), 0.1)
    assert constant.std() > 0
    scaler = data.Standardizer().fit(constant)
    assert scaler.state_dict()["scale"].tolist() == [1.0]
    assert not scaler.transform(constant).any()
    assert scaler.transform([[0.6]]).tolist() == [[0.5]]


def test_standardizer_says_what_is_missing():
    with pytest.raises(StateError, match="not fitted"):
        data.Standardizer().transform(np.zeros((2, 2)))
    with pytest.raises(DataError, match="not finite"):
        data.Standardizer().fit([[np.nan]])
    with pytest.raises(DataError, match="at least one row"):
        data.Standardizer().fit(3.0)
    scaler = data.Standardizer()
    with pytest.raises(StateError, match="mean, scale"):
        scaler.load_state_dict({"mean": np.zeros(2)})
    with pytest.raises(StateError, match="one shape"):
        scaler.load_state_dict({"mean": np.zeros(3), "scale": np.ones(2)})
    with pytest.raises(StateError, match="above 0"):
        scaler.load_state_dict({"mean": np.zeros(2), "scale": np.zeros(2)})
    with pytest.raises(ShapeError, match="columns"):
        data.Standardizer().fit(np.zeros((2, 2))).transform(np.zeros((2, 3)))


def test_images_and_labels():
    assert data.scale_images(np.array([0, 255], np.uint8)).tolist() == [0, 1]
    assert data.one_hot([2, 0], 3).tolist() == [[0, 0, 1], [1, 0, 0]]
    with pytest.raises(DataError, match="uint8"):
        data.scale_images(np.zeros(3))
    with pytest.raises(DataError, match="0 to 2"):
        data.one_hot([3], 3)
    with pytest.raises(DataError, match="float64"):
        data.one_hot([0.5], 3)
    assert data.one_hot([], 3).shape == (0, 3)


@pytest.mark.parametrize("make", [data.two_moons, data.circles, data.spirals])
def test_toys(make):
    toy = make(101, seed=5)
    assert toy.inputs.shape == (101, 2)
    assert np.bincount(toy.targets).tolist() == [51, 50]
    np.testing.assert_array_equal(toy.inputs, make(101, seed=5).inputs)
    assert (toy.inputs != make(101, seed=6).inputs).any()
    exact = make(400, noise=0.0)
    # the classes touch nowhere: the nearest stranger is further than the next of one's own
    a, b = exact.inputs[exact.targets == 0], exact.inputs[exact.targets == 1]
    apart = np.linalg.norm(a[:, None] - b[None], axis=2).min()
    assert apart > 0.05
    with pytest.raises(ArgumentError, match="noise"):
        make(100, noise=-1.0)
