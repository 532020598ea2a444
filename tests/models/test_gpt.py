"""GPT: counts of parameters, how it begins, causes, its cache, both engines."""

import math

import numpy as np
import pytest
from torch_agreement import agree_with_torch

import chainrule as cr
from chainrule import models, nn
from chainrule.errors import ArgumentError, IndexRangeError, ShapeError

WORDS = 11


@pytest.fixture(autouse=True)
def _seeded():
    cr.random.seed(3)


def small(**settings):
    return models.GPT(WORDS, 8, width=12, num_layers=2, num_heads=3, **settings)


def tokens(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, WORDS, shape)


def test_the_two_small_forms_have_the_parameters_of_their_recipes():
    assert models.char_gpt().n_parameters == 804_096
    assert models.char_gpt(bias=True, tied=False).n_parameters == 818_176


def test_weights_begin_small_and_those_that_end_a_branch_smaller():
    model = models.GPT(65, 64, width=128, num_layers=8, num_heads=4)
    for path, value in model.named_parameters():
        numbers = value.numpy()
        if path.endswith("bias"):
            assert not numbers.any(), path
        elif ".ln_" in path or path.startswith("ln_"):
            assert (numbers == 1).all(), path
        else:
            wanted = 0.02 / 4 if path.endswith("c_proj.weight") else 0.02
            assert numbers.std() == pytest.approx(wanted, rel=0.05), path
            assert abs(numbers.mean()) < 4 * wanted / math.sqrt(numbers.size), path


def test_a_tied_head_is_one_parameter_with_one_gradient():
    model = small()
    assert "lm_head.weight" not in dict(model.named_parameters())
    assert "lm_head.weight" in model.state_dict()
    x = tokens(2, 5)
    grads = cr.grad(lambda m: m(x)[0, 0].sum())(model)
    # the head's part reaches all rows, the embedding's only those that were read
    assert (np.abs(grads["wte.weight"].numpy()).sum(axis=1) > 0).all()
    assert "tied=True" in repr(model)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_no_place_sees_what_follows(dropout):
    model = small(bias=False, gelu="exact", dropout=dropout).eval()
    x = tokens(2, 8)
    changed = x.copy()
    changed[:, 5:] = (x[:, 5:] + 1) % WORDS
    before, after = model(x).numpy(), model(changed).numpy()
    np.testing.assert_allclose(before[:, :5], after[:, :5], atol=1e-6)
    assert np.abs(before - after)[:, 5:].max() > 1e-3


def test_dropout_acts_in_training_only_and_at_each_of_its_places():
    model = small(dropout=0.5)
    x = tokens(2, 6)
    assert np.abs(model(x).numpy() - model(x).numpy()).max() > 1e-3
    assert np.array_equal(model.eval()(x).numpy(), model(x).numpy())
    places = [path for path, part in model.named_modules() if isinstance(part, nn.Dropout)]
    assert places[:4] == ["drop", "h.0.attn.attn_dropout", "h.0.attn.resid_dropout",
                          "h.0.mlp.dropout"]  # fmt: skip


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_reading_on_with_a_cache_gives_what_reading_all_at_once_gives(engine):
    model = small().eval()
    x = tokens(2, 8)
    whole = model(x).numpy()
    read = cr.compile(lambda model, tokens, cache: model.next_logits(tokens, cache), engine=engine)
    cache = model.initial_cache(2, 8)
    first, cache = read(model, x[:, :3], cache)
    np.testing.assert_allclose(first.numpy(), whole[:, 2], atol=1e-5)
    for i in range(3, 8):
        logits, cache = read(model, x[:, i : i + 1], cache)
        np.testing.assert_allclose(logits.numpy(), whole[:, i], atol=1e-5)
    assert read.n_compilations == 2, "one Program reads the beginning, one each further token"
    assert cache["seen"].item() == 8


def test_wrong_sizes_are_answered_with_right_ones():
    model = small()
    with pytest.raises(ShapeError, match="at most 8 places"):
        model(tokens(1, 9))
    with pytest.raises(ShapeError, match=r"\(batch, places\)"):
        model(tokens(4))
    with pytest.raises(ShapeError, match="at most 8 places"):
        model.initial_cache(1, 9)
    with pytest.raises(IndexRangeError, match="no row 11"):
        model(np.array([[WORDS]]))
    with pytest.raises(ArgumentError, match="a divisor of 12"):
        models.GPT(WORDS, 8, width=12, num_layers=1, num_heads=5)
    with pytest.raises(ArgumentError, match="'tanh', 'exact'"):
        small(gelu="fast")


@pytest.mark.parametrize("engine", ["interpreter", "compiler"])
def test_gradients_agree_with_finite_differences(engine):
    model = small(gelu="exact" if engine == "compiler" else "tanh").astype(cr.float64)
    x, y = tokens(2, 5), tokens(2, 5, seed=1)

    def loss_of(model):
        return nn.cross_entropy(model(x).reshape((-1, WORDS)), y.reshape(-1))

    grads = cr.compile(cr.grad(loss_of), engine=engine)(model)
    start = {path: value.numpy() for path, value in model.named_parameters()}
    generator = np.random.default_rng(5)
    direction = {path: generator.normal(size=value.shape) for path, value in start.items()}
    found = []
    for sign in (1, -1):
        model.assign({p: v + sign * 1e-5 * direction[p] for p, v in start.items()})
        found.append(loss_of(model).item())
    wanted = sum((grads[p].numpy() * direction[p]).sum() for p in start)
    assert (found[0] - found[1]) / 2e-5 == pytest.approx(wanted, rel=1e-5)


@pytest.mark.peer
@pytest.mark.parametrize(
    ("bias", "tied", "gelu", "engine"),
    [(True, True, "tanh", "interpreter"), (False, False, "exact", "compiler")],
)
def test_values_and_gradients_agree_with_pytorch(bias, tied, gelu, engine):
    torch = pytest.importorskip("torch")
    T, F = torch.nn, torch.nn.functional

    class Block(T.Module):
        def __init__(self):
            super().__init__()
            self.ln_1, self.ln_2 = T.LayerNorm(12, bias=bias), T.LayerNorm(12, bias=bias)
            layers = {"c_attn": T.Linear(12, 36, bias), "c_proj": T.Linear(12, 12, bias)}
            self.attn = T.ModuleDict(layers)
            layers = {"c_fc": T.Linear(12, 48, bias), "c_proj": T.Linear(48, 12, bias)}
            self.mlp = T.ModuleDict(layers)

        def forward(self, x):
            parts = self.attn["c_attn"](self.ln_1(x)).chunk(3, dim=-1)
            q, k, v = (part.unflatten(2, (3, 4)).transpose(1, 2) for part in parts)
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2).flatten(2)
            x = x + self.attn["c_proj"](y)
            inner = self.mlp["c_fc"](self.ln_2(x))
            approximate = "tanh" if gelu == "tanh" else "none"
            return x + self.mlp["c_proj"](F.gelu(inner, approximate=approximate))

    class Peer(T.Module):
        def __init__(self):
            super().__init__()
            self.wte, self.wpe = T.Embedding(WORDS, 12), T.Embedding(8, 12)
            self.h = T.ModuleList([Block()])
            self.ln_f, self.lm_head = T.LayerNorm(12, bias=bias), T.Linear(12, WORDS, bias=False)
            if tied:
                self.lm_head.weight = self.wte.weight

        def forward(self, tokens):
            x = self.wte(tokens) + self.wpe.weight[: tokens.shape[1]]
            return self.lm_head(self.ln_f(self.h[0](x)))

    ours = models.GPT(
        WORDS, 8, width=12, num_layers=1, num_heads=3, bias=bias, tied=tied, gelu=gelu
    )
    agree_with_torch(ours, Peer(), tokens(2, 7), engines=[engine], tolerance=5e-5)
