"""Which frozen modules run, in which order, and what they return: seen in two batches of unequal length."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import TreeSpec, tree_flatten

from unfreeze.anatomy import Part
from unfreeze.anatomy.units import is_dropout
from unfreeze.prefix.activations import Answer, Blank, Count, CutError, Layout, Leaf, Size, memory_order

# Where nn.Module.__call__ looks first. An answer put there stands for the module with all of its hooks, whose
# work is part of what was recorded; ``forward`` is what torch.compile looks at.
CALL, FORWARD = "_compiled_call_impl", "forward"
_CONSTANTS = (bool, int, float, str, bytes, type(None), torch.Size, torch.dtype, torch.device)
_ABSENT = object()


class Stop(BaseException):
    """Ends the forward pass at the boundary. No ``Exception``: models may catch those."""

    def __init__(self, value: Any) -> None:
        super().__init__()
        self.value = value


@contextmanager
def replaced(attribute: str, calls: Iterable[tuple[nn.Module, Callable[..., Any]]]) -> Iterator[None]:
    """An attribute of modules meanwhile; put back as it was, also where it was none of the instance's."""
    before = []
    try:
        for module, call in calls:
            own = vars(module)  # past __setattr__, which is slow, and which a compiled module passes on
            before.append((own, own.get(attribute, _ABSENT)))
            own[attribute] = call
        yield
    finally:
        for own, value in reversed(before):
            if value is _ABSENT:
                del own[attribute]
            else:
                own[attribute] = value


def own_call(module: nn.Module) -> Callable[..., Any]:
    """What ``module(…)`` does, hooks and compiled code included, unless it is replaced."""
    return getattr(module, CALL, None) or module._call_impl


def owns_state(module: nn.Module) -> bool:
    return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None


def places(names: Sequence[str]) -> dict[str, list[int]]:
    """Module -> its calls, as positions in the trail."""
    places: dict[str, list[int]] = {}
    for at, name in enumerate(names):
        places.setdefault(name, []).append(at)
    return places


@dataclass(frozen=True)
class _Seen:
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class _Call:
    module: str
    spec: TreeSpec
    entries: tuple[Any, ...]  # _Seen for a tensor


def _look(module: str, value: Any) -> _Call:
    values, spec = tree_flatten(value)
    entries = (_Seen(tuple(v.shape), v.stride(), v.dtype) if isinstance(v, Tensor) else v for v in values)
    return _Call(module, spec, tuple(entries))


class Tracer:
    """Watches one forward pass of ``model``.

    The trail is made of the outermost calls of frozen modules before anything that trains runs. What owns no
    state and makes no noise (an activation function, pooling) may run anywhere.

    Args:
        frozen, trainable: the blocks before the boundary; the blocks behind it and the heads.
        given: what the first calls of some frozen modules return, instead of being made.
        length: stop after so many calls; None runs to the end, and so finds what runs too late.

    Raises (from the forward pass):
        CutError: a frozen module with state runs after one that trains.
    """

    def __init__(
        self,
        model: nn.Module,
        frozen: Sequence[Part],
        trainable: Sequence[Part],
        given: Mapping[str, Sequence[Any]],
        length: int | None = None,
    ) -> None:
        self.trail: list[_Call] = []
        self._block = frozen[-1].name
        self._given = given
        self._counts: Counter[str] = Counter()
        self._length = length
        self._outermost = True
        self._inner: set[str] = set()  # frozen modules that other frozen modules call
        self._trained: str | None = None  # the first module with something to train that ran
        self.calls: list[tuple[nn.Module, Callable[..., Any]]] = []
        for part in trainable:
            for name in part.modules:
                module = model.get_submodule(name)
                if owns_state(module) or any(is_dropout(m) for m in module.modules()):
                    self._watch(module, self._call_trainable, name)
        for part in frozen:
            for name in part.modules:
                module = model.get_submodule(name)
                self._watch(module, self._call_frozen, name, owns_state(module))

    def _watch(self, module: nn.Module, how: Callable[..., Any], *known: Any) -> None:
        self.calls.append((module, functools.partial(how, *known, own_call(module))))

    def _call_trainable(self, name: str, own: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        self._trained = self._trained or name
        return own(*args, **kwargs)

    def _call_frozen(
        self, name: str, stateful: bool, own: Callable[..., Any], *args: Any, **kwargs: Any
    ) -> Any:
        if not self._outermost:
            self._inner.add(name)
            return own(*args, **kwargs)
        at = self._counts[name]
        self._counts[name] += 1
        answers = self._given.get(name, ())
        if at < len(answers):
            value = answers[at]
        else:
            self._outermost = False
            try:
                value = own(*args, **kwargs)
            finally:
                self._outermost = True
        if self._trained is None:
            self.trail.append(_look(name, value))
            if self._length == len(self.trail):
                raise Stop(value)
        elif stateful:
            raise CutError(
                f"cannot cut behind {self._block}: {name} is frozen, but runs after {self._trained}, "
                "which trains"
            )
        return value

    def check(self, model: nn.Module, frozen: Sequence[Part]) -> None:
        """After a whole forward pass.

        Raises:
            CutError: a frozen module with state did not run, or runs by itself and inside another one.
        """
        ran = {call.module for call in self.trail}
        for part in frozen:
            for root in part.roots:
                if not any(f"{name}.".startswith(f"{root}.") for name in ran | self._inner) and any(
                    owns_state(module) and runs(module) for module in model.get_submodule(root).modules()
                ):
                    raise CutError(f"cannot cut behind {self._block}: {root} is frozen, but never runs")
        if not self.trail:
            raise CutError(f"cannot cut behind {self._block}: nothing that is frozen runs")
        if twice := sorted(ran & self._inner):
            raise CutError(
                f"cannot cut behind {self._block}: {twice[0]} runs by itself and inside another frozen module"
            )


def runs(module: nn.Module) -> bool:
    """Whether a module can be called at all: containers (ModuleList, ParameterList …) cannot."""
    return type(module).forward is not nn.Module.forward


@dataclass(frozen=True)
class Batch:
    """How long a batch was, and what was seen in it."""

    items: int
    trail: Sequence[_Call]


def layout_of(boundary: int, block: str, one: Batch, other: Batch) -> Layout:
    """What two batches of different lengths have in common.

    Raises:
        CutError: something depends on the batch in a way that has no place in a layout.
    """
    names = [[call.module for call in batch.trail] for batch in (one, other)]
    if names[0] != names[1]:
        raise CutError(f"cannot cut behind {block}: which modules run depends on the length of the batch")
    pairs = list(zip(one.trail, other.trail, strict=True))
    leaves: list[Leaf] = []
    rows: tuple[int, int] | None = None
    last = pairs[-1]
    for a, b in zip(last[0].entries, last[1].entries, strict=False):
        if not isinstance(a, _Seen):
            continue
        grows = (
            [d for d in range(len(a.shape)) if a.shape[d] != b.shape[d]]
            if isinstance(b, _Seen) and len(a.shape) == len(b.shape)
            else []
        )
        counts = (a.shape[grows[0]], b.shape[grows[0]]) if len(grows) == 1 else None
        if counts is None or counts != (rows or counts):
            raise CutError(
                f"cannot cut behind {block}: a tensor of shape {a.shape} crosses the boundary, in which no "
                "single dimension counts the clips"
            )
        rows, dim = counts, grows[0]
        first = (dim, *(d for d in range(len(a.shape)) if d != dim))
        shape, strides = [a.shape[d] for d in first], [a.strides[d] for d in first]
        leaves.append(Leaf(tuple(shape[1:]), a.dtype, memory_order(shape, strides), dim))
    if rows is None:
        raise CutError(f"cannot cut behind {block}: {last[0].module} returns no tensor")
    common = _Common(block, rows, (one.items, other.items))
    return Layout(boundary, tuple(leaves), tuple(common.answer(a, b) for a, b in pairs))


@dataclass(frozen=True)
class _Common:
    block: str
    rows: tuple[int, int]
    items: tuple[int, int]

    def answer(self, a: _Call, b: _Call) -> Answer:
        if a.spec != b.spec:
            raise self._differs(a.module)
        entries = (self._entry(a.module, *pair) for pair in zip(a.entries, b.entries, strict=True))
        return Answer(a.module, a.spec, tuple(entries))

    def _entry(self, module: str, a: Any, b: Any) -> Any:
        if isinstance(a, _Seen):
            if not isinstance(b, _Seen) or a.dtype is not b.dtype or len(a.shape) != len(b.shape):
                raise self._differs(module)
            return Blank(
                tuple(self._size(module, *sizes) for sizes in zip(a.shape, b.shape, strict=True)), a.dtype
            )
        if not isinstance(a, _CONSTANTS):
            raise CutError(
                f"cannot cut behind {self.block}: {module} returns a {type(a).__name__}, which cannot be kept"
            )
        if type(a) is int and type(b) is int:
            return self._size(module, a, b)
        if a != b:
            raise self._differs(module)
        return a

    def _size(self, module: str, a: int, b: int) -> Size:
        if a == b:
            return a
        for counts, of in ((self.rows, "rows"), (self.items, "items")):
            times = a // counts[0]
            if (a, b) == (times * counts[0], times * counts[1]):
                return Count(of, times)  # type: ignore[arg-type]
        raise self._differs(module)

    def _differs(self, module: str) -> CutError:
        return CutError(
            f"cannot cut behind {self.block}: what {module} returns depends on the length of the batch"
        )
