"""The proof that a model can be cut: both halves against the whole, bit for bit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map_only

from unfreeze.anatomy import Part
from unfreeze.prefix.activations import (
    Blank,
    CutError,
    Inputs,
    Layout,
    batch_length,
    choose,
    hollow,
    returned,
    take,
)
from unfreeze.prefix.host import Host, Prefix, Suffix
from unfreeze.prefix.trail import CALL, own_call, replaced

# Kernels for batches of other lengths may round differently; what goes beyond this share is no rounding.
_ROUNDING = 0.05


def prove(
    host: Host,
    frozen: Sequence[Part],
    trainable: Sequence[Part],
    find_layout: Callable[[], Layout],
    inputs: Inputs,
    *,
    lengths: bool,
) -> tuple[Layout, tuple[Tensor, ...]]:
    """See ``FrozenPrefix.prove`` (with ``lengths``) and ``FrozenPrefix.check`` (without): the layout, and the
    leaves of the batch.

    Raises:
        CutError: as there.
    """
    block = frozen[-1].name
    model = host.model
    held = [model.get_parameter(name) for part in frozen for name in part.parameters]
    names = [name for part in trainable for name in part.parameters]
    with _unchanged(held), host.still(), host.uncompiled():
        learning = {n: p for n in names if (p := model.get_parameter(n)).requires_grad}
        rng = _rng(held)
        layout, failed = None, None
        try:
            layout = find_layout()
        except Exception as error:
            failed = error
        rng()
        with torch.enable_grad():
            # what fails here is no matter of the cut
            expected, value = _tapped(host, layout, inputs)
            gradients = _gradients(expected, learning)
        try:
            if layout is None:
                assert failed is not None
                raise failed
            halves = _Halves(host, layout, block, rng)
            leaves = tuple(leaf.detach() for leaf in take(layout, value, batch_length(*inputs)))
            if lengths and not all(map(_agrees, halves.encode(inputs), leaves)):
                raise CutError(
                    f"cannot cut behind {block}: what it makes is another thing when it ends there"
                )
            for fill in halves.fills():
                if not halves.agree(halves.decode(inputs, leaves, fill), expected, inputs):
                    raise halves.leak(inputs, leaves)
            with torch.enable_grad():
                output = halves.decode(inputs, leaves)
                again = _gradients(output, learning)
            if not halves.agree(output, expected, inputs):
                raise halves.leak(inputs, leaves)
            for name, one, other in zip(learning, gradients, again, strict=True):
                if not _agrees(one, other):
                    raise CutError(f"cannot cut behind {block}: the gradient of {name} is another one")
            if lengths:
                _other_length(halves, inputs, leaves, block)
        except (CutError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            reason = (str(error).strip() or "no message").splitlines()[0]
            raise CutError(f"cannot cut behind {block}: {type(error).__name__}: {reason}") from error
    return layout, leaves


def agree(
    host: Host,
    trainable: Sequence[Part],
    block: str,
    whole: Callable[[], Any],
    part: Callable[[], Any],
) -> None:
    """See that two ways to the model's output are one, gradients included; nothing of the model changes.

    Raises:
        CutError: they are not.
    """
    model = host.model
    names = [name for of in trainable for name in of.parameters]
    learning = {n: p for n in names if (p := model.get_parameter(n)).requires_grad}
    rewind = _rng(list(model.parameters()))
    with host.still(), torch.enable_grad():
        outputs = []
        for way in (whole, part):
            rewind()
            output = way()
            outputs.append((output, _gradients(output, learning)))
    rewind()
    (expected, gradients), (output, again) = outputs
    if not (_same(output, expected) or (_near(output, expected) and not _repeats(expected))):
        raise CutError(f"cannot cut behind {block}: the model computes something else from there on")
    for name, one, other in zip(learning, gradients, again, strict=True):
        if not _agrees(one, other):
            raise CutError(f"cannot cut behind {block}: the gradient of {name} is another one")


def _repeats(output: Any) -> bool:
    """Whether the same comes out each time: on a CPU."""
    return all(t.device.type == "cpu" for t in tree_leaves(output) if isinstance(t, Tensor))


def _tapped(host: Host, layout: Layout | None, inputs: Inputs) -> tuple[Any, Any]:
    """The output of the whole model, and on the way what crosses the boundary."""
    if layout is None:
        return host.model(*inputs[0], **inputs[1]), None
    last = layout.trail[-1].module
    module, calls = host.model.get_submodule(last), [answer.module for answer in layout.trail].count(last)
    own, values = own_call(module), list[Any]()

    def tap(*args: Any, **kwargs: Any) -> Any:
        value = own(*args, **kwargs)
        if len(values) < calls:
            # a copy, as the model may write to it
            values.append(tree_map_only(Tensor, lambda t: t.detach().clone(), value))
        return value

    with replaced(CALL, [(module, tap)]):
        output = host.model(*inputs[0], **inputs[1])
    return output, values[-1] if values else None


class _Halves:
    """Encode and decode with any placeholders, each from the same state of the random generators."""

    def __init__(self, host: Host, layout: Layout, block: str, rng: Callable[[], None]) -> None:
        self._layout, self._block, self._rewind = layout, block, rng
        self._prefix, self._suffix = Prefix(host, layout), Suffix(host, layout, block)
        self._model = host.model

    def fills(self) -> tuple[float, ...]:
        """What to put into placeholders, so that no use of them is overlooked."""
        entries = (entry for answer in self._layout.trail[:-1] for entry in answer.entries)
        kinds = {entry.dtype for entry in entries if isinstance(entry, Blank)}
        real = all(kind.is_floating_point or kind.is_complex for kind in kinds)
        return (math.nan,) if real else (math.nan, 1.0)  # whole numbers know no NaN

    def whole(self, inputs: Inputs) -> Any:
        self._rewind()
        return self._model(*inputs[0], **inputs[1])

    def agree(self, output: Any, expected: Any, inputs: Inputs) -> bool:
        """Whether an output is the whole model's, as far as that agrees with itself."""
        if _same(output, expected):
            return True
        return not _same(self.whole(inputs), expected) and _near(output, expected)

    def encode(self, inputs: Inputs) -> tuple[Tensor, ...]:
        self._rewind()
        return take(self._layout, self._prefix.run(*inputs), batch_length(*inputs))

    def decode(
        self, inputs: Inputs, leaves: Sequence[Tensor], fill: float = 0, only: int | None = None
    ) -> Any:
        """The output, with ``fill`` in all placeholders or in those of one call (-1: of the inputs) only."""
        self._rewind()
        rows, items, device = leaves[0].shape[0], batch_length(*inputs), leaves[0].device
        before = [
            answer.blanks(rows, items, device, fill if only in (None, at) else 0)
            for at, answer in enumerate(self._layout.trail[:-1])
        ]
        # copies, as the model may write to them
        values = returned(self._layout, before, [leaf.clone() for leaf in leaves], items)
        args, kwargs = hollow(inputs[0], inputs[1], fill if only in (None, -1) else 0)
        return self._suffix.run(args, kwargs, values)

    def leak(self, inputs: Inputs, leaves: Sequence[Tensor]) -> CutError:
        """An error that says what the model still uses behind the boundary."""
        names = ["its input", *(answer.module for answer in self._layout.trail[:-1])]
        zeros, start = self.decode(inputs, leaves), f"cannot cut behind {self._block}"
        for fill in self.fills():
            for only, name in enumerate(names, start=-1):
                if not _same(self.decode(inputs, leaves, fill, only), zeros):
                    return CutError(f"{start}: behind it, the model still uses {name}")
        return CutError(f"{start}: the model computes something else from there on")


def _other_length(halves: _Halves, inputs: Inputs, leaves: Sequence[Tensor], block: str) -> None:
    """The second item and twice the first: same halves, same rows."""
    items = batch_length(*inputs)
    three = choose(inputs[0], inputs[1], items, (1, 0, 0))
    mixed = halves.encode(three)
    if not halves.agree(halves.decode(three, mixed), halves.whole(three), three):
        raise CutError(f"cannot cut behind {block}: the model computes something else for another batch")
    of_first = 1
    if (leaves[0].shape[0], mixed[0].shape[0]) != (items, 3):  # items of several rows, or not equally many
        of_first = halves.encode(choose(inputs[0], inputs[1], items, (0, 0)))[0].shape[0] // 2
    of_second = mixed[0].shape[0] - 2 * of_first
    for whole, part in zip(leaves, mixed, strict=True):
        alike = torch.cat([part[of_second : of_second + of_first], part[:of_second]])
        if not _alike(whole[: of_first + of_second], alike):
            raise CutError(
                f"cannot cut behind {block}: what the frozen blocks make of a clip depends on the others in "
                "its batch"
            )


def _alike(whole: Tensor, part: Tensor) -> bool:
    """Whether rows are the same but for rounding, which is small beside what makes clips differ."""
    if whole.shape != part.shape:
        return False
    eps = 16 * torch.finfo(whole.dtype).eps if whole.is_floating_point() else 0.0
    whole, part = whole.double(), part.double()
    bound = _ROUNDING * (whole - whole.mean(0)).abs().max() + eps * whole.abs().max()
    return whole.numel() == 0 or bool((whole - part).abs().max() <= bound)


def _same(one: Any, other: Any) -> bool:
    (a, spec_a), (b, spec_b) = tree_flatten(one), tree_flatten(other)
    return spec_a == spec_b and all(
        x.dtype is y.dtype and torch.equal(x.detach(), y.detach())
        if isinstance(x, Tensor) and isinstance(y, Tensor)
        else x is y or bool(x == y)
        for x, y in zip(a, b, strict=True)
    )


def _near(one: Any, other: Any) -> bool:
    """Whether two structures of tensors are the same but for rounding."""
    (a, spec_a), (b, spec_b) = tree_flatten(one), tree_flatten(other)
    return spec_a == spec_b and all(
        x.shape == y.shape
        and (x.numel() == 0 or bool((x - y).abs().max() <= _ROUNDING * y.abs().max()))  # False for NaN
        if isinstance(x, Tensor) and isinstance(y, Tensor)
        else x is y
        for x, y in zip(a, b, strict=True)
    )


def _agrees(one: Tensor | None, other: Tensor | None) -> bool:
    """Whether a gradient is the same, as far as it is the same each time.

    In full precision on a CPU it is. Elsewhere sums are made in an order that depends on the moment. In lower
    precision on a CPU, the gradients of convolutions over small volumes are made of whatever happened to lie
    in memory (seen with torch 2.14, bfloat16, 3 x 3 x 3 over 2 x 6 x 6): there is nothing to compare.
    """
    if one is None or other is None or _same(one, other):
        return one is other or _same(one, other)
    if one.device.type == "cpu":
        return torch.is_autocast_enabled("cpu") or one.dtype not in (torch.float32, torch.float64)
    return _near(one, other)


def _gradients(output: Any, learning: dict[str, nn.Parameter]) -> tuple[Tensor | None, ...]:
    """Gradients of a sum in which every element of the output counts differently."""
    tensors = [t for t in tree_leaves(output) if isinstance(t, Tensor) and t.requires_grad]
    if not tensors or not learning:
        return (None,) * len(learning)
    terms = [
        (t.flatten() * (1 + torch.arange(t.numel(), device=t.device) % 7).to(t.dtype)).sum() for t in tensors
    ]
    loss = torch.stack([term.abs() if term.is_complex() else term.float() for term in terms]).sum()
    return torch.autograd.grad(loss, list(learning.values()), allow_unused=True)


@contextmanager
def _unchanged(held: Sequence[nn.Parameter]) -> Iterator[None]:
    """Frozen parameters without gradients, and afterwards parameters and random generators as they were."""
    wanted = [parameter for parameter in held if parameter.requires_grad]
    rewind = _rng(held)
    try:
        for parameter in wanted:
            parameter.requires_grad_(False)
        yield
    finally:
        for parameter in wanted:
            parameter.requires_grad_(True)
        rewind()


def _rng(parameters: Sequence[Tensor]) -> Callable[[], None]:
    """Puts the random generators back to where they are now: of the CPU and of the parameters' devices."""
    state = torch.get_rng_state()
    devices = {parameter.device for parameter in parameters if parameter.device.type != "cpu"}
    modules = [
        (torch.get_device_module(device), (device,) if device.type in ("cuda", "xpu") else ())
        for device in devices
        if device.type != "meta"
    ]
    states = [(module, device, module.get_rng_state(*device)) for module, device in modules]

    def rewind() -> None:
        torch.set_rng_state(state)
        for module, device, its in states:
            module.set_rng_state(its, *device)

    return rewind
