"""Exponential moving average of the weights: what is validated and shipped."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

Network = TypeVar("Network", bound=nn.Module)


class AveragedNetwork(Generic[Network]):
    """A copy of `network` whose weights follow it slowly; buffers are copied as they are."""

    def __init__(self, network: Network, decay: float) -> None:
        self.network: Network = copy.deepcopy(network).eval().requires_grad_(False)
        self._decay = decay

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Follow `network` after step `step`, counted from 0; early steps follow faster."""
        decay = min(self._decay, (1.0 + step) / (10.0 + step))
        averaged: list[Tensor] = list(self.network.parameters())
        torch._foreach_lerp_(averaged, list(network.parameters()), 1.0 - decay)
        for own, other in zip(self.network.buffers(), network.buffers(), strict=True):
            own.copy_(other)
