"""What is wrong with the flags alone, found before any data is loaded or rendered."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch.optim.lr_scheduler import LRScheduler

from unfreeze.data import formats
from unfreeze.data.decode import pick_decoder
from unfreeze.data.partition import check_folds
from unfreeze.data.transforms import flips
from unfreeze.models.lengths import check_frames
from unfreeze.models.registry import Backbone, backbone
from unfreeze.optim import build_optimizer, build_scheduler, schedulers
from unfreeze.training.balance import check_words
from unfreeze.training.config import SILENT, TrainConfig
from unfreeze.training.rundir import check_unused
from unfreeze.training.time_limit import parse_time_limit

# Arguments of the torch classes that are not the user's to set here, and what to do instead.
_OPTIMIZER_TAKEN = {
    "lr": "say --lr, --head_lr or --backbone_lr",
    "weight_decay": "say --weight_decay",
    "differentiable": "it is for gradients through the optimizer itself; leave it out",
    "capturable": "it is for steps captured as CUDA graphs; leave it out",
}
_SCHEDULER_TAKEN = {
    "epochs": "say --epochs",
    "steps_per_epoch": "it follows from the data; leave it out",
}
# Words that our own builders use for something else: no class of torch has such an argument.
_NOT_ARGUMENTS = frozenset({"name", "optimizer", "param_groups", "params"})


def check_early(config: TrainConfig) -> None:
    """Refuse unknown models, optimizers and schedules, arguments that are not theirs, and a used run folder.

    What depends on the data or the model is checked where those are there.

    Raises:
        ValueError: the first mistake that was found.
    """
    row = backbone(config.model)
    _check_data_flags(config)
    _check_clip_flags(config, row)
    _check_cache_flags(config)
    check_words(config.balance)
    if config.time_limit is not None:
        parse_time_limit(config.time_limit)
    optimizer_args, scheduler_args = config.optimizer_args or {}, config.scheduler_args or {}
    _check_arguments("--optimizer_args", optimizer_args, _OPTIMIZER_TAKEN)
    watches = config.scheduler.lower() in ("plateau", "reducelronplateau")
    follows = {"mode": "it follows from --monitor; leave it out"} if watches else {}
    _check_arguments("--scheduler_args", scheduler_args, _SCHEDULER_TAKEN | follows)
    stand_in = build_optimizer(
        config.optimizer, [torch.zeros(1)], lr=1e-3, weight_decay=config.weight_decay, **optimizer_args
    )
    classes = {cls.__name__.lower() for cls in LRScheduler.__subclasses__()}
    if config.scheduler.lower() not in {*schedulers(), *classes}:
        build_scheduler(config.scheduler, stand_in, epochs=1, steps_per_epoch=1)  # says what there is
    if config.run_dir is not None:
        if config.resume is not None:
            raise ValueError(
                f"--run_dir {config.run_dir}: a resumed run goes on in its own folder; leave --run_dir out"
            )
        check_unused(config.run_dir)


def _check_data_flags(config: TrainConfig) -> None:
    if config.data_format != "auto":
        formats.get(config.data_format)
    check_folds(config.folds, config.fold)
    if config.folds is not None and config.val_fraction != TrainConfig.val_fraction:
        raise ValueError(
            f"--val_fraction {config.val_fraction:g} says nothing beside --folds {config.folds}: a fold is "
            "what is validated on; leave one of them out"
        )
    if config.check == "none" and config.max_bad != TrainConfig.max_bad:
        raise ValueError(f"--max_bad {config.max_bad} says nothing with --check none; leave one of them out")
    pick_decoder(config.decoder)


def _check_clip_flags(config: TrainConfig, row: Backbone) -> None:
    if config.fps is not None and config.stride is not None:
        raise ValueError(
            f"--fps {config.fps:g} and --stride {config.stride} contradict each other; give one of them"
        )
    if config.frames is not None:
        check_frames(row, row.preprocessing().with_clip(frames=config.frames))
    if config.flip_swap is not None and not flips(config.augment, config.flip):
        raise ValueError("--flip_swap says nothing without mirrored clips; add --flip or --augment standard")


def _check_cache_flags(config: TrainConfig) -> None:
    for name in sorted(SILENT.get(config.cache, ())):
        if getattr(config, name) != getattr(TrainConfig, name):
            raise ValueError(
                f"--{name} {getattr(config, name)} says nothing with --cache {config.cache}; "
                "leave one of them out"
            )
    if config.cache_dir is not None:
        folder = Path(config.cache_dir).expanduser()
        if folder.exists() and not folder.is_dir():
            raise ValueError(f"--cache_dir {config.cache_dir} is a file; name a folder")
    if config.exact and config.compile:
        raise ValueError(
            "--compile and --exact contradict each other, as compiled blocks round in another way: leave "
            "one of them out"
        )
    if config.exact and config.cache_dtype != "produced":
        raise ValueError(
            f"--cache_dtype {config.cache_dtype} and --exact contradict each other: leave one of them out"
        )


def _check_arguments(flag: str, given: Mapping[Any, Any], taken: Mapping[str, str]) -> None:
    for name in given:
        if not isinstance(name, str) or name in _NOT_ARGUMENTS:
            raise ValueError(f"{flag}: there is no argument {name!r}; write names of arguments, as in --help")
        if name in taken:
            raise ValueError(f"{flag}.{name} cannot be set: {taken[name]}")
