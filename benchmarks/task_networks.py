"""Small networks of the three tasks, and how they are trained on the generated scenes."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models import VisionTransformer
from torchvision.models.detection import FCOS, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor, TwoMLPHead
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign

__all__ = ["Classifier", "Segmenter", "detector", "mask_detector", "train", "transformer"]


def block(inputs: int, outputs: int, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False), nn.BatchNorm2d(outputs), nn.ReLU()
    )


class Classifier(nn.Sequential):
    """Digits of 8 x 8 pixels."""

    def __init__(self, width: int = 32, classes: int = 10) -> None:
        super().__init__(
            block(1, width), block(width, 2 * width, 2), block(2 * width, 2 * width),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(2 * width, classes),
        )  # fmt: skip


class Segmenter(nn.Module):
    """An encoder and decoder with skip connections."""

    def __init__(self, classes: int, width: int = 10) -> None:
        super().__init__()
        self.down0, self.down1 = block(3, width), block(width, 2 * width, 2)
        self.down2, self.down3 = block(2 * width, 4 * width, 2), block(4 * width, 8 * width, 2)
        self.deep = block(8 * width, 8 * width)
        self.up2, self.up1, self.up0 = (nn.Upsample(scale_factor=2) for _ in range(3))
        self.join2, self.join1 = block(12 * width, 4 * width), block(6 * width, 2 * width)
        self.join0, self.head = block(3 * width, width), nn.Conv2d(width, classes, 1)

    def forward(self, x: Tensor) -> Tensor:
        full = self.down0(x)
        half = self.down1(full)
        quarter = self.down2(half)
        deep = self.deep(self.down3(quarter))
        quarter = self.join2(torch.cat([self.up2(deep), quarter], 1))
        half = self.join1(torch.cat([self.up1(quarter), half], 1))
        return self.head(self.join0(torch.cat([self.up0(half), full], 1)))


def transformer(classes: int = 10, width: int = 48, depth: int = 3) -> nn.Module:
    """Torchvision's vision transformer for digits of 8 x 8 pixels in three equal channels."""
    return VisionTransformer(8, 2, depth, 4, width, 2 * width, num_classes=classes)


class Backbone(nn.Sequential):
    """Stride 8 (4), as torchvision's detectors take it."""

    def __init__(self, width: int, last_stride: int = 2) -> None:
        super().__init__(
            block(3, width // 2, 2), block(width // 2, width // 2), block(width // 2, width, 2),
            block(width, width), block(width, width, last_stride), block(width, width),
        )  # fmt: skip
        self.out_channels = width


def detector(classes: int, size: int, width: int = 64) -> nn.Module:
    """FCOS of torchvision with its own heads on a backbone of stride 8; ``classes`` counts background."""
    return FCOS(
        Backbone(width), classes, min_size=size, max_size=size, score_thresh=0.05,
        anchor_generator=AnchorGenerator(((8,),), ((1.0,),)),
    )  # fmt: skip


def mask_detector(classes: int, size: int, width: int = 32) -> nn.Module:
    """Mask R-CNN of torchvision with small heads on a backbone of stride 4; ``classes`` counts background."""
    hidden = 3 * width
    return MaskRCNN(
        Backbone(width, last_stride=1), min_size=size, max_size=size,
        rpn_anchor_generator=AnchorGenerator(((10, 16, 24),), ((0.6, 1.0, 1.7),)),
        rpn_pre_nms_top_n_test=200, rpn_post_nms_top_n_test=40, rpn_post_nms_top_n_train=60,
        box_roi_pool=MultiScaleRoIAlign(["0"], 4, 2), box_head=TwoMLPHead(width * 16, hidden),
        box_predictor=FastRCNNPredictor(hidden, classes), box_batch_size_per_image=48,
        box_detections_per_img=20, mask_roi_pool=MultiScaleRoIAlign(["0"], 10, 2),
        mask_head=MaskRCNNHeads(width, (width, width), 1),
        mask_predictor=MaskRCNNPredictor(width, width, classes),
    )  # fmt: skip


Loss = Callable[[nn.Module, Any, Any], Tensor]


def train(
    network: nn.Module, data: list[Any], loss: Loss, *, epochs: int, batch: int, rate: float, seed: int,
    say: Callable[[str], None],
) -> nn.Module:  # fmt: skip
    """AdamW with a cosine schedule after a warm-up; ``data`` holds ``(image, target)``."""
    shuffle = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=1e-3)
    total = epochs * (len(data) // batch)
    warm = max(1, total // 20)
    scheduler = torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda i: min((i + 1) / warm, 0.5 * (1 + math.cos(math.pi * min(1.0, i / total))))
    )
    network.train()
    for epoch in range(epochs):
        order = torch.randperm(len(data), generator=shuffle).tolist()
        running = 0.0
        for start in range(0, len(data) - batch + 1, batch):
            images, targets = zip(*(data[i] for i in order[start : start + batch]), strict=True)
            value = loss(network, images, targets)
            optimizer.zero_grad()
            value.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            scheduler.step()
            running = 0.9 * running + 0.1 * float(value.detach()) if start else float(value.detach())
        say(f"epoch {epoch + 1} of {epochs}: loss {running:.3f}")
    return network.eval()
