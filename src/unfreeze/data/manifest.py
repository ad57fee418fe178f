"""What a data set is, whatever format it came from: clips with a split and a class index per task."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class Sample:
    """One clip.

    Attributes:
        path: the video file.
        split: ``train``, ``val`` or ``test``.
        labels: task -> index into the classes of that task; None where the clip has no label for it.
        group: clips of one group (a person, a match) are never on two sides of an automatic split.
        row: where the clip was named (``labels.csv:17``), for messages.
    """

    path: Path
    split: str
    labels: Mapping[str, int | None]
    group: str | None = None
    row: str = ""


@dataclass(frozen=True)
class Manifest:
    """All clips and tasks of a data set.

    Attributes:
        tasks: task -> class names, in the order of the class indices.
        source: what the user called it.
        notes: what the user should know and no error was made of, one line each.
    """

    tasks: Mapping[str, tuple[str, ...]]
    samples: tuple[Sample, ...]
    source: str
    notes: tuple[str, ...] = ()

    def split(self, name: str) -> tuple[Sample, ...]:
        """The clips of one split, in the order in which they were named."""
        if name not in SPLITS:
            raise ValueError(f"unknown split {name!r} (known: {', '.join(SPLITS)})")
        return tuple(sample for sample in self.samples if sample.split == name)

    def counts(self, task: str, split: str) -> dict[str, int]:
        """How many clips of ``split`` each class of ``task`` has."""
        counts = dict.fromkeys(self.tasks[task], 0)
        for sample in self.split(split):
            label = sample.labels[task]
            if label is not None:
                counts[self.tasks[task][label]] += 1
        return counts

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; ``from_dict`` is its inverse."""
        samples = [
            {"path": str(s.path), "split": s.split, "labels": dict(s.labels), "group": s.group, "row": s.row}
            for s in self.samples
        ]
        tasks = {task: list(classes) for task, classes in self.tasks.items()}
        return {"tasks": tasks, "samples": samples, "source": self.source, "notes": list(self.notes)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Manifest:
        return cls(
            tasks={task: tuple(classes) for task, classes in data["tasks"].items()},
            samples=tuple(Sample(**{**s, "path": Path(s["path"])}) for s in data["samples"]),
            source=data["source"],
            notes=tuple(data["notes"]),
        )


def class_order(names: Iterable[str]) -> tuple[str, ...]:
    """Distinct class names, sorted with numbers in their natural order: ``take2`` before ``take10``."""
    return tuple(sorted(set(names), key=_natural_key))


def _natural_key(name: str) -> tuple[Sequence[str | int], str]:
    # re.split with one group alternates text and digits, so that only like is ever compared with like
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name
