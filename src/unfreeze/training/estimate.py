"""What a run will take, in memory and time: measured on a clip or two, and multiplied.

Activations are what autograd really saves for two clips, in the state of freezing in which the strategy has
most to train; times are those of two clips forward and backward on the device of the run, and of the data
set's own items (``unfreeze.training.trial``). So they hold for this machine, "about": a busy machine, an
allocator's fragments and cuDNN's workspaces are not in them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch

from unfreeze.data import ClipDataset, ClipLoader
from unfreeze.data.clip_cache import choose, expect, measure_room
from unfreeze.data.decode import VideoInfo
from unfreeze.data.loader import collate
from unfreeze.data.manifest import View
from unfreeze.data.survey import Survey
from unfreeze.data.transforms import training_side
from unfreeze.history import History, Mode
from unfreeze.memory import available, resident
from unfreeze.strategies import Strategy
from unfreeze.strategies.base import BlockInfo
from unfreeze.training.assembly import Assembly
from unfreeze.training.config import TrainConfig
from unfreeze.training.device import cores
from unfreeze.training.forecast import STALLED, dry_run
from unfreeze.training.trial import state_per_weight, timed_items, try_clips
from unfreeze.wording import in_bytes, in_seconds

_WORKER = 150 * 10**6  # bytes that a decoding process has for itself, beside its clips
_AHEAD = 3  # batches per worker: two that wait (DataLoader's prefetch_factor) and the one that is made


@dataclass(frozen=True)
class Estimate:
    """About what a run takes. Bytes and seconds, each with what it rests on.

    Attributes:
        on: the kind of device: ``cpu``, ``cuda`` or ``mps``.
        ram: of all processes together, and on the CPU of the model too.
        device: of the model and its training, on the device.
        device_per_clip: the part of ``device`` that grows with the batch, for one clip.
        free: bytes that the device (or the machine) has free now; None where that cannot be told.
        epoch: seconds of the first epoch, and of the one in which most trains.
        heaviest: that epoch's number, from 1.
        clips_per_second: in the heaviest epoch, forward and backward alone.
        decode_per_clip: seconds in which one process makes a training clip.
        run: seconds of all epochs, at most.
    """

    on: str
    ram: int
    ram_basis: str
    device: int
    device_per_clip: int
    device_basis: str
    free: int | None
    epoch: tuple[float, float]
    heaviest: int
    clips_per_second: float
    decode_per_clip: float
    epoch_basis: str
    run: float
    clip_cache: str

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self) | {"epoch": list(self.epoch)}

    def batch_that_fits(self, batch_size: int, share: float = 0.8) -> int:
        """The largest half, quarter, … of ``batch_size`` that leaves some of the device's memory free."""
        fixed = self.device - batch_size * self.device_per_clip
        while self.free is not None and batch_size > 1:
            if fixed + batch_size * self.device_per_clip <= share * self.free:
                break
            batch_size = max(batch_size // 2, 1)
        return batch_size


def estimate(
    made: Assembly,
    config: TrainConfig,
    strategy: Strategy,
    loaders: tuple[ClipLoader, ClipLoader],
    survey: Survey,
    *,
    mode: Mode,
) -> Estimate:
    """What the run of ``config`` will take on the device that the model is on.

    Its model and freezer are used up: they end in the heaviest epoch.

    Args:
        made: as ``assemble`` makes it, before its first epoch.
        config: with epochs resolved.
        loaders: of training and validation, as ``make_loaders`` makes them, without a cache.
    """
    train, val = (loader.dataset for loader in loaders)
    assert config.epochs is not None, "epochs are resolved before"
    sizes = made.freezer.anatomy.sizes(made.model)
    blocks = [BlockInfo(part.name, sizes[part.name]) for part in made.freezer.anatomy.blocks]
    plan = dry_run(strategy, blocks, History(monitor=config.monitor, mode=mode), config.epochs)
    load = [sum(sizes[name] for name in decision.trainable) for decision in plan]
    heaviest = 1 + max(range(len(plan)), key=lambda i: load[i])
    ever = {name for decision in plan for name in decision.trainable}

    count = min(2, len(train))
    decode, items = timed_items(train, count)
    clips = collate(items)
    made.freezer.start_epoch()
    first = most = try_clips(made.model, clips, config.precision)
    if heaviest > 1:
        while made.freezer.start_epoch().epoch < heaviest:
            made.freezer.end_epoch(signals=None, **{config.monitor: STALLED})
        most = try_clips(made.model, clips, config.precision)

    heads = sum(sizes[part.name] for part in made.freezer.anatomy.heads)
    weights = sum(t.numel() * t.element_size() for t in (*made.model.parameters(), *made.model.buffers()))
    average = weights if config.ema is not None else 0
    gradients = 4 * (load[heaviest - 1] + heads)
    state = round(4 * (sum(sizes[name] for name in ever) + heads) * state_per_weight(config))
    per_clip = round(most.saved / count) + clips["video"].nbytes // count
    device = weights + average + gradients + state + config.batch_size * per_clip

    device_type = next(made.model.parameters()).device.type
    evaluated = len(val) * val.copies
    seconds = tuple(
        _epoch(
            compute=len(train) * m.step / count + evaluated * m.forward / count,
            data=(len(train) + len(val)) * decode,
            workers=config.workers,
            shared=device_type == "cpu",
        )
        for m in (first, most)
    )
    process, decoding = resident(), _decoding_bytes(train, survey)
    ahead = config.workers * (
        _WORKER + decoding + _AHEAD * config.batch_size * clips["video"].nbytes // count
    )
    views = [view for sample in (*train.samples, *val.samples) for view in sample.views]
    expected = expect(views, training_side(train.preprocessing), info=_info(survey))
    cache = choose(config.clip_cache, expected, measure_room(), reads=config.epochs, gb=config.clip_cache_gb)
    kept = min(expected.bytes, cache.limit) if cache.where == "ram" else 0
    on_cpu = device if device_type == "cpu" else 0
    where = "the strategy" if not plan[heaviest - 1].measured else "the strategy if the metric never improves"
    return Estimate(
        on=device_type,
        ram=process + ahead + kept + on_cpu,
        ram_basis=(
            f"this process {in_bytes(process)}, {config.workers} workers with {_AHEAD} batches of "
            f"{config.batch_size} clips each {in_bytes(ahead)}, clip cache {in_bytes(kept)}"
            + (f", model {in_bytes(on_cpu)}" if on_cpu else "")
        ),
        device=device,
        device_per_clip=per_clip,
        device_basis=(
            f"weights {in_bytes(weights + average)}{' with their average' if average else ''}, gradients "
            f"{in_bytes(gradients)}, {config.optimizer} {in_bytes(state)}, {config.batch_size} clips of "
            f"{in_bytes(per_clip)} (measured on {count}), in epoch {heaviest} of {config.epochs}, when "
            f"{where} trains most"
        ),
        free=_free(device_type),
        epoch=(seconds[0], seconds[1]),
        heaviest=heaviest,
        clips_per_second=count / most.step,
        decode_per_clip=decode,
        epoch_basis=(
            f"{len(train)} training clips of {in_seconds(most.step / count)} forward and backward and "
            f"{in_seconds(decode)} to decode, {evaluated} of {in_seconds(most.forward / count)} to evaluate, "
            f"measured on {count} clips on {device_type}; no cache is counted on"
        ),
        run=config.epochs * max(seconds),
        clip_cache=cache.line,
    )


def _epoch(*, compute: float, data: float, workers: int, shared: bool) -> float:
    """Seconds of an epoch: decoding goes on beside computing, where that does not need the same cores."""
    data /= max(min(workers, cores()), 1)
    return compute + data if shared or workers == 0 else max(compute, data)


def _decoding_bytes(dataset: ClipDataset, survey: Survey) -> int:
    """Bytes of the frames of a clip at their full size, twice: while they are made small, both are there."""
    pixels = max((r.width * r.height for r in survey.reports.values() if r.ok), default=0)
    return 2 * 3 * pixels * dataset.preprocessing.frames


def _info(survey: Survey) -> Callable[[View], VideoInfo]:
    def of(view: View) -> VideoInfo:
        r = survey.reports[view.path]
        end = r.seconds if view.end is None else min(view.end, r.seconds)
        seconds = max(end - (view.start or 0.0), 0.0)
        return VideoInfo(max(round(seconds * r.fps), 1), r.fps, max(r.width, 1), max(r.height, 1), seconds)

    return of


def _free(device_type: str) -> int | None:
    if device_type == "cuda":
        return torch.cuda.mem_get_info()[0]
    return available()
