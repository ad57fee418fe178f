"""How heads begin: at random, at zero, or at the class means of the features that the backbone gives now.

A head made of class means is a nearest-mean classifier written as a linear layer: Mensink et al.,
"Distance-Based Image Classification: Generalizing to New Classes at Near-Zero Cost", TPAMI 2013; Qi, Brown
and Lowe, "Low-Shot Learning with Imprinted Weights", CVPR 2018. From a fitted head, the first gradients into
a thawed backbone are not those of a random one: Kumar et al., "Fine-Tuning can Distort Pretrained Features
and Underperform Out-of-Distribution", ICLR 2022.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from unfreeze.models import VideoClassifier
from unfreeze.training.losses import known
from unfreeze.training.precision import autocast

HeadInit = Literal["random", "zeros", "class_means"]

# Scales that are tried, over the mean squared distance. Where the means tell all clips apart, the likeliest
# scale is infinite, and a loss of 0 teaches nothing: the largest one makes a typical clip 99.97% certain.
_SCALES = 2.0 ** torch.arange(-8, 4.5, 0.5, dtype=torch.float64)


def init_heads(
    model: VideoClassifier,
    how: HeadInit,
    batches: Iterable[Mapping[str, Any]],
    *,
    device: torch.device,
    precision: str = "fp32",
) -> None:
    """Let the heads of ``model`` begin as ``how`` says.

    Args:
        model: the bare model.
        how: ``random`` leaves them as they are; ``zeros`` gives every class the same probability;
            ``class_means`` makes a pass over ``batches``, which it alone needs.
        batches: the training clips, once each and as evaluation sees them:
            ``{"video": (B, V, C, T, H, W), "view_mask": (B, V), "labels": {task: (B,) or (B, classes)},
            "index": (B,)}``.

    Raises:
        ValueError: the features are not finite.
    """
    if how == "random":
        return
    fitted: dict[str, tuple[Tensor, Tensor]] = {}
    if how == "class_means":
        features, labels = collect_features(model, batches, device=device, precision=precision)
        if not torch.isfinite(features).all():
            raise ValueError(
                "--head_init class_means: the features of some clips are not finite; use --precision fp32 or "
                "other --weights"
            )
        fitted = {
            task: multilabel_head(features, labels[task])
            if task in model.multilabel
            else class_means_head(features, labels[task], len(model.tasks[task]))
            for task in model.tasks
        }
    with torch.no_grad():
        for task, key in model.head_keys.items():
            head = model.heads[key]
            assert isinstance(head, nn.Linear)
            weight, bias = fitted.get(task, (torch.zeros(()), torch.zeros(())))
            head.weight.copy_(weight)
            head.bias.copy_(bias)


@torch.inference_mode()
def collect_features(
    model: VideoClassifier, batches: Iterable[Mapping[str, Any]], *, device: torch.device, precision: str
) -> tuple[Tensor, dict[str, Tensor]]:
    """What the heads read of every clip, (N, D) float64, and the labels by task; on the CPU.

    The model works in evaluation mode and is left in the mode that it was in. Several clips of one video
    (``--eval_clips``) are averaged.
    """
    was_training = model.training
    model.eval()
    try:
        features: list[Tensor] = []
        labels: list[Mapping[str, Tensor]] = []
        for batch in batches:
            with autocast(device, precision):
                video = batch["video"].to(device, non_blocking=True)
                found = model.features(video, batch.get("view_mask"))
            count = len(batch["index"])
            features.append(found.double().cpu().unflatten(0, (count, len(found) // count)).mean(dim=1))
            labels.append(batch["labels"])
    finally:
        model.train(was_training)
    return torch.cat(features), {task: torch.cat([of[task] for of in labels]) for task in labels[0]}


def class_means_head(features: Tensor, labels: Tensor, classes: int) -> tuple[Tensor, Tensor]:
    """Weight (classes, D) and bias (classes,) of a nearest-mean classifier.

    With the class means ``m_c`` and a scale ``s``, logit c is ``-s/2 * |f - m_c|²`` up to a term that is the
    same for all classes. Classes count alike, however many clips they have. A class without clips has the
    mean of all clips. ``s`` makes the labels likeliest where each clip is judged by the means of the others
    (temperature scaling: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017; by means that
    contain the clip itself, a class of few clips would look far too certain).

    Args:
        features: (N, D).
        labels: (N,), -1 where masked.
    """
    labelled = known(labels)
    features, labels = features[labelled], labels[labelled]
    if not len(features):
        return features.new_zeros(classes, features.shape[1]), features.new_zeros(classes)
    centre = features.mean(dim=0)
    own = F.one_hot(labels, classes).to(features)  # (N, classes)
    means = own.T @ (features - centre) / own.sum(dim=0).clamp(min=1).unsqueeze(1)  # as seen from the centre
    distances, company = _judged_by_others(features - centre, means, own)
    scale = _likeliest_scale(
        distances[company], lambda logits: F.cross_entropy(logits, labels[company]), spread=distances
    )
    return _linear(means, centre, scale)


def multilabel_head(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """The same per class, for the question whether a clip has it: positives against negatives.

    Logit c is ``s/2 * (|f - n_c|² - |f - p_c|²)`` with the means of the clips that have the class and of
    those that do not; 0 where there are none of either. One scale serves all classes, found in the same way.

    Args:
        features: (N, D).
        labels: (N, classes) of 0 and 1, all -1 where masked.
    """
    labelled = known(labels)
    features, labels = features[labelled], labels[labelled]
    classes = labels.shape[1]
    weight, bias = features.new_zeros(classes, features.shape[1]), features.new_zeros(classes)
    asked = [c for c in range(classes) if 0 < int(labels[:, c].sum()) < len(labels)]
    if not asked:
        return weight, bias
    centre = features.mean(dim=0)
    means, gains, companies = [], [], []
    for c in asked:
        own = F.one_hot(labels[:, c], 2).to(features)  # without, with
        pair = own.T @ (features - centre) / own.sum(dim=0).unsqueeze(1)
        distances, company = _judged_by_others(features - centre, pair, own)
        means.append(pair)
        gains.append(distances[:, 1] - distances[:, 0])
        companies.append(company)
    gain, truth = torch.stack(gains, dim=1), labels[:, asked].to(features)
    judged = torch.stack(companies, dim=1)
    scale = _likeliest_scale(
        gain[judged],
        lambda logits: F.binary_cross_entropy_with_logits(logits, truth[judged]),
        spread=gain,
    )
    for c, pair in zip(asked, means, strict=True):
        weights, biases = _linear(pair, centre, scale)
        weight[c], bias[c] = weights[1] - weights[0], biases[1] - biases[0]
    return weight, bias


def _judged_by_others(features: Tensor, means: Tensor, own: Tensor) -> tuple[Tensor, Tensor]:
    """Squared distances (N, classes) to the means, and which clips (N,) have others of their class.

    Without the clip itself the mean of its n clips is n/(n-1) times as far away from it.
    """
    counts = own.sum(dim=0)
    distances = torch.cdist(features, means, compute_mode="donot_use_mm_for_euclid_dist").square()
    further = (counts / (counts - 1).clamp(min=1)).square()
    return torch.where(own.bool(), distances * further, distances), own @ counts > 1


def _likeliest_scale(distances: Tensor, loss: Callable[[Tensor], Tensor], spread: Tensor) -> float:
    """The s of ``logits = -s/2 * distances`` with the least loss, which is convex in s: a grid will do.

    Args:
        spread: what the grid is relative to; where no clip can be judged by others, it alone decides.
    """
    typical = float(spread.abs().mean())
    if not typical:
        return 0.0
    if not len(distances):
        return 1 / typical
    return float(min(_SCALES / typical, key=lambda scale: float(loss(-scale / 2 * distances))))


def _linear(means: Tensor, centre: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """``-s/2 * |f - centre - m|²`` without its term in ``|f - centre|²``, as weight and bias."""
    return scale * means, -scale * (means @ centre + means.square().sum(dim=1) / 2)
