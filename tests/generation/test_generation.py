"""Writing: the same text by all ways, what the filters leave, ends, beams."""

import functools
import itertools

import numpy as np
import pytest

import chainrule as cr
from chainrule import models, nn
from chainrule.data import ByteTokenizer, CharacterTokenizer
from chainrule.errors import ArgumentError, DataError, NonFiniteError
from chainrule.generation import generate, stream, write_text
from chainrule.generation.choosing import Choice, choose
from chainrule.generation.writing import _joined

SIZE = 7
#: most searches need no machine code; that both engines find the same is a test of its own
beam_search = functools.partial(cr.generation.beam_search, engine="interpreter")


@functools.cache
def model(kind):
    """A small model with clear opinions."""
    cr.random.seed(1)
    if kind == "gpt":
        made = models.GPT(SIZE, 16, width=16, num_layers=2, num_heads=2)
    else:
        made = models.LanguageRNN(SIZE, 8, 8, 2, cell=kind, dropout=0.3)
    for parameter, value in list(made.state_dict().items()):
        made.load_state_dict({parameter: np.asarray(value) * 3}, strict=False)
    return made


KINDS = ["gpt", "lstm"]


@pytest.mark.parametrize("kind", KINDS)
def test_with_the_cache_equals_without(kind):
    # more tokens than a GPT of 16 places can look back on: it begins anew twice
    options = {"seed": 5, "temperature": 0.9, "top_k": 5, "top_p": 0.95}
    with_cache = generate(model(kind), [1, 2, 3], 30, **options)
    without = generate(model(kind), [1, 2, 3], 30, cache=False, **options)
    assert with_cache.tolist() == without.tolist()
    assert len(set(with_cache.tolist())) > 2


def test_the_interpreter_writes_the_same():
    compiled = generate(model("gpt"), [1], 12, seed=2)
    assert generate(model("gpt"), [1], 12, seed=2, engine="interpreter").tolist() == (
        compiled.tolist()
    )


def test_the_threads_do_not_matter():
    made = []
    before = cr.get_num_threads()
    try:
        for n in (1, before):
            cr.set_num_threads(n)
            made.append(generate(model("lstm"), [3, 1], 40, seed=9).tolist())
    finally:
        cr.set_num_threads(before)
    assert made[0] == made[1]


def test_seeds_rows_and_prompts():
    gpt = model("gpt")
    one = generate(gpt, [[1, 2], [3, 4]], 12, seed=4)
    assert one.shape == (2, 12)
    assert generate(gpt, [1, 2], 12, seed=4).tolist() == one[0].tolist()
    assert generate(gpt, [1, 2], 12, seed=5).tolist() != one[0].tolist()
    shorter = generate(gpt, [[1, 2], [3, 4]], 7, seed=4)
    assert shorter.tolist() == one[:, :7].tolist()


@pytest.mark.parametrize("kind", KINDS)
def test_prompts_of_different_lengths_write_what_each_writes_alone(kind):
    prompts = [[1, 2, 3], [4], [5, 6, 0], [2, 2]]
    for options in ({"temperature": 0}, {"temperature": 0, "stop": 3}):
        found = generate(model(kind), prompts, 6, **options)
        assert len(found) == 4
        for row, prompt in zip(found, prompts, strict=True):
            alone = generate(model(kind), prompt, 6, **options)
            assert row[: len(alone)].tolist() == alone.tolist()
            assert (row[len(alone) :] == alone[-1]).all()
    drawn = generate(model(kind), prompts, 6, seed=3)
    assert drawn[0].tolist() == generate(model(kind), prompts[0], 6, seed=3).tolist()
    assert drawn.tolist() == generate(model(kind), prompts, 6, seed=3).tolist()
    pieces = list(stream(model(kind), prompts, 6, seed=3))
    assert all(piece.shape[0] == 4 and piece.shape[1] for piece in pieces)
    assert np.concatenate(pieces, axis=1).tolist() == drawn.tolist()
    with pytest.raises(ArgumentError, match="one cache"):
        stream(model(kind), prompts, 6, cache={})
    with pytest.raises(ArgumentError, match="n_tokens"):
        stream(model(kind), prompts, 0)


def test_writers_of_unlike_pace_are_joined():
    slow = iter([np.array([[1]]), np.array([[2]]), np.array([[3, 4]])])
    fast = iter([np.array([[5, 6, 7], [8, 9, 0]])])  # both of its rows end here
    pieces = list(_joined([slow, fast], [np.array([1]), np.array([2, 0])]))
    assert [piece.shape[1] for piece in pieces] == [1, 1, 1, 1]
    whole = np.concatenate(pieces, axis=1).tolist()
    assert whole == [[8, 9, 0, 0], [1, 2, 3, 4], [5, 6, 7, 7]]


def test_a_long_prompt_is_read_in_blocks():
    lstm = model("lstm")
    prompt = np.random.default_rng(0).integers(0, SIZE, 150)
    found = generate(lstm, prompt, 8, temperature=0)
    lstm.eval()
    logits = lstm(cr.asarray(prompt[None]))
    lstm.train()
    assert int(logits.numpy()[0, -1].argmax()) == found[0]
    # a GPT sees the last half of what it can look back on, here 8 tokens
    gpt = model("gpt")
    assert generate(gpt, prompt, 4, seed=2).tolist() == (
        generate(gpt, prompt[-8:], 4, seed=2).tolist()
    )


def test_streams_join_to_the_whole():
    pieces = list(stream(model("gru"), [1], 50, seed=3))
    assert np.concatenate(pieces).tolist() == generate(model("gru"), [1], 50, seed=3).tolist()
    tokenizer = CharacterTokenizer("abcdefg")
    text = "".join(write_text(model("gru"), tokenizer, "b", 50, seed=3))
    assert tokenizer.encode(text).tolist() == np.concatenate(pieces).tolist()


def test_generation_leaves_the_model_as_it_was():
    lstm = model("lstm")
    lstm.train()
    before = {name: np.array(value) for name, value in lstm.state_dict().items()}
    generate(lstm, [1], 5)
    assert lstm.training
    for name, value in lstm.state_dict().items():
        np.testing.assert_array_equal(value, before[name])


def test_ends():
    gpt = model("gpt")
    free = generate(gpt, [[1, 2], [3, 4]], 40, seed=4)
    stop = int(free[0, 3])
    found = generate(gpt, [[1, 2], [3, 4]], 40, seed=4, stop=stop)
    firsts = [row.tolist().index(stop) if stop in row else 39 for row in free]
    assert found.shape == (2, max(firsts) + 1)
    for row, whole, first in zip(found, free, firsts, strict=True):
        assert row[: first + 1].tolist() == whole[: first + 1].tolist()
        assert (row[first + 1 :] == stop).all()
    assert generate(gpt, [1, 2], 40, seed=4, stop=[stop, 99]).tolist()[-1] == stop


# --- choosing -------------------------------------------------------------------------------


def shares(kind_settings, logits, n=4000):
    """How often each token is drawn."""
    choice = Choice(**kind_settings)
    rows = cr.asarray(np.tile(np.asarray(logits, np.float32), (n, 1)))
    drawn = choose(choice.kind, rows, cr.random.key(3), choice.settings(len(logits)))
    return np.bincount(drawn.numpy(), minlength=len(logits)) / n


LOGITS = np.log([0.1, 0.4, 0.2, 0.3])


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.5}, np.array([1, 16, 4, 9]) / 30),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 9}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.6}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 0.75}, [0, 4 / 9, 2 / 9, 3 / 9]),
        ({"top_k": 3, "top_p": 0.7}, [0, 4 / 7, 0, 3 / 7]),  # 4/9 < 0.7 ≤ 7/9 of the three
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"temperature": 0}, [0, 1, 0, 0]),
    ],
)
def test_shares_of_the_draws(settings, expected):
    np.testing.assert_allclose(shares(settings, LOGITS), expected, atol=0.03)


def test_ties_go_to_the_first():
    assert shares({"temperature": 0}, [0, 1, 1, 1]).tolist() == [0, 1, 0, 0]
    assert shares({"top_k": 1}, [0, 1, 1, 1]).tolist() == [0, 1, 0, 0]


@pytest.mark.parametrize("settings", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 0}])
def test_narrow_choices_are_greedy(settings):
    greedy = generate(model("gpt"), [2], 10, temperature=0)
    assert generate(model("gpt"), [2], 10, seed=8, **settings).tolist() == greedy.tolist()


# --- beams ----------------------------------------------------------------------------------


def log_probability(kind, prompt, text):
    made = model(kind)
    made.eval()
    tokens = np.concatenate([prompt, text])
    logits = made(cr.asarray(tokens[None, :-1])).numpy()[0].astype(np.float64)
    made.train()
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return logs[np.arange(len(prompt) - 1, len(tokens) - 1), text].sum()


@pytest.mark.parametrize("kind", KINDS)
def test_a_beam_of_width_one_is_greedy(kind):
    found = beam_search(model(kind), [1, 2], 12, width=1)
    greedy = generate(model(kind), [1, 2], 12, temperature=0, engine="interpreter")
    assert found.tokens[0].tolist() == greedy.tolist()


def test_the_compiled_search_is_the_interpreted_one():
    found = [beam_search(model("gru"), [1], 6, width=2, engine=e) for e in (None, "interpreter")]
    assert found[0].tokens.tolist() == found[1].tokens.tolist()
    np.testing.assert_allclose(found[0].scores, found[1].scores, atol=1e-5)


@pytest.mark.parametrize("kind", ["gpt", "lstm"])
def test_a_wide_beam_finds_the_best_of_all(kind):
    prompt, n = [1, 2], 2
    found = beam_search(model(kind), prompt, n, width=SIZE ** (n - 1))
    every = {
        text: log_probability(kind, prompt, text)
        for text in itertools.product(range(SIZE), repeat=n)
    }
    best = sorted(every, key=every.get, reverse=True)[: len(found.tokens)]
    assert [tuple(text) for text in found.tokens.tolist()] == best
    np.testing.assert_allclose(found.scores, [every[text] for text in best], atol=1e-5)


def test_beams_of_a_batch_and_ends():
    gpt = model("gpt")
    alone = [beam_search(gpt, prompt, 8, width=3, stop=4) for prompt in ([1, 2], [3, 0])]
    both = beam_search(gpt, [[1, 2], [3, 0]], 8, width=3, stop=4)
    for row, found in enumerate(alone):
        n = found.tokens.shape[1]
        assert both.tokens[row, :, :n].tolist() == found.tokens.tolist()
        np.testing.assert_allclose(both.scores[row], found.scores, atol=1e-5)
        for text, score, length in zip(*found, strict=True):
            assert (text[length:] == 4).all()
            assert 4 not in text[: length - 1]
            expected = log_probability("gpt", [[1, 2], [3, 0]][row], text[:length])
            assert score == pytest.approx(expected, abs=1e-5)


def test_a_length_penalty_ranks_by_the_mean():
    found = beam_search(model("lstm"), [1], 8, width=4, stop=4, length_penalty=1.0)
    assert (np.diff(found.scores) <= 0).all()
    text, length = found.tokens[0], found.lengths[0]
    expected = log_probability("lstm", [1], text[:length]) / length
    assert found.scores[0] == pytest.approx(expected, abs=1e-5)


def test_more_beams_than_tokens():
    found = beam_search(model("gpt"), [1], 1, width=10)
    assert sorted(found.tokens[:SIZE, 0].tolist()) == list(range(SIZE))
    assert np.isneginf(found.scores[SIZE:]).all()


# --- mistakes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda m: generate(m, [], 3), DataError, "no prompt"),
        (lambda m: generate(m, "to be", 3), DataError, "no prompt"),
        (lambda m: generate(m, [SIZE], 3), DataError, "does not know"),
        (lambda m: generate(m, [1], 0), ArgumentError, "n_tokens"),
        (lambda m: generate(m, [1], 2, temperature=-1), ArgumentError, "temperature"),
        (lambda m: generate(m, [1], 2, top_k=0), ArgumentError, "top_k"),
        (lambda m: generate(m, [1], 2, top_p=0), ArgumentError, "top_p"),
        (lambda m: beam_search(m, [1], 2, width=0), ArgumentError, "no such beam"),
        (lambda m: beam_search(m, [1], 17), ArgumentError, "looks back"),
        (
            lambda m: generate(m, [1], 20, cache=m.initial_cache(1, 16)),
            ArgumentError,
            "this cache",
        ),
        (lambda m: generate(nn.Linear(2, 2), [1], 2), ArgumentError, "can not write"),
        (lambda m: next(write_text(m, ByteTokenizer(), "z", 2)), DataError, "does not know"),
    ],
)
def test_mistakes_are_answered(call, error, match):
    with pytest.raises(error, match=match):
        call(model("gpt"))


def test_broken_weights_are_named():
    cr.random.seed(0)
    broken = models.GPT(SIZE, 8, width=8, num_layers=1, num_heads=2)
    broken.load_state_dict({"wpe.weight": np.full((8, 8), np.nan, np.float32)}, strict=False)
    with pytest.raises(NonFiniteError, match="no token can be chosen"):
        generate(broken, [1], 2, engine="interpreter")
    with pytest.raises(NonFiniteError, match="no token can be chosen"):
        beam_search(broken, [1], 2)


def test_a_model_without_a_cache_reads_everything_again():
    class Counting(nn.Module):
        """Expects the number after the last."""

        vocabulary_size, context_length = 5, None

        def __init__(self):
            self.scale = nn.Parameter(cr.ones(()) * 9)

        def forward(self, tokens):
            return cr.one_hot((tokens + 1) % 5, 5) * self.scale

    counting = Counting()
    assert generate(counting, [2], 6, temperature=0, engine="interpreter").tolist() == [
        3,
        4,
        0,
        1,
        2,
        3,
    ]
    with pytest.raises(ArgumentError, match="no cache"):
        beam_search(Counting(), [2], 6)
