"""A run that is stopped and resumed ends with the same bits as one left alone."""

import tempfile
from pathlib import Path

import numpy as np

import chainrule as cr
from chainrule import data, nn, optim
from chainrule.training import LambdaCallback

circles = data.circles(500, noise=0.05)


def trainer():
    cr.random.seed(3)
    model = nn.Sequential(nn.Linear(2, 32), nn.ReLU(), nn.Dropout(0.1), nn.Linear(32, 2))
    return cr.Trainer(model, loss=nn.CrossEntropyLoss(), optimizer=optim.Adam(0.01), seed=3)


alone = trainer()
alone.fit(circles, epochs=6, progress="none")


class Cut(Exception):
    """Power goes off."""


def cut(fit):
    if fit.epoch == 3:
        raise Cut


folder = Path(tempfile.mkdtemp()) / "run"
options = {"run_dir": folder, "progress": "none", "pictures": False}
try:
    trainer().fit(circles, epochs=6, callbacks=[LambdaCallback(on_epoch_begin=cut)], **options)
except Cut:
    print("stopped; checkpoints:", *sorted(p.name for p in (folder / "checkpoints").iterdir()))

resumed = trainer()
resumed.fit(circles, epochs=6, resume=True, **options)
for name, weight in alone.model.state_dict().items():
    assert np.array_equal(weight, resumed.model.state_dict()[name]), name
print("same bits in", len(alone.model.state_dict()), "arrays")
