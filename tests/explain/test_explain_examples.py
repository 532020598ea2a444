"""The lectures' worked examples: hand-derived products, printed numbers, every format."""

import math
import re
from html.parser import HTMLParser

import numpy as np
import pytest

import chainrule as cr
from chainrule.errors import ArgumentError
from chainrule.explain import Explanation, example_names, explain_example
from chainrule.explain.digits import number

NAMES = example_names()
VOID = {"meta", "br", "hr", "img", "input", "link"}


@pytest.fixture(scope="module")
def examples() -> dict[str, Explanation]:
    return {name: explain_example(name) for name in NAMES}


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, dtype=np.float64)))


def value_of(example: Explanation, name: str) -> np.ndarray:
    return example.values[name].astype(np.float64)


def test_all_examples_of_the_lectures_are_there():
    wanted = {
        "one-input", "one-hidden", "two-hidden", "binary-cross-entropy", "classic", "softmax",
        "delta-rule", "perceptron", "sigmoid-squared-error",
    }  # fmt: skip
    assert wanted <= set(NAMES)


def test_an_unknown_example_is_answered_with_the_known_ones():
    with pytest.raises(ArgumentError, match="classic"):
        explain_example("clasic")


# --- the numbers ----------------------------------------------------------------------------------


def test_classic_prints_its_famous_numbers_and_every_step(examples):
    text = examples["classic"].text()
    for wanted in ("E = 0.298371", "0.0821670", "w5 ← 0.4 − 0.5 × 0.0821670 = 0.358916"):
        assert wanted in text
    assert "∂E/∂w5 = ∂E/∂o1 · ∂o1/∂net_o1 · ∂net_o1/∂w5" in text
    assert "= 0.741365 × 0.186816 × 0.593270" in text
    for step in ("net_h1", "net_h2", "h1", "h2", "net_o1", "net_o2", "o1", "o2", "E"):
        assert re.search(rf"\d  {step} = ", text), step
        assert re.search(rf"\d  {step}: ∂E/∂{step} = ", text), step
    updated = examples["classic"].updated
    known = {"w1": 0.149781, "w2": 0.199561, "w3": 0.249751, "w4": 0.299502, "w5": 0.358916,
             "w6": 0.408666, "w7": 0.511301, "w8": 0.561370}  # fmt: skip
    for name, value in known.items():
        assert updated[name] == pytest.approx(value, abs=1e-6)


def test_one_input_equals_the_product_by_hand(examples):
    x, y, w, b = 2.0, 1.0, 0.5, -0.3
    z = w * x + b
    error = 2 * (sigmoid(z) - y) * sigmoid(z) * sigmoid(-z)
    found = examples["one-input"].gradients
    assert found["w1"] == pytest.approx(error * x, rel=1e-5)
    assert found["b1"] == pytest.approx(error, rel=1e-5)


def test_one_hidden_equals_the_product_by_hand(examples):
    x, y, w1, b1, w2, b2 = 2.0, 1.0, 0.5, -0.3, -0.8, 0.2
    z1 = w1 * x + b1
    z2 = sigmoid(z1) * w2 + b2
    outer = 2 * (sigmoid(z2) - y) * sigmoid(z2) * sigmoid(-z2)
    inner = outer * w2 * sigmoid(z1) * sigmoid(-z1)
    found = examples["one-hidden"].gradients
    assert found["w1"] == pytest.approx(inner * x, rel=1e-5)
    assert found["b1"] == pytest.approx(inner, rel=1e-5)
    assert found["w2"] == pytest.approx(outer * sigmoid(z1), rel=1e-5)


def test_two_hidden_equals_the_product_by_hand(examples):
    example = examples["two-hidden"]
    v = {name: float(value) for name, value in example.values.items()}
    h1, h2 = sigmoid(v["z1"]), sigmoid(v["z2"])
    error = -2 * (v["y"] - v["ŷ"])
    found = example.gradients
    assert found["w5"] == pytest.approx(error * h1, rel=1e-5)
    assert found["w1"] == pytest.approx(error * v["w5"] * h1 * (1 - h1) * v["x1"], rel=1e-5)
    assert found["w4"] == pytest.approx(error * v["w6"] * h2 * (1 - h2) * v["x2"], rel=1e-5)
    assert found["b3"] == pytest.approx(error, rel=1e-5)


def test_binary_cross_entropy_equals_the_product_by_hand(examples):
    example = examples["binary-cross-entropy"]
    x, y, w2 = (value_of(example, name) for name in ("x", "y", "w2"))
    h1, prediction = value_of(example, "h1"), value_of(example, "ŷ")
    first = (prediction - y) / (prediction * (1 - prediction)) * prediction * (1 - prediction)
    np.testing.assert_allclose(example.gradients["w2"], first * h1, rtol=1e-5)
    by_hand = np.outer(x, first * w2 * h1 * (1 - h1))
    np.testing.assert_allclose(example.gradients["W1"], by_hand, rtol=1e-5)


def test_softmax_gives_prediction_minus_target(examples):
    example = examples["softmax"]
    difference = value_of(example, "ŷ") - value_of(example, "y")
    np.testing.assert_allclose(example.gradients["z"], difference, atol=1e-6)


def test_perceptron_delta_rule_and_error_term(examples):
    assert examples["perceptron"].value == pytest.approx(1 / (1 + math.exp(6)), rel=1e-5)
    delta = examples["delta-rule"]
    error = 0.8 * 1.5 + 0.1 - 2.0
    assert delta.updated["W"] == pytest.approx(0.8 - 0.1 * error * 1.5, rel=1e-6)
    example = examples["sigmoid-squared-error"]
    o = sigmoid(0.8)
    assert -example.gradients["I"] == pytest.approx(o * (1 - o) * (1.0 - o), rel=1e-5)


# --- all examples alike ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_gradients_agree_with_differences_and_are_printed(name, examples):
    example = examples[name]
    assert example.agrees
    text = example.text()
    for chain in example.lecture.chains:
        assert chain.difference is not None
        if chain.gradient.size == 1:
            assert number(chain.gradient.reshape(-1)[0]) in text


@pytest.mark.parametrize("name", NAMES)
def test_products_add_up_to_the_gradient(name, examples):
    for chain in examples[name].lecture.chains:
        if chain.gradient.size == 1 and all(p.product is not None for p in chain.paths):
            total = sum(path.product for path in chain.paths)
            assert chain.n_paths == len(chain.paths)
            assert total == pytest.approx(float(chain.gradient.item()), rel=1e-5)


@pytest.mark.parametrize("name", NAMES)
def test_terminal_text_keeps_to_its_columns(name, examples):
    for width in (60, 80):
        assert max(map(len, examples[name].text(width).splitlines())) <= width
    assert "\x1b[" not in examples[name].text()
    assert "\x1b[" in examples[name].text(colour=True)


class Checker(HTMLParser):
    """Checks that tags close in order and remembers addresses."""

    def __init__(self):
        super().__init__()
        self.open = []
        self.addresses = []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.addresses += [v for k, v in attrs if k in ("src", "href", "xlink:href", "action")]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.mark.parametrize("name", NAMES)
def test_page_is_well_formed_and_needs_nothing_else(name, examples):
    page = examples[name].html()
    checker = Checker()
    checker.feed(page)
    checker.close()
    assert checker.open == []
    assert checker.addresses == []
    outside = set(re.findall(r"https?://[^\s\"'<]+", page))
    assert outside <= {"http://www.w3.org/2000/svg"}
    assert "@import" not in page
    for step in examples[name].lecture.forward:
        assert f'data-node="{examples[name].lecture.steps.index(step)}"' in page


@pytest.mark.parametrize("name", NAMES)
def test_latex_braces_and_environments_balance(name, examples):
    text = examples[name].latex()
    plain = re.sub(r"\\[{}]", "", text)
    assert plain.count("{") == plain.count("}")
    assert text.count(r"\left(") == text.count(r"\right)")
    assert text.count(r"\begin{aligned}") == text.count(r"\end{aligned}")
    body = "\n".join(re.findall(r"\\begin\{aligned\}(.*?)\\end\{aligned\}", text, re.S))
    assert body.isascii()
    assert all(line.count("&") == 1 for line in body.splitlines() if line.strip())


@pytest.mark.parametrize("name", NAMES)
def test_markdown_tables_have_even_rows(name, examples):
    widths = set()
    for line in [*examples[name].markdown().splitlines(), ""]:
        if line.startswith("| "):
            widths.add(len(re.findall(r"(?<!\\)\|", line)))
        else:
            assert len(widths) <= 1
            widths = set()


def test_output_is_deterministic():
    one, two = explain_example("classic"), explain_example("classic")
    for form in ("text", "markdown", "latex", "html", "graph_svg"):
        assert getattr(one, form)() == getattr(two, form)()


GOLDEN = """\
The delta rule: W ← W − ε·(W·x + b − t)·x
E = 0.245
Gradients are written ∂E/∂x: how much E grows per unit of x, so descent
subtracts them. Texts that write δ = −∂E/∂net mean the same number with the
other sign.

Given
─────
  x = 1.5   t = 2   W = 0.8   b = 0.1

Forward: each value from those before it
────────────────────────────────────────
 1  y = W·x + b             1.3
      = 0.8 × 1.5 + 0.1
 2  E = 0.5·(y − t)²      0.245
      = 0.5 × (1.3 − 2)²

Backward: from E to what it depends on
──────────────────────────────────────
  local derivative = value; × the gradient that arrives = the one that leaves
   2  E: ∂E/∂E = 1, the start
    ∂E/∂y = y − t = −0.7 × 1      = −0.7
   1  y: ∂E/∂y = −0.7
    ∂y/∂W = x     = 1.5  × (−0.7) = −1.05
    ∂y/∂b = 1            × (−0.7) = −0.7

The chain rule, product by product
──────────────────────────────────
  ∂E/∂W = ∂E/∂y · ∂y/∂W
        = −0.7 × 1.5
        = −1.05
    central differences: −1.05, agrees
    W ← 0.8 − 0.1 × (−1.05) = 0.905

  ∂E/∂b = ∂E/∂y · ∂y/∂b
        = −0.7 × 1
        = −0.7
    central differences: −0.7, agrees
    b ← 0.1 − 0.1 × (−0.7) = 0.17


What is computed once and used again
────────────────────────────────────
  ∂E/∂y = −0.7 is in 2 products: W, b
  Written out, the 2 derivatives are 2 products and take 2 multiplications.
  Backpropagation computes each gradient once and hands it on: 2, no fewer.
"""


def test_golden_text(examples):
    assert examples["delta-rule"].text().startswith(GOLDEN)


def test_the_package_itself_can_be_called():
    w = cr.variable(3.0, name="w")
    assert cr.explain(w * w, [w]).gradients["w"] == 6
