"""Checkpoints in Hugging Face's layout: small random ones are written, load and compute."""

import json

import numpy as np
import pytest
from torch_agreement import close, words

import chainrule as cr
from chainrule import models
from chainrule.errors import DataError, StateError

safetensors = pytest.importorskip("safetensors.numpy")

GPT2 = {
    "model_type": "gpt2", "vocab_size": 11, "n_positions": 8, "n_embd": 6, "n_layer": 2,
    "n_head": 2, "n_inner": None, "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5,
    "resid_pdrop": 0.1, "attn_pdrop": 0.1, "embd_pdrop": 0.1,
}  # fmt: skip
BERT = {
    "model_type": "bert", "vocab_size": 11, "max_position_embeddings": 8, "hidden_size": 6,
    "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 9,
    "type_vocab_size": 2, "hidden_act": "gelu", "hidden_dropout_prob": 0.1,
    "layer_norm_eps": 1e-12,
}  # fmt: skip


def gpt2_tensors(seed=0):
    """What GPT2LMHeadModel saves: the head is the embedding and left out."""
    shapes = {"wte.weight": (11, 6), "wpe.weight": (8, 6), "ln_f.weight": (6,), "ln_f.bias": (6,)}
    for i in range(2):
        for name, size in (("attn.c_attn", (6, 18)), ("attn.c_proj", (6, 6)),
                           ("mlp.c_fc", (6, 24)), ("mlp.c_proj", (24, 6))):  # fmt: skip
            shapes |= {f"h.{i}.{name}.weight": size, f"h.{i}.{name}.bias": size[1:]}
        shapes |= {f"h.{i}.{n}.{k}": (6,) for n in ("ln_1", "ln_2") for k in ("weight", "bias")}
    return drawn({f"transformer.{name}": shape for name, shape in shapes.items()}, seed)


def bert_tensors(seed=0):
    """What BertForPreTraining saves: the words' matrix is the embedding and left out."""
    sizes = {"attention.self.query": (6, 6), "attention.self.key": (6, 6),
             "attention.self.value": (6, 6), "attention.output.dense": (6, 6),
             "intermediate.dense": (9, 6), "output.dense": (6, 9)}  # fmt: skip
    names = ("word", "position", "token_type")
    rows = zip(names, (11, 8, 2), strict=True)
    shapes = {f"bert.embeddings.{name}_embeddings.weight": (n, 6) for name, n in rows}
    linears = {f"bert.encoder.layer.{i}.{n}": s for i in range(2) for n, s in sizes.items()}
    linears |= {"bert.pooler.dense": (6, 6), "cls.predictions.transform.dense": (6, 6),
                "cls.seq_relationship": (2, 6)}  # fmt: skip
    for name, size in linears.items():
        shapes |= {f"{name}.weight": size, f"{name}.bias": size[:1]}
    norms = [f"bert.encoder.layer.{i}.{n}.LayerNorm" for i in range(2)
             for n in ("attention.output", "output")]  # fmt: skip
    for name in [*norms, "bert.embeddings.LayerNorm", "cls.predictions.transform.LayerNorm"]:
        shapes |= {f"{name}.weight": (6,), f"{name}.bias": (6,)}
    return drawn({**shapes, "cls.predictions.bias": (11,)}, seed)


def drawn(shapes, seed):
    generator = np.random.default_rng(seed)
    return {k: generator.normal(scale=0.5, size=s).astype(np.float32) for k, s in shapes.items()}


def write(folder, config, tensors, name="model.safetensors"):
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    (folder / name).write_bytes(safetensors.save({k: v.copy() for k, v in tensors.items()}))
    return folder


def test_gpt2s_matrices_are_turned_and_its_head_is_the_embedding(tmp_path):
    values = gpt2_tensors()
    masks = {f"transformer.h.{i}.attn.bias": np.tril(np.ones((1, 1, 8, 8), bool)) for i in (0, 1)}
    model = models.load_gpt2(write(tmp_path / "m", GPT2, values | masks))
    assert not model.training
    state = model.state_dict()
    for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"):
        given = values[f"transformer.h.1.{name}.weight"]
        assert np.array_equal(state[f"h.1.{name}.weight"].numpy(), given.T)
    assert np.array_equal(state["lm_head.weight"].numpy(), values["transformer.wte.weight"])
    bare = {k.removeprefix("transformer."): v for k, v in values.items()}
    twin = models.load_gpt2(write(tmp_path / "n", GPT2, bare))
    assert np.array_equal(twin(words(2, 8)).numpy(), model(words(2, 8)).numpy())


@pytest.mark.peer
def test_gpt2_computes_what_its_formulas_say_in_pytorch(tmp_path):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional
    values = gpt2_tensors(1)
    w = {k.removeprefix("transformer."): torch.from_numpy(v).double() for k, v in values.items()}

    def norm(x, name):
        return F.layer_norm(x, (6,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-5)

    def linear(x, name):
        return x @ w[f"{name}.weight"] + w[f"{name}.bias"]

    tokens = words(3, 7)
    x = w["wte.weight"][tokens] + w["wpe.weight"][:7]
    for at in ("h.0", "h.1"):
        parts = linear(norm(x, f"{at}.ln_1"), f"{at}.attn.c_attn").reshape(3, 7, 3, 2, 3)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        x = x + linear(y.reshape(3, 7, 6), f"{at}.attn.c_proj")
        inner = F.gelu(linear(norm(x, f"{at}.ln_2"), f"{at}.mlp.c_fc"), approximate="tanh")
        x = x + linear(inner, f"{at}.mlp.c_proj")
    wanted = norm(x, "ln_f") @ w["wte.weight"].T
    model = models.load_gpt2(write(tmp_path, GPT2, values))
    for engine in ("interpreter", "compiler"):
        close(cr.compile(lambda m, t: m(t), engine=engine)(model, tokens), wanted, engine, 1e-4)


def test_bert_loads_with_heads_and_without_them_from_old_files_and_new(tmp_path):
    values = bert_tensors()
    folder = write(tmp_path / "new", BERT, values)
    whole = models.load_bert(folder, heads=True)
    bare = models.load_bert(folder)
    x = words(2, 8)
    np.testing.assert_array_equal(bare(x)[0].numpy(), whole.bert(x)[0].numpy())
    assert np.array_equal(
        whole.cls.predictions.decoder.weight.numpy(),
        values["bert.embeddings.word_embeddings.weight"],
    )
    renamed = {"LayerNorm.weight": "LayerNorm.gamma", "LayerNorm.bias": "LayerNorm.beta"}
    old = {}
    for name, value in values.items():
        for today, then in renamed.items():
            name = name.replace(today, then)
        old[name] = value
    old["bert.embeddings.position_ids"] = np.arange(8)[None]
    old["cls.predictions.decoder.bias"] = values["cls.predictions.bias"]
    again = models.load_bert(write(tmp_path / "old", BERT, old), heads=True)
    for ours, theirs in zip(again(x), whole(x), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
    names = [k for k in values if k.startswith("bert.") and ".pooler." not in k]
    encoder = {k.removeprefix("bert."): values[k] for k in names}
    poolerless = models.load_bert(write(tmp_path / "bare", BERT, encoder))
    np.testing.assert_array_equal(poolerless(x)[0].numpy(), bare(x)[0].numpy())


def test_a_checkpoint_in_several_files(tmp_path):
    values = gpt2_tensors()
    names = sorted(values)
    parts = {"a.safetensors": names[::2], "b.safetensors": names[1::2]}
    for file, chosen in parts.items():
        write(tmp_path, GPT2, {k: values[k] for k in chosen}, file)
    index = {"weight_map": {k: file for file, chosen in parts.items() for k in chosen}}
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    state = models.load_gpt2(tmp_path).state_dict()
    assert np.array_equal(state["wte.weight"].numpy(), values["transformer.wte.weight"])
    index["weight_map"][names[0]] = "../a.safetensors"
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(DataError, match="names files elsewhere"):
        models.load_gpt2(tmp_path)


def test_what_does_not_fit_is_told(tmp_path):
    with pytest.raises(DataError, match=r"config.json and model.safetensors"):
        models.load_gpt2(tmp_path / "nowhere")
    folder = write(tmp_path / "bert", BERT, bert_tensors())
    with pytest.raises(DataError, match=r"(?s)another kind.*'gpt2'.*'bert'"):
        models.load_gpt2(folder)
    write(folder, BERT | {"hidden_act": "relu"}, bert_tensors())
    with pytest.raises(DataError, match=r"(?s)hidden_act.*'gelu'.*'relu'"):
        models.load_bert(folder)
    short = {k: v for k, v in BERT.items() if k != "hidden_size"}
    write(folder, short, bert_tensors())
    with pytest.raises(DataError, match="does not say hidden_size"):
        models.load_bert(folder)
    write(folder, BERT | {"vocab_size": 12}, bert_tensors())
    with pytest.raises(StateError, match="word_embeddings"):
        models.load_bert(folder)
    write(folder, BERT, bert_tensors())
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[:-10])
    with pytest.raises(DataError, match="damaged or truncated"):
        models.load_bert(folder)
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"x")
    with pytest.raises(DataError, match=r"(?s)pytorch_model.bin.*pickles run what they hold"):
        models.load_bert(folder)


@pytest.mark.peer
def test_checkpoints_that_transformers_saves_compute_the_same(tmp_path):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    tokens = words(2, 8)
    torch.manual_seed(0)
    gpt2 = transformers.GPT2LMHeadModel(transformers.GPT2Config(**GPT2)).eval()
    gpt2.save_pretrained(tmp_path / "gpt2")
    bert = transformers.BertForPreTraining(transformers.BertConfig(**BERT)).eval()
    bert.save_pretrained(tmp_path / "bert")
    mask = np.array([[1] * 8, [1] * 5 + [0] * 3])
    with torch.no_grad():
        wanted = gpt2(torch.from_numpy(tokens)).logits
        found = bert(torch.from_numpy(tokens), torch.from_numpy(mask))
    close(models.load_gpt2(tmp_path / "gpt2")(tokens), wanted, "GPT-2", 2e-5)
    ours = models.load_bert(tmp_path / "bert", heads=True)(tokens, None, mask)
    close(ours[0], found.prediction_logits, "the words", 2e-5)
    close(ours[1], found.seq_relationship_logits, "what follows", 2e-5)
