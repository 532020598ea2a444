"""Networks whose whole training steps are timed, and calls of layers and trained networks."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.orders import shuffled

FLOAT_BYTES = 4
STATE_ARRAYS = {"momentum": 1, "adam": 2, "adamw": 2}


@dataclass(frozen=True)
class Steps:
    """Training steps of a network; softmax cross-entropy, the mean over all labels, is its loss.

    Args:
        name: What the command and the tables call it.
        model: Which network: a key of every library's ``MODELS``.
        title: One line about it.
        input_shape: Of one sample: (channels, height, width), or (places,) of tokens.
        classes: Classes, or words of the vocabulary; a sequence has a label at every place.
        parameters: How many numbers are learned.
        multiply_adds: Of one sample forward, products and convolutions only.
        first_multiply_adds: Those of the first layer, whose inputs need no gradient.
        optimizer: "momentum" (0.9), "adam" or "adamw" (0.9, 0.999, 1e-8, decay 0.01).
        learning_rate: η > 0.
        batch: Samples a step.
        samples: Samples of the data set, from which each step gathers its batch.
        chunk: Steps a window of timing.
        tolerance: Relative, of the first losses against those in float64.
    """

    name: str
    model: str
    title: str
    input_shape: tuple[int, ...]
    classes: int
    parameters: int
    multiply_adds: int
    first_multiply_adds: int
    optimizer: str
    learning_rate: float
    batch: int
    samples: int
    chunk: int
    tolerance: float = 1e-3
    dropout: float = 0.0
    kind: str = "steps"

    @property
    def has_pictures(self) -> bool:
        """Whether samples are pictures; else they are tokens."""
        return len(self.input_shape) == 3

    @property
    def flops(self) -> int:
        """Of a step: forward, weight gradients, and input gradients but of the first layer."""
        return 2 * self.batch * (3 * self.multiply_adds - self.first_multiply_adds)

    @property
    def data_bytes(self) -> int:
        """Inputs and labels."""
        inputs, labels = self.data()
        return int(inputs.nbytes + labels.nbytes)

    @property
    def resident_bytes(self) -> int:
        """Parameters and optimizer state."""
        return FLOAT_BYTES * self.parameters * (1 + STATE_ARRAYS[self.optimizer])

    def data(self) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and labels that can be learned a little: pictures of noise, tokens that repeat."""
        rng = np.random.default_rng(0)
        shape = (self.samples, *self.input_shape)
        if self.has_pictures:
            labels = rng.integers(0, self.classes, self.samples)
            inputs = rng.standard_normal(shape, dtype=np.float32)
            inputs += 0.2 * (labels / self.classes - 0.5).astype(np.float32)[:, None, None, None]
            return inputs, labels
        steps = rng.integers(1, 4, (self.samples, 1))
        start = rng.integers(0, self.classes, (self.samples, 1))
        text = (start + steps * np.arange(self.input_shape[0] + 1)) % self.classes
        return np.ascontiguousarray(text[:, :-1]), np.ascontiguousarray(text[:, 1:])

    def order(self, n_steps: int, epoch: int = 0) -> np.ndarray:
        """Sample numbers (n_steps, batch), shuffled."""
        return shuffled(self.samples, self.batch, n_steps, (0, epoch))


@dataclass(frozen=True)
class Call:
    """A function of fixed operands, called again and again.

    Args:
        name: What the command and the tables call it.
        function: Which function: a key of every library's ``CALLS``.
        title: One line about it.
        operands: Name → shape of what it is given, standard normal numbers.
        flops: Of its products and convolutions.
        chunk: Calls a window of timing.
        layouts: Whether PyTorch may do it with channels last.
        inference: Whether it is a trained network's answer, which runtimes for inference give too.
        tolerance: Of the largest element of the result, against float64.
    """

    name: str
    function: str
    title: str
    operands: dict[str, tuple[int, ...]]
    flops: int
    chunk: int
    layouts: bool = False
    inference: bool = False
    tolerance: float = 1e-4
    kind: str = "call"

    def arrays(self) -> dict[str, np.ndarray]:
        """The operands."""
        return {
            name: np.random.default_rng(i).standard_normal(shape, dtype=np.float32)
            for i, (name, shape) in enumerate(self.operands.items())
        }


_LENET = 117_600 + 240_000 + 48_000 + 10_080 + 840
_RESNET_FIRST = 32 * 32 * 27 * 16
_GPT_TOKEN = 4 * 12 * 128**2 + 65 * 128
_ATTENDED = 2 * 128 * (64 * 65 // 2)  # scores and means over what a place may see, one block

STEPS = {
    steps.name: steps
    for steps in (
        Steps(
            "lenet", "lenet5", "LeNet-5 (tanh, average pool), momentum, batch 64",
            (1, 28, 28), 10, 61_706, _LENET, 117_600, "momentum", 0.01, 64, 6_000, 20,
        ),
        Steps(
            "resnet20", "resnet20", "CIFAR ResNet-20, momentum, batch 128",
            (3, 32, 32), 10, 269_722, 40_551_040, _RESNET_FIRST, "momentum", 0.01, 128, 1_280, 2,
            tolerance=3e-3,
        ),
        Steps(
            "char-lstm", "char_lstm", "char LSTM, 256 hidden, T 64, Adam, batch 32",
            (64,), 65, 559_681, 64 * (8 * 256 * 256 + 65 * 256), 0, "adam", 1e-3, 32, 1_024, 6,
        ),
        Steps(
            "gru", "char_gru", "char GRU, 128 hidden, T 100, Adam, batch 16",
            (100,), 65, 115_777, 100 * (6 * 128 * 128 + 65 * 128), 0, "adam", 1e-3, 16, 1_024, 20,
        ),
        Steps(
            "gpt", "gpt", "GPT, 4 layers, 4 heads, width 128, T 64, AdamW, batch 12",
            (64,), 65, 818_176, 64 * _GPT_TOKEN + 4 * _ATTENDED, 0, "adamw", 1e-3, 12, 1_200, 6,
        ),
    )
}  # fmt: skip
"""Whole training steps of named networks."""

_PICTURES, _KERNELS = (32, 64, 32, 32), (64, 64, 3, 3)
_CONVOLUTION = 2 * 32 * 32 * 32 * 64 * 64 * 9
_VALUES = (2, 4, 1024, 64)
_BLOCK = 2 * 32 * 28 * 28 * (2 * 32 * 192 + 9 * 192)

CALLS = {
    call.name: call
    for call in (
        Call(
            "conv-forward", "conv_forward", "convolution 3 × 3, 64 → 64, 32 × 32, batch 32",
            {"x": _PICTURES, "w": _KERNELS}, _CONVOLUTION, 4, layouts=True,
        ),
        Call(
            "conv-input", "conv_input", "its input gradient",
            {"g": _PICTURES, "w": _KERNELS}, _CONVOLUTION, 4, layouts=True,
        ),
        Call(
            "conv-weight", "conv_weight", "its weight gradient",
            {"g": _PICTURES, "x": _PICTURES}, _CONVOLUTION, 4, layouts=True,
        ),
        Call(
            "mobilenet", "mobilenet_block",
            "MobileNetV2 block, 32 → 32, 28 × 28, batch 32, all gradients",
            {"x": (32, 32, 28, 28)}, 3 * _BLOCK, 4, layouts=True, tolerance=1e-3,
        ),
        Call(
            "lenet-1", "lenet_inference", "LeNet-5, inference, batch 1",
            {"x": (1, 1, 28, 28)}, 2 * _LENET, 100, inference=True,
        ),
        Call(
            "lenet-256", "lenet_inference", "LeNet-5, inference, batch 256",
            {"x": (256, 1, 28, 28)}, 2 * 256 * _LENET, 10, inference=True,
        ),
        Call(
            "attention", "attention", "attention and gradients, T 1024, 4 heads of 64, batch 2",
            {"q": _VALUES, "k": _VALUES, "v": _VALUES},
            7 * 2 * 8 * 64 * (1024 * 1025 // 2), 2, tolerance=1e-3,
        ),
        Call(
            "generation", "generation", "the GPT writes a token, batch 1, mean over 48 places",
            {}, 2 * (_GPT_TOKEN + 4 * 2 * 128 * 24), 48, inference=True, tolerance=1e-3,
        ),
    )
}  # fmt: skip
"""Single layers with their gradients, inference, generation."""
