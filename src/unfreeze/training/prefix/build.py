"""From flags to the prefix engine of a run."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from unfreeze.data import ClipDataset
from unfreeze.freezer import Freezer
from unfreeze.prefix.costs import Costs, Profile, suffix_seconds
from unfreeze.prefix.key import block_digests
from unfreeze.prefix.profile import profile
from unfreeze.prefix.store import Room, Tier, measure_room
from unfreeze.strategies.base import BlockInfo
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import cores
from unfreeze.training.forecast import forecast
from unfreeze.training.precision import autocast
from unfreeze.training.prefix.caches import Caches, identity
from unfreeze.training.prefix.choice import Choice, Planner, cache_folder, choose_cache, rows_of
from unfreeze.training.prefix.engine import PrefixEngine
from unfreeze.training.prefix.transfer import transfer_costs
from unfreeze.training.trial import saved_bytes, timed_items

_EXAMPLE = 2  # clips; a batch of one takes other kernels
_QUICK = 0.1  # seconds per clip
_OF_A_STEP = 3  # sizes of the weights that gradients and optimizer take, about


def make_engine(
    config: TrainConfig,
    freezer: Freezer,
    device: torch.device,
    datasets: Mapping[str, ClipDataset],
    say: Callable[[str], None],
    before: Mapping[str, Any] | None,
) -> PrefixEngine | None:
    """The engine that the flags ask for; None where the model runs as it is, in one piece.

    Args:
        config: with epochs resolved.
        datasets: by split, ``train`` and ``val``, without a cache of clips.
        say: told in a line or two what is kept.
        before: the checkpoint of the run that goes on.

    Raises:
        ValueError: what was asked for has no room; one line names the flag.
        VideoError: a clip cannot be read.
    """
    if config.cache == "off" and config.exact:
        return None
    assert config.epochs is not None, "epochs are resolved before"
    sizes = freezer.anatomy.sizes(freezer.model)
    blocks = tuple(BlockInfo(part.name, sizes[part.name]) for part in freezer.anatomy.blocks)
    ahead = forecast(freezer.strategy, blocks, freezer.history, config.epochs)
    if not any(ahead.boundaries):
        return None  # nothing is frozen at the input, so there is nothing to say either
    if config.parallel == "dp" and torch.cuda.device_count() > 1:
        say("Prefix cache: off, as --parallel dp deals each batch out to several GPUs")
        return None
    started = time.perf_counter()
    # a version that had no engine kept nothing
    decided = None if before is None else before["training"].get("prefix") or {"training": False}
    seconds, items = timed_items(datasets["train"], _EXAMPLE)
    clips = [item["video"][0] for item in items]
    example = torch.stack([*clips, *clips][:_EXAMPLE])
    if config.cache == "off":
        choice = Choice("Prefix cache: off")
    else:
        rows = (rows_of(datasets["train"]), rows_of(datasets["val"]))
        costs = _costs(config, freezer, device, example, rows, seconds)
        refresh = 1.0 if config.cutmix else config.cache_refresh
        planner = Planner(freezer.strategy, blocks, config.epochs, rows, refresh, costs)
        room = _room(config, freezer, device, example)
        digests = functools.cache(lambda: block_digests(freezer.model, freezer.anatomy, ahead.boundaries[0]))

        def filled(tier: Tier, training: bool) -> int:
            if tier.folder is None:
                return 0
            splits = ("train", "val") if training else ("val",)
            return Caches(datasets, splits, tier, identity(config, device)).on_disk(digests())

        choice = choose_cache(config, planner, freezer.history, room, filled, decided)
    say(choice.line)
    spent = time.perf_counter() - started
    return PrefixEngine(config, freezer, device, datasets, choice, example, spent)


def _costs(
    config: TrainConfig,
    freezer: Freezer,
    device: torch.device,
    example: Tensor,
    rows: tuple[int, int],
    seconds: float,
) -> Costs:
    """Measured on a clip or two.

    Args:
        seconds: in which one process makes a clip.
    """
    measured = _profile(config, freezer, device, example[:1])
    if sum(measured.seconds) < _QUICK:  # what a call takes by itself counts for less among many clips
        measured = _profile(config, freezer, device, example.repeat(-(-config.batch_size // 2), 1, 1, 1, 1))
    folder = cache_folder(config)
    on_disk = config.cache == "disk" and folder.is_dir()
    read, write = transfer_costs(folder if on_disk else None)
    decode = seconds / max(min(config.workers, cores()), 1)
    return Costs(decode, measured, read, write, suffix=suffix_seconds(measured, *rows))


def _profile(config: TrainConfig, freezer: Freezer, device: torch.device, clips: Tensor) -> Profile:
    with autocast(device, config.precision):
        return profile(freezer.model, freezer.anatomy, clips.to(device))


def _room(config: TrainConfig, freezer: Freezer, device: torch.device, example: Tensor) -> Room:
    """What is free; on a GPU, what a step of training will take is not."""
    room = measure_room(cache_folder(config), device)
    if room.gpu is None:
        return room
    clips = example.to(device)

    def forward() -> object:
        with autocast(device, config.precision):
            return freezer.model(clips)

    weights = sum(p.numel() * p.element_size() for p in freezer.model.parameters())
    step = saved_bytes(forward, freezer.model, clips) * config.batch_size // len(clips)
    return replace(room, gpu=max(room.gpu - step - _OF_A_STEP * weights, 0))
