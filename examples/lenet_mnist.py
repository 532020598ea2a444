"""LeNet-5 on a part of MNIST: a model by its name, its layer table, its accuracy."""

import numpy as np

import chainrule as cr
from chainrule import data, models, nn, optim

cr.random.seed(0)
part = data.mnist("train").subset(np.arange(10_000))
test = data.mnist("test")

# grey values become numbers around 0, and a picture one channel
model = nn.Sequential(
    nn.Standardize(33.3, 78.6),
    nn.Unflatten(1, (1, 28)),
    models.create("lenet5", num_classes=10),
)
print(model[2].summary((1, 28, 28)))

epochs, batch_size = 4, 50
trainer = cr.Trainer(
    model,
    loss=nn.CrossEntropyLoss(),
    optimizer=optim.Adam(optim.Cosine(2e-3, epochs * len(part) // batch_size)),
    metrics=["accuracy"],
    batch_size=batch_size,
)
trainer.fit(part, epochs=epochs)
figures = trainer.evaluate(test)
print(f"{model.n_parameters:,} parameters, test accuracy {figures['accuracy']:.2%}")
assert model.n_parameters == 61_706
assert figures["accuracy"] > 0.955
