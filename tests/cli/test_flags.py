"""From words to values: every spelling, every error, what --help shows."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest

from unfreeze import strategies
from unfreeze.cli import main
from unfreeze.cli.flags import Flag, Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.train import groups
from unfreeze.options import option
from unfreeze.training.config import TrainConfig


@dataclass
class Example:
    """One field of every kind."""

    rate: float = option(0.1, "a rate", gt=0, le=1)
    count: int | None = option(None, "a count (default: all)", ge=1)
    kind: Literal["small", "large"] = option("small", "a kind")
    names: tuple[str, ...] | None = option(None, "some names")
    extra: Mapping[str, Any] | None = option(None, "more")
    mirror: bool = option(False, "a switch")
    shape: tuple[int, ...] = option((), "a file", from_yaml=lambda data: tuple(int(x) for x in data))


EXAMPLE = (Group("example", flags_of(Example)),)


def read(*words: str) -> dict[str, Any]:
    return parse(words, EXAMPLE, program="prog", description="", reads_config=True)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["--rate", "1e-3"], {"rate": 1e-3}),
        (["--rate=0.5", "--count", "3"], {"rate": 0.5, "count": 3}),
        (["--count", "null"], {"count": None}),
        (["--kind", "large"], {"kind": "large"}),
        (["--names", "a", "b", "--rate", "1"], {"names": ("a", "b"), "rate": 1.0}),
        (["--names", "a,b"], {"names": ("a", "b")}),
        (["--names", "[a, b]"], {"names": ("a", "b")}),
        (
            ["--extra.betas", "[0.9, 0.95]", "--extra.eps", "1e-6"],
            {"extra": {"betas": [0.9, 0.95], "eps": 1e-6}},
        ),
        (["--extra", "{T_0: 5}"], {"extra": {"T_0": 5}}),
        (["--mirror"], {"mirror": True}),
        (["--no_mirror"], {"mirror": False}),
    ],
)
def test_words_become_values(words: list[str], expected: dict[str, Any]) -> None:
    assert read(*words) == expected


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--rat", "1"], "unknown flag --rat; did you mean '--rate'?"),
        (["--ratte", "1"], "unknown flag --ratte; did you mean '--rate'?"),
        (["--extar.eps", "1"], "unknown flag --extar.eps; did you mean '--extra'?"),
        (["--zzz"], "unknown flag --zzz; prog --help lists all flags"),
        (["stray"], "unexpected argument 'stray': a value follows its flag, as in --epochs 30"),
        (["--rate", "fast"], "--rate: expected a number, not 'fast'"),
        (["--rate", "nan"], "--rate: expected a number, not 'nan'"),
        (["--count", "2.5"], "--count: expected a whole number, not '2.5'"),
        (["--kind", "smal"], "--kind: expected one of small, large, not 'smal'; did you mean 'small'?"),
        (["--extra", "3"], "--extra: expected a mapping such as '{betas: [0.9, 0.95]}', not '3'"),
        (["--rate"], "--rate needs a value (--rate=VALUE where the value begins with a dash)"),
        (["--names"], "--names needs a value (--names=VALUE where the value begins with a dash)"),
        (["--config"], "--config needs the name of a YAML file"),
        (["--shape", "nowhere.yaml"], "there is no file nowhere.yaml; check the path"),
    ],
)
def test_wrong_words_are_one_line(words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        read(*words)


def test_the_command_line_goes_over_the_config_wherever_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(
        "rate: 1e-3\ncount: null\nnames: [a, b]\nextra: {eps: 1e-6, T_0: 5}\nmirror: true\nshape: [1, 2]\n"
    )
    wanted = {
        "rate": 0.5,
        "count": None,
        "names": ("a", "b"),
        "extra": {"eps": 1e-6, "T_0": 7},
        "mirror": True,
        "shape": (1, 2),
    }
    assert read("--rate", "0.5", "--config", str(path), "--extra.T_0", "7") == wanted
    assert read("--config", str(path), "--no_mirror")["mirror"] is False


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rate: 1\nratte: 2\n", ":2: unknown key 'ratte'; did you mean 'rate'?"),
        ("rate: 1\n\ncount: x\n", ":3: count: expected a whole number, not 'x'"),
        ("rate: null\n", ":1: rate: expected a number, not none"),
        ("mirror: perhaps\n", ":1: mirror: expected true or false, not perhaps"),
        ("rate: 1\nrate: 2\n", ":2: rate is given twice (first on line 1)"),
        ("- rate: 1\n", ": expected lines such as 'epochs: 30', not a list"),
        ("rate: [1\nkind: x\n", ":2: this is not YAML"),
        ("shape: [a]\n", "shape: "),
    ],
)
def test_a_wrong_config_names_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read("--config", str(path))
    assert "\n" not in str(caught.value)


def test_an_empty_config_is_fine_and_a_missing_or_binary_one_is_not(tmp_path: Path) -> None:
    empty, binary = tmp_path / "empty.yaml", tmp_path / "binary.yaml"
    empty.write_text("")
    binary.write_bytes(b"\xff\xfe\x00")
    assert read("--config", str(empty)) == {}
    with pytest.raises(ValueError, match=r"binary\.yaml is not a text file"):
        read("--config", str(binary))
    with pytest.raises(ValueError, match="there is no file"):
        read("--config", str(tmp_path / "none.yaml"))
    with pytest.raises(ValueError, match="is a folder"):
        read("--config", str(tmp_path))


def test_a_flag_without_default_is_needed() -> None:
    flag = Flag("checkpoint", str, dataclasses.MISSING, "a run folder")
    with pytest.raises(ValueError, match="--checkpoint is needed: a run folder"):
        parse([], (Group("", (flag,)),), program="prog", description="")


def test_the_help_says_default_and_bounds_once() -> None:
    rate, count, *_ = flags_of(Example)
    assert rate.help == "a rate (default: 0.1, > 0, <= 1)"
    assert count.help == "a count (default: all) (>= 1)"


def test_every_field_of_the_config_and_of_every_strategy_is_a_flag_of_train() -> None:
    shown = [flag.name for group in groups() for flag in group.flags]
    fields = [f.name for f in dataclasses.fields(TrainConfig)]
    for name in strategies.available():
        cls = strategies.get(name)
        fields += [cls.flag(f.name) for f in dataclasses.fields(cls)]
    assert sorted(shown) == sorted([*fields, "freezing_strategy", "gradual_finetuning"])


def test_the_help_of_train_teaches(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--help"]) == 0
    text = capsys.readouterr().out
    titles = ["data:", "model:", "freezing:", "optimization:", "machine:", "run:"]
    assert [line for line in text.splitlines() if line in titles] == titles
    assert text.count("  unfreeze train --") == 3
    for cls in map(strategies.get, strategies.available()):
        assert f"freezing: {cls.name}:" in text
    assert "(default: 0.5, >= 0, <= 1)" in " ".join(text.split())
    assert text.isascii()


def test_the_help_does_not_wait_for_torch() -> None:
    code = (
        "import sys; from unfreeze.cli import main\n"
        "for words in (['--help'], ['train', '--help'], ['evaluate', '--help'], ['predict', '--help']):\n"
        "    assert main(words) == 0\n"
        "heavy = {'torch', 'torchvision', 'torchmetrics', 'matplotlib', 'av'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
