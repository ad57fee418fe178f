"""How right a model is, class by class, and how sure one can be of the total."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from unfreeze.training.evaluate import Evaluation
from unfreeze.training.losses import known
from unfreeze.training.metrics import binary_balanced_accuracy

Floats = NDArray[np.float64]

DRAWS = 1000
LEVEL = 0.95
_CHUNK = 2_000_000  # random numbers at a time, 16 MB


def class_reports(
    evaluation: Evaluation, tasks: Mapping[str, Sequence[str]], multilabel: Collection[str] = ()
) -> dict[str, dict[str, Any]]:
    """``class_report`` of every evaluated task; ``tasks`` has their class names."""
    return {
        task: class_report(probabilities, evaluation.labels[task], tasks[task], task in multilabel)
        for task, probabilities in evaluation.probabilities.items()
    }


def class_report(
    probabilities: Tensor,
    labels: Tensor,
    classes: Sequence[str],
    multilabel: bool = False,
    *,
    seed: int = 0,
) -> dict[str, Any]:
    """One task, class by class, in the types of JSON; what is undefined (0 of 0) is None.

    Args:
        probabilities: (N, classes). The largest is the prediction; of a multi-label task, all above 0.5.
        labels: (N,), or (N, classes) of 0 and 1 for a multi-label task; -1 is masked and ignored.
        classes: their names.
        seed: of the interval's draws.

    Returns:
        - ``clips``: labelled ones; ``multilabel``;
        - ``accuracy``, ``balanced_accuracy``: as in ``training.metrics``;
        - ``interval``: of the balanced accuracy, see ``bootstrap_interval``;
        - ``classes``: in order, ``name``, ``recall``, ``precision``, ``f1``, ``support`` (the clips that have
          it) and ``predicted`` (those said to);
        - ``confusion``: a row per true class, a column per predicted one, in clips; of a multi-label task,
          per class, ``[[neither, only predicted], [only true, both]]``.
    """
    has_label = known(labels)
    probabilities, labels = probabilities[has_label].cpu(), labels[has_label].cpu()
    count = len(classes)
    if multilabel:
        truth, said = labels == 1, probabilities > 0.5
        right = (truth == said).all(dim=1)
        pairs = torch.stack([~truth & ~said, ~truth & said, truth & ~said, truth & said])
        confusion = pairs.sum(dim=1).T.reshape(count, 2, 2)
        hits, support, predicted = confusion[:, 1, 1], confusion[:, 1].sum(1), confusion[:, :, 1].sum(1)
    else:
        said = probabilities.argmax(dim=1)
        right = labels == said
        confusion = torch.bincount(labels * count + said, minlength=count * count).reshape(count, count)
        hits, support, predicted = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    balanced, interval = math.nan, None
    if len(labels):
        if multilabel:
            balanced = float(binary_balanced_accuracy(truth, said)[support > 0].mean())
            drawn = _redrawn_clips(truth.numpy(), said.numpy(), seed)
        else:
            occurs = support > 0
            balanced = float((hits[occurs].double() / support[occurs]).mean())
            drawn = _redrawn_within_classes(hits[occurs].numpy(), support[occurs].numpy(), seed)
        interval = bootstrap_interval(drawn)
    return {
        "clips": len(labels),
        "multilabel": multilabel,
        "accuracy": _number(right.double().mean()) if len(labels) else None,
        "balanced_accuracy": _number(balanced),
        "interval": interval,
        "classes": [
            {
                "name": name,
                "recall": _share(h, s),
                "precision": _share(h, p),
                "f1": _share(2 * h, s + p),
                "support": s,
                "predicted": p,
            }
            for name, h, s, p in zip(
                classes, hits.tolist(), support.tolist(), predicted.tolist(), strict=True
            )
        ],
        "confusion": confusion.tolist(),
    }


def bootstrap_interval(drawn: Floats) -> dict[str, Any] | None:
    """The percentile bootstrap's interval, from the measure on many redrawn sets of clips.

    Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, chapter 13. Of a single-label task the
    clips are redrawn within each class, as balanced accuracy is a mean over classes and a class must not
    vanish from it. Clips of a multi-label task belong to several classes, so there all are redrawn together,
    and a class that no drawn clip has is left out of that draw. It says how far another set of as many clips
    might lie, if clips are independent of each other; for a class of one or two clips it says too little, as
    there is nothing else to draw.

    Returns:
        ``low``, ``high``, ``level``, ``draws``; None where the measure is undefined.
    """
    defined = drawn[~np.isnan(drawn)]
    if not len(defined):
        return None
    low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return {"low": float(low), "high": float(high), "level": LEVEL, "draws": len(drawn)}


def _redrawn_within_classes(hits: NDArray[np.int64], support: NDArray[np.int64], seed: int) -> Floats:
    """Balanced accuracy of every draw, (draws,).

    Of n clips redrawn from a class's n with h hits, the number of hits is binomial: no clip need be drawn.
    """
    drawn = np.random.default_rng(seed).binomial(support, hits / support, size=(DRAWS, len(support)))
    means: Floats = (drawn / support).mean(axis=1)
    return means


def _redrawn_clips(truth: NDArray[np.bool_], said: NDArray[np.bool_], seed: int) -> Floats:
    """Balanced accuracy of every draw of N from the N clips, (draws,); NaN where no drawn clip has a class.

    Args:
        truth, said: (N, classes).
    """
    generator, clips = np.random.default_rng(seed), len(truth)
    # per clip and class: has it, lacks it, rightly said to have it, rightly said to lack it
    parts = np.concatenate([truth, ~truth, truth & said, ~truth & ~said], axis=1).astype(np.float32)
    results, at_once = [], max(1, _CHUNK // clips)
    for start in range(0, DRAWS, at_once):
        sets = min(at_once, DRAWS - start)
        picks = generator.integers(clips, size=(sets, clips)) + clips * np.arange(sets)[:, None]
        times = np.bincount(picks.ravel(), minlength=sets * clips).reshape(sets, clips)
        has, lacks, found, spared = np.split(times.astype(np.float32) @ parts, 4, axis=1)
        recall = np.divide(found, has, out=np.full_like(has, np.nan), where=has > 0)
        # a class that every drawn clip has counts with its recall alone
        specificity = np.divide(spared, lacks, out=recall.copy(), where=lacks > 0)
        sides = ((recall + specificity) / 2).astype(np.float64)
        occur = (has > 0).sum(axis=1)
        totals = np.nansum(sides, axis=1)
        results.append(np.divide(totals, occur, out=np.full(sets, np.nan), where=occur > 0))
    return np.concatenate(results)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _number(value: float | Tensor) -> float | None:
    return float(value) if math.isfinite(value) else None
