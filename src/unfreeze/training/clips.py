"""From flags to clips: the manifest, a cache, data sets and loaders."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from unfreeze.data import ClipDataset, ClipLoader, Manifest, load_manifest, make_loader
from unfreeze.data.clip_cache import ClipCache, Expected, choose, expect, measure_room, open_cache
from unfreeze.data.loader import Kept
from unfreeze.data.summary import class_lines
from unfreeze.data.transforms import direction_like, flips, training_side
from unfreeze.preprocessing import Preprocessing
from unfreeze.report.console import BatchProgress, RunConsole
from unfreeze.training.config import TrainConfig


def load_data(config: TrainConfig, console: RunConsole) -> Manifest:
    """The clips and labels; while the demo is rendered, the user sees it."""
    with ExitStack() as stack:
        bar: BatchProgress | None = None

        def rendered(done: int, total: int) -> None:
            nonlocal bar
            if bar is None:
                console.print(f"Rendering the {total} clips of the demo, this once")
                bar = stack.enter_context(console.progress("Rendering", total))
            bar.advance()

        return load_manifest(
            config.data,
            tasks=config.tasks,
            data_format=config.data_format,
            val_fraction=config.val_fraction,
            folds=config.folds,
            fold=config.fold,
            seed=config.seed,
            progress=rendered,
        )


def data_lines(manifest: Manifest, config: TrainConfig) -> list[str]:
    """What the user should know of the data: notes, classes and how many clips each has, and a warning where
    mirrored clips would teach the wrong class.
    """
    lines = [*manifest.notes, *class_lines(manifest)]
    if flips(config.augment, config.flip):
        for task, classes in manifest.tasks.items():
            if task in (config.flip_swap or {}):
                continue
            for name, counterpart in direction_like(classes)[:1]:
                swap = f"--flip_swap '{{{task}: {{{name}: {counterpart}}}}}', or " if counterpart else ""
                lines.append(
                    f"Warning: task {task!r} has the class {name!r}, which a mirrored clip may not keep: "
                    f"say {swap}--no_flip"
                )
    return lines


def make_cache(
    config: TrainConfig,
    manifest: Manifest,
    preprocessing: Preprocessing,
    *,
    reads: float,
    val_once: bool = False,
) -> tuple[ClipCache | None, str]:
    """The cache of decoded clips that the flags ask for, or None, and a line that says which.

    Args:
        reads: how often each training clip will be read, on average.
        val_once: validation clips are read a single time, and are not for the cache: the room there is for
            what is read again.

    Raises:
        ValueError: there is no room for it; the message names the flag.
    """
    views = {
        split: [view for sample in manifest.split(split) for view in sample.views]
        for split in ("train", "val")
    }
    expected = Expected()
    if config.clip_cache != "off":
        expected += expect(views["train"], training_side(preprocessing))
        if not val_once:
            expected += expect(
                views["val"], _resized_side(preprocessing), frames=preprocessing.frames * config.eval_clips
            )
    choice = choose(config.clip_cache, expected, measure_room(), reads=reads, gb=config.clip_cache_gb)
    return open_cache(choice), choice.line


def make_loaders(
    config: TrainConfig,
    manifest: Manifest,
    preprocessing: Preprocessing,
    device: torch.device,
    *,
    cache: ClipCache | None = None,
    weights: NDArray[np.float64] | None = None,
    val_once: bool = False,
    is_kept: Callable[[str, int, int], bool] | None = None,
) -> tuple[ClipLoader, ClipLoader]:
    """The training clips, in an order and with crops of their own in each epoch, and the validation clips.

    Args:
        weights: how often each training clip is drawn, relative to the others; None is once each.
        val_once: as for ``make_cache``.
        is_kept: of a split and a clip's index and version, whether the clip need not be decoded; see
            ``make_loader``.
    """
    train = make_loader(
        make_dataset(config, manifest, preprocessing, "train", train=True, cache=cache),
        batch_size=config.batch_size,
        workers=config.workers,
        pin_memory=device.type == "cuda",
        weights=weights,
        kept=None if is_kept is None else partial(is_kept, "train"),
    )
    val_cache = None if val_once else cache
    val = evaluation_loader(
        config,
        manifest,
        preprocessing,
        device,
        "val",
        cache=val_cache,
        kept=None if is_kept is None else partial(is_kept, "val"),
    )
    return train, val


def evaluation_loader(
    config: TrainConfig,
    manifest: Manifest,
    preprocessing: Preprocessing,
    device: torch.device,
    split: str,
    *,
    cache: ClipCache | None = None,
    kept: Kept | None = None,
) -> ClipLoader:
    """The clips of a split in their order, as evaluation sees them."""
    return make_loader(
        make_dataset(config, manifest, preprocessing, split, train=False, cache=cache),
        batch_size=config.batch_size,
        workers=config.workers,
        pin_memory=device.type == "cuda",
        kept=kept,
    )


def make_dataset(
    config: TrainConfig,
    manifest: Manifest,
    preprocessing: Preprocessing,
    split: str,
    *,
    train: bool,
    cache: ClipCache | None = None,
) -> ClipDataset:
    """The clips of a split, varied for training or as evaluation sees them."""
    return ClipDataset(
        manifest.split(split),
        manifest.tasks,
        preprocessing,
        train=train,
        seed=config.seed,
        augment=config.augment,
        flip=config.flip,
        flip_swap=config.flip_swap,
        multilabel=manifest.multilabel,
        eval_clips=config.eval_clips,
        eval_crops=int(config.eval_crops),
        decoder=config.decoder,
        cache=cache,
    )


def _resized_side(preprocessing: Preprocessing) -> int:
    """The shorter side of a clip that evaluation has resized."""
    resize = preprocessing.resize
    return resize if isinstance(resize, int) else min(resize)
