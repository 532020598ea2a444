"""The sentences and lines that all formats share, as plain text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from chainrule.explain.digits import FEW, brief, number, shape_text
from chainrule.explain.expressions import level, write
from chainrule.explain.model import Chain, Edge, Lecture, PathProduct, Shared, Step


def ratio(top: str, bottom: str) -> str:
    """``∂top/∂bottom``."""
    return f"∂{top}/∂{bottom}"


def scalar_text(value: np.ndarray | float) -> str:
    """A one-element array or number."""
    array = np.asarray(value)
    return number(array.reshape(-1)[0])


def value_text(value: np.ndarray) -> str:
    """A value on one line."""
    return scalar_text(value) if value.size == 1 else brief(value)


def plus_minus(values: Sequence[float | np.ndarray]) -> str:
    """``0.1 − 0.2 + 0.3``."""
    text = scalar_text(values[0])
    for value in values[1:]:
        part = scalar_text(value)
        text += f" − {part[1:]}" if part.startswith("−") else f" + {part}"
    return text


def times(values: Sequence[float]) -> str:
    """``0.1 × (−0.2) × 0.3``."""
    parts = [scalar_text(value) for value in values]
    return " × ".join(
        f"({part})" if i and part.startswith("−") else part for i, part in enumerate(parts)
    )


def is_scalar(lecture: Lecture) -> bool:
    """All values that gradients pass are single numbers."""
    return all(step.is_scalar for step in lecture.steps if step.arrives is not None)


def convention(lecture: Lecture) -> str:
    """What the signs mean."""
    loss = lecture.loss
    return (
        f"Gradients are written ∂{loss}/∂x: how much {loss} grows per unit of x, so descent "
        f"subtracts them. Texts that write δ = −∂{loss}/∂net mean the same number with the other "
        "sign."
    )


def arrival(lecture: Lecture, step: Step) -> str:
    """The gradient that arrives at a value: one, or the sum of what its users send."""
    name = ratio(lecture.loss, step.name)
    assert step.arrives is not None
    if step.name == lecture.loss:
        return f"{name} = 1, the start"
    total = value_text(step.arrives)
    if len(step.parts) < 2:
        return f"{name} = {total}"
    users = " and ".join(user for user, _ in step.parts)
    if all(part.size == 1 for _, part in step.parts):
        summed = plus_minus([part for _, part in step.parts])
        return f"{name} = {summed} = {total}, the sum from {users}"
    return f"{name} = {total}, the sum from {users}"


def local_derivative(edge: Edge) -> str:
    """``∂o1/∂net_o1 = o1·(1 − o1)``, or for a matrix what the gradient becomes."""
    return f"{ratio(edge.source, edge.target)} = {write(edge.formula)}"


def leaving_formula(lecture: Lecture, edge: Edge) -> str:
    """``∂E/∂W = xᵀ @ ∂E/∂z``: what leaves, in terms of what arrives."""
    left = ratio(lecture.loss, edge.target)
    if len(lecture.by_name[edge.target].parts) > 1:
        left += f" (by way of {edge.source})"
    if edge.source == lecture.loss:
        return f"{left} = {write(edge.formula)}"
    if edge.pointwise:
        arrives = ratio(lecture.loss, edge.source)
        factor = write(edge.formula)
        if factor == "1":
            return f"{left} = {arrives}"
        if level(edge.formula) < 9:
            factor = f"({factor})"
        return f"{left} = {arrives} {'·' if edge.leaving.size == 1 else '⊙'} {factor}"
    return f"{left} = {write(edge.formula)}"


def leaving_numbers(lecture: Lecture, edge: Edge) -> str:
    """The numbers behind what leaves: ``−2.25 × 0.247 = −0.556``, or just the value."""
    arrives = lecture.by_name[edge.source].arrives
    value = value_text(edge.leaving)
    if edge.local is None or edge.source == lecture.loss or arrives is None:
        return f"= {value}"
    if arrives.size > 1 or edge.local.size > 1 or write(edge.formula) == "1":
        return f"= {value}"
    return f"= {times([float(arrives.item()), float(edge.local.item())])} = {value}"


def chain_symbols(path: PathProduct) -> str:
    """``∂E/∂o1 · ∂o1/∂net_o1 · ∂net_o1/∂w5``."""
    return " · ".join(ratio(*pair) for pair in path.factors)


def chain_lines(lecture: Lecture, chain: Chain) -> list[str]:
    """The derivative in one weight: products, numbers, sum, each a line that starts with = or +."""
    if not chain.paths or not chain.paths[0].edges:
        return [f"= {value_text(chain.gradient)}"]
    lines = []
    numeric = all(path.product is not None for path in chain.paths)
    for i, path in enumerate(chain.paths):
        lines.append(f"{'+' if i else '='} {chain_symbols(path)}")
    left_out = chain.n_paths - len(chain.paths)
    if left_out:
        lines.append(f"+ … {left_out} more products of this kind")
        return lines
    if numeric:
        for i, path in enumerate(chain.paths):
            lines.append(f"{'+' if i else '='} {times(path.numbers)}")
        if len(chain.paths) > 1:
            lines.append(f"= {plus_minus([path.product or 0.0 for path in chain.paths])}")
        lines.append(f"= {value_text(chain.gradient)}")
    return lines


def factored(lecture: Lecture, chain: Chain) -> list[str]:
    """The same product begun at the last gradient that is known as a sum already."""
    if chain.n_paths < 2:
        return []
    path = chain.paths[0]
    for i in reversed(range(1, len(path.edges))):
        step = lecture.by_name[path.edges[i].source]
        rest = path.edges[i:]
        if len(step.parts) > 1 and step.arrives is not None and step.is_scalar:
            if not all(_common(chain, edge) for edge in rest):
                return []
            symbols = " · ".join(
                [ratio(lecture.loss, step.name), *(ratio(e.source, e.target) for e in rest)]
            )
            numbers = [float(step.arrives.item())]
            numbers += [float(e.local.item()) for e in rest if e.local is not None]
            return [symbols, f"= {times(numbers)} = {value_text(chain.gradient)}"]
    return []


def _common(chain: Chain, edge: Edge) -> bool:
    """All products of the chain run through this edge."""
    return all(any(e is edge for e in path.edges) for path in chain.paths) and (
        chain.n_paths == len(chain.paths)
    )


def cascade_lines(lecture: Lecture, chain: Chain) -> list[str]:
    """For matrices: how the gradient is carried from the loss to the weight."""
    return [leaving_formula(lecture, edge) for edge in chain.cascade]


def difference_text(chain: Chain) -> str:
    """The finite-difference check in words."""
    check = chain.difference
    if check is None:
        return ""
    verdict = "agrees" if check.agrees else "DIFFERS"
    if check.total == 1:
        return f"central differences: {number(check.estimate[0])}, {verdict}"
    count = (
        f"{check.count} of {check.total} entries" if check.count < check.total else "all entries"
    )
    return f"central differences: {verdict} in {count}, largest relative error {check.error:.1e}"


def update_text(lecture: Lecture, chain: Chain) -> str:
    """``w5 ← 0.4 − 0.5 × 0.0821670 = 0.358916``."""
    if chain.updated is None or lecture.learning_rate is None:
        return ""
    rate = number(lecture.learning_rate)
    if chain.value.size == 1:
        factor = times([lecture.learning_rate, float(chain.gradient.item())])
        result = scalar_text(chain.updated)
        return f"{chain.name} ← {scalar_text(chain.value)} − {factor} = {result}"
    after = value_text(chain.updated)
    return f"{chain.name} ← {chain.name} − {rate} · {ratio(lecture.loss, chain.name)} = {after}"


def savings_text(lecture: Lecture) -> str:
    """How many multiplications sharing saves."""
    savings = lecture.savings
    unit = _count(savings.naive, "multiplication")
    if not savings.scalar:
        unit += " by a local derivative"
    n_products = sum(chain.n_paths for chain in lecture.chains)
    one = len(lecture.chains) == 1
    what = "the derivative is" if one else f"the {len(lecture.chains)} derivatives are"
    text = (
        f"Written out, {what} "
        f"{_count(n_products, 'product')} and {'takes' if one else 'take'} {unit}. "
        f"Backpropagation computes each gradient once and hands it on: {savings.backward}"
    )
    return f"{text}, {savings.saved} fewer." if savings.saved > 0 else f"{text}, no fewer."


def shared_text(lecture: Lecture, part: Shared) -> str:
    """One gradient that several products contain."""
    weights = ", ".join(part.weights)
    value = value_text(part.value) if part.value.size <= FEW else shape_text(part.value.shape)
    name = ratio(lecture.loss, part.name)
    return f"{name} = {value} is in {_count(part.uses, 'product')}: {weights}"


def _count(n: int, word: str) -> str:
    return f"{n} {word}" if n == 1 else f"{n} {word}s"
