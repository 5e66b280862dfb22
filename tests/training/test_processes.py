"""Trainings in processes of their own: interrupted, killed, and several of them together."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from stages.bundle import load_bundle
from training.checkpoint import load_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

SCRIPT = Path(__file__).with_name("process.py")
PATIENCE_S = 300


def started(*arguments: object, **environment: str) -> subprocess.Popen[str]:
    """A Python process on one thread, whose output lines come as they are printed; it finds the
    modules that this one finds.
    """
    plain = {"OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    plain["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env={**os.environ, **plain, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    """Exit code, and what it printed on both channels."""
    try:
        out, err = process.communicate(timeout=PATIENCE_S)
    finally:
        process.kill()
    return process.returncode, out, err


def pair(name: str, folder: Path, *options: str) -> list[tuple[int, str, str]]:
    """The same in two processes that find each other as torchrun would tell them."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    places = [{"RANK": str(i), "LOCAL_RANK": str(i), "WORLD_SIZE": "2"} for i in range(2)]
    both = [started(SCRIPT, name, folder, *options, **address, **place) for place in places]
    return [ended(process) for process in both]


def wait_for(process: subprocess.Popen[str], beginning: str) -> str:
    """The first line that the process prints with this beginning."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.strip().startswith(beginning):
            return line
    raise AssertionError(f"ended before it printed {beginning!r}: {ended(process)}")


def flat(state: Any, name: str = "") -> dict[str, Tensor]:
    """All numbers and tensors of a nested state, by their path."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        return {k: v for key, value in items for k, v in flat(value, f"{name}.{key}").items()}
    return {name: torch.as_tensor(state)} if isinstance(state, Tensor | int | float) else {}


def of_rank(folder: Path, rank: int) -> tuple[dict[str, Tensor], str]:
    """The state that a process of `process.py train` ended with, and its error."""
    left = torch.load(folder / f"rank {rank}.pt", weights_only=True)
    return flat(left["state"]), left["error"]


def threads_left(folder: Path) -> list[int]:
    """Of each process of `process.py train` its threads at the end, the main one counted in."""
    return [torch.load(path)["threads"] for path in sorted(folder.glob("rank *.pt"))]


def differing(one: dict[str, Tensor], other: dict[str, Tensor]) -> list[str]:
    assert one.keys() == other.keys()
    return [name for name in one if not torch.equal(one[name], other[name])]


def weights(folder: Path) -> bytes:
    return (folder / "weights.safetensors").read_bytes()


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training in one process that nothing happened to."""
    folder = tmp_path_factory.mktemp("alone")
    code, _, err = ended(started(SCRIPT, "train", folder))
    assert code == 0, err
    return folder


@pytest.fixture(scope="module")
def together(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training in two processes that nothing happened to."""
    folder = tmp_path_factory.mktemp("together")
    for code, _, err in pair("train", folder):
        assert code == 0, err
    return folder


def test_a_killed_training_goes_on_from_its_last_checkpoint(alone: Path, tmp_path: Path) -> None:
    process = started(SCRIPT, "train", tmp_path)
    wait_for(process, "done 8")
    process.kill()
    ended(process)
    checkpoint = tmp_path / "bundle.training" / "checkpoint.pt"
    at = load_checkpoint(checkpoint)["trainer"]["step"]

    code, out, err = ended(started(SCRIPT, "train", tmp_path, "resume"))

    assert code == 0, err
    assert 7 <= at < 12
    assert f"done {at + 1}" in out
    assert f"done {at}\n" not in out
    assert differing(of_rank(tmp_path, 0)[0], of_rank(alone, 0)[0]) == []
    assert weights(tmp_path / "bundle") == weights(alone / "bundle")


def test_ctrl_c_and_resume_give_the_weights_of_the_command_left_alone(line: Path) -> None:
    options = ("--config", line, "--images", line.parent / "parts", "--device", "cpu", "--steps", 8)
    command = ("-m", "training.command", *options, "--out")
    straight, stopped = line.parent / "straight", line.parent / "stopped"
    code, _, err = ended(started(*command, straight))
    assert code == 0, err

    process = started(*command, stopped)
    wait_for(process, "12.5%")  # the first step of eight
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)
    assert code == 1
    assert "--resume goes on from there" in err
    assert not stopped.exists()
    code, out, err = ended(started(*command, stopped, "--resume"))

    assert code == 0, err
    assert "Bundle " in out
    assert weights(stopped) == weights(straight)


def largest_of_module(tensors: dict[str, Tensor], name: str) -> float:
    """The bias of a convolution before a batch norm has no gradient but errors of rounding: these
    are measured by the weights beside it.
    """
    module = name.rpartition(".")[0]
    beside = [t for other, t in tensors.items() if other.rpartition(".")[0] == module]
    return max(float(tensor.abs().max()) for tensor in beside)


def test_gradients_of_two_processes_are_those_of_one_with_the_joint_batch(tmp_path: Path) -> None:
    for code, _, err in pair("gradients", tmp_path):
        assert code == 0, err
    code, _, err = ended(started(SCRIPT, "joint", tmp_path))
    assert code == 0, err
    joint, *ranks = (
        torch.load(tmp_path / f"gradients {name}.pt", weights_only=True)
        for name in ("joint", "0", "1")
    )

    for case, expected in joint.items():
        assert len(expected) > 60
        for rank in ranks:
            assert rank[case].keys() == expected.keys()
            for name, tensor in expected.items():
                atol = 1e-5 * largest_of_module(expected, name)
                assert torch.allclose(rank[case][name], tensor, rtol=1e-4, atol=atol), name


def test_two_processes_stay_equal_through_all_phases(together: Path, alone: Path) -> None:
    first, second = (of_rank(together, rank) for rank in range(2))

    assert first[1] == second[1] == ""
    assert differing(first[0], second[0]) == []
    assert len(differing(first[0], of_rank(alone, 0)[0])) > 50
    assert load_bundle(together / "bundle").manifest.training["processes"] == 2


def test_the_threads_of_the_exchange_end_with_the_training(together: Path, alone: Path) -> None:
    threads = [threads_left(folder) for folder in (together, alone)]
    assert threads == [[1, 1], [1]]


def test_two_processes_stop_at_the_same_step_and_resume_exactly(
    together: Path, tmp_path: Path
) -> None:
    stopped = pair("train", tmp_path, "interrupt_at=8")
    assert [code for code, _, _ in stopped] == [1, 1]
    states, errors = zip(*(of_rank(tmp_path, rank) for rank in range(2)), strict=True)
    assert [int(state[".step"]) for state in states] == [8, 8]
    assert errors[0] == errors[1] != ""
    assert differing(*states) == []

    for code, _, err in pair("train", tmp_path, "resume"):
        assert code == 0, err

    for rank in range(2):
        assert differing(of_rank(tmp_path, rank)[0], of_rank(together, rank)[0]) == []
    assert weights(tmp_path / "bundle") == weights(together / "bundle")


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("nan_at=5", "step 5 is not taken"),
        ("full", "checkpoint.pt cannot be written"),
        ("other_images", "do not all train on the same as the first, which has images 32 with"),
        ("other_steps", "do not all train on the same as the first, which has steps 12: give all"),
    ],
)
def test_a_fault_of_one_process_ends_all_with_the_same_error(
    tmp_path: Path, option: str, message: str
) -> None:
    codes = [code for code, _, _ in pair("train", tmp_path, option)]

    errors = [of_rank(tmp_path, rank)[1] for rank in range(2)]
    assert codes == [1, 1]
    assert errors[0] == errors[1]
    assert message in errors[0]
    assert not (tmp_path / "bundle").exists()


def test_the_command_under_torchrun_leaves_one_bundle(line: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    options = ("--config", line, "--images", line.parent / "parts", "--device", "cpu", "--steps", 4)

    code, out, err = ended(started(*torchrun, "-m", "training.command", *options))

    assert code == 0, err
    assert out.count("2 processes train together") == 1
    assert out.count("images of good parts (digest") == out.count("Next: calibrate_line") == 1
    assert load_bundle(line.parent / "bundle").manifest.training["processes"] == 2
    log = (line.parent / "bundle.training" / "training.jsonl").read_text()
    assert log.count('"processes": 2') == 1
    names = {path.name for path in line.parent.iterdir() if path.is_dir()}
    assert names == {"parts", "bundle", "bundle.training"}


def test_ctrl_c_on_torchrun_leaves_a_checkpoint_to_go_on_from(line: Path) -> None:
    torchrun = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", 2)
    options = ("--config", line, "--images", line.parent / "parts", "--device", "cpu")
    process = started(*torchrun, "-m", "training.command", *options, "--steps", 100_000)
    wait_for(process, "0.0%")
    process.send_signal(signal.SIGINT)
    code, _, err = ended(process)

    assert code != 0
    assert err.count("--resume goes on from there") == 2
    checkpoint = load_checkpoint(line.parent / "bundle.training" / "checkpoint.pt")
    assert 1 <= checkpoint["trainer"]["step"] < 1000
