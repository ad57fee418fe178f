"""What a handful of paired runs can say: a mean difference and where it may really lie."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

# 97.5 % quantiles of Student's t by degrees of freedom, from 1
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_T += (2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086)


@dataclass(frozen=True)
class Interval:
    """A mean and its two-sided 95 % interval; infinitely wide where there is one value only."""

    mean: float
    low: float
    high: float

    @property
    def verdict(self) -> str:
        """``worse``, ``better``, or nothing where 0 is among what it may be."""
        return "worse" if self.high < 0 else "better" if self.low > 0 else ""

    def text(self, digits: int = 3) -> str:
        return f"{self.mean:+.{digits}f} ({self.low:+.{digits}f} to {self.high:+.{digits}f})"


def student_interval(differences: Sequence[float]) -> Interval:
    """The t interval of paired differences."""
    mean = statistics.fmean(differences)
    if len(differences) < 2:
        return Interval(mean, -math.inf, math.inf)
    half = t_quantile(len(differences) - 1) * statistics.stdev(differences) / math.sqrt(len(differences))
    return Interval(mean, mean - half, mean + half)


def t_quantile(freedom: int) -> float:
    """The 97.5 % quantile of Student's t, right to 0.0005."""
    if freedom <= len(_T):
        return _T[freedom - 1]
    z = statistics.NormalDist().inv_cdf(0.975)
    return z + (z**3 + z) / (4 * freedom) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * freedom**2)
