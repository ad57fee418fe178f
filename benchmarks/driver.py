"""One arm of `prefix.py`: a training run in a process of its own, which works an epoch at a time."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from turns import Turns


@dataclass(frozen=True)
class Run:
    """What one arm does.

    Attributes:
        flags: as for ``train.py``.
        folder: of the run's own, for all that it writes and keeps.
        peer: PyTorch Lightning does it, not this package's loop.
        threads: that compute; None leaves it to torch.
        clips: that are trained on in an epoch.
    """

    flags: tuple[str, ...]
    folder: Path
    peer: bool
    threads: int | None
    clips: int

    @property
    def output(self) -> Path:
        return self.folder / "output.txt"


def work(run: Run, connection: Connection) -> None:
    """The whole life of the process: imports, then training whenever it has the turn.

    It hands over ``turns`` (seconds of the start and of each epoch), ``waited`` (seconds of each epoch that
    went into waiting for training clips), ``train_loss`` and ``val_accuracy`` of the last epoch, ``lines``
    that the run had to say about caches, ``peak_mib``, ``gpu_peak_mib`` and ``disk_bytes``.
    """
    with run.output.open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    os.environ["UNFREEZE_CACHE"] = str(run.folder / "unfreeze_cache")  # where decoded clips are kept on disk
    import torch
    import torch._dynamo  # by the first optimizer, otherwise

    from usage import Memory, folder_bytes

    if run.threads:
        torch.set_num_threads(run.threads)
    memory = Memory()
    turns = Turns(connection, at_rest=memory.sample)
    if run.peer:
        from peer import train
    else:
        train = train_with_unfreeze
    trained = train(run, turns)
    kept = folder_bytes(run.folder / "cache") + folder_bytes(run.folder / "unfreeze_cache")
    used = {"peak_mib": memory.peak_mib(), "gpu_peak_mib": memory.gpu_peak_mib(), "disk_bytes": kept}
    turns.finish({**trained, **used})


def train_with_unfreeze(run: Run, turns: Turns) -> Mapping[str, Any]:
    """As ``train.py`` does."""
    import torch.utils.tensorboard  # noqa: F401

    from unfreeze.cli.train import requested
    from unfreeze.report.console import BatchProgress, RunConsole
    from unfreeze.training.run import train

    class Pausing(RunConsole):
        """Gives the turn back before every epoch of training."""

        def progress(self, title: str, total: int) -> BatchProgress:
            if re.fullmatch(r"Epoch \d+/\d+", title):
                turns.give_back()
            return super().progress(title, total)

    turns.begin()
    config, strategy = requested(run.flags, "train.py")
    result = train(config, strategy, Pausing(sys.stdout))
    rows = result.rows
    return {
        # the run's own clock goes on between turns, which is in both of these numbers and cancels out
        "waited": [row["data_wait"] * run.clips / row["clips_per_second"] for row in rows],
        "train_loss": rows[-1]["train"]["loss"],
        "val_accuracy": rows[-1]["val"]["accuracy"],
        "lines": cache_lines(result.run_dir / "train.log"),
    }


def cache_lines(log: Path) -> list[str]:
    return [line for line in log.read_text(encoding="utf-8").splitlines() if "cache" in line.lower()]


def tail(output: Path, lines: int = 20) -> str:
    """The end of what a run has said."""
    return "\n".join(output.read_text(encoding="utf-8", errors="replace").splitlines()[-lines:])


def check(run: Run, result: Mapping[str, Any], epochs: int) -> None:
    """Raises SystemExit where a run did not stop before every epoch, so that its turns mean nothing."""
    if len(result["turns"]) != epochs + 1:
        raise SystemExit(
            f"{run.folder.name}: {len(result['turns'])} turns in {epochs} epochs, see {run.output}"
        )
