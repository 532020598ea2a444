"""Recurrent language models: PyTorch's numbers, states that are carried on, settings."""

import numpy as np
import pytest
from torch_agreement import agree_with_torch, words

import chainrule as cr
from chainrule import models
from chainrule.errors import ArgumentError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("cell", "layers", "engines"),
    [("lstm", 2, ["interpreter", "compiler"]), ("gru", 1, ["interpreter"]),
     ("rnn", 1, ["interpreter"])],
)  # fmt: skip
def test_values_and_gradients_agree_with_pytorch(cell, layers, engines):
    torch = pytest.importorskip("torch")

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 5)
            kind = {"lstm": torch.nn.LSTM, "gru": torch.nn.GRU, "rnn": torch.nn.RNN}[cell]
            self.rnn = kind(5, 6, layers, batch_first=True)
            self.head = torch.nn.Linear(6, 11)

        def forward(self, tokens):
            return self.head(self.rnn(self.embedding(tokens))[0])

    model = models.LanguageRNN(11, 5, 6, layers, cell=cell)
    agree_with_torch(model, Peer(), words(3, 7), engines=engines)


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_a_text_read_in_pieces_gives_what_it_gives_in_one(cell):
    model = models.LanguageRNN(11, 5, 6, 2, cell=cell, dropout=0.4).eval()
    x = words(2, 9)
    whole = model(x).numpy()
    first, cache = model.read(x[:, :4], model.initial_cache(2))
    second, _ = model.read(x[:, 4:], cache)
    pieces = np.concatenate([first.numpy(), second.numpy()], axis=1)
    np.testing.assert_allclose(pieces, whole, atol=1e-6)
    last, cache = model.next_logits(x[:, 4:6], cache)
    np.testing.assert_allclose(last.numpy(), whole[:, 5], atol=1e-6)
    assert all(state.shape == (2, 2, 6) for state in cache["states"])


def test_a_compiled_step_reads_on_and_states_do_not_grow():
    model = models.char_lstm(11, hidden_size=6).eval()
    x = words(2, 6)
    read = cr.compile(lambda model, tokens, cache: model.next_logits(tokens, cache))
    cache = model.initial_cache(2, 100)
    for i in range(6):
        logits, cache = read(model, x[:, i : i + 1], cache)
        np.testing.assert_allclose(logits.numpy(), model(x).numpy()[:, i], atol=1e-5)
    assert read.n_compilations == 1


def test_dropout_acts_before_between_and_behind_the_layers():
    model = models.word_lstm(11, hidden_size=8, dropout=0.5)
    assert model.dropout.p == model.rnn.dropout.p == 0.5
    x = words(2, 5)
    assert np.abs(model(x).numpy() - model(x).numpy()).max() > 1e-4
    assert np.array_equal(model.eval()(x).numpy(), model(x).numpy())


def test_a_tied_head_shares_the_rows_and_they_begin_small():
    model = models.LanguageRNN(11, 6, 6, tied=True)
    assert "head.weight" not in dict(model.named_parameters())
    assert np.abs(model.embedding.weight.numpy()).max() <= 6**-0.5
    with pytest.raises(ArgumentError, match="5 and 6"):
        models.LanguageRNN(11, 5, 6, tied=True)


def test_wrong_settings_and_inputs_are_answered():
    with pytest.raises(ArgumentError, match="'lstm', 'gru', 'rnn'"):
        models.LanguageRNN(11, cell="transformer")
    with pytest.raises(ShapeError, match=r"tokens\[None\]"):
        models.char_gru(11)(words(5))


def test_models_of_language_follow_the_protocol_of_generation():
    from chainrule.models.generation import WritesTokens

    assert isinstance(models.char_rnn(), WritesTokens)
    assert isinstance(models.char_gpt(), WritesTokens)
