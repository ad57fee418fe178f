"""From a name and tasks to a ``VideoClassifier`` with weights."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from unfreeze.models.classifier import VideoClassifier, check_tasks
from unfreeze.models.lengths import check_frames
from unfreeze.models.registry import Backbone, backbone
from unfreeze.models.weights import fit, read_weights


def build_model(
    name: str,
    tasks: Mapping[str, Sequence[str]],
    weights: str | Path = "default",
    log: Callable[[str], None] = print,
    *,
    multilabel: Iterable[str] = frozenset(),
    views: str = "mean",
    dropout: float | None = None,
    clip: Mapping[str, Any] | None = None,
) -> VideoClassifier:
    """A pretrained backbone with a fresh head per task.

    Args:
        name: one of ``model_names()``.
        tasks: task -> class names.
        weights: ``default`` (torchvision's own, downloaded once; shipped with the package for ``*_micro``),
            ``none`` (random), or a file: ``.pth``/``.pt`` in torchvision's state-dict layout or a checkpoint
            of this package, or ``.safetensors``.
        log: told in one line that the old classifier was replaced.
        multilabel: the tasks of which a clip may have several classes at once.
        views: how several views of one event become one feature: ``mean``, ``max`` or ``attention``.
        dropout: between feature and heads; None is the old classifier's own.
        clip: what differs from the clips that the weights expect, as arguments of
            ``Preprocessing.with_clip``: ``frames``, ``fps``, ``stride``, ``short``.

    Raises:
        ValueError: an unknown name, tasks without classes, weights that are damaged or do not fit, or a
            number of frames that the backbone does not take.
        OSError: weights that cannot be found, read or downloaded.
    """
    row, tasks = backbone(name), check_tasks(tasks)
    found = read_weights(row, weights)
    network = row.build()
    features, own_dropout = _take_classifier(network, row)
    if found is not None:
        fit(network, found, row)
    preprocessing = (found and found.preprocessing) or row.preprocessing()
    if clip is not None:
        preprocessing = preprocessing.with_clip(**clip)
        check_frames(row, preprocessing)
    model = VideoClassifier(
        name,
        network,
        features,
        tasks,
        preprocessing,
        own_dropout if dropout is None else dropout,
        multilabel,
        views,
    )
    if found is not None:
        heads = ", ".join(f"{task} ({len(classes)})" for task, classes in model.tasks.items())
        kind = "head" if len(model.tasks) == 1 else "heads"
        log(f"{f'replaced {found.classifier} by' if found.classifier else 'added'} {kind} {heads}")
    return model


def _take_classifier(network: nn.Module, row: Backbone) -> tuple[int, float]:
    """Replace a network's classifier by Identity; the width of the feature and its own dropout."""
    classifier = getattr(network, row.classifier)
    last = [module for module in classifier.modules() if isinstance(module, (nn.Linear, nn.Conv3d))][-1]
    features = last.in_features if isinstance(last, nn.Linear) else last.in_channels
    dropouts = [module.p for module in classifier.modules() if isinstance(module, nn.Dropout)]
    setattr(network, row.classifier, nn.Identity())
    return features, dropouts[-1] if dropouts else 0.0
