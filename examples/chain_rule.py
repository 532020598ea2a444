"""The chain rule, step by step, on the two-two-two network of many textbooks."""

import chainrule as cr
from chainrule.explain import explain_example

lesson = explain_example("classic")
text = str(lesson)
print(text[: text.index("Backward")])
for figure in ("0.298371", "0.0821670", "0.358916"):
    assert figure in text, figure
assert lesson.agrees, "every gradient agrees with central differences"

# the same for a computation of your own
x, w = cr.variable(1.5, name="x"), cr.variable(0.8, name="w")
h = cr.named(cr.tanh(w * x), "h")
mine = cr.explain((h - 1) ** 2, wrt=w, learning_rate=0.1, name="E")
print(mine)
assert mine.agrees
