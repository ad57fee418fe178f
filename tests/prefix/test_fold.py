"""Which BatchNorms are folded, which are left alone, and that the function stays the same."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from unfreeze.prefix.fold import fold


class OwnForward(nn.Sequential):
    def forward(self, x: Tensor) -> Tensor:
        for module in self:
            x = module(x) * 2
        return x


class OwnOrder(nn.Sequential):
    def __iter__(self):
        yield from reversed(list(self._modules.values()))


class Constructs(nn.Sequential):
    def __init__(self) -> None:
        super().__init__(nn.Conv3d(3, 4, 3, bias=False), nn.BatchNorm3d(4), nn.ReLU())


class Standardised(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        weight = self.weight - self.weight.mean()
        return self._conv_forward(x, weight, self.bias)


class OtherConvolution(nn.Conv3d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return super()._conv_forward(x, weight.abs(), bias)


class OwnNorm(nn.BatchNorm3d):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).abs()


class Called(nn.Module):
    """Runs the layers of a list, in this order; they are registered in an nn.Sequential each."""

    def __init__(self, *chains: nn.Module) -> None:
        super().__init__()
        self.chains = nn.ModuleList(chains)

    def forward(self, x: Tensor) -> Tensor:
        for chain in self.chains:
            x = chain(x)
        return x


def shake(model: nn.Module) -> nn.Module:
    """Statistics and affine parameters as after training, so that a BatchNorm does something."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.running_mean is not None and module.running_var is not None:
                module.running_mean.normal_()
                module.running_var.uniform_(0.2, 3)
            if module.affine:
                nn.init.uniform_(module.weight, -2, 2)
                nn.init.normal_(module.bias)
    return model.eval()


def everything(model: nn.Module) -> dict[str, list[str]]:
    return {"block": [name for name, _ in model.named_modules()]}


def conv(channels: int = 3, **options) -> nn.Conv3d:
    return nn.Conv3d(channels, 4, 3, padding=1, **options)


def norm(**options) -> nn.BatchNorm3d:
    return nn.BatchNorm3d(4, **options)


FOLDED = {
    "without bias": lambda: nn.Sequential(conv(bias=False), norm()),
    "with bias": lambda: nn.Sequential(conv(), norm(), nn.ReLU()),
    "without affine": lambda: nn.Sequential(conv(bias=False), norm(affine=False)),
    "large eps": lambda: nn.Sequential(conv(), norm(eps=0.5)),
    "subclass that constructs": Constructs,
    "stride and groups": lambda: nn.Sequential(nn.Conv3d(3, 6, 3, stride=2, groups=3), nn.BatchNorm3d(6)),
    "reflecting padding": lambda: nn.Sequential(conv(padding_mode="reflect"), norm()),
    "two": lambda: nn.Sequential(conv(), norm(), nn.ReLU(), conv(4), norm()),
    "conv in a chain inside": lambda: nn.Sequential(nn.Sequential(nn.ReLU(), conv()), norm()),
    "norm in a chain inside": lambda: nn.Sequential(conv(), nn.Sequential(norm(), nn.ReLU())),
    "pictures": lambda: nn.Sequential(
        nn.Flatten(1, 2), nn.Unflatten(1, (12,)), nn.Conv2d(12, 4, 3), nn.BatchNorm2d(4)
    ),
    "lines": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.Conv1d(4, 4, 1), nn.SyncBatchNorm(4)
    ),
}


@pytest.mark.parametrize("make", FOLDED.values(), ids=FOLDED)
@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, 1e-13)])
def test_folds_to_the_same_function(make: Callable[[], nn.Module], dtype: torch.dtype, bound: float) -> None:
    torch.manual_seed(0)
    model = shake(make()).to(dtype)
    norms = [n for n, m in model.named_modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    names = [n for n, _ in model.named_modules()]
    x = torch.randn(2, 3, 4, 6, 6, dtype=dtype)
    with torch.no_grad():
        expected = model(x)
        assert fold(model, everything(model)) == norms
        got = model(x)
    assert (got - expected).abs().max() <= bound * expected.abs().max()
    assert [n for n, _ in model.named_modules()] == names
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in model.modules())


def shared_convolution() -> nn.Module:
    shared = conv(4, bias=False)
    return Called(conv(), nn.Sequential(shared, norm()), shared)


def shared_norm() -> nn.Module:
    shared = norm()
    return Called(nn.Sequential(conv(), shared), shared)


def tied_weight() -> nn.Module:
    first, second = conv(4), conv(4)
    second.weight = first.weight
    return Called(conv(), nn.Sequential(first, norm()), second)


def tied_statistics() -> nn.Module:
    first, second = norm(), norm()
    second.running_mean = first.running_mean
    return Called(nn.Sequential(conv(), first), nn.Sequential(nn.ReLU(), second))


def shared_chain() -> nn.Module:
    inner = nn.Sequential(conv(4))
    return Called(conv(), nn.Sequential(inner, norm()), inner)


def hooked(which: str) -> nn.Module:
    model = nn.Sequential(nn.Sequential(conv()), norm())
    model.get_submodule(which).register_forward_hook(lambda module, args, output: output + 1)
    return model


def patched() -> nn.Module:
    model = nn.Sequential(conv(), norm())
    vars(model[0])["forward"] = lambda x: nn.Conv3d.forward(model[0], x).abs()
    return model


def parametrised() -> nn.Module:
    return nn.Sequential(nn.utils.parametrizations.weight_norm(conv()), norm())


def half_statistics() -> nn.Module:
    model = nn.Sequential(conv(), norm())
    model[0].to(torch.bfloat16)
    return model


KEPT = {
    "own forward": lambda: OwnForward(conv(), norm()),
    "own order": lambda: OwnOrder(norm(), conv(), nn.Identity()),
    "convolution with a forward of its own": lambda: nn.Sequential(Standardised(3, 4, 3), norm()),
    "another convolution": lambda: nn.Sequential(OtherConvolution(3, 4, 3), norm()),
    "norm with a forward of its own": lambda: nn.Sequential(conv(), OwnNorm(4)),
    "no running statistics": lambda: nn.Sequential(conv(), norm(track_running_stats=False)),
    "something between": lambda: nn.Sequential(conv(), nn.ReLU(), norm()),
    "norm first": lambda: nn.Sequential(nn.BatchNorm3d(3), conv()),
    "transposed": lambda: nn.Sequential(nn.ConvTranspose3d(3, 4, 3), norm()),
    "no chain": lambda: Called(conv(), norm()),
    "shared convolution": shared_convolution,
    "shared norm": shared_norm,
    "tied weight": tied_weight,
    "tied statistics": tied_statistics,
    "shared chain": shared_chain,
    "hook on the convolution": lambda: hooked("0.0"),
    "hook on the chain inside": lambda: hooked("0"),
    "hook on the norm": lambda: hooked("1"),
    "patched convolution": patched,
    "parametrised weight": parametrised,
}


@pytest.mark.parametrize("make", KEPT.values(), ids=KEPT)
def test_leaves_alone(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    model = shake(make())
    x = torch.randn(2, 3, 4, 6, 6)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        expected = model(x)
        assert fold(model, everything(model)) == []
        assert torch.equal(model(x), expected)
    assert state.keys() == model.state_dict().keys()


def test_statistics_of_another_precision_stay() -> None:
    model = shake(half_statistics())
    assert fold(model, everything(model)) == []


@pytest.mark.parametrize(
    "parts",
    [
        {},
        {"block": ["0"]},
        {"block": ["1"]},
        {"first": ["0"], "second": ["1"]},
    ],
    ids=["nothing frozen", "convolution frozen", "norm frozen", "two parts"],
)
def test_both_must_be_in_one_part(parts: dict[str, list[str]]) -> None:
    model = shake(nn.Sequential(conv(), norm()))
    assert fold(model, parts) == []
    assert isinstance(model[1], nn.BatchNorm3d)
