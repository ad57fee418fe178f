"""How fast each block learns: a factor on the scheduler's learning rate, as a function of the step.

Warm-up lives here and not in the scheduler, because it belongs to a block and starts when the block thaws.
Everything is derived from the number of optimizer steps so far, so resuming needs that number and no more.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any


class Pace:
    """Step counter and warm-ups.

    Args:
        warmup_steps: steps over which everything warms up at the start of the run.
        thaw_warmup_steps: steps over which a block warms up after each of its thaws.

    Attributes:
        steps: optimizer steps taken so far.
    """

    def __init__(self, warmup_steps: int = 0, thaw_warmup_steps: int = 0) -> None:
        if warmup_steps < 0 or thaw_warmup_steps < 0:
            raise ValueError(
                f"warm-up steps must be at least 0, not {min(warmup_steps, thaw_warmup_steps)}: "
                "see warmup_steps and thaw_warmup_steps"
            )
        self.warmup_steps = warmup_steps
        self.thaw_warmup_steps = thaw_warmup_steps
        self.steps = 0
        self._thawed_at: dict[str, int] = {}

    def thaw(self, blocks: Iterable[str]) -> None:
        """These blocks begin to train now, for the first time or again."""
        self._thawed_at.update(dict.fromkeys(blocks, self.steps))

    def run_factor(self) -> float:
        """The factor of the run's own warm-up, for the next step."""
        return _ramp(self.steps, self.warmup_steps)

    def factor(self, name: str) -> float:
        """The factor of a block or head for the next step."""
        since = self.steps - self._thawed_at.get(name, -self.thaw_warmup_steps)
        return self.run_factor() * _ramp(since, self.thaw_warmup_steps)

    @property
    def moving(self) -> bool:
        """Whether any factor of the next step may differ from the one of the step before."""
        latest = max(self._thawed_at.values(), default=-1) + self.thaw_warmup_steps
        return self.steps <= max(self.warmup_steps, latest)

    def state_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {"steps": self.steps, "thawed_at": dict(self._thawed_at)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue at the step of ``state``."""
        self.steps, self._thawed_at = state["steps"], dict(state["thawed_at"])


def _ramp(step: int, length: int) -> float:
    """1/length in the first step (number 0), rising linearly to 1."""
    return min(1.0, (step + 1) / length) if length else 1.0
