import copy
import math
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from unfreeze.training.config import TrainConfig
from unfreeze.training.forward import Forward
from unfreeze.training.interrupt import Interrupt
from unfreeze.training.loop import train_epoch, windows
from unfreeze.training.losses import Criterion
from unfreeze.training.mixing import Mixing
from unfreeze.training.precision import make_scaler
from unfreeze.training.step import Stepper

CPU = torch.device("cpu")


class TinyVideo(nn.Module):
    """(B, V, C, T, H, W) -> logits of two tasks; without BatchNorm, so that batches may be cut anywhere."""

    def __init__(self, dropout: float = 0.0):
        super().__init__()
        self.tasks = {"motion": ("left", "right"), "colour": ("red", "green", "blue")}
        self.backbone = nn.Sequential(nn.Conv3d(3, 4, 3), nn.GELU(), nn.Dropout(dropout), nn.Flatten())
        self.heads = nn.ModuleDict({task: nn.Linear(32, len(names)) for task, names in self.tasks.items()})

    def forward(self, x):
        feature = self.backbone(x[:, 0])
        return {task: head(feature) for task, head in self.heads.items()}


class Clips(list):
    """Batches in a fixed order."""

    def set_epoch(self, epoch, refresh=None):
        self.epoch = epoch


class Silent:
    @contextmanager
    def progress(self, label, total):
        yield self

    def track(self, items):
        return items

    def show(self, **numbers):
        self.shown = numbers


def batches(sizes, *, masked=0.25, seed=0) -> Clips:
    generator = torch.Generator().manual_seed(seed)
    count = sum(sizes)
    video = torch.randn(count, 1, 3, 4, 4, 4, generator=generator)
    labels = {
        task: torch.randint(classes, (count,), generator=generator)
        for task, classes in {"motion": 2, "colour": 3}.items()
    }
    labels["colour"][torch.rand(count, generator=generator) < masked] = -1
    cuts = list(zip(video.split(sizes), *(of_task.split(sizes) for of_task in labels.values()), strict=True))
    return Clips(
        {
            "video": v,
            "view_mask": torch.ones(len(v), 1, dtype=torch.bool),
            "labels": {"motion": m, "colour": c},
            "index": torch.arange(len(v)),
        }
        for v, m, c in cuts
    )


def session(loader, model=None, optimizer=torch.optim.SGD, **flags):
    config = TrainConfig(**flags)
    torch.manual_seed(0)
    model = model or TinyVideo()
    made = SimpleNamespace(
        model=model,
        parallel=nn.DataParallel(model) if config.parallel == "dp" else model,
        optimizer=optimizer(model.parameters(), lr=0.1),
        schedule=SimpleNamespace(steps=0, step_batch=lambda: None),
        scaler=make_scaler(CPU, config.precision),
    )
    forward = Forward(made.parallel, CPU, config.precision)
    criterion = Criterion(label_smoothing=config.label_smoothing)
    mixing = Mixing(config.mixup, config.cutmix, config.seed)
    return SimpleNamespace(
        config=config,
        epochs=3,
        device=CPU,
        model=model,
        made=made,
        stepper=Stepper(config, CPU, made, forward, criterion, mixing),
        ema=None,
        engine=None,
        rows=[],
        train_loader=loader,
        console=Silent(),
        interrupt=Interrupt(),
    )


def weights(s) -> torch.Tensor:
    return torch.cat([p.detach().flatten() for p in s.model.parameters()])


@pytest.mark.parametrize("masked", [0.0, 0.5, 1.1])
@pytest.mark.parametrize("cut", [(4, 4, 4, 4, 2, 1), (4, 4, 4, 4, 3)])
def test_accumulated_batches_are_one_big_batch(masked, cut):
    """Also in the last window, which is smaller, and with labels masked unevenly."""
    whole = session(batches((8, 8, 3), masked=masked), label_smoothing=0.1)
    # a cut of 4 + 2 + 1 leaves the last window at 2 + 1 clips, one of 3 at 3
    parts = session(batches(cut, masked=masked), accumulate=2, label_smoothing=0.1)
    before = weights(whole)
    a, b = train_epoch(whole, 1), train_epoch(parts, 1)
    torch.testing.assert_close(weights(parts), weights(whole), rtol=1e-5, atol=1e-6)
    assert not torch.allclose(weights(whole), before)
    assert a.losses == pytest.approx(b.losses, rel=1e-4)
    assert a.clips == b.clips == 19


def test_windows_keep_order_and_the_rest():
    assert list(windows("abcde", 2)) == [["a", "b"], ["c", "d"], ["e"]]
    assert list(windows([], 2)) == []


def test_the_loss_is_the_mean_over_tasks_and_masked_tasks_are_left_out():
    s = session(batches((4,), masked=1.1))
    losses = train_epoch(s, 1).losses
    assert set(losses) == {"loss", "motion/loss"}
    assert losses["loss"] == losses["motion/loss"]
    assert math.isfinite(losses["loss"])


def test_clipping_bounds_the_step():
    s = session(batches((4,)), clip_grad_norm=0.01)
    before = weights(s)
    train_epoch(s, 1)
    assert (weights(s) - before).norm().item() == pytest.approx(0.1 * 0.01, rel=1e-3)


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_mixed_precision_comes_close_to_fp32(precision, clip):
    flags = {"accumulate": 2, "clip_grad_norm": clip}
    exact, mixed = (
        session(batches((4, 4, 4)), **flags),
        session(batches((4, 4, 4)), precision=precision, **flags),
    )
    # the usual scale of 2**16 would overflow in the first step, and that step would rightly be left out
    mixed.made.scaler = torch.amp.GradScaler("cpu", init_scale=256.0, enabled=precision == "fp16")
    before = weights(exact)
    train_epoch(exact, 1)
    train_epoch(mixed, 1)
    change, error = (weights(exact) - before).norm(), (weights(exact) - weights(mixed)).norm()
    assert 0 < error < 0.05 * change
    assert all(p.dtype == torch.float32 for p in mixed.model.parameters())


def test_a_step_that_overflows_is_left_out_by_optimizer_and_schedule():
    s = session(batches((4,)), precision="fp16")
    s.made.scaler = torch.amp.GradScaler("cpu", init_scale=2.0**40)
    steps = []
    s.made.schedule.step_batch = lambda: steps.append(1)
    before = weights(s)
    train_epoch(s, 1)
    assert torch.equal(weights(s), before)
    assert steps == []
    assert s.made.scaler.get_scale() < 2.0**40


def test_the_schedule_steps_with_the_optimizer_not_with_the_batches():
    s = session(batches((2, 2, 2, 2, 2)), accumulate=2)
    steps = []
    s.made.schedule.step_batch = lambda: steps.append(1)
    train_epoch(s, 1)
    assert len(steps) == 3


@pytest.mark.parametrize(
    ("precision", "remedy"), [("fp32", "with a smaller --lr"), ("bf16", "--precision fp32")]
)
def test_a_loss_that_is_not_finite_says_where_and_what_to_do(precision, remedy):
    loader = batches((4, 4))
    loader[1]["video"][0] = float("nan")
    s = session(loader, precision=precision)
    with pytest.raises(ValueError, match=rf"task 'motion' became nan in epoch 2 at step 2; .*{remedy}"):
        train_epoch(s, 2)


def test_dp_without_gpus_changes_nothing():
    plain, parallel = session(batches((4, 4))), session(batches((4, 4)), parallel="dp")
    train_epoch(plain, 1)
    train_epoch(parallel, 1)
    assert torch.equal(weights(plain), weights(parallel))


def test_the_loader_hears_of_the_epoch_and_the_model_trains():
    s = session(batches((4,)))
    s.model.eval()
    train_epoch(s, 7)
    assert s.train_loader.epoch == 7
    assert s.model.training


def test_reports_waiting_and_speed():
    s = session(batches((4, 4)))
    trained = train_epoch(s, 1)
    assert 0 <= trained.waited <= trained.seconds
    assert set(s.console.shown) == {"loss", "clips_per_second", "waiting"}


def test_gradients_do_not_outlive_the_epoch():
    s = session(batches((4,)), model=copy.deepcopy(TinyVideo(dropout=0.5)))
    train_epoch(s, 1)
    assert all(p.grad is None for p in s.model.parameters())
