"""Sentence classifiers: PyTorch's numbers, channels that stay, filling that does not count."""

import numpy as np
import pytest
from torch_agreement import agree_with_torch, words

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.errors import ArgumentError, ShapeError


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


SENTENCES = np.array([[4, 7, 2, 9, 3, 1], [5, 2, 0, 0, 0, 0], [6, 1, 8, 8, 0, 0]])


@pytest.mark.peer
@pytest.mark.parametrize("channels", ["non-static", "multichannel"])
def test_convolutions_agree_with_pytorch(channels):
    torch = pytest.importorskip("torch")
    both = channels == "multichannel"

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 4, padding_idx=0)
            if both:
                self.static_embedding = torch.nn.Embedding(11, 4, padding_idx=0)
            kernels = [torch.nn.Conv1d(8 if both else 4, 3, w, padding=2) for w in (2, 3)]
            self.convs = torch.nn.ModuleList(kernels)
            self.head = torch.nn.Linear(6, 2)

        def forward(self, tokens):
            x = self.embedding(tokens)
            if both:
                x = torch.cat([x, self.static_embedding(tokens)], -1)
            # a place without words always counts
            x = [torch.maximum(conv(x.mT).amax(-1), conv.bias).relu() for conv in self.convs]
            return self.head(torch.cat(x, 1))

    model = models.SentenceCNN(
        11, embedding_dim=4, widths=(2, 3), maps=3, channels=channels, dropout=0.0
    )
    agree_with_torch(model, Peer(), SENTENCES, engines=["compiler" if both else "interpreter"])


@pytest.mark.peer
@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_the_lstm_agrees_with_pytorchs_over_packed_sentences(pooling):
    torch = pytest.importorskip("torch")

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = torch.nn.Embedding(11, 4, padding_idx=0)
            self.lstm = torch.nn.LSTM(4, 3, bidirectional=True, batch_first=True)
            self.head = torch.nn.Linear(6, 2)

        def forward(self, tokens):
            pack, unpack = torch.nn.utils.rnn.pack_padded_sequence, (
                torch.nn.utils.rnn.pad_packed_sequence
            )  # fmt: skip
            lengths = (tokens != 0).sum(1)
            packed = pack(self.embedding(tokens), lengths, batch_first=True, enforce_sorted=False)
            y, (h, _) = self.lstm(packed)
            if pooling == "last":
                return self.head(torch.cat([h[0], h[1]], 1))
            fill = -torch.inf if pooling == "max" else 0.0
            y, _ = unpack(y, batch_first=True, padding_value=fill)
            mean = y.sum(1) / lengths[:, None]
            return self.head(y.max(1).values if pooling == "max" else mean)

    model = models.SentenceLSTM(11, embedding_dim=4, hidden_size=3, pooling=pooling, dropout=0.0)
    engine = "compiler" if pooling == "max" else "interpreter"
    agree_with_torch(model, Peer(), SENTENCES, engines=[engine])


@pytest.mark.parametrize("pooling", ["last", "mean", "max"])
def test_more_filling_changes_nothing_for_the_lstm(pooling):
    model = models.SentenceLSTM(11, embedding_dim=4, hidden_size=3, pooling=pooling).eval()
    longer = np.pad(SENTENCES, ((0, 0), (0, 4)))
    np.testing.assert_allclose(model(longer).numpy(), model(SENTENCES).numpy(), atol=1e-6)
    assert np.isfinite(model(np.zeros((1, 3), int)).numpy()).all(), "a sentence of no words"


def test_more_filling_changes_nothing_for_the_convolutions():
    model = models.SentenceCNN(11, embedding_dim=4, widths=(2, 4), maps=6).eval()
    model.embedding.weight = abs(model.embedding.weight)
    for conv in model.convs:  # all that words do is less than the bias of a place without words
        conv.weight = cr.concat([-abs(conv.weight[:3]), conv.weight[3:]])
        conv.bias = cr.asarray(np.linspace(0.5, 1.0, 6, dtype="f4"))
    whole = model(SENTENCES).numpy()
    for n in (1, 2, 5):
        longer = np.pad(SENTENCES, ((0, 0), (0, n)))
        np.testing.assert_allclose(model(longer).numpy(), whole, atol=1e-6)
    np.testing.assert_allclose(model(SENTENCES[1:2, :2]).numpy(), whole[1:2], atol=1e-6)


def test_static_vectors_stay_and_the_others_learn():
    vectors = np.random.default_rng(0).normal(size=(11, 4)).astype("f4")
    labels = np.array([0, 1, 0])

    def trained(channels):
        model = models.SentenceCNN(
            11, embedding_dim=4, maps=3, channels=channels, vectors=vectors, dropout=0.0
        )
        optimizer = optim.SGD(0.5, groups=[optim.group("head.weight", max_row_norm=0.1)])
        _, grads = cr.value_and_grad(lambda m: nn.cross_entropy(m(SENTENCES), labels))(model)
        optimizer.update(model, grads)
        return model

    start = np.where(np.arange(11)[:, None] == 0, 0, vectors)
    assert np.array_equal(trained("static").embedding.weight.numpy(), start)
    for channels in ("non-static", "multichannel"):
        model = trained(channels)
        moved = np.abs(model.embedding.weight.numpy() - start).max(axis=1) > 1e-6
        assert moved[1:10].all()
        assert not moved[[0, 10]].any(), "neither filling nor a word that was not read"
        assert np.linalg.norm(model.head.weight.numpy(), axis=1).max() <= 0.1 + 1e-6
    assert np.array_equal(model.static_embedding.weight.numpy(), start)


def test_a_sentence_shorter_than_a_filter_is_read():
    model = models.SentenceCNN(11, embedding_dim=4).eval()
    assert model(np.array([[3]])).shape == (1, 2)


def test_wrong_settings_and_inputs_are_answered():
    with pytest.raises(ArgumentError, match="'static', 'non-static', 'multichannel'"):
        models.sentence_cnn(11, channels="two")
    with pytest.raises(ShapeError, match=r"floats \(11, 4\)"):
        models.SentenceCNN(11, embedding_dim=4, vectors=np.zeros((11, 3)))
    with pytest.raises(ArgumentError, match="int64"):
        models.SentenceCNN(11, embedding_dim=4, vectors=np.zeros((11, 4), int))
    with pytest.raises(ShapeError, match=r"tokens\[None\]"):
        models.sentence_lstm(11)(words(5))
