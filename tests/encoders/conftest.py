"""What every test of an encoder needs."""

import pytest
import torch
from torch import nn

from m5utils.encoders import detectors


@pytest.fixture(scope="session")
def detector():
    """The smallest whole detector; its seeded weights let numbers through and make it sure of many boxes."""
    torch.manual_seed(0)
    net = detectors.untrained("fasterrcnn_mobilenet_v3_large_fpn").eval()
    for layer in net.modules():
        if isinstance(layer, nn.BatchNorm2d):  # fresh ones do nothing, and folding them wrongly neither
            nn.init.uniform_(layer.weight, 1.0, 2.0)
            nn.init.normal_(layer.bias, std=0.1)
    nn.init.normal_(net.roi_heads.box_predictor.cls_score.weight, std=3.0)
    return net.requires_grad_(False)
