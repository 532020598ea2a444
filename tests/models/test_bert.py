"""BERT: PyTorch's encoder, masks, heads, masking of words, learning."""

import numpy as np
import pytest
from torch_agreement import agree_with_torch, words

import chainrule as cr
from chainrule import models, nn
from chainrule.errors import ArgumentError, ShapeError
from chainrule.models.bert_heads import IGNORED


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


def small(kind=models.BertForPreTraining, **settings):
    return kind(11, 8, width=6, num_layers=2, num_heads=2, hidden=9, dropout=0.0, **settings)


MASK = np.array([[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
# a part of a layer here → the same in torch's TransformerEncoderLayer
PARTS = {
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "norm1",
    "intermediate.dense": "linear1",
    "output.dense": "linear2",
    "output.LayerNorm": "norm2",
}


def renamed(state):
    """From torch's encoder to BERT's names: queries, keys and values stand apart."""
    import torch

    found = {}
    for name, value in state.items():
        if not name.startswith("encoder.layers."):
            found[name] = value
            continue
        number, part = name.removeprefix("encoder.layers.").split(".", 1)
        at = f"encoder.layer.{number}."
        if part.startswith("self_attn.in_proj"):
            kind = part.rsplit("_", 1)[1]
            for ours, third in zip(("query", "key", "value"), torch.chunk(value, 3), strict=True):
                found[f"{at}attention.self.{ours}.{kind}"] = third
        for ours, theirs in PARTS.items():
            if part.startswith(theirs + "."):
                found[at + ours + part.removeprefix(theirs)] = value
    return found


@pytest.mark.peer
@pytest.mark.filterwarnings("ignore:enable_nested_tensor is True")
@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_values_and_gradients_agree_with_pytorch(engine):
    torch = pytest.importorskip("torch")

    class Embeddings(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.word_embeddings = torch.nn.Embedding(11, 6)
            self.position_embeddings = torch.nn.Embedding(8, 6)
            self.token_type_embeddings = torch.nn.Embedding(2, 6)
            self.LayerNorm = torch.nn.LayerNorm(6, 1e-12)

        def forward(self, tokens, types):
            x = self.word_embeddings(tokens) + self.token_type_embeddings(types)
            return self.LayerNorm(x + self.position_embeddings.weight[: tokens.shape[1]])

    class Peer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embeddings = Embeddings()
            layer = torch.nn.TransformerEncoderLayer(6, 2, 9, 0.0, "gelu", 1e-12, batch_first=True)
            self.encoder = torch.nn.TransformerEncoder(layer, 2)
            self.pooler = torch.nn.ModuleDict({"dense": torch.nn.Linear(6, 6)})

        def forward(self, tokens, types, mask):
            x = self.encoder(self.embeddings(tokens, types), src_key_padding_mask=mask == 0)
            seen = x * mask[:, :, None]  # what filling gives is no one's concern
            return torch.cat([seen, torch.tanh(self.pooler["dense"](x[:, :1]))], 1)

    def call(model, tokens, types, mask):
        x, pooled = model(tokens, types, mask)
        return cr.concat([x * cr.expand_dims(mask, axis=2), cr.expand_dims(pooled, axis=1)], axis=1)

    agree_with_torch(
        small(models.Bert), Peer(), words(2, 5), words(2, 5, below=2, seed=1), MASK,
        engines=[engine], translate=renamed, call=call, tolerance=1e-4,
    )  # fmt: skip


def test_filling_changes_nothing():
    model = small().eval()
    model.assign({k: 9 * v for k, v in model.named_parameters() if "attention.self" in k})
    x = words(2, 5)
    changed = np.where(MASK == 0, (x + 3) % 11, x)
    for before, after in zip(
        model(x, None, MASK), model(changed, None, MASK.astype(bool)), strict=True
    ):
        seen = MASK.astype(bool) if before.ndim == 3 else slice(None)
        np.testing.assert_allclose(before.numpy()[seen], after.numpy()[seen], atol=1e-6)
    seen_too = np.abs(model(x)[0].numpy() - model(changed)[0].numpy())
    assert seen_too[0].max() == 0
    assert seen_too[1, :3].max() > 1e-6, "without a mask it does"


def test_the_parts_of_a_text_are_told_apart_and_the_words_matrix_is_the_embeddings():
    model = small().eval()
    x = words(1, 5)
    parts = np.array([[0, 0, 1, 1, 1]])
    assert np.abs(model(x)[0].numpy() - model(x, parts)[0].numpy()).max() > 1e-4
    names = dict(model.named_parameters())
    assert "cls.predictions.decoder.weight" not in names
    assert model.cls.predictions.decoder.weight.node is names[
        "bert.embeddings.word_embeddings.weight"
    ].node  # fmt: skip


def test_words_at_chosen_places_alone():
    model = small().eval()
    x, places = words(2, 5), np.array([[1, 4], [0, 2]])
    all_words, _ = model(x)
    some, _ = model(x, places=places)
    wanted = np.take_along_axis(all_words.numpy(), places[:, :, None], axis=1)
    np.testing.assert_allclose(some.numpy(), wanted, atol=1e-6)
    alone = small(models.BertForMaskedLM).eval()
    alone.load_state_dict(model.state_dict())
    np.testing.assert_allclose(alone(x).numpy(), all_words.numpy(), atol=1e-6)


def test_masking_hides_the_share_it_says_in_the_three_ways():
    tokens = words(200, 100, below=1000, least=5)
    kept = np.zeros(tokens.shape, bool)
    kept[:, 0] = True
    hidden, labels = models.mask_tokens(cr.random.key(1), tokens, 4, 1000, kept=kept)
    hidden, labels = hidden.numpy(), labels.numpy()
    chosen = labels != IGNORED
    assert not chosen[:, 0].any()
    assert chosen[:, 1:].mean() == pytest.approx(0.15, abs=0.01)
    assert np.array_equal(labels[chosen], tokens[chosen])
    assert np.array_equal(hidden[~chosen], tokens[~chosen])
    assert (hidden[chosen] == 4).mean() == pytest.approx(0.8, abs=0.03)
    assert (hidden[chosen] == tokens[chosen]).mean() == pytest.approx(0.1, abs=0.02)
    with pytest.raises(ArgumentError, match="probability"):
        models.mask_tokens(cr.random.key(1), tokens, 4, 1000, probability=15)


@pytest.mark.slow
def test_both_heads_learn_in_compiled_steps():
    """Sequences that count upwards: a hidden number, and whether the second half goes on."""
    generator = np.random.default_rng(0)
    start = generator.integers(3, 7, 256)
    follows = generator.integers(0, 2, 256)
    first = start[:, None] + np.arange(3)
    second = np.where(follows[:, None] == 0, first + 1, first[:, ::-1])
    texts = np.concatenate([np.ones((256, 1), int), first, second], axis=1)
    parts = np.broadcast_to(np.array([0, 0, 0, 0, 1, 1, 1]), texts.shape).copy()
    model = models.BertForPreTraining(
        11, 7, width=16, num_layers=1, num_heads=2, hidden=32, dropout=0.0
    )
    optimizer = cr.optim.Adam(1e-2)
    draws = cr.random.RandomState(0)

    def step(model, optimizer, draws, tokens, parts, follows):
        hidden, labels = models.mask_tokens(draws.draw_key(), tokens, 2, 11, kept=tokens == 1)

        def loss_of(model):
            words, next_part = model(hidden, parts)
            by_words = nn.cross_entropy(words, labels, axis=-1)
            by_part = nn.cross_entropy(next_part, follows)
            return by_words + by_part, (by_words, by_part)

        (loss, parts_of_it), grads = cr.value_and_grad(loss_of, has_aux=True)(model)
        optimizer.update(model, grads)
        return loss, *parts_of_it

    order = generator.integers(0, 256, (200, 32))
    _, by_words, by_part = cr.run_steps(
        step, (model, optimizer, draws), (texts, parts, follows), order
    )
    assert by_words[:5].mean() > 2.0
    assert by_words[-20:].mean() < 0.9
    assert by_part[-20:].mean() < 0.2


def test_wrong_sizes_are_answered():
    model = small()
    with pytest.raises(ShapeError, match="at most 8 places"):
        model(words(1, 9))
    with pytest.raises(ShapeError, match=r"(?s)attention_mask.*\(2, 5\)"):
        model(words(2, 5), None, np.ones((2, 4)))
    with pytest.raises(ArgumentError, match="a divisor of 6"):
        models.Bert(11, 8, width=6, num_heads=4)
