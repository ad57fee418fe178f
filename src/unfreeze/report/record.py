"""The record of an epoch: a line of ``metrics.jsonl``, and the one place that knows its form."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unfreeze.freezer import ParamStatus, Transition


def epoch_record(
    transition: Transition,
    status: ParamStatus,
    *,
    metrics: Mapping[str, float],
    monitor: str,
    best: Mapping[str, Any] | None,
    learning_rates: Mapping[str, float],
    seconds: float,
    clips_per_second: float,
    data_wait: float,
) -> dict[str, Any]:
    """A finished epoch in the types of JSON.

    Args:
        transition, status: the freezer's, of this epoch.
        metrics: ``train/loss``, ``train/<task>/loss``, ``val/loss``, ``val/<task>/accuracy`` … by name.
        monitor: the name in ``metrics`` that picks the best epoch.
        best: ``{"epoch": …, "value": …}`` of the best epoch so far, this one included, or None where none is.
        learning_rates: by name of the parameter group, as in the epoch's first step.
        seconds: of the whole epoch, validation included.
        clips_per_second: of the training part.
        data_wait: the share (0 … 1) of the training part spent waiting for data.

    Returns:
        ``epoch``, ``seconds``, ``train`` and ``val`` (values by name, without prefix), ``monitor``
        (``name``, ``value``, ``best``, ``best_epoch``), ``params`` (the status),
        ``trainable_blocks`` and ``blocks`` (from input to output), ``learning_rates``, ``decision``
        (``reason``, ``target``, ``lr_scales``, ``warnings``), ``data_wait``, ``clips_per_second``.
        A value that is not finite is None, as JSON has no NaN.
    """
    decision = transition.decision
    record = {
        "epoch": transition.epoch,
        "seconds": round(seconds, 3),
        "train": _within("train/", metrics),
        "val": _within("val/", metrics),
        "monitor": {
            "name": monitor,
            "value": metrics.get(monitor),
            "best": None if best is None else best["value"],
            "best_epoch": None if best is None else best["epoch"],
        },
        "params": {
            "total": status.total,
            "trainable": status.trainable,
            "backbone_total": status.backbone_total,
            "backbone_trainable": status.backbone_trainable,
            "heads_total": status.heads_total,
            "heads_trainable": status.heads_trainable,
            "frozen": status.frozen,
        },
        "trainable_blocks": list(decision.trainable),
        "blocks": list(status.blocks),
        "learning_rates": dict(learning_rates),
        "decision": {
            "reason": decision.reason,
            "target": decision.target,
            "lr_scales": dict(decision.lr_scales),
            "warnings": list(decision.warnings),
        },
        "data_wait": round(data_wait, 4),
        "clips_per_second": round(clips_per_second, 2),
    }
    return {key: _json(value) for key, value in record.items()}


def read_records(path: Path) -> list[dict[str, Any]]:
    """All epochs of a ``metrics.jsonl``.

    Raises:
        ValueError: a line is no JSON object; the message names file and line.
        OSError: the file cannot be read.
    """
    records = []
    # not splitlines(), which also breaks at characters that a class name may hold
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), start=1):
        if not line:
            continue
        try:
            record = json.loads(line)
        except json.JSONDecodeError as error:
            raise ValueError(f"{path}:{number}: this is not JSON: {error.msg}; remove the line") from error
        if not isinstance(record, dict):
            raise ValueError(f"{path}:{number}: expected the record of an epoch, not {line[:40]!r}")
        records.append(record)
    return records


def _within(prefix: str, metrics: Mapping[str, float]) -> dict[str, float]:
    return {name.removeprefix(prefix): value for name, value in metrics.items() if name.startswith(prefix)}


def _json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _json(item) for key, item in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
