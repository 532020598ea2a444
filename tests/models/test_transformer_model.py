"""The encoder–decoder Transformer: PyTorch's numbers, filling, causes, writing with a cache."""

import numpy as np
import pytest
from torch_agreement import agree_with_torch, words

import chainrule as cr
from chainrule import models
from chainrule.errors import ArgumentError, ShapeError
from chainrule.generation import beam_search, generate

SOURCE = np.array([[4, 7, 2, 9, 3], [5, 2, 8, 0, 0]])
TARGET = np.array([[1, 6, 2, 3], [1, 5, 7, 9]])


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


def small(**settings):
    settings = {"width": 6, "num_layers": 2, "num_heads": 2, "hidden": 9, "dropout": 0.0} | settings
    return models.Transformer(11, context_length=12, **settings)


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize(
    ("norm_first", "apart", "engine"),
    [(False, False, "interpreter"), (True, True, "interpreter"), (False, False, "compiler")],
)
def test_values_and_gradients_agree_with_pytorch(norm_first, apart, engine):
    torch = pytest.importorskip("torch")
    T = torch.nn

    class Peer(T.Module):
        def __init__(self):
            super().__init__()
            sizes = {"d_model": 6, "nhead": 2, "dim_feedforward": 9, "dropout": 0.0}
            sizes |= {"batch_first": True, "norm_first": norm_first}
            n = 1 if engine == "compiler" else 2
            norms = [T.LayerNorm(6) if norm_first else None for _ in range(2)]
            self.encoder = T.TransformerEncoder(T.TransformerEncoderLayer(**sizes), n, norms[0])
            self.decoder = T.TransformerDecoder(T.TransformerDecoderLayer(**sizes), n, norms[1])
            self.head = T.Linear(6, 11, bias=False)
            self.embedding = T.Embedding(11, 6)
            if apart:
                self.source_embedding = T.Embedding(13, 6)
            else:
                self.head.weight = self.embedding.weight

        def embedded(self, table, tokens):
            places, half = torch.arange(tokens.shape[1])[:, None], torch.arange(3)
            angles = places / 10000 ** (half / 3).double()
            waves = torch.stack([torch.sin(angles), torch.cos(angles)], 2).reshape(-1, 6)
            return table(tokens) * 6**0.5 + waves

        def forward(self, source, target):
            filling = source == 0
            table = self.source_embedding if apart else self.embedding
            memory = self.encoder(self.embedded(table, source), src_key_padding_mask=filling)
            later = torch.ones(4, 4).triu(1).bool()
            x = self.embedded(self.embedding, target)
            x = self.decoder(x, memory, later, memory_key_padding_mask=filling)
            return self.head(x)

    model = small(
        num_layers=1 if engine == "compiler" else 2,
        norm_first=norm_first,
        tied=not apart,
        source_vocabulary_size=13 if apart else None,
    )
    agree_with_torch(
        model, Peer(), SOURCE, TARGET, engines=[engine], tolerance=2e-4, translate=_tied
    )


def _tied(state):
    """The gradient of tied matrices stands at the first name, which is the head's here."""
    if "head.weight" not in state:
        return {**state, "head.weight": state["embedding.weight"]}
    return state


def test_filling_and_later_tokens_change_nothing():
    model = small().eval()
    logits = model(SOURCE, TARGET).numpy()
    longer = np.pad(SOURCE, ((0, 0), (0, 3)))
    np.testing.assert_allclose(model(longer, TARGET).numpy(), logits, atol=1e-6)
    later = TARGET.copy()
    later[:, 2:] = 9
    np.testing.assert_allclose(model(SOURCE, later).numpy()[:, :2], logits[:, :2], atol=1e-6)


def test_layers_begin_with_weights_of_their_own():
    model = small(dropout=0.1)
    first, second = model.decoder.layers
    for get in (lambda x: x.linear1.weight, lambda x: x.multihead_attn.in_proj_weight):
        assert np.abs(get(first).numpy() - get(second).numpy()).max() > 0.05
    assert model.head.weight.node is model.embedding.weight.node


@pytest.mark.parametrize("norm_first", [False, True])
def test_writing_with_the_cache_is_what_the_whole_target_gives(norm_first):
    n = 2 if norm_first else 1  # the last part below compiles
    model = small(norm_first=norm_first, num_layers=n, dropout=0.2).eval()
    whole = model(SOURCE, TARGET).numpy()
    first, cache = model.next_logits(TARGET[:, :2], model.source_cache(SOURCE, 8))
    second, cache = model.next_logits(TARGET[:, 2:3], cache)
    np.testing.assert_allclose(first.numpy(), whole[:, 1], atol=1e-5)
    np.testing.assert_allclose(second.numpy(), whole[:, 2], atol=1e-5)
    if norm_first:
        return
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
    with pytest.raises(ArgumentError, match="a divisor of 6"):
        small(num_heads=4)
    with pytest.raises(ShapeError, match="at most 12 places"):
        small()(words(2, 13), TARGET)
    with pytest.raises(ShapeError, match=r"(?s)different batches.*2 targets"):
        small()(SOURCE, words(3, 2))
    with pytest.raises(ArgumentError, match="1 to 12"):
        small().source_cache(SOURCE, 13)
