"""The table at the end of a run."""

from __future__ import annotations

from unfreeze.report.table import summary_table
from unfreeze.strategies import get


def records(simulate, values, **options):
    return [epoch.record for epoch in simulate(get("early_gradual")(), values, **options)]


def cells(line):
    return line.split()


def test_a_row_per_epoch_with_the_best_one_marked(simulate):
    header, rule, *rows, footer = summary_table(records(simulate, [0.5, 0.6, 0.55]))

    assert header.split("  ") != [header]
    assert cells(header) == [
        *("epoch", "trainable", "train", "loss", "val", "motion", "val", "object", "val", "mean", "seconds")
    ]
    assert set(rule) == {"─"}
    assert [cells(row) for row in rows] == [
        ["1", "0.0%", "1.5000", "0.2500", "0.2500", "0.5000", "4.2"],
        ["*", "2", "42.7%", "1.5000", "0.3000", "0.3000", "0.6000", "4.2"],
        ["3", "75.1%", "1.5000", "0.2750", "0.2750", "0.5500", "4.2"],
    ]
    assert footer == "val: accuracy; * best val/accuracy: 0.6000"


def test_a_single_task_needs_no_mean(simulate):
    header = summary_table(records(simulate, [0.5], tasks=("label",)))[0]

    assert cells(header) == ["epoch", "trainable", "train", "loss", "val", "label", "seconds"]


def test_a_value_that_was_not_finite_is_a_dash(simulate):
    lines = summary_table(records(simulate, [0.5, float("nan")]))

    assert cells(lines[3]) == ["2", "42.7%", "1.5000", "-", "-", "-", "4.2"]


def test_many_tasks_are_not_squeezed_into_a_terminal(simulate):
    tasks = [f"a_task_with_a_long_name_{number}" for number in range(12)]
    header, _, row, _ = summary_table(records(simulate, [0.5], tasks=tasks))

    assert all(task in header for task in tasks)
    assert cells(row) == ["*", "1", "0.0%", "1.5000", *["0.2500"] * 12, "0.5000", "4.2"]


def test_a_run_without_an_epoch_has_no_table():
    assert summary_table([]) == []
