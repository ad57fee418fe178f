"""What is taken for what: the confusion matrix of each task as a picture.

A report is what ``training.class_report.class_report`` makes.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

_INK, _FAINT, _GRID = "#2b3440", "#8a94a0", "#e6eaee"
_LONGEST_NAME = 24
_FEW_CLASSES = 16  # have room for the percentage below the count
_LARGEST = 20.0  # inches of the matrix; more classes have smaller cells, in the end without numbers
_READABLE = 0.2  # inches of a cell, or of the line of a name
_STYLE: Any = {
    "font.size": 9,
    "text.color": _INK,
    "axes.edgecolor": _FAINT,
    "axes.labelcolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "text.parse_math": False,  # a class may be called $x$
}


def plot_reports(reports: Mapping[str, Mapping[str, Any]], folder: Path) -> list[Path]:
    """Draw the report of every task as ``confusion_<task>.png`` in ``folder``; the pictures.

    Raises:
        OSError: a file cannot be written.
    """
    pictures = [folder / name for name in _names(reports)]
    for (task, report), picture in zip(reports.items(), pictures, strict=True):
        plot_confusion(report, picture, title=task)
    return pictures


def _names(tasks: Iterable[str]) -> list[str]:
    """A task may be called anything, a file may not."""
    names: list[str] = []
    for task in tasks:
        plain = re.sub(r"[^\w.-]+", "_", task).strip("._") or "task"
        name, number = f"confusion_{plain}.png", 1
        while name.lower() in {taken.lower() for taken in names}:
            number += 1
            name = f"confusion_{plain}_{number}.png"
        names.append(name)
    return names


def plot_confusion(report: Mapping[str, Any], out: Path, title: str = "") -> None:
    """Draw the confusion matrix of one task as a PNG: counts, coloured by their share of the true class.

    A multi-label task has no such matrix. There each class is a row: found and missed where a clip has it,
    said in vain and rightly not said where it has not.

    Args:
        title: above the picture; the task's name.

    Raises:
        OSError: the file cannot be written.
    """
    import matplotlib
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

    counts, groups, columns = _table(report)
    names = [_short(row["name"]) for row in report["classes"]]
    shares = np.zeros(counts.shape)
    for group in groups:  # columns that together hold a row's clips
        total = counts[:, group].sum(axis=1, keepdims=True)
        shares[:, group] = np.divide(
            counts[:, group], total, out=np.zeros(counts[:, group].shape), where=total > 0
        )

    rows, wide = counts.shape
    few = rows <= _FEW_CLASSES
    cell, font = (0.62, 8.5) if few else (min(0.3, _LARGEST / rows), 6.0)
    # the figure never meets pyplot, so neither its backend nor its list of figures changes
    with matplotlib.rc_context(_STYLE):
        width = 1.24 * wide if columns else cell * wide
        size = (max(width + 2.6, 5.0), max(cell * rows + 2.2, 3.0))
        figure = Figure(figsize=size, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        for row, column in np.argwhere(counts) if cell >= _READABLE else ():
            text = f"{counts[row, column]:,}"
            if few:
                text += f"\n{100 * shares[row, column]:.0f}%"
            colour = "white" if shares[row, column] > 0.55 else _INK
            axes.text(column, row, text, ha="center", va="center", fontsize=font, color=colour)
        step = max(1, round(_READABLE / cell))
        shown, clips = range(0, rows, step), [row["support"] for row in report["classes"]]
        axes.set_yticks(shown, [f"{names[i]}  ({clips[i]:,})" for i in shown], fontsize=font)
        if columns:
            axes.set_xticks(range(wide), columns, fontsize=font)
            axes.set_ylabel("class (clips that have it)")
        else:
            axes.set_xticks(shown, [names[i] for i in shown], rotation=90, fontsize=font)
            axes.set_ylabel("true class (clips)")
            axes.set_xlabel("predicted class")
        axes.tick_params(length=0)
        if cell >= _READABLE:
            axes.set_xticks(np.arange(wide + 1) - 0.5, minor=True)
            axes.set_yticks(np.arange(rows + 1) - 0.5, minor=True)
            axes.grid(which="minor", color=_GRID, linewidth=0.6)
            axes.tick_params(which="minor", length=0)
        axes.set_title("\n".join(_headline(report, title)), loc="left", fontsize=9.5, fontweight="bold")
        bar = figure.colorbar(image, ax=axes, aspect=12 * size[1], pad=0.02, format=PercentFormatter(1.0))
        bar.set_label("share of the clips with, or without, it" if columns else "share of the true class")
        bar.outline.set_visible(False)
        with warnings.catch_warnings():
            # a script that the font lacks shows as boxes; the numbers are as good as ever
            warnings.filterwarnings("ignore", message="Glyph .* missing from")
            figure.savefig(out, format="png", dpi=140)


def _table(report: Mapping[str, Any]) -> tuple[Any, list[list[int]], list[str]]:
    """Counts, the columns among which shares are taken, and their titles (none: those of the classes)."""
    import numpy as np

    confusion = np.array(report["confusion"], dtype=np.int64)
    if not report["multilabel"]:
        return confusion, [list(range(confusion.shape[1]))], []
    (neither, vain), (missed, found) = confusion.transpose(1, 2, 0)
    titles = ["found", "missed", "said in vain", "rightly not said"]
    return np.stack([found, missed, vain, neither], axis=1), [[0, 1], [2, 3]], titles


def _headline(report: Mapping[str, Any], title: str) -> Sequence[str]:
    lines = [_short(title)] if title else []
    if report["balanced_accuracy"] is not None:
        text, interval = f"balanced accuracy {report['balanced_accuracy']:.1%}", report["interval"]
        if interval is not None:
            text += f" ({interval['level']:.0%} CI {100 * interval['low']:.1f}–{interval['high']:.1%})"
        lines.append(text)
    return lines


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
