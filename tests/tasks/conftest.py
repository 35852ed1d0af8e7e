"""Scenes in folders, and small networks of the three tasks in a user's own file."""

from __future__ import annotations

from pathlib import Path

import pytest
import safetensors.torch
import torch

from spikejelly_pack.data.scenes import SceneGenerator
from spikejelly_pack.data.writers import write_coco, write_image_folder
from spikejelly_pack.tasks.models import build_model

NETWORKS = """
import torch
from torch import nn
from torchvision.models.detection import FCOS
from torchvision.models.detection.anchor_utils import AnchorGenerator

def block(a, b, stride):
    return nn.Sequential(nn.Conv2d(a, b, 3, stride, 1), nn.BatchNorm2d(b), nn.ReLU())

def classifier():
    return nn.Sequential(
        block(3, 8, 2), block(8, 8, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )

def segmenter():
    return nn.Sequential(block(3, 8, 2), nn.Conv2d(8, 5, 1))  # half the resolution of its input

class Backbone(nn.Sequential):
    out_channels = 32

def detector():
    return FCOS(
        Backbone(block(3, 16, 4), block(16, 32, 2)), 5, min_size=32, max_size=32, score_thresh=0.0,
        detections_per_img=20, anchor_generator=AnchorGenerator(((8,),), ((1.0,),)),
    )

def number():
    return 3
"""
GENERATOR = SceneGenerator(32, (1, 3), seed=5)


@pytest.fixture(scope="session")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ``nets.py``, a state dict of every network, ``classes/`` and ``coco/``."""
    folder = tmp_path_factory.mktemp("tasks")
    (folder / "nets.py").write_text(NETWORKS)
    for name in ("classifier", "segmenter", "detector"):
        torch.manual_seed(1)
        network = build_model(f"{folder / 'nets.py'}:{name}")
        if name == "segmenter":  # so that every class wins somewhere
            images = [torch.from_numpy(GENERATOR.scene("test", i).image) for i in range(12)]
            with torch.no_grad():
                scores = network(torch.stack(images).permute(0, 3, 1, 2) / 255)
                network.get_parameter("1.bias").sub_(scores.mean((0, 2, 3)))
        state = {key: value.contiguous() for key, value in network.state_dict().items()}
        safetensors.torch.save_file(state, folder / f"{name}.safetensors")
        torch.save({"state_dict": state}, folder / f"{name}.pth")
    write_image_folder(folder / "classes", GENERATOR, "test", 20)
    write_coco(folder / "coco", GENERATOR, "test", 12)
    return folder
