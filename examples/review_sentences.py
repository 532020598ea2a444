"""Is a sentence praise? A convolutional network and an LSTM over word vectors learned from scratch.

python review_sentences.py                 sentences from a small grammar, in which "not" counts
python review_sentences.py FOLDER [FOLDS]  a file of sentences a class, such as Pang and Lee's
                                           movie reviews: cross-validation, of which the first
                                           FOLDS folds of ten (default: all) are trained
"""

import sys

import numpy as np

import chainrule as cr
from chainrule import models, nn, optim
from chainrule.data import Bucketed, WordTokenizer, text_folder
from chainrule.data.text import LabelledTexts

GOOD, BAD = ["fine", "moving", "funny", "clever"], ["dull", "silly", "flat", "clumsy"]
FILLERS = ["the film", "its plot", "every scene", "the cast", "in all", "once more", "by the end"]


def from_a_grammar(n, rng):
    """Sentences such as "in all the cast is not dull by the end": words alone do not tell."""
    texts, labels = [], rng.integers(0, 2, n)
    for label in labels:
        negated = rng.integers(0, 2)
        word = rng.choice(GOOD if label != negated else BAD)
        before, after = rng.choice(FILLERS, 2, replace=False)
        texts.append(f"{before} is {'not ' * negated}{word} {after}, not less")
    return LabelledTexts(texts, labels, ["blame", "praise"])


def trained(make, train, test, epochs):
    """Accuracy on the test part; the vocabulary is the training part's."""
    cr.random.seed(0)
    tokenizer = WordTokenizer.fit(train.texts)
    length = max(len(tokenizer.encode(text)) for text in train.texts)
    trainer = cr.Trainer(
        make(tokenizer.size),
        loss=nn.CrossEntropyLoss(),
        optimizer=optim.Adam(1e-3, groups=[optim.group("head.weight", max_row_norm=3.0)]),
        metrics=["accuracy"],
        batch_size=50,
    )
    samples = train.encode(tokenizer, length)
    # an LSTM leaves the filling out by itself, and the grammar's sentences are of about one length
    by_length = real and make is cnn
    trainer.fit(Bucketed(samples) if by_length else samples, epochs=epochs)
    return trainer.evaluate(test.encode(tokenizer, length))["accuracy"]


def cnn(words):
    return models.SentenceCNN(words, embedding_dim=100)


def lstm(words):
    return models.SentenceLSTM(words, embedding_dim=100, hidden_size=64)


rng = np.random.default_rng(0)
real = len(sys.argv) > 1
texts = text_folder(sys.argv[1]) if real else from_a_grammar(2000, rng)
folds = np.array_split(rng.permutation(len(texts)), 10)
n_folds = int(sys.argv[2]) if len(sys.argv) > 2 else 10 if real else 1
makers = {"CNN": (cnn, 4), "LSTM": (lstm, 4 if real else 12)}
shares = {name: [] for name in makers}
for i in range(n_folds):
    train = texts.subset(np.concatenate(folds[:i] + folds[i + 1 :]))
    for name, (make, epochs) in makers.items():
        shares[name].append(trained(make, train, texts.subset(folds[i]), epochs))
    now = ", ".join(f"{name} {np.mean(found):.1%}" for name, found in shares.items())
    print(f"{i + 1} of {n_folds} folds: {now}", flush=True)
for name, found in shares.items():
    assert np.mean(found) > (0.72 if real else 0.98), name
