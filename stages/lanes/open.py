"""The lane of a device."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import ConfigError
from stages.execution import Execution
from stages.lanes.cpu import CpuLane
from stages.lanes.cuda import CudaLane
from stages.lanes.flight import Function, Lane


def open_lane(
    execution: Execution,
    function: Function,
    rows: Sequence[NDArray[np.generic]],
    passes: int = 1,
    capturable: bool = True,
    finish: Function | None = None,
) -> Lane:
    """A function's lane on the device of `execution`.

    `rows`: one row (H, W, C) of each input, for its shape and type. `passes`: how many times the
    function puts each image into one batch of its network. `capturable`: whether the function can
    become a CUDA graph, that is, does the same at every call without asking the CPU. `finish` takes
    the inputs and what `function` made of them, and gives the lane's results: autocast must leave
    what it does in float32, and so does OpenVINO, which otherwise rounds all that it runs. Raises
    ConfigError as `check_lane`.
    """
    check_lane(execution, capturable)
    if execution.openvino:
        from stages.lanes.openvino import OpenVinoLane  # noqa: PLC0415 - the package is optional

        return OpenVinoLane(execution, function, rows, finish)
    if finish is not None:
        function = _followed(function, finish)
    if execution.device.type == "cuda":
        return CudaLane(execution, function, rows, capturable)
    return CpuLane(execution, function, passes)


def check_lane(execution: Execution, capturable: bool) -> None:
    """Raises ConfigError where OpenVINO is to run a function that is not `capturable`."""
    if execution.openvino and not capturable:
        raise ConfigError(
            "OpenVINO cannot run a paradigm that draws noise at each step: use device cpu for it, "
            "or another paradigm"
        )


def _followed(function: Function, finish: Function) -> Function:
    def both(*inputs: Tensor) -> tuple[Tensor, ...]:
        return finish(*inputs, *function(*inputs))

    return both
