"""Schedules along a cosine: annealing, warm restarts, the one-cycle policy."""

from __future__ import annotations

import itertools
import math
from typing import Any, Literal

from chainrule.errors import ArgumentError
from chainrule.ops.origin import here
from chainrule.optim.schedules.base import Schedule, Unit, factor_in, positive_integer, rate_in

Annealing = Literal["cosine", "linear"]


def cosine_between(start: float, end: float, share: float) -> float:
    """From ``start`` at share 0 to ``end`` at share 1 along half a cosine wave."""
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def linear_between(start: float, end: float, share: float) -> float:
    """From ``start`` at share 0 to ``end`` at share 1 along a line."""
    return start + (end - start) * share


class Cosine(Schedule):
    """η(t) = η_min + ½ (η₀ − η_min) (1 + cos(π t/T)) until T, then η_min.

    Args:
        initial: η₀ ≥ 0.
        duration: T, in units, ≥ 1.
        final: η_min ≥ 0. Default 0.
        unit: ``"step"`` or ``"epoch"``.

    Reference: Loshchilov and Hutter 2017, "SGDR", equation 5, without restarts.

    >>> from chainrule import optim
    >>> optim.Cosine(1.0, 4).values(0, 6).round(4)
    array([1.    , 0.8536, 0.5   , 0.1464, 0.    , 0.    ])
    """

    def __init__(
        self, initial: float, duration: int, final: float = 0.0, *, unit: Unit = "step"
    ) -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "Cosine: initial")
        self.length = positive_integer(duration, "Cosine: duration")
        self.final = rate_in(final, "Cosine: final")

    def rate(self, position: int) -> float:
        """Down half a cosine wave, then the last rate."""
        return cosine_between(self.initial, self.final, min(position, self.length) / self.length)

    def duration(self) -> int | None:
        """T."""
        return self.length

    def _settings(self) -> dict[str, Any]:
        return {"initial": self.initial, "duration": self.length, "final": self.final}


class CosineWarmRestarts(Schedule):
    """Half a cosine wave from η₀ to η_min, again and again, each m times as long as the last.

    Args:
        initial: η₀ ≥ 0.
        period: T₀, length of the first wave, in units, ≥ 1.
        multiplier: m ≥ 1, an integer. Default 1.
        final: η_min ≥ 0. Default 0.
        unit: ``"step"`` or ``"epoch"``.

    Reference: Loshchilov and Hutter 2017, "SGDR: stochastic gradient descent with warm restarts",
    equation 5.

    >>> from chainrule import optim
    >>> optim.CosineWarmRestarts(1.0, 2, multiplier=2).values(0, 7).round(4)
    array([1.    , 0.5   , 1.    , 0.8536, 0.5   , 0.1464, 1.    ])
    """

    def __init__(
        self,
        initial: float,
        period: int,
        multiplier: int = 1,
        final: float = 0.0,
        *,
        unit: Unit = "step",
    ) -> None:
        super().__init__(unit)
        self.initial = rate_in(initial, "CosineWarmRestarts: initial")
        self.period = positive_integer(period, "CosineWarmRestarts: period")
        self.multiplier = positive_integer(multiplier, "CosineWarmRestarts: multiplier")
        self.final = rate_in(final, "CosineWarmRestarts: final")

    def rate(self, position: int) -> float:
        """The rate in the wave at hand."""
        if self.multiplier == 1:
            current, period = position % self.period, self.period
        else:
            current, period = position, self.period
            while current >= period:
                current -= period
                period *= self.multiplier
        return cosine_between(self.initial, self.final, current / period)


class _Cycle(Schedule):
    """Turning points joined by half waves or lines: what one-cycle schedules share."""

    def __init__(
        self, duration: int, rise: float, annealing: Annealing, three_phase: bool, unit: Unit
    ) -> None:
        super().__init__(unit)
        name = type(self).__name__
        self.length = positive_integer(duration, f"{name}: duration")
        self.rise = factor_in(rise, f"{name}: rise")
        self.annealing = annealing
        self.three_phase = bool(three_phase)
        if annealing not in ("cosine", "linear"):
            raise ArgumentError(
                f"{name}: there is no such annealing",
                expected="'cosine' or 'linear'",
                got=repr(annealing),
                where=str(here()),
            )
        if three_phase and 2 * rise > 1:
            raise ArgumentError(
                f"{name}: three phases leave no room for so long a rise",
                expected="rise ≤ 0.5",
                got=str(rise),
                where=str(here()),
            )

    def _turns(self) -> list[tuple[float, float]]:
        """Positions of the turning points and the rates there."""
        raise NotImplementedError

    def _positions(self) -> list[float]:
        """Where the phases end: the last steps of the rise, of the fall, of all."""
        top = self.rise * self.length - 1
        ends = [top, 2 * top, self.length - 1] if self.three_phase else [top, self.length - 1]
        return [0.0, *(float(max(end, 0)) for end in ends)]

    def rate(self, position: int) -> float:
        """The rate between the two turning points around ``position``."""
        between = cosine_between if self.annealing == "cosine" else linear_between
        turns = self._turns()
        for (start, low), (end, high) in itertools.pairwise(turns):
            if position <= end:
                share = (position - start) / (end - start) if end > start else 1.0
                return between(low, high, share)
        return turns[-1][1]

    def duration(self) -> int | None:
        """All phases."""
        return self.length


class OneCycle(_Cycle):
    """Up to the maximum, down again, and far below where it began.

    Args:
        maximum: η_max ≥ 0.
        duration: All steps or epochs, in units, ≥ 1; afterwards the last rate stays.
        rise: Share of the duration that the rise takes, in (0, 1]. Default 0.3.
        annealing: ``"cosine"`` or ``"linear"``.
        initial_divisor: It begins at η_max / this, ≥ 1. Default 25.
        final_divisor: It ends at the first rate / this, ≥ 1. Default 1e4.
        three_phase: Fall back to the first rate as fast as it rose, then to the last one.
        unit: ``"step"`` or ``"epoch"``.

    Reference: Smith and Topin 2018, "Super-convergence: very fast training of neural networks
    using large learning rates", section 2.

    >>> from chainrule import optim
    >>> optim.OneCycle(1.0, 10).values(0, 5).round(3)
    array([0.04 , 0.52 , 1.   , 0.95 , 0.812])
    """

    def __init__(
        self,
        maximum: float,
        duration: int,
        rise: float = 0.3,
        annealing: Annealing = "cosine",
        initial_divisor: float = 25.0,
        final_divisor: float = 1e4,
        three_phase: bool = False,
        *,
        unit: Unit = "step",
    ) -> None:
        super().__init__(duration, rise, annealing, three_phase, unit)
        self.maximum = rate_in(maximum, "OneCycle: maximum")
        self.initial = self.maximum * factor_in(1 / initial_divisor, "OneCycle: 1 / divisor")
        self.final = self.initial * factor_in(1 / final_divisor, "OneCycle: 1 / divisor")

    def _turns(self) -> list[tuple[float, float]]:
        rates = [self.initial, self.maximum, self.final]
        if self.three_phase:
            rates.insert(2, self.initial)
        return list(zip(self._positions(), rates, strict=True))


class OneCycleMomentum(_Cycle):
    """The momentum that goes with ``OneCycle``: low where the rate is high.

    Args:
        duration: As for ``OneCycle``, in units.
        maximum: Momentum at both ends, in [0, 1). Default 0.95.
        minimum: Momentum where the rate is highest, in [0, maximum]. Default 0.85.
        rise: As for ``OneCycle``.
        annealing: As for ``OneCycle``.
        three_phase: As for ``OneCycle``.
        unit: ``"step"`` or ``"epoch"``.

    Reference: Smith 2018, "A disciplined approach to neural network hyper-parameters", section 4.3.

    >>> from chainrule import optim
    >>> optim.SGD(optim.OneCycle(0.1, 100), momentum=optim.OneCycleMomentum(100)).momentum
    0.95
    """

    def __init__(
        self,
        duration: int,
        maximum: float = 0.95,
        minimum: float = 0.85,
        rise: float = 0.3,
        annealing: Annealing = "cosine",
        three_phase: bool = False,
        *,
        unit: Unit = "step",
    ) -> None:
        super().__init__(duration, rise, annealing, three_phase, unit)
        self.maximum = rate_in(maximum, "OneCycleMomentum: maximum")
        self.minimum = rate_in(minimum, "OneCycleMomentum: minimum")
        if not self.minimum <= self.maximum < 1:
            raise ArgumentError(
                "OneCycleMomentum: the ends do not fit",
                expected="0 ≤ minimum ≤ maximum < 1",
                got=f"minimum={minimum}, maximum={maximum}",
                where=str(here()),
            )

    def _turns(self) -> list[tuple[float, float]]:
        rates = [self.maximum, self.minimum, self.maximum]
        if self.three_phase:
            rates.append(self.maximum)
        return list(zip(self._positions(), rates, strict=True))
