"""From samples to a batch: all of them decoded, or some of them kept elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import torch

from unfreeze.data.dataset import Item

Labels = dict[str, int | torch.Tensor]


class Batch(TypedDict):
    """B samples, each in as many views as the one with most of them; what is missing is zeros.

    ``video``: (B, V, C, T, H, W) float32; ``view_mask``: (B, V) bool, True where there is a view; ``labels``:
    task -> (B,) int64, -1 masked, or for a multi-label task (B, classes) of 0 and 1, all -1 masked;
    ``index``: (B,). Where evaluation takes K copies of a sample, ``video`` and ``view_mask`` have B x K rows,
    those of a sample one after the other: ``video.unflatten(0, (B, K))``.

    From a loader that was told what is kept, ``video`` has the samples that are not, without padding: (M, C,
    T, H, W), a row for every view of every copy of them, in the order of ``padded_video[view_mask]``; where
    all are kept there is none. Then there are ``fresh``, (F,), the places in the batch of the samples that
    are in it, ascending, and ``version``, (B,), the epochs whose draws the samples show.
    """

    video: NotRequired[torch.Tensor]
    view_mask: torch.Tensor
    labels: dict[str, torch.Tensor]
    index: torch.Tensor
    fresh: NotRequired[torch.Tensor]
    version: NotRequired[torch.Tensor]


@dataclass(frozen=True)
class Part:
    """A sample of a batch of which some are kept.

    Attributes:
        version: the epoch whose draw it shows.
        views: how many it has.
        video: as in ``Item``; None where it is kept.
    """

    index: int
    version: int
    labels: Labels
    views: int
    video: torch.Tensor | None


def collate(items: Sequence[Item]) -> Batch:
    """Samples as a batch."""
    videos = [item["video"] for item in items]
    videos = [video if video.dim() == 6 else video[None] for video in videos]  # (K, V, C, T, H, W)
    views = [video.shape[1] for video in videos]
    return {
        "video": torch.cat([_with_views(video, max(views)) for video in videos]),
        "view_mask": _mask(views, len(videos[0])),
        "labels": _by_task([item["labels"] for item in items]),
        "index": torch.tensor([item["index"] for item in items]),
    }


def collate_parts(parts: Sequence[Part], copies: int) -> Batch:
    """Samples as a batch of those that are not kept, each in ``copies`` copies."""
    batch: Batch = {
        "view_mask": _mask([part.views for part in parts], copies),
        "labels": _by_task([part.labels for part in parts]),
        "index": torch.tensor([part.index for part in parts]),
        "version": torch.tensor([part.version for part in parts]),
    }
    videos = {place: part.video for place, part in enumerate(parts) if part.video is not None}
    batch["fresh"] = torch.tensor(list(videos), dtype=torch.int64)
    if videos:
        rows = torch.cat([video.reshape(-1, *video.shape[-4:]) for video in videos.values()])
        # as rows picked from a padded batch lie in memory, on which the choice of kernels depends
        batch["video"] = rows.contiguous()
    return batch


def padded_video(batch: Batch) -> torch.Tensor:
    """``video`` as it is in a batch of which nothing is kept, (B * K, V, C, T, H, W)."""
    rows, mask = batch["video"], batch["view_mask"]
    if "version" not in batch:
        return rows
    if mask.shape[1] == 1:
        return rows.unsqueeze(1)
    video = rows.new_zeros((*mask.shape, *rows.shape[1:]))
    video[mask] = rows
    return video


def _mask(views: Sequence[int], copies: int) -> torch.Tensor:
    return (torch.arange(max(views)) < torch.tensor(views)[:, None]).repeat_interleave(copies, 0)


def _with_views(video: torch.Tensor, views: int) -> torch.Tensor:
    """(K, V, …) -> (K, views, …), with zeros for what is missing."""
    missing = views - video.shape[1]
    if not missing:
        return video
    return torch.cat([video, video.new_zeros((len(video), missing, *video.shape[2:]))], 1)


def _by_task(labels: Sequence[Labels]) -> dict[str, torch.Tensor]:
    """Task -> (B,) of class indices, or (B, classes) of multi-label ones."""
    return {task: torch.stack([torch.as_tensor(of[task]) for of in labels]) for task in labels[0]}
