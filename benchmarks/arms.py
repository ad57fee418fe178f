"""What `prefix.py` compares: every way to train as flags of `train.py`, on every model as a case."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PLAIN = ("--cache", "off", "--exact", "--clip_cache", "off")  # frozen layers as any PyTorch loop has them
PEER, NAIVE, FULL = "lightning", "naive", "full"


@dataclass(frozen=True)
class Arm:
    """One way to train.

    Attributes:
        label: its row in the table.
        flags: beside those of the case.
        refresh: share of the training clips that are encoded anew in each epoch; 1 where nothing is kept.
        cached: whether activations are kept, of validation clips at least.
    """

    label: str
    flags: tuple[str, ...]
    refresh: float = 1.0
    cached: bool = False


def _kept(refresh: float, *more: str) -> tuple[str, ...]:
    return ("--cache", "auto", "--cache_refresh", f"{refresh:g}", "--clip_cache", "off", *more)


ARMS: Mapping[str, Arm] = {
    FULL: Arm("full fine-tuning", (*PLAIN, "--freezing_strategy", "none")),
    NAIVE: Arm("naive freezing", PLAIN),
    "clips": Arm("naive freezing, decoded clips kept", (*PLAIN[:-1], "auto")),
    PEER: Arm("Lightning, finetuning-scheduler", PLAIN),
    "graph": Arm("prefix as inference graph", ("--cache", "off", "--clip_cache", "off")),
    "refresh1": Arm("prefix cache, refresh 1", _kept(1), 1.0, cached=True),
    "refresh0.25": Arm("prefix cache, refresh 0.25", _kept(0.25), 0.25, cached=True),
    "refresh0.1": Arm("prefix cache, refresh 0.1", _kept(0.1), 0.1, cached=True),
    "refresh0": Arm("prefix cache, refresh 0", _kept(0), 0.0, cached=True),
    "exact0": Arm("prefix cache, refresh 0, exact", _kept(0, "--exact"), 0.0, cached=True),
}
DEFAULT_ARMS = tuple(name for name in ARMS if name != "exact0")


@dataclass(frozen=True)
class Case:
    """One model on its data.

    Attributes:
        model: as ``--model`` names it.
        train, val: clips that are made for it; 0 takes the demo data.
        batch: clips.
        epochs: of every run, but for full fine-tuning, whose epochs are all alike.
        targets: arm -> how much faster than naive freezing and than the peer its whole run should be.
    """

    model: str
    train: int
    val: int
    batch: int
    epochs: int
    targets: Mapping[str, float] = field(default_factory=dict)

    @property
    def on_demo(self) -> bool:
        return not self.train

    @property
    def clips(self) -> str:
        return "the demo data" if self.on_demo else f"{self.train} + {self.val} clips"


CASES: Mapping[str, Case] = {
    case.model: case
    for case in (
        Case("r3d_18", 16, 4, 4, 20, {"refresh0": 4.0, "refresh0.25": 2.5}),
        Case("mvit_v2_s", 4, 2, 2, 20, {"refresh0": 1.9, "refresh0.25": 1.6}),
        Case("r3d_micro", 0, 0, 16, 12),
        Case("mvit_micro", 0, 0, 16, 12),
    )
}


def flags(case: Case, arm: Arm, *, data: Path, folder: Path, epochs: int, more: Sequence[str]) -> list[str]:
    """The words after ``train.py``: what all arms share, then what is this one's own.

    Args:
        data: the table of clips.
        folder: that the run may fill.
        more: for every arm alike.
    """
    shared = {
        "data": str(data),
        "model": case.model,
        "weights": "default" if case.on_demo else "none",  # the large ones would have to be fetched
        "freezing_strategy": "early_gradual",
        "epochs": str(epochs),
        "batch_size": str(case.batch),
        "optimizer_args": "{fused: true}",
        "scheduler": "none",  # the peer's groups come and go; a rate that never changes is the same for all
        "check": "none",  # the peer does not look at files beforehand
        "run_dir": str(folder / "run"),
    }
    if arm.cached:
        shared["cache_dir"] = str(folder / "cache")
    words = [word for name, value in shared.items() for word in (f"--{name}", value)]
    return [*words, *more, *arm.flags]
