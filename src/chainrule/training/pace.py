"""How many steps to run before looking up: about ten returns to Python a second."""

from __future__ import annotations

#: seconds between returns to Python
INTERVAL = 0.1


class Pace:
    """Chooses the length of the next stretch of steps from the time of the last ones.

    Results never depend on it: only how often progress shows and callbacks get a look.

    Args:
        interval: Seconds that a stretch should take.

    >>> pace = Pace(interval=0.1)
    >>> pace.n_steps
    1
    >>> pace.ran(1, 5.0, warm=False)  # the first one compiled
    >>> pace.ran(1, 0.001)
    >>> pace.n_steps
    8
    """

    def __init__(self, interval: float = INTERVAL) -> None:
        self.interval = interval
        self.n_steps = 1

    def ran(self, n_steps: int, seconds: float, warm: bool = True) -> None:
        """Learn from a stretch.

        Args:
            n_steps: Steps that ran.
            seconds: Time they took.
            warm: False if something was compiled on the way, which says nothing about the next.
        """
        if not warm:
            return
        fitting = int(self.interval * n_steps / max(seconds, 1e-9))
        self.n_steps = max(1, min(fitting, 8 * self.n_steps))
