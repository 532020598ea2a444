"""A small network with all that a step may write, its training step, and what training leaves."""

import chainrule as cr
from chainrule import nn, optim


class Net(nn.Module):
    def __init__(self):
        self.first = nn.Linear(5, 4)
        self.norm = nn.BatchNorm1d(4)
        self.drop = nn.Dropout(0.3)
        self.second = nn.Linear(4, 2)
        self.shift = nn.Parameter(cr.zeros(2))

    def forward(self, x):
        return self.second(self.drop(cr.tanh(self.norm(self.first(x))))) + self.shift


def train(model, optimizer, x, y):
    def loss_of(m):
        return nn.functional.cross_entropy(m(x), y)

    loss, gradients = cr.value_and_grad(loss_of)(model)
    optimizer.update(model, gradients)
    return loss


def make(**settings):
    """The network and Adam, always from the same weights."""
    cr.random.seed(0)
    return Net(), optim.Adam(**({"learning_rate": 0.02} | settings))


def everything(model, optimizer):
    """All state, as NumPy arrays by name."""
    state = {name: x.numpy() for name, x in model.state_dict().items()}
    for path, slots in optimizer.state.items():
        state |= {f"{path}/{name}": x.numpy() for name, x in slots.items()}
    return state | {"step": optimizer.step.numpy()}
