"""Cached and plain runs have the same numbers: bit for bit with --exact, to kernel noise without."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from unfreeze.data import ClipDataset
from unfreeze.prefix import FrozenPrefix
from unfreeze.training.checkpoint import load_checkpoint
from unfreeze.training.mixing import Mix

SCHEDULES = {
    "early_gradual": {},
    "progressive": {},
    "adaptive": {"patience": 1, "min_improvement": 1.0},
    "head_only": {},
    "fixed": {
        "phases": [
            {"epochs": 1, "blocks": "last 2"},
            {"epochs": 1, "blocks": "last 3"},
            {"epochs": 1, "blocks": "none"},
            {"epochs": 1, "blocks": "last 1"},
            {"epochs": 1, "blocks": ["layer2.0", "layer4.*"]},
        ]
    },
}
MVIT = SCHEDULES | {
    "fixed": {
        "phases": [*SCHEDULES["fixed"]["phases"][:4], {"epochs": 1, "blocks": ["blocks.2", "blocks.5"]}]
    }
}
PLAIN = {"cache": "off", "exact": True}
SAME_VIEW = {"augment": "none", "cache_refresh": 0.0}


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)


@pytest.fixture
def trained(run, tmp_path):
    """Trains, and gives the losses of each epoch, the final weights and what was said."""
    count = 0

    def start(strategy, fields, **flags):
        nonlocal count
        count += 1
        basis = {"weights": "default", "clip_cache": "off", "epochs": 5}
        if flags["cache"] == "disk":
            basis["cache_dir"] = str(tmp_path / f"cache{count}")  # a cold one
        result = run(
            strategy, strategy_flags=fields, **(basis | flags | {"run_dir": str(tmp_path / f"run{count}")})
        )
        rows = [{part: row[part] for part in ("train", "val")} for row in result.rows]
        log = (result.run_dir / "train.log").read_text(encoding="utf-8")
        return rows, load_checkpoint(result.run_dir / "last.pt")["model"]["state"], log

    return start


@pytest.mark.parametrize("where", ["ram", "disk"])
@pytest.mark.parametrize("strategy", SCHEDULES)
@pytest.mark.parametrize("model", ["r3d_micro", "mvit_micro"])
def test_an_exact_cached_run_has_the_bits_of_a_plain_one(trained, model, strategy, where):
    fields = (MVIT if model == "mvit_micro" else SCHEDULES)[strategy]
    basis = {"model": model, "augment": "none"}
    rows, weights, _ = trained(strategy, fields, **basis, **PLAIN)
    cached, its_weights, log = trained(strategy, fields, **basis, exact=True, cache=where, cache_refresh=0.0)
    assert cached == rows
    assert all(torch.equal(weights[name], its_weights[name]) for name in weights)
    assert "clips came from it" in log


@pytest.mark.parametrize("flags", [{"cache": "off"}, {"cache": "ram", "cache_refresh": 0.0}], ids=str)
@pytest.mark.parametrize("strategy", SCHEDULES)
@pytest.mark.parametrize("model", ["r3d_micro", "mvit_micro"])
def test_the_inference_graph_differs_by_kernel_noise(trained, model, strategy, flags):
    fields = (MVIT if model == "mvit_micro" else SCHEDULES)[strategy]
    basis = {"model": model, "augment": "none", "optimizer": "sgd", "lr": 0.01}
    rows, weights, _ = trained(strategy, fields, **basis, **PLAIN)
    fast, its_weights, _ = trained(strategy, fields, **basis, **flags)
    for row, other in zip(rows, fast, strict=True):
        assert other["train"] == pytest.approx(row["train"], rel=1e-3)
        assert other["val"]["loss"] == pytest.approx(row["val"]["loss"], rel=1e-3)
    for name, tensor in weights.items():
        torch.testing.assert_close(its_weights[name], tensor, rtol=1e-3, atol=1e-4)


BLOCKS = [f"last {count}" for count in range(1, 8)] + ["none", "all", "layer3.1", "layer4.0"]


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    words=st.lists(st.sampled_from(BLOCKS), min_size=2, max_size=5),
    refresh=st.sampled_from([0.0, 0.3, 0.7]),
    where=st.sampled_from(["ram", "disk"]),
)
def test_no_schedule_is_an_exception(trained, words, refresh, where):
    """Thawed, frozen again and thawed further, on clips of which some are drawn anew.

    The plain run sees the same views: its clips are those that the other one would keep.
    """
    fields = {"phases": [{"epochs": 1, "blocks": word} for word in words]}
    basis = {"epochs": len(words), "exact": True, "augment": "light", "cache_refresh": refresh}
    rows, weights, _ = trained("fixed", fields, **basis, cache=where)
    again, its_weights, _ = trained("fixed", fields, **basis, cache=where, cache_gb=1e-6)  # room for no clip
    assert again == rows
    assert all(torch.equal(weights[name], its_weights[name]) for name in weights)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_random_about_clips_and_about_dropout_do_not_meet(trained, workers):
    """Clips are read ahead while the model draws from the same generator."""
    basis = {"epochs": 2, "dropout": 0.5, "augment": "standard", "batch_size": 2, "exact": True}
    seen = [
        trained("head_only", {}, **basis, cache="ram", cache_refresh=0.5, workers=n)[0] for n in (workers, 1)
    ]
    assert seen[0] == seen[1]


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_a_smaller_format_rounds_the_same_wherever_a_clip_comes_from(trained, name):
    basis = {"epochs": 5, "augment": "light", "cache_dtype": name, "cache_refresh": 0.4}
    rows, _, log = trained("fixed", SCHEDULES["fixed"], **basis, cache="ram")
    again, _, _ = trained("fixed", SCHEDULES["fixed"], **basis, cache="ram", cache_gb=1e-6)
    assert again == rows
    assert f"kept in {name}, which loses" in log


def test_without_workers_clips_are_made_where_dropout_is_drawn(trained, monkeypatch):
    """A thread of its own would draw from the same generator at the same time."""
    threads = set()
    make = ClipDataset.__getitem__

    def watched(self, key):
        threads.add(threading.current_thread())
        return make(self, key)

    monkeypatch.setattr(ClipDataset, "__getitem__", watched)
    trained("head_only", {}, epochs=2, cache="ram", cache_refresh=0.5, workers=0)
    assert threads == {threading.main_thread()}


def test_a_smaller_format_rounds_what_is_not_kept_alike(trained):
    basis = {"epochs": 3, "cache_dtype": "bf16", "cache_refresh": 0.4}
    rows, _, _ = trained("head_only", {}, **basis, cache="ram")
    # such short epochs are not worth a cache
    again, _, log = trained("head_only", {}, **basis, cache="auto")
    assert "off, as it would save only" in log
    assert again == rows


def test_clips_that_are_kept_are_mixed_behind_the_boundary(trained):
    """By themselves, in the same pairs wherever they come from; and that the run is another one shows it."""
    basis = {"epochs": 3, "batch_size": 3, "cache": "ram", "cache_refresh": 0.4, "exact": True}
    plain, _, _ = trained("head_only", {}, **basis)
    mixed, _, _ = trained("head_only", {}, **basis, mixup=1.0)
    again, _, _ = trained("head_only", {}, **basis, mixup=1.0, cache_gb=1e-6)  # room for no clip
    assert again == mixed
    assert [a["train"] != b["train"] for a, b in zip(plain, mixed, strict=True)] == [True] * 3


def test_mixing_reaches_the_heads(trained, monkeypatch):
    """The labels of a batch are mixed in any case; here it is what the heads read."""
    seen = []
    rows = Mix.rows

    def spy(self, values, view_mask):
        found = rows(self, values, view_mask)
        seen.append((values.clone(), found.clone()))
        return found

    read = []
    decode = FrozenPrefix.decode

    def watch(self, activations):
        read.append(activations.leaves[0].clone())
        return decode(self, activations)

    monkeypatch.setattr(Mix, "rows", spy)
    monkeypatch.setattr(FrozenPrefix, "decode", watch)
    trained("head_only", {}, epochs=1, cache="ram", mixup=1.0)
    assert seen
    for values, found in seen:
        assert not torch.equal(values, found)
        assert any(torch.equal(leaf, found) for leaf in read)


def test_a_cache_that_was_asked_for_is_not_said_to_be_off(trained):
    """However little it saves in epochs as short as these."""
    _, _, log = trained("head_only", {}, epochs=2, cache="ram")
    assert "Prefix cache: behind layer4.1, in RAM" in log
    assert "Prefix cache: off" not in log
