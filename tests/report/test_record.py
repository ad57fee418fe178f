"""The record of an epoch: its form, JSON, and what reading it back says of a broken file."""

from __future__ import annotations

import json

import pytest

from unfreeze.report.record import read_records
from unfreeze.strategies import get
from unfreeze.strategies.fixed import Phase


def test_the_form_of_a_record(simulate):
    record = simulate(get("fixed")(phases=(Phase(2, "last 2", 0.5),)), [0.5, 0.25], tasks=("motion",))[
        1
    ].record

    assert record == {
        "epoch": 2,
        "seconds": 4.2,
        "train": {"loss": 1.5, "motion/loss": 1.5},
        "val": {"loss": 1.25, "accuracy": 0.25, "motion/loss": 1.25, "motion/accuracy": 0.125},
        "monitor": {"name": "val/accuracy", "value": 0.25, "best": 0.5, "best_epoch": 1},
        "params": {
            "total": 33_171_402,
            "trainable": 24_913_930,
            "backbone_total": 33_166_272,
            "backbone_trainable": 24_908_800,
            "heads_total": 5_130,
            "heads_trainable": 5_130,
            "frozen": 8_257_472,
        },
        "trainable_blocks": ["layer4.0", "layer4.1"],
        "blocks": [
            *("stem", "layer1.0", "layer1.1", "layer2.0", "layer2.1"),
            *("layer3.0", "layer3.1", "layer4.0", "layer4.1"),
        ],
        "learning_rates": {"heads": 0.001},
        "decision": {
            "reason": "phase 1 of 1, epochs 1 to 2",
            "target": 24_908_800,
            "lr_scales": {"layer4.0": 0.5, "layer4.1": 0.5},
            "warnings": [],
        },
        "data_wait": 0.125,
        "clips_per_second": 41.0,
    }


def test_a_record_is_strict_json_also_where_a_metric_is_not_finite(simulate):
    record = simulate(get("head_only")(), [float("nan")])[0].record

    assert record["monitor"]["value"] is None
    assert record["val"]["accuracy"] is None
    assert json.loads(json.dumps(record, allow_nan=False)) == record


def test_records_are_read_back(simulate, tmp_path):
    records = [epoch.record for epoch in simulate(get("none")(), [0.5, 0.6], tasks=("a\u2028b",))]
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(json.dumps(r, ensure_ascii=False) + "\n" for r in records), encoding="utf-8")

    assert read_records(path) == records


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"epoch": 1}\n{"epoch": 2', r"metrics\.jsonl:2: this is not JSON: .*; remove the line"),
        ("[1]\n", r"metrics\.jsonl:1: expected the record of an epoch, not '\[1\]'"),
    ],
)
def test_a_broken_line_is_named(tmp_path, text, message):
    path = tmp_path / "metrics.jsonl"
    path.write_text(text, encoding="utf-8")

    with pytest.raises(ValueError, match=message):
        read_records(path)
