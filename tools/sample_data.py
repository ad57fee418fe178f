"""Writes a small data set in every format that `--data` reads, to try the commands of docs/your_data.md on.

    python tools/sample_data.py sample_data

The clips are those of the demo: real H.264 files, 2 seconds of 64 x 64 pixels, 8 of each of three motions.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path

import numpy as np

from unfreeze.data.demo.files import FPS, Clip, frames_of, plan, write_mp4

MOTIONS = ("hop", "sway", "spin")
PER_MOTION = 8
LONG_VIDEOS = 4


@dataclass(frozen=True)
class Made:
    """A rendered clip: its file and what is in it."""

    path: Path
    motion: str
    object: str
    split: str
    group: str


def write_everything(folder: Path) -> None:
    """One folder or file per format in ``folder``, which is made."""
    clips = _render(folder / "clips")
    _class_folders(folder, clips)
    _tables(folder, clips)
    _moments(folder)
    _events(folder, clips)
    _tags(folder, clips)
    _lists(folder / "kinetics", clips)
    _mvfoul(folder / "mvfoul", clips)
    _hugging_face(folder / "hf_folder", clips)
    new = folder / "new_clips" / "monday"
    new.mkdir(parents=True)
    for clip in clips[:3]:
        shutil.copy(clip.path, new)
    (new / "broken.mp4").write_bytes(clips[0].path.read_bytes()[:600])


def _planned() -> list[Clip]:
    train = dict.fromkeys(MOTIONS, PER_MOTION - 2)
    return list(plan(seed=7, train=train, val=dict.fromkeys(MOTIONS, 2)))


def _render(folder: Path) -> list[Made]:
    folder.mkdir(parents=True)
    made = []
    for number, clip in enumerate(_planned()):
        path = folder / f"{number:02}.mp4"
        write_mp4(path, frames_of(clip), FPS)
        made.append(Made(path, clip.motion, clip.object, clip.split, clip.group))
    return made


def _class_folders(folder: Path, clips: Sequence[Made]) -> None:
    for clip in clips:
        for place in (folder / "my_clips", folder / "my_splits" / clip.split):
            (place / clip.motion).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip.path, place / clip.motion)


def _tables(folder: Path, clips: Sequence[Made]) -> None:
    """The same rows as CSV, JSON Lines and Parquet: two tasks, one label blank, splits and groups."""
    rows = [
        {
            "path": f"clips/{clip.path.name}",
            "motion": clip.motion,
            "object": "" if number == 0 else ("round" if number % 3 else "sharp"),
            "split": clip.split,
            "group": clip.group,
        }
        for number, clip in enumerate(clips)
    ]
    _csv(folder / "labels.csv", rows)
    _csv(folder / "unsplit.csv", [{key: row[key] for key in ("path", "motion", "group")} for row in rows])
    lines = (json.dumps({key: value or None for key, value in row.items()}) for row in rows)
    (folder / "labels.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError:  # an optional package; the rest is worth having without it
        return
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "labels.parquet")


def _moments(folder: Path) -> None:
    """A few long videos, and a table of what happens in them when."""
    rows = []
    for number in range(LONG_VIDEOS):
        planned = _planned()[number::LONG_VIDEOS]
        scenes = [frames_of(clip) for clip in planned]
        write_mp4(folder / f"long_{number}.mp4", np.concatenate(scenes), FPS)
        start = 0.0
        for clip, scene in zip(planned, scenes, strict=True):
            end = start + len(scene) / FPS
            place = {"path": f"long_{number}.mp4", "start": f"{start:.2f}", "end": f"{end:.2f}"}
            rows.append({**place, "motion": clip.motion})
            start = end
    _csv(folder / "moments.csv", rows)


def _events(folder: Path, clips: Sequence[Made]) -> None:
    """Events that two cameras saw: both files in one cell, or a row per file with a shared id."""
    pairs = [
        [clip for clip in clips if clip.motion == motion][place : place + 2]
        for motion in MOTIONS
        for place in range(0, PER_MOTION, 2)
    ]
    names = [[f"clips/{clip.path.name}" for clip in pair] for pair in pairs]
    _csv(
        folder / "events.csv",
        (
            {"views": "|".join(both), "motion": pair[0].motion}
            for both, pair in zip(names, pairs, strict=True)
        ),
    )
    _csv(
        folder / "events_by_id.csv",
        (
            {"id": f"event{number}", "path": name, "motion": pair[0].motion}
            for number, (both, pair) in enumerate(zip(names, pairs, strict=True))
            for name in both
        ),
    )


def _tags(folder: Path, clips: Sequence[Made]) -> None:
    """A clip may have several tags, or none (a lone bar)."""
    tags = {"hop": "vertical|fast", "sway": "horizontal", "spin": "|"}
    _csv(
        folder / "tags.csv",
        (
            {"path": f"clips/{clip.path.name}", "tags": tags[clip.motion], "split": clip.split}
            for clip in clips
        ),
    )


def _lists(folder: Path, clips: Sequence[Made]) -> None:
    (folder / "videos").mkdir(parents=True)
    for clip in clips:
        shutil.copy(clip.path, folder / "videos")
    (folder / "classes.txt").write_text("".join(f"{motion}\n" for motion in MOTIONS))
    for split in ("train", "val"):
        lines = (f"videos/{c.path.name} {MOTIONS.index(c.motion)}\n" for c in clips if c.split == split)
        (folder / f"{split}_list.txt").write_text("".join(lines))


def _mvfoul(folder: Path, clips: Sequence[Made]) -> None:
    """Annotated like SoccerNet-MVFoul, of other content: two views of each action."""
    kinds = cycle([("Tackling", "Offence", "3.0"), ("Dive", "", ""), ("Holding", "No offence", "")])
    for name, split in (("Train", "train"), ("Valid", "val")):
        of_split = [clip for clip in clips if clip.split == split]
        actions: dict[str, object] = {}
        for number, pair in enumerate(zip(of_split[::2], of_split[1::2], strict=True)):
            action, offence, severity = next(kinds)
            place = folder / name / f"action_{number}"
            place.mkdir(parents=True)
            for view, clip in enumerate(pair):
                shutil.copy(clip.path, place / f"clip_{view}.mp4")
            actions[str(number)] = {
                "UrlLocal": f"sample/{name}",
                "Offence": offence,
                "Contact": "With contact",
                "Bodypart": "Under body",
                "Upper body part": "",
                "Action class": action,
                "Severity": severity,
                "Multiple fouls": "",
                "Try to play": "",
                "Touch ball": "",
                "Handball": "No handball",
                "Handball offence": "",
                "Clips": [
                    {
                        "Url": f"Dataset/{name}/action_{number}/clip_{view}",
                        "Camera type": "Main camera" if view == 0 else "Close-up",
                        "Timestamp": 1000 * number,
                        "Replay speed": 1.0,
                    }
                    for view in range(2)
                ],
            }
        content = {"Set": split, "Number of actions": str(len(actions)), "Actions": actions}
        (folder / name / "annotations.json").write_text(json.dumps(content, indent=1))


def _hugging_face(folder: Path, clips: Sequence[Made]) -> None:
    for split, name in (("train", "train"), ("val", "validation")):
        rows = []
        for clip in (clip for clip in clips if clip.split == split):
            (folder / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(clip.path, folder / name)
            rows.append({"file_name": clip.path.name, "motion": clip.motion})
        _csv(folder / name / "metadata.csv", rows)


def _csv(file: Path, rows: Iterable[Mapping[str, object]]) -> None:
    listed = list(rows)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.DictWriter(opened, listed[0].keys(), lineterminator="\n")
        writer.writeheader()
        writer.writerows(listed)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folder", type=Path, help="a folder that does not exist yet")
    folder = parser.parse_args().folder
    if folder.exists():
        parser.error(f"{folder} exists already; name a new folder")
    write_everything(folder)
    print(f"Wrote {', '.join(sorted(path.name for path in folder.iterdir()))} into {folder}")


if __name__ == "__main__":
    main()
