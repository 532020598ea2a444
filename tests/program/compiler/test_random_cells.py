"""Random recurrent networks: both engines agree on them, outputs and gradients."""

import random

import numpy as np
import pytest
from random_cells import Network, check


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_random_recurrent_networks(seed):
    check(Network(random.Random(seed), np.float64 if seed % 3 == 0 else np.float32))


@pytest.mark.parametrize("seed", [1, 2])
def test_a_few(seed):
    check(Network(random.Random(seed)))
