"""Weights from files and from torchvision: what fits, and one line for what does not."""

import urllib.error
from collections.abc import Callable
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from unfreeze.models import build_model
from unfreeze.models.registry import BACKBONES

TASKS = {"motion": [*"abcdef"], "object": [*"vwxyz"]}
SAID = ["replaced the classifier fc (400 classes) by heads motion (6), object (5)"]


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    torch.manual_seed(3)
    network = BACKBONES["r3d_micro"].build()
    return {
        key: torch.rand_like(t) if t.is_floating_point() else t + 7 for key, t in network.state_dict().items()
    }


def load(weights: str | Path, name: str = "r3d_micro") -> tuple[dict[str, Tensor], list[str]]:
    said: list[str] = []
    model = build_model(name, TASKS, weights=weights, log=said.append)
    return model.backbone.state_dict(), said


def assert_same(found: dict[str, Tensor], state: dict[str, Tensor]) -> None:
    assert found.keys() == {key for key in state if not key.startswith("fc.")}
    assert all(torch.equal(found[key], state[key]) for key in found)


def write(path: Path, content: Any) -> Path:
    save_file(content, path) if path.suffix == ".safetensors" else torch.save(content, path)
    return path


def prefixed(prefix: str) -> Callable[[dict[str, Tensor]], Any]:
    return lambda state: {prefix + key: tensor for key, tensor in state.items()}


@pytest.mark.parametrize("suffix", [".pth", ".pt", ".safetensors"])
def test_a_state_dict(suffix: str, state: dict[str, Tensor], tmp_path: Path) -> None:
    found, said = load(write(tmp_path / f"w{suffix}", state))
    assert_same(found, state)
    assert said == SAID


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"state_dict": state, "epoch": 3},
        lambda state: {"model": state, "optimizer": {}},
        lambda state: {"model": {"state_dict": prefixed("module.")(state)}},
        prefixed("module."),
        prefixed("_orig_mod."),
        prefixed("module._orig_mod."),
        prefixed("_orig_mod.module."),
        prefixed("model.module."),
        lambda state: {key.replace("layer4.1.", "layer4.1._orig_mod."): t for key, t in state.items()},
    ],
)
def test_wrappers_of_training_programs(wrap: Any, state: dict[str, Tensor], tmp_path: Path) -> None:
    found, said = load(write(tmp_path / "w.pth", wrap(state)))
    assert_same(found, state)
    assert said == SAID


def test_half_precision_is_widened(state: dict[str, Tensor], tmp_path: Path) -> None:
    half = {key: t.half() if t.is_floating_point() else t for key, t in state.items()}
    found, _ = load(write(tmp_path / "w.safetensors", half))
    assert_same(found, {key: t.float() if t.is_floating_point() else t for key, t in half.items()})
    assert found["stem.0.weight"].dtype == torch.float32


def test_without_a_classifier_and_without_batch_counters(state: dict[str, Tensor], tmp_path: Path) -> None:
    old = {
        k: t for k, t in state.items() if not k.startswith("fc.") and not k.endswith("num_batches_tracked")
    }
    found, said = load(write(tmp_path / "w.pth", old))
    assert torch.equal(found["layer4.1.conv1.0.weight"], state["layer4.1.conv1.0.weight"])
    assert found["stem.1.num_batches_tracked"] == 0
    assert said == ["added heads motion (6), object (5)"]


def test_a_checkpoint_of_ours(tmp_path: Path) -> None:
    trained = build_model("r3d_micro", {"kind": ["x", "y"]}, weights="none")
    described = {
        "name": "r3d_micro",
        "tasks": {"kind": ["x", "y"]},
        "preprocessing": {**trained.preprocessing.to_dict(), "frames": 4},
        "state": trained.state_dict(),
    }
    path = write(tmp_path / "best.pt", {"format": 1, "model": described})
    said: list[str] = []
    model = build_model("r3d_micro", TASKS, weights=path, log=said.append)
    assert_same(model.backbone.state_dict(), trained.backbone.state_dict())
    assert model.preprocessing.frames == 4
    assert said == ["replaced the heads kind (2) by heads motion (6), object (5)"]
    with pytest.raises(ValueError, match=r"best\.pt is a checkpoint of r3d_micro, not of mvit_micro"):
        load(path, "mvit_micro")


def test_a_checkpoint_of_ours_with_an_aggregator(tmp_path: Path) -> None:
    """Its backbone goes on; heads and aggregator are made anew."""
    trained = build_model("r3d_micro", {"kind": ["x", "y"]}, weights="none", views="attention")
    described = {
        "name": "r3d_micro",
        "tasks": {"kind": ["x", "y"]},
        "preprocessing": trained.preprocessing.to_dict(),
        "state": trained.state_dict(),
    }
    path = write(tmp_path / "best.pt", {"format": 1, "model": described})
    found, said = load(path)
    assert_same(found, trained.backbone.state_dict())
    assert said == ["replaced the heads kind (2) by heads motion (6), object (5)"]


def test_dropout_may_be_overruled() -> None:
    own = build_model("mvit_v2_s", TASKS, weights="none").dropout.p
    assert own == 0.5
    assert build_model("mvit_v2_s", TASKS, weights="none", dropout=0.0).dropout.p == 0.0


def test_none_is_random_and_quiet() -> None:
    found, said = load("none")
    again, _ = load("none")
    assert not torch.equal(found["layer1.0.conv1.0.weight"], again["layer1.0.conv1.0.weight"])
    assert said == []


# what does not fit


def test_keys_that_do_not_fit_are_listed(state: dict[str, Tensor], tmp_path: Path) -> None:
    bad = {key: tensor for key, tensor in state.items() if not key.startswith("layer1.")}
    bad["extra.weight"] = torch.zeros(1)
    bad["stem.0.weight"] = torch.zeros(2, 3)
    with pytest.raises(ValueError, match="does not fit r3d_micro") as error:
        load(write(tmp_path / "w.pth", bad))
    message = str(error.value)
    assert "\n" not in message
    assert "20 missing: layer1.0.conv1.0.weight" in message
    assert "and 15 more" in message
    assert "1 unexpected: extra.weight" in message
    assert "1 of another shape: stem.0.weight (2, 3) instead of (16, 3, 3, 7, 7)" in message
    assert "--model" in message


def test_weights_of_another_model_name_it(state: dict[str, Tensor], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"does not fit mvit_micro: .* or they fit --model r3d_micro$"):
        load(write(tmp_path / "w.pth", state), "mvit_micro")


def not_there(folder: Path) -> Path:
    (folder / "r3d_micro.pth").write_bytes(b"")
    return folder / "r3d_mikro.pth"


def garbage(name: str) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        (folder / name).write_bytes(b"not weights at all" * 9)
        return folder / name

    return make


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (not_there, FileNotFoundError, r"no weights file .*mikro\.pth; did you mean '.*r3d_micro\.pth'\?"),
        (lambda _: "defualt", FileNotFoundError, r"no weights file defualt; did you mean 'default'\?"),
        (lambda folder: folder, ValueError, "is a folder"),
        (garbage("w.pth"), ValueError, r"w\.pth is damaged, or holds more than tensors"),
        (garbage("w.safetensors"), ValueError, r"w\.safetensors is damaged"),
        (garbage("w.onnx"), ValueError, r"weights are \.pth, \.pt, \.safetensors files, or default or none"),
        (lambda f: write(f / "w.pth", nn.Linear(2, 2)), ValueError, "holds more than tensors and plain data"),
        (lambda f: write(f / "w.pth", [1, 2]), ValueError, r"w\.pth holds a list, not a state dict"),
        (
            lambda f: write(f / "w.pth", {"epoch": 1}),
            ValueError,
            "holds no state dict: epoch is no named tensor",
        ),
        (lambda f: write(f / "w.pth", {1: torch.ones(1)}), ValueError, "no state dict: 1 is no named tensor"),
        (lambda f: write(f / "w.pth", {}), ValueError, "holds no state dict: it is empty"),
    ],
)
def test_files_that_are_no_weights(make: Any, kind: type[Exception], message: str, tmp_path: Path) -> None:
    with pytest.raises(kind, match=message) as error:
        load(make(tmp_path))
    assert "\n" not in str(error.value)


def test_unknown_models_and_tasks() -> None:
    with pytest.raises(
        ValueError, match=r"no model is called 'r3d18'; did you mean 'r3d_18'\? \(known: r3d_m"
    ):
        build_model("r3d18", TASKS)
    with pytest.raises(ValueError, match="there is no task"):
        build_model("r3d_micro", {})


# torchvision's download, without a network


def test_default_weights_come_from_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    with torch.device("meta"):
        shapes = BACKBONES["r3d_18"].build().state_dict()
    state = {key: torch.full(t.shape, 2, dtype=t.dtype) for key, t in shapes.items()}
    asked: list[dict[str, Any]] = []

    def download(url: str, **arguments: Any) -> dict[str, Tensor]:
        asked.append({"url": url, **arguments})
        return state

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    found, said = load("default", "r3d_18")
    assert all((tensor == 2).all() for tensor in found.values())
    assert said == SAID
    assert asked[0]["url"].endswith("/r3d_18-b3b3357e.pth")
    assert asked[0]["check_hash"]
    assert asked[0]["weights_only"]


@pytest.mark.parametrize(
    "failure",
    [
        urllib.error.URLError("no route"),
        OSError(28, "no route"),
        RuntimeError("no route\nbad hash"),
        HTTPException("no route"),
    ],
)
def test_a_failed_download_says_what_to_do(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    def download(url: str, **_: Any) -> dict[str, Tensor]:
        raise failure

    monkeypatch.setattr("torchvision.models._api.load_state_dict_from_url", download)
    with pytest.raises(
        OSError, match=r"cannot download r3d_18-b3b3357e\.pth \(no route\).*--weights none"
    ) as error:
        load("default", "r3d_18")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", [name for name, row in BACKBONES.items() if row.shipped])
def test_shipped_weights(name: str) -> None:
    said: list[str] = []
    model = build_model(name, TASKS, log=said.append)
    assert said[0].startswith(f"replaced the classifier {BACKBONES[name].classifier} (")
    assert model.preprocessing == BACKBONES[name].preprocessing()  # the card says what the table says
    fresh = BACKBONES[name].build().state_dict()
    moved = [key for key, t in model.backbone.state_dict().items() if not torch.equal(t, fresh[key])]
    assert len(moved) > len(fresh) // 2
