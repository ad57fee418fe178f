"""fixed: two phases by numbers, or any list of phases from data."""

from __future__ import annotations

import dataclasses
import json

import pytest
import yaml

from unfreeze.strategies import BlockInfo
from unfreeze.strategies.fixed import Fixed, Phase, phases_from_data

TOP3 = ("layer3.1", "layer4.0", "layer4.1")


def decisions(strategy, blocks, epochs, play):
    return play(strategy, blocks, [0.5] * (epochs - 1))


def test_the_defaults_freeze_five_epochs_and_then_train_the_last_three_blocks(play, r3d_18):
    trainable = [d.trainable for d in decisions(Fixed(), r3d_18, 22, play)]

    assert trainable == [()] * 5 + [TOP3] * 17
    assert Fixed().run_length() == 20


@pytest.mark.parametrize(
    ("settings", "length", "trainable"),
    [
        ({"phase1_epochs": 0, "phase2_epochs": 2}, 2, [TOP3] * 3),
        ({"phase1_epochs": 1, "phase2_epochs": 1}, 2, [(), TOP3, TOP3]),
        ({"phase1_epochs": 2, "phase2_epochs": 1, "unfreeze_blocks": 0}, 3, [(), (), ()]),
        (
            {"phase1_epochs": 1, "phase2_epochs": 2, "unfreeze_blocks": 1},
            3,
            [(), ("layer4.1",), ("layer4.1",)],
        ),
    ],
)
def test_two_phases(play, r3d_18, settings, length, trainable):
    strategy = Fixed(**settings)

    assert strategy.run_length() == length
    assert [d.trainable for d in decisions(strategy, r3d_18, 3, play)] == trainable


def test_the_reason_names_the_phase_and_that_the_last_one_goes_on(play, r3d_18):
    reasons = [d.reason for d in decisions(Fixed(1, 2), r3d_18, 4, play)]

    assert reasons == [
        "phase 1 of 2, epochs 1 to 1",
        "phase 2 of 2, epochs 2 to 3",
        "phase 2 of 2, epochs 2 to 3",
        "phase 2 of 2, epochs 2 to 3, goes on after its end",
    ]


@pytest.mark.parametrize(
    ("blocks", "expected"),
    [
        ("all", ("stem", "pool", "layer1.0", "layer1.1", "layer2.0")),
        ("none", ()),
        ("last 1", ("layer2.0",)),
        ("last  2", ("layer1.1", "layer2.0")),
        ("last 4", ("stem", "pool", "layer1.0", "layer1.1", "layer2.0")),
        ("layer1.1", ("layer1.1",)),
        ("layer1.*", ("layer1.0", "layer1.1")),
        ("layer?.0", ("layer1.0", "layer2.0")),
        # from input to output, whatever the order of the words
        (("layer2.0", "stem"), ("stem", "layer2.0")),
        (("last 1", "layer1.*", "stem", "stem"), ("stem", "layer1.0", "layer1.1", "layer2.0")),
        (("all", "last 1"), ("stem", "pool", "layer1.0", "layer1.1", "layer2.0")),
    ],
)
def test_what_a_phase_selects(blocks, expected):
    infos = tuple(
        BlockInfo(n, 0 if n == "pool" else 5) for n in ("stem", "pool", "layer1.0", "layer1.1", "layer2.0")
    )

    assert Phase(1, blocks).select(infos) == expected


def test_phases_from_a_yaml_file_with_refreezing_and_learning_rates(play, r3d_18):
    text = """
    - {epochs: 1, blocks: none}
    - {epochs: 2, blocks: layer4.*, lr_scale: 0.5}
    - epochs: 1
      blocks: [stem, last 1]
    """
    strategy = Fixed(phases=phases_from_data(yaml.safe_load(text)))

    played = decisions(strategy, r3d_18, 5, play)

    top = ("layer4.0", "layer4.1")
    assert [d.trainable for d in played] == [(), top, top, ("stem", "layer4.1"), ("stem", "layer4.1")]
    assert [dict(d.lr_scales) for d in played] == [
        {},
        dict.fromkeys(top, 0.5),
        dict.fromkeys(top, 0.5),
        {},
        {},
    ]
    assert strategy.run_length() == 4
    # on its way to the most that ever trains, so that progress never exceeds 100%
    assert {d.target for d in played} == {10_750_976 + 14_157_824}


def test_the_fields_survive_a_detour_through_json():
    strategy = Fixed(phases=(Phase(2, "none"), Phase(3, ("stem", "last 2"), 0.1)))

    assert Fixed(**json.loads(json.dumps(dataclasses.asdict(strategy)))) == strategy
    assert Fixed(**json.loads(json.dumps(dataclasses.asdict(Fixed())))) == Fixed()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (None, "phases must be a list of phases, each with epochs and blocks, not nothing"),
        ([], r"phases must be a list .*, not list \[\]"),
        ("last 3", "phases must be a list .*, not str 'last 3'"),
        ({"epochs": 1}, "phases must be a list .*, not dict"),
        ([3], "phase 1: must be a mapping with epochs and blocks, not int 3"),
        (
            [{"epochs": 1, "blocks": "all"}, {"epoch": 3}],
            "phase 2: unknown key 'epoch'; did you mean 'epochs'?",
        ),
        ([{"epochs": 1}], "phase 1: the key 'blocks' is missing"),
        ([{"blocks": "all"}], "phase 1: the key 'epochs' is missing"),
        ([{"epochs": 0, "blocks": "all"}], "phase 1: epochs must be at least 1, not 0"),
        ([{"epochs": "2", "blocks": "all"}], "phase 1: epochs must be a whole number, not '2'"),
        ([{"epochs": 1, "blocks": "all", "lr_scale": 0}], "phase 1: lr_scale must be above 0, not 0"),
        ([{"epochs": 1, "blocks": None}], "phase 1: blocks must be all, none, .*, not None"),
        ([{"epochs": 1, "blocks": 3}], "phase 1: blocks must be all, none, .*, not 3"),
        ([{"epochs": 1, "blocks": []}], r"phase 1: blocks must be all, none, .*, not \(\)"),
        ([{"epochs": 1, "blocks": ["stem", 3]}], r"phase 1: blocks must be all, none, .*, not \('stem', 3\)"),
        ([{"epochs": 1, "blocks": ["none", "stem"]}], "phase 1: blocks cannot be none together with others"),
        ([{"epochs": 1, "blocks": "last 0"}], "phase 1: blocks: 'last 0' needs a whole number from 1 on"),
        ([{"epochs": 1, "blocks": ["stem", "last x"]}], "phase 1: blocks: 'last x' needs a whole number"),
    ],
)
def test_malformed_phases_are_errors_that_name_the_phase_and_the_key(data, message):
    with pytest.raises(ValueError, match=f"^{message}"):
        phases_from_data(data)


def test_a_block_that_the_model_lacks_is_an_error_in_the_first_epoch_already(play, r3d_18):
    strategy = Fixed(phases=(Phase(5, "none"), Phase(5, "layer4.2")))

    with pytest.raises(ValueError, match=r"phase 2: no block is called 'layer4\.2'; did you mean 'layer4"):
        play(strategy, r3d_18, [])


def test_a_pattern_without_a_match_is_an_error(play, r3d_18):
    with pytest.raises(
        ValueError, match=r"phase 1: no block is called 'blocks\.\*' \(blocks: stem, layer1\.0"
    ):
        play(Fixed(phases=(Phase(5, "blocks.*"),)), r3d_18, [])


def test_phases_together_with_the_two_phase_fields_are_an_error():
    with pytest.raises(
        ValueError, match="--phases says everything; leave out --phase1_epochs 2 and --unfreeze_blocks 1"
    ):
        Fixed(phase1_epochs=2, unfreeze_blocks=1, phases=(Phase(1, "all"),))


def test_so_is_a_two_phase_field_that_says_its_default():
    assert (Fixed().phase1_epochs, Fixed().phase2_epochs, Fixed().unfreeze_blocks) == (5, 15, 3)
    with pytest.raises(ValueError, match=r"leave out --phase1_epochs 5$"):
        Fixed(phase1_epochs=5, phases=(Phase(1, "all"),))


def test_more_blocks_than_there_are_is_warned_of_when_the_phase_begins(play):
    blocks = (BlockInfo("a", 1), BlockInfo("b", 1))

    played = decisions(Fixed(1, 2), blocks, 3, play)

    assert [d.trainable for d in played] == [(), ("a", "b"), ("a", "b")]
    assert [d.warnings for d in played] == [
        (),
        ("phase 2 asks for the last 3 blocks, but 2 have parameters: all of them train",),
        (),
    ]


def test_flags_have_no_prefix():
    assert [Fixed.flag(f.name) for f in dataclasses.fields(Fixed)] == [
        "phase1_epochs",
        "phase2_epochs",
        "unfreeze_blocks",
        "phases",
    ]
