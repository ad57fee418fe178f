"""Lines come out as they went in, whatever the stream; bars only where somebody sees them."""

from __future__ import annotations

import io
import os
import re
import subprocess
import sys
import threading

import pytest

from unfreeze.report.console import RunConsole

LINES = [
    "[PARAMS] Epoch 5 Parameter Status:",
    "  📊 Total model: 8,388,608/25,557,318 trainable (32.8%)",
    "  ❄️  Frozen parameters: 11,277,778",
    "[EARLY_GRADUAL] Newly unfrozen layers: ['layer4.1']",
    "[bold]:smile: 'text' 12.5 None[/bold] " + "x" * 500,
    "",
]


class Terminal(io.StringIO):
    """A text stream that says it is a terminal."""

    encoding = "utf-8"

    def isatty(self):
        return True


@pytest.fixture(autouse=True)
def _no_overrides(monkeypatch):
    for name in ("FORCE_COLOR", "NO_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


@pytest.mark.parametrize("stream", [io.StringIO, Terminal])
def test_lines_are_neither_wrapped_nor_coloured_nor_read_as_markup(stream):
    out = stream()
    console = RunConsole(out)

    for line in LINES:
        console.print(line)

    assert out.getvalue() == "".join(f"{line}\n" for line in LINES)


def test_a_stream_that_cannot_encode_icons_gets_plain_words():
    raw = io.BytesIO()
    console = RunConsole(io.TextIOWrapper(raw, encoding="ascii"))

    for line in LINES[:3]:
        console.print(line)

    assert raw.getvalue().decode("ascii").splitlines() == [
        "[PARAMS] Epoch 5 Parameter Status:",
        "  Total model: 8,388,608/25,557,318 trainable (32.8%)",
        "  Frozen parameters: 11,277,778",
    ]


def test_standard_output_that_cannot_encode_icons():
    code = "from unfreeze.report.console import RunConsole; RunConsole().print('  ❄️  Frozen parameters: 3')"
    env = {**os.environ, "PYTHONIOENCODING": "ascii"}

    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, check=False)

    assert (done.returncode, done.stdout, done.stderr) == (0, b"  Frozen parameters: 3\n", b"")


def loop_over(console, batches=4, between=None, call=None):
    seen = []
    with console.progress("Epoch 3/12", total=batches) as progress:
        for batch in progress.track(range(batches)):
            seen.append(batch)
            progress.show(loss=0.5, clips_per_second=41.0, waiting=0.125)
            if between:
                console.print(between)
            if call:
                call()
    return seen


def test_without_a_terminal_there_are_only_lines():
    out = io.StringIO()

    assert loop_over(RunConsole(out), between="a line") == [0, 1, 2, 3]
    assert out.getvalue() == "a line\n" * 4


def test_a_dumb_terminal_gets_no_bar(monkeypatch):
    monkeypatch.setenv("TERM", "dumb")
    out = Terminal()

    loop_over(RunConsole(out))

    assert out.getvalue() == ""


@pytest.fixture
def _always_drawn(monkeypatch):
    monkeypatch.setattr("unfreeze.report.console._SECONDS_BETWEEN_REFRESHES", 0)
    monkeypatch.setenv("COLUMNS", "120")


@pytest.mark.usefixtures("_always_drawn")
def test_a_terminal_sees_how_far_the_epoch_is_and_how_it_goes():
    out = Terminal()

    loop_over(RunConsole(out))

    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "Epoch 3/12" in shown
    assert "4/4" in shown
    assert "loss 0.5  41 clips/s  12% data wait" in shown


@pytest.mark.usefixtures("_always_drawn")
def test_parts_of_a_whole_add_up_and_other_news_are_shown():
    out = Terminal()

    with RunConsole(out).progress("Classifying", total=2) as progress:
        for _ in range(8):
            progress.advance(0.25)
            progress.tell("12 windows/s")

    shown = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "1/2" in shown
    assert "2/2" in shown
    assert "12 windows/s" in shown


@pytest.mark.usefixtures("_always_drawn")
@pytest.mark.parametrize("columns", [60, 80])
def test_the_news_fit_into_a_small_terminal(monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", str(columns))
    out = Terminal()

    loop_over(RunConsole(out), batches=30)

    assert "loss 0.5  41 clips/s  12% data wait" in re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out.getvalue())
    assert "…" not in out.getvalue()


@pytest.mark.usefixtures("_always_drawn")
def test_lines_and_the_bar_do_not_disturb_each_other():
    out = Terminal()

    loop_over(RunConsole(out), between=LINES[1])

    screen = replay(out.getvalue())
    assert screen == [LINES[1]] * 4


def test_no_thread_runs_beside_the_bar():
    # data-loading workers are forked meanwhile
    before, during = threading.active_count(), []

    loop_over(RunConsole(Terminal()), call=lambda: during.append(threading.active_count()))

    assert set(during) == {before}


@pytest.mark.usefixtures("_always_drawn")
def test_the_bar_goes_when_the_loop_is_interrupted():
    out = Terminal()
    console = RunConsole(out)

    def stop():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        loop_over(console, call=stop)

    console.print("stopped")
    assert replay(out.getvalue()) == ["stopped"]


@pytest.mark.usefixtures("_always_drawn")
def test_an_ascii_terminal_gets_a_bar_that_it_can_draw():
    class AsciiTerminal(io.TextIOWrapper):
        def isatty(self):
            return True

    raw = io.BytesIO()

    loop_over(RunConsole(AsciiTerminal(raw, encoding="ascii")))

    assert b"Epoch 3/12" in raw.getvalue()


def replay(text: str) -> list[str]:
    """The non-empty lines that a terminal shows after ``text``: newlines, returns, cursor up, erase line."""
    lines, row = [""], 0
    for piece in re.findall(r"\x1b\[[0-9;?]*[a-zA-Z]|\n|\r|[^\x1b\n\r]+", text):
        if piece == "\n":
            row += 1
            if row == len(lines):
                lines.append("")
        elif up := re.fullmatch(r"\x1b\[(\d+)A", piece):
            row -= int(up[1])
        elif piece == "\x1b[2K":
            lines[row] = ""
        elif not piece.startswith("\x1b") and piece != "\r":
            lines[row] += piece
    return [line.rstrip() for line in lines if line.strip()]
