"""``VideoClassifier``: one backbone, one head per task on its feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from unfreeze.preprocessing import Preprocessing


class VideoClassifier(nn.Module):
    """A video backbone with a linear head per task.

    Attributes:
        name: of the backbone, as in ``model_names()``.
        backbone: (B, C, T, H, W) -> feature (B, D); its old classifier is an Identity, every other name is
            as in torchvision, so that state dicts fit.
        dropout: the old classifier's own dropout, between the feature and the heads.
        heads: one linear layer per task, under ``head_keys[task]``.
        tasks: task -> class names, in the order of the logits.
        preprocessing: what clips must look like.

    Raises:
        ValueError: no task, a task without classes, or a class named twice.
    """

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        features: int,
        tasks: Mapping[str, Sequence[str]],
        preprocessing: Preprocessing,
        dropout: float = 0.0,
    ) -> None:
        super().__init__()
        self.name = name
        self.tasks = check_tasks(tasks)
        self.preprocessing = preprocessing
        self.head_keys = _module_keys(self.tasks)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {self.head_keys[task]: nn.Linear(features, len(classes)) for task, classes in self.tasks.items()}
        )

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits per task: task -> (B, classes).

        Args:
            x: clips (B, C, T, H, W), or several views of each video (B, V, C, T, H, W), whose features are
                averaged before the heads. Normalised as ``preprocessing`` says.

        Raises:
            ValueError: ``x`` has another number of dimensions.
        """
        if x.ndim == 6:
            feature = self.backbone(x.flatten(0, 1)).unflatten(0, x.shape[:2]).mean(dim=1)
        elif x.ndim == 5:
            feature = self.backbone(x)
        else:
            raise ValueError(f"clips are (B, C, T, H, W) or (B, V, C, T, H, W), not {tuple(x.shape)}")
        feature = self.dropout(feature)
        return {task: self.heads[key](feature) for task, key in self.head_keys.items()}


def check_tasks(tasks: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Tasks as they are kept: task -> class names.

    Raises:
        ValueError: no task, a task without classes, or a class named twice.
    """
    if not tasks:
        raise ValueError("there is no task: a classifier needs at least one, with its class names")
    for task, classes in tasks.items():
        if isinstance(classes, str) or not classes:
            raise ValueError(f"task {task!r} needs a list of class names, not {classes!r}")
        twice = sorted({name for name in classes if list(classes).count(name) > 1})
        if twice:
            raise ValueError(f"task {task!r} names class {twice[0]!r} twice")
    return {task: tuple(classes) for task, classes in tasks.items()}


def _module_keys(tasks: Mapping[str, object]) -> dict[str, str]:
    """Task -> a name that a module may have: no dots, no attribute of ``nn.ModuleDict`` (a task may be
    ``type``).
    """
    keys: dict[str, str] = {}
    taken = set(dir(nn.ModuleDict())) | {""}
    for task in tasks:
        key = task.replace(".", "_")
        while key in taken or (key != task and key in tasks):
            key += "_"
        taken.add(key)
        keys[task] = key
    return keys
