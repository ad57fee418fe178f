"""``FrozenPrefix``: a model in two halves, without editing it."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from unfreeze.anatomy import Anatomy, dissect, unwrap
from unfreeze.prefix.activations import (
    Activations,
    CutError,
    Layout,
    batch_length,
    choose,
    hollow,
    returned,
    take,
)
from unfreeze.prefix.host import Alone, Host, Prefix, Suffix
from unfreeze.prefix.layouts import Layouts, twice
from unfreeze.prefix.proof import agree, prove
from unfreeze.prefix.trail import CALL, replaced

_KEPT = 8  # batches of so many different lengths have their placeholders kept


class FrozenPrefix:
    """The frozen blocks of a model as a function of the clips alone, and the rest of the model as another.

        prefix = FrozenPrefix(model, boundary=5)
        activations = prefix.encode(clips)     # the frozen blocks, once
        logits = prefix.decode(activations)    # the others, as often as needed

    ``decode(encode(clips))`` is ``model(clips)``, bit for bit. The model's forward pass is not rewritten: it
    is left when the last frozen module returns (encode), or runs as ever while frozen modules return
    placeholders, and the last one the activation (decode).

    What the activation of a row is does not depend on the rest of its batch, so rows may be kept and put
    together in any way. Make a new object when the boundary moves, or modules are exchanged or compiled; use
    one from a single thread.

    Args:
        model: also inside DataParallel, DistributedDataParallel or ``torch.compile``. ``decode`` goes through
            these wrappers, but for a DataParallel over several devices: it does not know which rows go with
            which part of the batch, so everything runs on the first.
        anatomy: the model's heads and blocks; ``dissect(model)`` where not given.
        boundary: the number of leading blocks that are frozen, from 1 to all.
        runner: a copy of the unwrapped model whose frozen blocks ``encode`` and ``advance`` run instead.

    Attributes:
        boundary: as given.
        block: the name of the last frozen block.

    Raises:
        ValueError: a boundary outside its range, or a model that cannot be dissected.
    """

    def __init__(
        self,
        model: nn.Module,
        anatomy: Anatomy | None = None,
        boundary: int = 1,
        *,
        runner: nn.Module | None = None,
    ) -> None:
        anatomy = dissect(model) if anatomy is None else anatomy
        if not 1 <= boundary <= len(anatomy.blocks):
            raise ValueError(f"a boundary is between 1 and {len(anatomy.blocks)} blocks, not {boundary}")
        self.boundary = boundary
        self._anatomy = anatomy
        self.block = anatomy.blocks[boundary - 1].name
        self._frozen = anatomy.blocks[:boundary]
        self._trainable = (*anatomy.blocks[boundary:], *anatomy.heads)
        inner = unwrap(model)
        self._outer = Host(inner if _splits(model) else model, inner)
        self._plain = Host(self._outer.model, self._outer.model)
        self._runner = self._plain if runner is None else Host(runner, runner)
        self._layouts = Layouts(self._plain, self._frozen, self._trainable)
        self._prefixes: dict[tuple[int, int], Prefix] = {}
        self._suffixes: dict[int, Suffix] = {}
        self._blanks: dict[tuple[Any, ...], list[list[Tensor]]] = {}  # by layout, rows, items and device
        self._spared: dict[bool, bool] = {}  # training mode -> whether the suffix only reads the activation
        self._eager = False

    # --- the frozen part ---

    def encode(self, *args: Any, **kwargs: Any) -> Activations:
        """Run the frozen blocks on a batch: without gradients, in evaluation mode.

        A single row is run together with a copy of itself: batches of one take other kernels, and a row must
        not depend on how many others came with it. (Of two rows on, its bits are the same on a CPU.) The
        first batch of a new shape is looked at more closely, at the cost of a forward pass of two items.

        Args:
            args, kwargs: as for the model; tensors may lie in tuples, lists and dicts.

        Raises:
            CutError: the model cannot be cut here.
            ValueError: there is no tensor among the inputs.
        """
        items = batch_length(args, kwargs)
        with self._runner.still():
            layout = self._layouts.of_inputs(args, kwargs)
            prefix = self._prefix(layout)
            try:
                leaves = take(layout, prefix.run(args, kwargs, watch=items == 1), items)
            except Alone:
                pair = choose(args, kwargs, 1, (0, 0))
                leaves = tuple(leaf[:1] for leaf in take(layout, prefix.run(*pair), 2))
        hollow_args, hollow_kwargs = hollow(args, kwargs)
        return Activations(leaves, layout, hollow_args, hollow_kwargs, items)

    def advance(self, activations: Activations) -> Activations:
        """Run the blocks between a lower boundary of the same model and this one, as ``encode`` would.

        Raises:
            CutError: the model cannot be cut here.
            ValueError: the activations are of a higher boundary.
        """
        lower = activations.layout
        if lower.boundary == self.boundary:
            return activations
        if lower.boundary > self.boundary:
            raise ValueError(
                f"activations of boundary {lower.boundary} are behind {self.block}, which is {self.boundary}"
            )
        alone = activations.rows == 1
        run = twice(activations) if alone else activations
        with self._runner.still():
            layout = self._layouts.of_lower(run)
            prefix = self._prefix(layout, self._layouts.known(lower))
            value = prefix.run(run.args, run.kwargs, self._answers(run, run.leaves))
            leaves = take(layout, value, run.items)
        if alone:
            leaves = tuple(leaf[:1] for leaf in leaves)
        return Activations(leaves, layout, activations.args, activations.kwargs, activations.items)

    # --- the rest ---

    def decode(self, activations: Activations) -> Any:
        """The model's output from the activations on: gradients, modes and autocast as the caller has them.

        Raises:
            ValueError: the activations are of another boundary.
        """
        layout = activations.layout
        if layout.boundary != self.boundary:
            raise ValueError(
                f"activations of boundary {layout.boundary} cannot be decoded at {self.boundary}: "
                "advance() brings lower ones here"
            )
        training = self._plain.model.training
        spared = self._spared.get(training, False)  # not before it has been seen
        # what was made in inference mode cannot be saved for the backward pass either
        leaves = tuple(
            leaf if spared and not leaf.is_inference() else leaf.clone() for leaf in activations.leaves
        )
        versions = [_version(leaf) for leaf in leaves]
        output = self._go_on(activations, self._answers(activations, leaves))
        written = [_version(leaf) for leaf in leaves] != versions
        if written and spared:
            raise RuntimeError(f"the layers behind {self.block} have overwritten the activations")
        if not any(leaf.is_inference() for leaf in leaves):
            self._spared.setdefault(training, not written)
        return output

    def _go_on(self, activations: Activations, values: Sequence[Any]) -> Any:
        suffix = self._suffix(self._layouts.known(activations.layout))
        if suffix.compiled and not self._eager:
            try:
                return suffix.run(activations.args, activations.kwargs, values)
            except Exception as error:
                if not type(error).__module__.startswith("torch._dynamo"):
                    raise
                self._eager = True
                warnings.warn(
                    f"what follows {self.block} runs uncompiled, as torch.compile fails on it: "
                    f"{str(error).strip().splitlines()[0]}",
                    RuntimeWarning,
                    stacklevel=3,
                )
        with replaced(CALL, suffix.compiled):
            return suffix.run(activations.args, activations.kwargs, values)

    def activations(self, layout: Layout, leaves: Sequence[Tensor], *args: Any, **kwargs: Any) -> Activations:
        """Activations from rows that were kept.

        Args:
            layout: of the activations that the rows were taken from.
            leaves: (rows, …) each; brought into the layout's dtype and memory order where they differ.
            args, kwargs: as for the model; of floating tensors only the shapes matter, so that
                ``placeholder(shape)`` will do.

        Raises:
            ValueError: rows of another shape, or not equally many of all leaves.
        """
        laid = tuple(leaf.lay(rows) for leaf, rows in zip(layout.leaves, leaves, strict=True))
        if len({rows.shape[0] for rows in laid}) != 1:
            raise ValueError(f"not equally many rows: {', '.join(str(rows.shape[0]) for rows in laid)}")
        hollow_args, hollow_kwargs = hollow(args, kwargs)
        return Activations(laid, layout, hollow_args, hollow_kwargs, batch_length(args, kwargs))

    # --- the proof ---

    def prove(self, *args: Any, **kwargs: Any) -> Layout:
        """See that the model can be cut here, on a batch of at least two items; nothing of it changes.

        In evaluation mode ``decode(encode(x))`` must equal ``model(x)`` bit for bit, also with NaN in all
        placeholders and for a batch of another length; so must the gradients of all that trains. What the
        frozen blocks make of a clip must not depend on the others. It is the cut that is proven, so compiled
        modules run uncompiled, and ``runner`` is not used.

        Returns:
            What all activations of such inputs have in common.

        Raises:
            CutError: the model cannot be cut here; one line says which block and why.
            ValueError: fewer than two items.
        """
        return self._prove(args, kwargs, lengths=True).layout

    def check(self, *args: Any, **kwargs: Any) -> Activations:
        """The part of ``prove`` that is about this batch alone: outputs and gradients, at less than half the
        cost.

        Returns:
            What the model's own blocks make of the batch.

        Raises:
            CutError, ValueError: as ``prove``.
        """
        return self._prove(args, kwargs, lengths=False)

    def check_from(self, activations: Activations) -> Activations:
        """The same at this boundary, against the model from a lower boundary on, where it has been checked.

        Args:
            activations: of the lower boundary, of at least two items.

        Returns:
            What the model's own blocks make of them.

        Raises:
            CutError: as ``prove``.
        """
        here = self.advance(activations)
        lower = FrozenPrefix(self._plain.model, self._anatomy, activations.layout.boundary)
        agree(
            self._plain,
            self._trainable,
            self.block,
            lambda: lower.decode(activations),
            lambda: self.decode(here),
        )
        return here

    def _prove(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, lengths: bool) -> Activations:
        items = batch_length(args, kwargs)
        if items < 2:
            raise ValueError(f"a proof needs at least 2 items, not {items}: which dimension counts them?")
        try:
            layout, leaves = prove(
                self._plain,
                self._frozen,
                self._trainable,
                lambda: self._layouts.of_inputs(args, kwargs),
                (args, kwargs),
                lengths=lengths,
            )
        except CutError:
            if self._layouts.values:
                raise
            # kernels without values may have claimed another memory order than the real ones leave
            self._layouts = Layouts(self._plain, self._frozen, self._trainable, values=True)
            return self._prove(args, kwargs, lengths=lengths)
        hollow_args, hollow_kwargs = hollow(args, kwargs)
        return Activations(leaves, layout, hollow_args, hollow_kwargs, items)

    # --- what is looked up once ---

    def _prefix(self, layout: Layout, lower: Layout | None = None) -> Prefix:
        key = (id(layout), id(lower))
        if key not in self._prefixes:
            self._prefixes[key] = Prefix(self._runner, layout, lower)
        return self._prefixes[key]

    def _suffix(self, layout: Layout) -> Suffix:
        key = id(layout)
        if key not in self._suffixes:
            self._suffixes[key] = Suffix(self._outer, layout, self.block)
        return self._suffixes[key]

    def _answers(self, activations: Activations, leaves: Sequence[Tensor]) -> list[Any]:
        """What the calls of the trail return: placeholders, which are kept, and at last the activation."""
        layout = self._layouts.known(activations.layout)
        rows, items = activations.rows, activations.items
        key = (id(layout), rows, items, leaves[0].device)
        if key not in self._blanks:
            if len(self._blanks) >= _KEPT:
                self._blanks.pop(next(iter(self._blanks)))
            self._blanks[key] = [answer.blanks(rows, items, leaves[0].device) for answer in layout.trail[:-1]]
        return returned(layout, self._blanks[key], leaves, items)


def _splits(model: nn.Module) -> bool:
    """Whether a DataParallel would deal the batch out to several devices."""
    return any(len(getattr(module, "device_ids", None) or ()) > 1 for module in model.modules())


def _version(tensor: Tensor) -> int:
    """How often a tensor has been written to."""
    return 0 if tensor.is_inference() else tensor._version
