"""Early stopping: end a run whose monitored metric has not improved for a while.

Prechelt, "Early Stopping - But When?", in Neural Networks: Tricks of the Trade, 1998, without its thresholds.
Derived from the records of the epochs, so a resumed run stops where it would have stopped.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.history import Mode


def stopped_early(rows: Sequence[Mapping[str, Any]], patience: int | None, mode: Mode) -> str | None:
    """Why the run ends after the last of ``rows``, in words for the log, or None where it goes on.

    An epoch improves if its metric is better than all before; one without a value does not.

    Args:
        rows: a record per finished epoch, as ``report.record.epoch_record`` makes them.
        patience: so many epochs in a row without improvement end the run; None is never.
        mode: ``max`` or ``min``, for the monitored metric.
    """
    if patience is None:
        return None
    best, best_row = None, 0
    for number, row in enumerate(rows, start=1):
        value = row["monitor"]["value"]
        if value is not None and (best is None or (value < best if mode == "min" else value > best)):
            best, best_row = value, number
    waited = len(rows) - best_row
    if not rows or waited < patience:
        return None
    name = rows[-1]["monitor"]["name"]
    epochs = "1 epoch" if waited == 1 else f"{waited} epochs"
    if best is None:
        return f"{name} had no value for {epochs}"
    return f"{name} has not improved for {epochs} (best {best:.4f}, epoch {rows[best_row - 1]['epoch']})"
