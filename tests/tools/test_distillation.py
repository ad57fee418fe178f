"""What tools/pretrain_micro.py adds for mvit_micro teaches the student and leaves no trace in it."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch

from unfreeze.models import micro

ROOT = Path(__file__).resolve().parents[2]
WEIGHTS = ROOT / "src" / "unfreeze" / "models" / "pretrained" / "r3d_micro.safetensors"
CLASSES = 30


@pytest.fixture
def distillation(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    return importlib.import_module("distillation")


def test_the_student_learns_what_the_teacher_sees(distillation: ModuleType) -> None:
    torch.manual_seed(0)
    student = micro.mvit_micro(CLASSES)
    keys = list(student.state_dict())
    teacher = distillation.load_teacher(WEIGHTS, CLASSES)
    before = {name: value.clone() for name, value in teacher.state_dict().items()}
    lessons = distillation.Distillation(student, teacher, CLASSES)
    optimizer = torch.optim.AdamW([*student.parameters(), *lessons.parameters()], lr=2e-3)
    clips = torch.randn(4, 3, micro.FRAMES, micro.SIZE, micro.SIZE)
    losses = []
    for _ in range(6):
        student(clips)
        hints, logits = lessons(clips)
        assert logits.shape == (4, CLASSES)
        optimizer.zero_grad()
        hints.backward()
        optimizer.step()
        losses.append(hints.item())
    assert losses[-1] < 0.9 * losses[0]
    assert list(student.state_dict()) == keys
    assert all(torch.equal(value, before[name]) for name, value in teacher.state_dict().items())
    assert not {id(p) for p in teacher.parameters()} & {id(p) for p in lessons.parameters()}
