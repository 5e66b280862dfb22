from __future__ import annotations

import torch
from torch import nn

from training.statistics import freeze_statistics, settle_statistics

IMAGES = torch.randn(6, 2, 8, 8, generator=torch.Generator().manual_seed(0)) * 3.0 + 1.0


def network() -> nn.Sequential:
    return nn.Sequential(nn.BatchNorm2d(2), nn.ReLU())


def passes(net: nn.Sequential) -> None:
    for image in IMAGES.split(2):
        net(image)


def test_settled_statistics_are_those_of_the_images() -> None:
    net = network().eval()
    net(IMAGES * 100.0)

    settle_statistics(net, passes)

    assert torch.allclose(net[0].running_mean, IMAGES.mean(dim=(0, 2, 3)), atol=1e-5)
    assert not net.training
    assert net[0].momentum == 0.1


def test_frozen_statistics_stay_while_the_weights_learn() -> None:
    net = network().train()
    settle_statistics(net, passes)
    before = net[0].running_mean.clone()

    freeze_statistics(net)
    net(IMAGES * 5.0).sum().backward()

    assert torch.equal(net[0].running_mean, before)
    assert net[0].weight.grad is not None
    assert net[1].training
