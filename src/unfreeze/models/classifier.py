"""``VideoClassifier``: one backbone, one head per task on its feature."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from unfreeze.models.views import make_pooling
from unfreeze.options import nearest
from unfreeze.preprocessing import Preprocessing


class VideoClassifier(nn.Module):
    """A video backbone with a linear head per task.

    Attributes:
        name: of the backbone, as in ``model_names()``.
        backbone: (B, C, T, H, W) -> feature (B, D); its old classifier is an Identity, every other name is
            as in torchvision, so that state dicts fit.
        views: how the features of several views become one, by name: ``mean``, ``max``, ``attention``.
        pooling: what does it; a module where it has parameters to learn, which then is a head for
            ``dissect``.
        dropout: between the pooled feature and the heads.
        heads: one linear layer per task, under ``head_keys[task]``.
        tasks: task -> class names, in the order of the logits.
        multilabel: the tasks whose logits are a yes or no per class (sigmoid) rather than a choice (softmax).
        preprocessing: what clips must look like.

    Raises:
        ValueError: no task, a task without classes, a class named twice, a multi-label task that is none of
            the tasks, or an unknown pooling.
    """

    head_modules: ClassVar = ("pooling",)  # for dissect, which finds ``heads`` by itself

    def __init__(
        self,
        name: str,
        backbone: nn.Module,
        features: int,
        tasks: Mapping[str, Sequence[str]],
        preprocessing: Preprocessing,
        dropout: float = 0.0,
        multilabel: Iterable[str] = frozenset(),
        views: str = "mean",
    ) -> None:
        super().__init__()
        self.name = name
        self.tasks = check_tasks(tasks)
        self.multilabel = _check_multilabel(multilabel, self.tasks)
        self.preprocessing = preprocessing
        self.head_keys = _module_keys(self.tasks)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.heads = nn.ModuleDict(
            {self.head_keys[task]: nn.Linear(features, len(classes)) for task, classes in self.tasks.items()}
        )
        # after the heads: what they draw from the generator is the same with every pooling
        self.views = views
        self.pooling = make_pooling(views, features)

    def forward(self, x: Tensor, view_mask: Tensor | None = None) -> dict[str, Tensor]:
        """Logits per task: task -> (B, classes).

        Args:
            x: clips (B, C, T, H, W), or several views of each video (B, V, C, T, H, W), whose features are
                pooled before the heads. Normalised as ``preprocessing`` says.
            view_mask: (B, V) bool, True where a view is there; None where all are. The backbone does not see
                the others, so neither BatchNorm nor anything else depends on them.

        Raises:
            ValueError: shapes other than these, or a video without any view.
        """
        feature = self.dropout(self.features(x, view_mask))
        return {task: self.heads[key](feature) for task, key in self.head_keys.items()}

    def features(self, x: Tensor, view_mask: Tensor | None = None) -> Tensor:
        """What the heads read, before dropout: (B, D), pooled over views. Arguments as in ``forward``.

        Raises:
            ValueError: shapes other than these, or a video without any view.
        """
        if x.ndim == 5:
            return self.backbone(x)  # every pooling of a single view is the view
        if x.ndim != 6:
            raise ValueError(f"clips are (B, C, T, H, W) or (B, V, C, T, H, W), not {tuple(x.shape)}")
        shape = x.shape[:2]
        if view_mask is not None and view_mask.shape != shape:
            raise ValueError(
                f"the view mask of {shape[0]} videos with {shape[1]} views is ({shape[0]}, {shape[1]}), "
                f"not {tuple(view_mask.shape)}"
            )
        # asking a mask on a GPU for its values waits for the GPU; of a single view there is nothing to ask
        if view_mask is None or shape[1] == 1 or bool(view_mask.all()):
            return self.pooling(self.backbone(x.flatten(0, 1)).unflatten(0, shape), None)
        if not bool(view_mask.any(dim=1).all()):
            raise ValueError("a video has no view at all: every row of the view mask needs a True")
        view_mask = view_mask.to(x.device)
        seen = self.backbone(x[view_mask])
        spread = seen.new_zeros(*shape, seen.shape[1]).index_put((view_mask,), seen)
        return self.pooling(spread, view_mask)


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


def _check_multilabel(multilabel: Iterable[str], tasks: Mapping[str, object]) -> frozenset[str]:
    for name in multilabel:
        if name not in tasks:
            raise ValueError(f"multi-label task {name!r} is no task{nearest(name, list(tasks))}")
    return frozenset(multilabel)


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
