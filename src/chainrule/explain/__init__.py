"""Seeing the chain rule: ``explain`` derives a gradient step by step, with every number.

The package can be called itself, so that ``cr.explain(loss, wrt)`` works whether or not somebody
has imported it as a module.
"""

import sys
from types import ModuleType
from typing import Any

from chainrule.explain.examples import example_names, example_summaries, explain_example
from chainrule.explain.explanation import Explanation, explain
from chainrule.explain.names import named

__all__ = [
    "Explanation",
    "example_names",
    "example_summaries",
    "explain",
    "explain_example",
    "named",
]


class _CallableModule(ModuleType):
    def __call__(self, *arguments: Any, **keywords: Any) -> Explanation:
        return explain(*arguments, **keywords)


sys.modules[__name__].__class__ = _CallableModule
