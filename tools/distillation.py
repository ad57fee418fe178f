"""Lessons from a pretrained r3d_micro for an MViT that learns from few clips.

From labels alone, `mvit_micro` was still at chance after 19,000 clips, where `r3d_micro` told directions
after 13,000. So it also has to predict, place by place, what the convolutional network computes at three
depths (Romero et al., "FitNets: Hints for Thin Deep Nets", ICLR 2015), and to classify from the mean of its
tokens (Lee et al., "Deeply-Supervised Nets", AISTATS 2015). Its patch embedding starts from the teacher's
first convolution, which has the same kernel size. Nothing of this remains in the finished network.
"""

from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video.mvit import MViT

from unfreeze.models.micro import MicroR3D, r3d_micro

# block of the student and its token grid (T, H, W) for 8 x 48 x 48 clips, layer of the teacher, compared grid
_HINTS = (
    (1, (4, 6, 6), "layer2", (4, 6, 6)),
    (3, (4, 3, 3), "layer3", (2, 3, 3)),
    (5, (4, 3, 3), "layer4", (1, 3, 3)),
)
_WEIGHT = 5.0


def load_teacher(path: Path, classes: int) -> MicroR3D:
    """The pretrained r3d_micro in evaluation mode."""
    teacher = r3d_micro(classes)
    teacher.load_state_dict({name: value.float() for name, value in load_file(path).items()})
    return teacher.eval()


class Distillation(nn.Module):
    """Extra losses for `student`; its own parameters only read the student's tokens."""

    def __init__(self, student: MViT, teacher: MicroR3D, classes: int) -> None:
        super().__init__()
        _start_from(student, teacher)
        self._seen: dict[object, Tensor] = {}
        readers = []
        for block, _, layer, _ in _HINTS:
            student.blocks[block].register_forward_hook(self._keep(block))
            getattr(teacher, layer).register_forward_hook(self._keep(layer))
            width = student.blocks[block].mlp[-2].out_features  # the MLP ends in a Linear and its dropout
            readers.append(nn.Linear(width, getattr(teacher, layer)[-1].conv2[0].out_channels))
        self.readers = nn.ModuleList(readers)
        student.norm.register_forward_hook(self._keep("tokens"))
        self.classify = nn.Linear(student.norm.normalized_shape[0], classes)
        self._teacher = [teacher]  # in a list, so that its parameters are not ours

    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """What the student's latest forward pass over `clips` (B, 3, T, H, W) owes the teacher.

        Returns the weighted hint loss, a scalar, and logits (B, classes) from the mean of the patch tokens.
        """
        with torch.no_grad():
            self._teacher[0](clips)
        loss = clips.new_zeros(())
        for read, (block, grid, layer, compared) in zip(self.readers, _HINTS, strict=True):
            tokens = read(self._seen[block][:, 1:]).transpose(1, 2).unflatten(2, grid)
            wanted = F.adaptive_avg_pool3d(self._seen[layer], compared)
            loss = loss + F.mse_loss(F.adaptive_avg_pool3d(tokens, compared), _standardised(wanted))
        return _WEIGHT * loss, self.classify(self._seen["tokens"][:, 1:].mean(1))

    def _keep(self, key: object):  # type: ignore[no-untyped-def]
        def hook(module: nn.Module, args: object, output: Tensor | tuple[Tensor, object]) -> None:
            self._seen[key] = output[0] if isinstance(output, tuple) else output

        return hook


def _start_from(student: MViT, teacher: MicroR3D) -> None:
    """Larger weights than torchvision's 0.02, meant for wide layers, and the teacher's first convolution.

    The student has no ReLU behind it: each filter enters with both signs.
    """
    for module in student.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
    convolution, norm = teacher.stem[0], teacher.stem[1]
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    weight = convolution.weight * gain[:, None, None, None, None]
    bias = norm.bias - norm.running_mean * gain
    with torch.no_grad():
        student.conv_proj.weight.copy_(torch.cat([weight, -weight]))
        student.conv_proj.bias.copy_(torch.cat([bias, -bias]))


def _standardised(features: Tensor) -> Tensor:
    """Zero mean and unit variance per channel, over the batch and all places."""
    variance, mean = torch.var_mean(features, dim=(0, 2, 3, 4), keepdim=True)
    return (features - mean) / (variance.sqrt() + 1e-3)
