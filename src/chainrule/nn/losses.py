"""Losses as layers, under PyTorch's names; the formulas are in ``nn.functional``.

Every loss compares shapes and never broadcasts, takes ``sample_weight`` (batch,), and reduces by
``"mean"`` (of weighted samples: divided by the sum of the weights), ``"sum"`` or ``"none"``.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from chainrule.array import Array
from chainrule.errors import ArgumentError
from chainrule.nn import functional
from chainrule.nn.functional.reduction import check_reduction
from chainrule.nn.module import Module


class Loss(Module):
    """Base of the losses: holds ``reduction``.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, reduction: str = "mean") -> None:
        self.reduction = check_reduction(reduction)


class MSELoss(Loss):
    """Mean of (y − t)². The ½ of some texts is in ``HalfSquaredError``.

    >>> import chainrule as cr
    >>> loss = MSELoss()(cr.asarray([0.1, 0.8, 0.6]), cr.asarray([1.0, 0.0, -1.0]))
    >>> round(float(loss), 5)
    1.33667
    """

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.mse_loss(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class HalfSquaredError(Loss):
    """Mean of ½ (y − t)², whose derivative is y − t."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.half_squared_error(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class SumSquaredError(Loss):
    """Σ (y − t)² over everything: the total sum squared error."""

    def __init__(self) -> None:
        super().__init__("sum")

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar."""
        return functional.sum_squared_error(prediction, target, sample_weight=sample_weight)


class L1Loss(Loss):
    """Mean of |y − t|."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.l1_loss(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class HuberLoss(Loss):
    """A parabola within ``delta`` of the target, a line outside.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        delta: Width of the parabola, > 0. Default 1.
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        super().__init__(reduction)
        self.delta = _positive("HuberLoss: delta", delta)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.huber_loss(
            prediction,
            target,
            delta=self.delta,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class SmoothL1Loss(Loss):
    """Huber's loss divided by its width.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        beta: Width of the parabola, > 0. Default 1.
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = _positive("SmoothL1Loss: beta", beta)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.smooth_l1_loss(
            prediction,
            target,
            beta=self.beta,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class PinballLoss(Loss):
    """Minimal at the ``quantile`` of the target.

    Args:
        quantile: In (0, 1). Default 0.5, the median.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, quantile: float = 0.5, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not 0 < quantile < 1:
            raise ArgumentError(
                "PinballLoss: quantile is out of range", expected="(0, 1)", got=str(quantile)
            )
        self.quantile = float(quantile)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Both of one shape → scalar (or that shape)."""
        return functional.pinball_loss(
            prediction,
            target,
            quantile=self.quantile,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class BCELoss(Loss):
    """Bernoulli cross-entropy of probabilities; logs are held at −100."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Probabilities and targets of one shape → scalar (or that shape)."""
        return functional.binary_cross_entropy(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class BCEWithLogitsLoss(Loss):
    """Bernoulli cross-entropy of σ(z), from the logits z.

    Args:
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        pos_weight: Factor of the term of target 1; None for 1.
    """

    def __init__(self, reduction: str = "mean", pos_weight: Any = None) -> None:
        super().__init__(reduction)
        self.pos_weight = _weights(pos_weight)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Logits and targets of one shape → scalar (or that shape)."""
        return functional.binary_cross_entropy_with_logits(
            prediction,
            target,
            pos_weight=self.pos_weight,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class CrossEntropyLoss(Loss):
    """Softmax cross-entropy of logits; its gradient is softmax(z) − truth.

    Args:
        weight: (classes,) factor of each class; None for equal ones.
        ignore_index: Label that counts for nothing. Default −100.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
        label_smoothing: Share of the truth spread over all classes, in [0, 1]. Default 0.
    """

    def __init__(
        self,
        weight: Any = None,
        ignore_index: int = -100,
        reduction: str = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        super().__init__(reduction)
        if not 0 <= label_smoothing <= 1:
            raise ArgumentError(
                "CrossEntropyLoss: label_smoothing is out of range",
                expected="[0, 1]",
                got=str(label_smoothing),
            )
        self.weight = _weights(weight)
        self.ignore_index = int(ignore_index)
        self.label_smoothing = float(label_smoothing)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Logits (batch, classes, ...) and labels (batch, ...) → scalar (or the labels' shape)."""
        return functional.cross_entropy(
            prediction,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class NLLLoss(Loss):
    """Minus the log-probability of the label, after a ``LogSoftmax`` of your own.

    Args:
        weight: (classes,) factor of each class; None for equal ones.
        ignore_index: Label that counts for nothing. Default −100.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(
        self, weight: Any = None, ignore_index: int = -100, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.weight = _weights(weight)
        self.ignore_index = int(ignore_index)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Log-probabilities (batch, classes, ...) and labels (batch, ...) → scalar."""
        return functional.nll_loss(
            prediction,
            target,
            weight=self.weight,
            ignore_index=self.ignore_index,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class FocalLoss(Loss):
    """Cross-entropy in which easy samples count less (Lin et al. 2017).

    Args:
        gamma: How much they are held back, ≥ 0. Default 2.
        alpha: Weight of class 1, or (classes,) weights; None for equal ones.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, gamma: float = 2.0, alpha: Any = None, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not gamma >= 0:
            raise ArgumentError("FocalLoss: gamma is negative", expected="≥ 0", got=str(gamma))
        self.gamma = float(gamma)
        self.alpha = _weights(alpha)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Logits with labels, or binary logits with 0/1 of the same shape → scalar."""
        return functional.focal_loss(
            prediction,
            target,
            gamma=self.gamma,
            alpha=self.alpha,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class GaussianNLLLoss(Loss):
    """½ (ln v + (t − y)² / v) for predicted mean y and variance v.

    Args:
        full: Add ½ ln 2π. Default False.
        epsilon: Smallest variance. Default 1e-6.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(
        self, *, full: bool = False, epsilon: float = 1e-6, reduction: str = "mean"
    ) -> None:
        super().__init__(reduction)
        self.full = bool(full)
        self.epsilon = _positive("GaussianNLLLoss: epsilon", epsilon)

    def forward(
        self, prediction: Any, target: Any, variance: Any, sample_weight: Any = None
    ) -> Array:
        """Means, targets and variances of one shape → scalar (or that shape)."""
        return functional.gaussian_nll_loss(
            prediction,
            target,
            variance,
            full=self.full,
            epsilon=self.epsilon,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class KLDivLoss(Loss):
    """Σ t (ln t − ln q), from log-probabilities ln q.

    Args:
        reduction: ``"batchmean"`` (the divergence), ``"mean"``, ``"sum"`` or ``"none"``.
        log_target: Targets are given as logarithms. Default False.
    """

    def __init__(self, reduction: str = "mean", log_target: bool = False) -> None:
        super().__init__("mean" if reduction == "batchmean" else reduction)
        self.reduction = reduction
        self.log_target = bool(log_target)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Log-probabilities and targets of one shape → scalar (or that shape)."""
        return functional.kl_div_loss(
            prediction,
            target,
            log_target=self.log_target,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class HingeLoss(Loss):
    """max(0, margin − t·z) for targets ±1.

    Args:
        margin: Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Scores and targets ±1 of one shape → scalar (or that shape)."""
        return functional.hinge_loss(
            prediction,
            target,
            margin=self.margin,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class MultiMarginLoss(Loss):
    """The hinge for several classes.

    Args:
        margin: Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = float(margin)

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Scores (batch, classes) and labels (batch,) → scalar."""
        return functional.multi_margin_loss(
            prediction,
            target,
            margin=self.margin,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class MissProbabilityLoss(Loss):
    """1 − k[T]: the softmax probability of not choosing the label."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Logits (batch, classes) and labels (batch,) → scalar."""
        return functional.miss_probability(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class ExpectedSquaredDistanceLoss(Loss):
    """Σⱼ k[j] (j − T)²: for classes that are numbers, how far off a draw would be."""

    def forward(self, prediction: Any, target: Any, sample_weight: Any = None) -> Array:
        """Logits (batch, classes) and labels (batch,) → scalar."""
        return functional.expected_squared_distance(
            prediction, target, reduction=self.reduction, sample_weight=sample_weight
        )


class CosineEmbeddingLoss(Loss):
    """1 − cos for pairs with target 1, max(0, cos − margin) for pairs with −1.

    Args:
        margin: In [−1, 1]. Default 0.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, margin: float = 0.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        if not -1 <= margin <= 1:
            raise ArgumentError(
                "CosineEmbeddingLoss: margin is out of range", expected="[−1, 1]", got=str(margin)
            )
        self.margin = float(margin)

    def forward(self, first: Any, second: Any, target: Any, sample_weight: Any = None) -> Array:
        """Two (batch, features) and targets ±1 (batch,) → scalar."""
        return functional.cosine_embedding_loss(
            first,
            second,
            target,
            margin=self.margin,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


class TripletMarginLoss(Loss):
    """The anchor must lie nearer to the positive than to the negative, by ``margin``.

    Args:
        margin: > 0. Default 1.
        reduction: ``"mean"``, ``"sum"`` or ``"none"``.
    """

    def __init__(self, margin: float = 1.0, reduction: str = "mean") -> None:
        super().__init__(reduction)
        self.margin = _positive("TripletMarginLoss: margin", margin)

    def forward(
        self, anchor: Any, positive: Any, negative: Any, sample_weight: Any = None
    ) -> Array:
        """Three (batch, features) → scalar."""
        return functional.triplet_margin_loss(
            anchor,
            positive,
            negative,
            margin=self.margin,
            reduction=self.reduction,
            sample_weight=sample_weight,
        )


def _weights(values: Any) -> np.ndarray | None:
    return None if values is None else np.asarray(values, dtype=np.float32)


def _positive(what: str, value: float) -> float:
    if not value > 0:
        raise ArgumentError(f"{what} must be positive", expected="> 0", got=str(value))
    return float(value)
