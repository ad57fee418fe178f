"""From words on the command line and a YAML file to values, with jsonargparse; every error is one line.

``parse`` returns only what the user wrote: "left at its default" and "set to its default" are different to a
caller that has to notice contradictions.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ActionYesNo, ArgumentParser, DefaultHelpFormatter, Namespace

from unfreeze.cli.flags import NEEDED, Flag, Group, shown
from unfreeze.cli.yaml_file import load_keys, load_yaml
from unfreeze.options import nearest

_OWN = ("config", "debug", "help")


def parse(
    argv: Sequence[str],
    groups: Sequence[Group],
    *,
    program: str,
    description: str,
    files: str | None = None,
    reads_config: bool = False,
) -> dict[str, Any]:
    """What the user wrote, by flag name, the command line over ``--config FILE``; ``--help`` exits.

    Args:
        groups: the flags in the order in which ``--help`` shows them.
        program: what the usage line and the hints call the program.
        description: text above the flags, printed as it is.
        files: help of the positional FILES, for a command that takes some; they come back as ``files``.
        reads_config: whether the command has ``--config FILE.yaml``.

    Raises:
        ValueError: a flag, key or value that does not exist or does not fit.
        OSError: the config file cannot be read.
    """
    parser = _build(groups, program, description, files, reads_config)
    flags = {flag.name: flag for group in groups for flag in group.flags}
    start = _config_values(argv, parser, flags) if reads_config else Namespace()
    try:
        given = parser.parse_args(list(argv), namespace=start, defaults=False).as_dict()
    except argparse.ArgumentError as error:
        raise ValueError(_explain(str(error), flags, program)) from error
    missing = next(
        (flag for flag in flags.values() if flag.default is NEEDED and flag.name not in given), None
    )
    if missing is not None:
        raise ValueError(f"--{missing.name} is needed: {missing.help}")
    known = {name: _finished(flags[name], value) for name, value in given.items() if name in flags}
    return known if files is None else {**known, "files": tuple(given["files"])}


def _build(
    groups: Sequence[Group], program: str, description: str, files: str | None, reads_config: bool
) -> ArgumentParser:
    parser = ArgumentParser(
        program,
        usage=f"{program} [flags]" if files is None else f"{program} FILES … [flags]",
        description=description,
        formatter_class=_Formatter,
        exit_on_error=False,
        # otherwise the beginning of a flag would do, until another flag begins like it
        allow_abbrev=False,
    )
    if files is not None:
        parser.add_argument("files", nargs="*", type=str, help=files)
    if reads_config:
        parser.add_argument(
            "--config", metavar="FILE", help="YAML file of flags; the command line goes over it"
        )
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    for group in groups:
        section = parser.add_argument_group(group.title, group.about)
        for flag in group.flags:
            _add(section, flag)
    return parser


def _add(section: Any, flag: Flag) -> None:
    default = None if flag.default is NEEDED else flag.default
    if flag.is_switch:
        section.add_argument(
            f"--{flag.name}", action=ActionYesNo(no_prefix="no_"), default=default, help=flag.help
        )
        return
    how: dict[str, Any] = {"type": flag.type}
    if flag.from_yaml:
        how = {"type": Any}
    elif flag.is_list:
        how = {"type": str, "nargs": "+"}
    elif flag.is_mapping:
        # jsonargparse reads `--optimizer_args.eps 1e-6` into a dict whose values may be anything
        how, default = {"type": dict[str, Any]}, dict(default or {})
    section.add_argument(f"--{flag.name}", default=default, help=flag.help, metavar=flag.metavar, **how)


class _Formatter(DefaultHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows the description as it is written, and of each flag what its own help says."""

    def _get_help_string(self, action: argparse.Action) -> str:
        return action.help or ""


def _config_values(argv: Sequence[str], parser: ArgumentParser, flags: Mapping[str, Flag]) -> Namespace:
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--config")
    try:
        name = first.parse_known_args(list(argv))[0].config
    except argparse.ArgumentError as error:
        raise ValueError("--config needs the name of a YAML file") from error
    values: dict[str, Any] = {}
    if name is not None:
        path = Path(name)
        for key, (value, line) in load_keys(path).items():
            try:
                values[key] = _config_value(key, value, parser, flags)
            except ValueError as error:
                raise ValueError(f"{path}:{line}: {error}") from error
    return Namespace(**values)


def _config_value(key: str, value: Any, parser: ArgumentParser, flags: Mapping[str, Flag]) -> Any:
    flag = flags.get(key)
    if flag is None:
        raise ValueError(f"unknown key {key!r}{nearest(key, list(flags))}")
    if value is None and flag.takes_none:
        return None
    # jsonargparse lets null pass for any type, and reports a wrong switch without its name
    if value is None or (flag.is_switch and not isinstance(value, bool)):
        raise ValueError(f"{key}: expected {flag.expected}, not {shown(value)}")
    try:
        return parser.parse_object({key: value}, defaults=False).as_dict()[key]
    except argparse.ArgumentError as error:
        raise ValueError(_explain(str(error), flags, program="", dashes="")) from error


def _finished(flag: Flag, value: Any) -> Any:
    if value is None:
        return None
    if flag.is_list:
        # `--tasks motion object`, `--tasks motion,object` and `--tasks '[motion, object]'` mean the same
        value = tuple(word.strip() for word in ",".join(value).strip("[]").split(",") if word.strip())
    if value in ("", ()):  # an empty variable in a script; as a path it would mean the current folder
        raise ValueError(f"--{flag.name} is empty; give it a value or leave it out")
    if flag.from_yaml is None:
        return value
    if value == []:
        return flag.default  # what the config file of a run says where the flag was not used
    source = f"--{flag.name} {value}" if isinstance(value, str) else flag.name
    data = load_yaml(Path(value)) if isinstance(value, str) else value
    try:
        return flag.from_yaml(data)
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error


def _explain(message: str, flags: Mapping[str, Flag], program: str, dashes: str = "--") -> str:
    """One line for what jsonargparse says in several."""
    if message.startswith("unrecognized arguments:"):
        return _unknown(message.split(":", 1)[1].split(), flags, program)
    key = re.match(r'Parser key "([^"]+)"', message)
    value = re.search(r"(?:Got|Given) value: (.*)$", message, re.DOTALL)
    if key and value and key[1] in flags:
        flag, given = flags[key[1]], " ".join(value[1].split())
        return f"{dashes}{flag.name}: expected {flag.expected}, not {given!r}{nearest(given, flag.choices)}"
    alone = re.match(r"argument (--\w+).*: expected (?:one|at least one) argument", message)
    if alone:
        return f"{alone[1]} needs a value ({alone[1]}=VALUE where the value begins with a dash)"
    return " ".join(message.split())


def _unknown(words: Sequence[str], flags: Mapping[str, Flag], program: str) -> str:
    flag = next((word.split("=")[0] for word in words if word.startswith("-")), None)
    if flag is None:
        return f"unexpected argument {words[0]!r}: a value follows its flag, as in --epochs 30"
    options = [
        *(f"--{name}" for name in (*flags, *_OWN)),
        *(f"--no_{f.name}" for f in flags.values() if f.is_switch),
    ]
    word = flag.split(".")[0]
    begins = [option for option in options if option.startswith(word) and len(word) > 2]
    hint = nearest(word, begins[:1] or options) if begins else nearest(word, options)
    return f"unknown flag {flag}{hint or f'; {program} --help lists all flags'}"
