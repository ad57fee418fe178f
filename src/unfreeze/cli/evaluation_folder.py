"""The folder of an evaluation: the metrics, a picture and the numbers of each confusion, every prediction."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unfreeze.cli.trained import csv_line

if TYPE_CHECKING:
    from unfreeze.data import Manifest, Sample
    from unfreeze.training.evaluate import Evaluation

METRICS, CLASSES, PREDICTIONS = "metrics.json", "classes.json", "predictions.csv"


class EvaluationFolder:
    """``path``, new, empty, or that of an evaluation before, whose files are replaced.

    Raises:
        ValueError: it holds other things, or is a file.
        OSError: it cannot be made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._before: list[str] = []
        if path.exists() and not path.is_dir():
            raise ValueError(f"--output {path} is a file; name a folder")
        if path.is_dir() and any(path.iterdir()):
            self._before = _files_of(path)
        path.mkdir(parents=True, exist_ok=True)

    def write(
        self,
        summary: Mapping[str, Any],
        reports: Mapping[str, Mapping[str, Any]],
        predictions: Iterable[str],
        further: Mapping[str, Any],
    ) -> None:
        """Write everything, the metrics last.

        Args:
            summary: for ``metrics.json``.
            reports: task -> ``class_report``.
            predictions: the lines of ``predictions.csv``.
            further: name of a JSON file -> content.
        """
        from unfreeze.report.confusion import plot_reports

        for name in self._before:
            (self.path / name).unlink(missing_ok=True)
        with (self.path / PREDICTIONS).open(
            "w", encoding="utf-8", errors="surrogateescape", newline=""
        ) as file:
            file.writelines(predictions)
        self._json(CLASSES, {"tasks": reports})
        pictures = [picture.name for picture in plot_reports(reports, self.path)]
        for name, content in further.items():
            self._json(name, content)
        files = [METRICS, CLASSES, PREDICTIONS, *pictures, *further]
        self._json(METRICS, {**summary, "files": files})

    def _json(self, name: str, content: Any) -> None:
        text = json.dumps(content, indent=2, allow_nan=False)
        (self.path / name).write_text(f"{text}\n", encoding="utf-8")


def default_folder(checkpoint: Path, split: str, data: str | None) -> Path:
    """Beside the checkpoint, under a name that says what was measured, of which checkpoint, on what."""
    words = ["evaluation"]
    if checkpoint.stem != "best":
        words.append(checkpoint.stem)
    if data is not None:
        words.append(Path(data).stem)
    return checkpoint.parent / "_".join([*words, split])


def prediction_lines(found: Evaluation, samples: Sequence[Sample], manifest: Manifest) -> Iterable[str]:
    """``predictions.csv``, line by line: a row per clip, in the order of the data set.

    ``path`` (views joined by ``|``) and the columns of the tasks, which are the labels, are as in a data set;
    then ``predicted(motion)`` and ``p(motion=left)`` for every class.
    """
    tasks = {task: manifest.tasks[task] for task in found.probabilities}
    header = ["path", "split", "row"]
    for task, classes in tasks.items():
        header += [task, f"predicted({task})", *(f"p({task}={name})" for name in classes)]
    yield csv_line(header)
    for place, index in enumerate(found.indices.tolist()):
        sample = samples[index]
        cells: list[Any] = ["|".join(str(view.path) for view in sample.views), sample.split, sample.row]
        for task, classes in tasks.items():
            values = found.probabilities[task][place].tolist()
            label = sample.labels[task]
            if task in manifest.multilabel:
                has = label if isinstance(label, tuple) else ()
                said = [name for name, value in zip(classes, values, strict=True) if value > 0.5]
                cells += ["|".join(classes[i] for i in has), "|".join(said)]
            else:
                best = max(range(len(values)), key=values.__getitem__)
                cells += ["" if label is None else classes[label], classes[best]]
            cells += [round(value, 6) for value in values]
        yield csv_line(cells)


def _files_of(path: Path) -> list[str]:
    """What the evaluation before has written into ``path``, as its own metrics say."""
    try:
        names = json.loads((path / METRICS).read_text(encoding="utf-8"))["files"]
        return [name for name in names if Path(name).name == name]
    except (OSError, ValueError, KeyError, TypeError):
        raise ValueError(
            f"--output {path} holds files that no evaluation wrote; name another folder, or empty it"
        ) from None
