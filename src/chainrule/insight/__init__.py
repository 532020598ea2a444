"""Floor 5: looking into trained models: activations, saliency, receptive fields, and checks."""

from chainrule.insight.activations import activations, filters, grad_cam
from chainrule.insight.cliff import (
    Cliff,
    Descent,
    draw_gradient_cliff,
    gradient_cliff,
    one_unit_loss,
)
from chainrule.insight.fields import (
    Equivariance,
    ReceptiveField,
    box_of,
    measured_receptive_field,
    receptive_fields,
    translation_equivariance,
)
from chainrule.insight.maximal import MaximalInputs, maximize_activation, most_activating
from chainrule.insight.occlusion import occlusion
from chainrule.insight.pictures import (
    InsightPictures,
    draw_activations,
    draw_all,
    draw_equivariance,
    draw_filters,
    draw_receptive_fields,
    draw_saliency,
    draw_sanity_checks,
)
from chainrule.insight.probing import layer_shapes
from chainrule.insight.saliency import (
    IntegratedGradients,
    gradient,
    gradient_x_input,
    integrated_gradients,
    saliency,
    smooth_grad,
)
from chainrule.insight.sanity import SanityCheck, edge_detector, rank_correlation, sanity_check
from chainrule.insight.through_time import gradients_through_time

__all__ = [
    "Cliff",
    "Descent",
    "Equivariance",
    "InsightPictures",
    "IntegratedGradients",
    "MaximalInputs",
    "ReceptiveField",
    "SanityCheck",
    "activations",
    "box_of",
    "draw_activations",
    "draw_all",
    "draw_equivariance",
    "draw_filters",
    "draw_gradient_cliff",
    "draw_receptive_fields",
    "draw_saliency",
    "draw_sanity_checks",
    "edge_detector",
    "filters",
    "grad_cam",
    "gradient",
    "gradient_cliff",
    "gradient_x_input",
    "gradients_through_time",
    "integrated_gradients",
    "layer_shapes",
    "maximize_activation",
    "measured_receptive_field",
    "most_activating",
    "occlusion",
    "one_unit_loss",
    "rank_correlation",
    "receptive_fields",
    "saliency",
    "sanity_check",
    "smooth_grad",
    "translation_equivariance",
]
