"""What a survey means for a data set and a model: pure, from reports to findings and tables."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from unfreeze.data.manifest import SPLITS, Manifest, Sample, View
from unfreeze.data.survey.histogram import Histogram
from unfreeze.data.survey.report import FileReport, Survey
from unfreeze.preprocessing import Preprocessing
from unfreeze.wording import in_seconds

Level = Literal["stop", "warn", "note"]
LONG = 3600.0  # seconds from which on a file is very long
_TROUBLES = {
    "missing": "missing",
    "empty": "empty",
    "sound_only": "only sound",
    "truncated": "truncated",
    "unreadable": "unreadable",
    "crashed": "crashes the decoder",
    "hung": "hangs the decoder",
}


@dataclass(frozen=True)
class Finding:
    """One kind of thing to know.

    Attributes:
        kind: ``truncated``, ``leak`` …
        level: ``stop`` where what is measured would be wrong, ``warn`` where the user should look, ``note``
            where nothing needs to be done. Whether bad files stop training is for ``--max_bad`` to say.
        title: what it is, in a few words.
        lines: a line per case, naming files.
    """

    kind: str
    level: Level
    title: str
    lines: tuple[str, ...]


@dataclass(frozen=True)
class Findings:
    """All there is to know of a data set.

    Attributes:
        items: what was found, the gravest first.
        classes: task -> class -> split -> clips.
        imbalance: task -> clips of the most frequent class in train for one of the rarest that is there.
        lengths: of the readable files, in seconds.
        sizes: of the readable files, in bytes.
        pictures: (width, height) in pixels -> readable files, the most frequent first.
    """

    items: tuple[Finding, ...]
    classes: Mapping[str, Mapping[str, Mapping[str, int]]]
    imbalance: Mapping[str, float]
    lengths: Histogram
    sizes: Histogram
    pictures: Mapping[tuple[int, int], int]

    def worst(self) -> Level | None:
        """The gravest level, or None where there is nothing but notes."""
        level = self.items[0].level if self.items else "note"
        return None if level == "note" else level

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "findings": [asdict(item) for item in self.items],
            "classes": {task: {name: dict(n) for name, n in of.items()} for task, of in self.classes.items()},
            "imbalance": dict(self.imbalance),
            "lengths": asdict(self.lengths),
            "sizes": asdict(self.sizes),
            "pictures": [
                {"width": width, "height": height, "files": count}
                for (width, height), count in self.pictures.items()
            ],
        }


def findings(survey: Survey, manifest: Manifest, preprocessing: Preprocessing | None = None) -> Findings:
    """What ``survey`` says about ``manifest``, for a model that expects ``preprocessing`` where it is given.

    Files that the survey does not have are not judged.
    """
    uses = list(_uses(survey, manifest.samples))
    good = [report for report in survey.reports.values() if report.ok]
    found = [
        *_bad(survey, uses),
        *_outside(uses),
        *_same_content(uses, manifest),
        *_groups(manifest.samples),
        *_doubts(manifest),
        *(() if preprocessing is None else _short(uses, preprocessing)),
        *(() if preprocessing is None else _small(good, preprocessing)),
        *_long(uses),
        *_variable(good, preprocessing),
        *_depths(good),
    ]
    order = {"stop": 0, "warn": 1, "note": 2}
    pictures = Counter((report.width, report.height) for report in good)
    return Findings(
        items=tuple(sorted(found, key=lambda finding: order[finding.level])),
        classes=_classes(manifest),
        imbalance={task: _imbalance(manifest.counts(task, "train")) for task in manifest.tasks},
        lengths=Histogram.of([report.seconds for report in good]),
        sizes=Histogram.of([float(report.size) for report in good]),
        pictures=dict(pictures.most_common()),
    )


@dataclass(frozen=True)
class _Use:
    """A view of a sample, with what is known of its file."""

    sample: Sample
    view: View
    report: FileReport

    @property
    def begin(self) -> float:
        return self.view.start or 0.0

    @property
    def end(self) -> float:
        return self.report.seconds if self.view.end is None else min(self.view.end, self.report.seconds)

    def __str__(self) -> str:
        return f"{self.view.path} ({self.sample.row})" if self.sample.row else str(self.view.path)


def _uses(survey: Survey, samples: Iterable[Sample]) -> Iterator[_Use]:
    for sample in samples:
        for view in sample.views:
            report = survey.reports.get(view.path)
            if report is not None:
                yield _Use(sample, view, report)


def _bad(survey: Survey, uses: Sequence[_Use]) -> Iterator[Finding]:
    samples: dict[Path, Sample] = {}
    for use in uses:
        samples.setdefault(use.view.path, use.sample)
    for trouble, title in _TROUBLES.items():
        lines = tuple(
            at_row(samples.get(report.path), report) for report in survey.bad if report.trouble == trouble
        )
        if lines:
            yield Finding(trouble, "warn", title, lines)


def _outside(uses: Sequence[_Use]) -> Iterator[Finding]:
    lines = tuple(
        line for use in uses if use.report.ok and (line := outside(use.sample, use.view, use.report))
    )
    if lines:
        yield Finding("outside", "warn", "starts after the end of the file", lines)


def at_row(sample: Sample | None, report: FileReport) -> str:
    """What is wrong with a bad file, after the row that names it, where that says more than the file."""
    row = "" if sample is None else sample.row
    return f"{row}: {report.error}" if row and not row.endswith(report.path.name) else report.error


def outside(sample: Sample, view: View, report: FileReport) -> str:
    """One line about a view that begins where its file has ended, or nothing."""
    if view.start is None or view.start < report.seconds:
        return ""
    where = f"{sample.row}: " if sample.row else ""
    return (
        f"{where}{view.path} ends after {report.seconds:.2f} seconds, before its start of {view.start:g}; "
        f"correct the cell"
    )


def _same_content(uses: Sequence[_Use], manifest: Manifest) -> Iterator[Finding]:
    """The same bytes under several names, in several splits, or with several labels."""
    by_content: dict[str, list[_Use]] = {}
    for use in uses:
        if use.report.ok and use.report.digest:
            by_content.setdefault(use.report.digest, []).append(use)
    leaks, conflicts, twice = [], [], []
    for same in by_content.values():
        if len(same) < 2:
            continue
        pairs = _overlapping(same)
        if pair := next(((a, b) for a, b in pairs if a.sample.split != b.sample.split), None):
            a, b = pair
            leaks.append(
                f"{b} is in {b.sample.split} and has the content of {a}, which is in {a.sample.split}; "
                f"keep one of them"
            )
        if conflict := next((c for a, b in pairs if (c := _conflict(a, b, manifest))), None):
            conflicts.append(conflict)
        names = list(dict.fromkeys(str(u.view.path) for pair in pairs for u in pair))
        if len(names) > 1 and len({u.sample.split for pair in pairs for u in pair}) == 1:
            twice.append(f"the same content under {len(names)} names: {_listed(names)}; keep one of them")
    if leaks:
        yield Finding("leak", "stop", "same content in two splits", tuple(leaks))
    if conflicts:
        yield Finding("conflict", "warn", "same content, other labels", tuple(conflicts))
    if twice:
        yield Finding("duplicate", "warn", "same content under several names", tuple(twice))


def _overlapping(uses: Sequence[_Use]) -> list[tuple[_Use, _Use]]:
    """The pairs that share moments, in the order of the manifest; a long file may have thousands of views."""
    order = {id(use): i for i, use in enumerate(uses)}
    pairs: list[tuple[_Use, _Use]] = []
    going_on: list[_Use] = []
    for use in sorted(uses, key=lambda use: use.begin):
        going_on = [other for other in going_on if other.end > use.begin]
        if use.end > use.begin:
            pairs += [(other, use) for other in going_on]
            going_on.append(use)
    ordered = [(a, b) if order[id(a)] < order[id(b)] else (b, a) for a, b in pairs]
    return sorted(ordered, key=lambda pair: (order[id(pair[0])], order[id(pair[1])]))


def _conflict(a: _Use, b: _Use, manifest: Manifest) -> str:
    for task, classes in manifest.tasks.items():
        one, other = a.sample.labels.get(task), b.sample.labels.get(task)
        if one is not None and other is not None and one != other:
            first, second = (_named(label, classes) for label in (one, other))
            return f"{b} is {second!r} and {a}, of the same content, {first!r} ({task}); correct one of them"
    return ""


def _named(label: int | tuple[int, ...], classes: Sequence[str]) -> str:
    return "|".join(classes[i] for i in label) if isinstance(label, tuple) else classes[label]


def _groups(samples: Iterable[Sample]) -> Iterator[Finding]:
    sides: dict[str, dict[str, Sample]] = {}
    for sample in samples:
        if sample.group is not None:
            sides.setdefault(sample.group, {}).setdefault(sample.split, sample)
    lines = []
    for group, by_split in sides.items():
        if len(by_split) > 1:
            splits = [split for split in SPLITS if split in by_split]
            where = " and ".join(f"{split} ({by_split[split].path})" for split in splits)
            lines.append(f"group {group!r} is in {where}; keep a group in one split")
    if lines:
        yield Finding("group_leak", "stop", "same group in two splits", tuple(lines))


def _doubts(manifest: Manifest) -> Iterator[Finding]:
    if manifest.doubts:
        yield Finding("doubt", "warn", "rows that may be mistaken", manifest.doubts)


def _short(uses: Sequence[_Use], p: Preprocessing) -> Iterator[Finding]:
    lines = []
    for use in uses:
        if not use.report.ok or use.end <= use.begin:
            continue
        seconds = use.end - use.begin
        frames = round(seconds * use.report.fps)
        if p.fps is not None and seconds * p.fps < p.frames - 0.5:
            lines.append(f"{use}: {seconds:.2f} of the {p.frames / p.fps:.2f} seconds of a clip")
        elif p.fps is None and frames < (needed := 1 + (p.frames - 1) * (p.stride or 1)):
            lines.append(f"{use}: {frames} of the {needed} frames of a clip")
    if lines:
        yield Finding("short", "warn", "shorter than a clip, which repeats frames (--short)", tuple(lines))


def _small(good: Sequence[FileReport], p: Preprocessing) -> Iterator[Finding]:
    side = min(p.crop)
    lines = tuple(
        f"{r.path}: {r.width}x{r.height} pixels, below the {side} of the model's crop"
        for r in good
        if 0 < min(r.width, r.height) < side
    )
    if lines:
        yield Finding("small", "note", "small pictures, which are enlarged", lines)


def _long(uses: Sequence[_Use]) -> Iterator[Finding]:
    lines = dict.fromkeys(
        f"{use}: {in_seconds(use.report.seconds)}; name the stretches that matter in columns start and "
        f"end, or cut the file"
        for use in uses
        if use.report.ok and use.end - use.begin > LONG
    )
    if lines:
        yield Finding("long", "warn", "very long, and a clip sees little of it", tuple(lines))
    notes = tuple(dict.fromkeys(use.report.note for use in uses if use.report.note))
    if notes:
        yield Finding("partly_decoded", "note", "decoded in part only", notes)


def _variable(good: Sequence[FileReport], p: Preprocessing | None) -> Iterator[Finding]:
    lines = tuple(f"{r.path}: {r.fps:.2f} frames per second on average" for r in good if r.variable_rate)
    if lines and p is not None and p.stride is not None:
        title = f"variable frame rate, of which stride {p.stride} takes uneven steps: say --fps instead"
        yield Finding("variable_rate", "warn", title, lines)
    elif lines:
        yield Finding("variable_rate", "note", "variable frame rate (clips are taken by time)", lines)


def _depths(good: Sequence[FileReport]) -> Iterator[Finding]:
    by_depth: dict[int, list[FileReport]] = {}
    for report in good:
        if report.depth:
            by_depth.setdefault(report.depth, []).append(report)
    if len(by_depth) > 1:
        lines = [
            f"{len(reports)} {'file has' if len(reports) == 1 else 'files have'} {depth} bits per colour, "
            f"{reports[0].path} for one"
            for depth, reports in sorted(by_depth.items())
        ]
        yield Finding("depth", "note", "mixed bit depths, all decoded to 8 bits", tuple(lines))


def _classes(manifest: Manifest) -> dict[str, dict[str, dict[str, int]]]:
    table = {}
    for task, names in manifest.tasks.items():
        counts = {split: manifest.counts(task, split) for split in SPLITS}
        table[task] = {name: {split: counts[split][name] for split in SPLITS} for name in names}
    return table


def _imbalance(counts: Mapping[str, int]) -> float:
    there = [count for count in counts.values() if count]
    return max(there) / min(there) if there else 1.0


def _listed(names: Sequence[str], most: int = 4) -> str:
    rest = len(names) - most
    return ", ".join(names[:most]) + (f" and {rest} more" if rest > 0 else "")
