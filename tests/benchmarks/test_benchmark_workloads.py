"""The workloads of the benchmarks: data, orders, counts, and the losses that are expected."""

from dataclasses import replace

import numpy as np
import pytest
from benchmarks.peers import open_calls, open_training
from benchmarks.reference import reference_losses
from benchmarks.workloads import NETWORKS, PRODUCTS, Product

SMALL = {
    name: replace(network, sizes=(7, *(5 for _ in network.sizes[1:-1]), 3), batch=8, samples=50)
    for name, network in NETWORKS.items()
}


@pytest.mark.parametrize("name", SMALL)
def test_chainrules_losses_are_those_of_the_formulas_written_out(name):
    network = replace(SMALL[name], dropout=0.0)
    data = network.data()
    order = network.order(10)
    training = open_training("chainrule", network, data, n_threads=1, engine="interpreter")
    losses = training.run(training.order(order))
    expected = reference_losses(network, *data, order)
    np.testing.assert_allclose(losses, expected, rtol=2e-5)
    assert expected[0] != expected[-1]


@pytest.mark.peer
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("peer", ["torch", "jax-jit", "jax-scan", "sklearn"])
def test_the_peers_losses_are_those_of_the_formulas_written_out(name, peer):
    pytest.importorskip({"torch": "torch", "sklearn": "sklearn"}.get(peer, "jax"))
    network = replace(SMALL[name], dropout=0.0)
    data = network.data()
    order = network.order(10)
    training = open_training(peer, network, data, n_threads=1, engine=None)
    losses = training.run(training.order(order))
    np.testing.assert_allclose(losses, reference_losses(network, *data, order), rtol=1e-3)


def test_an_order_is_made_of_shuffled_epochs():
    network = SMALL["mlp-small"]
    rows = network.order(13)
    assert rows.shape == (13, 8)
    epoch = rows[:6].ravel()
    assert len(set(epoch.tolist())) == 48
    assert epoch.max() < 50
    assert not np.array_equal(rows[:6], rows[6:12])
    np.testing.assert_array_equal(rows, network.order(13))
    assert network.order(3, samples=20).max() < 20


def test_flops_and_parameters_are_counted_by_layers():
    network = NETWORKS["mlp-small"]
    assert network.parameters == 784 * 10 + 10 + 10 * 10 + 10
    # forward and weight gradient of both layers, input gradient of the second
    assert network.flops == 2 * 32 * (2 * 7840 + 3 * 100)
    assert NETWORKS["mlp-wide"].resident_bytes == 3 * 4 * NETWORKS["mlp-wide"].parameters
    assert PRODUCTS["mm-256"].flops == 2 * 256**3


@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_what_numpy_computes(transposed):
    product = Product("some", 3, 5, 4, chunk=2, transposed=transposed)
    left, right = product.operands()
    assert left.shape == product.left_shape
    result = open_calls("chainrule", product, n_threads=1, engine="interpreter").run(2)
    np.testing.assert_allclose(result, (left.T if transposed else left) @ right, rtol=1e-5)
