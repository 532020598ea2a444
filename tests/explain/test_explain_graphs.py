"""``explain`` on all kinds of graphs: names, folding, matrices, Composites, checks, escapes."""

import re

import numpy as np
import pytest

import chainrule as cr
from chainrule import nn, ops
from chainrule.errors import ArgumentError, GradientError
from chainrule.explain import explain, named
from chainrule.ops.record import REGISTRY


def variable(rng, *shape, name=""):
    return cr.variable(rng.normal(size=shape).astype(np.float32), name=name)


def formula(explanation, name):
    return str(explanation.lecture.by_name[name].formula)


def derivative(explanation, source, target):
    edges = explanation.lecture.by_name[source].edges
    return next(str(edge.formula) for edge in edges if edge.target == target)


@pytest.fixture
def rng():
    return np.random.default_rng(7)


def mlp(rng):
    x = named(cr.asarray(rng.normal(size=(4, 6)).astype(np.float32)), "x")
    w1, b1 = variable(rng, 5, 6, name="W1"), variable(rng, 5, name="b1")
    w2 = variable(rng, 3, 5, name="W2")
    h = named(cr.tanh(x @ w1.T + b1), "h")
    return h @ w2.T, [w1, b1, w2]


@ops.composite("explained_cross_entropy", formula="−mean(ln(softmax({x})) at {y})")
def cross_entropy(z, target):
    """Cross-entropy of one-hot targets, as a Composite of the test's own."""
    return -ops.sum(target * (z - ops.logsumexp(z, axis=1, keepdims=True))) * 0.25


def loss_of(z):
    return cross_entropy(z, cr.asarray(np.eye(3, dtype=np.float32)[[0, 2, 1, 1]]))


# --- folding and names ----------------------------------------------------------------------------


def test_an_affine_sum_is_one_line_with_its_local_derivatives():
    x, w, b = (cr.variable(v, name=n) for v, n in ((0.3, "x"), (2.0, "w"), (-1.0, "b")))
    e = explain((cr.sigmoid(w * x + b) - 0.5) ** 2, [w, b])
    assert formula(e, "v1") == "w·x + b"
    assert formula(e, "v2") == "σ(v1)"
    assert formula(e, "E") == "(v2 − 0.5)²"
    assert derivative(e, "v1", "w") == "x"
    assert derivative(e, "v2", "v1") == "v2·(1 − v2)"
    assert derivative(e, "E", "v2") == "2·(v2 − 0.5)"


def test_a_sigmoid_written_out_stays_as_written():
    z = cr.variable(0.4, name="z")
    h = named(1 / (1 + cr.exp(-z)), "h")
    e = explain(h * h, [z])
    assert formula(e, "h") == "1 / (1 + exp(−z))"
    quotient = cr.variable(0.4, name="z")
    e = explain(named(cr.exp(quotient) / (1 + cr.exp(quotient)), "h"), [quotient])
    assert derivative(e, "h", "z") == "h·(1 − h)"
    assert e.agrees


def test_a_value_used_twice_gets_a_line_and_a_sum_of_gradients():
    x = cr.variable(1.2, name="x")
    a = cr.exp(x)
    e = explain(a * cr.sin(a), [x])
    step = e.lecture.by_name["v1"]
    assert len(step.parts) == 2
    assert sum(float(part) for _, part in step.parts) == pytest.approx(
        float(step.arrives), rel=1e-6
    )
    assert e.agrees


def test_casts_broadcasts_and_constants_are_no_steps(rng):
    x = variable(rng, 3, 2, name="x")
    e = explain(((x * 2 + 1).astype(cr.float64) ** 2).mean(), [x])
    assert [step.name for step in e.lecture.steps] == ["x", "E"]
    assert formula(e, "E") == "mean((x·2 + 1)²)"
    assert e.agrees


def test_names_are_told_apart_and_made_up_ones_step_aside():
    a, b = cr.variable(2.0, name="w"), cr.variable(3.0, name="w")
    v = cr.variable(0.5, name="v1")
    e = explain(cr.sin(a * b) * v, [a, b, v])
    assert set(e.gradients) == {"w", "w#2", "v1"}
    assert "v2" in e.values


def test_named_sets_a_name_once():
    x = cr.variable(1.0) * 2
    assert named(x, "y") is x
    assert named(x, "y").name == "y"
    with pytest.raises(ArgumentError, match="already"):
        named(x, "z")
    with pytest.raises(ArgumentError):
        named(x * 2, "")


def test_a_target_keeps_its_name_although_it_is_a_constant():
    y, p = named(cr.asarray(0.25), "y"), cr.variable(0.7, name="p")
    e = explain(-y * cr.log(p) - (1 - y) * cr.log(1 - p), [p])
    assert formula(e, "E") == "−y·ln(p) − (1 − y)·ln(1 − p)"


# --- arrays ---------------------------------------------------------------------------------------


def test_matrix_products_show_the_matrix_form(rng):
    z, weights = mlp(rng)
    e = explain(loss_of(named(z, "z")), weights)
    assert derivative(e, "z", "W2") == "(∂E/∂z)ᵀ @ h"
    assert derivative(e, "z", "h") == "∂E/∂z @ W2"
    assert derivative(e, "v1", "b1") == "Σ rows of ∂E/∂v1"
    assert "(4×6) @ (5×6)ᵀ + (5) → (4×5)" in e.text(width=100)
    assert e.agrees
    plain = (named(cr.asarray(rng.normal(size=(2, 3)).astype("f4")), "x") @ weights[0].T[:3]).sum()
    assert explain(plain, weights[:1]).agrees


def test_a_module_is_named_by_its_paths_and_labels_are_no_steps(rng):
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    x = named(cr.asarray(rng.normal(size=(5, 4)).astype(np.float32)), "x")
    scores = model(x)
    e = explain(-scores[np.arange(5), np.asarray([0, 1, 1, 0, 1])].mean(), model)
    assert list(e.gradients) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    assert formula(e, "v1") == "x @ 0.weightᵀ + 0.bias"
    assert derivative(e, "v1", "0.weight") == "(∂E/∂v1)ᵀ @ x"
    assert e.lecture.by_name["v1"].where == "layer 0"
    assert [step.name for step in e.lecture.forward] == ["v1", "v2", "v3", "E"]
    assert e.agrees


@pytest.mark.parametrize("expand", [False, True])
def test_composites_can_be_opened(rng, expand):
    z, weights = mlp(rng)
    e = explain(loss_of(z), weights, expand=expand)
    assert e.agrees
    shown = " ".join(str(step.formula) for step in e.lecture.forward)
    assert ("softmax" in shown) != expand
    for name, expected in zip(("W1", "b1", "W2"), cr.gradients(loss_of(z), weights), strict=True):
        np.testing.assert_allclose(e.gradients[name], expected.numpy(), rtol=1e-5, atol=1e-7)


def test_gradients_equal_those_of_cr_gradients_to_the_bit(rng):
    z, weights = mlp(rng)
    loss = loss_of(z)
    e = explain(loss, weights)
    for chain, expected in zip(e.lecture.chains, cr.gradients(loss, weights), strict=True):
        assert np.array_equal(chain.gradient, expected.numpy())


def test_messages_along_the_edges_add_up(rng):
    z, weights = mlp(rng)
    for expand in (False, True):
        for step in explain(loss_of(z), weights, expand=expand).lecture.steps:
            if step.parts:
                total = sum(part for _, part in step.parts)
                np.testing.assert_allclose(total, step.arrives, rtol=1e-4, atol=1e-6)


def test_a_convolution_with_pooling(rng):
    image = named(cr.asarray(rng.normal(size=(2, 1, 6, 6)).astype(np.float32)), "image")
    kernel, w = variable(rng, 3, 1, 3, 3, name="K"), variable(rng, 12, name="w")
    pooled = cr.max_pool(cr.tanh(cr.convolution(image, kernel)), (2, 2))
    e = explain(((pooled.reshape(2, 12) @ w) ** 2).mean(), [kernel, w])
    assert formula(e, "v1") == "image ∗ K"
    assert e.agrees
    assert max(map(len, str(e).splitlines())) <= 80
    assert "to" in e.text()
    for form in (e.html, e.latex, e.markdown, e.graph_svg):
        assert form()


def test_several_outputs_indexing_and_a_loop(rng):
    x = variable(rng, 5, name="x")
    values, _ = cr.top_k(x, 2)
    e = explain((values * x[1:3]).sum() + x[0] * x[4], [x])
    assert e.agrees
    total = cr.asarray(0.0)
    for i in range(5):
        total = total + x[i] * (i + 1)
    assert explain(total, [x]).agrees


def test_an_intermediate_value_may_be_asked_for():
    x = cr.variable(0.7, name="x")
    h = named(cr.tanh(x), "h")
    e = explain(h**3, [h, x])
    assert e.gradients["h"] == pytest.approx(3 * np.tanh(0.7) ** 2, rel=1e-5)
    assert e.agrees


# --- counting -------------------------------------------------------------------------------------


def test_paths_are_counted_also_where_they_are_too_many_to_write():
    x = cr.variable(0.01, name="x")
    h = x
    for _ in range(40):
        h = cr.sin(h) + cr.tanh(h)
        h = named(h * 0.6, f"h{_}")
    e = explain(h, [x])
    chain = e.lecture.chains[0]
    assert chain.n_paths == 2**40
    assert "more products" in e.text()
    assert e.lecture.savings.saved > 2**40


def test_savings_of_a_shared_factor():
    x, w, b = (cr.variable(v, name=n) for v, n in ((0.3, "x"), (2.0, "w"), (-1.0, "b")))
    e = explain((cr.sigmoid(named(w * x + b, "z")) - 0.5) ** 2, [w, b])
    # E → v → z → w and E → v → z → b: two multiplications each; shared: v → z once, then w and b
    assert (e.lecture.savings.naive, e.lecture.savings.backward) == (4, 3)
    assert {part.name for part in e.lecture.shared} == {"v1", "z"}


# --- checks and errors ----------------------------------------------------------------------------


def test_a_wrong_gradient_is_called_out():
    x = cr.variable(0.0, name="x")
    e = explain(cr.abs(x + 1e-6) * 3, [x])  # a kink within the step of the difference
    assert not e.agrees
    assert "DIFFERS" in e.text()


def test_stop_gradient_is_held_in_the_check():
    x = cr.variable(0.8, name="x")
    e = explain(x * cr.stop_gradient(x * x), [x])
    assert e.gradients["x"] == pytest.approx(0.64)
    assert e.agrees


def test_without_check_or_rate_neither_is_shown():
    x = cr.variable(0.8, name="x")
    e = explain(x * x, x, check=False)
    assert "differences" not in e.text()
    assert "←" not in e.text()
    assert e.updated == {}


def test_wrt_may_be_left_out_or_be_a_dict(rng):
    a, b = variable(rng, name="a"), variable(rng, name="b")
    assert set(explain(a * b).gradients) == {"a", "b"}
    assert set(explain(a * b, {"first": a, "second": b}).gradients) == {"first", "second"}


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        (lambda x: (x, [x]), GradientError, "one floating number"),
        (lambda x: (x.sum(), []), ArgumentError, "nothing to differentiate"),
        (lambda x: (x.sum(), [3.0]), GradientError, "wrt takes Arrays"),
        (lambda x: (x.sum(), [cr.variable(1.0, name="q")]), GradientError, "'q'"),
    ],
)
def test_mistakes_are_named(arguments, error, message, rng):
    with pytest.raises(error, match=message):
        explain(*arguments(variable(rng, 3, name="x")))


def test_a_bad_rate_and_a_bad_ending_are_refused(tmp_path):
    x = cr.variable(0.8, name="x")
    with pytest.raises(ArgumentError, match="finite"):
        explain(x * x, [x], learning_rate=float("nan"))
    with pytest.raises(ArgumentError, match="ending"):
        explain(x * x, [x]).save(tmp_path / "page.docx")


@pytest.mark.parametrize("suffix", ["html", "md", "tex", "svg", "txt"])
def test_save_writes_the_form_that_the_ending_says(tmp_path, suffix):
    x = cr.variable(0.8, name="x")
    path = explain(x * x, [x], title="Square").save(tmp_path / f"page.{suffix}")
    assert "x" in path.read_text(encoding="utf-8")


# --- hostile names --------------------------------------------------------------------------------

NASTY = ["<script>alert(1)</script>", '"><img src=x>', "a|b`c", r"\end{aligned}$%&#_^~", "[bold]x"]


@pytest.mark.parametrize("name", NASTY)
def test_names_are_escaped_everywhere(name):
    x = cr.variable(0.8, name=name)
    e = explain(named(cr.sin(x), name + "2") * x, [x], title=name, learning_rate=0.1)
    page = e.html()
    assert page.count("<script>") == 1
    assert page.count("<img") == 0
    assert "<script>alert" not in e.graph_svg()
    assert name.split()[0] in e.text(width=200)
    latex = re.sub(r"\\[{}]", "", e.latex())
    assert latex.count("{") == latex.count("}")
    assert e.latex().count(r"\end{aligned}") == e.latex().count(r"\begin{aligned}")


# --- the texts of the records ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "op",
    [
        op
        for op in REGISTRY
        if op.family == "elementwise" and op.arity == 1 and op.derivative and op.name != "cast"
    ],
    ids=str,
)
def test_the_derivative_text_of_each_elementwise_op_gives_its_number(op):
    """The text that is printed, evaluated by Python, is the derivative that is computed."""
    from chainrule.explain.expressions import fill, num, parse

    x = cr.variable(0.63 if op.name != "acosh" else 1.63, name="x")
    e = explain(ops.bind(op, x), [x])
    out = float(e.value)
    text = str(fill(parse(op.derivative[0]), {"x": num(float(x)), "out": num(out, repr(out))}))
    value = eval_formula(text)
    assert value == pytest.approx(float(e.gradients["x"]), rel=2e-5, abs=1e-6)


def eval_formula(text):
    import math

    condition = re.fullmatch(r"(.+) if (.+) else (.+)", text)
    if condition:
        return float(condition[1] if eval_formula(condition[2]) else condition[3])
    text = text.replace("−", "-").replace("·", "*").replace("²", "**2").replace("^", "**")
    text = re.sub(r"√π", "math.sqrt(math.pi)", text)
    text = re.sub(r"√\(", "math.sqrt(", text).replace("sign(", "math.copysign(1, ")
    names = {k: getattr(math, k) for k in ("exp", "sin", "cos", "cosh", "sinh", "sqrt")}
    # the text comes from the package's own records
    return eval(text, {"__builtins__": {}, "math": math, **names})
