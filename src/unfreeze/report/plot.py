"""A picture of a run: its metrics and losses over the map of what was frozen when."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.report.record import read_records

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Records = Sequence[Mapping[str, Any]]

INK, FAINT, _GRID = "#2b3440", "#8a94a0", "#e6eaee"
_FROZEN, _TRAINABLE = "#d3e0ea", "#ee8434"
# from Okabe and Ito's palette, which people with any colour vision can tell apart
_TASKS = ("#0072b2", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d00")
STYLE: Any = {
    "font.size": 9,
    "text.color": INK,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": _GRID,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "text.parse_math": False,  # a task may be called $x$
    "legend.fontsize": 8.5,
}
_FEW_EPOCHS = 40  # so many have room for a marker and for a line between them
_LONGEST_NAME = 28  # characters of a task's name beside the curves; a longer one would squeeze them out
_MOST_LABELS = 26  # block names that can stand above each other


def plot_run(metrics_path: Path, out: Path) -> None:
    """Draw ``metrics.jsonl`` as a PNG: the monitored metric of each task, the losses, and the freeze map.

    The map has a row per block, the input at the bottom, and a column per epoch. Values that were not finite
    are gaps in their curves.

    Raises:
        ValueError: there is no epoch in the file, or a line is malformed.
        OSError: a file cannot be read or written.
    """
    records = read_records(metrics_path)
    if not records:
        raise ValueError(f"{metrics_path} holds no epoch yet; there is nothing to plot")

    import matplotlib
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    # the figure never meets pyplot, so neither its backend nor its list of figures changes
    with matplotlib.rc_context(STYLE):
        rows = len(records[-1]["blocks"])
        map_height = min(max(0.17 * rows, 1.2), 5.5)
        figure = Figure(figsize=(8.5, 4.7 + map_height), layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        metric, loss, frozen = figure.subplots(3, 1, sharex=True, height_ratios=(2.4, 1.7, map_height))
        _draw_metric(metric, records)
        _draw_losses(loss, records)
        _draw_map(frozen, records)
        first, last = records[0]["epoch"], records[-1]["epoch"]
        frozen.set_xlim(first - 0.5, last + 0.5)
        frozen.xaxis.set_major_locator(
            MaxNLocator(integer=True, nbins=15, min_n_ticks=1, steps=[1, 2, 5, 10])
        )
        frozen.set_xlabel("epoch")
        figure.align_ylabels()
        with warnings.catch_warnings():
            # a script that the font lacks shows as boxes; the numbers, and the run, are as good as ever
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(out, format="png", dpi=140)


def _draw_metric(axes: Axes, records: Records) -> None:
    monitor = records[-1]["monitor"]
    metric = monitor["name"].rpartition("/")[2]
    seen = {key: None for record in records for key in record["val"] if key.rpartition("/")[2] == metric}
    tasks = [key for key in seen if "/" in key]
    for number, key in enumerate(tasks):
        _curve(axes, records, "val", key, _TASKS[number % len(_TASKS)], key.rpartition("/")[0])
    if metric in seen and len(tasks) != 1:
        _curve(axes, records, "val", metric, INK, "mean" if tasks else metric, width=2.0)
    if monitor["best"] is not None:
        axes.axvline(monitor["best_epoch"], color=FAINT, linewidth=1, linestyle=(0, (3, 3)), zorder=1)
        axes.set_title(
            f"best {monitor['name']}: {monitor['best']:.4g} in epoch {monitor['best_epoch']}",
            loc="left",
            fontsize=10,
            fontweight="bold",
        )
    low, high = axes.get_ylim()
    if high - low < 0.1:  # a single epoch, or a flat curve, is not to look like an alpine panorama
        axes.set_ylim((low + high) / 2 - 0.05, (low + high) / 2 + 0.05)
    axes.set_ylabel(f"val {metric.replace('_', ' ')}")
    _legend(axes)


def _draw_losses(axes: Axes, records: Records) -> None:
    _curve(axes, records, "train", "loss", "#e69f00", "train")
    _curve(axes, records, "val", "loss", "#0b5394", "val")
    axes.set_ylabel("loss")
    _legend(axes)


def _draw_map(axes: Axes, records: Records) -> None:
    from matplotlib.colors import ListedColormap
    from matplotlib.patches import Patch

    blocks = records[-1]["blocks"]
    cells = [[name in record["trainable_blocks"] for record in records] for name in blocks]
    edges = [record["epoch"] - 0.5 for record in records] + [records[-1]["epoch"] + 0.5]
    axes.grid(False)
    axes.pcolormesh(
        edges,
        range(len(blocks) + 1),
        cells,
        cmap=ListedColormap([_FROZEN, _TRAINABLE]),
        vmin=0,
        vmax=1,
        edgecolors="white" if len(records) <= _FEW_EPOCHS else "none",
        # white columns of a hundred epochs would drown the colours
        linewidth=1.0 if len(records) <= _FEW_EPOCHS else 0,
    )
    axes.hlines(range(1, len(blocks)), edges[0], edges[-1], color="white", linewidth=1.0)
    step = -(-len(blocks) // _MOST_LABELS)
    shown = range(len(blocks) - 1, -1, -step)  # from the output, where the thawing happens
    axes.set_yticks([row + 0.5 for row in shown], [blocks[row] for row in shown], fontsize=7.5)
    axes.tick_params(length=0)
    for side in ("left", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_ylabel("block")
    handles = [Patch(color=_TRAINABLE, label="trainable"), Patch(color=_FROZEN, label="frozen")]
    axes.legend(handles=handles, loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0.2)


def _curve(
    axes: Axes, records: Records, part: str, key: str, colour: str, label: str, width: float = 1.6
) -> None:
    epochs = [record["epoch"] for record in records]
    values = [record[part].get(key) for record in records]
    axes.plot(
        epochs,
        [float("nan") if value is None else value for value in values],
        color=colour,
        label=label if len(label) <= _LONGEST_NAME else f"{label[: _LONGEST_NAME - 1]}…",
        linewidth=width,
        marker="o",
        markersize=4 if len(records) <= _FEW_EPOCHS else 0,
        solid_capstyle="round",
    )


def _legend(axes: Axes) -> None:
    """Beside the axes, where no curve can run into it."""
    axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0), borderaxespad=0, handlelength=1.4)
