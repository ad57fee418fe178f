"""What a data set holds, in a few lines to print: classes of every task, and how many clips each has."""

from __future__ import annotations

from collections.abc import Sequence

from unfreeze.data.manifest import SPLITS, Manifest


def class_lines(manifest: Manifest, limit: int = 30) -> list[str]:
    """A table per task: a line for each class, a column for each split that there is.

    Args:
        limit: of a task with more classes, this many that have most clips in train are shown.
    """
    splits = [split for split in SPLITS if manifest.split(split)]
    lines = []
    for task, classes in manifest.tasks.items():
        counts = {split: manifest.counts(task, split) for split in splits}
        kind = ", of which a clip may have several" if task in manifest.multilabel else ""
        lines.append(f"{task}: {len(classes)} classes{kind}")
        shown = list(classes)
        if len(classes) > limit:
            frequent = sorted(classes, key=lambda name: -sum(counts[split][name] for split in splits[:1]))
            chosen = set(frequent[:limit])
            shown = [name for name in classes if name in chosen]
        rows = [["", *splits], *([name, *(str(counts[s][name]) for s in splits)] for name in shown)]
        labels = {
            split: sum(sample.labels[task] is None for sample in manifest.split(split)) for split in splits
        }
        if any(labels.values()):
            rows.append(["(no label)", *(str(labels[split]) for split in splits)])
        lines += _aligned(rows)
        if len(shown) < len(classes):
            rest = [counts[splits[0]][name] for name in classes if name not in set(shown)]
            lines.append(
                f"  and {len(rest)} more classes, with {min(rest)} to {max(rest)} clips in {splits[0]}"
            )
    return lines


def _aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]).rstrip()
        for row in rows
    ]
