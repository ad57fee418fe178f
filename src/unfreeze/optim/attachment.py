"""An optimizer that obeys: which parameters it has, and whether those that have thawed learn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch.optim import Optimizer

from unfreeze.optim.gate import StepGate
from unfreeze.optim.groups import add_group
from unfreeze.parameters import Named, can_train, listed


class Attachment:
    """One optimizer, its scheduler, and the gate around its step.

    Args:
        before: called before each step, with True where the gradients are there already.
        after: called after each step, with the same flag.

    Attributes:
        added: names of the parameters in each group that was added, in order.
    """

    def __init__(
        self,
        optimizer: Optimizer,
        scheduler: Any,
        before: Callable[[bool], None],
        after: Callable[[bool], None],
    ) -> None:
        self.gate = StepGate(optimizer)
        self.gate.before, self.gate.after = before, after
        self.optimizer = optimizer
        self.scheduler = scheduler
        self.added: list[tuple[str, ...]] = []

    def admit(self, blocks: Sequence[str], trainable: Sequence[str], owned: Mapping[str, Named]) -> None:
        """Add groups for what ``trainable`` blocks own and the optimizer lacks, block by block, as thaws go.

        A new group is the twin of a group of the nearest block behind it that the optimizer knows, else of
        the heads: where biases and norms have a group of their own, new ones get a twin of that one.

        Args:
            blocks: all blocks, from input to output.

        Raises:
            ValueError: a parameter is in several groups, or a group cannot be added.
        """
        for index, block in reversed(list(enumerate(blocks))):
            if block in trainable:
                self._add(owned[block], block, blocks[index:], owned)
                groups = groups_of(self.optimizer)
                for name, parameter in owned[block]:
                    if len(groups.get(id(parameter), ())) > 1:
                        raise ValueError(f"the optimizer has {name!r} in several parameter groups")

    def admit_again(
        self, groups: Sequence[Sequence[str]], blocks: Sequence[str], owned: Mapping[str, Named]
    ) -> None:
        """Add the groups that an earlier run added, in its order."""
        for names in groups:
            index, block = next((i, b) for i, b in enumerate(blocks) if names[0] in dict(owned[b]))
            self._add([(n, p) for n, p in owned[block] if n in names], block, blocks[index:], owned)

    def _add(self, named: Named, block: str, behind: Sequence[str], owned: Mapping[str, Named]) -> None:
        groups = self.optimizer.param_groups
        number = {id(p): index for index, group in enumerate(groups) for p in group["params"]}
        everything = [p for group in groups for p in group["params"]]
        known = [p for each in behind for _, p in owned[each] if id(p) in number] or everything
        joining: dict[int, Named] = {}  # the twin's number -> who joins
        for name, parameter in named:
            if can_train(parameter) and id(parameter) not in number:
                alike = (p for p in known if (p.ndim > 1) == (parameter.ndim > 1))
                joining.setdefault(number[id(next(alike, known[0]))], []).append((name, parameter))
        for like, members in joining.items():
            add_group(self.optimizer, self.scheduler, members, like=like, name=block)
            self.added.append(tuple(name for name, _ in members))

    def prove(
        self, blocks: Sequence[str], owned: Mapping[str, Named], scales: Mapping[str, float], unused: bool
    ) -> bool:
        """Check that freshly thawed blocks really train; False while there is no gradient at all to judge by.

        Args:
            scales: a block's factor on its learning rate, without warm-ups.
            unused: whether parameters without a gradient are fine.

        Raises:
            RuntimeError: a parameter is not in exactly one group, learns at a rate of 0, or has no gradient.
        """
        if all(p.grad is None for group in self.optimizer.param_groups for p in group["params"]):
            return False
        groups = groups_of(self.optimizer)
        # where every rate is 0, it is the schedule that wants it so
        learning = any(float(group["lr"]) for group in self.optimizer.param_groups)
        for block in blocks:
            thawed = f"block {block!r} has been thawed, but"
            named = [(name, p) for name, p in owned[block] if can_train(p)]
            lost = [name for name, p in named if len(groups.get(id(p), ())) != 1]
            if lost:
                raise RuntimeError(f"{thawed} is not in exactly one parameter group: {listed(lost)}")
            idle = [n for n, p in named if float(groups[id(p)][0]["lr"]) * scales.get(block, 1.0) == 0]
            if idle and learning:
                raise RuntimeError(f"{thawed} its learning rate is 0: {listed(idle)}")
            bare = [name for name, p in named if p.grad is None]
            if bare and not unused:
                raise RuntimeError(
                    f"{thawed} got no gradient: {listed(bare)}; look for no_grad, detach, reentrant "
                    "checkpointing, or a model compiled unknown to the Freezer (give it the compiled one); "
                    "if the model leaves them unused on purpose, say Freezer(…, allow_unused=True)"
                )
        return True

    def learning_rate(self, named: Named) -> float:
        """The highest learning rate of these parameters, as the scheduler has it."""
        groups = groups_of(self.optimizer)
        return max((float(g["lr"]) for _, p in named for g in groups.get(id(p), ())), default=0.0)


def check_heads(optimizer: Optimizer, heads: Sequence[str], owned: Mapping[str, Named]) -> None:
    """Whether the optimizer has all of the heads, which train in every epoch.

    Raises:
        ValueError: it lacks a parameter of one.
    """
    groups = groups_of(optimizer)
    for head in heads:
        lacking = [name for name, p in owned[head] if can_train(p) and id(p) not in groups]
        if lacking:
            raise ValueError(
                f"the optimizer lacks parameters of head {head!r}: {listed(lacking)}; "
                "make it after the head has been put in place"
            )


def groups_of(optimizer: Optimizer) -> dict[int, list[dict[str, Any]]]:
    """Parameter id -> the groups that have it. By identity: two biases of equal value are two parameters."""
    groups: dict[int, list[dict[str, Any]]] = {}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            groups.setdefault(id(parameter), []).append(group)
    return groups
