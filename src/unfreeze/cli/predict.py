"""``unfreeze predict``: the classes of video files of any length."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from unfreeze.cli.flags import Group, flags_of
from unfreeze.cli.parser import parse
from unfreeze.cli.prediction_file import Layout, PredictionFile, check_output
from unfreeze.cli.trained import CHECKPOINT_HELP, checkpoint_path, print_table
from unfreeze.options import check_options, option

if TYPE_CHECKING:
    from unfreeze.models import VideoClassifier
    from unfreeze.report.console import BatchProgress
    from unfreeze.training.predict import Prediction

SUMMARY = "classify video files with a trained checkpoint"


@dataclass(frozen=True)
class PredictConfig:
    """The flags of ``predict``."""

    checkpoint: str = option(dataclasses.MISSING, CHECKPOINT_HELP)
    output: str | None = option(
        None, "a .csv or .jsonl file for the classes and all probabilities (default: show them)"
    )
    resume: bool = option(False, "go on with an output file that is there: only what it lacks is classified")
    windows: Literal["all", "one"] = option(
        "all",
        "of a video longer than a clip: all is the mean over windows that slide over it, one its middle",
    )
    window_length: float | None = option(
        None, "seconds of a window, of which the clip is the middle (default: those of a clip)", gt=0
    )
    window_stride: float | None = option(
        None, "seconds from window to window (default: its length, so that they lie side by side)", gt=0
    )
    per_window: bool = option(False, "a row for every window instead of one for every video")
    threshold: float = option(0.5, "multi-label tasks: the probability above which a class holds", ge=0, le=1)
    top_k: int = option(3, "how many classes to show for each task", ge=1)
    format: Literal["table", "json"] = option("table", "how to show the classes")
    batch_size: int = option(8, "windows in a batch, of one video or of several", ge=1)
    workers: int = option(2, "processes that decode clips; 0 decodes in this process", ge=0)
    decoder: Literal["auto", "torchcodec", "pyav"] = option(
        "auto", "auto is torchcodec where it loads, else pyav"
    )
    device: Literal["auto", "cpu", "cuda", "mps"] = option("auto", "where to compute")
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format of the forward pass")

    def __post_init__(self) -> None:
        check_options(self, flag=lambda name: f"--{name}")
        if self.resume and self.output is None:
            raise ValueError("--resume needs the file to go on with: --output FILE")
        if self.windows == "one":
            for name in ("window_length", "window_stride"):
                if getattr(self, name) is not None:
                    raise ValueError(f"--{name} says nothing beside --windows one; leave one of them out")


def run(argv: Sequence[str], program: str) -> int:
    """Write or show the classes; files that cannot be read are named at the end, and the exit code is 2."""
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
    if config.output is not None:
        check_output(Path(config.output), resume=config.resume)

    # torch takes its time; --help and wrong flags do not wait for it
    from unfreeze.data.decode import pick_decoder
    from unfreeze.data.sampling import is_spread
    from unfreeze.report.console import RunConsole
    from unfreeze.training.checkpoint import load_for_inference
    from unfreeze.training.device import pick_device
    from unfreeze.training.predict import Sliding, Unreadable, predict

    model, _ = load_for_inference(checkpoint_path(config.checkpoint))
    if config.window_stride is not None and config.window_length is None and is_spread(model.preprocessing):
        raise ValueError(
            "--window_stride: this model spreads a clip over the whole video, so its windows have no length "
            "of their own; give --window_length, too"
        )
    device = pick_device(config.device)
    decoder = pick_decoder(config.decoder)
    layout = Layout(model.tasks, config.per_window)
    written = None
    if config.output is not None:
        written = PredictionFile(Path(config.output), layout, resume=config.resume)
        files = [path for path in files if str(path) not in written.done]
    console = RunConsole(sys.stderr)
    shown: list[dict[str, Any]] = []
    bad: list[str] = []
    try:
        with console.progress("Classifying", total=len(files)) as progress:
            for found in predict(
                model.to(device),
                files,
                sliding=Sliding(config.windows == "one", config.window_length, config.window_stride),
                device=device,
                batch_size=config.batch_size,
                workers=config.workers,
                precision=config.precision,
                decoder=decoder,
                advance=_Rate(progress),
            ):
                if isinstance(found, Unreadable):
                    bad.append(found.reason)
                    shown.append({"file": str(found.path), "error": found.reason})
                elif written is not None:
                    written.append(list(_rows(found, model, config)))
                else:
                    shown += [_shown(row, model, config) for row in _rows(found, model, config)]
    except KeyboardInterrupt:
        if written is not None:
            console.print(f"{written.path} has what was done; go on with --resume")
        raise
    if written is not None:
        before = f", {len(written.done)} were there already" if written.done else ""
        done = len(files) - len(bad)
        print(f"{written.path}: {done} {'video' if done == 1 else 'videos'}{before}")
    elif config.format == "json":
        print(json.dumps(shown, indent=2))
    else:
        _print_table(shown, model, config.per_window)
    if bad:
        of = "1 video" if len(files) == 1 else f"{len(files)} videos"
        console.print(f"{program.split()[0]}: error: {len(bad)} of {of} cannot be read:")
        for reason in bad:
            console.print(f"  {reason}")
    return 2 if bad else 0


def find_files(names: Sequence[str]) -> list[Path]:
    """The video files that are meant, once each, in the order of ``names``; a folder stands for all videos
    below it.

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
    return list(dict.fromkeys(files))


class _Rate:
    """Moves the bar on, and says beside it how fast it goes."""

    def __init__(self, progress: BatchProgress) -> None:
        self._progress = progress
        self._windows, self._began = 0, time.monotonic()

    def __call__(self, share: float) -> None:
        self._windows += 1
        rate = self._windows / max(time.monotonic() - self._began, 1e-9)
        self._progress.tell(f"{rate:.3g} windows/s")
        self._progress.advance(share)


def _rows(found: Prediction, model: VideoClassifier, config: PredictConfig) -> Iterator[dict[str, Any]]:
    """The rows of a video as ``Layout`` has them: one, or one for each of its windows."""
    count = len(found.spans)
    if not config.per_window:
        means = {task: rows.mean(dim=0).tolist() for task, rows in found.probabilities.items()}
        span = found.spans[0][0], found.spans[-1][1]
        yield _row(found.path, span, {"windows": count}, means, model, config.threshold)
        return
    for index, span in enumerate(found.spans):
        at = {task: rows[index].tolist() for task, rows in found.probabilities.items()}
        numbers = {"window": index + 1, "windows": count}
        yield _row(found.path, span, numbers, at, model, config.threshold)


def _row(
    path: Path,
    span: tuple[float, float],
    numbers: Mapping[str, int],
    probabilities: Mapping[str, Sequence[float]],
    model: VideoClassifier,
    threshold: float,
) -> dict[str, Any]:
    predictions = {}
    for task, values in probabilities.items():
        classes = model.tasks[task]
        best = max(range(len(values)), key=values.__getitem__)
        several = [name for name, value in zip(classes, values, strict=True) if value > threshold]
        predictions[task] = {
            "predicted": several if task in model.multilabel else classes[best],
            "probabilities": {name: round(value, 6) for name, value in zip(classes, values, strict=True)},
        }
    start, end = (round(moment, 3) for moment in span)
    return {"path": str(path), "start": start, "end": end, **numbers, "predictions": predictions}


def _shown(row: Mapping[str, Any], model: VideoClassifier, config: PredictConfig) -> dict[str, Any]:
    """What is shown of a row: the most probable classes, or of a multi-label task those that hold."""
    best = {}
    for task, said in row["predictions"].items():
        ranked = sorted(said["probabilities"].items(), key=lambda pair: -pair[1])
        if task in model.multilabel:
            ranked = [pair for pair in ranked if pair[0] in said["predicted"]]
        else:
            ranked = ranked[: config.top_k]
        best[task] = [{"class": name, "probability": value} for name, value in ranked]
    span = {"start": row["start"], "end": row["end"]} if config.per_window else {}
    return {"file": row["path"], **span, "windows": row["windows"], "predictions": best}


def _print_table(rows: Sequence[Mapping[str, Any]], model: VideoClassifier, per_window: bool) -> None:
    tasks = list(model.tasks)
    cells = []
    for row in rows:
        found = row.get("predictions")
        span = [f"{row['start']:g} … {row['end']:g}" if found is not None else ""] if per_window else []
        if found is None:
            cells.append([row["file"], *span, "cannot be read", *("" for _ in tasks[1:])])
        else:
            best = ("\n".join(f"{p['class']} {p['probability']:.1%}" for p in found[task]) for task in tasks)
            cells.append([row["file"], *span, *(text or "none" for text in best)])
    print_table(["file", *(["seconds"] if per_window else []), *tasks], cells)


def _description(program: str) -> str:
    return f"""\
Classify video files of any length. Class names and preprocessing come from the checkpoint itself. Windows of
the length of a clip slide over longer videos, and what the model says of them is averaged. Files that cannot
be read are named at the end; the others are classified, and the exit code is 2.

examples:
  {program} clips/ --checkpoint best --output classes.csv
  {program} clips/ --checkpoint best --output classes.csv --resume
  {program} clip.mp4 --checkpoint runs/NAME --top_k 1
  {program} match.mp4 --checkpoint best.pt --per_window --window_stride 0.5 --output match.jsonl
"""
