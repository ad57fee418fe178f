"""The guide's commands: each is there as users know it, means what it says, and runs on real clips."""

from __future__ import annotations

import dataclasses
import re
import shlex
from pathlib import Path

import pytest

from unfreeze import strategies
from unfreeze.cli import main
from unfreeze.cli.train import requested
from unfreeze.training.config import resolve

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs" / "guide.md").read_text(encoding="utf-8")
README = (ROOT / "README.md").read_text(encoding="utf-8")

# what users of earlier versions have in their notes and scripts; these must go on working as they are
KNOWN = [
    "--freezing_strategy early_gradual",
    "--freezing_strategy early_gradual --early_gradual_freeze_epochs 1 "
    "--early_gradual_blocks_per_epoch 1 --early_gradual_target_ratio 0.5",
    "--freezing_strategy adaptive",
    "--freezing_strategy early_gradual --epochs 30",
    "--freezing_strategy early_gradual --early_gradual_freeze_epochs 2 --early_gradual_target_ratio 0.3",
    "--freezing_strategy adaptive --adaptive_patience 2 --adaptive_min_improvement 0.005",
    "--gradual_finetuning --phase1_epochs 5 --phase2_epochs 15",
    "--freezing_strategy early_gradual --epochs 20",
    "--freezing_strategy adaptive --adaptive_patience 3",
    "--freezing_strategy adaptive --adaptive_patience 2",
]


def commands(text: str) -> list[list[str]]:
    """The words of every command in a ```bash block, comments and line continuations resolved."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def training(text: str) -> list[list[str]]:
    """The flags of every training command."""
    return [
        words[2:] for words in commands(text) if words[:2] in (["python", "train.py"], ["unfreeze", "train"])
    ]


def quick(words: list[str], clips: Path, folder: Path) -> list[str]:
    """A command made small: tiny clips, two epochs, and files of the folder for those that it names."""
    lengths = {"--epochs": "2", "--phase1_epochs": "1", "--phase2_epochs": "1"}
    words = [lengths.get(before, word) for before, word in zip(["", *words], words, strict=False)]
    if not {"--epochs", "--phase1_epochs", "--phases", "--resume"} & set(words):
        words += ["--epochs", "2"]
    if "--resume" not in words:
        data = words.index("--data") if "--data" in words else None
        if data is None:
            words += ["--data", str(clips)]
        else:
            words[data + 1] = str(clips)
        words += ["--batch_size", "4"]
    return [*words, "--workers", "0", "--device", "cpu", "--output", str(folder / "runs")]


def test_the_guide_has_every_command_that_users_know() -> None:
    there = training(GUIDE)
    assert [known for known in KNOWN if known.split() not in there] == []


def test_the_guides_tables_say_the_defaults() -> None:
    stated = dict(re.findall(r"^\| `--(\w+)` \| (\S+) \|", GUIDE, re.MULTILINE))
    built = [strategies.get(name)() for name in strategies.available()]
    defaults = {one.flag(f.name): getattr(one, f.name) for one in built for f in dataclasses.fields(one)}
    assert stated == {flag: "none" if value == () else str(value) for flag, value in defaults.items()}


@pytest.mark.parametrize(
    ("words", "strategy", "epochs"),
    [
        ("", strategies.get("early_gradual")(), 12),
        (KNOWN[4], strategies.get("early_gradual")(freeze_epochs=2, target_ratio=0.3), 12),
        (KNOWN[3], strategies.get("early_gradual")(), 30),
        (KNOWN[6], strategies.get("fixed")(phase1_epochs=5, phase2_epochs=15), 20),
        (KNOWN[6] + " --epochs 20", strategies.get("fixed")(phase1_epochs=5, phase2_epochs=15), 20),
        (KNOWN[8], strategies.get("adaptive")(patience=3), 12),
        (KNOWN[2], strategies.get("adaptive")(patience=2, min_improvement=0.005), 12),
    ],
)
def test_a_command_means_what_it_says(words: str, strategy: strategies.Strategy, epochs: int) -> None:
    config, chosen = requested(words.split(), "train.py")
    assert chosen == strategy
    assert resolve(config, chosen).epochs == epochs


ALL = {" ".join(words): words for words in [[], *training(GUIDE), *training(README)]}


@pytest.mark.parametrize("command", ALL, ids=lambda command: command or "no flags")
def test_every_training_command_runs(
    command: str, clips: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    phases = re.search(r"^```yaml\n# phases\.yaml\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert phases
    (tmp_path / "phases.yaml").write_text(re.sub(r"epochs: \d+", "epochs: 1", phases[1]))
    monkeypatch.chdir(tmp_path)
    if "--resume" in ALL[command]:
        shown = [
            "--data",
            str(clips),
            "--batch_size",
            "4",
            "--epochs",
            "2",
            "--workers",
            "0",
            "--device",
            "cpu",
        ]
        assert main([*shown, "--output", str(tmp_path / "runs")], command="train", program="train.py") == 0
    words = [word.replace("runs/NAME", str(finished)) for word in ALL[command]]
    assert main(quick(words, clips, tmp_path), command="train", program="train.py") == 0
    assert len(list((tmp_path / "runs").glob("*/best.pt"))) == 1


def test_every_command_on_a_finished_run_runs(
    clips: Path, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = 0
    for words in [*commands(GUIDE), *commands(README)]:
        if words[0] == "unfreeze" and words[1] in ("check", "evaluate", "predict"):
            folders = {"my_clips/": clips.parent, "new_clips/": clips.parent}
            there = {**folders, "my_clip.mp4": clips.parent / "00_left_disc.mp4"}
            real = [str(there.get(word, word)).replace("runs/NAME", str(finished)) for word in words[1:]]
            assert main([*real, "--workers", "0", "--device", "cpu"]) == 0, words
            ran += 1
    assert ran >= 3
