"""The metric, on cases in which the official script and plain sense differ, and in which they do not."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unfreeze.data import Sample, View
from unfreeze.data.formats.mvfoul import ACTIONS, SEVERITIES
from unfreeze.training import mvfoul


def truth(*actions: tuple[str, str, str]) -> dict:
    keys = ("Action class", "Offence", "Severity")
    return {"Actions": {str(i): dict(zip(keys, action, strict=True)) for i, action in enumerate(actions)}}


NO, PLAIN, YELLOW, RED = SEVERITIES
# One case of every class, of which both values agree.
EVERY = [
    ("Tackling", "No offence", ""),
    ("Standing tackling", "Offence", "1.0"),
    ("High leg", "Offence", "3.0"),
    ("Holding", "Offence", "5.0"),
    ("Pushing", "Offence", "1.0"),
    ("Elbowing", "Offence", "1.0"),
    ("Challenge", "Offence", "1.0"),
    ("Dive", "Offence", "1.0"),
]
RIGHT = {
    str(i): (action, severity)
    for i, (action, severity) in enumerate(zip(ACTIONS, [NO, PLAIN, YELLOW, RED, *[PLAIN] * 4], strict=True))
}


def both(annotations: dict, classes: dict[str, tuple[str, str]]) -> tuple[dict, dict]:
    file = mvfoul.predictions("test", classes)
    return mvfoul.official(annotations, file), mvfoul.corrected(annotations, file)


def test_all_right_is_a_hundred_by_both():
    for scores in both(truth(*EVERY), RIGHT):
        assert scores == {
            "accuracy_offence_severity": 100, "balanced_accuracy_offence_severity": 100,
            "accuracy_action": 100, "balanced_accuracy_action": 100, "leaderboard_value": 100,
        }  # fmt: skip


def test_balanced_accuracies_and_their_mean():
    wrong = RIGHT | {"0": ("Dive", NO), "4": ("Pushing", RED), "5": ("Pushing", PLAIN)}
    for scores in both(truth(*EVERY), wrong):
        assert scores["accuracy_action"] == pytest.approx(100 * 6 / 8)
        assert scores["balanced_accuracy_action"] == pytest.approx(100 * 6 / 8)
        assert scores["balanced_accuracy_offence_severity"] == pytest.approx(100 * (1 + 4 / 5 + 1 + 1) / 4)
        assert scores["leaderboard_value"] == pytest.approx((75 + 95) / 2)


def test_what_the_filter_drops_does_not_count_and_what_is_not_predicted_is_wrong():
    dropped = [("Dont know", "Offence", "1.0"), ("Holding", "Between", ""), ("Holding", "Offence", "2.0")]
    predicted = {number: classes for number, classes in RIGHT.items() if number != "7"}
    for scores in both(truth(*EVERY, *dropped), predicted):
        assert scores["accuracy_action"] == pytest.approx(100 * 7 / 8)


@pytest.mark.parametrize(
    ("annotation", "predicted", "official", "corrected"),
    [
        (("Tackling", "No offence", ""), NO, True, True),
        (("Tackling", "No offence", "3.0"), NO, True, True),
        (("Tackling", "No Offence", ""), NO, False, True),
        (("Dive", "Between", "1.0"), PLAIN, False, True),
        (("Dive", "", ""), PLAIN, False, True),
        (("Dive", "Offence", ""), PLAIN, True, True),
        (("Dive", "Offence", "3.0"), YELLOW, False, True),
        (("Dive", "Offence", "3.0"), PLAIN, True, False),
        (("Holding", "Offence", "3.0"), YELLOW, True, True),
        (("Holding", "Offence", "3.0"), PLAIN, False, False),
        (("Holding", "Offence", "3.0"), NO, False, False),
    ],
)
def test_raw_strings_against_classes(annotation, predicted, official, corrected):
    found = both(truth(annotation), {"0": (annotation[0], predicted)})
    assert [scores["accuracy_offence_severity"] for scores in found] == [100 * official, 100 * corrected]


def test_a_class_without_a_case_spoils_the_official_value_alone():
    official, corrected = both(truth(*EVERY[:3]), RIGHT)
    assert math.isnan(official["leaderboard_value"])
    assert corrected["leaderboard_value"] == 100


def test_the_file_of_predictions():
    assert mvfoul.predictions("chall", {"4": ("Dive", NO), "9": ("Holding", RED)}) == {
        "Set": "chall",
        "Actions": {
            "4": {"Action class": "Dive", "Offence": "No offence", "Severity": ""},
            "9": {"Action class": "Holding", "Offence": "Offence", "Severity": "5.0"},
        },
    }


def test_predictions_of_others_may_spell_no_offence_as_they_like_but_must_be_whole():
    written = {"Action class": "Tackling", "Offence": "No Offence", "Severity": "1.0"}
    file = {"Actions": {"0": written}}
    assert mvfoul.corrected(truth(EVERY[0]), file)["accuracy_offence_severity"] == 100
    del written["Severity"]
    with pytest.raises(ValueError, match="the prediction of action 0 has no 'Severity'; add it, be it blank"):
        mvfoul.corrected(truth(EVERY[0]), file)


def test_from_probabilities_to_classes():
    samples = [Sample((View(Path(f"Test/action_{n}/clip_0.mp4")),), "test", {}) for n in (12, 3)]
    one_hot = [[float(i == best) for i in range(8)] for best in (7, 0)]
    probabilities = {"action": one_hot, "severity": [row[4:] for row in one_hot]}
    assert mvfoul.best_classes(samples, probabilities) == {"12": ("Dive", RED), "3": ("Tackling", NO)}
