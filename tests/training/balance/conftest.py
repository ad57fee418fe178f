"""Manifests without files: nothing here looks at a clip."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from unfreeze.data import Label, Manifest, Sample, View


@pytest.fixture(scope="session")
def manifest_of() -> Callable[..., Manifest]:
    """``manifest_of(motion=[0, 0, 1, None])``: a training clip per label; tuples make a task multi-label.

    Classes are called a, b, c …; there are as many as the labels name, or as ``classes`` says. A clip for
    validation follows, which is not to be counted.
    """

    def make(classes: int | None = None, **labels: Sequence[Label | None]) -> Manifest:
        multilabel = {
            task for task, each in labels.items() if any(isinstance(label, tuple) for label in each)
        }
        tasks = {}
        for task, each in labels.items():
            named = [
                i
                for label in each
                if label is not None
                for i in ([label] if isinstance(label, int) else label)
            ]
            tasks[task] = tuple("abcdefghijklmnopqrstuvwxyz"[: classes or max(named) + 1])
        clips = len(next(iter(labels.values())))
        samples = [
            Sample((View(Path(f"{i}.mp4")),), "train", {task: each[i] for task, each in labels.items()})
            for i in range(clips)
        ]
        held_out = {task: (0,) if task in multilabel else 0 for task in labels}
        samples.append(Sample((View(Path("val.mp4")),), "val", held_out))
        return Manifest(tasks, tuple(samples), "test", multilabel=frozenset(multilabel))

    return make
