"""Bad files before the first epoch: named, counted and left out, or the run stops; none is replaced."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence, Sized
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

from unfreeze.data.decode import pick_decoder
from unfreeze.data.manifest import Manifest, Sample, View, indices_of
from unfreeze.data.survey import Survey, at_row, findings, outside, survey
from unfreeze.options import nearest
from unfreeze.preprocessing import Preprocessing
from unfreeze.report.console import RunConsole
from unfreeze.training.config import TrainConfig
from unfreeze.wording import and_more

# Findings that a run goes on with, and that its user should know of; a group in two splits is noted already.
_SAID = frozenset({"leak", "conflict", "duplicate", "short", "long"})
_NAMED = 10  # bad files that are named one by one; there may be thousands


def most_bad(text: str, total: int) -> int:
    """How many of ``total`` files ``--max_bad`` lets be bad: ``3``, or ``1%`` of them, rounded down.

    Raises:
        ValueError: it is neither a whole number nor a share of at most 100%.
    """
    share = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if share and Fraction(share[1]) <= 100:
        return int(Fraction(share[1]) * total / 100)
    if re.fullmatch(r"\s*\d+\s*", text):
        return int(text)
    raise ValueError(f"--max_bad {text}: write a whole number of files, or a share of them such as 1%")


def checked(
    manifest: Manifest,
    config: TrainConfig,
    console: RunConsole,
    preprocessing: Preprocessing | None = None,
) -> Manifest:
    """``manifest`` without bad files, after a look at every file of train and val as ``--check`` says.

    What the user should know is added to its notes. What an earlier check found out is used again.

    Args:
        preprocessing: what the model expects; with it the notes say how many clips are too short.

    Raises:
        ValueError: more bad files than ``--max_bad`` in train, one in val that ``--allow_bad`` does not name,
            or a class that is not in train without them.
    """
    most_bad(config.max_bad, 0)
    if config.check == "none":
        return manifest
    samples = [*manifest.split("train"), *manifest.split("val")]
    found = watched_survey(samples, config, console)
    without, notes = without_bad(manifest, found, max_bad=config.max_bad, allow_bad=config.allow_bad or ())
    notes.insert(0, survey_line(found))
    notes += [
        f"Warning: {item.title}: {and_more(item.lines[0], item.lines)}"
        for item in findings(found, without, preprocessing).items
        if item.kind in _SAID
    ]
    return replace(without, notes=(*without.notes, *notes))


def watched_survey(samples: Sequence[Sample], config: TrainConfig, console: RunConsole) -> Survey:
    """``survey`` as the flags say, with a bar while files are looked at."""
    assert config.check != "none", "there is nothing to look at"
    files = len({view.path for sample in samples for view in sample.views})
    with console.progress("Checking files", files) as bar:
        return survey(
            samples,
            mode=config.check,
            decoder=pick_decoder(config.decoder),
            workers=config.workers,
            progress=lambda done, total: bar.advance(),
        )


def survey_line(found: Survey) -> str:
    """What was looked at, in a line for the log."""
    files = len(found.reports)
    how = "decoded" if found.mode == "full" else "opened"
    known = f", {files - found.fresh} known from before" if found.fresh < files else ""
    bad = f"{len(found.bad)} {_is(found.bad)} bad" if found.bad else "none is bad"
    return f"Checked {files} {'file' if files == 1 else 'files'} ({found.fresh} {how}{known}): {bad}"


def without_bad(
    manifest: Manifest, survey: Survey, *, max_bad: str, allow_bad: Sequence[str] = ()
) -> tuple[Manifest, list[str]]:
    """``manifest`` without the views that cannot be read, without samples that had no other; and notes.

    Files that ``survey`` does not have are taken to be good.

    Args:
        max_bad: how many files of train may be bad: ``3``, ``1%``.
        allow_bad: files of the other splits that may be bad, by name or path.

    Raises:
        ValueError: there are more, or others, or what is left cannot be trained on; one line names the first
            file, says how many there are and what to do.
    """
    _check_names(manifest, allow_bad)
    problems = _problems(manifest.samples, survey)
    notes: list[str] = []
    train = _of(manifest.split("train"), problems)
    total = len({view.path for sample in manifest.split("train") for view in sample.views})
    limit = most_bad(max_bad, total)
    if len(train) > limit:
        first = next(iter(train.values()))
        raise ValueError(
            and_more(
                f"{len(train)} of {total} training files {_is(train)} bad, and --max_bad {max_bad} allows "
                f"{limit}: {first}",
                list(train),
            )
            + f"; put {_it(train)} right, or raise --max_bad"
        )
    for split in ("val", "test"):
        bad = _of(manifest.split(split), problems)
        refused = {view: why for view, why in bad.items() if not _allowed(view.path, allow_bad)}
        if refused:
            view, why = next(iter(refused.items()))
            raise ValueError(
                f"{len(refused)} bad file{'s' * (len(refused) != 1)} in {split}, where nothing is left out "
                f"unasked: {and_more(why, list(refused))}; put {_it(refused)} right, or say "
                f"--allow_bad {view.path.name}"
            )
        notes += [f"bad file in {split}, left out as --allow_bad says: {why}" for why in bad.values()]
    notes += [f"bad training file, left out: {why}" for why in list(train.values())[:_NAMED]]
    if len(train) > _NAMED:
        notes.append(f"and {len(train) - _NAMED} more bad training files, left out")
    if train:
        notes.append(
            f"{len(train)} of {total} training files {_is(train)} left out (--max_bad {max_bad}: {limit})"
        )
    if not problems:
        return manifest, notes
    left = _without(manifest.samples, problems, notes)
    reduced = replace(manifest, samples=left)
    _check_classes(manifest, reduced)
    return reduced, notes


def without_named(
    samples: Sequence[Sample], names: Sequence[str], *, decoder: str, workers: int
) -> tuple[tuple[Sample, ...], list[str]]:
    """``samples`` without those views that are bad and named, for evaluation; and notes.

    No other file is looked at: one that is bad and not named is an error when it is read. Files are judged as
    in training, so a run is measured on what it was validated on.

    Args:
        names: files that may be bad, by name or path; those that are not there do not matter.
        decoder, workers: see ``survey``.
    """
    doubtful = [s for s in samples if any(_allowed(view.path, names) for view in s.views)]
    if not doubtful:
        return tuple(samples), []
    problems = _problems(doubtful, survey(doubtful, decoder=decoder, workers=workers))
    problems = {view: why for view, why in problems.items() if _allowed(view.path, names)}
    notes = [f"bad file, left out as --allow_bad says: {why}" for why in problems.values()]
    return _without(samples, problems, notes), notes


def _without(samples: Sequence[Sample], problems: Mapping[View, str], notes: list[str]) -> tuple[Sample, ...]:
    """``samples`` without bad views; a sample that has no other is left out."""
    reduced = []
    for sample in samples:
        left = tuple(view for view in sample.views if view not in problems)
        if left:
            reduced.append(replace(sample, views=left))
        if left and len(left) < len(sample.views):
            notes.append(
                f"{sample.row or sample.path}: goes on with {len(left)} of its {len(sample.views)} views"
            )
    return tuple(reduced)


def _is(some: Sized) -> str:
    return "is" if len(some) == 1 else "are"


def _it(some: Sized) -> str:
    return "it" if len(some) == 1 else "them"


def _problems(samples: Sequence[Sample], survey: Survey) -> dict[View, str]:
    """Each bad view with the line that says why, and names the first row that has it."""
    problems: dict[View, str] = {}
    for sample in samples:
        for view in sample.views:
            report = survey.reports.get(view.path)
            if report is not None:
                why = outside(sample, view, report) if report.ok else at_row(sample, report)
                if why:
                    problems.setdefault(view, why)
    return problems


def _of(samples: Sequence[Sample], problems: dict[View, str]) -> dict[View, str]:
    """Those of ``problems`` that are in ``samples``, one for each file."""
    by_file: dict[Path, View] = {}
    for sample in samples:
        for view in sample.views:
            if view in problems:
                by_file.setdefault(view.path, view)
    return {view: problems[view] for view in by_file.values()}


def _allowed(path: Path, names: Sequence[str]) -> bool:
    return any(name == path.name or _same(name, path) for name in names)


def _same(name: str, path: Path) -> bool:
    return name == str(path) or Path(name).absolute() == path.absolute()


def _check_names(manifest: Manifest, allow_bad: Sequence[str]) -> None:
    paths = [view.path for sample in manifest.samples for view in sample.views]
    for name in allow_bad:
        if not any(_allowed(path, (name,)) for path in paths):
            hint = nearest(name, [path.name for path in paths])
            raise ValueError(f"--allow_bad {name}: no file of {manifest.source} is called that{hint}")


def _check_classes(before: Manifest, after: Manifest) -> None:
    for split in ("train", "val"):
        if before.split(split) and not after.split(split):
            raise ValueError(f"{before.source}: without its bad files {split} is empty; put them right")
    for task in before.tasks:
        had, has = before.counts(task, "train"), after.counts(task, "train")
        gone = [name for name in had if had[name] and not has[name]]
        if gone:
            raise ValueError(
                and_more(
                    f"{before.source}, task {task!r}: every training file of the class {gone[0]!r} is bad",
                    gone,
                )
                + "; put them right, or leave the class out"
            )
        labelled = (any(indices_of(s.labels[task]) for s in m.split("val")) for m in (before, after))
        if next(labelled) and not next(labelled):
            raise ValueError(
                f"{before.source}, task {task!r}: without its bad files val has no label; put them right"
            )
