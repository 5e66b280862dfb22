"""One training in several processes, as torchrun starts them: one for each GPU, on any machines.

Each process draws samples of its own; gradients and losses are put together in one exchange a step,
so that all processes make the same step and hold equal networks after it. This is done explicitly
and not by DistributedDataParallel: which parameters learn changes between the phases, and a mean
over normal samples or over pixels is exact only if each process counts by how many of them it has.
Batch norm sees the samples of all processes (`training.joint_norm`).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist

# Here, before a group is there: imported later, which an optimiser does, its defaults would hold on
# to the group, whose threads would outlive it and now and then abort a process that ends.
import torch.distributed.nn
from torch import Tensor, nn

from pipeline.errors import ConfigError, LineError, TrainingError
from stages.device import choose_device

Result = TypeVar("Result")

PLACE = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
ADDRESS = ("MASTER_ADDR", "MASTER_PORT")
LONGEST_WAIT = timedelta(hours=2)
"""For the first process, while it validates or writes a large checkpoint."""


class _SumOverProcesses(torch.autograd.Function):
    """The sum of a tensor over all processes; so is the gradient of what each of them makes of it.

    PyTorch's own, in torch.distributed.nn.functional, is deprecated.
    """

    @staticmethod
    def forward(_: Any, tensor: Tensor) -> Tensor:
        total = tensor.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


@dataclass(frozen=True)
class World:
    """The processes of a training: this one works on `device` and is number `rank` of `size`.

    With a size of 1 every method gives back what it got.
    """

    device: torch.device
    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        """Whether this process is the one that validates, reports and writes."""
        return self.rank == 0

    def add_up(self, tensors: Sequence[Tensor]) -> None:
        """Each floating point tensor becomes its sum over all processes, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.detach().flatten().float() for tensor in tensors])
        dist.all_reduce(flat)
        parts = torch.split(flat, [tensor.numel() for tensor in tensors])
        with torch.no_grad():
            for tensor, part in zip(tensors, parts, strict=True):
                tensor.copy_(part.view(tensor.shape))

    def counts(self, own: int) -> list[int]:
        """How many each process says that it has, in the order of their ranks."""
        if self.size == 1:
            return [own]
        told = torch.zeros(self.size, dtype=torch.int64, device=self.device)
        told[self.rank] = own
        dist.all_reduce(told)
        found: list[int] = told.tolist()
        return found

    def rows_of_all(self, own: Tensor, counts: Sequence[int]) -> Tensor:
        """The rows (n, K) of all processes, of which each has its `counts`, under one another.

        Differentiable: the gradient of a row counts what every process made of it. All processes
        must go through it equally often, forwards and backwards.
        """
        if self.size == 1:
            return own
        before, after = sum(counts[: self.rank]), sum(counts[self.rank + 1 :])
        width = own.shape[1]
        placed = (own.new_zeros(before, width), own, own.new_zeros(after, width))
        rows: Tensor = _SumOverProcesses.apply(  # type: ignore[no-untyped-call]  # torch's own
            torch.cat(placed)
        )
        return rows

    def largest(self, *values: float) -> list[float]:
        """The largest of each value over all processes; all get the same, once all have asked."""
        if self.size == 1:
            return list(values)
        together = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(together, op=dist.ReduceOp.MAX)
        found: list[float] = together.tolist()
        return found

    def of_first(self, make: Callable[[], Result]) -> Result:
        """What the first process makes, in all of them; the others wait for it.

        A LineError of the first process is raised in all of them.
        """
        if self.size == 1:
            return make()
        outcome: list[Any] = [_result_or_error(make) if self.first else None]
        dist.broadcast_object_list(outcome, src=0)
        if isinstance(outcome[0], LineError):
            raise outcome[0]
        result: Result = outcome[0]
        return result


ALONE = World(torch.device("cpu"))


@dataclass(frozen=True)
class Mean:
    """A loss that is the mean over `count` samples or pixels; both scalar tensors."""

    value: Tensor
    count: Tensor


def learn_jointly(losses: Sequence[Mean], networks: Sequence[nn.Module], world: World) -> Tensor:
    """Gradients of the sum of `losses`, each the mean over what all processes have of it.

    Returns these means (K,), without gradient.
    """
    counts = torch.stack([loss.count for loss in losses]).float()
    everywhere = counts.clone()
    world.add_up([everywhere])
    shares = counts / everywhere.clamp(min=1.0)
    parts = torch.stack([loss.value for loss in losses]) * shares
    torch.autograd.backward(parts.sum())
    means = parts.detach()
    if world.size > 1:
        parameters = [p for network in networks for p in network.parameters()]
        gradients = [p.grad for p in parameters if p.grad is not None]
        world.add_up([means, *gradients])
    return means


def speaks_for_all(environment: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is the only one or the first: what all have to say is said once."""
    return environment.get("RANK", "0") == "0"


@contextmanager
def joined(device: str, environment: Mapping[str, str] = os.environ) -> Iterator[World]:
    """The processes that torchrun's environment speaks of, or this one alone, on `device`.

    Of several processes on a machine each takes the GPU of its own number, whichever is named.
    Raises ConfigError for half an environment and for a device that is not there, TrainingError
    where the processes do not find each other.
    """
    rank, size, local_rank = _place(environment)
    chosen = choose_device(device)
    if size > 1 and chosen.type == "cuda":
        chosen = choose_device(f"cuda:{local_rank}")
        torch.cuda.set_device(chosen)
    if size > 1:
        _meet(rank, size, chosen, environment)
    try:
        yield World(chosen, rank, size)
    finally:
        if size > 1:
            dist.destroy_process_group()


def _place(environment: Mapping[str, str]) -> tuple[int, int, int]:
    """Rank, number of processes, and rank on this machine."""
    if not any(name in environment for name in PLACE):
        return 0, 1, 0
    missing = [name for name in (*PLACE, *ADDRESS) if name not in environment]
    given = {name: environment[name] for name in PLACE if name in environment}
    numbers = [text for text in given.values() if text.isdecimal()]
    if missing or len(numbers) < len(PLACE):
        raise ConfigError(
            f"the environment is that of a training in several processes, but not all of it: "
            f"{', '.join(f'{name}={value}' for name, value in given.items())}"
            f"{'; missing: ' + ', '.join(missing) if missing else ''}. Start all processes with "
            f"torchrun, or unset these variables to train in one"
        )
    rank, size, local_rank = (int(environment[name]) for name in PLACE)
    if not rank < size or not local_rank < size:
        raise ConfigError(
            f"RANK={rank} and LOCAL_RANK={local_rank} must be below WORLD_SIZE={size}: start the "
            f"processes with torchrun"
        )
    return rank, size, local_rank


def _meet(rank: int, size: int, device: torch.device, environment: Mapping[str, str]) -> None:
    backend = "nccl" if device.type == "cuda" else "gloo"
    address = ":".join(environment[name] for name in ADDRESS)
    try:
        dist.init_process_group(backend, timeout=LONGEST_WAIT, rank=rank, world_size=size)
    except dist.DistError as error:
        raise TrainingError(
            f"process {rank} of {size} does not find the others at {address} ({error}): start all "
            f"of them, and see that this address can be reached from each machine"
        ) from error


def _result_or_error(make: Callable[[], Any]) -> Any:
    """What the others are told; a fault that is no LineError ends the first process at once."""
    try:
        return make()
    except LineError as error:
        return error
