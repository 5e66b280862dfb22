"""Running statistics of batch norm, taken from whole images instead of a trail of small batches.

A network in training mode is told by the statistics of a batch of a few crops how much of it is a
defect, and which piece of the part it shows; it learns to rely on that, and misses it in the line,
where the running statistics stand in. So the last phase of a training works with statistics of
whole images that stay as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


@torch.no_grad()
def settle_statistics(network: Network, passes: Callable[[Network], None]) -> None:
    """Replace all running statistics by those of `passes`, which feeds the network its images.

    The statistics are the plain mean over the forward passes; weights and mode stay as they are.
    """
    norms = _batch_norms(network)
    momenta, was_training = [norm.momentum for norm in norms], network.training
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
    network.train()
    passes(network)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    network.train(was_training)


def freeze_statistics(network: nn.Module) -> None:
    """Let the network train on with its running statistics as they are."""
    for norm in _batch_norms(network):
        norm.eval()


def running_statistics(network: nn.Module) -> list[Tensor]:
    """Means and variances (C,) of all batch norms, live."""
    return [tensor for norm in _batch_norms(network) for tensor in _statistics(norm)]


def moving_statistics(network: nn.Module) -> list[Tensor]:
    """Those of them that follow the images of a forward pass: not of a frozen network."""
    return [s for norm in _batch_norms(network) if norm.training for s in _statistics(norm)]


def _statistics(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None, "a batch norm with running statistics"
    assert variance is not None, "a batch norm with running statistics"
    return mean, variance


def _batch_norms(network: nn.Module) -> list[nn.BatchNorm2d]:
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
