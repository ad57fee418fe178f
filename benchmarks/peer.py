"""The same fine-tuning as most would write it: PyTorch Lightning, with finetuning-scheduler to thaw blocks.

The model, the clips, their order, the batches, the workers and the optimizer are those of `train.py`; the
loop, checkpoints and frozen mode (no gradients, but everything in training mode) are Lightning's.
"""

from __future__ import annotations

import logging
import sys
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import lightning.pytorch as pl
import torch
from finetuning_scheduler import FinetuningScheduler, FTSCheckpoint
from torch import Tensor
from torch.nn import functional as F

from driver import Run
from turns import Turns
from unfreeze.anatomy import Anatomy, dissect
from unfreeze.cli.train import requested
from unfreeze.data import ClipLoader
from unfreeze.data.loader import Batch
from unfreeze.history import History
from unfreeze.models import VideoClassifier
from unfreeze.report.console import RunConsole
from unfreeze.strategies.base import BlockInfo
from unfreeze.training.assembly import make_model
from unfreeze.training.clips import load_data, make_loaders
from unfreeze.training.config import TrainConfig, resolve
from unfreeze.training.device import pick_device
from unfreeze.training.forecast import dry_run
from unfreeze.training.seeding import seed_epoch

PRECISIONS = {"fp32": "32-true", "bf16": "bf16-mixed", "fp16": "16-mixed"}


def train(run: Run, turns: Turns) -> Mapping[str, Any]:
    """Train as the flags of ``run`` say, as far as they are about data, model, optimizer and strategy."""
    warnings.filterwarnings("ignore", module=r"(lightning|finetuning_scheduler)\b")
    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)
    turns.begin()
    config, strategy = requested(run.flags, "train.py")
    config = resolve(config, strategy)
    assert config.epochs is not None, "epochs are resolved"
    device = pick_device(config.device)
    manifest = load_data(config, RunConsole(sys.stdout))
    seed_epoch(config.seed, 0)
    model = make_model(config, manifest, print)
    clips, val_clips = map(Watched, make_loaders(config, manifest, model.preprocessing, device))
    anatomy = dissect(model)
    sizes = anatomy.sizes(model)
    blocks = [BlockInfo(part.name, sizes[part.name]) for part in anatomy.blocks]
    decisions = dry_run(strategy, blocks, History(), config.epochs)
    phases = schedule(anatomy, [d.trainable for d in decisions], config.backbone_lr or 0.0)
    module = Module(model, config)
    waited: list[float] = []
    trainer = pl.Trainer(
        accelerator="gpu" if device.type == "cuda" else "cpu",
        devices=1,
        precision=PRECISIONS[config.precision],
        max_epochs=config.epochs,
        callbacks=[
            Pausing(turns, clips, waited),
            FinetuningScheduler(ft_schedule=phases, epoch_transitions_only=True, restore_best=False),
            FTSCheckpoint(dirpath=run.folder / "run", monitor="val_loss"),
        ],
        num_sanity_val_steps=0,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=run.folder / "run",
    )
    trainer.fit(module, clips, val_clips)
    return {
        "waited": waited,
        "train_loss": float(trainer.callback_metrics["train_loss"]),
        "val_accuracy": float(trainer.callback_metrics["val_accuracy"]),
        "lines": [],
    }


def schedule(anatomy: Anatomy, trained: Sequence[Sequence[str]], lr: float) -> dict[int, dict[str, Any]]:
    """A finetuning-scheduler schedule: the heads first, then what thaws, in each epoch that thaws anything.

    Args:
        trained: the blocks that train in each epoch; none freezes again.
        lr: of the blocks; the heads begin with that of the optimizer.
    """
    names = [name for head in anatomy.heads for name in head.parameters]
    phases: dict[int, dict[str, Any]] = {0: {"params": [f"model.{name}" for name in names]}}
    before: set[str] = set()
    for done, now in enumerate(trained):  # epochs that are over when these blocks train
        assert before <= set(now), "nothing freezes again"
        if new := [name for name in now if name not in before]:
            phases[len(phases) - 1]["max_transition_epoch"] = done
            names = [name for block in new for name in anatomy.part(block).parameters]
            phases[len(phases)] = {"params": [f"model.{name}" for name in names], "lr": lr}
        before = set(now)
    phases[len(phases) - 1]["max_transition_epoch"] = len(trained)
    return phases


class Watched:
    """A loader whose next epoch begins when it is asked for a batch, and that knows how long it took."""

    def __init__(self, loader: ClipLoader) -> None:
        self._loader = loader
        self._epoch = 0
        self.waited = 0.0

    def __len__(self) -> int:
        return len(self._loader)

    def __iter__(self) -> Iterator[Batch]:
        self._epoch += 1
        self.waited = 0.0
        self._loader.set_epoch(self._epoch)
        asked = time.perf_counter()
        for batch in self._loader:
            self.waited += time.perf_counter() - asked
            yield batch
            asked = time.perf_counter()


class Pausing(pl.Callback):
    """Gives the turn back before every epoch, and writes down what the last one waited for clips."""

    def __init__(self, turns: Turns, clips: Watched, waited: list[float]) -> None:
        self._turns, self._clips, self._waited = turns, clips, waited

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._turns.give_back()

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._waited.append(self._clips.waited)


class Module(pl.LightningModule):
    """The classifier with the loss of `train.py`: the mean over tasks of the cross entropy."""

    def __init__(self, model: VideoClassifier, config: TrainConfig) -> None:
        super().__init__()
        self.model = model
        self.config = config

    def training_step(self, batch: Batch, index: int) -> Tensor:
        loss, _ = self._measured(batch)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(batch["index"]))
        return loss

    def validation_step(self, batch: Batch, index: int) -> None:
        loss, accuracy = self._measured(batch)
        self.log_dict({"val_loss": loss, "val_accuracy": accuracy}, batch_size=len(batch["index"]))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        assert self.config.head_lr is not None, "learning rates are resolved"
        heads = self.model.heads.parameters()
        return torch.optim.AdamW(heads, lr=self.config.head_lr, **(self.config.optimizer_args or {}))

    def _measured(self, batch: Batch) -> tuple[Tensor, Tensor]:
        logits, labels = self.model(batch["video"]), batch["labels"]
        losses = [F.cross_entropy(logits[task], labels[task], ignore_index=-1) for task in logits]
        right = [(logits[task].argmax(1) == labels[task]).float().mean() for task in logits]
        return torch.stack(losses).mean(), torch.stack(right).mean()
