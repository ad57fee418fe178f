"""How much each task counts in the loss: as the user says, or by how fast its own loss falls.

``auto`` is Dynamic Weight Average: Liu, Johns and Davison, "End-to-End Multi-Task Learning with Attention",
CVPR 2019, section 3.4. A task whose training loss fell less than the others' over the last two epochs weighs
more in the next. It is a function of the losses on record, so a resumed run weighs its tasks as before.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from unfreeze.options import nearest

AUTO = "auto"
TEMPERATURE = 2.0  # the paper's; the higher, the more alike the weights


def task_weights(
    words: Sequence[str] | None, tasks: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> dict[str, float] | None:
    """The weight of each task in the epoch after ``rows``; they sum to the number of tasks.

    Args:
        words: of ``--task_weights``; None is no weights.
        rows: a record per finished epoch, as ``report.record.epoch_record`` makes them.

    Raises:
        ValueError: see ``parse_task_weights``.
    """
    if words is None:
        return None
    fixed = parse_task_weights(words, tasks)
    if fixed is not None:
        return fixed
    losses = [{task: row["train"].get(f"{task}/loss") for task in tasks} for row in rows]
    return dynamic_weight_average(losses, tasks)


def parse_task_weights(words: Sequence[str], tasks: Sequence[str]) -> dict[str, float] | None:
    """``("motion=2", "object=1")`` as weights that sum to the number of tasks; None for ``auto``.

    A task without a word has 1 before all are scaled.

    Raises:
        ValueError: no such task (the message has the nearest), no number above 0, or a task is named twice.
    """
    if AUTO in words:
        if len(words) > 1:
            raise ValueError("--task_weights: auto weighs all tasks; leave the other words out")
        return None
    given: dict[str, float] = {}
    for word in words:
        task, equals, number = word.rpartition("=")
        if not equals:
            raise ValueError(f"--task_weights: {word!r} is neither auto nor a weight, as in {tasks[0]}=2")
        if task not in tasks:
            raise ValueError(
                f"--task_weights: no task {task!r}{nearest(task, tasks)} (tasks: {', '.join(tasks)})"
            )
        if task in given:
            raise ValueError(f"--task_weights: task {task!r} has two weights; leave one of them out")
        given[task] = _positive(word, number)
    return _scaled({task: given.get(task, 1.0) for task in tasks})


def dynamic_weight_average(
    losses: Sequence[Mapping[str, float | None]], tasks: Sequence[str]
) -> dict[str, float]:
    """The weights for the next epoch, from the mean training loss per task of each epoch before.

    All 1 until there are two epochs. A task for whose last two epochs there is no ratio (no labelled clip,
    a loss that was not finite, or one of 0) counts as one that stands still.
    """
    if len(losses) < 2:
        return dict.fromkeys(tasks, 1.0)
    now, before = losses[-1], losses[-2]
    ratios = {task: _ratio(now.get(task), before.get(task)) for task in tasks}
    top = max(ratios.values(), default=0.0)  # subtracted, as in any softmax, so that nothing overflows
    return _scaled({task: math.exp((ratio - top) / TEMPERATURE) for task, ratio in ratios.items()})


def _ratio(now: float | None, before: float | None) -> float:
    if now is None or before is None or not math.isfinite(before) or before <= 0:
        return 1.0
    ratio = now / before
    return ratio if math.isfinite(ratio) else 1.0


def _scaled(weights: Mapping[str, float]) -> dict[str, float]:
    total = math.fsum(weights.values())
    return {task: weight * len(weights) / total for task, weight in weights.items()}


def _positive(word: str, number: str) -> float:
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            f"--task_weights {word}: {number!r} is no number above 0; a task that is not to be trained is "
            "left out with --tasks"
        )
    return value
