"""A folder of pictures, one folder a class: read, augmented while it is trained on, judged."""

import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

import chainrule as cr
from chainrule import data, nn, optim

SIZE = 40  # of the files; the network sees 20 × 20


def draw(shape, rng):
    """A picture of a shape at any place, in any colours."""
    picture = Image.new("RGB", (SIZE, SIZE), tuple(rng.integers(0, 90, 3).tolist()))
    colour = tuple(rng.integers(150, 256, 3).tolist())
    radius = rng.uniform(0.25, 0.35) * SIZE
    x, y = SIZE / 2 + rng.uniform(-3, 3, 2)
    box = (x - radius, y - radius, x + radius, y + radius)
    canvas = ImageDraw.Draw(picture)
    if shape == "circle":
        canvas.ellipse(box, fill=colour)
    elif shape == "square":
        canvas.rectangle(box, fill=colour)
    else:
        canvas.polygon([(x, box[1]), (box[2], box[3]), (box[0], box[3])], fill=colour)
    return picture


folder, rng = Path(tempfile.mkdtemp()), np.random.default_rng(0)
for shape in ("circle", "square", "triangle"):
    (folder / shape).mkdir()
    for number in range(100):
        draw(shape, rng).save(folder / shape / f"{number:03d}.png")

# decoded once; classes and files in the order of their names
whole = data.image_folder(folder, size=20, mode="grey")
assert whole.inputs.shape == (300, 1, 20, 20)
assert whole.class_names == ["circle", "square", "triangle"]
train, held_out = data.holdout(whole, 0.3, seed=0)

# every epoch sees other pictures, made in the background; seed, epoch and sample decide which
normalize = data.Normalize.fit(train.inputs)
augmented = data.Augmented(
    train,
    [data.RandomCrop(20, padding=2), data.RandomHorizontalFlip(), data.ColorJitter(), normalize],
)
# without chance, only the normalisation is left
validation = data.Augmented(held_out, [normalize])

cr.random.seed(0)
model = nn.Sequential(
    nn.Flatten(), nn.Linear(400, 64), nn.ReLU(), nn.Dropout(0.2), nn.Linear(64, 3)
)
trainer = cr.Trainer(
    model,
    loss=nn.CrossEntropyLoss(label_smoothing=0.05),
    optimizer=optim.Adam(3e-3),
    metrics=["accuracy"],
    batch_size=30,
)
trainer.fit(augmented, validation, epochs=40, progress="none")
accuracy = trainer.evaluate(validation)["accuracy"]
print(f"{accuracy:.1%} of {len(held_out)} unseen shapes are named rightly")
assert accuracy > 0.9
