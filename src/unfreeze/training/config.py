"""Every flag of ``train`` that is not a strategy's own field."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from unfreeze.options import check_options, option
from unfreeze.strategies import Strategy

DEFAULT_EPOCHS = 12


@dataclass(frozen=True)
class TrainConfig:
    """What to train on, which model, and how; the strategy comes beside it.

    Every field is a flag of the same name and a key of ``config.yaml``.

    Raises:
        ValueError: a value is out of range; the message names the flag.
    """

    # data
    data: str = option(
        "demo",
        "demo, a folder of classes, a table (CSV, JSON Lines or Parquet: path, one column per task, split), "
        "a Kinetics list, or the folder of SoccerNet-MVFoul or of a Hugging Face video set",
    )
    data_format: str = option(
        "auto",
        "auto looks at the data; or csv, folder, huggingface, jsonl, list, mvfoul or parquet",
    )
    tasks: tuple[str, ...] | None = option(None, "label columns to train on (default: all)")
    val_fraction: float = option(0.2, "share held out for validation where the data names none", gt=0, lt=1)
    folds: int | None = option(None, "cut the data into this many folds for cross-validation", ge=2)
    fold: int | None = option(None, "the fold (from 1) to validate on; the others are trained on", ge=1)
    check: Literal["full", "quick", "none"] = option(
        "full", "files before the first epoch: decode all, only open them, or neither; results are kept"
    )
    max_bad: str = option(
        "1%", "bad training files that are left out, a share or a number; more stop the run"
    )
    allow_bad: tuple[str, ...] | None = option(None, "bad validation files that may be left out, by name")

    # clips
    frames: int | None = option(None, "frames of a clip (default: what the model expects)", ge=1)
    fps: float | None = option(
        None, "frames per second at which a clip is taken (default: what the model expects)", gt=0
    )
    stride: int | None = option(None, "take every so many-th frame of the file, in place of --fps", ge=1)
    short: Literal["repeat", "wrap"] = option(
        "repeat", "what fills a clip longer than its video: the last frame, or the video from its start"
    )
    eval_clips: int = option(1, "clips of each video that are averaged in validation", ge=1)
    eval_crops: Literal["1", "3"] = option("1", "crops of each such clip: the centre, or both ends too")
    decoder: Literal["auto", "torchcodec", "pyav"] = option(
        "auto", "auto is torchcodec where it loads, else pyav; the frames are the same"
    )
    clip_cache: Literal["auto", "ram", "disk", "off"] = option(
        "auto", "where decoded clips are kept for the next epoch; auto decides by size and room"
    )
    clip_cache_gb: float | None = option(
        None,
        "upper bound of that cache in GB (default: half of what is free); on disk it is kept for later runs",
        gt=0,
    )
    workers: int = option(2, "processes that decode clips; 0 decodes in the training process", ge=0)

    # augmentation
    augment: Literal["none", "light", "standard", "strong"] = option(
        "light",
        "how training clips are varied: none (centre crop), light (crop, colour), standard or strong "
        "(RandAugment, flips, speed)",
    )
    flip: bool | None = option(
        None, "mirror half of the training clips (default: standard and strong do); wrong for left and right"
    )
    flip_swap: dict[str, Any] | None = option(
        None, "classes that trade places in a mirrored clip, per task: {motion: {left: right}}"
    )
    mixup: float = option(0.0, "alpha of mixup, which blends pairs of clips; 0 is off", ge=0)
    cutmix: float = option(
        0.0, "alpha of cutmix, which pastes a part of one clip into another; 0 is off", ge=0
    )

    # balance
    balance: tuple[str, ...] = option(
        ("none",),
        "against imbalance: none, weights, sampler, focal, effective_number or logit_adjustment, for all "
        "tasks or per task: motion=weights object=none; several for a task as weights+sampler",
    )
    balance_strength: Literal["full", "sqrt", "log"] = option(
        "full", "how far weights and sampler go: full makes classes equal, sqrt goes half the way, log less"
    )
    balance_cap: float = option(10.0, "upper bound on how much more a class counts than the average", ge=1)
    focal_gamma: float = option(2.0, "focal loss: how much easy clips are played down", ge=0)
    balance_beta: float = option(0.999, "effective number: share of overlap between clips", ge=0, lt=1)
    balance_tau: float = option(1.0, "logit adjustment: weight of the class prior", ge=0)

    # model
    model: str = option(
        "r3d_micro",
        "backbone: r3d_micro, mvit_micro, or torchvision's mc3_18, mvit_v1_b, mvit_v2_s, r2plus1d_18, "
        "r3d_18, s3d, swin3d_b, swin3d_s, swin3d_t",
    )
    weights: str = option("default", "default, none, or a .pth or .safetensors file")
    views: Literal["mean", "max", "attention"] = option(
        "mean", "how several views of one event become one feature"
    )
    dropout: float | None = option(None, "dropout before the heads (default: the backbone's own)", ge=0, lt=1)
    head_init: Literal["random", "zeros", "class_means"] = option(
        "random", "how heads begin; class_means takes the frozen backbone's features of every training clip"
    )

    # optimization
    epochs: int | None = option(
        None, f"epochs to train (default: {DEFAULT_EPOCHS}, or the sum of the strategy's phases)", ge=1
    )
    batch_size: int = option(16, "clips in a batch", ge=1)
    accumulate: int = option(1, "batches whose gradients are summed into one optimizer step", ge=1)
    optimizer: str = option(
        "adamw",
        "adadelta, adafactor, adagrad, adam, adamax, adamw, asgd, muon, nadam, radam, rmsprop, rprop or sgd",
    )
    optimizer_args: dict[str, Any] | None = option(
        None, "further arguments of the optimizer: {betas: [0.9, 0.95]}"
    )
    lr: float | None = option(
        None, "learning rate of heads and backbone (default: what suits the model under adamw)", gt=0
    )
    head_lr: float | None = option(None, "learning rate of the heads (default: lr)", gt=0)
    backbone_lr: float | None = option(None, "learning rate of the backbone (default: lr)", gt=0)
    layer_decay: float = option(1.0, "factor on the learning rate per block toward the input", gt=0, le=1)
    thaw_warmup_steps: int = option(0, "steps of learning-rate warm-up for a thawed block", ge=0)
    weight_decay: float | None = option(
        None, "weight decay, sparing biases and norms (default: the optimizer's own, of everything)", ge=0
    )
    scheduler: str = option(
        "cosine",
        "learning-rate schedule: chained, constant, cosine, cosine_restarts, cyclic, exponential, lambda, "
        "linear, multiplicative, multistep, none, onecycle, plateau, polynomial, sequential, step or swa",
    )
    scheduler_args: dict[str, Any] | None = option(None, "further arguments of the scheduler: {gamma: 0.5}")
    warmup_epochs: float = option(0.0, "epochs of linear warm-up at the start of the run", ge=0)
    label_smoothing: float = option(0.0, "label smoothing of the training loss", ge=0, lt=1)
    clip_grad_norm: float | None = option(None, "upper bound of the gradient's norm (default: none)", gt=0)
    task_weights: tuple[str, ...] | None = option(
        None, "loss weight per task, as motion=2 object=1 (default: all alike), or auto (by their progress)"
    )
    ema: float | None = option(
        None, "keep an average of the weights, of this decay per step, and evaluate it: 0.99", gt=0, lt=1
    )

    # machine
    device: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", "where to compute; auto is cuda where there is a GPU, else cpu"
    )
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format of the forward pass")
    parallel: Literal["none", "dp"] = option("none", "dp spreads each batch over all GPUs (nn.DataParallel)")
    seed: int = option(0, "same seed, same machine: same numbers", ge=0)

    # frozen blocks
    cache: Literal["auto", "ram", "disk", "off"] = option(
        "auto",
        "where the output of frozen blocks is kept, so that they need not run in every epoch; auto decides "
        "by size, room and what it saves, and keeps it on disk for later runs, too",
    )
    cache_dir: str | None = option(None, "folder of that cache on disk (default: in the user's cache folder)")
    cache_gb: float | None = option(
        None,
        "upper bound of that cache in GB, in memory and on disk each (default: half of what is free)",
        gt=0,
    )
    cache_refresh: float = option(
        0.5,
        "share of the training clips that get a new random view in each epoch, the others are shown as they "
        "were; 1 caches no training clip, 0 shows each in one view",
        ge=0,
        le=1,
    )
    cache_dtype: Literal["produced", "bf16", "fp16"] = option(
        "produced", "number format in which it is kept: as the blocks produce it, or smaller and less exact"
    )
    exact: bool = option(
        False, "frozen blocks run as the model has them, without folded BatchNorm and the like: the same bits"
    )
    compile: bool = option(
        False, "compile frozen blocks with torch.compile; takes a while before the first epoch"
    )

    # run
    monitor: str = option(
        "val/balanced_accuracy",
        "metric that picks best.pt and that adaptive watches: val/loss, val/accuracy, val/balanced_accuracy, "
        "val/macro_f1, or one task's, as in val/<task>/accuracy; of a multi-label task also val/<task>/mAP",
    )
    early_stopping: int | None = option(
        None, "end the run after this many epochs without a better monitored metric", ge=1
    )
    time_limit: str | None = option(
        None, "end the run before the epoch that would pass this time: 90m, 2h, 1h30m"
    )
    output: str = option("runs", "folder that holds the run folders")
    run_dir: str | None = option(None, "this run's folder, which must be new (default: made up in output)")
    resume: str | None = option(None, "last, a run folder, or its last.pt: continue after its last epoch")

    def __post_init__(self) -> None:
        for name in ("tasks", "allow_bad", "balance", "task_weights"):
            if isinstance(getattr(self, name), list):  # as YAML gives them
                object.__setattr__(self, name, tuple(getattr(self, name)))
        check_options(self, flag=lambda name: f"--{name}")
        if None not in (self.lr, self.head_lr, self.backbone_lr):
            raise ValueError(
                f"--lr {self.lr} says nothing beside --head_lr {self.head_lr} and "
                f"--backbone_lr {self.backbone_lr}; leave one of them out"
            )


# What a resumed run may change without changing its numbers (device: as far as two devices agree).
FREE_ON_RESUME = frozenset(
    {
        *("workers", "device", "output", "run_dir", "resume", "early_stopping", "time_limit"),
        *("decoder", "clip_cache", "clip_cache_gb", "check", "max_bad", "allow_bad"),
        *("cache_dir", "cache_gb"),
    }
)
# Flags that say nothing beside a value of ``--cache``.
SILENT: Mapping[str, set[str]] = {
    "ram": {"cache_dir"},
    "off": {"cache_dir", "cache_gb", "cache_refresh", "cache_dtype"},
}
# What says how a run was started rather than what it is; `--config` gets these from the command line alone.
OF_THIS_RUN = frozenset({"run_dir", "resume"})


def resolve(config: TrainConfig, strategy: Strategy) -> TrainConfig:
    """``config`` with ``epochs``, ``head_lr`` and ``backbone_lr`` filled in, the last two in place of ``lr``.

    Raises:
        ValueError: ``epochs`` contradicts the strategy's phases, or there is no such model.
    """
    return _with_rates(_with_epochs(config, strategy))


def _with_rates(config: TrainConfig) -> TrainConfig:
    from unfreeze.models.registry import backbone

    row = backbone(config.model)
    return replace(
        config,
        lr=None,
        head_lr=config.head_lr or config.lr or row.head_lr,
        backbone_lr=config.backbone_lr or config.lr or row.backbone_lr,
    )


def _with_epochs(config: TrainConfig, strategy: Strategy) -> TrainConfig:
    length = strategy.run_length()
    if config.epochs is None:
        return replace(config, epochs=length or DEFAULT_EPOCHS)
    if length is not None and config.epochs != length:
        raise ValueError(
            f"--epochs {config.epochs} contradicts the phases of {strategy.name}, which add up to {length}: "
            "leave --epochs out or change the phases"
        )
    return config


def resolved(config: TrainConfig, strategy: Strategy) -> dict[str, Any]:
    """Flags and their values in plain YAML types: ``config.yaml``, which ``--config`` accepts back."""
    flags: dict[str, Any] = {"freezing_strategy": strategy.name}
    for f in dataclasses.fields(strategy):
        flags[strategy.flag(f.name)] = plain(getattr(strategy, f.name))
    for f in dataclasses.fields(config):
        if f.name not in OF_THIS_RUN:
            flags[f.name] = plain(getattr(config, f.name))
    return flags


def plain(value: Any) -> Any:
    """``value`` in the types that YAML, JSON and ``torch.load(weights_only=True)`` have in common."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(item) for item in value]
    assert value is None or isinstance(value, (bool, int, float, str)), f"{value!r} has no plain form"
    return value
