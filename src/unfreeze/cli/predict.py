"""``unfreeze predict``: the most probable classes of video files."""

from __future__ import annotations

import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.trained import checkpoint_path, print_table
from unfreeze.options import check_options, option

if TYPE_CHECKING:
    from torch import Tensor

    from unfreeze.data import ClipDataset

SUMMARY = "classify video files with a trained checkpoint"


@dataclass(frozen=True)
class PredictConfig:
    """The flags of ``predict``."""

    checkpoint: str = option(dataclasses.MISSING, "a run folder (its best.pt) or a checkpoint file")
    top_k: int = option(3, "how many classes to show for each task", ge=1)
    format: Literal["table", "json"] = option("table", "how to print the classes")
    workers: int = option(2, "processes that decode clips; 0 decodes in this process", ge=0)
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")


def run(argv: Sequence[str], program: str) -> int:
    """Print the classes on stdout; a file that cannot be read is named on stderr, and the exit code is 2."""
    groups = (Group("prediction", flags_of(PredictConfig)),)
    given = parse(
        argv,
        groups,
        program=program,
        description=_description(program),
        files="video files, or folders of them",
    )
    names = given.pop("files")
    config = PredictConfig(**given)
    files = find_files(names)

    # torch takes its time; --help and wrong flags do not wait for it
    import torch

    from unfreeze.data import ClipDataset, Sample, View
    from unfreeze.report.console import RunConsole
    from unfreeze.training.checkpoint import load_for_inference
    from unfreeze.training.device import pick_device

    model, _ = load_for_inference(checkpoint_path(config.checkpoint))
    device = pick_device(config.device)
    model.to(device)
    samples = [Sample((View(path),), "test", dict.fromkeys(model.tasks), row=str(path)) for path in files]
    dataset = ClipDataset(samples, model.tasks, model.preprocessing, train=False)
    console = RunConsole(sys.stderr)
    rows: list[dict[str, Any]] = []
    with torch.inference_mode(), console.progress("Classifying", total=len(files)) as progress:
        for path, clip in zip(files, progress.track(_clips(dataset, config.workers)), strict=True):
            if isinstance(clip, str):
                console.print(f"{program.split()[0]}: error: {clip}")
                rows.append({"file": str(path), "error": clip})
                continue
            logits = model(clip[None].to(device))
            best = {task: _top(logits[task][0], model.tasks[task], config.top_k) for task in model.tasks}
            rows.append({"file": str(path), "predictions": best})
    if config.format == "json":
        print(json.dumps(rows, indent=2))
    else:
        _print_table(rows, list(model.tasks))
    return 2 if any("error" in row for row in rows) else 0


def find_files(names: Sequence[str]) -> list[Path]:
    """The video files that are meant, in the order of ``names``; a folder stands for all videos below it.

    Raises:
        ValueError: no name at all, an empty one, or a folder without videos. Files are not opened.
    """
    from unfreeze.data.files import videos_below

    if not all(names) or not names:  # an empty name, as a path, would mean the current folder
        raise ValueError("name at least one video file or folder: predict FILES … --checkpoint RUN")
    files: list[Path] = []
    for name in names:
        path = Path(name)
        found = videos_below(path)[0] if path.is_dir() else [path]
        if not found:
            raise ValueError(f"the folder {path} holds no video files; name the files or another folder")
        files += found
    return files


class _Readable:
    """The clips of a data set, with the message in place of a clip that cannot be read."""

    def __init__(self, dataset: ClipDataset) -> None:
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> Tensor | str:
        """(V, C, T, H, W), normalised, or one line about what is wrong with the file."""
        from unfreeze.cli.main import one_line

        try:
            return self.dataset[1, index]["video"]
        except (ValueError, OSError) as error:
            return one_line(error)


def _clips(dataset: ClipDataset, workers: int) -> Iterator[Tensor | str]:
    """Clips in order, decoded ahead by ``workers`` processes."""
    from torch.utils.data import DataLoader

    clips: Any = _Readable(dataset)  # torch takes any map-style data set, whatever its base class
    return iter(DataLoader(clips, batch_size=None, num_workers=min(workers, len(dataset))))


def _top(logits: Tensor, classes: Sequence[str], count: int) -> list[dict[str, Any]]:
    """The ``count`` most probable classes of logits (classes,), best first; fewer where there are fewer."""
    values, indices = logits.float().softmax(0).topk(min(count, len(classes)))
    return [
        {"class": classes[index], "probability": round(value, 6)}
        for value, index in zip(values.tolist(), indices.tolist(), strict=True)
    ]


def _print_table(rows: Sequence[Mapping[str, Any]], tasks: Sequence[str]) -> None:
    cells = []
    for row in rows:
        found = row.get("predictions")
        if found is None:
            cells.append([row["file"], "cannot be read", *("" for _ in tasks[1:])])
        else:
            best = ("\n".join(f"{p['class']} {p['probability']:.1%}" for p in found[task]) for task in tasks)
            cells.append([row["file"], *best])
    print_table(["file", *tasks], cells)


def _description(program: str) -> str:
    return f"""\
Classify video files. Class names and preprocessing come from the checkpoint itself. A file that cannot be
read is named on stderr, the others are classified, and the exit code is 2.

examples:
  {program} clip.mp4 --checkpoint runs/NAME
  {program} clips/ --checkpoint runs/NAME/best.pt --top_k 1
  {program} a.mp4 b.mp4 --checkpoint runs/NAME --format json > classes.json
"""
