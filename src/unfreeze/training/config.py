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
    data: str = option("demo", "demo, a folder of classes, or a CSV file (path, one column per task, split)")
    tasks: tuple[str, ...] | None = option(None, "label columns to train on (default: all)")
    val_fraction: float = option(0.2, "share held out for validation where the data has no split", gt=0, lt=1)
    augment: Literal["none", "light"] = option("light", "training crops: light (random) or none (centre)")
    flip: bool = option(False, "mirror half of the training clips; off, as it swaps left and right")
    workers: int = option(2, "processes that decode clips; 0 decodes in the training process", ge=0)

    # model
    model: str = option(
        "r3d_micro",
        "backbone: r3d_micro, mvit_micro, or torchvision's mc3_18, mvit_v1_b, mvit_v2_s, r2plus1d_18, "
        "r3d_18, s3d, swin3d_b, swin3d_s, swin3d_t",
    )
    weights: str = option("default", "default, none, or a .pth or .safetensors file")

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

    # machine
    device: Literal["auto", "cpu", "cuda", "mps"] = option(
        "auto", "where to compute; auto is cuda where there is a GPU, else cpu"
    )
    precision: Literal["fp32", "bf16", "fp16"] = option("fp32", "number format of the forward pass")
    parallel: Literal["none", "dp"] = option("none", "dp spreads each batch over all GPUs (nn.DataParallel)")
    seed: int = option(0, "same seed, same machine: same numbers", ge=0)

    # run
    monitor: str = option(
        "val/balanced_accuracy",
        "metric that picks best.pt and that adaptive watches: val/loss, val/accuracy, val/balanced_accuracy, "
        "val/macro_f1, or one task's, as in val/<task>/accuracy",
    )
    output: str = option("runs", "folder that holds the run folders")
    run_dir: str | None = option(None, "this run's folder, which must be new (default: made up in output)")
    resume: str | None = option(None, "last, a run folder, or its last.pt: continue after its last epoch")

    def __post_init__(self) -> None:
        if self.tasks is not None:
            object.__setattr__(self, "tasks", tuple(self.tasks))
        check_options(self, flag=lambda name: f"--{name}")
        if None not in (self.lr, self.head_lr, self.backbone_lr):
            raise ValueError(
                f"--lr {self.lr} says nothing beside --head_lr {self.head_lr} and "
                f"--backbone_lr {self.backbone_lr}; leave one of them out"
            )


# What a resumed run may change without changing its numbers (device: as far as two devices agree).
FREE_ON_RESUME = frozenset({"workers", "device", "output", "run_dir", "resume"})
# What says how a run was started rather than what it is; `--config` gets these from the command line alone.
_NOT_IN_FILE = frozenset({"run_dir", "resume"})


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
        if f.name not in _NOT_IN_FILE:
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
