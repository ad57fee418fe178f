"""The Freezer makes a strategy's decision true: on the model, its optimizer and its scheduler.

    freezer = Freezer(model, EarlyGradual())
    optimizer = torch.optim.AdamW(freezer.param_groups(lr=1e-3))
    freezer.attach(optimizer)
    for epoch in range(30):
        freezer.start_epoch()
        ...                                 # train as ever
        freezer.end_epoch(accuracy=0.7)

Blocks that train are not disturbed by what happens to others: parameter groups stay what they are from the
first step to the last, and only ``optimizer.step`` itself does not see what is frozen
(``unfreeze.optim.gate``).
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from unfreeze.anatomy import Anatomy, dissect, unwrap
from unfreeze.frozen_mode import hold, is_compiled, release, set_trainable
from unfreeze.history import EpochRecord, History, Mode
from unfreeze.optim.attachment import Attachment, check_heads
from unfreeze.optim.gate import check_optimizer
from unfreeze.optim.pace import Pace
from unfreeze.optim.param_groups import param_groups
from unfreeze.options import nearest
from unfreeze.parameters import Named, owned
from unfreeze.replay import compare, describe, replay
from unfreeze.strategies.base import BlockInfo, Decision, Strategy


@dataclass(frozen=True)
class Transition:
    """What changed between two epochs.

    Attributes:
        epoch: the epoch (from 1) that begins.
        decision: the strategy's answer for it.
        thawed: blocks that train now and did not before, from input to output; in the first epoch, all that
            do.
        frozen: blocks that trained before and do not now.
        sizes: parameters (elements) of every block.
        previous: the blocks that trained in the epoch before; None in the first epoch.
    """

    epoch: int
    decision: Decision
    thawed: tuple[str, ...]
    frozen: tuple[str, ...]
    sizes: Mapping[str, int]
    previous: tuple[str, ...] | None


@dataclass(frozen=True)
class ParamStatus:
    """Numbers of parameters (elements).

    ``total == backbone_total + heads_total == trainable + frozen``. ``blocks`` says of each block, from
    input to output, whether it trains; one without parameters does not.
    """

    total: int
    trainable: int
    backbone_total: int
    backbone_trainable: int
    heads_total: int
    heads_trainable: int
    frozen: int
    blocks: Mapping[str, bool]


class Freezer:
    """Applies a strategy to a model, epoch by epoch.

    Args:
        model: the model, also inside DataParallel, DistributedDataParallel or ``torch.compile``, in any
            nesting.
        strategy: which blocks train when.
        anatomy: the model's heads and blocks; found by ``dissect(model)`` where not given.
        monitor: the metric that metric-driven strategies watch; may stay out while there is only one.
        mode: ``"max"`` or ``"min"``; may stay out where the metric's name tells.
        warmup_steps: optimizer steps over which all learning rates rise linearly at the start of the run.
        thaw_warmup_steps: optimizer steps over which a block's learning rate rises after each of its thaws;
            what trains from the first epoch on is covered by ``warmup_steps``.
        allow_unused: accept thawed parameters that get no gradient, for models that leave some out on
            purpose.

    Attributes:
        history: what happened so far.
        anatomy: the model's heads and blocks.
        transition: the latest one, or None before the first epoch.

    Raises:
        TypeError: ``strategy`` is not an instance of a strategy.
        ValueError: the model cannot be dissected, or ``anatomy`` is of another model.
    """

    def __init__(
        self,
        model: nn.Module,
        strategy: Strategy,
        anatomy: Anatomy | None = None,
        *,
        monitor: str | None = None,
        mode: Mode | None = None,
        warmup_steps: int = 0,
        thaw_warmup_steps: int = 0,
        allow_unused: bool = False,
    ) -> None:
        if not isinstance(strategy, Strategy):
            raise TypeError(f"strategy must be an instance, such as EarlyGradual(), not {strategy!r}")
        self.model = model
        self.strategy = strategy
        self.anatomy = dissect(model) if anatomy is None else anatomy
        self.history = History(monitor=monitor, mode=mode)
        self.allow_unused = allow_unused
        self.transition: Transition | None = None
        self._pace = Pace(warmup_steps, thaw_warmup_steps)
        self._attached: Attachment | None = None
        self._added: list[tuple[str, ...]] = []  # groups that an earlier run added to its optimizer, in order
        self._steps_before = 0  # optimizer steps before the epoch, or the part of it since resuming, began
        self._unproven: tuple[str, ...] = ()  # thawed blocks that have not taken a step yet
        self._sizes = {name: sum(p.numel() for _, p in named) for name, named in self._owned().items()}
        self._blocks = tuple(BlockInfo(part.name, self._sizes[part.name]) for part in self.anatomy.blocks)
        self._block_names = tuple(block.name for block in self._blocks)
        self._head_names = tuple(part.name for part in self.anatomy.heads)

    # --- the epochs ---

    def start_epoch(self) -> Transition:
        """Decide which blocks train in the next epoch, and make it true; twice in an epoch changes nothing.

        Warns where steps were taken since the first call: then ``end_epoch`` has been forgotten.

        Raises:
            ValueError: the strategy named blocks that do not exist, the model has changed since it was
                dissected, a thawed block cannot be added to the optimizer, or it lacks a head.
        """
        if self.transition is None or self.transition.epoch != self.history.next_epoch:
            self._apply(self._decide(self.history))
            self._steps_before = self._pace.steps
        elif self._pace.steps > self._steps_before:
            warnings.warn(
                f"epoch {self.transition.epoch} has not ended, so nothing new thaws: call end_epoch() at the "
                "end of each epoch",
                RuntimeWarning,
                stacklevel=2,
            )
        assert self.transition is not None
        return self.transition

    def end_epoch(
        self, *, signals: Mapping[str, Mapping[str, float]] | None = None, **metrics: float
    ) -> None:
        """Record the epoch that ``start_epoch`` began. A second call amends the record.

        Args:
            signals: per-block measurements, for strategies that use them.
            metrics: numbers by name; one-element tensors will do.

        Raises:
            RuntimeError: no epoch has been started.
            ValueError: a metric is not a number.
        """
        if self.transition is None:
            raise RuntimeError(
                "end_epoch() before start_epoch(): call start_epoch() at the start of each epoch"
            )
        values = {name: _number(name, value) for name, value in metrics.items()}
        record = EpochRecord(self.transition.epoch, self.transition.decision.trainable, values, signals or {})
        ended = record.epoch != self.history.next_epoch
        self.history = self.history.amend(record) if ended else self.history.append(record)

    def _decide(self, history: History) -> Decision:
        decision = self.strategy.decide(history, self._blocks)
        assert decision.epoch == history.next_epoch, "a decision is for the next epoch"
        for name in (*decision.trainable, *decision.lr_scales):
            if name not in self._block_names:
                hint = nearest(name, self._block_names)
                raise ValueError(f"strategy {self.strategy.name!r} names {name!r}, which is no block{hint}")
        for name, scale in decision.lr_scales.items():
            if not (math.isfinite(scale) and scale >= 0):
                raise ValueError(f"strategy {self.strategy.name!r} scales the rate of {name!r} by {scale}")
        return decision

    def _apply(self, decision: Decision) -> None:
        parameters = self._owned()
        previous = None if self.transition is None else self.transition.decision.trainable
        before, now = set(previous or ()), set(decision.trainable)
        thawed = tuple(name for name in self._block_names if name in now - before)
        frozen = tuple(name for name in self._block_names if name in before - now)
        if self._attached is not None:
            check_heads(self._attached.optimizer, self._head_names, parameters)
            self._attached.admit(self._block_names, decision.trainable, parameters)
        for part in self.anatomy.parts:
            live = part.name in now or part.name in self._head_names
            set_trainable((p for _, p in parameters[part.name]), live)
            (release if live else hold)(unwrap(self.model), part)
        if (thawed or frozen) and is_compiled(self.model):
            # a graph from before would go on without the gradients of what has been thawed
            torch.compiler.reset()
        if previous is not None:
            self._pace.thaw(thawed)
        self._unproven = tuple(name for name in (*self._unproven, *thawed) if name in now)
        sizes = {block.name: block.parameters for block in self._blocks}
        self.transition = Transition(decision.epoch, decision, thawed, frozen, sizes, previous)
        self._set_gate(parameters)

    # --- the optimizer ---

    def param_groups(
        self,
        lr: float = 1e-3,
        head_lr: float | None = None,
        backbone_lr: float | None = None,
        layer_decay: float = 1.0,
        weight_decay: float | None = None,
    ) -> list[dict[str, Any]]:
        """Parameter groups for any optimizer: one for each block and head, with frozen parameters too.

        Args:
            lr: learning rate of what has none of its own.
            head_lr: learning rate of the heads.
            backbone_lr: learning rate of the last block.
            layer_decay: each block learns at this many times the rate of the block behind it.
            weight_decay: given here, it spares biases and norms (parameters of at most one dimension), which
                go to groups of their own; otherwise it is the optimizer's affair.

        Returns:
            Dicts with ``params``, ``lr``, ``name`` (the part's), ``kind`` (``"block"`` or ``"head"``) and
            ``parameter_names``, from input to output.

        Raises:
            ValueError: a rate or a decay is below 0, or ``layer_decay`` is not above 0.
        """
        return param_groups(
            self._block_names,
            self._head_names,
            self._owned(),
            lr=lr,
            head_lr=head_lr,
            backbone_lr=backbone_lr,
            layer_decay=layer_decay,
            weight_decay=weight_decay,
        )

    def attach(self, optimizer: Optimizer, scheduler: Any = None) -> None:
        """Make ``optimizer`` obey; before or after the first ``start_epoch``.

        Blocks that it does not have (it was built from what was trainable at the time) are added when they
        thaw, as twins of the groups of the nearest block behind them; the scheduler's lists grow along.

        Args:
            scheduler: the optimizer's scheduler, or several in a list; needed where blocks may be added.

        Raises:
            TypeError: ``optimizer`` is not a ``torch.optim.Optimizer``.
            ValueError: it is LBFGS, lacks parameters of a head, or another optimizer is attached already.
        """
        check_optimizer(optimizer)
        parameters = self._owned()
        if self._attached is None:
            check_heads(optimizer, self._head_names, parameters)
            self._attached = Attachment(optimizer, scheduler, self._before_step, self._after_step)
        elif self._attached.optimizer is not optimizer:
            raise ValueError("another optimizer is attached already; call detach() first")
        self._attached.scheduler = scheduler
        self._attached.admit_again(self._added, self._block_names, parameters)
        if self.transition is not None:
            self._attached.admit(self._block_names, self.transition.decision.trainable, parameters)
        self._set_gate(parameters)

    def detach(self) -> None:
        """Let the optimizer go; the model stays as it is."""
        if self._attached is not None:
            self._attached.gate.remove()
            self._attached, self._added = None, []

    def learning_rates(self) -> dict[str, float]:
        """The rate at which each block and head learns in the next step, warm-ups included; 0 where frozen.

        Parts without parameters are left out; empty while no optimizer is attached.
        """
        if self._attached is None:
            return {}
        return {
            name: self._attached.learning_rate(named) * self._factor(name) if self._trains(name) else 0.0
            for name, named in self._owned().items()
            if named
        }

    def _set_gate(self, parameters: Mapping[str, Named]) -> None:
        """Tell the gate who is frozen, and at which rates the others learn in the next step."""
        if self._attached is not None:
            gate = self._attached.gate
            frozen = [name for name in self._block_names if not self._trains(name)]
            gate.frozen = frozenset(id(p) for name in frozen for _, p in parameters[name])
            gate.scales = {id(p): self._factor(name) for name, named in parameters.items() for _, p in named}
            gate.default_scale = self._pace.run_factor()

    def _trains(self, name: str) -> bool:
        # before the first epoch nothing is frozen yet
        return (
            self.transition is None
            or name not in self._block_names
            or name in self.transition.decision.trainable
        )

    def _factor(self, name: str) -> float:
        scales = {} if self.transition is None else self.transition.decision.lr_scales
        return self._pace.factor(name) * scales.get(name, 1.0)

    def _before_step(self, gradients_are_there: bool) -> None:
        if self._pace.moving:
            self._set_gate(self._owned())
        if gradients_are_there:
            self._prove()

    def _after_step(self, gradients_were_there: bool) -> None:
        self._pace.steps += 1
        if not gradients_were_there:
            self._prove()

    def _prove(self) -> None:
        if self._unproven:
            assert self._attached is not None
            assert self.transition is not None
            scales = self.transition.decision.lr_scales
            if self._attached.prove(self._unproven, self._owned(), scales, unused=self.allow_unused):
                self._unproven = ()

    # --- the numbers ---

    def status(self) -> ParamStatus:
        """How many parameters there are and train, as the model says itself."""
        live = {name: sum(p.numel() for _, p in n if p.requires_grad) for name, n in self._owned().items()}
        total, trainable = sum(self._sizes.values()), sum(live.values())
        return ParamStatus(
            total=total,
            trainable=trainable,
            backbone_total=sum(self._sizes[name] for name in self._block_names),
            backbone_trainable=sum(live[name] for name in self._block_names),
            heads_total=sum(self._sizes[name] for name in self._head_names),
            heads_trainable=sum(live[name] for name in self._head_names),
            frozen=total - trainable,
            blocks={name: live[name] > 0 for name in self._block_names},
        )

    # --- stopping and going on ---

    def state_dict(self) -> dict[str, Any]:
        """Plain data, which JSON and ``torch.load(weights_only=True)`` take."""
        added = self._added if self._attached is None else self._attached.added
        return {
            "strategy": describe(self.strategy),
            "blocks": {block.name: block.parameters for block in self._blocks},
            "history": self.history.to_dict(),
            "epoch": 0 if self.transition is None else self.transition.epoch,
            "pace": self._pace.state_dict(),
            "added": [list(names) for names in added],
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where ``state`` was taken: replay the history, bring model and optimizer to that point.

        An optimizer that was built without what has been thawed since gets the same groups in the same order,
        so load this before the states of the optimizer and the scheduler.

        Raises:
            ValueError: the state is of another strategy, of other blocks, or of a run that this strategy
                would have decided differently; the message says what differs.
        """
        compare(state, self.strategy, self._blocks, self.history)
        history = History.from_dict(state["history"])
        decisions = replay(history, self._decide, state["epoch"])
        self.history, self.transition, self._unproven = history, None, ()
        self._added = [tuple(names) for names in state["added"]]
        if self._attached is not None:
            self._attached.admit_again(self._added, self._block_names, self._owned())
        for decision in decisions[-2:]:
            self._apply(decision)
        self._pace.load_state_dict(state["pace"])
        self._steps_before = self._pace.steps
        self._set_gate(self._owned())

    def _owned(self) -> dict[str, Named]:
        return owned(unwrap(self.model), self.anatomy)


def _number(name: str, value: Any) -> float:
    try:
        return float(value)
    except (TypeError, ValueError):
        raise ValueError(f"metric {name!r} must be a number, not {value!r}") from None
