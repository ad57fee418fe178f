"""The table of backbones: one row each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from unfreeze.options import nearest
from unfreeze.preprocessing import Preprocessing

PRETRAINED = Path(__file__).parent / "pretrained"


@dataclass(frozen=True)
class Backbone:
    """How one backbone is made.

    Attributes:
        name: what ``--model`` calls it; for torchvision's, also what torchvision calls it.
        classifier: attribute of the network that holds its classifier, which the heads replace. Without it
            the network returns its feature (B, D): torchvision's forward passes pool before the classifier,
            and where they pool after it too (S3D: the mean of a convolved map), the two commute.
        clip: (frames, frames per second) that torchvision's weights were measured with: ``clip_len`` and
            ``frame_rate`` in their ``_docs`` (``min_temporal_size`` is only the shortest clip that runs). The
            rest of the preprocessing is in their ``transforms()``.
        expects: the whole preprocessing, for backbones that this package ships; without ``clip``.
        head_lr, backbone_lr: learning rates to fine-tune with under AdamW where the user names none. A fresh
            head may run, pretrained weights walk: an order of magnitude between them is common practice for
            Kinetics weights. Those of the micro backbones were chosen on the demo data.
    """

    name: str
    classifier: str
    clip: tuple[int, float] | None = None
    expects: Preprocessing | None = None
    head_lr: float = 1e-3
    backbone_lr: float = 1e-4

    @property
    def shipped(self) -> bool:
        """Whether network and weights come with this package rather than from torchvision."""
        return self.expects is not None

    def build(self) -> nn.Module:
        """The network with its own classifier, freshly initialised."""
        if self.shipped:
            from unfreeze.models import micro

            network: nn.Module = getattr(micro, self.name)()
        else:
            from torchvision.models import get_model

            network = get_model(self.name, weights=None)
        return network

    def default_weights(self) -> Any:
        """torchvision's default weights of this backbone (a member of its ``WeightsEnum``)."""
        assert not self.shipped, f"{self.name} has no weights in torchvision"
        from torchvision.models import get_model_weights

        return get_model_weights(self.name).DEFAULT

    def preprocessing(self) -> Preprocessing:
        """What the default weights expect."""
        if self.expects is not None:
            return self.expects
        assert self.clip is not None, f"{self.name} has neither clip nor expects"
        frames, fps = self.clip
        transform = self.default_weights().transforms()
        crop, resize = tuple(transform.crop_size), tuple(transform.resize_size)
        return Preprocessing(
            frames=frames,
            fps=fps,
            resize=resize[0] if len(resize) == 1 else (resize[0], resize[1]),
            crop=(crop[0], crop[1]),
            mean=tuple(transform.mean),
            std=tuple(transform.std),
            interpolation=transform.interpolation.value,
        )


# what tools/pretrain_micro.py trains on; the card beside the weights says the same
_MICRO = Preprocessing(
    frames=8, fps=5.0, resize=56, crop=(48, 48), mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)
)
_ROWS = (
    Backbone("r3d_micro", "fc", expects=_MICRO, head_lr=5e-3, backbone_lr=2e-3),
    Backbone("mvit_micro", "head", expects=_MICRO, head_lr=5e-3, backbone_lr=5e-4),
    Backbone("r3d_18", "fc", clip=(16, 15.0)),
    Backbone("mc3_18", "fc", clip=(16, 15.0)),
    Backbone("r2plus1d_18", "fc", clip=(16, 15.0)),
    Backbone("mvit_v1_b", "head", clip=(16, 7.5)),
    Backbone("mvit_v2_s", "head", clip=(16, 7.5)),
    Backbone("s3d", "classifier", clip=(128, 15.0)),
    Backbone("swin3d_t", "head", clip=(32, 15.0)),
    Backbone("swin3d_s", "head", clip=(32, 15.0)),
    Backbone("swin3d_b", "head", clip=(32, 15.0)),
)
BACKBONES: Mapping[str, Backbone] = {row.name: row for row in _ROWS}


def model_names() -> tuple[str, ...]:
    """Every backbone that ``build_model`` knows."""
    return tuple(BACKBONES)


def backbone(name: str) -> Backbone:
    """The row of a backbone.

    Raises:
        ValueError: unknown; the message has the nearest name.
    """
    if name not in BACKBONES:
        raise ValueError(
            f"no model is called {name!r}{nearest(name, model_names())} (known: {', '.join(BACKBONES)})"
        )
    return BACKBONES[name]
