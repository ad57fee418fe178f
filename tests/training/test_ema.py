"""The averaged model beside a slow reference, and what transitions, swapping and resuming must not change."""

from __future__ import annotations

import copy
import io
from contextlib import suppress

import pytest
import torch
from torch import Tensor, nn

from unfreeze import strategies
from unfreeze.freezer import Freezer
from unfreeze.training.ema import Ema


class Net(nn.Module):
    """Two blocks with BatchNorm and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Tanh(), nn.Linear(4, 4)) for _ in range(3)
        )
        self.heads = nn.ModuleDict({"a": nn.Linear(4, 2)})

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.heads["a"](x)


# epochs: head; head and the last block; all; the head alone again; the last block again
PHASES = ["none", "blocks.2", "all", "none", "blocks.2"]


class Run:
    """A small run with an average, whose epochs freeze and thaw as PHASES say."""

    def __init__(self, decay: float = 0.9) -> None:
        torch.manual_seed(0)
        self.model = Net()
        phases = [{"epochs": 1, "blocks": blocks} for blocks in PHASES]
        fixed = strategies.get("fixed")
        self.freezer = Freezer(self.model, fixed(phases=phases), monitor="m", mode="max")
        self.optimizer = torch.optim.AdamW(self.freezer.param_groups(lr=0.05))
        self.freezer.attach(self.optimizer)
        self.ema = Ema(self.model, decay, self.freezer.anatomy)

    def start(self) -> None:
        self.ema.follow(self.freezer.start_epoch())

    def step(self, number: int) -> None:
        x = torch.randn(8, 4, generator=torch.Generator().manual_seed(number))
        self.model.train()
        self.model(x).square().mean().backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.ema.update()

    def averaged(self) -> dict[str, Tensor]:
        with self.ema.applied():
            return copy.deepcopy(self.model.state_dict())

    def state(self) -> dict[str, Tensor]:
        return copy.deepcopy(self.model.state_dict())


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_it_agrees_with_a_slow_reference_through_all_transitions() -> None:
    run = Run(decay=0.9)
    reference: dict[str, tuple[int, Tensor]] = {}
    for epoch in range(len(PHASES)):
        run.start()
        live = {name for name, p in run.model.named_parameters() if p.requires_grad}
        now = dict(run.model.named_parameters())
        reference = {name: reference.get(name, (0, now[name].detach().clone())) for name in live}
        for step in range(25):
            run.step(100 * epoch + step)
            for name, (updates, average) in reference.items():
                decay = min(0.9, (1 + updates) / (10 + updates))
                reference[name] = (updates + 1, decay * average + (1 - decay) * now[name].detach())
        for name, value in run.averaged().items():
            if name in reference:
                torch.testing.assert_close(value, reference[name][1])
                assert not torch.equal(value, now[name])
            else:  # what is frozen, and every buffer, is the model's own
                assert torch.equal(value, run.model.state_dict()[name]), name
        run.freezer.end_epoch(m=0.0)


def test_a_block_that_thaws_again_enters_with_its_weights_of_now() -> None:
    run = Run()
    for epoch in range(len(PHASES)):
        run.start()
        if epoch == 4:
            break
        for step in range(5):
            run.step(10 * epoch + step)
        run.freezer.end_epoch(m=0.0)
    assert same(
        {name: value for name, value in run.averaged().items() if name.startswith("blocks.2")},
        {name: value for name, value in run.state().items() if name.startswith("blocks.2")},
    )


def test_following_twice_changes_nothing() -> None:
    run = Run()
    run.start()
    run.step(0)
    before = run.averaged()
    run.ema.follow(run.freezer.transition)
    assert same(run.averaged(), before)


def test_the_model_gets_its_own_weights_back_bit_for_bit() -> None:
    run = Run()
    run.start()
    for step in range(3):
        run.step(step)
    before, places = run.state(), [p.data_ptr() for p in run.model.parameters()]
    with run.ema.applied():
        assert not same(run.state(), before)
    assert same(run.state(), before)
    with suppress(KeyboardInterrupt), run.ema.applied():
        raise KeyboardInterrupt
    assert same(run.state(), before)
    assert [p.data_ptr() for p in run.model.parameters()] == places


@pytest.mark.parametrize("stop", [1, 2, 3, 4])
def test_resuming_is_exact(stop: int) -> None:
    whole, first = Run(), Run()

    def epochs(run: Run, numbers: range) -> None:
        for epoch in numbers:
            run.start()
            for step in range(4):
                run.step(10 * epoch + step)
            run.freezer.end_epoch(m=0.0)

    epochs(whole, range(len(PHASES)))
    epochs(first, range(stop))
    file = io.BytesIO()
    parts = (first.model, first.freezer, first.optimizer, first.ema)
    torch.save([part.state_dict() for part in parts], file)
    file.seek(0)
    second = Run()
    model, freezer, optimizer, ema = torch.load(file, weights_only=True)
    second.model.load_state_dict(model)
    second.freezer.load_state_dict(freezer)
    second.optimizer.load_state_dict(optimizer)
    second.ema.load_state_dict(ema)
    epochs(second, range(stop, len(PHASES)))
    assert same(second.state(), whole.state())
    assert same(second.averaged(), whole.averaged())


def test_a_state_is_a_copy() -> None:
    run = Run()
    run.start()
    run.step(0)
    state = run.ema.state_dict()
    before = {name: average.clone() for name, average in state["averages"].items()}
    run.step(1)
    assert same(state["averages"], before)


def test_states_that_do_not_fit() -> None:
    run = Run()
    run.start()
    state = run.ema.state_dict()
    with pytest.raises(ValueError, match=r"decay of 0\.9, not 0\.5"):
        Run(decay=0.5).ema.load_state_dict(state)
    with pytest.raises(ValueError, match="no block or head is called"):
        Run().ema.load_state_dict({**state, "updates": {"blocks.9": 1}})
    with pytest.raises(ValueError, match=r"another model: they differ in heads\.a\.bias"):
        Run().ema.load_state_dict({**state, "averages": {}})


def test_it_sees_through_wrappers() -> None:
    run = Run()
    run.ema.model = nn.DataParallel(run.model)
    run.start()
    run.step(0)
    assert run.ema.state_dict()["averages"].keys() == {"heads.a.weight", "heads.a.bias"}
