"""OpenVINO's own form of an exported inspection: two files, and what runs them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import openvino
import torch
from numpy.typing import NDArray

from stages.inspector import Inspection
from stages.lanes.openvino import core
from training.export.onnx_file import INPUT, OUTPUTS


def write_openvino(onnx_file: Path, file: Path) -> None:
    """What `write_onnx` wrote as `file` (.xml) and, beside it, its weights (.bin), in float32.

    Input and outputs have the same names and types, and batches any size.
    """
    openvino.save_model(core().read_model(onnx_file), file, compress_to_fp16=False)


class OpenvinoInspector:
    """Runs such a file on the CPU in float32, on as many threads as PyTorch is set to."""

    def __init__(self, file: Path) -> None:
        self._model = core().read_model(file)
        self._compiled: dict[int, openvino.CompiledModel] = {}

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8, of the size that the file was made for."""
        found = self._for(torch.get_num_threads())({INPUT: np.ascontiguousarray(images)})
        return Inspection(*(np.array(found[name]) for name in OUTPUTS))

    def _for(self, threads: int) -> openvino.CompiledModel:
        if threads not in self._compiled:
            plan = {
                "INFERENCE_PRECISION_HINT": "f32",
                "INFERENCE_NUM_THREADS": threads,
                "ENABLE_CPU_PINNING": False,
            }
            self._compiled[threads] = core().compile_model(self._model, "CPU", plan)
        return self._compiled[threads]
