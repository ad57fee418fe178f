"""Finds the command, runs it, and turns what a user can cause into one line and exit code 2."""

from __future__ import annotations

import importlib
import os
import sys
import traceback
import warnings
from collections.abc import Sequence

from unfreeze import __version__
from unfreeze.options import nearest

# each is the module of that name beside this file, with `SUMMARY` and `run(argv, program) -> int`
COMMANDS = ("check", "train", "lr", "evaluate", "predict", "export")


def main(argv: Sequence[str] | None = None, *, command: str | None = None, program: str = "unfreeze") -> int:
    """Run a command and return the exit code of the process.

    0: done; 2: the user can put it right (one line on stderr says how); 130: stopped by Ctrl-C.
    Anything else that goes wrong is a mistake of this program and leaves as an exception.

    Args:
        argv: the words after the program's name; None takes those of the process.
        command: the one command that this program is; None takes it from the first word.
        program: what messages call the program.
    """
    words = list(sys.argv[1:] if argv is None else argv)
    # a terminal that cannot show a character of a file name gets a question mark instead of a crash
    if hasattr(sys.stdout, "reconfigure"):
        sys.stdout.reconfigure(errors="replace")
    # two workers on a machine of one core are the default, and no reason for torch to lecture
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    try:
        try:
            code = _dispatch(words, program) if command is None else _module(command).run(words, program)
        except SystemExit as stop:  # --help
            code = stop.code if isinstance(stop.code, int) else 0
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        print(f"{program}: stopped by Ctrl-C", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # whoever reads our output (`| head`) has seen enough; nothing may be flushed into the closed pipe
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        if "--debug" in words:
            traceback.print_exc()
        print(f"{program}: error: {one_line(error)}", file=sys.stderr)
        return 2


def one_line(error: BaseException) -> str:
    """The message of an error without line breaks; that of the operating system with its file."""
    if isinstance(error, OSError) and error.strerror:
        about = " -> ".join(str(name) for name in (error.filename, error.filename2) if name is not None)
        return f"{about}: {error.strerror}" if about else error.strerror
    text = str(error)
    if "Original Traceback" in text:
        # an error from a data-loading process carries its traceback as text; its last line is the message
        text = text.strip().splitlines()[-1].split(": ", 1)[-1]
    return " ".join(text.split()) or type(error).__name__


def _dispatch(words: list[str], program: str) -> int:
    if not words or words[0] in ("-h", "--help"):
        print(_overview(program))
        return 0
    if words[0] == "--version":
        print(f"unfreeze {__version__}")
        return 0
    name = words[0]
    if name not in COMMANDS:
        hint = nearest(name, COMMANDS) or f" (commands: {', '.join(COMMANDS)})"
        raise ValueError(f"unknown command {name!r}{hint}")
    return _module(name).run(words[1:], f"{program} {name}")


def _overview(program: str) -> str:
    lines = [f"  {name:<10} {_module(name).SUMMARY}" for name in COMMANDS]
    return "\n".join(
        [
            f"usage: {program} COMMAND [flags]",
            "",
            "Fine-tune pretrained video classifiers, thawing the backbone block by block.",
            "",
            "commands:",
            *lines,
            "",
            "flags:",
            f"  --help     this text; {program} COMMAND --help explains a command",
            "  --version  the version",
        ]
    )


def _module(name: str):  # type: ignore[no-untyped-def]  # a module as an interface has no type
    return importlib.import_module(f"unfreeze.cli.{name}")
