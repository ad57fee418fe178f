from __future__ import annotations

import json
import time
from dataclasses import replace

import pytest
import torch
from torch import nn

from unfreeze import strategies
from unfreeze.data import load_manifest
from unfreeze.data.survey import survey
from unfreeze.optim import optimizers
from unfreeze.training import estimate as module
from unfreeze.training.assembly import assemble, make_model, optimizer_steps
from unfreeze.training.clips import make_loaders
from unfreeze.training.config import TrainConfig, resolve
from unfreeze.training.estimate import Estimate, estimate
from unfreeze.training.trial import saved_bytes, state_per_weight


@pytest.fixture(autouse=True)
def brief(monkeypatch):
    monkeypatch.setattr("unfreeze.training.trial._SECONDS", 0.0)


@pytest.fixture
def prepare(clips, tmp_path):
    """Everything that ``estimate`` wants, for flags and a strategy."""

    def make(strategy, **flags):
        basis = {"data": str(clips), "weights": "none", "batch_size": 4, "workers": 0, "device": "cpu"}
        config = resolve(TrainConfig(**(basis | flags)), strategy)
        manifest = load_manifest(config.data)
        device = torch.device("cpu")
        model = make_model(config, manifest, lambda line: None)
        loaders = make_loaders(config, manifest, model.preprocessing, device)
        steps = optimizer_steps(loaders[0], config)
        made = assemble(config, strategy, model, device, mode="max", steps_per_epoch=steps)
        found = survey(manifest.samples, workers=0, root=tmp_path)
        return made, config, strategy, loaders, found

    return make


def run(parts) -> Estimate:
    return estimate(*parts, mode="max")


def test_what_autograd_keeps_is_counted_in_bytes():
    """tanh keeps its result, and the product both of its factors, of which one is the input."""
    x = torch.ones(100, requires_grad=True)
    model = nn.Linear(1, 1)
    assert saved_bytes(lambda: x.tanh(), model, x) == 400
    assert saved_bytes(lambda: x.tanh() * x, model, x) == 400
    assert saved_bytes(lambda: x.tanh() * x, model) == 800
    with torch.no_grad():
        assert saved_bytes(lambda: x.tanh(), model, x) == 0


@pytest.mark.parametrize(("name", "expected"), [("sgd", 1), ("adamw", 2), ("rmsprop", 1), ("adamax", 2)])
def test_what_an_optimizer_keeps_of_a_weight(name, expected):
    assert state_per_weight(TrainConfig(optimizer=name)) == expected


@pytest.mark.parametrize("name", optimizers())
def test_every_optimizer_tells(name):
    assert 0 <= state_per_weight(TrainConfig(optimizer=name)) <= 4


def test_its_arguments_count():
    assert state_per_weight(TrainConfig(optimizer="sgd", optimizer_args={"momentum": 0.0})) == 0


def test_the_heaviest_epoch_is_the_one_that_the_strategy_reaches(prepare):
    progressive = strategies.get("progressive")(start_epoch=2, interval=1)
    parts = prepare(progressive, epochs=4)
    found = run(parts)
    assert found.heaviest == 4
    weights = sum(p.numel() for p in parts[0].model.parameters())
    assert found.device > 4 * weights
    assert "in epoch 4 of 4" in found.device_basis


def test_a_strategy_that_waits_for_a_plateau_is_taken_to_meet_one(prepare):
    adaptive = strategies.get("adaptive")(patience=1)
    found = run(prepare(adaptive, epochs=4))
    assert found.heaviest == 4
    assert "if the metric never improves" in found.device_basis


def test_more_to_train_takes_more_and_a_batch_scales(prepare):
    frozen = run(prepare(strategies.get("head_only")(), epochs=2))
    whole = run(prepare(strategies.get("none")(), epochs=2))
    double = run(prepare(strategies.get("none")(), epochs=2, batch_size=8))
    assert whole.device > frozen.device
    assert whole.device_per_clip > 2 * frozen.device_per_clip
    assert double.device - whole.device == 4 * whole.device_per_clip
    assert frozen.heaviest == 1
    assert all(seconds > 0 for seconds in (*whole.epoch, whole.run, whole.decode_per_clip))
    assert whole.run == pytest.approx(2 * max(whole.epoch))
    json.dumps(whole.to_dict(), allow_nan=False)


def test_the_activations_of_two_clips_are_those_of_two_clips(prepare):
    """Against what really lies in memory after a forward pass: the tensors that the graph holds."""
    parts = prepare(strategies.get("none")(), epochs=1)
    found = run(parts)
    made, clip = parts[0], 8 * 3 * 48 * 48 * 4
    made.model.train()
    batch = torch.zeros(4, 1, 3, 8, 48, 48)
    saved = saved_bytes(lambda: made.model(batch, torch.ones(4, 1, dtype=torch.bool)), made.model, batch)
    assert found.device_per_clip - clip == pytest.approx(saved / 4, rel=0.05)


def test_workers_and_cache_count_in_memory(prepare):
    none = run(prepare(strategies.get("head_only")(), epochs=2, clip_cache="off"))
    two = run(prepare(strategies.get("head_only")(), epochs=2, clip_cache="off", workers=2))
    assert two.ram - none.ram > 2 * 100e6
    assert "Clip cache: off" in none.clip_cache


def test_micro_models_take_a_few_seconds(prepare, monkeypatch):
    parts = prepare(strategies.get("early_gradual")())
    started = time.process_time()
    run(parts)
    assert time.process_time() - started < 15


EXAMPLE = Estimate(
    on="cuda", ram=1, ram_basis="", device=1000 + 16 * 100, device_per_clip=100, device_basis="", free=None,
    epoch=(1.0, 2.0), heaviest=2, clips_per_second=1.0, decode_per_clip=1.0, epoch_basis="", run=4.0,
    clip_cache="",
)  # fmt: skip


@pytest.mark.parametrize(
    ("free", "fits"), [(None, 16), (10_000, 16), (3250, 16), (3249, 8), (2000, 4), (1000, 1), (0, 1)]
)
def test_the_batch_that_leaves_a_fifth_of_the_memory_free(free, fits):
    assert replace(EXAMPLE, free=free).batch_that_fits(16) == fits


@pytest.mark.parametrize(
    ("workers", "shared", "expected"), [(0, False, 30.0), (1, False, 20.0), (1, True, 30.0), (2, True, 20.0)]
)
def test_decoding_goes_on_beside_computing_unless_it_needs_the_same_cores(
    workers, shared, expected, monkeypatch
):
    monkeypatch.setattr(module, "cores", lambda: 2)
    assert module._epoch(compute=10.0, data=20.0, workers=workers, shared=shared) == expected
