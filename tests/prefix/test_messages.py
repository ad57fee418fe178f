"""What is said about a plan before the run, and about what came of it after."""

from __future__ import annotations

import pytest

from unfreeze.prefix.costs import Costs, Profile, suffix_seconds
from unfreeze.prefix.messages import decline_reason, expectation_line, part_of
from unfreeze.prefix.plan import Plan, plan
from unfreeze.prefix.savings import Savings

NAMES = ("stem", "layer1", "layer2", "layer3")
PROFILE = Profile((0.1, 0.1, 0.1, 0.1, 0.05), (1, 1, 1, 1), (0, 8_000_000, 4_000_000, 2_000_000, 1_000))


def planned(boundaries, *, train_rows=60, val_rows=20, refresh=0.0, read=0.0, write=0.0, **more) -> Plan:
    costs = Costs(0.2, PROFILE, read, write, suffix_seconds(PROFILE, train_rows, val_rows))
    return plan(boundaries, train_rows=train_rows, val_rows=val_rows, refresh=refresh, costs=costs, **more)


@pytest.mark.parametrize(
    ("found", "line"),
    [
        (
            planned([3] * 10),
            "behind layer2, in RAM; expected to save 6.0 of 11.7 minutes (51%)",
        ),
        (
            planned([4, 3, 3, 3, 3, 3]),
            "behind layer2, in RAM; expected to save 3.3 of 6.8 minutes (49%)",
        ),
        (
            planned([0, 0, 2, 2, 2, 2, 4, 4, 4, 4, 4, 4, 4, 4]),
            "behind layer1 in epochs 3 to 6, behind layer3 from epoch 7 on, in RAM; expected "
            "to save 7.7 of 16.7 minutes (46%)",
        ),
        (
            planned([0, 4, 4], filled=4),
            "behind layer3 from epoch 2 on, in RAM; expected to save 48 s of 3.7 minutes (22%)",
        ),
        (
            planned([4, 2], filled=4),
            "behind layer3 in epoch 1, in RAM; expected to save 48 s of 2.3 minutes (34%)",
        ),
        (
            planned([3] * 10, refresh=1.0, write=1e-9),
            "behind layer2, in RAM; expected to save 1.5 of 11.7 minutes "
            "(13%)",
        ),
        (planned([0, 0]), "off, as no block at the input stays frozen"),
        (planned([3]), "off, as there is only one epoch with frozen blocks"),
        (planned([0, 3]), "off, as there is only one epoch with frozen blocks"),
        (
            planned([3, 3], limit=79_000, val_rows=0),
            "off, as about 120 MB of activations do not fit into 79 kB",
        ),
        (planned([3, 3, 3], refresh=1.0, val_rows=0), "off, as every training view is drawn anew"),
        (
            planned([3, 3, 3], read=1.0),
            "off, as keeping and reading activations would take longer than computing them again",
        ),
        (planned([1] * 3, train_rows=1, val_rows=0), "off, as it would save only 600 ms of 4.0 s (15%)"),
        (
            planned([1, 1], refresh=0.9, val_rows=0),
            "off, as it would save only 1.8 s of 2.7 minutes (1%)",
        ),
    ],
)  # fmt: skip
def test_what_is_expected(found, line):
    reason = decline_reason(found)
    said = expectation_line(found, NAMES, "in RAM") if reason is None else f"Prefix cache: off, as {reason}"
    assert said == f"Prefix cache: {line}"


def test_what_was_asked_for_is_not_said_to_be_off():
    found = planned([1] * 3, train_rows=1, val_rows=0)
    assert expectation_line(found, NAMES, "in RAM") == (
        "Prefix cache: behind stem, in RAM; expected to save 600 ms of 4.0 s (15%)"
    )


def test_a_plan_from_the_middle_of_a_run_of_which_the_end_is_open():
    found = planned([2, 2, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3, 3], refresh=0.0)
    assert expectation_line(found, NAMES, "on disk (there)", first_epoch=6, at_least=True) == (
        "Prefix cache: behind layer1 in epochs 6 to 7, behind layer2 from epoch 8 on, on disk (there); "
        "expected to save at least 7.7 of 15.6 minutes (50%)"
    )


@pytest.mark.parametrize(
    ("share", "seconds", "declined"),
    [(0.05, 1.0, False), (0.9, 1.0, True), (0.05, 1e6, True), (0.0, 0.0, False)],
)
def test_what_is_too_little(share, seconds, declined):
    assert (decline_reason(planned([3] * 10), share=share, seconds=seconds) is not None) == declined


@pytest.mark.parametrize(
    ("part", "whole", "said"),
    [
        (186, 252, "3.1 of 4.2 minutes (74%)"),
        (14, 252, "14 s of 4.2 minutes (6%)"),
        (2, 8000, "2.0 s of 2.2 hours (0%)"),
        (0.5, 3, "500 ms of 3.0 s (17%)"),
        (0, 0, "0.0 of 0.0 ms"),
    ],
)
def test_a_part_of_a_time(part, whole, said):
    assert part_of(part, whole) == said


COSTS = Costs(0.2, PROFILE, read=1e-9, write=5e-9)


def test_savings_add_up():
    """A row behind layer2 spares 0.2 + 0.3 s and is read in 2 ms and written in 10 ms."""
    filled = Savings().add(COSTS, 3, decoded=100, written=100)
    assert filled == Savings(read=0, decoded=100, spared=0.0, spent=1.0)
    again = filled.add(COSTS, 3, read=75, decoded=25, written=25)
    assert (again.read, again.decoded) == (75, 125)
    assert again.saved == pytest.approx(75 * (0.5 - 0.002) - 1.25)
    assert again.spend(2.0).saved == pytest.approx(again.saved - 2.0)


@pytest.mark.parametrize(
    ("savings", "seconds", "line"),
    [
        (
            Savings(6400, 800, spared=186, spent=6),
            72,
            "saved about 3.0 of 4.2 minutes (71%): 6,400 of 7,200 clips came from it",
        ),
        (Savings(0, 7200, spent=2), 60, "cost 2.0 s more than it saved: 0 of 7,200 clips came from it"),
        (
            Savings(10, 10, spared=4, spent=9),
            60,
            "cost 5.0 s more than it saved: 10 of 20 clips came from it",
        ),
        (Savings(), 60, "saved about 0.0 ms of 1.0 minutes (0%): 0 of 0 clips came from it"),
    ],
)
def test_the_closing_line(savings, seconds, line):
    assert savings.line(seconds) == f"Prefix cache: {line}"


def test_what_is_behind_a_boundary_is_thrice_its_forward_pass_in_training():
    seconds = suffix_seconds(PROFILE, 10, 5)
    assert seconds == pytest.approx([35 * s for s in (0.45, 0.35, 0.25, 0.15, 0.05)])


@pytest.mark.parametrize("suffix", [(7.0, 8.0, 9.0), {0: 7.0, 1: 8.0, 2: 9.0}, lambda b: 7.0 + b])
def test_the_suffix_is_a_table_or_a_function(suffix):
    costs = Costs(0.0, PROFILE, suffix=suffix)
    assert [costs.behind(b) for b in range(3)] == [7.0, 8.0, 9.0]
    assert Costs(0.0, PROFILE).behind(1) == 0.0
