"""Two backbones small enough to ship inside the package and to train on a laptop's processor.

They are torchvision's own networks at toy widths: same modules, same names, same forward pass, so that
whatever works on them works on `r3d_18` and `mvit_v2_s`. The weights lie in `pretrained/`, with a card each.
"""

from torch import nn
from torchvision.models.video.mvit import MSBlockConfig, MViT
from torchvision.models.video.resnet import BasicBlock, Conv3DSimple, VideoResNet

FRAMES, SIZE = 8, 48  # what both take: (B, 3, FRAMES, SIZE, SIZE)


class MicroR3D(VideoResNet):
    """ResNet3D-18 (https://arxiv.org/abs/1711.11248) at any width (torchvision's constructor fixes it)."""

    def __init__(self, widths: tuple[int, int, int, int], num_classes: int) -> None:
        nn.Module.__init__(self)
        self.inplanes = widths[0]
        self.stem = nn.Sequential(
            nn.Conv3d(3, widths[0], kernel_size=(3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3), bias=False),
            nn.BatchNorm3d(widths[0]),
            nn.ReLU(inplace=True),
        )
        self.layer1 = self._make_layer(BasicBlock, Conv3DSimple, widths[0], blocks=2, stride=1)
        self.layer2 = self._make_layer(BasicBlock, Conv3DSimple, widths[1], blocks=2, stride=2)
        self.layer3 = self._make_layer(BasicBlock, Conv3DSimple, widths[2], blocks=2, stride=2)
        self.layer4 = self._make_layer(BasicBlock, Conv3DSimple, widths[3], blocks=2, stride=2)
        self.avgpool = nn.AdaptiveAvgPool3d((1, 1, 1))
        self.fc = nn.Linear(widths[3], num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


def r3d_micro(num_classes: int = 400) -> MicroR3D:
    """`r3d_18` at a quarter of its width: (B, 3, 8, 48, 48) -> (B, num_classes). Any size and length fits."""
    return MicroR3D((16, 32, 64, 96), num_classes)


def mvit_micro(num_classes: int = 400) -> MViT:
    """`mvit_v2_s` in six blocks: (B, 3, 8, 48, 48) -> (B, num_classes). Size and length are fixed."""
    width = (32, 64, 64, 128, 128, 128, 128)
    heads = (1, 1, 1, 2, 2, 2)
    stride_q = (2, 1, 2, 1, 1, 1)  # 12 x 12 patches -> 6 x 6 -> 3 x 3
    stride_kv = (4, 2, 2, 1, 1, 1)
    settings = [
        MSBlockConfig(
            num_heads=heads[i],
            input_channels=width[i],
            output_channels=width[i + 1],
            # A depthwise convolution only where there is something to pool: on the processor the others would
            # cost as much time as all the rest of the network.
            kernel_q=[3, 3, 3] if stride_q[i] > 1 else [1, 1, 1],
            kernel_kv=[3, 3, 3] if stride_kv[i] > 1 else [1, 1, 1],
            stride_q=[1, stride_q[i], stride_q[i]],
            stride_kv=[1, stride_kv[i], stride_kv[i]],
        )
        for i in range(len(heads))
    ]
    return MViT(
        spatial_size=(SIZE, SIZE),
        temporal_size=FRAMES,
        block_setting=settings,
        residual_pool=True,
        residual_with_cls_embed=False,
        rel_pos_embed=True,
        proj_after_attn=True,
        dropout=0.0,
        stochastic_depth_prob=0.0,
        num_classes=num_classes,
    )
