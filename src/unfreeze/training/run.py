"""One run from its flags to its files: build everything, then train."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from unfreeze.report.confusion import plot_reports
from unfreeze.report.console import RunConsole
from unfreeze.report.plot import plot_run
from unfreeze.report.table import summary_table
from unfreeze.strategies import Strategy
from unfreeze.training.board import Board
from unfreeze.training.checkpoint import load_checkpoint, rebuild_model
from unfreeze.training.config import TrainConfig, resolve, resolved
from unfreeze.training.device import pick_device
from unfreeze.training.early import check_early
from unfreeze.training.ema import Ema
from unfreeze.training.interrupt import Interrupt, Interrupted
from unfreeze.training.loop import fit
from unfreeze.training.prepare import prepare, read_data
from unfreeze.training.resume import check_data, check_flags, fingerprint
from unfreeze.training.rundir import RunDir, explained, find_run
from unfreeze.training.seeding import deterministic
from unfreeze.training.session import Session


@dataclass(frozen=True)
class RunResult:
    """What came of a run.

    Attributes:
        run_dir: the folder with its files.
        rows: a record per finished epoch, as in ``metrics.jsonl``.
        best: ``{"epoch": …, "value": …}`` of the monitored metric, or None where it never had a value.
        interrupted: Ctrl-C ended it before its last epoch.
    """

    run_dir: Path
    rows: list[dict[str, Any]]
    best: dict[str, Any] | None
    interrupted: bool


def train(config: TrainConfig, strategy: Strategy, console: RunConsole) -> RunResult:
    """Train as ``config`` and ``strategy`` say, in a new run folder or, with ``config.resume``, an old one.

    Args:
        console: where the user reads along, a ``RunConsole``.

    Raises:
        ValueError: flags, data or weights that do not fit; one line says which and what to do.
        OSError: a file cannot be read or written.
    """
    started = time.monotonic()
    config = resolve(config, strategy)
    device = pick_device(config.device)
    with deterministic(device):
        interrupted = False
        with ExitStack() as stack:
            session = build(config, strategy, device, console, stack, started)
            try:
                with session.interrupt:
                    fit(session)
            except Interrupted:
                interrupted = True
        conclude(session, interrupted)
    return RunResult(session.run_dir.path, session.rows, session.best, interrupted)


def build(
    config: TrainConfig,
    strategy: Strategy,
    device: torch.device,
    console: RunConsole,
    stack: ExitStack,
    started: float,
) -> Session:
    """Everything that a run is made of, checked, with the state of the resumed run where there is one.

    Args:
        stack: closes what has to be closed, also where this fails.
        started: when the run began (``time.monotonic()``), for ``--time_limit``.
    """
    check_early(config)
    notes: list[str] = []

    def say(line: str) -> None:
        """At once on the console, and in ``train.log`` when there is one."""
        console.print(line)
        notes.append(line)

    run_dir, before = None, None
    if config.resume is not None:
        run_dir = RunDir(find_run(config.resume, config.output))
        before = load_checkpoint(run_dir.last)
        check_flags(config, strategy, before)

    manifest = read_data(config, console, say)
    model = None
    if run_dir is not None and before is not None:
        check_data(manifest, before)
        model = rebuild_model(before, run_dir.last)  # the file that --weights named may be gone by now
    ready = prepare(config, strategy, manifest, device, console, say, stack, before=before, model=model)
    made = ready.made
    ema = None if config.ema is None else Ema(made.parallel, config.ema, made.freezer.anatomy)

    rows: list[dict[str, Any]] = []
    best = None
    if run_dir is not None and before is not None:
        if ema is not None:
            ema.load_state_dict(before["training"]["ema"])
        rows, best = before["rows"], before["best"]
        run_dir.rewrite(rows)
        say(f"Resuming {run_dir.path} after epoch {len(rows)}")
    else:
        run_dir = RunDir.create(config.output, config.run_dir, f"{config.model}_{strategy.name}")
    run_dir.write_config(resolved(config, strategy))

    board = Board(run_dir.path, [block.name for block in made.freezer.anatomy.blocks], len(rows) + 1)
    stack.callback(board.close)
    session = Session(
        config=config,
        strategy=strategy,
        device=device,
        made=made,
        stepper=ready.stepper,
        evaluation=ready.evaluation,
        engine=ready.engine,
        ema=ema,
        cache=ready.cache,
        train_loader=ready.train_loader,
        val_loader=ready.val_loader,
        mode=ready.mode,
        data=fingerprint(manifest),
        class_counts={task: manifest.counts(task, "train") for task in manifest.tasks},
        run_dir=run_dir,
        board=board,
        console=console,
        interrupt=Interrupt(),
        started=started,
        resumed=len(rows),
        prefix=None if before is None else before["training"].get("prefix"),
        rows=rows,
        best=best,
    )
    run_dir.log(notes)
    if before is None:
        session.save_last()  # so that a run that ends in its first epoch can be resumed, too
    return session


def conclude(session: Session, interrupted: bool) -> None:
    """The table of epochs, the plot, and where everything is."""
    s, done = session, len(session.rows)
    s.say(summary_table(s.rows))
    if s.engine is not None:
        s.say(s.engine.savings(sum(row["seconds"] for row in s.rows[s.resumed :])))
    if s.rows:
        with explained(f"cannot write {s.run_dir.plot}"):
            plot_run(s.run_dir.metrics, s.run_dir.plot)
    if s.run_dir.classes.exists():
        with explained(f"cannot write pictures in {s.run_dir.path}"):
            plot_reports(s.run_dir.read_classes()["tasks"], s.run_dir.path)
    if interrupted:
        s.say([f"Stopped in epoch {done + 1}; continue after epoch {done} with --resume {s.run_dir.path}"])
    s.say([f"Run folder: {s.run_dir.path}"])
