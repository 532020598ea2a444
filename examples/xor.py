"""XOR: a perceptron can not learn it, two hidden units can."""

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim

xor = data.xor()

perceptron = nn.Perceptron(2)
errors = perceptron.fit(xor.inputs, 2 * xor.targets - 1, epochs=100)
print("perceptron: errors in the last epochs", errors[-5:])
assert min(errors) > 0, "no line separates the points"

cr.random.seed(0)  # two hidden units: other starts end in a local minimum
network = nn.Sequential(nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1), nn.Sigmoid())
trainer = cr.Trainer(
    network,
    loss=nn.BCELoss(),
    optimizer=optim.Adam(0.1),
    batch_size="all",
)
targets = xor.targets[:, None].astype(np.float32)
history = trainer.fit((xor.inputs, targets), epochs=400, progress="none")
outputs = trainer.predict(xor.inputs)
print("2-2-1 network:", np.round(outputs[:, 0], 3))
assert (outputs.round() == targets).all()
assert history["loss"][-1] < 0.05
