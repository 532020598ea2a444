"""The chain rule, step by step, on the two-two-two network of many textbooks."""

import chainrule as cr
from chainrule.explain import explain_example

lesson = explain_example("classic")
text = str(lesson)
print(
    f"E = {lesson.value:.6f}, ∂E/∂w5 = {float(lesson.gradients['w5']):.7f}, updated w5 = ", end=""
)
print(f"{float(lesson.updated['w5']):.6f}; the lesson itself: chainrule explain classic")
for figure in ("0.298371", "0.0821670", "0.358916"):
    assert figure in text, figure
assert lesson.agrees, "every gradient agrees with central differences"

# the same for a computation of your own
x, w = cr.variable(1.5, name="x"), cr.variable(0.8, name="w")
h = cr.named(cr.tanh(w * x), "h")
mine = cr.explain((h - 1) ** 2, wrt=w, learning_rate=0.1, name="E")
shown = str(mine)
print(shown[shown.index("Backward") : shown.index("What is computed")].rstrip())
assert mine.agrees
