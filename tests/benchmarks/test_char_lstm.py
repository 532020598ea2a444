"""The character LSTM learns what PyTorch's learns, from the same weights and windows."""

import pytest


@pytest.mark.slow
@pytest.mark.peer
def test_losses_stay_together():
    pytest.importorskip("torch")
    from benchmarks.char_lstm_in_torch import compare

    own, other, apart = compare(seed=0, steps=40)
    assert apart.max() < 1e-4
    assert own == pytest.approx(other, abs=1e-3)
    assert own < 3.2
