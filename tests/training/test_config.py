import dataclasses
import re

import pytest
import yaml

from unfreeze import strategies
from unfreeze.models import model_names
from unfreeze.optim import optimizers, schedulers
from unfreeze.training.config import DEFAULT_EPOCHS, TrainConfig, resolve, resolved


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"precision": "fp15"}, r"--precision must be one of fp32, bf16, fp16, not 'fp15'"),
        ({"epochs": 0}, "--epochs must be at least 1, not 0"),
        ({"epochs": 1.5}, "--epochs must be a whole number, not 1.5"),
        ({"batch_size": True}, "--batch_size must be a whole number, not True"),
        ({"lr": float("nan")}, "--lr must be a number, not nan"),
        ({"lr": 0}, "--lr must be above 0, not 0"),
        ({"val_fraction": 1}, "--val_fraction must be above 0 and below 1, not 1"),
        ({"label_smoothing": 1.0}, "--label_smoothing must be at least 0 and below 1, not 1"),
        ({"head_lr": -1.0}, "--head_lr must be above 0"),
        ({"layer_decay": 1.5}, "--layer_decay must be above 0 and at most 1"),
    ],
)
def test_a_wrong_value_names_its_flag(wrong, message):
    with pytest.raises(ValueError, match=message):
        TrainConfig(**wrong)


def test_every_field_has_help():
    assert all(f.metadata["help"] for f in dataclasses.fields(TrainConfig))


@pytest.mark.parametrize(
    ("field", "names"), [("model", model_names()), ("optimizer", optimizers()), ("scheduler", schedulers())]
)
def test_help_names_what_there_is(field, names):
    """The names are written out there, as asking for them would import torch."""
    words = re.findall(r"\w+", TrainConfig.__dataclass_fields__[field].metadata["help"])
    assert set(names) <= set(words)


def test_epochs_come_from_the_user_the_phases_or_the_default():
    fixed = strategies.get("fixed")(phase1_epochs=2, phase2_epochs=3)
    early = strategies.get("early_gradual")()
    assert resolve(TrainConfig(), early).epochs == DEFAULT_EPOCHS
    assert resolve(TrainConfig(), fixed).epochs == 5
    assert resolve(TrainConfig(epochs=5), fixed).epochs == 5
    assert resolve(TrainConfig(epochs=7), early).epochs == 7
    with pytest.raises(ValueError, match=r"--epochs 7 contradicts the phases of fixed, which add up to 5"):
        resolve(TrainConfig(epochs=7), fixed)


@pytest.mark.parametrize(
    ("given", "head_lr", "backbone_lr"),
    [
        ({}, 5e-3, 2e-3),
        ({"model": "r3d_18"}, 1e-3, 1e-4),
        ({"lr": 0.1}, 0.1, 0.1),
        ({"lr": 0.1, "head_lr": 0.5}, 0.5, 0.1),
        ({"lr": 0.1, "backbone_lr": 0.5}, 0.1, 0.5),
        ({"backbone_lr": 0.5}, 5e-3, 0.5),
        ({"head_lr": 0.5, "backbone_lr": 0.25}, 0.5, 0.25),
    ],
)
def test_learning_rates_come_from_the_user_or_the_model(given, head_lr, backbone_lr):
    config = resolve(TrainConfig(**given), strategies.get("early_gradual")())
    assert (config.lr, config.head_lr, config.backbone_lr) == (None, head_lr, backbone_lr)
    assert resolve(config, strategies.get("early_gradual")()) == config


def test_a_learning_rate_that_would_do_nothing_is_an_error():
    with pytest.raises(
        ValueError, match=r"--lr 0\.1 says nothing beside --head_lr 1\.0 and --backbone_lr 2\.0"
    ):
        TrainConfig(lr=0.1, head_lr=1.0, backbone_lr=2.0)


@pytest.mark.parametrize("name", strategies.available())
def test_resolved_flags_survive_yaml(name):
    strategy = strategies.get(name)()
    config = TrainConfig(tasks=("motion",), optimizer_args={"betas": (0.9, 0.95)}, resume="last", run_dir="x")
    flags = resolved(config, strategy)
    assert yaml.safe_load(yaml.safe_dump(flags)) == flags
    assert flags["freezing_strategy"] == name
    assert flags["tasks"] == ["motion"]
    assert flags["optimizer_args"] == {"betas": [0.9, 0.95]}
    assert not {"resume", "run_dir"} & flags.keys()
