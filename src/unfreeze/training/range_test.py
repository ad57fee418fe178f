"""The learning-rate range test as numbers: which rates are tried, when to stop, what to make of the losses.

Smith, "Cyclical Learning Rates for Training Neural Networks", WACV 2017, section 3.3, and Smith and Topin,
"Super-Convergence: Very Fast Training of Neural Networks Using Large Learning Rates", 2019: train for a while
at a rate that grows from step to step, and see where the loss falls and where it breaks. That the rate grows
exponentially, and that the rate of the steepest fall is the one to take, is fast.ai's ``lr_find``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

_MEMORY = 0.9  # of the running mean that says when the loss has broken
_BROKEN = 4.0  # times the lowest running mean; also fast.ai's
_BLUR = 0.05  # width of the smoothing, as a share of the steps
_FALL = 0.02  # a fall of the loss by less than this share is no fall


@dataclass(frozen=True)
class Curve:
    """What a range test measured.

    Attributes:
        rates: of each step taken.
        losses: of each step's clips, before the step was taken.
        smooth: the same without the noise of the batches.
        broke: whether it ended because the loss had broken.
    """

    rates: tuple[float, ...]
    losses: tuple[float, ...]
    smooth: tuple[float, ...]
    broke: bool


def growing_rates(low: float, high: float, steps: int) -> list[float]:
    """``steps`` rates from ``low`` to ``high``, each the same multiple of the one before."""
    return [low * (high / low) ** (step / (steps - 1)) for step in range(steps)]


def sweep(step: Callable[[float], float], rates: Iterable[float]) -> Curve:
    """Take a step at each rate, until there is none left or the loss has broken.

    It has where it is not finite, or where its running mean is above both the first loss and 4 times its own
    lowest value: a loss that came close to 0 may well be several times as high without harm.

    Args:
        step: takes an optimizer step at a rate and returns the loss before it.
    """
    tried: list[float] = []
    losses: list[float] = []
    mean, lowest, broke = 0.0, math.inf, False
    for rate in rates:
        loss = step(rate)
        if not math.isfinite(loss):
            broke = True
            break
        tried.append(rate)
        losses.append(loss)
        mean = _MEMORY * mean + (1 - _MEMORY) * loss
        running = mean / (1 - _MEMORY ** len(losses))
        lowest = min(lowest, running)
        if running > max(_BROKEN * lowest, losses[0]):
            broke = True
            break
    return Curve(tuple(tried), tuple(losses), tuple(smoothed(losses)), broke)


def smoothed(losses: Sequence[float]) -> list[float]:
    """Gaussian means over neighbours on both sides; a running mean would lag behind the rate."""
    width = max(1.0, _BLUR * len(losses))
    reach = math.ceil(3 * width)
    weights = [math.exp(-0.5 * (offset / width) ** 2) for offset in range(-reach, reach + 1)]

    def mean(at: int) -> float:
        near = range(max(0, at - reach), min(len(losses), at + reach + 1))
        total = sum(weights[i - at + reach] for i in near)
        return sum(weights[i - at + reach] * losses[i] for i in near) / total

    return [mean(at) for at in range(len(losses))]


def suggested(curve: Curve) -> float | None:
    """The rate at which the smooth loss falls fastest on its way to its lowest point; None where it never
    falls.
    """
    smooth = curve.smooth
    if len(smooth) < 3:
        return None
    bottom = min(range(len(smooth)), key=smooth.__getitem__)
    falls = {at: smooth[at - 1] - smooth[at + 1] for at in range(1, min(bottom, len(smooth) - 2) + 1)}
    if not falls or max(smooth[: bottom + 1]) - smooth[bottom] < _FALL * abs(smooth[0]):
        return None
    return curve.rates[max(falls, key=falls.__getitem__)]


def rows_of(curve: Curve, rows: int = 10) -> Iterator[tuple[float, float]]:
    """A few (rate, smooth loss) of the curve, from its first step to its last."""
    last = len(curve.rates) - 1
    for at in sorted({round(i * last / (rows - 1)) for i in range(rows)}) if last >= 0 else ():
        yield curve.rates[at], curve.smooth[at]
