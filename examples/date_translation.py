"""Dates as people write them, translated to ISO's form: with attention and without it.

The same recurrent reader and writer learn from 12,000 random dates. With attention the writer looks
back at the letters that it needs, and nearly every date comes out right; the picture shows where it
looks. Without it all must pass through one vector.
"""

import datetime

import numpy as np

import chainrule as cr
from chainrule import models, nn, optim, plots
from chainrule.generation import generate

FORMS = ["{:%d %B %Y}", "{:%B %d, %Y}", "{:%A, %d %b %Y}", "{:%d.%m.%Y}", "{:%b %d %Y}"]
START, END = "<", ">"
rng = np.random.default_rng(0)


def random_dates(n):
    """Pairs: "saturday, 03 may 1998" and "<1998-05-03>"."""
    days = rng.choice(60_000, n, replace=False)  # no date comes twice
    for day in days:
        date = datetime.date(1930, 1, 1) + datetime.timedelta(days=int(day))
        yield rng.choice(FORMS).format(date).lower(), START + date.isoformat() + END


pairs = list(random_dates(13_000))
letters = sorted(set("".join(a + b for a, b in pairs)))
number = {letter: i + 1 for i, letter in enumerate(letters)}  # 0 fills short texts
longest = max(len(a) for a, _ in pairs)
sources = np.array([[number[c] for c in a] + [0] * (longest - len(a)) for a, _ in pairs])
targets = np.array([[number[c] for c in b] for _, b in pairs])
n = 12_000


def step(model, optimizer, source, target):
    def loss_of(model):
        return nn.cross_entropy(model(source, target[:, :-1]), target[:, 1:], axis=-1)

    loss, grads = cr.value_and_grad(loss_of)(model)
    optimizer.update(model, grads)
    return loss


def trained(attention, n_steps=600, batch_size=64):
    cr.random.seed(0)
    model = models.Seq2Seq(len(letters) + 1, hidden_size=64, embedding_dim=32, attention=attention)
    optimizer = optim.Adam(optim.Cosine(5e-3, n_steps))
    order = np.stack([rng.integers(0, n, batch_size) for _ in range(n_steps)])
    losses = cr.run_steps(step, (model, optimizer), (sources[:n], targets[:n]), order)
    print(f"{attention}: loss {losses[0]:.2f} → {losses[-50:].mean():.5f}")
    return model.eval()


def exact(model):
    cache = model.source_cache(sources[n:])
    found = generate(model, targets[n:, :1], 11, temperature=0, cache=cache)
    return (found == targets[n:, 1:]).all(axis=1).mean()


attentive, plain = trained("additive"), trained(None)
share, share_without = exact(attentive), exact(plain)
print(f"exact: {share:.1%} with attention, {share_without:.1%} without, {len(pairs) - n} dates")
assert share >= 0.99

weights = attentive.attention_map(sources[-1:], targets[-1:, :-1]).numpy()[0]
source, target = pairs[-1]
target = target.removeprefix(START)
print(plots.attention_map(weights[:, : len(source)], list(source), list(target), "dates.png"))
year = [i for i, letter in enumerate(source) if letter.isdigit()][-4:]
assert weights[:4, year].sum(axis=1).min() > 0.5  # the year is read where the year stands
