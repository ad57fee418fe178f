"""A picture of a learning-rate range test: the loss over the rate."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unfreeze.report.plot import FAINT, INK, STYLE

_NOISE, _CURVE, _MARK = "#9fc3dc", "#0b5394", "#d55e00"


def plot_lr_curve(
    out: Path,
    *,
    rates: Sequence[float],
    losses: Sequence[float],
    smooth: Sequence[float],
    rate: float | None,
    title: str,
    label: str,
) -> None:
    """Draw the losses of a range test as a PNG, with the suggested rate where there is one.

    Args:
        rates, losses, smooth: a value per step; see ``training.range_test``.
        title: what was tested.
        label: of the horizontal axis: whose rate it is.

    Raises:
        ValueError: there is no step to draw.
        OSError: the file cannot be written.
    """
    if not rates:
        raise ValueError(f"cannot draw {out}: no step was taken")

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(8.5, 4.6), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        axes.plot(rates, losses, "o", color=_NOISE, markersize=3.5, label="each step")
        axes.plot(rates, smooth, color=_CURVE, linewidth=2, solid_capstyle="round", label="smoothed")
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        if len(rates) > 1:
            axes.set_xlim(rates[0], rates[-1])
        # what follows the lowest point may reach the sky; the rest is not to look flat for it
        bottom = min(range(len(smooth)), key=smooth.__getitem__)
        low, high = min(losses), max(losses[: bottom + 1])
        room = 0.1 * (high - low) or 0.05
        axes.set_ylim(low - room, high + 2 * room)
        if rate is not None:
            axes.axvline(rate, color=_MARK, linewidth=1.4, linestyle=(0, (4, 3)), zorder=1)
            loss = smooth[list(rates).index(rate)]
            axes.plot([rate], [loss], "o", color=_MARK, markersize=8, zorder=4)
            axes.annotate(
                f"{rate:.2g}",
                (rate, loss),
                xytext=(9, 7),
                textcoords="offset points",
                color=_MARK,
                fontsize=11,
                fontweight="bold",
            )
        axes.set_title(title, loc="left", fontsize=10, fontweight="bold", color=INK)
        axes.set_xlabel(label)
        axes.set_ylabel("training loss")
        axes.tick_params(which="minor", length=0)
        axes.legend(loc="lower left", labelcolor=INK, edgecolor=FAINT)
        figure.savefig(out, format="png", dpi=140)
