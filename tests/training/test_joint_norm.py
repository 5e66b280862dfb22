"""What one process can show, as the only one of a group; the rest is in `test_processes.py`."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn

from stages.segmentation.network import SegmentationNetwork, SegmentationSizes
from training.distributed import ALONE, World
from training.joint_norm import JointBatchNorm, join_norms

SIZES = SegmentationSizes(widths=(4, 8), unshuffle=2, groups=0, difference=True)


@pytest.fixture
def group() -> Iterator[World]:
    """A group of one process."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield World(torch.device("cpu"), rank=0, size=1)
    dist.destroy_process_group()


def plain_norm() -> nn.BatchNorm2d:
    torch.manual_seed(0)
    norm = nn.BatchNorm2d(5)
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        assert tensor is not None
        nn.init.uniform_(tensor, 0.5, 2.0)
    return norm


def through(norm: nn.BatchNorm2d, x: Tensor, grad: Tensor) -> list[Tensor]:
    """Result, gradients and what the norm keeps, after two batches."""
    for _ in range(2):
        x = x.detach().requires_grad_()
        out = norm(x)
        out.backward(grad)
    assert x.grad is not None
    assert norm.weight.grad is not None
    assert norm.bias.grad is not None
    return [out.detach(), x.grad, norm.weight.grad, norm.bias.grad, *norm.buffers()]


@pytest.mark.parametrize("offset", [0.0, 500.0])
def test_alone_in_a_group_it_is_pytorchs_batch_norm(group: World, offset: float) -> None:
    norm = plain_norm()
    joint = JointBatchNorm(copy.deepcopy(norm), group)
    x, grad = torch.randn(3, 5, 8, 6) + offset, torch.randn(3, 5, 8, 6)

    for found, expected in zip(through(joint, x, grad), through(norm, x, grad), strict=True):
        assert torch.allclose(found, expected, rtol=1e-4, atol=1e-3 if offset else 1e-5)


def test_inference_is_that_of_the_norm_it_came_from(group: World) -> None:
    norm = plain_norm().eval()
    joint = JointBatchNorm(norm, group).eval()
    x = torch.randn(3, 5, 8, 6)

    assert torch.equal(joint(x), norm(x))
    assert joint.state_dict().keys() == norm.state_dict().keys()


def test_half_precision_goes_in_and_out(group: World) -> None:
    joint = JointBatchNorm(plain_norm(), group)
    x = torch.randn(3, 5, 8, 6, dtype=torch.bfloat16, requires_grad=True)

    out = joint(x)
    out.sum().backward()

    assert out.dtype == torch.bfloat16
    assert x.grad is not None
    assert x.grad.dtype == torch.bfloat16
    assert joint.running_mean is not None
    assert joint.running_mean.dtype == torch.float32


def test_every_norm_of_a_network_becomes_joint_and_keeps_its_names() -> None:
    network = SegmentationNetwork(1, SIZES)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}

    join_norms(network, World(torch.device("cpu"), rank=0, size=2))

    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert len(norms) == 7
    assert all(isinstance(norm, JointBatchNorm) for norm in norms)
    assert network.state_dict().keys() == before.keys()
    assert all(torch.equal(before[name], t) for name, t in network.state_dict().items())


def test_one_process_keeps_pytorchs_batch_norm() -> None:
    network = SegmentationNetwork(1, SIZES)

    join_norms(network, ALONE)

    assert not any(isinstance(module, JointBatchNorm) for module in network.modules())


def test_a_trained_network_folds_its_joint_norms_away() -> None:
    network = SegmentationNetwork(1, SIZES)
    join_norms(network, World(torch.device("cpu"), rank=0, size=2))
    image, other = torch.rand(2, 1, 1, 16, 16)
    network.eval()
    with torch.no_grad():
        expected = network(image, other)
        network.fold_norms()
        assert torch.allclose(network(image, other), expected, atol=1e-5)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in network.modules())
