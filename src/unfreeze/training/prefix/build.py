"""From flags to the prefix engine of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import torch

from unfreeze.data import ClipDataset
from unfreeze.freezer import Freezer
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import cores
from unfreeze.training.prefix.choice import choose_cache
from unfreeze.training.prefix.engine import PrefixEngine
from unfreeze.training.trial import timed_items

_EXAMPLE = 2  # clips; a batch of one takes other kernels


def make_engine(
    config: TrainConfig,
    freezer: Freezer,
    device: torch.device,
    datasets: Mapping[str, ClipDataset],
    before: Mapping[str, Any] | None,
) -> PrefixEngine | None:
    """The engine that the flags ask for; None where the model runs as it is, in one piece.

    Args:
        config: with epochs resolved.
        datasets: by split, ``train`` and ``val``, without a cache of clips.
        before: the checkpoint of the run that goes on.

    Raises:
        ValueError: what was asked for has no room; one line names the flag.
        VideoError: a clip cannot be read.
    """
    if config.cache == "off" and config.exact:
        return None
    started = time.perf_counter()
    seconds, items = timed_items(datasets["train"], _EXAMPLE)
    clips = [item["video"][0] for item in items]
    example = torch.stack([*clips, *clips][:_EXAMPLE])
    # a version that had no engine kept nothing
    decided = None if before is None else before["training"].get("prefix") or {"on": False, "training": False}
    choice = choose_cache(
        config, freezer, device, datasets, example, seconds / max(min(config.workers, cores()), 1), decided
    )
    return PrefixEngine(
        config, freezer, device, datasets, choice, example, spent=time.perf_counter() - started
    )
