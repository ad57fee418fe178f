"""Models of all shapes, small: what is asked, what is folded, and what is an error."""

from collections import OrderedDict
from collections.abc import Callable

import pytest
import torch
import torchvision
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from unfreeze.anatomy import Anatomy, dissect

Account = Callable[[nn.Module, Anatomy], None]


class Block(nn.Module):
    """A residual block."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.one, self.norm, self.two = (
            nn.Linear(width, width),
            nn.BatchNorm1d(width),
            nn.Linear(width, width),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.two(self.norm(self.one(x)).relu())


class Net(nn.Module):
    """Stem, blocks, norm and head; the blocks are registered in one order and run in another."""

    def __init__(self, order: tuple[int, ...] = (0, 1, 2)) -> None:
        super().__init__()
        self.order = order
        self.embed = nn.Linear(4, 4)
        self.blocks = nn.ModuleList(Block() for _ in order)
        self.norm = nn.LayerNorm(4)
        self.drop = nn.Dropout(0.5)
        self.head = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.embed(x)
        for index in self.order:
            x = self.blocks[index](x)
        return self.head(self.drop(self.norm(x)))


def blocks(anatomy: Anatomy) -> list[str]:
    return [block.name for block in anatomy.blocks]


def heads(anatomy: Anatomy) -> list[str]:
    return [head.name for head in anatomy.heads]


# structure


def test_blocks_norm_and_dropout(account: Account) -> None:
    anatomy = dissect(Net())
    assert blocks(anatomy) == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    assert anatomy.blocks[-1].roots == ("blocks.2", "norm")
    assert anatomy.heads[0].roots == (
        "drop",
        "head",
    )  # the head's dropout stays active while all else is frozen
    account(Net(), anatomy)


def test_plain_sequential(account: Account) -> None:
    model = nn.Sequential(
        nn.Conv1d(3, 8, 3),
        nn.BatchNorm1d(8),
        nn.ReLU(),
        nn.Conv1d(8, 8, 3),
        nn.Dropout(),
        nn.Flatten(),
        nn.Linear(8, 2),
    )
    anatomy = dissect(model)
    assert blocks(anatomy) == ["0", "3"]
    assert anatomy.blocks[0].modules == ("0", "1", "2")
    assert anatomy.heads == (anatomy.part("6"),)
    account(model, anatomy)


def test_stages_with_a_step_between(account: Account) -> None:
    model = nn.Sequential(
        OrderedDict(
            stem=nn.Linear(4, 4),
            stage1=nn.Sequential(Block(), Block()),
            down=nn.Linear(4, 4),
            stage2=nn.Sequential(Block(), Block()),
            fc=nn.Linear(4, 2),
        )
    )
    anatomy = dissect(model)
    assert blocks(anatomy) == ["stem", "stage1.0", "stage1.1", "stage2.0", "stage2.1"]
    assert anatomy.part("stage2.0").roots == ("down", "stage2.0")
    account(model, anatomy)


def test_stages_of_own_classes_and_a_head_block(account: Account) -> None:
    """The layout of pytorchvideo's networks: one list of stem, stages and head."""

    class Stage(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.res_blocks = nn.ModuleList([Block(), Block()])

    class Head(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.pool, self.dropout, self.proj = nn.AdaptiveAvgPool1d(1), nn.Dropout(), nn.Linear(4, 2)

    model = nn.Module()
    model.blocks = nn.ModuleList(
        [nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)), Stage(), Stage(), Head()]
    )
    anatomy = dissect(model)
    assert blocks(anatomy) == ["stem", *(f"blocks.{i}.res_blocks.{j}" for i in (1, 2) for j in (0, 1))]
    assert heads(anatomy) == ["blocks.3"]
    account(model, anatomy)


def test_inception_and_squeeze_blocks_stay_whole() -> None:
    class Conv(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv1d(4, 4, 1), nn.BatchNorm1d(4)

    class Inception(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.left, self.right = Conv(), nn.Sequential(Conv(), Conv())

    model = nn.Module()
    model.a, model.b, model.fc = Inception(), Inception(), nn.Linear(4, 2)
    assert blocks(dissect(model)) == ["a", "b"]


@pytest.mark.parametrize("wrapped", [Net(), nn.Sequential(Net().blocks[0], Block(), Block())])
def test_a_new_head_behind_a_wrapped_model(wrapped: nn.Module, account: Account) -> None:
    model = nn.Sequential(OrderedDict(backbone=wrapped, new=nn.Linear(3, 2)))
    anatomy = dissect(model)
    assert heads(anatomy) == ["new"]
    account(model, anatomy)


@pytest.mark.usefixtures("meta")
def test_a_declared_classifier_inside_a_larger_model_is_no_head(account: Account) -> None:
    model = nn.Sequential(torchvision.models.get_model("r3d_18", weights=None), nn.Linear(400, 6))
    anatomy = dissect(model)
    assert heads(anatomy) == ["1"]
    assert blocks(anatomy)[-2:] == ["layer4.1", "fc"]
    account(model, anatomy)


def test_parallel_heads(account: Account) -> None:
    model = Net()
    model.second = nn.Linear(4, 7)
    anatomy = dissect(model)
    assert heads(anatomy) == ["head", "second"]
    account(model, anatomy)


def test_layers_in_a_row_are_no_parallel_heads() -> None:
    model = nn.Module()
    model.one, model.two, model.three = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2)
    anatomy = dissect(model)
    assert blocks(anatomy) == ["one", "two"]
    assert heads(anatomy) == ["three"]


def test_a_small_list_inside_a_block_does_not_open_it() -> None:
    class Adapted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.large, self.adapters = nn.Linear(20, 20), nn.ModuleList([Block(), Block()])

    model = nn.Module()
    model.a, model.b, model.fc = Adapted(), Adapted(), nn.Linear(20, 2)
    assert blocks(dissect(model)) == ["a", "b"]


def test_a_parametrized_head(account: Account) -> None:
    model = Net()
    nn.utils.parametrizations.weight_norm(model.head)
    anatomy = dissect(model)
    assert heads(anatomy) == ["head"]
    assert anatomy.sizes(model)["head"] == 3 * 4 + 3 + 3
    account(model, anatomy)


def test_heads_in_a_module_dict(account: Account) -> None:
    model = nn.Module()
    model.backbone = Net()
    model.backbone.head = nn.Identity()
    model.heads = nn.ModuleDict({"motion": nn.Linear(4, 2), "object": nn.Linear(4, 3)})
    anatomy = dissect(model)
    assert heads(anatomy) == ["heads.motion", "heads.object"]
    assert blocks(anatomy) == ["stem", "blocks.0", "blocks.1", "blocks.2"]
    account(model, anatomy)


# root-owned, tied, shared, parameterless


def test_root_parameters_go_to_the_stem_and_a_containers_to_its_first_block(account: Account) -> None:
    model = Net()
    model.cls_token = nn.Parameter(torch.zeros(4))
    model.register_buffer("steps", torch.zeros(1), persistent=False)
    model.blocks.pos_embed = nn.Parameter(torch.zeros(4))
    anatomy = dissect(model)
    assert anatomy.blocks[0].parameters == ("cls_token", "embed.weight", "embed.bias", "blocks.pos_embed")
    assert anatomy.blocks[0].buffers == ("steps",)
    account(model, anatomy)

    staged = nn.Sequential(
        nn.Linear(4, 4), nn.Sequential(Block(), Block()), nn.Sequential(Block(), Block()), nn.Linear(4, 2)
    )
    staged[2].scale = nn.Parameter(torch.ones(1))
    anatomy = dissect(staged)
    assert "2.scale" in anatomy.part("2.0").parameters
    account(staged, anatomy)


def test_tied_parameters_belong_nearest_the_input(account: Account) -> None:
    model = Net()
    model.blocks[2].one.weight = model.blocks[0].one.weight
    model.head = nn.Linear(4, 4)
    model.head.weight = model.embed.weight
    anatomy = dissect(model)
    assert "embed.weight" in anatomy.part("stem").parameters
    assert "head.weight" not in anatomy.part("head").parameters
    assert "blocks.0.one.weight" in anatomy.part("blocks.0").parameters
    assert "blocks.2.one.weight" not in anatomy.part("blocks.2").parameters
    account(model, anatomy)


def test_tied_parameters_follow_the_order_of_blocks_not_of_registration(account: Account) -> None:
    model = Net(order=(2, 1, 0))
    model.blocks[2].one.weight = model.blocks[0].one.weight
    anatomy = dissect(model, example=torch.zeros(2, 4))
    assert "blocks.2.one.weight" in anatomy.part("blocks.2").parameters
    assert "blocks.0.one.weight" not in anatomy.part("blocks.0").parameters
    account(model, anatomy)


def test_a_shared_module_is_in_one_part(account: Account) -> None:
    model = Net()
    model.blocks[2] = model.blocks[0]
    anatomy = dissect(model)
    assert blocks(anatomy) == ["stem", "blocks.0", "blocks.1"]
    account(model, anatomy)


def test_blocks_without_parameters_are_folded_but_kept_where_the_caller_names_them(account: Account) -> None:
    model = Net()
    model.blocks[1] = nn.Identity()
    assert dissect(model).part("blocks.0").roots == ("blocks.0", "blocks.1")
    named = dissect(model, blocks=["embed", "blocks.?"])
    assert blocks(named) == ["embed", "blocks.0", "blocks.1", "blocks.2"]
    assert named.sizes(model)["blocks.1"] == 0
    account(model, named)


@given(st.lists(st.sampled_from(["block", "linear", "norm", "relu", "dropout", "identity"]), max_size=8))
@settings(max_examples=60, deadline=None)
def test_nothing_is_left_out_of_any_sequence(kinds: list[str]) -> None:
    make = {
        "block": Block,
        "linear": lambda: nn.Linear(4, 4),
        "norm": lambda: nn.BatchNorm1d(4),
        "relu": nn.ReLU,
        "dropout": nn.Dropout,
        "identity": nn.Identity,
    }
    model = nn.Sequential(nn.Linear(4, 4), *(make[kind]() for kind in kinds), nn.Linear(4, 2))
    anatomy = dissect(model)
    assert {name for part in anatomy.parts for name in part.modules} == {
        n for n, _ in model.named_modules() if n
    }
    assert sum(anatomy.sizes(model).values()) == sum(p.numel() for p in model.parameters())
    starts = [int(block.roots[0]) for block in anatomy.blocks]
    assert starts == sorted(starts)


# execution order


def test_blocks_follow_execution(account: Account) -> None:
    model = Net(order=(2, 0, 1))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    model.blocks[1].eval()
    anatomy = dissect(model, example=torch.randn(5, 4))
    assert blocks(anatomy) == ["stem", "blocks.2", "blocks.0", "blocks.1"]
    assert anatomy.blocks[-1].roots == ("blocks.1", "norm")
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    assert not model.blocks[1].training
    assert not model.blocks[1].norm.training
    assert not model.embed._forward_pre_hooks
    account(model, anatomy)


@pytest.mark.parametrize("example", [torch.zeros(2, 4), (torch.zeros(2, 4),), {"x": torch.zeros(2, 4)}])
def test_forms_of_the_example(example: object) -> None:
    assert blocks(dissect(Net((1, 0)), example=example)) == ["stem", "blocks.1", "blocks.0"]


def test_a_block_that_never_runs_is_named() -> None:
    model = Net()
    model.order = (0, 2)
    with pytest.raises(ValueError, match=r"blocks\.1 never runs on the example"):
        dissect(model, example=torch.zeros(2, 4))


def test_the_last_classifier_is_the_last_to_run() -> None:
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.classify = nn.Linear(4, 2)
            self.body = nn.Sequential(Block(), Block())

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.classify(self.body(x))

    assert heads(dissect(Backwards(), example=torch.zeros(2, 4))) == ["classify"]


# the caller's patterns


def test_patterns_name_and_order_blocks(account: Account) -> None:
    model = Net()
    anatomy = dissect(model, heads=["head"], blocks=["embed", "blocks.2", "blocks.[01]"])
    assert blocks(anatomy) == ["embed", "blocks.2", "blocks.0", "blocks.1"]
    assert "norm" in anatomy.part("blocks.2").modules  # registered behind it
    assert heads(anatomy) == ["head"]
    account(model, anatomy)


def test_heads_alone(account: Account) -> None:
    model = Net()
    anatomy = dissect(model, heads=["blocks.2", "norm", "head"])
    assert heads(anatomy) == ["blocks.2", "norm", "head"]
    assert blocks(anatomy) == ["stem", "blocks.0", "blocks.1"]
    account(model, anatomy)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"heads": ["haed"]}, r"heads: no module is called 'haed'; did you mean 'head'\?"),
        ({"blocks": ["embed", "blocks.7"]}, r"blocks: no module is called 'blocks.7'; did you mean 'blocks"),
        ({"blocks": ["embed", "blocks.*", "blocks.1"]}, r"'blocks.1' takes blocks.1, which 'blocks.\*' has"),
        ({"blocks": ["blocks.*"]}, r"no pattern covers embed, which own parameters: add them to blocks=\["),
        ({"blocks": "blocks.*"}, r"blocks is a list of names or globs, not the string"),
        ({"blocks": ["*"], "heads": ["head"]}, r"blocks: head overlaps the head head"),
        ({"heads": ["*"]}, r"found no block"),
    ],
)
def test_patterns_that_do_not_fit(arguments: dict[str, list[str]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dissect(Net(), **arguments)


# what cannot be dissected


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (
            nn.Sequential(nn.LazyLinear(3), nn.Linear(3, 2)),
            r"0\.weight is not initialised yet: run one batch",
        ),
        (
            nn.Sequential(Block(), Block()),
            r"found no head: the model ends in 1, one of 2 like blocks.*heads=",
        ),
        (nn.Linear(3, 2), r"found no linear layer or convolution"),
        (nn.Sequential(nn.ReLU()), r"found no linear layer or convolution.*heads="),
        (nn.Sequential(nn.ReLU(), nn.Linear(2, 2)), r"found no block"),
    ],
)
def test_models_without_an_anatomy(model: nn.Module, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dissect(model)


def test_an_unknown_part_and_another_model() -> None:
    anatomy = dissect(Net())
    with pytest.raises(ValueError, match=r"'blocks.11'; did you mean 'blocks.1'\?"):
        anatomy.part("blocks.11")
    with pytest.raises(ValueError, match="another model"):
        anatomy.sizes(nn.Linear(2, 2))
