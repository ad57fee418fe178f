import io
import json
import math
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
import yaml

from unfreeze import strategies
from unfreeze.data import ClipDataset, load_manifest, make_loader
from unfreeze.report.console import RunConsole
from unfreeze.training.checkpoint import load_checkpoint, load_for_inference
from unfreeze.training.config import TrainConfig
from unfreeze.training.early import check_early
from unfreeze.training.evaluate import evaluate
from unfreeze.training.forward import Forward
from unfreeze.training.losses import Criterion
from unfreeze.training.run import train

ROOT = Path(__file__).parents[2]


def state(folder: Path, name: str = "last.pt") -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / name)["model"]["state"]


def equal(a, b) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def finished(clips, tmp_path_factory):
    """A run of two epochs, and what it said."""
    output, said = tmp_path_factory.mktemp("runs"), io.StringIO()
    config = TrainConfig(
        data=str(clips),
        weights="none",
        epochs=2,
        batch_size=4,
        workers=0,
        output=str(output),
        monitor="val/loss",
    )
    return train(config, strategies.get("early_gradual")(), RunConsole(said)), said.getvalue()


def test_the_folder_holds_all_that_was_promised(finished):
    folder = finished[0].run_dir
    names = {"config.yaml", "metrics.jsonl", "train.log", "best.pt", "last.pt", "run.png"}
    names |= {"classes.json", "confusion_colour.png", "confusion_motion.png"}
    there = {file.name for file in folder.iterdir()}
    assert there - names == {name for name in there if name.startswith("events.out.tfevents")}
    assert names < there
    assert (folder / "run.png").read_bytes().startswith(b"\x89PNG")


def test_says_what_trains_in_each_epoch_on_the_console_and_in_the_log(finished):
    result, said = finished
    for line in (
        "[PARAMS] Epoch 1 Parameter Status:",
        "[PARAMS] Epoch 2 Parameter Status:",
        "[EARLY_GRADUAL] Epoch 2: Unfroze layer4.1 (498,048 parameters)",
        "[EARLY_GRADUAL] Rebuilding optimizer due to layer changes",
        f"Run folder: {result.run_dir}",
    ):
        assert line in said.splitlines()
    assert (result.run_dir / "train.log").read_text(encoding="utf-8").splitlines() == said.splitlines()


def test_config_is_the_run(finished):
    flags = yaml.safe_load((finished[0].run_dir / "config.yaml").read_text())
    assert flags["freezing_strategy"] == "early_gradual"
    assert flags["early_gradual_target_ratio"] == 0.5
    assert flags["epochs"] == 2
    assert flags == load_checkpoint(finished[0].run_dir / "last.pt")["config"]


def test_best_is_the_epoch_with_the_best_monitored_metric(finished):
    result = finished[0]
    losses = [row["val"]["loss"] for row in result.rows]
    best = load_checkpoint(result.run_dir / "best.pt")
    assert result.best == {"epoch": 1 + losses.index(min(losses)), "value": min(losses)}
    assert best["epoch"] == result.best["epoch"]
    assert "training" not in best


def test_best_gives_the_metrics_that_it_was_chosen_for(finished, clips):
    result = finished[0]
    model, about = load_for_inference(result.run_dir / "best.pt")
    samples = load_manifest(clips, classes=model.tasks).split("val")
    loader = make_loader(ClipDataset(samples, model.tasks, model.preprocessing, train=False), batch_size=4)
    found = evaluate(Forward(model, torch.device("cpu")), loader, tasks=list(model.tasks))
    # training runs frozen blocks as an inference graph, which rounds another way
    assert dict(found.metrics) == pytest.approx(about["rows"][about["epoch"] - 1]["val"], rel=1e-5)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_sees_losses_metrics_rates_and_parameters(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = finished[0]
    events = EventAccumulator(str(result.run_dir)).Reload()
    tags = set(events.Tags()["scalars"])
    assert {"train/loss", "val/motion/macro_f1", "learning_rate/layer4.1", "parameters/trainable"} <= tags
    trainable = [event.value for event in events.Scalars("parameters/trainable")]
    assert trainable == [row["params"]["trainable"] for row in result.rows]


def test_the_same_seed_gives_the_same_numbers_with_any_number_of_workers(run, finished):
    again = run(monitor="val/loss", workers=1)
    assert equal(state(again.run_dir), state(finished[0].run_dir))
    other = run(monitor="val/loss", seed=1)
    assert not equal(state(other.run_dir), state(finished[0].run_dir))


def test_the_learning_rate_follows_the_schedule_epoch_by_epoch(run):
    result = run(epochs=4, head_lr=0.1, lr=0.01)
    heads = [row["learning_rates"]["heads.motion"] for row in result.rows]
    assert heads == pytest.approx([0.1 * (1 + math.cos(math.pi * done / 4)) / 2 for done in range(4)])
    thawed = [row["learning_rates"]["layer4.1"] for row in result.rows]
    assert thawed == pytest.approx([0.0, *(rate / 10 for rate in heads[1:])])


def test_the_plateau_schedule_sees_the_monitored_metric(run):
    worse = {"patience": 0, "threshold": 1e9, "threshold_mode": "abs", "factor": 0.1}
    result = run(epochs=3, lr=1e-3, scheduler="plateau", scheduler_args=worse, monitor="val/loss")
    heads = [row["learning_rates"]["heads.motion"] for row in result.rows]
    assert heads == pytest.approx([1e-3, 1e-3, 1e-4])


def test_dp_and_bf16_train_on_a_machine_without_gpus(run, finished):
    if torch.cuda.is_available():
        pytest.skip("there are GPUs")
    parallel = run(monitor="val/loss", parallel="dp", device="cpu")
    assert equal(state(parallel.run_dir), state(finished[0].run_dir))
    half = run(epochs=1, precision="bf16")
    assert torch.isfinite(torch.cat([p.flatten().float() for p in state(half.run_dir).values()])).all()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"model": "r3d_mirco"}, "r3d_micro"),
        ({"optimizer": "adammw"}, "unknown optimizer"),
        ({"optimizer_args": {"bets": 1}}, "did you mean 'betas'"),
        ({"scheduler": "cosin"}, "unknown scheduler"),
        ({"run_dir": "."}, "already holds files"),
    ],
)
def test_a_mistake_in_the_flags_alone_is_found_before_any_data_is_touched(
    run, tmp_path, monkeypatch, flags, message
):
    monkeypatch.setattr(
        "unfreeze.training.clips.load_manifest", lambda *args, **kwargs: pytest.fail("loaded")
    )
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ValueError, match=message):
        run(**flags)


@pytest.mark.parametrize("name", ["sequential", "chained", "LambdaLR", "SWALR", "swa", "ReduceLROnPlateau"])
def test_every_way_to_name_a_schedule_passes_the_early_check(name):
    check_early(TrainConfig(scheduler=name))


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"monitor": "val/f1"}, "--monitor: no metric 'val/f1'"),
        ({"device": "cuda"}, "--device cuda: torch finds none on this machine"),
        ({"model": "r3d_mirco"}, "r3d_micro"),
        ({"optimizer": "adammw"}, "unknown optimizer 'adammw'; did you mean 'adamw'"),
        ({"scheduler": "cosin"}, "unknown scheduler 'cosin'; did you mean 'cosine'"),
        ({"tasks": ("colur",)}, "colour"),
        ({"resume": "last"}, "--resume last: there is no run in"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(run, tmp_path, flags, message):
    if flags == {"device": "cuda"} and torch.cuda.is_available():
        pytest.skip("there are GPUs")
    with pytest.raises(ValueError, match=message) as caught:
        run(**flags)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_what_is_killed_while_writing_a_checkpoint_leaves_no_litter_for_long(run, tmp_path):
    result = run(epochs=1, scheduler="none")
    (result.run_dir / "last.pt.tmp").write_bytes(b"half a checkpoint")
    run(epochs=2, scheduler="none", resume=str(result.run_dir))
    assert not list(result.run_dir.glob("*.tmp"))


def test_the_demo_is_rendered_in_front_of_the_users_eyes(run, console, clips, monkeypatch):
    def render_first(source, *, progress, **flags):
        for done in range(3):
            progress(done + 1, 3)
        return load_manifest(clips, **flags)

    ticks = []
    monkeypatch.setattr("unfreeze.training.clips.load_manifest", render_first)
    console.advance = lambda: ticks.append(1)
    run(epochs=1, data="demo")
    assert console.text.startswith("Rendering the 3 clips of the demo, this once\n")
    assert len(ticks) == 3


def test_a_loss_that_is_not_finite_ends_the_run_and_keeps_the_last_whole_epoch(run, tmp_path, monkeypatch):
    def overflow_in_epoch_2(criterion, logits, labels):
        calls.append(criterion)
        losses = summed(criterion, logits, labels)
        return losses | {"motion": losses["motion"] * float("inf")} if len(calls) > 3 else losses

    calls, summed = [], Criterion.sums  # of an epoch: two batches, and the validation
    monkeypatch.setattr(Criterion, "sums", overflow_in_epoch_2)
    with pytest.raises(ValueError, match="task 'motion' became inf in epoch 2 at step 1"):
        run(run_dir=str(tmp_path / "run"))
    assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == 1


def test_a_model_that_diverges_in_the_last_step_of_an_epoch_ends_the_run(run, tmp_path):
    # the loss of the only batch is still that of the untouched model; validation meets the result
    with pytest.raises(ValueError, match="became nan in validation of epoch 1; start again with a smaller"):
        run("none", run_dir=str(tmp_path / "run"), batch_size=6, lr=1e30)
    assert load_checkpoint(tmp_path / "run" / "last.pt")["epoch"] == 0


def test_ctrl_c_in_the_first_epoch_leaves_a_run_to_resume(run, console, monkeypatch):
    pressed = []

    def press(*args):
        if not pressed:
            pressed.append(True)
            signal.raise_signal(signal.SIGINT)
        return summed(*args)

    summed = Criterion.sums
    monkeypatch.setattr(Criterion, "sums", press)
    result = run()
    assert result.interrupted
    assert result.rows == []
    assert f"Stopped in epoch 1; continue after epoch 0 with --resume {result.run_dir}" in console.text
    resumed = run(resume=str(result.run_dir))
    assert not resumed.interrupted
    assert len(resumed.rows) == 2


class Process:
    """A real ``python train.py``."""

    def __init__(self, *flags: str) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
        self.popen = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *flags],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment,
        )

    def signal_after(self, epochs: int, output: Path, number: int) -> None:
        while self.popen.poll() is None:
            files = list(output.glob("*/metrics.jsonl"))
            if files and files[0].read_text().count("\n") >= epochs:
                self.popen.send_signal(number)
                return
            time.sleep(0.01)
        pytest.fail(f"it ended before its epoch {epochs}: {self.popen.stdout.read()}")

    def end(self) -> tuple[int, str]:
        said = self.popen.communicate(timeout=120)[0]
        return self.popen.returncode, said


def flags(clips, output, epochs):
    basis = f"--data {clips} --weights none --epochs {epochs} --batch_size 4 --workers 1 --output {output}"
    return basis.split()


def test_a_killed_process_resumes_to_the_weights_of_an_uninterrupted_run(run, clips, tmp_path):
    epochs, output = 6, tmp_path / "killed"
    process = Process(*flags(clips, output, epochs))
    process.signal_after(2, output, signal.SIGKILL)
    assert process.end()[0] == -signal.SIGKILL
    (folder,) = output.iterdir()
    assert 1 <= load_checkpoint(folder / "last.pt")["epoch"] < epochs
    code, said = Process("--resume", "last", "--output", str(output)).end()
    assert code == 0, said
    assert equal(state(folder), state(run(epochs=epochs).run_dir))
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == list(range(1, epochs + 1))


def test_ctrl_c_ends_cleanly_with_the_last_whole_epoch(clips, tmp_path):
    output = tmp_path / "stopped"
    process = Process(*flags(clips, output, epochs=200))
    process.signal_after(1, output, signal.SIGINT)
    code, said = process.end()
    (folder,) = output.iterdir()
    done = load_checkpoint(folder / "last.pt")["epoch"]
    assert code == 130, said
    assert "Traceback" not in said
    assert f"Stopped in epoch {done + 1}; continue after epoch {done} with --resume {folder}" in said
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == done
    assert (folder / "run.png").exists()
