"""The table at the end of a run: a row per epoch."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.report.lines import number


def summary_table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Epoch, share of the model that trains, train loss, the monitored metric of each task, seconds.

    The best epoch has a ``*``; the line below the table says what is measured. No line where there is no row.

    Args:
        rows: records as ``record.epoch_record`` makes them.
    """
    if not rows:
        return []
    from rich import box
    from rich.console import Console
    from rich.table import Table

    best, name = rows[-1]["monitor"]["best_epoch"], rows[-1]["monitor"]["name"]
    metric = name.rpartition("/")[2]
    keys = _keys(rows, metric)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for title in (
        "epoch",
        "trainable",
        "train loss",
        *(f"val {key.rpartition('/')[0] or 'mean'}" for key in keys),
        "seconds",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            f"{'* ' if row['epoch'] == best else ''}{row['epoch']}",
            f"{100 * row['params']['trainable'] / max(row['params']['total'], 1):.1f}%",
            number(row["train"].get("loss")),
            *(number(row["val"].get(key)) for key in keys),
            f"{row['seconds']:.1f}",
        )
    text = io.StringIO()
    wide = Console(
        file=text, width=10_000, no_color=True, force_terminal=False, highlight=False, markup=False
    )
    wide.print(table, crop=False)
    lines = [line.rstrip() for line in text.getvalue().splitlines()]
    star = "" if best is None else f"; * best {name}: {number(rows[-1]['monitor']['best'])}"
    return [*lines, f"val: {metric}{star}"]


def _keys(rows: Sequence[Mapping[str, Any]], metric: str) -> list[str]:
    """The monitored metric of every task, then, where there are several tasks, their mean."""
    seen = {key: None for row in rows for key in row["val"] if key.rpartition("/")[2] == metric}
    tasks = [key for key in seen if "/" in key]
    return tasks + [key for key in seen if key == metric and len(tasks) != 1]
