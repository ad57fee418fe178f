"""Commands, exit codes, and what an error looks like."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from unfreeze import __version__
from unfreeze.cli import main
from unfreeze.cli import train as train_command
from unfreeze.cli.main import COMMANDS, one_line

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("words", [[], ["--help"], ["-h"]])
def test_without_a_command_it_says_which_there_are(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 0
    out = capsys.readouterr().out
    assert all(f"\n  {command} " in out for command in COMMANDS)


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"unfreeze {__version__}\n"


def test_an_unknown_command_names_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "unfreeze: error: unknown command 'trian'; did you mean 'train'?\n"


def test_train_py_and_unfreeze_train_are_one_program() -> None:
    """Run for real, so that the script and the installed console command are what is tested."""
    script = [sys.executable, str(ROOT / "train.py")]
    console = [str(Path(sys.executable).with_name("unfreeze")), "train"]
    found = [
        subprocess.run([*program, "--epochs", "0"], capture_output=True, text=True)
        for program in (script, console)
    ]
    assert [run.returncode for run in found] == [2, 2]
    assert found[0].stderr == "train.py: error: --epochs must be at least 1, not 0\n"
    assert found[1].stderr == "unfreeze: error: --epochs must be at least 1, not 0\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\n  two"), "one two"),
        (ValueError(), "ValueError"),
        (OSError(errno.ENOSPC, "No space left on device", "runs/a"), "runs/a: No space left on device"),
        (OSError("cannot write x"), "cannot write x"),
        (
            OSError(errno.EXDEV, "Invalid cross-device link", "a", None, "b"),
            "a -> b: Invalid cross-device link",
        ),
        (
            ValueError(
                "Caught ValueError in DataLoader worker process 0.\n"
                "Original Traceback (most recent call last):\n"
                '  File "x.py", line 1, in f\nValueError: a.mp4: cannot be read\n'
            ),
            "a.mp4: cannot be read",
        ),
    ],
)
def test_every_error_becomes_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def raising(error: BaseException):  # type: ignore[no-untyped-def]
    def run(argv: list[str], program: str) -> int:
        raise error

    return run


def test_debug_shows_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(train_command, "run", raising(ValueError("no")))
    assert main(["train"]) == 2
    assert capsys.readouterr().err == "unfreeze: error: no\n"
    assert main(["train", "--debug"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("Traceback")
    assert err.endswith("unfreeze: error: no\n")


def test_ctrl_c_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train_command, "run", raising(KeyboardInterrupt()))
    assert main(["train"]) == 130
    assert capsys.readouterr().err == "unfreeze: stopped by Ctrl-C\n"


def test_a_mistake_of_ours_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_command, "run", raising(TypeError("ours")))
    with pytest.raises(TypeError, match="ours"):
        main(["train"])
    monkeypatch.setattr(train_command, "run", raising(AssertionError("ours")))
    with pytest.raises(AssertionError, match="ours"):
        main(["train"])


@pytest.mark.parametrize("words", [["--version"], ["train", "--help"]])
def test_a_reader_who_has_seen_enough_is_no_error(words: list[str]) -> None:
    """The pipe is closed at once: a short text notices it at its flush, a long one before."""
    program = subprocess.Popen(
        [sys.executable, "-c", f"from unfreeze.cli import main; raise SystemExit(main({words}))"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == b""
    assert program.wait() == 0
    program.stderr.close()
