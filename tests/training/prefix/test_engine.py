"""The engine by itself, and in runs: what it keeps and where, what it says, and what it leaves behind."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from unfreeze import strategies
from unfreeze.freezer import Freezer
from unfreeze.history import EpochRecord, History
from unfreeze.prefix.costs import Costs, Profile
from unfreeze.prefix.store import Room
from unfreeze.strategies.adaptive import Adaptive
from unfreeze.strategies.base import BlockInfo
from unfreeze.training.assembly import assemble, make_model
from unfreeze.training.checkpoint import load_checkpoint
from unfreeze.training.clips import load_data, make_dataset
from unfreeze.training.config import TrainConfig, resolve
from unfreeze.training.prefix.build import make_engine
from unfreeze.training.prefix.choice import Choice, Planner
from unfreeze.training.prefix.engine import PrefixEngine
from unfreeze.training.step import Stepper

CPU = torch.device("cpu")
BLOCKS = tuple(BlockInfo(f"b{number}", 10) for number in range(4))


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    monkeypatch.setattr("unfreeze.training.run.plot_run", lambda *files: None)
    monkeypatch.setattr("unfreeze.training.run.plot_reports", lambda *files: None)


# --- where it pays ---


def planner(epochs, *, write, decode=1.0, strategy=None):
    """Four blocks of a second and a byte each; six training clips and three for validation."""
    profile = Profile(seconds=(1.0,) * 5, flops=(1,) * 4, nbytes=(0, 1, 1, 1, 1))
    costs = Costs(decode, profile, read=0.0, write=write)
    strategy = strategy or Adaptive(patience=1, min_improvement=1.0)
    return Planner(strategy, BLOCKS, epochs, (6, 3), 0.0, costs)


def stalled(strategy, epochs):
    """The history of so many epochs in which the metric has not moved."""
    history = History(monitor="val/accuracy", mode="max")
    for epoch in range(1, epochs + 1):
        trainable = strategy.decide(history, BLOCKS).trainable
        history = history.append(EpochRecord(epoch, trainable, {"val/accuracy": 0.5}, {}))
    return history


@pytest.mark.parametrize(
    ("epochs", "write", "kept_at"),
    [
        (3, 0.0, 0),  # the last epoch: what would be kept now is read by nobody
        (4, 0.0, 2),  # one more to come, two blocks deep: filled now, at the place that serves both
        (4, 1e9, 0),  # the same, where to write takes for ever
        (6, 0.0, 1),  # two more to come, the last one block deep: one place serves all
    ],
)
def test_after_a_transition_it_is_filled_again_only_if_that_pays(epochs, write, kept_at):
    """Adaptive freezes 4, 4, 3, 2, 1, 0 blocks if nothing improves; the cache so far is behind all four."""
    planned = planner(epochs, write=write)
    choice = Choice("", training=True, planner=planned)
    assert choice.boundary(stalled(planned.strategy, 2), 3, filled=4) == (kept_at, 0)


def test_what_was_asked_for_is_kept_wherever_something_is_frozen():
    planned = planner(3, write=1e9)
    choice = Choice("", training=True, planner=planned, always=True)
    assert choice.boundary(stalled(planned.strategy, 2), 3, filled=4) == (3, 0)


def test_a_cache_below_the_boundary_stays_where_it_is_if_moving_costs_more():
    planned = planner(5, write=1e9, strategy=strategies.get("head_only")())
    choice = Choice("", training=True, planner=planned)
    assert choice.boundary(stalled(planned.strategy, 2), 4, filled=2) == (2, 2)


def test_a_cache_moves_up_from_where_it_is_if_that_pays():
    """What lies behind two of four blocks is read, and what is made of it is kept behind all of them."""
    planned = planner(5, write=1e-3, strategy=strategies.get("head_only")())
    choice = Choice("", training=True, planner=planned)
    assert choice.boundary(stalled(planned.strategy, 2), 4, filled=2) == (4, 2)


def test_where_values_are_rounded_they_are_kept_at_the_present_boundary_only():
    planned = planner(5, write=1e9, strategy=strategies.get("head_only")())
    choice = Choice("", training=True, planner=planned, here=True)
    assert choice.boundary(stalled(planned.strategy, 2), 4, filled=2) == (4, 0)


# --- what is decided before the first epoch ---


ROOM = Room(None, 10**9, 10**9, None)
ALL_FROZEN = SimpleNamespace(decision=SimpleNamespace(trainable=()))


@dataclass
class Built:
    """An engine, and what it was made of."""

    engine: PrefixEngine | None
    config: TrainConfig
    freezer: Freezer
    datasets: dict
    said: list

    @property
    def choice(self):
        return self.engine.choice

    def another(self, choice, example, freezer=None):
        """An engine with another choice."""
        freezer = freezer or self.freezer
        return PrefixEngine(self.config, freezer, CPU, self.datasets, choice, example)


@dataclass(frozen=True)
class Placed(Choice):
    """The cache lies where a test wants it."""

    where: Callable = None

    def boundary(self, history, boundary, *, filled):
        return self.where(boundary, filled)


def up(boundary, filled):
    """Behind all frozen blocks, made from what there is."""
    return boundary, filled if filled < boundary else 0


@pytest.fixture
def build(clips, tmp_path, console, monkeypatch):
    """The engine of a run that is not begun; ``seconds`` decode a clip, ``ram`` and ``disk`` are free."""
    made = []

    def start(
        strategy="early_gradual", *, fields=None, seconds=1.0, before=None, ram=10**9, disk=10**9, **flags
    ):
        basis = {"data": str(clips), "weights": "none", "workers": 0, "cache_dir": str(tmp_path / "cache")}
        config = TrainConfig(**(basis | {"epochs": 6, "batch_size": 4} | flags))
        strategy = strategies.get(strategy)(**(fields or {}))
        config = resolve(config, strategy)
        manifest = load_data(config, console)
        model = make_model(config, manifest, console.print)
        parts = assemble(config, strategy, model, CPU, mode="max", steps_per_epoch=2)
        datasets = {
            split: make_dataset(config, manifest, model.preprocessing, split, train=split == "train")
            for split in ("train", "val")
        }
        place, said = "unfreeze.training.prefix.build", []
        monkeypatch.setattr(
            f"{place}.timed_items", lambda dataset, count: (seconds, [dataset[1, i] for i in range(count)])
        )
        monkeypatch.setattr(
            f"{place}.measure_room",
            lambda folder, device: replace(ROOM, ram=ram, disk=disk, folder=folder, device=device),
        )
        engine = make_engine(config, parts.freezer, CPU, datasets, said.append, before)
        made.append(engine)
        return Built(engine, config, parts.freezer, datasets, said)

    yield start
    for engine in made:
        if engine is not None:
            engine.close()


@pytest.mark.parametrize(
    ("strategy", "flags", "line", "training"),
    [
        ("head_only", {"epochs": 1}, "off, as there is only one epoch with frozen blocks", True),
        # time comes and goes, and is not to decide how often clips are drawn anew
        ("head_only", {"seconds": 1e-9}, "off, as it would save only ", True),
        ("head_only", {"cache": "off", "cache_dir": None}, "off", False),
        ("head_only", {"ram": 10, "disk": 10}, "off, as about ", False),
    ],
    ids=str,
)
def test_it_declines_and_says_why(build, strategy, flags, line, training):
    built = build(strategy, **flags)
    engine, choice = built.engine, built.choice
    assert built.said == [choice.line]
    assert choice.line.startswith(f"Prefix cache: {line}")
    assert not choice.on
    assert choice.splits == ()
    assert choice.decided() == {"training": training}
    engine.start_epoch(ALL_FROZEN)
    assert engine.memo("train") is engine.memo("val") is None
    assert engine.refresh == (built.config.cache_refresh if training else 1)


@pytest.mark.parametrize(
    ("strategy", "flags"),
    [
        ("none", {}),
        ("none", {"cache": "ram", "cache_dir": None}),
        (
            "fixed",
            {"fields": {"phases": [{"epochs": 6, "blocks": ["stem"]}]}},
        ),  # frozen, but not at the input
        ("early_gradual", {"cache": "off", "cache_dir": None, "exact": True}),
    ],
    ids=str,
)
def test_where_there_is_nothing_to_spare_there_is_no_engine_and_not_a_word(build, strategy, flags):
    built = build(strategy, **flags)
    assert built.engine is None
    assert built.said == []


def test_several_gpus_have_no_cache(build, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    built = build("head_only", parallel="dp")
    assert built.engine is None
    (line,) = built.said
    assert line.startswith("Prefix cache: off, as --parallel dp")


@pytest.mark.parametrize("recorded", [{"prefix": {"training": False}}, {"prefix": None}, {}], ids=str)
def test_training_clips_that_were_drawn_anew_stay_so(build, recorded):
    """Also those of a run from before there was an engine; of validation clips no number depends on it."""
    built = build("head_only", seconds=10.0, before={"training": recorded})
    assert built.choice.splits == ("val",)
    assert built.choice.decided() == {"training": False}
    built.engine.start_epoch(ALL_FROZEN)
    assert built.engine.refresh == 1


@pytest.mark.parametrize("flags", [{"ram": 10, "disk": 10}, {"seconds": 1e-9}, {"epochs": 1}], ids=str)
def test_training_clips_that_were_shown_again_stay_so(build, flags):
    built = build("head_only", before={"training": {"prefix": {"training": True}}}, **flags)
    assert not built.choice.on
    assert built.choice.decided() == {"training": True}
    built.engine.start_epoch(ALL_FROZEN)
    assert built.engine.refresh == built.config.cache_refresh < 1


def test_where_it_pays_it_says_where_and_how_much(build):
    choice = build("head_only").choice
    assert choice.on
    assert choice.splits == ("train", "val")
    assert choice.line.startswith("Prefix cache: behind layer4.1, in RAM and on disk (")
    assert "; expected to save " in choice.line
    assert choice.line.endswith(" of the training clips anew (--cache_refresh)")


@pytest.mark.parametrize(
    ("flags", "why"), [({"cutmix": 1.0}, " (--cutmix pastes pixels)"), ({"cache_refresh": 1.0}, "")], ids=str
)
def test_where_no_training_clip_can_be_kept_those_of_validation_are(build, flags, why):
    engine = build("head_only", seconds=10.0, **flags).engine
    assert engine.choice.splits == ("val",)
    assert f"validation clips only{why}, " in engine.choice.line
    assert "anew" not in engine.choice.line
    engine.start_epoch(ALL_FROZEN)
    assert engine.memo("train") is None
    assert engine.memo("val") is not None
    assert engine.refresh == 1  # of the training clips, in every epoch


def test_kept_validation_clips_are_those_of_a_plain_run(run, console):
    basis = {"epochs": 3, "augment": "light", "exact": True}
    plain = run("head_only", **basis, cache="off")
    kept = run("head_only", **basis, cache="ram", cache_refresh=1.0)
    assert "6 of 9 clips came from it" in console.text  # those of validation, in two of three epochs
    for row, other in zip(plain.rows, kept.rows, strict=True):
        assert (row["train"], row["val"]) == (other["train"], other["val"])


@pytest.mark.parametrize(
    "flags",
    [
        {"views": "attention"},
        {"eval_clips": 2, "eval_crops": "3", "accumulate": 2},
        {"ema": 0.9, "balance": ["sampler"]},
        {"parallel": "dp"},
        {"workers": 2},
    ],
    ids=str,
)
def test_an_exact_run_has_the_bits_of_a_plain_one_whatever_else_is_asked_for(run, events, monkeypatch, flags):
    """Events in one to three views, of which some are padding; an odd one is alone in the last batch.

    The plain run, too, shows every clip as it is drawn in the first epoch.
    """
    first = "unfreeze.data.loader.view_epochs"
    monkeypatch.setattr(first, lambda seed, epoch, count, refresh: np.ones(count, np.int64))
    fields = {"phases": [{"epochs": 1, "blocks": "last 2"}, {"epochs": 2, "blocks": "last 3"}]}
    basis = {"data": str(events), "strategy_flags": fields, "epochs": 3, "batch_size": 3, "exact": True}
    basis |= {"augment": "light"} | flags
    plain = run("fixed", **basis, cache="off")
    kept = run("fixed", **basis, cache="ram", cache_refresh=0.0)
    for row, other in zip(plain.rows, kept.rows, strict=True):
        assert (row["train"], row["val"]) == (other["train"], other["val"])
    one, other = (load_checkpoint(result.run_dir / "last.pt")["model"]["state"] for result in (plain, kept))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- fewer bits ---


def test_a_smaller_format_says_what_it_loses(build):
    engine = build("head_only", cache="ram", cache_dir=None, cache_dtype="bf16").engine
    assert engine.choice.line.startswith("Prefix cache: behind the last frozen block, in RAM, ")
    (line,) = [line for line in engine.start_epoch(ALL_FROZEN) if "bf16" in line]
    said = float(line.removeprefix("Prefix cache: kept in bf16, which loses ").split(" ")[0])
    assert 2**-12 < said <= 2**-8  # rounding to 8 bits
    assert engine.cut.packing.dtypes == (torch.bfloat16,)
    assert engine.start_epoch(ALL_FROZEN) == []  # once


def test_a_smaller_format_holds_for_what_finds_no_room_as_well(run):
    basis = {"epochs": 3, "cache": "ram", "cache_dtype": "bf16", "cache_refresh": 0.3}
    kept, bare = run("head_only", **basis), run("head_only", **basis, cache_gb=1e-6)
    wide = run("head_only", **(basis | {"cache_dtype": "produced"}))
    losses = [[row["train"] for row in result.rows] for result in (kept, bare, wide)]
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]
    one, other = (load_checkpoint(result.run_dir / "last.pt")["model"]["state"] for result in (kept, bare))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- what cannot be cut ---


class Skipping(nn.Module):
    """What the first block returns goes into the last but one, too."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv3d(3, 4, 3, 4)
        self.blocks = nn.ModuleList(nn.Conv3d(4, 4, 1) for _ in range(4))
        self.fc = nn.Linear(4, 2)

    def forward(self, x):
        first = x = self.stem(x)
        for number, block in enumerate(self.blocks):
            x = torch.relu(block(x + first if number == 2 else x))
        return self.fc(x.mean((2, 3, 4)))


@pytest.fixture
def skipping(build):
    """An engine on ``Skipping``, of which so many blocks train, and the transition to its first epoch."""
    usual = build("head_only", exact=True)

    def start(trains, kept_at):
        phases = [{"epochs": 6, "blocks": f"last {trains}"}]
        freezer = Freezer(Skipping(), strategies.get("fixed")(phases=phases))
        choice = Placed(**vars(usual.choice), where=lambda boundary, filled: (kept_at, 0))
        example = torch.randn(2, *usual.engine.clip_shape)
        return usual.another(choice, example, freezer), freezer, example

    return start


def test_what_cannot_be_cut_runs_as_ever_and_the_block_is_named(skipping):
    engine, freezer, _ = skipping(3, kept_at=2)
    (line,) = engine.start_epoch(freezer.start_epoch())
    assert line.startswith("Frozen blocks run with all others, in every epoch: ")
    assert freezer.anatomy.blocks[1].name in line
    assert engine.cut is None
    assert engine.memo("train") is None
    assert engine.refresh == 1


def test_a_cache_does_not_lie_where_the_model_cannot_be_cut(skipping):
    """Behind four blocks it can be cut, behind two of them it cannot, whatever would be cheapest."""
    engine, freezer, example = skipping(1, kept_at=2)
    assert engine.start_epoch(freezer.start_epoch()) == []
    cut = engine.cut
    assert (cut.prefix.boundary, cut.below.boundary) == (4, 4)
    assert engine.memo("train") is not None
    kept = cut.packing.pack(cut.below.encode(example).leaves)
    behind = cut.prefix.decode(cut.prefix.advance(cut.from_cache(kept, example)))
    assert torch.equal(behind, freezer.model(example))
    engine.close()


@pytest.mark.parametrize(
    ("differences", "places"), [([1e-6], (9, 6)), ([0.1, 1e-6], (9, 9)), ([0.1, 0.1], None)], ids=str
)
def test_a_cut_that_makes_a_difference_is_given_up(build, monkeypatch, differences, places):
    """First in the middle of the prefix, then at its end."""
    left = list(differences)
    monkeypatch.setattr("unfreeze.training.prefix.engine.difference", lambda one, other: left.pop(0))
    usual = build("head_only", exact=True)
    choice = Placed(**vars(usual.choice), where=lambda boundary, filled: (6, 0))
    engine = usual.another(choice, torch.randn(2, *usual.engine.clip_shape))
    lines = engine.start_epoch(ALL_FROZEN)
    assert left == []
    if places is None:
        (line,) = lines
        assert "a clip by itself gives something else than among others (by 0.1 of the largest" in line
        assert engine.cut is engine.memo("val") is None
    else:
        assert lines == []
        assert (engine.cut.prefix.boundary, engine.cut.below.boundary) == places
        assert engine.memo("val") is not None
    engine.close()


# --- what it has saved ---


def test_rows_that_move_to_a_higher_boundary_have_spared_what_the_lower_one_spares(build):
    phases = [{"epochs": 1, "blocks": "last 3"}, {"epochs": 2, "blocks": "none"}]
    usual = build("fixed", fields={"phases": phases}, epochs=3, cache="ram", cache_dir=None)
    profile = Profile(seconds=(1.0,) * 10, flops=(1,) * 9, nbytes=(0,) + (1,) * 9)
    choice = Placed(**vars(usual.choice), where=up)
    choice = replace(choice, planner=replace(choice.planner, costs=Costs(100.0, profile)))
    freezer = usual.freezer
    engine = usual.another(choice, torch.randn(2, *usual.engine.clip_shape))
    engine.start_epoch(freezer.start_epoch())
    freezer.end_epoch(**{"val/balanced_accuracy": 0.5})
    engine.start_epoch(freezer.start_epoch())
    assert (engine.cut.lower[0].boundary, engine.cut.below.boundary) == (6, 9)
    batch = {"index": torch.tensor([0, 1, 2, 3])}
    engine.count(engine.memo("train"), batch, decoded=1, moved=2)
    assert engine._savings.spared == (100 + 9) + 2 * (100 + 6)
    assert (engine._savings.read, engine._savings.decoded) == (3, 1)
    engine.close()


# --- what a run of another strategy finds ---


FIXED = {"phases": [{"epochs": 3, "blocks": "last 3"}]}
THAWING = {"freeze_epochs": 2}


@pytest.fixture
def counted(run, tmp_path, monkeypatch, console):
    """Runs with one cache on disk; gives the result, and what was decoded in each epoch for want of it."""
    decoded: list[int] = []
    start_epoch, count = PrefixEngine.start_epoch, PrefixEngine.count

    def starts(self, transition):
        decoded.append(0)
        return start_epoch(self, transition)

    def counts(self, memo, batch, *, decoded: int, moved: int, per_epoch=decoded):
        per_epoch[-1] += decoded
        count(self, memo, batch, decoded=decoded, moved=moved)

    monkeypatch.setattr(PrefixEngine, "start_epoch", starts)
    monkeypatch.setattr(PrefixEngine, "count", counts)

    def start(strategy, fields=None, **flags):
        decoded.clear()
        console.text = ""
        basis = {"epochs": 3, "cache": "disk", "cache_dir": str(tmp_path / "cache"), "cache_refresh": 0.0}
        result = run(strategy, strategy_flags=fields, **(basis | flags))
        return result, list(decoded)

    return start


@pytest.mark.parametrize(
    ("first", "later", "decoded"),
    [
        (("head_only", {}), ("adaptive", {"patience": 5}), [0, 0, 0]),
        (("head_only", {}), ("early_gradual", THAWING), [0, 0, 9]),  # a block thaws: kept anew, below it
        (("fixed", FIXED), ("head_only", {}), [0, 0, 0]),  # from a lower boundary
    ],
    ids=["adaptive", "early_gradual", "from a lower boundary"],
)
def test_a_run_of_another_strategy_starts_warm(counted, console, first, later, decoded):
    assert counted(*first)[1] == [9, 0, 0]
    assert counted(*later)[1] == decoded
    assert f"{27 - sum(decoded)} of 27 clips came from it" in console.text
    assert "; an earlier run left clips behind layer" in console.text


@pytest.mark.parametrize(
    ("first", "later", "exact"),
    [
        (("head_only", {}), ("early_gradual", THAWING), False),
        (("head_only", {}), ("adaptive", {"patience": 1, "min_improvement": 1.0}), False),
        (("fixed", FIXED), ("head_only", {}), True),
    ],
    ids=["early_gradual", "adaptive", "from a lower boundary"],
)
def test_its_numbers_are_those_of_a_cold_one(counted, tmp_path, monkeypatch, first, later, exact):
    if later[0] == "head_only":  # the clips that are left move up
        monkeypatch.setattr(
            Choice, "boundary", lambda self, history, boundary, *, filled: up(boundary, filled)
        )
    basis = {"augment": "light", "cache_refresh": 0.4, "exact": exact}
    cold, without = counted(*later, **basis, cache_dir=str(tmp_path / "cold"))
    counted(*first, **basis)
    warm, decoded = counted(*later, **basis)
    assert decoded[0] == 0 < without[0]
    for row, other in zip(cold.rows, warm.rows, strict=True):
        assert (row["train"], row["val"]) == (other["train"], other["val"])
    one, other = (load_checkpoint(result.run_dir / "last.pt")["model"]["state"] for result in (cold, warm))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- what is left behind ---


def open_below(folder):
    """Files of a folder that this process has open or mapped."""
    links = [os.path.join("/proc/self/fd", name) for name in os.listdir("/proc/self/fd")]
    opened = [os.readlink(link) for link in links if os.path.lexists(link)]
    with open("/proc/self/maps") as maps:
        mapped = [line.split(maxsplit=5)[-1].strip() for line in maps]
    return [path for path in (*opened, *mapped) if path.startswith(str(folder))]


class StepError(Exception):
    pass


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize(("epoch", "workers"), [(1, 0), (2, 0), (2, 1)])  # with workers, a thread reads ahead
def test_an_exception_leaves_nothing_open(run, tmp_path, monkeypatch, epoch, workers):
    folder = tmp_path / "cache"
    basis = {"epochs": 3, "batch_size": 2, "cache": "disk", "cache_dir": str(folder), "cache_refresh": 0.5}
    basis["workers"] = workers
    backward = Stepper.backward

    def fails(self, window, at, step, weights):
        if (at, step) == (epoch, 2):
            raise StepError
        return backward(self, window, at, step, weights)

    threads = set(threading.enumerate())
    with monkeypatch.context() as patched:
        patched.setattr(Stepper, "backward", fails)
        with pytest.raises(StepError):
            run("head_only", **basis)
    gc.collect()  # the traceback had the loop that was left
    assert set(threading.enumerate()) <= threads
    assert open_below(folder) == []
    assert len(run("head_only", **basis).rows) == 3
