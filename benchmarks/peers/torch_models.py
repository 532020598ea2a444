"""PyTorch: training steps of named networks, and calls of layers and trained networks.

Each is there as usual, with channels last where there are pictures, and under ``torch.compile``.
``Exact`` and ``ExactCalls`` do the same in float64: what every library's results must equal.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.models import Call, Steps
from benchmarks.peers.torch_networks import as_tensors, build


class Eager:
    """Step after step from Python, with PyTorch's fused optimizers."""

    dtype: ClassVar[torch.dtype] = torch.float32
    channels_last: ClassVar[bool] = False
    compiled: ClassVar[bool] = False

    def __init__(
        self, steps: Steps, data: tuple[np.ndarray, np.ndarray], n_threads: int, engine: Any
    ) -> None:
        torch.set_num_threads(n_threads)
        inputs, self.labels = (torch.from_numpy(x) for x in data)
        self.inputs = inputs.to(self.dtype) if inputs.is_floating_point() else inputs
        model = build(steps.model, self.dtype)
        if self.channels_last:
            model = model.to(memory_format=torch.channels_last)
            self.inputs = self.inputs.contiguous(memory_format=torch.channels_last)
        self.model = torch.compile(model) if self.compiled else model
        parameters, rate = model.parameters(), steps.learning_rate
        self.optimizer: Any
        if steps.optimizer == "momentum":
            self.optimizer = torch.optim.SGD(parameters, rate, momentum=0.9, fused=True)
        else:
            kind = torch.optim.Adam if steps.optimizer == "adam" else torch.optim.AdamW
            self.optimizer = kind(parameters, rate, fused=True)

    def order(self, rows: np.ndarray) -> torch.Tensor:
        """Sample numbers as a tensor."""
        return torch.from_numpy(rows)

    def step(self, rows: torch.Tensor) -> torch.Tensor:
        """One step on the samples of ``rows``; its loss."""
        x = self.inputs.index_select(0, rows)
        labels = self.labels.index_select(0, rows)
        self.optimizer.zero_grad(set_to_none=True)
        logits = self.model(x)
        loss = F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))
        loss.backward()
        self.optimizer.step()
        return loss.detach()

    def run(self, order: torch.Tensor) -> np.ndarray:
        """Train on the rows of ``order``; the loss of every step."""
        return torch.stack([self.step(rows) for rows in order.unbind()]).numpy()


class ChannelsLast(Eager):
    """The same with the channels of a pixel side by side."""

    channels_last = True


class Compiled(Eager):
    """The network under ``torch.compile``, forward and backward."""

    compiled = True


class CompiledChannelsLast(Compiled):
    """Both."""

    channels_last = True


class Exact(Eager):
    """The same in float64."""

    dtype = torch.float64


Run = Callable[[int], torch.Tensor]


def _repeated(function: Callable[[], torch.Tensor]) -> Run:
    def run(count: int) -> torch.Tensor:
        for _ in range(count):
            out = function()
        return out

    return run


class EagerCalls:
    """A function with its operands resident."""

    dtype: ClassVar[torch.dtype] = torch.float32
    channels_last: ClassVar[bool] = False
    compiled: ClassVar[bool] = False

    def __init__(self, call: Call, n_threads: int, engine: Any) -> None:
        torch.set_num_threads(n_threads)
        self.operands = {
            name: self._laid(x) for name, x in as_tensors(call.arrays(), self.dtype).items()
        }
        self.function: Run = getattr(self, call.function)()

    def _laid(self, x: Any) -> Any:
        return x.to(memory_format=torch.channels_last) if self.channels_last else x

    def _model(self, name: str) -> Any:
        model = self._laid(build(name, self.dtype))
        return torch.compile(model) if self.compiled else model

    def _compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        return torch.compile(function) if self.compiled else function

    def run(self, count: int) -> np.ndarray:
        """Call ``count`` times; the last result."""
        return self.function(count).detach().numpy()

    def conv_forward(self) -> Run:
        """A convolution."""
        x, w = self.operands["x"], self.operands["w"]
        forward = self._compiled(lambda x, w: F.conv2d(x, w, padding=1))
        return _repeated(lambda: forward(x, w))

    def _convolution_gradient(self, wanted: list[bool]) -> Callable[..., torch.Tensor]:
        def gradient(g: torch.Tensor, x: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
            found = torch.ops.aten.convolution_backward(
                g, x, w, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1, wanted
            )
            return found[wanted.index(True)]

        return self._compiled(gradient)

    def conv_input(self) -> Run:
        """Its input gradient."""
        g, w = self.operands["g"], self.operands["w"]
        x = self._laid(torch.zeros_like(g))
        gradient = self._convolution_gradient([True, False, False])
        return _repeated(lambda: gradient(g, x, w))

    def conv_weight(self) -> Run:
        """Its weight gradient."""
        g, x = self.operands["g"], self.operands["x"]
        w = self._laid(torch.zeros(g.shape[1], x.shape[1], 3, 3, dtype=self.dtype))
        gradient = self._convolution_gradient([False, True, False])
        return _repeated(lambda: gradient(g, x, w))

    def mobilenet_block(self) -> Run:
        """Forward and all gradients of half the sum of squares."""
        model = self._model("mobilenet_block")
        x = self.operands["x"].requires_grad_()
        leaves = [x, *model.parameters()]

        def gradients() -> torch.Tensor:
            y = model(x)
            found = torch.autograd.grad((y * y).sum() * 0.5, leaves)
            return torch.cat([g.reshape(-1) for g in found])

        return _repeated(gradients)

    def attention(self) -> Run:
        """Forward and the gradients of queries, keys and values."""
        q, k, v = (self.operands[name].requires_grad_() for name in "qkv")

        def total(q: torch.Tensor, k: torch.Tensor, v: torch.Tensor) -> torch.Tensor:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
            return (y * y).sum() * 0.5

        compiled = self._compiled(total)
        return _repeated(lambda: torch.stack(torch.autograd.grad(compiled(q, k, v), [q, k, v])))

    def lenet_inference(self) -> Run:
        """Logits of a batch."""
        model, x = self._model("lenet5").eval(), self.operands["x"]

        def run(count: int) -> torch.Tensor:
            with torch.inference_mode():
                for _ in range(count):
                    out = model(x)
            return out

        return run

    def generation(self) -> Run:
        """Greedy writing with a cache."""
        model: Any = build("gpt", self.dtype).eval()
        following = self._compiled(model.next_logits)

        def run(count: int) -> torch.Tensor:
            with torch.inference_mode():
                caches = [torch.zeros(2, 1, 4, 64, 32, dtype=self.dtype) for _ in range(4)]
                token = torch.zeros(1, 1, dtype=torch.int64)
                for place in range(count):
                    logits = following(token, caches, place)
                    token = logits.argmax(-1, keepdim=True)
            return logits

        return run


class ChannelsLastCalls(EagerCalls):
    """The same with the channels of a pixel side by side."""

    channels_last = True


class CompiledCalls(EagerCalls):
    """The same under ``torch.compile``."""

    compiled = True


class ExactCalls(EagerCalls):
    """The same in float64."""

    dtype = torch.float64
