"""The layouts of a model at a boundary, by what its inputs look like; found out once for each.

Only shapes matter for it, so where the model lets one, the forward pass runs on tensors without values (the
``meta`` device), which costs next to nothing.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._pytree import tree_flatten, tree_map_only

from unfreeze.anatomy import Part
from unfreeze.prefix.activations import Activations, Inputs, Layout, batch_length, choose, hollow, returned
from unfreeze.prefix.host import Host
from unfreeze.prefix.trail import CALL, Batch, Stop, Tracer, layout_of, places, replaced


class Layouts:
    """All that are known.

    Args:
        host: the model without wrappers.
        frozen, trainable: the blocks before the boundary; those behind it and the heads.
        values: look at real tensors only.
    """

    def __init__(
        self, host: Host, frozen: Sequence[Part], trainable: Sequence[Part], *, values: bool = False
    ) -> None:
        self._host = host
        self.values = values
        self._frozen, self._trainable = frozen, trainable
        self._of: dict[Hashable, Layout] = {}
        self._all: list[Layout] = []

    def known(self, layout: Layout) -> Layout:
        """The first object that is equal to ``layout``: what is looked up for it is kept by its identity."""
        for known in self._all:
            if known is layout:
                return known
        for known in self._all:
            if known == layout:
                return known
        self._all.append(layout)
        return layout

    def of_inputs(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Layout:
        """Seen in batches of two and three times the first item.

        Raises:
            CutError: the model cannot be cut.
        """
        return self._find(args, kwargs, lambda: self._discover(args, kwargs))

    def of_lower(self, activations: Activations) -> Layout:
        """The same from activations at a lower boundary, seen in the batch and in twice the batch.

        Raises:
            CutError: the model cannot be cut.
        """
        return self._find(activations.args, activations.kwargs, lambda: self._discover_from(activations))

    def _find(self, args: tuple[Any, ...], kwargs: dict[str, Any], discover: Callable[[], Layout]) -> Layout:
        key = _look(args, kwargs)
        if key not in self._of:
            self._of[key] = self.known(discover())
        return self._of[key]

    def _discover(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Layout:
        items = batch_length(args, kwargs)
        first = self._trace(choose(args, kwargs, items, (0, 0)))
        second = self._trace(choose(args, kwargs, items, (0, 0, 0)), length=len(first.trail))
        return self._common(Batch(2, first.trail), Batch(3, second.trail))

    def _discover_from(self, activations: Activations) -> Layout:
        batches: list[Batch] = []
        for each in (activations, twice(activations)):
            layout, rows, items = each.layout, each.rows, each.items
            device = each.leaves[0].device
            blanks = [answer.blanks(rows, items, device) for answer in layout.trail[:-1]]
            values = returned(layout, blanks, each.leaves, items)
            at = places([answer.module for answer in layout.trail])
            given = {name: [values[position] for position in its] for name, its in at.items()}
            length = len(batches[0].trail) if batches else None
            tracer = self._trace((each.args, each.kwargs), given, length)
            batches.append(Batch(items, tracer.trail))
        return self._common(*batches)

    def _common(self, one: Batch, other: Batch) -> Layout:
        return layout_of(len(self._frozen), self._frozen[-1].name, one, other)

    def _trace(
        self, inputs: Inputs, given: Mapping[str, Sequence[Any]] | None = None, length: int | None = None
    ) -> Tracer:
        if not self.values and not any(torch.is_autocast_enabled(kind) for kind in ("cpu", "cuda")):
            # what goes wrong without values may go well with them, and is said then if it does not
            with suppress(Exception), torch.no_grad():
                moved = functools.partial(tree_map_only, Tensor, _without_values)
                shapes = None if given is None else {name: moved(list(its)) for name, its in given.items()}
                return self._traced(moved(inputs), shapes, length, _by_shapes)
        return self._traced(inputs, given, length, _with_values)

    def _traced(
        self,
        inputs: Inputs,
        given: Mapping[str, Sequence[Any]] | None,
        length: int | None,
        call: Callable[..., object],
    ) -> Tracer:
        host = self._host
        tracer = Tracer(host.model, self._frozen, self._trainable, given or {}, length)
        with suppress(Stop), host.still(), host.uncompiled(), replaced(CALL, tracer.calls):
            call(host.model, inputs)
        if length is None:
            tracer.check(host.model, self._frozen)
        return tracer


def _with_values(model: nn.Module, inputs: Inputs) -> None:
    model(*inputs[0], **inputs[1])


def _by_shapes(model: nn.Module, inputs: Inputs) -> None:
    named = (*model.named_parameters(), *model.named_buffers())
    functional_call(model, {name: _without_values(tensor) for name, tensor in named}, *inputs)


def _without_values(tensor: Tensor) -> Tensor:
    """Masks keep theirs: models ask for them."""
    return tensor.to("meta") if tensor.is_floating_point() or tensor.is_complex() else tensor


def twice(activations: Activations) -> Activations:
    """The batch followed by itself."""
    items = activations.items
    args, kwargs = hollow(*choose(activations.args, activations.kwargs, items, [*range(items)] * 2))
    leaves = tuple(
        leaf.lay(torch.cat([rows, rows]))
        for leaf, rows in zip(activations.layout.leaves, activations.leaves, strict=True)
    )
    return Activations(leaves, activations.layout, args, kwargs, 2 * items)


def _look(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Hashable:
    """What decides about the layout: shapes without the batch, dtypes, switches, autocast."""
    values, spec = tree_flatten((args, kwargs))
    looks = tuple(
        (value.shape[1:], value.dtype)
        if isinstance(value, Tensor)
        else value
        if isinstance(value, (bool, int, str, type(None)))
        else type(value)
        for value in values
    )
    device = next((value.device.type for value in values if isinstance(value, Tensor)), "cpu")
    cast = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else None
    return looks, spec, cast
