"""Fixed phases: the user says which blocks train, and for how long.

The two-phase default, head first and then the top of the backbone, is the common transfer-learning recipe; a
list of phases says anything else, re-freezing included.
"""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, ClassVar

from unfreeze.history import History
from unfreeze.options import check_options, nearest, option
from unfreeze.strategies.base import BlockInfo, Decision, Strategy, last_blocks

_FORMS = "all, none, last N, a block's name, a pattern such as layer4.*, or a list of these"
_LAST = re.compile(r"last\s+([1-9]\d*)")
# Not the fields' own defaults, so that a value that was said can be told from one that was not.
_TWO_PHASES = {"phase1_epochs": 5, "phase2_epochs": 15, "unfreeze_blocks": 3}


@dataclass(frozen=True)
class Phase:
    """A stretch of ``epochs`` in which the named ``blocks`` train, at ``lr_scale`` times their learning rate.

    ``blocks`` is ``all``, ``none``, ``last N``, a name, a shell pattern (``layer4.*``), or a tuple of these.

    Raises:
        ValueError: a value is of the wrong form; whether the blocks exist is known only where the model is.
    """

    epochs: int = option(dataclasses.MISSING, "how many epochs the phase lasts", ge=1)
    blocks: str | tuple[str, ...] = option(dataclasses.MISSING, _FORMS)
    lr_scale: float = option(1.0, "factor on the learning rate of these blocks", gt=0)

    def __post_init__(self) -> None:
        check_options(self)
        words = self.words if isinstance(self.blocks, (str, tuple)) else ()
        if not words or not all(isinstance(word, str) and word.strip() for word in words):
            raise ValueError(f"blocks must be {_FORMS}, not {self.blocks!r}")
        if "none" in words and len(words) > 1:
            raise ValueError(f"blocks cannot be none together with others: {', '.join(words)}")
        for word in words:
            if re.match(r"last\s", word) and not _LAST.fullmatch(word):
                raise ValueError(
                    f"blocks: {word!r} needs a whole number from 1 on, as in last 3; for no block say none"
                )

    @property
    def words(self) -> tuple[str, ...]:
        """The blocks as a tuple, one selector each."""
        return (self.blocks,) if isinstance(self.blocks, str) else self.blocks

    def select(self, blocks: Sequence[BlockInfo]) -> tuple[str, ...]:
        """The names that this phase means among a model's ``blocks``, from input to output.

        Raises:
            ValueError: a word matches no block; the message names the nearest one.
        """
        names = tuple(block.name for block in blocks)
        chosen: set[str] = set()
        for word in self.words:
            if word == "all":
                chosen.update(names)
            elif last := _LAST.fullmatch(word):
                chosen.update(last_blocks(blocks, int(last[1])))
            elif word != "none":
                matched = [name for name in names if fnmatchcase(name, word)]
                if not matched:
                    raise ValueError(
                        f"no block is called {word!r}{nearest(word, names)} (blocks: {', '.join(names)})"
                    )
                chosen.update(matched)
        return tuple(name for name in names if name in chosen)


@dataclass(frozen=True)
class Fixed(Strategy):
    """Frozen for ``phase1_epochs``, then the last ``unfreeze_blocks`` train; or any list of ``phases``.

    After the last phase its blocks go on training. ``phases`` may also be plain data (``phases_from_data``),
    so that ``Fixed(**dataclasses.asdict(fixed))`` is the same strategy. With ``phases`` the other fields are
    None.

    Raises:
        ValueError: ``phases`` come together with a value for one of the other fields, or one is malformed.
    """

    name: ClassVar[str] = "fixed"
    flag_prefix: ClassVar[str | None] = ""

    phase1_epochs: int | None = option(
        None, "epochs in which the whole backbone stays frozen (default: 5)", ge=0
    )
    phase2_epochs: int | None = option(None, "epochs in which the last blocks train (default: 15)", ge=1)
    unfreeze_blocks: int | None = option(
        None, "how many of the last blocks train in phase 2 (default: 3)", ge=0
    )
    phases: tuple[Phase, ...] = option(
        (),
        f"YAML file with any list of phases instead, each with epochs, blocks ({_FORMS}) and lr_scale",
        from_yaml=lambda data: phases_from_data(data),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        empty = self.phases in ((), [], None)
        object.__setattr__(self, "phases", () if empty else phases_from_data(self.phases))
        said = [name for name in _TWO_PHASES if getattr(self, name) is not None]
        if self.phases and said:
            extra = " and ".join(f"--{self.flag(name)} {getattr(self, name)}" for name in said)
            raise ValueError(f"--{self.flag('phases')} says everything; leave out {extra}")
        if not self.phases:
            for name in _TWO_PHASES.keys() - set(said):
                object.__setattr__(self, name, _TWO_PHASES[name])

    def run_length(self) -> int:
        """The sum of all phases' epochs."""
        return sum(phase.epochs for phase in self._schedule())

    def decide(self, history: History, blocks: Sequence[BlockInfo]) -> Decision:
        """The blocks of the phase that the next epoch lies in.

        Raises:
            ValueError: any phase, not only this one, names a block that the model does not have.
        """
        epoch, schedule = history.next_epoch, self._schedule()
        chosen = [_select(number, phase, blocks) for number, phase in enumerate(schedule, start=1)]
        index, first, last = _locate(schedule, epoch)
        phase, names = schedule[index], chosen[index]
        sizes = {block.name: block.parameters for block in blocks}
        return Decision(
            epoch,
            names,
            f"phase {index + 1} of {len(schedule)}, epochs {first} to {last}"
            + (", goes on after its end" if epoch > last else ""),
            lr_scales={} if phase.lr_scale == 1 else dict.fromkeys(names, phase.lr_scale),
            target=max(sum(sizes[name] for name in phase_names) for phase_names in chosen),
            warnings=_too_many(index + 1, phase, blocks) if epoch == first else (),
        )

    def _schedule(self) -> tuple[Phase, ...]:
        if self.phases:
            return self.phases
        assert self.phase1_epochs is not None
        assert self.phase2_epochs is not None
        top = f"last {self.unfreeze_blocks}" if self.unfreeze_blocks else "none"
        frozen = (Phase(self.phase1_epochs, "none"),) if self.phase1_epochs else ()
        return (*frozen, Phase(self.phase2_epochs, top))


def phases_from_data(data: Any) -> tuple[Phase, ...]:
    """Phases from plain data, as in a YAML file: a list of mappings of ``epochs``, ``blocks``, ``lr_scale``.

    Raises:
        ValueError: the data have another form; the message names the phase (from 1) and the key.
    """
    if not isinstance(data, (list, tuple)) or not data:
        raise ValueError(f"phases must be a list of phases, each with epochs and blocks, not {_kind(data)}")
    return tuple(_phase(number, item) for number, item in enumerate(data, start=1))


def _phase(number: int, item: Any) -> Phase:
    if isinstance(item, Phase):
        return item
    if not isinstance(item, Mapping):
        raise ValueError(f"phase {number}: must be a mapping with epochs and blocks, not {_kind(item)}")
    keys = {f.name: f.default is dataclasses.MISSING for f in dataclasses.fields(Phase)}
    for key in item:
        if key not in keys:
            hint = nearest(str(key), tuple(keys))
            raise ValueError(f"phase {number}: unknown key {key!r}{hint} (keys: {', '.join(keys)})")
    for key, required in keys.items():
        if required and key not in item:
            raise ValueError(f"phase {number}: the key {key!r} is missing")
    values = dict(item)
    if isinstance(values["blocks"], list):
        values["blocks"] = tuple(values["blocks"])
    try:
        return Phase(**values)
    except ValueError as error:
        raise ValueError(f"phase {number}: {error}") from None


def _select(number: int, phase: Phase, blocks: Sequence[BlockInfo]) -> tuple[str, ...]:
    try:
        return phase.select(blocks)
    except ValueError as error:
        raise ValueError(f"phase {number}: {error}") from None


def _locate(schedule: Sequence[Phase], epoch: int) -> tuple[int, int, int]:
    """The index of the phase that ``epoch`` is in (if beyond, the last), its first and its last epoch."""
    ends = list(itertools.accumulate(phase.epochs for phase in schedule))
    index = next((index for index, end in enumerate(ends) if epoch <= end), len(ends) - 1)
    return index, ends[index] - schedule[index].epochs + 1, ends[index]


def _too_many(number: int, phase: Phase, blocks: Sequence[BlockInfo]) -> tuple[str, ...]:
    there = sum(block.parameters > 0 for block in blocks)
    asked = [int(last[1]) for last in map(_LAST.fullmatch, phase.words) if last]
    return tuple(
        f"phase {number} asks for the last {count} blocks, but {there} have parameters: all of them train"
        for count in asked
        if count > there
    )


def _kind(value: Any) -> str:
    return "nothing" if value is None else f"{type(value).__name__} {value!r}"
