"""The log's lines, letter by letter as the guide has them."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unfreeze.freezer import ParamStatus
from unfreeze.report.lines import epoch_lines, params_lines, plain, transition_lines
from unfreeze.strategies import get
from unfreeze.strategies.fixed import Phase


def transitions(simulate, name, values, *, sizes=None, **settings):
    """The transition lines of every epoch."""
    strategy = get(name)(**settings)
    epochs = simulate(strategy, values, sizes) if sizes else simulate(strategy, values)
    return [transition_lines(epoch.transition, epoch.status, name) for epoch in epochs]


def test_params_lines_are_the_guide_s():
    status = ParamStatus(
        total=25_557_318,
        trainable=14_279_540,
        backbone_total=23_512_345,
        backbone_trainable=12_234_567,
        heads_total=2_044_973,
        heads_trainable=2_044_973,
        frozen=11_277_778,
        blocks={},
    )

    assert params_lines(status, 5) == [
        "[PARAMS] Epoch 5 Parameter Status:",
        "  📊 Total model: 14,279,540/25,557,318 trainable (55.9%)",
        "  🧠 Backbone: 12,234,567/23,512,345 trainable (52.0%)",
        "  🎯 Classification heads: 2,044,973 trainable",
        "  ❄️  Frozen parameters: 11,277,778",
    ]


def test_a_model_without_a_backbone_divides_by_nothing():
    status = ParamStatus(7, 7, 0, 0, 7, 7, 0, {})

    assert params_lines(status, 1)[2] == "  🧠 Backbone: 0/0 trainable (0.0%)"


def test_early_gradual_on_r3d_18(simulate):
    said = transitions(simulate, "early_gradual", [0.5] * 4)

    assert said == [
        [],
        [
            "[EARLY_GRADUAL] Epoch 2: Unfroze layer4.1 (14,157,824 parameters)",
            "[EARLY_GRADUAL] Progress: 14,157,824/16,583,136 parameters (85.4% of target)",
            "[EARLY_GRADUAL] Rebuilding optimizer due to layer changes",
            "[EARLY_GRADUAL] Newly unfrozen layers: ['layer4.1']",
        ],
        [
            "[EARLY_GRADUAL] Epoch 3: Unfroze layer4.0 (10,750,976 parameters)",
            "[EARLY_GRADUAL] Progress: 24,908,800/16,583,136 parameters (150.2% of target)",
            "[EARLY_GRADUAL] Rebuilding optimizer due to layer changes",
            "[EARLY_GRADUAL] Newly unfrozen layers: ['layer4.0']",
        ],
        [],
    ]


def test_what_trains_in_the_first_epoch_is_said_to_have_thawed(simulate):
    (said,) = transitions(simulate, "early_gradual", [0.5], freeze_epochs=0)

    assert said[0] == "[EARLY_GRADUAL] Epoch 1: Unfroze layer4.1 (14,157,824 parameters)"
    assert said[-1] == "[EARLY_GRADUAL] Newly unfrozen layers: ['layer4.1']"


def test_a_run_that_trains_everything_says_so_once(simulate):
    said = transitions(simulate, "none", [0.5] * 3)

    assert said == [["[NONE] Epoch 1: The whole backbone trains (9 blocks, 33,166,272 parameters)"], [], []]


def test_a_backbone_of_one_block_and_a_thaw_of_everything_later_name_the_blocks(simulate):
    (only,) = transitions(simulate, "none", [0.5], sizes={"trunk": 7})
    _, later = transitions(simulate, "fixed", [0.5] * 2, phase1_epochs=1, unfreeze_blocks=9)

    assert only[0] == "[NONE] Epoch 1: Unfroze trunk (7 parameters)"
    assert sum("Unfroze" in line for line in later) == 9


def test_head_only_has_no_target_and_nothing_to_say(simulate):
    assert transitions(simulate, "head_only", [0.5] * 3) == [[], [], []]


def test_a_target_of_nothing_divides_by_nothing(simulate):
    sizes = {"pool": 0, "norm": 0}
    (said,) = transitions(simulate, "fixed", [0.5], sizes=sizes, phases=(Phase(1, "pool"),))

    assert said == [
        "[FIXED] Epoch 1: Unfroze pool (0 parameters)",
        "[FIXED] Rebuilding optimizer due to layer changes",
        "[FIXED] Newly unfrozen layers: ['pool']",
    ]


def test_freezing_again(simulate):
    phases = (Phase(1, "layer4.*"), Phase(1, ("stem", "layer4.1")), Phase(1, "none"))
    _, swapped, frozen = transitions(simulate, "fixed", [0.5] * 3, phases=phases)

    assert swapped == [
        "[FIXED] Epoch 2: Unfroze stem (28,352 parameters)",
        "[FIXED] Epoch 2: Froze layer4.0 (10,750,976 parameters)",
        "[FIXED] Progress: 14,186,176/24,908,800 parameters (57.0% of target)",
        "[FIXED] Rebuilding optimizer due to layer changes",
        "[FIXED] Newly unfrozen layers: ['stem']",
        "[FIXED] Newly frozen layers: ['layer4.0']",
    ]
    assert frozen == [
        "[FIXED] Epoch 3: Froze stem (28,352 parameters)",
        "[FIXED] Epoch 3: Froze layer4.1 (14,157,824 parameters)",
        "[FIXED] Progress: 0/24,908,800 parameters (0.0% of target)",
        "[FIXED] Rebuilding optimizer due to layer changes",
        "[FIXED] Newly frozen layers: ['stem', 'layer4.1']",
    ]


def test_adaptive_says_why_in_every_epoch(simulate):
    said = transitions(simulate, "adaptive", [0.5, 0.5, 0.5, 0.5])

    assert [lines[0] for lines in said] == [
        "[ADAPTIVE] Epoch 1: the backbone is frozen until the metric stops improving",
        "[ADAPTIVE] Epoch 2: val/accuracy 0.5, best 0.5 (epoch 1), 0 of 2 epochs without improvement",
        "[ADAPTIVE] Epoch 3: val/accuracy 0.5, best 0.5 (epoch 1), 1 of 2 epochs without improvement",
        "[ADAPTIVE] Epoch 4: val/accuracy 0.5, best 0.5 (epoch 1), 2 of 2 epochs without improvement: "
        "thaw the next block",
    ]
    assert [len(lines) for lines in said] == [1, 1, 1, 5]
    assert said[3][1] == "[ADAPTIVE] Epoch 4: Unfroze layer4.1 (14,157,824 parameters)"


def test_warnings_of_a_decision_are_lines(simulate):
    said = transitions(simulate, "adaptive", [float("nan"), 0.5])

    assert said[1][0].startswith("[ADAPTIVE] Epoch 2: Warning: val/accuracy of epoch 1 is nan")


def test_the_line_at_the_end_of_an_epoch(simulate):
    epochs = simulate(get("head_only")(), [0.5, 0.25])

    assert epoch_lines(epochs[1].record) == [
        "[EPOCH] Epoch 2: train loss 1.5000, val/accuracy 0.2500 (best 0.5000, epoch 1), 4.2 s, "
        "41.0 clips/s, 12% waiting for data"
    ]


def test_an_epoch_without_a_finite_metric(simulate):
    record = simulate(get("head_only")(), [0.5])[0].record
    record["monitor"] = {"name": "val/accuracy", "value": None, "best": None, "best_epoch": None}

    assert "val/accuracy - (best none yet)" in epoch_lines(record)[0]


@pytest.mark.parametrize(
    ("text", "encoding", "expected"),
    [
        ("  📊 Total model: 1/2", "ascii", "  Total model: 1/2"),
        ("  🧠 Backbone", "ascii", "  Backbone"),
        ("  🎯 Classification heads", "latin-1", "  Classification heads"),
        ("  ❄️  Frozen parameters: 3", "ascii", "  Frozen parameters: 3"),
        ("  ❄️  Frozen parameters: 3", "utf-8", "  ❄️  Frozen parameters: 3"),
        ("─── a … b", "ascii", "--- a ... b"),
        ("classe épée", "latin-1", "classe épée"),
        ("classe épée", "ascii", r"classe \xe9p\xe9e"),
    ],
)
def test_plain_words(text, encoding, expected):
    assert plain(text, encoding) == expected


@given(st.text(), st.sampled_from(["ascii", "latin-1", "cp1252", "utf-8"]))
def test_plain_text_can_be_written_unless_it_is_no_text(text, encoding):
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    stream.write(plain(text, encoding))
    stream.flush()
