"""Floor 2: transforms from graph to graph."""

from chainrule.autodiff import subgraphs
from chainrule.autodiff.check import check_gradients
from chainrule.autodiff.checkpoint import checkpoint
from chainrule.autodiff.custom import custom_vjp
from chainrule.autodiff.reverse import gradients
from chainrule.autodiff.transforms import grad, hessian, hvp, jacobian, jvp, value_and_grad, vjp
from chainrule.autodiff.vectorize import vmap

__all__ = [
    "check_gradients",
    "checkpoint",
    "custom_vjp",
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
