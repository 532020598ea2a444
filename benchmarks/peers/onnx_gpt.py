"""The small GPT's next token as an ONNX graph, its cache growing as exported models' do."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper  # type: ignore[import-not-found]

from benchmarks.orders import named_weight

LAYERS, HEADS, WIDTH, FEATURES, WORDS, PLACES = 4, 4, 128, 32, 65, 64


class _Graph:
    """Nodes and constants, named in the order in which they are made."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, name: str, value: np.ndarray) -> str:
        self.constants[name] = numpy_helper.from_array(np.ascontiguousarray(value), name)
        return name

    def numbers(self, *values: int) -> str:
        return self.constant("n" + "_".join(map(str, values)), np.array(values, np.int64))

    def weight(self, name: str, *shape: int) -> str:
        """A vector or table as it is, a layer's matrix as (inputs, outputs)."""
        value = named_weight(name, shape)
        is_table = "wte" in name or "wpe" in name
        return self.constant(name, value.T if len(shape) == 2 and not is_table else value)

    def add(self, kind: str, *inputs: str, out: str = "", **attributes: Any) -> str:
        result = out or f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [result], **attributes))
        return result

    def linear(self, x: str, name: str, before: int, after: int) -> str:
        product = self.add("MatMul", x, self.weight(f"{name}.weight", after, before))
        return self.add("Add", product, self.weight(f"{name}.bias", after))

    def normed(self, x: str, name: str) -> str:
        scale, shift = (self.weight(f"{name}.{part}", WIDTH) for part in ("weight", "bias"))
        return self.add("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)

    def attended(self, x: str, name: str, layer: int) -> str:
        joined = self.linear(x, f"{name}.c_attn", WIDTH, 3 * WIDTH)
        shaped = self.add("Reshape", joined, self.numbers(1, 3 * HEADS, 1, FEATURES))
        parts = [f"{part}{layer}" for part in ("query", "key", "value")]
        split = helper.make_node("Split", [shaped], parts, axis=1, num_outputs=3)
        self.nodes.append(split)
        held = [self.add("Concat", f"past_{p}", p, out=f"present_{p}", axis=2) for p in parts[1:]]
        turned = self.add("Transpose", held[0], perm=[0, 1, 3, 2])
        scores = self.add("MatMul", parts[0], turned)
        scale = self.constant("scale", np.array(FEATURES**-0.5, np.float32))
        weights = self.add("Softmax", self.add("Mul", scores, scale), axis=-1)
        mean = self.add("MatMul", weights, held[1])
        flat = self.add("Reshape", mean, self.numbers(1, 1, WIDTH))
        return self.linear(flat, f"{name}.c_proj", WIDTH, WIDTH)


def gpt_step() -> bytes:
    """``token`` (1, 1), ``place`` (1, 1), caches → ``logits`` (1, 65), ``following``, caches."""
    g = _Graph()
    word = g.add("Gather", g.weight("wte.weight", WORDS, WIDTH), "token")
    x = g.add("Add", word, g.add("Gather", g.weight("wpe.weight", PLACES, WIDTH), "place"))
    for n in range(LAYERS):
        x = g.add("Add", x, g.attended(g.normed(x, f"h.{n}.ln_1"), f"h.{n}.attn", n))
        wide = g.linear(g.normed(x, f"h.{n}.ln_2"), f"h.{n}.mlp.c_fc", WIDTH, 4 * WIDTH)
        wide = g.add("Gelu", wide)
        x = g.add("Add", x, g.linear(wide, f"h.{n}.mlp.c_proj", 4 * WIDTH, WIDTH))
    flat = g.add("Reshape", g.normed(x, "ln_f"), g.numbers(1, WIDTH))
    g.add("MatMul", flat, g.weight("lm_head.weight", WORDS, WIDTH), out="logits")
    g.add("ArgMax", "logits", out="following", axis=1, keepdims=1)
    number, real, info = TensorProto.INT64, TensorProto.FLOAT, helper.make_tensor_value_info
    names = [f"{part}{n}" for n in range(LAYERS) for part in ("key", "value")]
    inputs = [info(name, number, (1, 1)) for name in ("token", "place")]
    inputs += [info(f"past_{p}", real, (1, HEADS, "past", FEATURES)) for p in names]
    outputs = [info("logits", real, (1, WORDS)), info("following", number, (1, 1))]
    outputs += [info(f"present_{p}", real, (1, HEADS, "present", FEATURES)) for p in names]
    graph = helper.make_graph(g.nodes, "gpt", inputs, outputs, [*g.constants.values()])
    opsets = [helper.make_opsetid("", 20)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()
