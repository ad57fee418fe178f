"""The metric of the SoccerNet-MVFoul challenge, and the file that it takes predictions in.

The leaderboard value is the mean of two balanced accuracies, of the action and of the severity. The official
script (``SoccerNet.Evaluation.MV_FoulRecognition``) compares the offence as it is written in the annotations,
not as it is filtered, and so counts right predictions as wrong and the reverse:

- a ``No Offence`` is never equal to the ``No offence`` that the format asks for;
- a dive with a blank or ``Between`` offence counts as an offence, but is never equal to ``Offence``;
- a dive is compared with severity 1.0, whatever its own, of which it still counts as a case.

And a class without a single case makes its value NaN. ``official`` does as the script does, to be compared
with published values; ``corrected`` compares classes, over those that occur, to say how good a model is. Both
are in percent, under the names of the script. Annotations and predictions are JSON as a dict.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from unfreeze.data.formats.mvfoul import ACTIONS, SEVERITIES, labels_of
from unfreeze.data.manifest import Sample

Scores = dict[str, float]
# What the format has for each severity class.
_WRITTEN = {
    SEVERITIES[0]: ("No offence", ""),
    SEVERITIES[1]: ("Offence", "1.0"),
    SEVERITIES[2]: ("Offence", "3.0"),
    SEVERITIES[3]: ("Offence", "5.0"),
}
_CLASS_OF = {written: name for name, written in _WRITTEN.items()}

# (prediction, annotation, its action class, its severity class) -> whether action and severity are right.
_Compare = Callable[[Mapping[str, Any], Mapping[str, Any], str, str], tuple[bool, bool]]


def official(annotations: Mapping[str, Any], predictions: Mapping[str, Any]) -> Scores:
    """The values of the official script: ``leaderboard_value``, ``balanced_accuracy_action`` and so on."""
    return _scores(annotations, predictions, _as_written, _mean_of_all)


def corrected(annotations: Mapping[str, Any], predictions: Mapping[str, Any]) -> Scores:
    """The same values, from classes rather than spellings, and over the classes that occur."""
    return _scores(annotations, predictions, _as_classes, _mean_of_occurring)


def predictions(name: str, classes: Mapping[str, tuple[str, str]]) -> dict[str, Any]:
    """The official prediction file as a dict, ready for ``json.dump``.

    Args:
        name: of the split: ``test``, ``chall``.
        classes: number of an action -> its classes of ``action`` and ``severity``.
    """
    actions = {}
    for number, (action, severity) in classes.items():
        assert action in ACTIONS, f"{action!r} is no action class"
        assert severity in _WRITTEN, f"{severity!r} is no severity class"
        offence, written = _WRITTEN[severity]
        actions[number] = {"Action class": action, "Offence": offence, "Severity": written}
    return {"Set": name, "Actions": actions}


def number_of(sample: Sample) -> str:
    """The number of the action that ``sample`` is: the one of its folder, ``action_12``."""
    return sample.path.parent.name.removeprefix("action_")


def best_classes(
    samples: Iterable[Sample], probabilities: Mapping[str, Iterable[Sequence[float]]]
) -> dict[str, tuple[str, str]]:
    """Number of an action -> its most probable classes, as ``predictions`` wants them.

    Args:
        probabilities: of ``action`` and of ``severity``, a row of each sample in their order; logits will do.
    """
    both = zip(samples, probabilities["action"], probabilities["severity"], strict=True)
    return {
        number_of(sample): (ACTIONS[_largest(action)], SEVERITIES[_largest(severity)])
        for sample, action, severity in both
    }


def _largest(values: Sequence[float]) -> int:
    return max(range(len(values)), key=lambda i: float(values[i]))


def _scores(
    annotations: Mapping[str, Any],
    predictions: Mapping[str, Any],
    compare: _Compare,
    mean: Callable[[Sequence[int], Sequence[int]], float],
) -> Scores:
    """An action without a prediction is wrong twice; those that the filter drops do not count.

    Raises:
        ValueError: a prediction lacks a value.
    """
    cases = {"action": dict.fromkeys(ACTIONS, 0), "severity": dict.fromkeys(SEVERITIES, 0)}
    right = {"action": dict.fromkeys(ACTIONS, 0), "severity": dict.fromkeys(SEVERITIES, 0)}
    for number, annotation in annotations["Actions"].items():
        labels = labels_of(annotation)
        if isinstance(labels, str):
            continue
        action, severity = labels
        cases["action"][action] += 1
        cases["severity"][severity] += 1
        if (prediction := predictions["Actions"].get(number)) is not None:
            _check(number, prediction)
            action_right, severity_right = compare(prediction, annotation, action, severity)
            right["action"][action] += action_right
            right["severity"][severity] += severity_right
    scores: Scores = {}
    for task, name in (("severity", "offence_severity"), ("action", "action")):
        hits, of = list(right[task].values()), list(cases[task].values())
        scores[f"accuracy_{name}"] = 100 * _share(sum(hits), sum(of))
        scores[f"balanced_accuracy_{name}"] = 100 * mean(hits, of)
    both = scores["balanced_accuracy_offence_severity"] + scores["balanced_accuracy_action"]
    return {**scores, "leaderboard_value": both / 2}


def _check(number: str, prediction: Mapping[str, Any]) -> None:
    for key in ("Action class", "Offence", "Severity"):
        if key not in prediction:
            raise ValueError(f"the prediction of action {number} has no {key!r}; add it, be it blank")


def _as_written(
    prediction: Mapping[str, Any], annotation: Mapping[str, Any], action: str, severity: str
) -> tuple[bool, bool]:
    offence, written = _WRITTEN[severity]
    if action == "Dive" and offence == "Offence":
        written = "1.0"
    same_severity = prediction["Offence"] == annotation.get("Offence") and prediction["Severity"] == written
    return prediction["Action class"] == annotation.get("Action class"), same_severity


def _as_classes(
    prediction: Mapping[str, Any], annotation: Mapping[str, Any], action: str, severity: str
) -> tuple[bool, bool]:
    offence, written = str(prediction["Offence"]), str(prediction["Severity"])
    key = ("No offence", "") if offence.lower() == "no offence" else (offence, written)
    return prediction["Action class"] == action, _CLASS_OF.get(key) == severity


def _mean_of_all(hits: Sequence[int], of: Sequence[int]) -> float:
    return math.fsum(map(_share, hits, of)) / len(of)


def _mean_of_occurring(hits: Sequence[int], of: Sequence[int]) -> float:
    shares = [_share(hit, count) for hit, count in zip(hits, of, strict=True) if count]
    return math.fsum(shares) / len(shares) if shares else math.nan


def _share(hits: int, of: int) -> float:
    return hits / of if of else math.nan
