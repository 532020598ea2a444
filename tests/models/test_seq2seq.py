"""Sequence to sequence: PyTorch's numbers, attention's weights, filling, writing with a cache."""

import numpy as np
import pytest
from torch_agreement import agree_with_torch, words

import chainrule as cr
from chainrule import models
from chainrule.errors import ArgumentError, ShapeError
from chainrule.generation import beam_search, generate

SOURCE = np.array([[4, 7, 2, 9, 3], [5, 2, 8, 0, 0]])
TARGET = np.array([[1, 6, 2, 3], [1, 5, 0, 0]])
KINDS = [None, "additive", "multiplicative"]


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


def small(attention=None, **settings):
    return models.Seq2Seq(11, 12, embedding_dim=5, hidden_size=4, attention=attention, **settings)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("attention", "cell", "engine"),
    [(None, "gru", "interpreter"), ("additive", "gru", "compiler"),
     ("additive", "lstm", "interpreter"), ("multiplicative", "lstm", "interpreter")],
)  # fmt: skip
def test_values_and_gradients_agree_with_pytorch(attention, cell, engine):
    torch = pytest.importorskip("torch")
    T = torch.nn
    layer, one = (T.GRU, T.GRUCell) if cell == "gru" else (T.LSTM, T.LSTMCell)

    class Scores(T.Module):
        def __init__(self):
            super().__init__()
            self.query_proj = T.Linear(4, 4 if attention == "additive" else 8,
                                       bias=attention == "additive")  # fmt: skip
            if attention == "additive":
                self.key_proj, self.score = T.Linear(8, 4, False), T.Linear(4, 1, False)

        def forward(self, query, keys, filling):
            if attention == "additive":
                scores = self.score(
                    torch.tanh(self.query_proj(query)[:, None] + self.key_proj(keys))
                )
            else:
                scores = keys @ self.query_proj(query)[:, :, None]
            weights = torch.softmax(scores[..., 0].masked_fill(filling, -torch.inf), 1)
            return (weights[:, :, None] * keys).sum(1)

    class Peer(T.Module):
        def __init__(self):
            super().__init__()
            self.source_embedding = T.Embedding(12, 5, padding_idx=0)
            self.encoder = layer(5, 4, bidirectional=True, batch_first=True)
            self.bridge = T.ModuleList([T.Linear(8, 4) for _ in range(1 + (cell == "lstm"))])
            self.target_embedding = T.Embedding(11, 5, padding_idx=0)
            if attention:
                self.attention, self.combine = Scores(), T.Linear(12, 4)
            self.decoder = one(13, 4) if attention == "additive" else layer(5, 4, batch_first=True)
            self.head = T.Linear(4, 11)

        def forward(self, source, target):
            lengths, filling = (source != 0).sum(1), source == 0
            packed = T.utils.rnn.pack_padded_sequence(
                self.source_embedding(source), lengths, True, enforce_sorted=False
            )
            outputs, last = self.encoder(packed)
            outputs, _ = T.utils.rnn.pad_packed_sequence(outputs, batch_first=True)
            last = last if cell == "lstm" else (last,)
            states = [b(torch.cat([s[0], s[1]], 1)) for b, s in zip(self.bridge, last, strict=True)]
            states[0] = torch.tanh(states[0])
            x = self.target_embedding(target)
            if attention == "additive":
                found = []
                for t in range(x.shape[1]):
                    mean = self.attention(states[0], outputs, filling)
                    given = torch.cat([x[:, t], mean], 1)
                    after = self.decoder(given, tuple(states) if cell == "lstm" else states[0])
                    states = after if cell == "lstm" else (after,)
                    found.append(torch.cat([states[0], mean], 1))
                y = torch.stack(found, 1)
            else:
                start = [state[None].contiguous() for state in states]
                y, _ = self.decoder(x, tuple(start) if cell == "lstm" else start[0])
                if attention:
                    means = [self.attention(y[:, t], outputs, filling) for t in range(y.shape[1])]
                    y = torch.cat([y, torch.stack(means, 1)], 2)
            return self.head(torch.tanh(self.combine(y)) if attention else y)

    agree_with_torch(small(attention, cell=cell), Peer(), SOURCE, TARGET, engines=[engine])


@pytest.mark.parametrize("attention", KINDS)
def test_filling_and_later_tokens_change_nothing(attention):
    model = small(attention).eval()
    longer = np.pad(SOURCE, ((0, 0), (0, 3)))
    logits = model(SOURCE, TARGET).numpy()
    np.testing.assert_allclose(model(longer, TARGET).numpy(), logits, atol=1e-6)
    later = TARGET.copy()
    later[:, 2:] = 9
    np.testing.assert_allclose(model(SOURCE, later).numpy()[:, :2], logits[:, :2], atol=1e-6)


@pytest.mark.parametrize("attention", KINDS[1:])
def test_the_map_is_of_weights_over_the_tokens(attention):
    weights = small(attention).attention_map(SOURCE, TARGET).numpy()
    assert weights.shape == (2, 4, 5)
    np.testing.assert_allclose(weights.sum(axis=2), 1.0, atol=1e-6)
    assert not weights[1, :, 3:].any()
    with pytest.raises(ShapeError, match="attention='additive'"):
        small().attention_map(SOURCE, TARGET)


@pytest.mark.parametrize(("attention", "cell"), [(None, "lstm"), *((k, "gru") for k in KINDS[1:])])
def test_writing_with_the_cache_is_what_the_whole_target_gives(attention, cell):
    model = small(attention, cell=cell, dropout=0.3).eval()
    cache = model.source_cache(SOURCE)
    whole = model(SOURCE, TARGET).numpy()
    first, cache = model.next_logits(TARGET[:, :2], cache)
    second, cache = model.next_logits(TARGET[:, 2:3], cache)
    np.testing.assert_allclose(first.numpy(), whole[:, 1], atol=1e-6)
    np.testing.assert_allclose(second.numpy(), whole[:, 2], atol=1e-6)
    start = np.ones((2, 1), int)
    written = generate(model, start, 5, temperature=0, cache=model.source_cache(SOURCE))
    given = start
    for _ in range(5):
        best = model(SOURCE, given).numpy()[:, -1:].argmax(axis=-1)
        given = np.concatenate([given, best], axis=1)
    assert np.array_equal(written, given[:, 1:])
    beam = beam_search(model, start, 5, width=1, cache=model.source_cache(SOURCE))
    assert np.array_equal(np.asarray(beam.tokens)[:, 0], written)


def test_wrong_settings_and_inputs_are_answered():
    with pytest.raises(ArgumentError, match="'additive', 'multiplicative'"):
        small("dot")
    with pytest.raises(ArgumentError, match="'gru', 'lstm'"):
        small(cell="rnn")
    with pytest.raises(ShapeError, match=r"tokens\[None\]"):
        small()(SOURCE[0], TARGET)
    with pytest.raises(ShapeError, match=r"(?s)different batches.*2 targets"):
        small()(SOURCE, words(3, 2))
