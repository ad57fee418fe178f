"""How the weights in src/unfreeze/models/pretrained/ were made.

    python tools/pretrain_micro.py --backbone r3d_micro --out OUT
    python tools/pretrain_micro.py --backbone mvit_micro --out OUT --teacher OUT/r3d_micro.safetensors

Renders scenes with shapes, motions and backgrounds that the demo does not have (once; kept under --cache),
trains the backbone on five classification tasks at once, and writes <backbone>.safetensors and
<backbone>.json.
"""

import argparse
import io
import json
import multiprocessing
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from distillation import Distillation, load_teacher
from unfreeze.data.demo.files import FPS, FRAMES, SIZE, write_mp4
from unfreeze.data.demo.scenes import Frames, render
from unfreeze.data.demo.shapes import SHAPES
from unfreeze.data.demo.tasks import PRETRAINING_SHAPES, PRETRAINING_TASKS, pretraining_pose
from unfreeze.models import micro

STRIDE = 3  # 15 fps -> 5 fps, what the backbones see
STORED = FRAMES // STRIDE  # frames kept of each scene; the backbones take micro.FRAMES of them
RESIZED = 56  # pixels; the backbones take crops of micro.SIZE
MEAN, STD = 0.45, 0.225
TEXTURES = 1_000_000_000  # far from the demo's numbers: no background is ever shared with it
FIRST_HELD_OUT = 10_000_000
MAX_BYTES = 4_000_000
CLASSES = {task: len(names) for task, names in PRETRAINING_TASKS.items()}


@dataclass(frozen=True)
class Scenes:
    videos: Tensor  # (N, STORED, RESIZED, RESIZED, 3), uint8
    labels: Tensor  # (N, tasks), in the order of PRETRAINING_TASKS


def draw_labels(number: int) -> dict[str, int]:
    rng = np.random.default_rng([number, 4])
    return {task: int(rng.integers(classes)) for task, classes in CLASSES.items()}


def draw_video(number: int) -> Frames:
    """Scene `number` as the backbones will meet clips: rendered, compressed, decoded, 5 fps, resized."""
    import av

    labels = draw_labels(number)
    pose = pretraining_pose(labels, np.random.default_rng([number, 5]), FRAMES, FPS)
    profile = SHAPES[PRETRAINING_SHAPES[labels["shape"]]]
    file = io.BytesIO()
    frames = render(profile, pose, texture=TEXTURES + number, seed=TEXTURES + number, size=SIZE, fps=FPS)
    write_mp4(file, frames, FPS)
    file.seek(0)
    with av.open(file, "r") as container:
        kept = [frame for i, frame in enumerate(container.decode(video=0)) if i % STRIDE == 0]
    decoded = torch.from_numpy(np.stack([frame.to_ndarray(format="rgb24") for frame in kept]))
    resized = F.interpolate(
        decoded.permute(0, 3, 1, 2).float(),
        size=RESIZED,
        mode="bilinear",
        antialias=True,
        align_corners=False,
    )
    return resized.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).numpy()


def load_scenes(first: int, count: int, cache: Path, processes: int) -> Scenes:
    file = cache / f"scenes_{first}_{count}.npy"
    if not file.exists():
        cache.mkdir(parents=True, exist_ok=True)
        began = time.monotonic()
        videos = np.empty((count, STORED, RESIZED, RESIZED, 3), np.uint8)
        with multiprocessing.get_context("spawn").Pool(processes, torch.set_num_threads, (1,)) as pool:
            for i, video in enumerate(pool.imap(draw_video, range(first, first + count), chunksize=16)):
                videos[i] = video
        np.save(file.with_suffix(".part.npy"), videos)
        file.with_suffix(".part.npy").rename(file)
        print(f"rendered {count} scenes in {time.monotonic() - began:.0f} s", flush=True)
    labels = [list(draw_labels(number).values()) for number in range(first, first + count)]
    return Scenes(torch.from_numpy(np.load(file)), torch.tensor(labels))


def to_input(videos: Tensor) -> Tensor:
    """(B, T, H, W, 3) uint8 -> (B, 3, T, H, W) float, normalised."""
    return videos.permute(0, 4, 1, 2, 3).float().div_(255).sub_(MEAN).div_(STD)


def augmented(videos: Tensor, labels: Tensor, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Random crops in space and time, permuted colour channels, and mirror images with mirrored labels."""

    def below(limit: int) -> int:
        return int(torch.randint(limit, (), generator=rng))

    x, y, zoom, turn = (list(PRETRAINING_TASKS).index(task) for task in ("x", "y", "zoom", "turn"))
    out, labels = [], labels.clone()
    for video, label in zip(videos, labels, strict=True):
        start, top, left = (
            below(STORED - micro.FRAMES + 1),
            below(RESIZED - micro.SIZE + 1),
            below(RESIZED - micro.SIZE + 1),
        )
        video = video[start : start + micro.FRAMES, top : top + micro.SIZE, left : left + micro.SIZE]
        # Each mirror turns some of the rates around: class c of 0 … 4 becomes 4 - c.
        for dim, reversed_tasks in ((0, (x, y, zoom, turn)), (1, (y, turn)), (2, (x, turn))):
            if below(2):
                video = video.flip(dim)
                label[list(reversed_tasks)] = 4 - label[list(reversed_tasks)]
        out.append(video[..., torch.randperm(3, generator=rng)])
    return torch.stack(out), labels


def centred(videos: Tensor) -> Tensor:
    margin, first = (RESIZED - micro.SIZE) // 2, (STORED - micro.FRAMES) // 2
    inside = slice(margin, margin + micro.SIZE)
    return videos[:, first : first + micro.FRAMES, inside, inside]


def per_task(logits: Tensor) -> tuple[Tensor, ...]:
    return logits.split(list(CLASSES.values()), dim=1)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy, summed over the tasks."""
    parts = zip(per_task(logits), labels.unbind(1), strict=True)
    return torch.stack([F.cross_entropy(part, label) for part, label in parts]).sum()


@torch.no_grad()
def accuracies(model: nn.Module, scenes: Scenes) -> dict[str, float]:
    model.eval()
    correct = torch.zeros(len(CLASSES))
    for videos, labels in zip(scenes.videos.split(100), scenes.labels.split(100), strict=True):
        predicted = torch.stack(
            [part.argmax(1) for part in per_task(model(to_input(centred(videos))))], dim=1
        )
        correct += (predicted == labels).sum(0)
    return {task: round(float(c) / len(scenes.labels), 4) for task, c in zip(CLASSES, correct, strict=True)}


def save(model: nn.Module, out: Path, metadata: Mapping[str, object]) -> None:
    """Single precision where that fits into MAX_BYTES, half precision otherwise."""
    state = {name: value.detach().contiguous().clone() for name, value in model.state_dict().items()}
    if sum(value.nbytes for value in state.values()) > MAX_BYTES * 0.99:
        state = {name: value.half() if value.is_floating_point() else value for name, value in state.items()}
    name = str(metadata["backbone"])
    out.mkdir(parents=True, exist_ok=True)
    save_file(state, out / f"{name}.safetensors")
    (out / f"{name}.json").write_text(json.dumps(metadata, indent=2) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--backbone", required=True, choices=("r3d_micro", "mvit_micro"), help="which network to train"
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the .safetensors and .json files")
    parser.add_argument(
        "--seed", type=int, default=0, help="initial weights, order and augmentation (default: 0)"
    )
    parser.add_argument("--steps", type=int, default=2000, help="optimizer steps (default: 2000)")
    parser.add_argument("--batch-size", type=int, default=64, help="clips in a step (default: 64)")
    parser.add_argument("--lr", type=float, default=2e-3, help="peak learning rate of AdamW (default: 0.002)")
    parser.add_argument(
        "--scenes", type=int, default=10_000, help="training scenes to render (default: 10000)"
    )
    parser.add_argument("--held-out", type=int, default=1000, help="scenes to score on (default: 1000)")
    parser.add_argument(
        "--teacher", type=Path, help="r3d_micro.safetensors, to learn from as well (mvit_micro needs it)"
    )
    parser.add_argument(
        "--bf16", action="store_true", help="bfloat16 autocast: faster where the processor has AMX"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="torch threads and rendering processes (default: 2)"
    )
    parser.add_argument(
        "--cache",
        type=Path,
        default=Path(tempfile.gettempdir()) / "unfreeze-pretraining",
        help="where scenes are kept",
    )
    args = parser.parse_args()
    if args.teacher is not None and args.backbone != "mvit_micro":
        parser.error("--teacher teaches mvit_micro alone")

    torch.set_num_threads(args.threads)
    torch.manual_seed(args.seed)
    rng = torch.Generator().manual_seed(args.seed)
    train = load_scenes(0, args.scenes, args.cache, args.threads)
    held_out = load_scenes(FIRST_HELD_OUT, args.held_out, args.cache, args.threads)

    model = getattr(micro, args.backbone)(num_classes=sum(CLASSES.values()))
    distillation = None
    if args.teacher is not None:
        classes = sum(CLASSES.values())
        distillation = Distillation(model, load_teacher(args.teacher, classes), classes)
    parameters = [*model.parameters(), *(distillation.parameters() if distillation else ())]
    decayed = [p for p in parameters if p.ndim > 1]
    others = [p for p in parameters if p.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=args.lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, args.lr, total_steps=args.steps, pct_start=0.15)
    metadata = {
        "backbone": args.backbone,
        "license": "Apache-2.0",
        "preprocessing": {
            "frames": micro.FRAMES,
            "fps": FPS / STRIDE,
            "resize": RESIZED,
            "crop": [micro.SIZE, micro.SIZE],
            "mean": [MEAN] * 3,
            "std": [STD] * 3,
            "interpolation": "bilinear",
        },
        "tasks": {task: list(names) for task, names in PRETRAINING_TASKS.items()},
        "classes": [f"{task}: {name}" for task, names in PRETRAINING_TASKS.items() for name in names],
    }

    began, order, running = time.monotonic(), torch.empty(0, dtype=torch.long), 0.0
    for step in range(1, args.steps + 1):
        if len(order) < args.batch_size:
            order = torch.randperm(args.scenes, generator=rng)
        batch, order = order[: args.batch_size], order[args.batch_size :]
        videos, labels = augmented(train.videos[batch], train.labels[batch], rng)
        model.train()
        clips = to_input(videos)
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            logits = model(clips)
        loss = classification_loss(logits.float(), labels)
        total = loss
        if distillation:
            hints, extra_logits = distillation(clips)
            total = loss + hints + classification_loss(extra_logits, labels)
        optimizer.zero_grad()
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        running += loss.item()
        if step % 200 == 0 or step == args.steps:
            scores = accuracies(model, held_out)
            seconds = round(time.monotonic() - began)
            done = {"steps": step, "seconds": seconds, "held_out_accuracy": scores}
            save(model, args.out, {**metadata, **done})
            print(f"step {step}  loss {running / (step % 200 or 200):.3f}  {scores}  {seconds} s", flush=True)
            running = 0.0


if __name__ == "__main__":
    main()
