"""The challenge's own metric, where what was evaluated is SoccerNet-MVFoul."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.data.formats.mvfoul import ACTIONS, SEVERITIES

if TYPE_CHECKING:
    from unfreeze.data import Sample
    from unfreeze.training.evaluate import Evaluation

_CLASSES = {"action": ACTIONS, "severity": SEVERITIES}


def challenge_scores(
    found: Evaluation, samples: Sequence[Sample], tasks: Mapping[str, Sequence[str]]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """``{"Valid": {"official": …, "corrected": …}}`` and ``{"mvfoul_Valid.json": predictions}``, by the
    folders of ``annotations.json``; both empty where the data is something else.

    Only the actions that were evaluated count.
    """
    from unfreeze.training import mvfoul

    scores: dict[str, Any] = {}
    files: dict[str, Any] = {}
    if any(tuple(tasks.get(task, ())) != classes for task, classes in _CLASSES.items()):
        return scores, files
    by_file: dict[Path, list[int]] = {}
    for place, index in enumerate(found.indices.tolist()):
        by_file.setdefault(samples[index].path.parent.parent / "annotations.json", []).append(place)
    if not all(file.is_file() for file in by_file):
        return scores, files
    for file, places in by_file.items():
        name = file.parent.name
        here = [samples[int(found.indices[place])] for place in places]
        rows = {task: found.probabilities[task][places].tolist() for task in _CLASSES}
        predicted = mvfoul.predictions(name.lower(), mvfoul.best_classes(here, rows))
        every = json.loads(file.read_text(encoding="utf-8-sig"))["Actions"]
        seen = {"Actions": {number: every[number] for number in predicted["Actions"]}}
        scores[name] = {
            "official": _finite(mvfoul.official(seen, predicted)),
            "corrected": _finite(mvfoul.corrected(seen, predicted)),
        }
        files[f"mvfoul_{name}.json"] = predicted
    return scores, files


def _finite(scores: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in scores.items()}
