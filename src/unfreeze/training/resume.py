"""Going on with a run: what must be the same as before, and what may differ."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch

from unfreeze.data import Manifest, View
from unfreeze.history import Mode
from unfreeze.optim import build_scheduler
from unfreeze.strategies import Strategy
from unfreeze.training.assembly import Assembly
from unfreeze.training.config import FREE_ON_RESUME, TrainConfig, plain, resolved

_DEFAULTS = {f.name: plain(f.default) for f in dataclasses.fields(TrainConfig)}


def check_flags(config: TrainConfig, strategy: Strategy, checkpoint: Mapping[str, Any]) -> None:
    """A run goes on with the flags it was started with; those of the machine, and ``epochs``, may differ.

    Raises:
        ValueError: a flag contradicts the checkpoint, or there are fewer epochs than are done; the message
            names it.
    """
    # flags that a checkpoint of an older version does not have yet were as they are by default
    was, now = _DEFAULTS | checkpoint["config"], resolved(config, strategy)
    # flags that only one of them has belong to another strategy, which is among the differences then
    different = [
        f"--{name} {_shown(now[name])} (was {_shown(was[name])})"
        for name in now
        if name in was and name not in (*FREE_ON_RESUME, "epochs") and not _same(name, was[name], now[name])
    ]
    if different:
        raise ValueError(
            f"--resume {config.resume}: the run was started with other flags: {', '.join(different)}; "
            "leave them out, or start a new run"
        )
    assert config.epochs is not None, "epochs are resolved before"
    if config.epochs < checkpoint["epoch"]:
        raise ValueError(
            f"--epochs {config.epochs}: the run has {checkpoint['epoch']} epochs already; start a new run"
        )


def check_length(
    config: TrainConfig,
    checkpoint: Mapping[str, Any],
    rates: Sequence[float],
    *,
    steps_per_epoch: int,
    mode: Mode,
) -> None:
    """A run may be made longer or shorter where its learning rates do not depend on its length.

    Args:
        rates: the learning rate of each parameter group at the start of the run.

    Raises:
        ValueError: the scheduler was laid out for another number of epochs.
    """
    was, now = checkpoint["config"]["epochs"], config.epochs
    assert now is not None, "epochs are resolved before"
    if was == now:
        return
    groups = [{"params": [torch.zeros(1)], "lr": rate} for rate in rates]
    layouts = [
        build_scheduler(
            config.scheduler,
            torch.optim.SGD(groups, momentum=0.9),
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            metric_mode=mode,
            **(config.scheduler_args or {}),
        ).state_dict()
        for epochs in (was, now)
    ]
    if layouts[0] != layouts[1]:
        raise ValueError(
            f"--epochs {now}: the {config.scheduler} schedule of this run was laid out for {was} epochs; "
            "leave --epochs out, or start a new run"
        )


def go_on(
    made: Assembly, config: TrainConfig, checkpoint: Mapping[str, Any], *, steps_per_epoch: int, mode: Mode
) -> None:
    """Bring what trains the model to where the checkpoint was taken.

    Raises:
        ValueError: the scheduler was laid out for another number of epochs.
    """
    check_length(config, checkpoint, made.rates, steps_per_epoch=steps_per_epoch, mode=mode)
    state = checkpoint["training"]
    made.freezer.load_state_dict(state["freezer"])
    made.optimizer.load_state_dict(state["optimizer"])
    made.schedule.load_state_dict(state["schedule"])
    made.scaler.load_state_dict(state["scaler"])


def fingerprint(manifest: Manifest) -> str:
    """A digest of the clips' names, splits and labels, in their order, and of the class names.

    Data that the first version could train on has the digest that it had there, so that its runs can go on.
    """
    content: dict[str, Any] = {
        "tasks": {task: list(classes) for task, classes in manifest.tasks.items()},
        "clips": [(_seen(clip.views), clip.split, dict(clip.labels)) for clip in manifest.samples],
    }
    if manifest.multilabel:
        content["multilabel"] = sorted(manifest.multilabel)
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _seen(views: Sequence[View]) -> str | list[tuple[str, float | None, float | None]]:
    """What tells apart the views of a clip; of a whole file it is the name alone."""
    first = views[0]
    if len(views) == 1 and first.start is None and first.end is None:
        return first.path.name
    return [(view.path.name, view.start, view.end) for view in views]


def check_data(manifest: Manifest, checkpoint: Mapping[str, Any]) -> None:
    """Raises ValueError where the clips, their order, splits or labels are not those the run started with."""
    if fingerprint(manifest) != checkpoint["data"]:
        raise ValueError(
            f"--resume: the clips or labels in {manifest.source} have changed since the run was started; "
            "put them back, or start a new run"
        )


def _same(name: str, was: Any, now: Any) -> bool:
    if name == "cache":  # where it is changes no number
        return (was == "off") == (now == "off")
    return bool(was == now)


def _shown(value: Any) -> str:
    return "none" if value is None else str(value)
