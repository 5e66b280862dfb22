from __future__ import annotations

import pytest
import torch
from torch import nn

from training.averaging import AveragedNetwork


def test_the_average_follows_with_the_warm_up_then_with_the_decay() -> None:
    network = nn.Linear(1, 1, bias=False)
    nn.init.constant_(network.weight, 1.0)
    averaged = AveragedNetwork(network, decay=0.5)
    nn.init.constant_(network.weight, 2.0)

    averaged.update(network, step=0)  # decay 1/10
    assert averaged.network.weight.item() == pytest.approx(0.1 * 1.0 + 0.9 * 2.0)
    averaged.update(network, step=1000)  # decay 0.5
    assert averaged.network.weight.item() == pytest.approx(0.5 * 1.9 + 0.5 * 2.0)


def test_running_statistics_are_averaged_and_counters_copied() -> None:
    network = nn.BatchNorm2d(2).train()
    averaged = AveragedNetwork(network, decay=0.9)
    network(torch.randn(4, 2, 3, 3, generator=torch.Generator().manual_seed(0)))

    averaged.update(network, step=0)  # decay 1/10

    assert network.running_mean is not None
    assert torch.allclose(averaged.network.running_mean, 0.9 * network.running_mean)
    assert averaged.network.num_batches_tracked == 1
    assert not averaged.network.training
    assert not any(p.requires_grad for p in averaged.network.parameters())
