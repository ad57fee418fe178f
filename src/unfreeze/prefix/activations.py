"""What crosses the boundary, and what can be said of it before there is any: plain data and tensors."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor
from torch.utils._pytree import TreeSpec, tree_flatten, tree_unflatten

Inputs = tuple[tuple[Any, ...], dict[str, Any]]  # args and kwargs


class CutError(ValueError):
    """A model that cannot be cut behind a block; one line, with the block's name."""


def placeholder(
    shape: Sequence[int],
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    fill: float = 0,
) -> Tensor:
    """A tensor of this shape that takes no memory: one element, seen everywhere. Not to be written to."""
    if torch.is_inference_mode_enabled():  # it may be used again where gradients are wanted
        with torch.inference_mode(False):
            return placeholder(shape, dtype, device, fill)
    return torch.full((1,), fill, dtype=dtype, device=device).expand(tuple(shape))


@dataclass(frozen=True)
class Leaf:
    """One tensor that crosses the boundary, for a single row.

    The memory order belongs to it: behind the boundary, other strides would choose other kernels, and these
    add up in another order.

    Attributes:
        shape: without the row dimension.
        order: the dimensions of a batch, the row dimension first, as they lie in memory from the outermost to
            the innermost; (0, 1, 2, …) is contiguous.
        dim: where the model itself has the row dimension (1 in networks that put time first).
    """

    shape: tuple[int, ...]
    dtype: torch.dtype
    order: tuple[int, ...]
    dim: int = 0

    @property
    def row_bytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize

    def physical(self) -> tuple[int, ...]:
        """The shape of a row with its dimensions as they lie in memory."""
        return tuple(self.shape[d - 1] for d in self.order if d)

    def to_memory(self, rows: Tensor) -> Tensor:
        """(rows, \\*shape) -> (rows, \\*physical), without a copy."""
        return rows.permute(0, *(d for d in self.order if d))

    def from_memory(self, rows: Tensor) -> Tensor:
        """(rows, \\*physical) -> (rows, \\*shape), without a copy."""
        return rows.permute(_inverse((0, *(d for d in self.order if d))))

    def lay(self, rows: Tensor) -> Tensor:
        """The same values, (rows, \\*shape), in this leaf's memory order and dtype; a copy only where needed.

        Raises:
            ValueError: rows of another shape.
        """
        if tuple(rows.shape[1:]) != self.shape:
            raise ValueError(
                f"a row of the activation is {self.shape}, not {tuple(rows.shape[1:])}: it is of another "
                "boundary or of clips of another size"
            )
        if rows.dtype is not self.dtype:
            rows = rows.to(self.dtype)
        in_order = rows.permute(self.order)
        return rows if in_order.is_contiguous() else in_order.contiguous().permute(_inverse(self.order))


def memory_order(shape: Sequence[int], strides: Sequence[int]) -> tuple[int, ...]:
    """Dimensions from the outermost to the innermost; as counted where the tensor repeats itself."""
    dims = range(len(shape))
    if any(strides[d] == 0 and shape[d] > 1 for d in dims):
        return tuple(dims)
    return tuple(sorted(dims, key=lambda d: (-strides[d], d)))


def _inverse(order: Sequence[int]) -> tuple[int, ...]:
    return tuple(sorted(range(len(order)), key=order.__getitem__))


@dataclass(frozen=True)
class Count:
    """A number that grows with the batch: so many times its rows, or its items (clips or sets of views)."""

    of: Literal["rows", "items"]
    times: int

    def value(self, rows: int, items: int) -> int:
        return self.times * (rows if self.of == "rows" else items)


Size = int | Count


@dataclass(frozen=True)
class Blank:
    """A tensor without its values."""

    shape: tuple[Size, ...]
    dtype: torch.dtype


@dataclass(frozen=True)
class Answer:
    """What one call of a frozen module returns, without the values of its tensors.

    Attributes:
        module: qualified name on the unwrapped model.
        spec: the structure around the entries.
        entries: a ``Blank`` for each tensor; else the constant itself, or a ``Count`` in place of a number
            that grows with the batch.
    """

    module: str
    spec: TreeSpec
    entries: tuple[Any, ...]

    def constants(self, rows: int, items: int) -> list[Any]:
        """The entries that are no tensors."""
        return [
            entry.value(rows, items) if isinstance(entry, Count) else entry
            for entry in self.entries
            if not isinstance(entry, Blank)
        ]

    def build(self, rows: int, items: int, tensors: Iterable[Tensor]) -> Any:
        """The same with these tensors; made anew each time, as models write to dicts and lists."""
        given = iter(tensors)
        values = [
            next(given)
            if isinstance(entry, Blank)
            else entry.value(rows, items)
            if isinstance(entry, Count)
            else entry
            for entry in self.entries
        ]
        return values[0] if self.spec.is_leaf() else tree_unflatten(values, self.spec)

    def blanks(self, rows: int, items: int, device: torch.device, fill: float = 0) -> list[Tensor]:
        """Placeholders for the tensors; in whole numbers, 0 stands for NaN."""
        found = []
        for entry in self.entries:
            if isinstance(entry, Blank):
                shape = [size.value(rows, items) if isinstance(size, Count) else size for size in entry.shape]
                real = entry.dtype.is_floating_point or entry.dtype.is_complex
                value = 0 if math.isnan(fill) and not real else fill
                found.append(placeholder(shape, entry.dtype, device, value))
        return found


@dataclass(frozen=True)
class Layout:
    """All that is the same for every batch at a boundary. It pickles, and equal layouts are equal.

    Attributes:
        boundary: the number of frozen blocks.
        leaves: the tensors of the activation, for one row.
        trail: what the frozen modules return, call by call; the last is the activation itself.
    """

    boundary: int
    leaves: tuple[Leaf, ...]
    trail: tuple[Answer, ...]

    @property
    def row_bytes(self) -> int:
        """Bytes of the activation of one row."""
        return sum(leaf.row_bytes for leaf in self.leaves)


@dataclass(frozen=True)
class Activations:
    """The activations of a batch at a boundary, and the rest of the model's inputs.

    Attributes:
        leaves: (rows, …) each, detached. A row is what the frozen blocks compute for one clip (one view of
            one event), in the order of the batch; a model that looks at frames one by one has a row per
            frame.
        args, kwargs: the model's inputs; floating tensors are placeholders without memory.
        items: the length of the batch: dimension 0 of the inputs.
    """

    leaves: tuple[Tensor, ...]
    layout: Layout
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    items: int = 0

    @property
    def rows(self) -> int:
        return self.leaves[0].shape[0]


def returned(
    layout: Layout, before: Iterable[Iterable[Tensor]], leaves: Sequence[Tensor], items: int
) -> list[Any]:
    """What the calls of the trail return: the tensors of all calls before the last, and the activation."""
    dims = (leaf.dim for leaf in layout.leaves)
    last = [rows.movedim(0, dim) if dim else rows for rows, dim in zip(leaves, dims, strict=True)]
    rows = leaves[0].shape[0]
    return [
        answer.build(rows, items, tensors)
        for answer, tensors in zip(layout.trail, (*before, last), strict=True)
    ]


def take(layout: Layout, value: Any, items: int) -> tuple[Tensor, ...]:
    """The leaves out of what the last call of the trail returned, in the layout's memory order.

    Raises:
        CutError: it is not as the layout says.
    """
    values, spec = tree_flatten(value)
    last = layout.trail[-1]
    tensors = [value for value in values if isinstance(value, Tensor)]
    rows = tensors[0].shape[layout.leaves[0].dim] if len(tensors) == len(layout.leaves) else 0
    expected = last.constants(rows, items)
    if (
        spec != last.spec
        or expected != [value for value in values if not isinstance(value, Tensor)]
        or not rows
    ):
        raise CutError(f"{last.module} returns something else for other inputs of the same shape")
    try:
        return tuple(
            leaf.lay(tensor.movedim(leaf.dim, 0) if leaf.dim else tensor)
            for leaf, tensor in zip(layout.leaves, tensors, strict=True)
        )
    except ValueError as error:
        raise CutError(
            f"{last.module} returns something else for other inputs of the same shape: {error}"
        ) from None


def hollow(args: tuple[Any, ...], kwargs: Mapping[str, Any], fill: float = 0) -> Inputs:
    """Inputs (args, kwargs) with placeholders for floating tensors; the others (masks) are kept as they are.

    They may lie anywhere in tuples, lists and dicts.
    """
    values, spec = tree_flatten((tuple(args), dict(kwargs)))
    return tree_unflatten(
        [
            placeholder(value.shape, value.dtype, value.device, fill)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for value in values
        ],
        spec,
    )


def batch_length(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> int:
    """Dimension 0 of the first floating tensor among the inputs, or of the first one of any kind.

    Raises:
        ValueError: there is no tensor.
    """
    values, _ = tree_flatten((tuple(args), dict(kwargs)))
    tensors = [value for value in values if isinstance(value, Tensor) and value.ndim > 0]
    for tensor in [*(t for t in tensors if t.is_floating_point()), *tensors]:
        return tensor.shape[0]
    raise ValueError("the model's inputs hold no tensor with a batch dimension")


def choose(args: tuple[Any, ...], kwargs: Mapping[str, Any], items: int, chosen: Sequence[int]) -> Inputs:
    """Inputs (args, kwargs) of the items in ``chosen``: all tensors of length ``items`` are indexed."""
    values, spec = tree_flatten((tuple(args), dict(kwargs)))

    def pick(value: Any) -> Any:
        if not isinstance(value, Tensor) or value.ndim == 0 or value.shape[0] != items:
            return value
        return value[torch.tensor(chosen, device=value.device)]

    return tree_unflatten([pick(value) for value in values], spec)
