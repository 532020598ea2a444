"""Random small trainings: what both engines, and any number of threads, must agree on."""

import itertools
import random as python_random

import numpy as np

from chainrule import nn, optim, random
from chainrule.program.compiler.machine import MachineCode
from chainrule.training import Trainer

# a sign of a gradient that is nearly 0 turns with the rounding: threads agree, engines need not
SIGNS = ("Lion", "Rprop")


def optimizer_of(rng, clip):
    """An optimizer with random settings; its schedule may change the rate from step to step."""
    rate = rng.choice([0.05, 0.01])
    if rng.random() < 0.5:
        rate = rng.choice([
            optim.StepDecay(rate, every=5, factor=0.5),
            optim.Linear(rate, 0.1 * rate, 30),
            optim.Warmup(4, rate),
            optim.Exponential(rate, 0.97),
        ])  # fmt: skip
    name = rng.choice([
        "SGD", "Momentum", "Nesterov", "Adam", "AdamW", "AMSGrad", "Adamax", "NAdam", "RAdam",
        "RMSProp", "AdaGrad", "AdaDelta", "LAMB", *SIGNS,
    ])  # fmt: skip
    options = {"max_norm": 0.3} if clip == "norm" else {"max_value": 0.05} if clip else {}
    if name == "Rprop":
        return optim.Rprop(0.01, **options)
    if name == "RMSProp":
        options["epsilon"] = 0.01  # its first step is ten signs long, as if gradients were no more
    return getattr(optim, name)(rate, **options)


def training_of(number, engine="compiler"):
    """A trainer with its data: everything follows from ``number``."""
    rng = python_random.Random(number)
    random.seed(number)
    sizes = [rng.choice([1, 3, 7, 16, 30]), *rng.choices([1, 4, 9, 16, 33], k=rng.randint(0, 2))]
    classes = rng.choice([2, 3, 10])
    activation = rng.choice([nn.Tanh, nn.ReLU, nn.Sigmoid, nn.GELU])
    layers = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), activation()]
        if rng.random() < 0.4:
            layers.append(nn.Dropout(0.3))
    layers.append(nn.Linear(sizes[-1], classes))
    n_samples = rng.choice([10, 37, 64, 101])
    drawn = np.random.default_rng(number)
    x = drawn.normal(size=(n_samples, sizes[0])).astype(np.float32)
    optimizer = optimizer_of(rng, rng.choice([None, None, "norm", "value"]))
    batch_size = rng.choice([1, 4, 10, 16, 33, "all"])
    trainer = Trainer(
        nn.Sequential(*layers),
        loss=nn.CrossEntropyLoss(),
        optimizer=optimizer,
        metrics=["accuracy"],
        seed=number,
        batch_size="all" if batch_size == "all" else min(batch_size, n_samples),
        gradient_accumulation=rng.choice([1, 1, 1, 2, 3]),
        engine=engine,
    )
    return trainer, (x, drawn.integers(0, classes, n_samples))


def outcome_of(number, engine="compiler", epochs=2):
    """Losses, parameters and the optimizer's state after some epochs, by name."""
    trainer, data = training_of(number, engine)
    history = trainer.fit(data, epochs=epochs, progress="none")
    found = {name: value.numpy() for name, value in trainer.model.state_dict().items()}
    found["losses"] = np.array(history["loss"])
    return found, type(trainer.optimizer).__name__


def force_threads(monkeypatch, n):
    """Every native run uses n threads, worth it or not."""
    run = MachineCode.run

    def on_threads(self, pointers, steps):
        self.threads = n
        return run(self, pointers, steps)

    monkeypatch.setattr(MachineCode, "run", on_threads)
