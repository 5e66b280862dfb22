"""What one process can show; the rest is in `test_processes.py`."""

from __future__ import annotations

from datetime import timedelta

import pytest
import torch
from torch import nn

from pipeline.errors import ConfigError, InputError, TrainingError
from training.distributed import ALONE, Mean, World, joined, learn_jointly, speaks_for_all

PLACE = {"RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0"}
ADDRESS = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "1"}


def test_without_torchrun_a_process_trains_alone() -> None:
    with joined("cpu", {"MASTER_PORT": "of something else"}) as world:
        assert world == World(torch.device("cpu"), rank=0, size=1)
        assert world.first


def test_torchrun_with_one_process_needs_nobody_to_meet() -> None:
    with joined("cpu", {**PLACE, "WORLD_SIZE": "1", **ADDRESS}) as world:
        assert world.size == 1


def test_what_all_have_to_say_is_said_by_the_first() -> None:
    assert speaks_for_all({})
    assert speaks_for_all({**PLACE, **ADDRESS})
    assert not speaks_for_all({**PLACE, **ADDRESS, "RANK": "1"})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"WORLD_SIZE": "2"}, r"WORLD_SIZE=2; missing: RANK, LOCAL_RANK, MASTER_ADDR, MASTER_PORT"),
        (PLACE, r"RANK=0, WORLD_SIZE=2, LOCAL_RANK=0; missing: MASTER_ADDR, MASTER_PORT\. Start"),
        ({**PLACE, **ADDRESS, "RANK": "one"}, r"RANK=one, WORLD_SIZE=2, LOCAL_RANK=0\. Start"),
        ({**PLACE, **ADDRESS, "RANK": "2"}, r"RANK=2 and LOCAL_RANK=0 must be below WORLD_SIZE=2"),
    ],
)
def test_half_an_environment_is_refused(environment: dict[str, str], message: str) -> None:
    with (
        pytest.raises(ConfigError, match=message),
        joined("cpu", environment),
    ):
        pass


def test_an_unknown_device_is_refused() -> None:
    with pytest.raises(ConfigError, match="unknown device"), joined("tpu", {}):
        pass


def test_processes_that_do_not_find_each_other_say_where_they_looked(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("training.distributed.LONGEST_WAIT", timedelta(seconds=1))
    environment = {**PLACE, "RANK": "1", **ADDRESS}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)

    with (
        pytest.raises(TrainingError, match=r"process 1 of 2 does not find .* 127\.0\.0\.1:1 "),
        joined("cpu"),
    ):
        pass


def test_alone_everything_stays_as_it_is() -> None:
    tensors = [torch.tensor([1.0, 2.0]), torch.tensor(3.0)]
    ALONE.add_up(tensors)

    assert [tensor.tolist() for tensor in tensors] == [[1.0, 2.0], 3.0]
    assert ALONE.largest(2.5, True) == [2.5, True]
    assert ALONE.counts(3) == [3]
    assert ALONE.rows_of_all(tensors[0][None], [1]).tolist() == [[1.0, 2.0]]
    assert ALONE.of_first(lambda: "made") == "made"


def test_alone_a_fault_stays_what_it_is() -> None:
    def fail() -> None:
        raise InputError("no checkpoint")

    with pytest.raises(InputError, match="no checkpoint"):
        ALONE.of_first(fail)


def test_alone_the_gradients_are_those_of_the_sum_of_the_losses() -> None:
    network, x = nn.Linear(3, 1), torch.ones(2, 3)
    counts = (torch.tensor(7.0), torch.tensor(0.0))

    def losses() -> list[torch.Tensor]:
        return [network(x).square().mean(), 0.0 * network(x).sum()]

    torch.autograd.backward(sum(losses()))
    expected = network.weight.grad.clone()
    network.zero_grad()
    means = learn_jointly(
        [Mean(*pair) for pair in zip(losses(), counts, strict=True)], [network], ALONE
    )

    assert torch.equal(network.weight.grad, expected)
    assert means.tolist() == [losses()[0].item(), 0.0]
