"""An exponential moving average of the weights that train (Polyak and Juditsky, "Acceleration of Stochastic
Approximation by Averaging", 1992; in this form as in ``torch.optim.swa_utils``, whose update it uses).

Only what trains has an average. What is frozen is the model's own, so an averaged model and the model agree
on it bit for bit, and it costs nothing. A block that thaws, for the first time or again, enters with the
weights that it has at that moment; one that freezes leaves. Buffers (BatchNorm statistics) are averages
already and are the model's own, too.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import get_ema_multi_avg_fn

from unfreeze.anatomy import Anatomy, unwrap
from unfreeze.parameters import Named, can_train, owned

if TYPE_CHECKING:
    from unfreeze.freezer import Transition


class Ema:
    """Averages of the parts of ``model`` that train.

        ema = Ema(model, 0.999, freezer.anatomy)
        ...
        ema.follow(freezer.start_epoch())       # at the start of each epoch
        optimizer.step(); ema.update()          # after each step
        with ema.applied():                     # the model is the averaged one in here
            evaluate(model)

    The decay of a part in its n-th update (from 0) is ``min(decay, (1 + n) / (10 + n))``, n counted since it
    began to train, as in TensorFlow's ``ExponentialMovingAverage(num_updates=…)``: without it the average of
    a freshly thawed block, and of a head that began at random, would remember its beginning for
    ``1 / (1 - decay)`` steps.

    Args:
        model: wrapped or not.
        decay: share of the old average in each update, above 0 and below 1.
        anatomy: the model's blocks and heads.
    """

    def __init__(self, model: nn.Module, decay: float, anatomy: Anatomy) -> None:
        assert 0 < decay < 1, f"a decay of {decay} averages nothing"
        self.model = model
        self.decay = decay
        self.anatomy = anatomy
        self._updates: dict[
            str, int
        ] = {}  # part -> updates since it began to train; who is in has an average
        self._averages: dict[str, Tensor] = {}  # parameter -> average
        self._members: dict[str, Named] = {}  # part -> its parameters, as of the last call of follow

    def follow(self, transition: Transition) -> None:
        """Let in the blocks that train from now on, with their weights of now, and out those that do not.

        Twice in an epoch changes nothing. Heads, which always train, enter with the first call.
        """
        training = {*transition.decision.trainable, *(part.name for part in self.anatomy.heads)}
        self._look_up(training)
        before = self._averages
        self._averages = {
            n: before[n] if name in self._updates else p.detach().clone()
            for name, named in self._members.items()
            for n, p in named
        }
        self._updates = {name: self._updates.get(name, 0) for name in self._members}

    def update(self) -> None:
        """Take in the weights of now; call it after each optimizer step."""
        alike: dict[float, list[str]] = {}  # parts of one decay, in one pass over their tensors
        for name, updates in self._updates.items():
            alike.setdefault(min(self.decay, (1 + updates) / (10 + updates)), []).append(name)
            self._updates[name] += 1
        for decay, names in alike.items():
            named = [pair for name in names for pair in self._members[name]]
            if named:
                averages = [self._averages[n] for n, _ in named]
                get_ema_multi_avg_fn(decay)(averages, [p.detach() for _, p in named], None)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model with the averaged weights; at the end it gets its own back, bit for bit."""
        parameters = [pair for named in self._members.values() for pair in named]
        own = [p.detach().clone() for _, p in parameters]
        try:
            self._set(parameters, [self._averages[n] for n, _ in parameters])
            yield
        finally:
            self._set(parameters, own)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and plain data, copied: what comes after does not change them."""
        averages = {n: average.clone() for n, average in self._averages.items()}
        return {"decay": self.decay, "updates": dict(self._updates), "averages": averages}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on as if there had been no stop; the model's weights are loaded by themselves.

        Raises:
            ValueError: the state is of another decay, or of a model with other parts.
        """
        if state["decay"] != self.decay:
            raise ValueError(f"the averages were made with a decay of {state['decay']}, not {self.decay}")
        for name in state["updates"]:
            self.anatomy.part(name)  # or an error that names the nearest
        self._updates = dict(state["updates"])
        self._look_up(self._updates.keys())
        there = {n: p for named in self._members.values() for n, p in named}
        if there.keys() != state["averages"].keys():
            strange = sorted(there.keys() ^ state["averages"].keys())
            raise ValueError(f"the averages are of another model: they differ in {strange[0]}")
        self._averages = {n: state["averages"][n].to(p.device, p.dtype, copy=True) for n, p in there.items()}

    def _look_up(self, parts: Collection[str]) -> None:
        found = owned(unwrap(self.model), self.anatomy)
        self._members = {
            part.name: [(n, p) for n, p in found[part.name] if can_train(p)]
            for part in self.anatomy.parts
            if part.name in parts
        }

    @staticmethod
    @torch.no_grad()
    def _set(parameters: Named, values: list[Tensor]) -> None:
        for (_, parameter), value in zip(parameters, values, strict=True):
            parameter.copy_(value)
