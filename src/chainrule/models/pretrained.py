"""Weights that others trained: GPT-2's and BERT's checkpoints as Hugging Face writes them.

A checkpoint is a folder with ``config.json`` and ``model.safetensors`` (or several such files and
``model.safetensors.index.json``). Nothing is downloaded, and no pickle is opened.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal, overload

import ml_dtypes
import numpy as np

from chainrule import nn
from chainrule.errors import DataError
from chainrule.models.bert import Bert
from chainrule.models.bert_heads import BertForPreTraining
from chainrule.models.gpt import GPT
from chainrule.ops.origin import here

Weights = dict[str, np.ndarray]


def load_gpt2(folder: str | Path) -> GPT:
    """A GPT with the weights of a GPT-2 checkpoint, in evaluation mode.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.

    Raises:
        DataError: Files are missing or damaged, or the model is of another kind.
        StateError: The weights do not fit the configuration.
    """
    folder = Path(folder)
    config, values = _config(folder, "gpt2"), gpt2_weights(_weights(folder))
    gelu = {"gelu_new": "tanh", "gelu_pytorch_tanh": "tanh", "gelu": "exact"}
    _supported(folder, config, "activation_function", tuple(gelu), "gelu_new")
    for name in ("scale_attn_by_inverse_layer_idx", "reorder_and_upcast_attn"):
        _supported(folder, config, name, (False,), False)
    model = GPT(
        config["vocab_size"],
        config["n_positions"],
        width=config["n_embd"],
        num_layers=config["n_layer"],
        num_heads=config["n_head"],
        hidden=config.get("n_inner"),
        tied=config.get("tie_word_embeddings", True),
        dropout=config.get("resid_pdrop", 0.1),
        gelu=gelu[config.get("activation_function", "gelu_new")],
        layer_norm_epsilon=config.get("layer_norm_epsilon", 1e-5),
    )
    model.load_state_dict(values)
    return model.eval()


@overload
def load_bert(folder: str | Path, *, heads: Literal[False] = False) -> Bert: ...
@overload
def load_bert(folder: str | Path, *, heads: Literal[True]) -> BertForPreTraining: ...
def load_bert(folder: str | Path, *, heads: bool = False) -> Bert | BertForPreTraining:
    """A BERT with the weights of a checkpoint, in evaluation mode.

    Args:
        folder: With ``config.json`` and ``model.safetensors``.
        heads: The model with its two heads, which the checkpoint must have; else without. A pooler
            or the head of next sentences that is missing there begins as if untrained.

    Raises:
        DataError: Files are missing or damaged, or the model is of another kind.
        StateError: The weights do not fit the configuration.
    """
    folder = Path(folder)
    config, values = _config(folder, "bert"), bert_weights(_weights(folder), heads=heads)
    _supported(folder, config, "hidden_act", ("gelu",), "gelu")
    _supported(folder, config, "position_embedding_type", ("absolute",), "absolute")
    build: Callable[..., Bert | BertForPreTraining] = BertForPreTraining if heads else Bert
    model = build(
        config["vocab_size"],
        config["max_position_embeddings"],
        width=config["hidden_size"],
        num_layers=config["num_hidden_layers"],
        num_heads=config["num_attention_heads"],
        hidden=config["intermediate_size"],
        token_types=config.get("type_vocab_size", 2),
        dropout=config.get("hidden_dropout_prob", 0.1),
        layer_norm_epsilon=config.get("layer_norm_eps", 1e-12),
    )
    _load(model, values, optional=("pooler.", "bert.pooler.", "cls.seq_relationship."))
    return model.eval()


def gpt2_weights(values: Mapping[str, Any]) -> Weights:
    """A state of Hugging Face's GPT-2 under the names and in the layouts of ``GPT``.

    The prefix ``transformer.`` falls, and so do the masks that old files hold; the four matrices of
    each block, which stand as (in, out), are turned.

    Args:
        values: Name → array, or anything with ``__array__``.
    """
    turned = ("attn.c_attn.weight", "attn.c_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")
    found: Weights = {}
    for name, value in values.items():
        name = name.removeprefix("transformer.")
        if name.endswith((".attn.bias", ".attn.masked_bias")):
            continue
        array = np.asarray(value)
        found[name] = array.T if name.endswith(turned) and array.ndim == 2 else array
    return found


def bert_weights(values: Mapping[str, Any], *, heads: bool = False) -> Weights:
    """A state of Hugging Face's BERT under the names of ``Bert`` or ``BertForPreTraining``.

    Old names of the norms (gamma, beta) become today's; the positions' numbers and the second copy
    of the words' biases fall.

    Args:
        values: Name → array, or anything with ``__array__``.
        heads: For ``BertForPreTraining``; else the heads' entries fall.
    """
    found: Weights = {}
    for name, value in values.items():
        name = name.replace("LayerNorm.gamma", "LayerNorm.weight")
        name = name.replace("LayerNorm.beta", "LayerNorm.bias")
        if name.endswith(("position_ids", "cls.predictions.decoder.bias")):
            continue
        in_head = name.startswith("cls.")
        if in_head and not heads:
            continue
        bare = name.removeprefix("bert.")
        found[name if in_head else f"bert.{bare}" if heads else bare] = np.asarray(value)
    return found


def _load(model: nn.Module, values: Weights, optional: tuple[str, ...]) -> None:
    """Load all that the model has, save what may be missing."""
    for path, owner, name in model.named_state():
        if path not in values and path.startswith(optional):
            values[path] = getattr(owner, name).numpy()
    model.load_state_dict(values)


def _config(folder: Path, kind: str) -> dict[str, Any]:
    path = folder / "config.json"
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(
            f"{folder} holds no model that can be read",
            expected="a folder with config.json and model.safetensors",
            got=f"{path.name}: {error}",
            where=str(here()),
        ) from None
    found = config.get("model_type") if isinstance(config, dict) else None
    if found != kind:
        raise DataError(
            f"{path} describes another kind of model",
            expected=f"model_type {kind!r}",
            got=repr(found),
            where=str(here()),
        )
    return _Described(config, path)


class _Described(dict[str, Any]):
    """A configuration whose missing entries are answered."""

    def __init__(self, config: Mapping[str, Any], path: Path) -> None:
        super().__init__(config)
        self.path = path

    def __missing__(self, name: str) -> Any:
        raise DataError(
            f"{self.path} does not say {name}", expected=f"an entry {name!r}", where=str(here())
        )


def _supported(
    folder: Path, config: Mapping[str, Any], name: str, known: tuple[Any, ...], usual: Any
) -> None:
    if config.get(name, usual) not in known:
        raise DataError(
            f"{folder / 'config.json'}: this {name} is not built here",
            expected=" or ".join(repr(value) for value in known),
            got=repr(config[name]),
            where=str(here()),
        )


def _weights(folder: Path) -> Weights:
    """All tensors of a checkpoint, in one file or several."""
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.exists():
        try:
            names = sorted(
                set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
            )
        except (OSError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise DataError(f"{index} is damaged", got=str(error), where=str(here())) from None
        if any(Path(str(name)).name != name for name in names):
            raise DataError(f"{index} names files elsewhere", got=str(names), where=str(here()))
    values: Weights = {}
    for name in names:
        values |= _tensors(folder / name)
    return values


_KINDS = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def _tensors(path: Path) -> Weights:
    """All tensors of a safetensors file."""
    import safetensors

    try:
        entries = safetensors.deserialize(path.read_bytes())
    except OSError as error:
        others = sorted(found.name for found in path.parent.glob("*.bin"))
        raise DataError(
            f"{path.parent} holds no weights that can be read",
            expected="model.safetensors",
            got=", ".join(others) or str(error),
            fix="pickles run what they hold; save them as safetensors where they come from"
            if others
            else "",
            where=str(here()),
        ) from None
    except safetensors.SafetensorError as error:
        raise DataError(
            f"{path} is damaged or truncated",
            expected="a whole safetensors file",
            got=str(error),
            where=str(here()),
        ) from None
    values: Weights = {}
    for name, entry in entries:
        if entry["dtype"] not in _KINDS:
            raise DataError(
                f"{path}: the type of {name!r} is not known here",
                expected=", ".join(_KINDS),
                got=str(entry["dtype"]),
                where=str(here()),
            )
        data = np.frombuffer(entry["data"], _KINDS[entry["dtype"]])
        values[name] = data.reshape(entry["shape"])
    return values
