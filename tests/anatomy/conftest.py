"""Small models and one check that every anatomy must pass."""

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import nn

from unfreeze.anatomy import Anatomy, unwrap


@pytest.fixture
def meta() -> Iterator[None]:
    """Models made inside take no time and no memory: parameters have shapes, not values."""
    with torch.device("meta"):
        yield


@pytest.fixture
def account() -> Callable[[nn.Module, Anatomy], None]:
    """Every parameter, buffer and stateful module in exactly one part, and sizes that add up."""

    def check(model: nn.Module, anatomy: Anatomy) -> None:
        model = unwrap(model)
        for kind, named in (("parameters", model.named_parameters()), ("buffers", model.named_buffers())):
            get = model.get_parameter if kind == "parameters" else model.get_buffer
            placed = [id(get(name)) for part in anatomy.parts for name in getattr(part, kind)]
            assert len(placed) == len(set(placed)), f"{kind} placed twice"
            assert set(placed) == {id(tensor) for _, tensor in named}, f"{kind} left out"
        modules = [name for part in anatomy.parts for name in part.modules]
        assert len(modules) == len(set(modules))
        leaves = {name for name, module in model.named_modules() if name and not list(module.children())}
        assert leaves <= set(modules), f"left out: {leaves - set(modules)}"
        names = [part.name for part in anatomy.parts]
        assert len(names) == len(set(names))
        assert sum(anatomy.sizes(model).values()) == sum(p.numel() for p in model.parameters())
        assert Anatomy.from_dict(anatomy.to_dict()) == anatomy

    return check
