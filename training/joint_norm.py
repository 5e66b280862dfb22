"""Batch norm over the samples of all processes of a training, as if one process had the batch.

torch.nn.SyncBatchNorm does so on GPUs only, and none of its kernels can be tested without one. Here
the statistics go through an exchange that is differentiable, so that a sample's gradient counts
what it did to the samples of other processes too.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from training.distributed import World

PIXELS = (0, 2, 3)


class JointBatchNorm(nn.BatchNorm2d):
    """A batch norm (B, C, H, W) -> (B, C, H, W) whose mean and variance, in training, are those
    over all processes, weighed by how many pixels each has: their batches may differ in size.

    All processes must run it equally often, forwards and backwards.
    """

    def __init__(self, norm: nn.BatchNorm2d, world: World) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.load_state_dict(norm.state_dict())
        self._world = world

    def forward(self, x: Tensor) -> Tensor:
        """In float32 inside; gives the type that it got."""
        if not self.training:
            return super().forward(x)
        mean, variance, count = self._statistics(x.float())
        self._follow(mean.detach(), variance.detach(), count)
        scale = self.weight * (variance + self.eps).rsqrt()
        out = (x.float() - mean[:, None, None]) * scale[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Mean and biased variance (C,) of the joint batch, and its number of pixels ().

        Put together from each process's own: sums of squares would lose the variance of channels
        that lie far from zero.
        """
        variance, mean = torch.var_mean(x, PIXELS, correction=0)
        count = mean.new_full((1,), x.numel() / x.shape[1])
        own = torch.cat((mean, variance, count))[None]
        everyone = self._world.rows_of_all(own, [1] * self._world.size)
        means, variances, counts = torch.split(everyone, [len(mean), len(mean), 1], dim=1)
        shares = counts / counts.sum()
        joint = (shares * means).sum(0)
        return joint, (shares * (variances + (means - joint) ** 2)).sum(0), counts.sum().detach()

    @torch.no_grad()
    def _follow(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        """The running statistics, as nn.BatchNorm2d keeps them: of the variance without bias."""
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1.0).clamp(min=1.0), self.momentum)


def join_norms(network: nn.Module, world: World) -> None:
    """Every batch norm of a network over all processes from now on; alone it stays as it is."""
    if world.size == 1:
        return
    for module in network.modules():
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, JointBatchNorm(child, world))
