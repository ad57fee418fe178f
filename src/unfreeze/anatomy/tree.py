"""A model's module tree, looked up once: names, sizes, and the atoms that have to be placed."""

from __future__ import annotations

from collections.abc import Iterator

from torch import nn
from torch.nn.parameter import is_lazy

from unfreeze.anatomy.unwrap import inner_attribute, peel


def join(prefix: str, name: str) -> str:
    return f"{prefix}.{name}" if prefix else name


def is_below(name: str, root: str) -> bool:
    """Whether ``name`` is ``root`` or below it; everything is below the model itself (``""``)."""
    return not root or name == root or name.startswith(root + ".")


class Tree:
    """The modules of an unwrapped model by qualified name, in registration order; shared ones under their
    first name.

    Raises:
        ValueError: a parameter or buffer is not initialised yet (lazy modules).
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.modules: dict[str, nn.Module] = dict(model.named_modules())
        self._first = {id(module): name for name, module in self.modules.items()}
        for name, tensor in [*model.named_parameters(), *model.named_buffers()]:
            if is_lazy(tensor):
                raise ValueError(
                    f"{name} is not initialised yet: run one batch through the model before dissecting it"
                )
        self._sizes: dict[str, int] = dict.fromkeys(self.modules, 0)
        for name, parameter in model.named_parameters():
            for ancestor in ancestors(name):
                if ancestor in self._sizes:
                    self._sizes[ancestor] += parameter.numel()

    def canonical(self, module: nn.Module) -> str | None:
        """The first name of a module, or None where it is not part of the model."""
        return self._first.get(id(module))

    def parameters(self, name: str) -> int:
        """Parameters (elements) at and below a module."""
        return self._sizes[name]

    def children(self, name: str) -> Iterator[tuple[str, nn.Module]]:
        """Child modules under their first names; a module shared with an earlier place is not repeated."""
        for key, child in self.modules[name].named_children():
            if self._first[id(child)] == join(name, key):
                yield join(name, key), child

    def peeled(self, name: str) -> tuple[str, nn.Module]:
        return peel(name, self.modules[name])

    def is_atom(self, name: str) -> bool:
        """Whether a module is the smallest thing to place: a leaf, or the owner of parameters or buffers."""
        module = self.modules[name]
        owns = next(module.parameters(recurse=False), None) is not None
        owns = owns or next(module.buffers(recurse=False), None) is not None
        return owns or next(module.children(), None) is None

    def owns_state(self, name: str) -> bool:
        """Whether there is any parameter or buffer at or below a module."""
        module = self.modules[name]
        return next(module.parameters(), None) is not None or next(module.buffers(), None) is not None

    def plain_name(self, name: str) -> str:
        """A qualified name without the wrappers of inner modules: ``backbone._orig_mod.stem`` ->
        ``backbone.stem``.
        """
        kept: list[str] = []
        path = ""
        for key in name.split("."):
            parent = self.modules.get(path)
            if parent is None or inner_attribute(parent) != key:
                kept.append(key)
            path = join(path, key)
        return ".".join(kept)


def ancestors(name: str) -> Iterator[str]:
    """The modules above a qualified name, nearest first, ending with the model itself (``""``)."""
    while name:
        name = name.rpartition(".")[0]
        yield name
