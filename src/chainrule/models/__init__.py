"""Floor 4: named architectures, each in one file that reads like the figure it comes from."""

from chainrule.models.mlp import ACTIVATIONS, MLP

__all__ = ["ACTIVATIONS", "MLP"]
