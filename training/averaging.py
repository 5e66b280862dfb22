"""Exponential moving average of the weights: what is validated and shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class AveragedNetwork(Generic[Network]):
    """A copy of `network` whose weights follow it slowly.

    So do its running statistics, which those of a single small batch would make erratic; counters
    are copied.
    """

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow `network` after step `step`, counted from 0; early steps follow faster."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        own, other = _tensors(self.network), _tensors(network)
        averaged = [tensor for tensor in own if tensor.is_floating_point()]
        torch._foreach_lerp_(
            averaged, [tensor for tensor in other if tensor.is_floating_point()], 1.0 - decay
        )
        for copied, counter in zip(own, other, strict=True):
            if not copied.is_floating_point():
                copied.copy_(counter)


def _tensors(network: nn.Module) -> list[Tensor]:
    return [*network.parameters(), *network.buffers()]
