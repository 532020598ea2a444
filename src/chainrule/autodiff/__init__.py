"""Floor 2: transforms from graph to graph."""

from chainrule.autodiff import subgraphs
from chainrule.autodiff.reverse import gradients
from chainrule.autodiff.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from chainrule.autodiff.vectorize import vmap

__all__ = [
    "grad",
    "gradients",
    "hessian",
    "hvp",
    "jacobian",
    "jvp",
    "value_and_grad",
    "vjp",
    "vmap",
]
