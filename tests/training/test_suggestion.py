from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from unfreeze.data import Manifest, Sample, View
from unfreeze.data.survey import FileReport, Survey, findings
from unfreeze.preprocessing import Preprocessing
from unfreeze.training.config import TrainConfig
from unfreeze.training.estimate import Estimate
from unfreeze.training.suggestion import Suggestion, command, suggest

CLIP = Preprocessing(16, 56, (48, 48), (0.5,) * 3, (0.5,) * 3, fps=8.0)  # 2 seconds
SMALL = Estimate(
    on="cpu", ram=1, ram_basis="", device=1600, device_per_clip=100, device_basis="", free=10**9,
    epoch=(1.0, 2.0), heaviest=2, clips_per_second=1.0, decode_per_clip=1.0, epoch_basis="", run=4.0,
    clip_cache="",
)  # fmt: skip


def suggested(counts=(3, 3), seconds=3.0, estimate=SMALL, clip=CLIP, **flags) -> Suggestion:
    labels = [label for label, count in enumerate(counts) for _ in range(count)]
    samples = tuple(
        Sample((View(Path(f"{i}.mp4")),), "train", {"motion": label, "object": i % 2})
        for i, label in enumerate(labels)
    )
    tasks = {"motion": ("hop", "spin"), "object": ("disc", "square")}
    manifest = Manifest(tasks, samples, "data")
    reports = {s.path: FileReport(s.path, seconds=seconds, fps=10.0, frames=30) for s in samples}
    survey = Survey(reports, "full")
    return suggest(TrainConfig(**flags), manifest, survey, findings(survey, manifest, clip), clip, estimate)


def test_where_all_is_well_nothing_is_changed():
    assert suggested() == Suggestion({}, ())


@pytest.mark.parametrize(
    ("found", "flags"),
    [
        ({"counts": (12, 4)}, {}),  # 3:1 is not above
        ({"counts": (13, 4)}, {"balance": ("motion=weights",)}),
        ({"counts": (13, 4), "balance": ("sampler",)}, {}),  # the user has thought of it
        ({"seconds": 1.0}, {"fps": ("16",)}),
        ({"seconds": 1.0, "fps": 8.0}, {}),
        ({"seconds": 1.0, "clip": replace(CLIP, fps=None)}, {}),
        ({"estimate": replace(SMALL, free=900)}, {"batch_size": ("4",), "accumulate": ("4",)}),
        (
            {"estimate": replace(SMALL, free=900), "accumulate": 2},
            {"batch_size": ("4",), "accumulate": ("8",)},
        ),
        ({"estimate": None}, {}),
    ],
)
def test_what_is_suggested(found, flags):
    made = suggested(**found)
    assert made.flags == flags
    assert len(made.reasons) == bool(flags)
    assert all(reason.startswith(f"--{next(iter(flags))}") for reason in made.reasons)


def test_a_gpu_can_take_more_and_a_processor_less():
    (reason,) = suggested(estimate=replace(SMALL, on="cuda")).reasons
    assert "check --model mvit_v2_s too" in reason
    (reason,) = suggested(estimate=replace(SMALL, epoch=(1.0, 7200.0))).reasons
    assert "about 2.0 hours here" in reason


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], "unfreeze train --balance motion=weights"),
        (["--data", "a b", "--flip"], "unfreeze train --data a b --flip --balance motion=weights"),
        (["--balance", "x", "y", "--lr=1"], "unfreeze train --lr=1 --balance motion=weights"),
        (["--balance=none", "--lr", "1"], "unfreeze train --lr 1 --balance motion=weights"),
    ],
)
def test_a_suggested_flag_replaces_the_users_own(words, expected):
    suggestion = Suggestion({"balance": ("motion=weights",)}, ())
    assert " ".join(command("unfreeze train", words, suggestion)) == expected
