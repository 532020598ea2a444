"""Losses as layers, under PyTorch's names; the formulas are in ``nn.functional``.

Every loss compares shapes and never broadcasts, takes ``sample_weight`` (batch,), and reduces by
``"mean"`` (of weighted samples: divided by the sum of the weights), ``"sum"`` or ``"none"``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Self

import numpy as np

from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn import functional
from chainrule.nn.functional.reduction import check_reduction
from chainrule.nn.functional.regression import KL_REDUCTIONS
from chainrule.nn.module import Module
from chainrule.ops.origin import here


class _Answering(Module):
    """Answers a loss class that is called like a loss.

    Its ``__new__`` stands apart from ``Loss``: ``help`` then finds the signature of ``__init__``.
    """

    def __new__(cls, *arguments: Any, **keywords: Any) -> Self:
        """Answer ``MSELoss(prediction, target)``."""
        if len([x for x in arguments if isinstance(x, Array | np.ndarray)]) > 1:
            raise ArgumentError(
                f"{cls.__name__} is a class: make a loss of it before calling it",
                expected=f"{cls.__name__}()",
                got=f"{cls.__name__}(prediction, target)",
                fix=f"nn.{cls.__name__}()(prediction, target)",
                where=str(here()),
            )
        return super().__new__(cls)


class Loss(_Answering):
    """Base of the losses: holds ``reduction``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    function: ClassVar[Callable[..., Array]]
    """The formula, of ``nn.functional``."""

    settings: ClassVar[tuple[str, ...]] = ()
    """Attributes that it takes as arguments of the same name."""

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)

    def forward(self, *inputs: Any, sample_weight: Any = None) -> Array:
        """Inputs of the shapes that the class names → scalar, or one loss an element."""
        settings = {name: getattr(self, name) for name in self.settings}
        return self.function(
            *inputs, reduction=self.reduction, sample_weight=sample_weight, **settings
        )


class MSELoss(Loss):
    """Mean of (y − t)². The ½ of some texts is in ``HalfSquaredError``.

    >>> import chainrule as cr
    >>> loss = MSELoss()(cr.asarray([0.1, 0.8, 0.6]), cr.asarray([1.0, 0.0, -1.0]))
    >>> round(float(loss), 5)
    1.33667

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.mse_loss)


class HalfSquaredError(Loss):
    """Mean of ½ (y − t)², whose derivative is y − t.

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.half_squared_error)


class SumSquaredError(Loss):
    """Σ (y − t)² over everything: the total sum squared error.

    Shape: both of one shape → scalar.
    """

    function = staticmethod(functional.mse_loss)

    def __init__(self) -> None:
        super().__init__("sum")


class L1Loss(Loss):
    """Mean of |y − t|.

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.l1_loss)


class HuberLoss(Loss):
    """A parabola within ``delta`` of the target, a line outside.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: Width of the parabola, > 0. Default 1.

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.huber_loss)
    settings = ("delta",)

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = _positive("HuberLoss: delta", delta)


class SmoothL1Loss(Loss):
    """Huber's loss divided by its width.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        beta: Width of the parabola, > 0. Default 1.

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.smooth_l1_loss)
    settings = ("beta",)

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = _positive("SmoothL1Loss: beta", beta)


class PinballLoss(Loss):
    """Minimal at the ``quantile`` of the target.

    Args:
        quantile: In (0, 1). Default 0.5, the median.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: both of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.pinball_loss)
    settings = ("quantile",)

    def __init__(self, quantile: float = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not 0 < quantile < 1:
            raise ArgumentError(
                "PinballLoss: quantile is out of range", expected="(0, 1)", got=str(quantile)
            )
        self.quantile = float(quantile)


class BCELoss(Loss):
    """Bernoulli cross-entropy of probabilities; logs are held at −100.

    Shape: probabilities and targets of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.binary_cross_entropy)


class BCEWithLogitsLoss(Loss):
    """Bernoulli cross-entropy of σ(z), from the logits z.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_weight: Factor of the term of target 1; None for 1.

    Shape: logits and targets of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.binary_cross_entropy_with_logits)
    settings = ("pos_weight",)

    def __init__(self, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight = _weights(pos_weight)


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy of logits; its gradient is softmax(z) − truth.

    Args:
        weight: (classes,) factor of each class; None for equal ones.
        ignore_index: Label that counts for nothing. Default −100.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: Share of the truth spread over all classes, in [0, 1]. Default 0.
        axis: Where the classes are, if there are positions: 1, or −1 for (batch, ..., classes) as
            language models give them.

    Shape: logits (batch, classes, ...) and labels (batch, ...) → scalar (or the labels' shape).
    """

    function = staticmethod(functional.cross_entropy)
    settings = (
        "weight",
        "ignore_index",
        "label_smoothing",
        "axis",
    )

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
        *,
        axis: int = 1,
    ) -> None:
        super().__init__(reduction)
        functional.classification.check_axis("CrossEntropyLoss", axis)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                "CrossEntropyLoss: label_smoothing is out of range",
                expected="[0, 1]",
                got=str(label_smoothing),
            )
        self.weight = _weights(weight)
        self.ignore_index = int(ignore_index)
        self.label_smoothing = float(label_smoothing)
        self.axis = axis


class NLLLoss(Loss):
    """Minus the log-probability of the label, after a ``LogSoftmax`` of your own.

    Args:
        weight: (classes,) factor of each class; None for equal ones.
        ignore_index: Label that counts for nothing. Default −100.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: log-probabilities (batch, classes, ...) and labels (batch, ...) → scalar.
    """

    function = staticmethod(functional.nll_loss)
    settings = (
        "weight",
        "ignore_index",
    )

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.weight = _weights(weight)
        self.ignore_index = int(ignore_index)


class FocalLoss(Loss):
    """Cross-entropy in which easy samples count less (Lin et al. 2017).

    Args:
        gamma: How much they are held back, ≥ 0. Default 2.
        alpha: Weight of class 1, or (classes,) weights; None for equal ones.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: logits with labels, or binary logits with 0/1 of the same shape → scalar.
    """

    function = staticmethod(functional.focal_loss)
    settings = (
        "gamma",
        "alpha",
    )

    def __init__(self, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not gamma >= 0:
            raise ArgumentError("FocalLoss: gamma is negative", expected="≥ 0", got=str(gamma))
        self.gamma = float(gamma)
        self.alpha = _weights(alpha)


class GaussianNLLLoss(Loss):
    """½ (ln v + (t − y)² / v) for predicted mean y and variance v.

    Args:
        full: Add ½ ln 2π. Default False.
        epsilon: Smallest variance. Default 1e-6.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: means, targets and variances of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.gaussian_nll_loss)
    settings = (
        "full",
        "epsilon",
    )

    def __init__(
        self, *, full: bool = False, epsilon: float = 1e-6, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.full = bool(full)
        self.epsilon = _positive("GaussianNLLLoss: epsilon", epsilon)


class KLDivLoss(Loss):
    """Σ t (ln t − ln q), from log-probabilities ln q.

    Args:
        reduction: ``"batchmean"`` (the divergence), ``"mean"``, ``"sum"`` or ``"none"``.
        log_target: Targets are given as logarithms. Default False.

    Shape: log-probabilities and targets of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.kl_div_loss)
    settings = ("log_target",)

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__()
        self.reduction = check_reduction(reduction, KL_REDUCTIONS)
        self.log_target = bool(log_target)


class HingeLoss(Loss):
    """max(0, margin − t·z) for targets ±1.

    Args:
        margin: Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: scores and targets ±1 of one shape → scalar (or that shape).
    """

    function = staticmethod(functional.hinge_loss)
    settings = ("margin",)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)


class MultiMarginLoss(Loss):
    """The hinge for several classes.

    Args:
        margin: Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: scores (batch, classes) and labels (batch,) → scalar.
    """

    function = staticmethod(functional.multi_margin_loss)
    settings = ("margin",)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)


class MissProbabilityLoss(Loss):
    """1 − k[T]: the softmax probability of not choosing the label.

    Shape: logits (batch, classes) and labels (batch,) → scalar.
    """

    function = staticmethod(functional.miss_probability)


class ExpectedSquaredDistanceLoss(Loss):
    """Σⱼ k[j] (j − T)²: for classes that are numbers, how far off a draw would be.

    Shape: logits (batch, classes) and labels (batch,) → scalar.
    """

    function = staticmethod(functional.expected_squared_distance)


class CosineEmbeddingLoss(Loss):
    """1 − cos for pairs with target 1, max(0, cos − margin) for pairs with −1.

    Args:
        margin: In [−1, 1]. Default 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: two (batch, features) and targets ±1 (batch,) → scalar.
    """

    function = staticmethod(functional.cosine_embedding_loss)
    settings = ("margin",)

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not -1 <= margin <= 1:
            raise ArgumentError(
                "CosineEmbeddingLoss: margin is out of range", expected="[−1, 1]", got=str(margin)
            )
        self.margin = float(margin)


class TripletMarginLoss(Loss):
    """The anchor must lie nearer to the positive than to the negative, by ``margin``.

    Args:
        margin: > 0. Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.

    Shape: three (batch, features) → scalar.
    """

    function = staticmethod(functional.triplet_margin_loss)
    settings = ("margin",)

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = _positive("TripletMarginLoss: margin", margin)


def _weights(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _positive(what: str, value: float) -> float:
    if not value > 0:
        raise ArgumentError(f"{what} must be positive", expected="> 0", got=str(value))
    return float(value)
