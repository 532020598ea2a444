"""A recurrent network learns to spell like Shakespeare, character by character, and writes."""

import math

import chainrule as cr
from chainrule import data, models, nn, optim

tokenizer = data.CharacterTokenizer.fit(data.shakespeare("all"))
tokens = tokenizer.encode(data.shakespeare("train"))
held_out = tokenizer.encode(data.shakespeare("validation")[:20_000])

# other windows in every epoch; the validation part as a whole, each character once
train = data.random_windows(tokens, length=32, per_epoch=60 * 16)
validation = data.strided_windows(held_out, length=32, whole=True)

cr.random.seed(0)
model = models.create("char_gru", vocabulary_size=tokenizer.size, hidden_size=64)
trainer = cr.Trainer(
    model,
    loss=nn.CrossEntropyLoss(axis=-1),
    optimizer=optim.Adam(optim.Cosine(1e-2, 5 * 60), max_norm=1.0),
    batch_size=16,
)
history = trainer.fit(
    train, validation, epochs=5, callbacks=[cr.training.LanguageFigures()], progress="none"
)
loss = history["val_loss"][-1]
print(f"{loss:.3f} nats a character, as hard as {math.exp(loss):.1f} equal choices (of 65)")
assert loss < 2.4

# the same seed writes the same text; it shows while it is written
settings = {"temperature": 0.7, "top_k": 20, "seed": 3}
print("\nROMEO:", end="")
for piece in cr.generation.write_text(model, tokenizer, "ROMEO:", 200, **settings):
    print(piece, end="", flush=True)

prompt = tokenizer.encode("ROMEO:")
drawn = cr.generate(model, prompt, 50, **settings)
assert (drawn == cr.generate(model, prompt, 50, cache=False, **settings)).all()

# the likeliest lines that a search finds, more likely than the greedy one
found = cr.beam_search(model, prompt, 30, width=8)
greedy = cr.beam_search(model, prompt, 30, width=1)
print(f"\n\nlikeliest of 8: {tokenizer.decode(found.tokens[0])!r}, {found.scores[0]:.1f}")
assert found.scores[0] >= greedy.scores[0]
