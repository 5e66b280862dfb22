"""Where the networks run, in which precision, and on how many threads."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Literal

import torch

from pipeline.errors import ConfigError

Precision = Literal["auto", "float32", "bfloat16"]

OPENVINO = "openvino"


def choose_device(name: str = "auto") -> torch.device:
    """The device `auto` (CUDA where there is one, else CPU), `cpu`, `openvino` or `cuda:N`.

    `openvino` is the CPU, too: its engines have OpenVINO run their networks. Raises ConfigError
    for another name, for a CUDA device that this machine does not have, and without OpenVINO.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    if name == "cpu":
        return torch.device("cpu")
    if name == OPENVINO:
        _check_openvino()
        return torch.device("cpu")
    kind, _, number = name.partition(":")
    if kind != "cuda" or not (number or "0").isdecimal():
        raise ConfigError(
            f"unknown device {name!r}: use auto, cpu, or cuda:0 for the first GPU, or openvino"
        )
    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(number or 0) >= found:
        raise ConfigError(
            f"device {name!r} is asked for, but PyTorch sees {found} CUDA devices here: "
            f"use auto or cpu, or install the GPU driver and the CUDA build of PyTorch"
        )
    return torch.device("cuda", int(number or 0))


def compute_dtype(device: torch.device, precision: Precision = "auto") -> torch.dtype:
    """The type that convolutions run in; `auto` is bfloat16 where the device computes in it."""
    if precision == "auto":
        return torch.bfloat16 if _has_bfloat16(device) else torch.float32
    return torch.bfloat16 if precision == "bfloat16" else torch.float32


def set_threads(threads: int) -> None:
    """Lets PyTorch use `threads` cores in this process; a stage calls it before its first pass."""
    assert threads >= 1
    torch.set_num_threads(threads)


def _check_openvino() -> None:
    if find_spec("openvino") is None:
        raise ConfigError(
            "device 'openvino' is asked for, but the package openvino is not installed here: "
            "install it with `pip install -c constraints.txt -e '.[openvino]'`, or use auto or cpu"
        )


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())


def _cpu_flags() -> set[str]:
    """The processor's feature flags as Linux lists them; empty where it does not."""
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as lines:
            flags = next((line for line in lines if line.startswith("flags")), "")
    except OSError:
        return set()
    return set(flags.partition(":")[2].split())
