"""ONNX Runtime: a trained network's answers, its graph written down by ``onnx``'s helpers."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime  # type: ignore[import-not-found]
from onnx import TensorProto, helper, numpy_helper  # type: ignore[import-not-found]

from benchmarks.models import Call
from benchmarks.orders import named_weight
from benchmarks.peers.onnx_gpt import FEATURES, HEADS, gpt_step

LENET_SHAPES = {
    "c1.weight": (6, 1, 5, 5),
    "c1.bias": (6,),
    "c3.weight": (16, 6, 5, 5),
    "c3.bias": (16,),
    "c5.weight": (120, 16, 5, 5),
    "c5.bias": (120,),
    "f6.weight": (84, 120),
    "f6.bias": (84,),
    "output.weight": (10, 84),
    "output.bias": (10,),
}


def lenet(batch: int) -> bytes:
    """LeNet-5 (tanh, average pool) as a serialised graph."""
    nodes, current = [], "x"

    def add(kind: str, *weights: str, **attributes: Any) -> None:
        nonlocal current
        result = "logits" if weights[:1] == ("output.weight",) else f"v{len(nodes)}"
        nodes.append(helper.make_node(kind, [current, *weights], [result], **attributes))
        current = result

    for name, border in (("c1", 2), ("c3", 0), ("c5", 0)):
        add("Conv", f"{name}.weight", f"{name}.bias", pads=[border] * 4)
        add("Tanh")
        if name != "c5":
            add("AveragePool", kernel_shape=[2, 2], strides=[2, 2])
    add("Flatten")
    add("Gemm", "f6.weight", "f6.bias", transB=1)
    add("Tanh")
    add("Gemm", "output.weight", "output.bias", transB=1)
    weights = [numpy_helper.from_array(named_weight(n, s), n) for n, s in LENET_SHAPES.items()]
    kind = TensorProto.FLOAT
    x = helper.make_tensor_value_info("x", kind, (batch, 1, 28, 28))
    logits = helper.make_tensor_value_info("logits", kind, (batch, 10))
    graph = helper.make_graph(nodes, "lenet5", [x], [logits], weights)
    opsets = [helper.make_opsetid("", 17)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


class Session:
    """An inference session; a picture's logits, or a text that is written token by token."""

    def __init__(self, call: Call, n_threads: int, engine: Any) -> None:
        self.operands = call.arrays()
        writes = call.function == "generation"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = n_threads
        graph = gpt_step() if writes else lenet(len(self.operands["x"]))
        self.session = onnxruntime.InferenceSession(graph, options)
        self.run = self._write if writes else self._answer

    def _answer(self, count: int) -> np.ndarray:
        """Call ``count`` times; the last result."""
        for _ in range(count):
            (out,) = self.session.run(None, self.operands)
        return out

    def _write(self, count: int) -> np.ndarray:
        """Write ``count`` tokens; the last one's logits. Caches stay the runtime's own memory."""
        value = onnxruntime.OrtValue.ortvalue_from_numpy
        names = [x.name for x in self.session.get_inputs()]
        outputs = [x.name for x in self.session.get_outputs()]
        empty = value(np.zeros((1, HEADS, 0, FEATURES), np.float32))
        held: list[Any] = [empty] * (len(names) - 2)
        token = value(np.zeros((1, 1), np.int64))
        places = [value(np.array([[place]])) for place in range(count)]
        for place in places:
            given = dict(zip(names, (token, place, *held), strict=True))
            logits, token, *held = self.session.run_with_ort_values(outputs, given)
        return logits.numpy()
