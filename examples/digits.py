"""Handwritten digits: a part of MNIST, learned in a few seconds and measured honestly."""

import numpy as np

import chainrule as cr
from chainrule import data, models, nn, optim

cr.random.seed(0)
part = data.mnist("train").subset(np.arange(12_000))
train, validation = data.holdout(part, 1 / 6, seed=0)
test = data.mnist("test")

model = models.MLP((28, 28), [128], 10, dropout=0.1, mean=33.3, scale=78.6)
epochs, batch_size = 8, 100
trainer = cr.Trainer(
    model,
    loss=nn.CrossEntropyLoss(),
    optimizer=optim.Adam(optim.Cosine(2e-3, epochs * len(train) // batch_size)),
    metrics=["accuracy"],
    batch_size=batch_size,
)
history = trainer.fit(train, validation, epochs=epochs)
figures = trainer.evaluate(test)
print(f"{model.n_parameters:,} parameters, test accuracy {figures['accuracy']:.2%}")
assert figures["accuracy"] > 0.95
