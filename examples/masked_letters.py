"""A small BERT learns Shakespeare by filling gaps: better than letter counts, alone or in pairs.

15 % of the letters are hidden, and the model names them from what stands on both sides. The two
baselines know how often each letter comes (unigrams), or comes behind the one before it (bigrams,
told even where that one is hidden too).
"""

import numpy as np

import chainrule as cr
from chainrule import data, models, nn, optim

LENGTH, N_STEPS = 32, 1200
cr.random.seed(0)
text, validation_text = data.shakespeare("train"), data.shakespeare("validation")
tokenizer = data.CharacterTokenizer.fit(text + validation_text)
letters, validation = (tokenizer.encode(t).astype(np.int32) for t in (text, validation_text))
mask = tokenizer.size  # one token more, for what is hidden

model = models.BertForMaskedLM(
    mask + 1, LENGTH, width=96, num_layers=2, num_heads=4, dropout=0.0, initial_deviation=0.1
)
optimizer = optim.AdamW(optim.OneCycle(3e-3, N_STEPS), weight_decay=0.01)
draws = cr.random.RandomState(0)
windows = np.lib.stride_tricks.sliding_window_view(letters, LENGTH)[::16].copy()


def loss_of(model, hidden, labels):
    return nn.cross_entropy(model(hidden), labels, axis=-1)


def step(model, optimizer, draws, tokens):
    hidden, labels = models.mask_tokens(draws.draw_key(), tokens, mask, mask)
    loss, grads = cr.value_and_grad(loss_of)(model, hidden, labels)
    optimizer.update(model, grads)
    return loss


order = np.random.default_rng(0).integers(0, len(windows), (N_STEPS, 32))
losses = cr.run_steps(step, (model, optimizer, draws), (windows,), order)

# the same hidden places for all three, in text that none has seen
rng = np.random.default_rng(1)
rows = validation[: len(validation) // LENGTH * LENGTH].reshape(-1, LENGTH)
chosen = rng.random(rows.shape) < 0.15
chosen[:, 0] = False  # there, bigrams know nothing
measure = cr.compile(lambda model, hidden, labels: loss_of(model, hidden, labels))
hidden, labels = np.where(chosen, mask, rows), np.where(chosen, rows, -100).astype(np.int64)
found = measure(model.eval(), hidden, labels).item()

before, after = letters[:-1], letters[1:]
pairs = np.full((mask, mask), 0.01)
np.add.at(pairs, (before, after), 1)
single = np.bincount(letters, minlength=mask) / len(letters)
behind = pairs / pairs.sum(axis=1, keepdims=True)
hidden_letters, left = rows[chosen], rows[:, :-1][chosen[:, 1:]]
unigram = -np.log(single[hidden_letters]).mean()
bigram = -np.log(behind[left, hidden_letters]).mean()

print(f"loss {losses[0]:.2f} → {losses[-50:].mean():.2f}; {model.n_parameters:,} parameters")
print(f"nats a hidden letter: unigrams {unigram:.2f}, bigrams {bigram:.2f}, BERT {found:.2f}")
examples = model(hidden[:1]).numpy()[0].argmax(axis=-1)
shown = np.where(chosen[0], examples, rows[0])
print(f"{tokenizer.decode(rows[0])!r}\n{tokenizer.decode(shown)!r}")
assert found < bigram - 0.4 < unigram - 1.0
