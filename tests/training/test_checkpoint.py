import resource
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from unfreeze.anatomy import dissect
from unfreeze.models import build_model
from unfreeze.training.checkpoint import (
    FORMAT,
    describe_model,
    load_checkpoint,
    load_for_inference,
    rebuild_model,
    save_checkpoint,
)

TASKS = {"motion": ("left", "right"), "colour": ("red", "green", "blue")}


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return build_model("r3d_micro", TASKS, weights="none")


def content(model, **changed):
    described = describe_model(model, "r3d_micro", dissect(model).to_dict())
    basis = {"format": FORMAT, "version": "0", "model": described, "config": {}, "strategy": {}}
    return basis | {"epoch": 0, "rows": [], "best": None} | changed


def test_the_file_alone_brings_the_model_back(tmp_path, model):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(model, epoch=3))
    found, about = load_for_inference(path)
    clips = torch.randn(2, 1, 3, 8, 48, 48)
    model.eval()
    assert not found.training
    assert found.tasks == TASKS
    assert found.preprocessing == model.preprocessing
    assert about["epoch"] == 3
    with torch.no_grad():
        for task, logits in model(clips).items():
            assert torch.equal(found(clips)[task], logits)


@pytest.mark.parametrize("views", ["mean", "max", "attention"])
def test_it_says_how_views_are_pooled_and_what_the_labels_are_like(tmp_path, views):
    torch.manual_seed(0)
    model = build_model(
        "r3d_micro",
        TASKS,
        weights="none",
        multilabel={"colour"},
        views=views,
        dropout=0.3,
        clip={"frames": 6, "stride": 2, "short": "wrap"},
    ).eval()
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(model))
    found, _ = load_for_inference(path)
    assert found.multilabel == {"colour"}
    assert found.views == views
    assert found.dropout.p == 0.3
    assert found.preprocessing == model.preprocessing
    assert (found.preprocessing.stride, found.preprocessing.short) == (2, "wrap")
    clips, mask = torch.randn(2, 2, 3, 6, 48, 48), torch.tensor([[True, True], [True, False]])
    with torch.no_grad():
        for task, logits in model(clips, mask).items():
            assert torch.equal(found(clips, mask)[task], logits)


def test_a_file_from_before_there_were_views_and_multilabel_tasks(tmp_path, model):
    """Nothing that it lacks is needed: what it does not say was so in all models of its time."""
    old = content(model)
    for key in ("multilabel", "views", "dropout"):
        del old["model"][key]
    for key in ("stride", "short"):
        del old["model"]["preprocessing"][key]
    path = tmp_path / "best.pt"
    save_checkpoint(path, old)
    found, _ = load_for_inference(path)
    assert (found.multilabel, found.views, found.dropout.p) == (frozenset(), "mean", model.dropout.p)
    assert found.preprocessing == model.preprocessing
    assert all(torch.equal(value, model.state_dict()[name]) for name, value in found.state_dict().items())


def test_averages_classify_and_the_weights_themselves_train_on(tmp_path, model):
    name = "heads.motion.weight"
    average = torch.full_like(model.state_dict()[name], 7.0)
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(model, training={"ema": {"averages": {name: average}}}))
    used, about = load_for_inference(path)
    trained = rebuild_model(about, path)
    assert torch.equal(used.state_dict()[name], average)
    for key, value in model.state_dict().items():
        assert torch.equal(trained.state_dict()[key], value)
        assert key == name or torch.equal(used.state_dict()[key], value)


def test_is_plain_data(tmp_path, model):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(model))
    described = torch.load(path, weights_only=True)["model"]
    assert described["tasks"] == {task: list(names) for task, names in TASKS.items()}
    assert [block["name"] for block in described["anatomy"]["blocks"]][-1].endswith("layer4.1")


def test_a_newer_file_replaces_the_older_and_nothing_else_stays(tmp_path, model):
    path = tmp_path / "last.pt"
    for epoch in (1, 2):
        save_checkpoint(path, content(model, epoch=epoch))
    assert load_checkpoint(path)["epoch"] == 2
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


class Unpicklable:
    def __reduce__(self):
        raise OSError(28, "No space left on device")


def test_a_failed_write_leaves_the_old_file_and_says_so_in_one_line(tmp_path, model):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(model, epoch=1))
    with pytest.raises(OSError, match=r"cannot write the checkpoint .*last\.pt: No space left") as caught:
        save_checkpoint(path, content(model, epoch=2, best=Unpicklable()))
    assert "\n" not in str(caught.value)
    assert load_checkpoint(path)["epoch"] == 1
    assert [file.name for file in tmp_path.iterdir()] == ["last.pt"]


def test_the_old_file_stays_until_the_new_one_is_swapped_in(tmp_path, model, monkeypatch):
    path = tmp_path / "last.pt"
    save_checkpoint(path, content(model, epoch=1))

    def fail(source, target):
        assert load_checkpoint(source)["epoch"] == 2, "the new file is whole before it takes the name"
        assert load_checkpoint(target)["epoch"] == 1
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="Permission denied; free space or fix the folder"):
        save_checkpoint(path, content(model, epoch=2))
    assert load_checkpoint(path)["epoch"] == 1


def test_a_disk_that_fills_up_while_writing(tmp_path):
    """A real one: the process may write no file of more than 64 kB."""
    code = f"""
import resource, torch
from pathlib import Path
from unfreeze.training.checkpoint import save_checkpoint
path = Path({str(tmp_path / "last.pt")!r})
keys = ("format", "version", "model", "config", "strategy", "epoch", "rows", "best")
save_checkpoint(path, dict.fromkeys(keys, 1))
resource.setrlimit(resource.RLIMIT_FSIZE, (65536, {resource.RLIM_INFINITY}))
try:
    save_checkpoint(path, dict.fromkeys(keys, 2) | {{"model": torch.zeros(1_000_000)}})
except OSError as error:
    print(error)
print(torch.load(path, weights_only=True)["epoch"], [file.name for file in path.parent.iterdir()])
"""
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    error, rest = out.strip().splitlines()
    assert error.startswith(f"cannot write the checkpoint {tmp_path / 'last.pt'}: File too large; free space")
    assert rest == "1 ['last.pt']"


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda path: None, FileNotFoundError, "there is no checkpoint"),
        (
            lambda path: path.mkdir(),
            ValueError,
            r"is a folder; name the checkpoint in it, such as .*best\.pt",
        ),
        (lambda path: path.write_bytes(b""), ValueError, "damaged or no checkpoint"),
        (lambda path: path.write_text("hello"), ValueError, "damaged or no checkpoint"),
        (lambda path: torch.save({"a": 1}, path), ValueError, "not a checkpoint of unfreeze"),
        (lambda path: torch.save([1], path), ValueError, "not a checkpoint of unfreeze"),
        (lambda path: torch.save(torch.nn.Linear(1, 1), path), ValueError, "damaged or no checkpoint"),
    ],
)
def test_what_is_no_checkpoint_is_named_in_one_line(tmp_path, make, error, message):
    path = tmp_path / "x.pt"
    make(path)
    with pytest.raises(error, match=message) as caught:
        load_checkpoint(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("keep", [0.1, 0.9, 0.999])
def test_a_torn_file_is_damaged(tmp_path, model, keep):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(model))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * keep)])
    with pytest.raises(ValueError, match="damaged or no checkpoint"):
        load_for_inference(path)


def test_another_format_names_the_version_that_wrote_it(tmp_path, model):
    path = tmp_path / "best.pt"
    save_checkpoint(path, content(model, format=FORMAT + 1, version="9.1"))
    with pytest.raises(ValueError, match=r"checkpoint format 2, this unfreeze reads 1; use unfreeze 9\.1"):
        load_checkpoint(path)


def test_weights_of_another_shape_are_one_line(tmp_path, model):
    path = tmp_path / "best.pt"
    wrong = content(model)
    wrong["model"]["tasks"] = {"motion": ["left", "right", "up"], "colour": ["red", "green", "blue"]}
    save_checkpoint(path, wrong)
    with pytest.raises(ValueError, match="its weights do not fit r3d_micro") as caught:
        load_for_inference(path)
    assert "\n" not in str(caught.value)
