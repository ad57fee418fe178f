"""What a data set is, whatever format it came from: clips with a split and a class index per task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")


# An index into the classes of a task; for a multi-label task, ascending, those of all that apply.
Label = int | tuple[int, ...]
# In place of a class index, and of each 0 or 1 of a multi-label task, in tensors of labels: there is none.
MASKED = -1


@dataclass(frozen=True)
class View:
    """A stretch of a video file: one look at an event.

    Attributes:
        start: seconds from the first frame; None is the beginning of the file.
        end: seconds from the first frame; None is the end of the file.
    """

    path: Path
    start: float | None = None
    end: float | None = None


@dataclass(frozen=True)
class Sample:
    """One event to classify, seen in one view or several.

    Attributes:
        views: at least one.
        split: ``train``, ``val`` or ``test``.
        labels: task -> label; None where the clip has none for it (masked).
        group: clips of one group (a person, a match) are never on two sides of an automatic split.
        row: where the clip was named (``labels.csv:17``), for messages.
    """

    views: tuple[View, ...]
    split: str
    labels: Mapping[str, Label | None]
    group: str | None = None
    row: str = ""

    @property
    def path(self) -> Path:
        """The file of the first view, which stands for the sample in messages."""
        return self.views[0].path


@dataclass(frozen=True)
class Manifest:
    """All clips and tasks of a data set.

    Attributes:
        tasks: task -> class names, in the order of the class indices.
        multilabel: the tasks of which a clip may have several classes at once, or none.
        source: what the user called it.
        notes: what the user should know and no error was made of, one line each.
        doubts: those of the notes that may well be mistakes in the data.
    """

    tasks: Mapping[str, tuple[str, ...]]
    samples: tuple[Sample, ...]
    source: str
    notes: tuple[str, ...] = ()
    multilabel: frozenset[str] = frozenset()
    doubts: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[Sample, ...]:
        """The clips of one split, in the order in which they were named."""
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r} (known: {', '.join(SPLITS)})")
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self, task: str, split: str) -> dict[str, int]:
        """How many clips of ``split`` each class of ``task`` has; of a multi-label task a clip may count in
        several classes.
        """
        names = self.tasks[task]
        counts = dict.fromkeys(names, 0)
        for sample in self.split(split):
            for index in indices_of(sample.labels[task]):
                counts[names[index]] += 1
        return counts

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        return {
            "tasks": {task: list(classes) for task, classes in self.tasks.items()},
            "multilabel": sorted(self.multilabel),
            "samples": [_sample_to_dict(sample) for sample in self.samples],
            "source": self.source,
            "notes": list(self.notes),
            "doubts": list(self.doubts),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        return cls(
            tasks={task: tuple(classes) for task, classes in data["tasks"].items()},
            samples=tuple(map(_sample_from_dict, data["samples"])),
            source=data["source"],
            notes=tuple(data["notes"]),
            multilabel=frozenset(data["multilabel"]),
            doubts=tuple(data.get("doubts", ())),
        )


def indices_of(label: Label | None) -> tuple[int, ...]:
    """The class indices of a label: one, several or none."""
    if label is None:
        return ()
    return label if isinstance(label, tuple) else (label,)


def _sample_to_dict(sample: Sample) -> dict[str, Any]:
    labels = {t: list(label) if isinstance(label, tuple) else label for t, label in sample.labels.items()}
    views = [{"path": str(view.path), "start": view.start, "end": view.end} for view in sample.views]
    return {
        "views": views,
        "split": sample.split,
        "labels": labels,
        "group": sample.group,
        "row": sample.row,
    }


def _sample_from_dict(data: Mapping[str, Any]) -> Sample:
    return Sample(
        views=tuple(View(Path(view["path"]), view["start"], view["end"]) for view in data["views"]),
        split=data["split"],
        labels={t: tuple(label) if isinstance(label, list) else label for t, label in data["labels"].items()},
        group=data["group"],
        row=data["row"],
    )


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names, sorted with numbers in their natural order: ``take2`` before ``take10``."""
    return tuple(sorted(set(names), key=_natural_key))


def _natural_key(name: str) -> tuple[Sequence[str | int], str]:
    # re.split with one group alternates text and digits, so that only like is ever compared with like
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
