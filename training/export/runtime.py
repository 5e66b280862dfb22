"""An exported file in another runtime, in the place of the line's engines."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from stages.inspector import Inspection
from training.export.onnx_file import INPUT, OUTPUTS


class OnnxInspector:
    """Runs a file with onnxruntime on the CPU, on as many threads as PyTorch is set to."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._sessions: dict[int, onnxruntime.InferenceSession] = {}

    def inspect(self, images: NDArray[np.uint8]) -> Inspection:
        """(B, H, W, C) uint8, of the size that the file was made for."""
        return Inspection(*self._session().run(OUTPUTS, {INPUT: images}))

    def _session(self) -> onnxruntime.InferenceSession:
        threads = torch.get_num_threads()
        if threads not in self._sessions:
            options = onnxruntime.SessionOptions()
            options.intra_op_num_threads = threads
            self._sessions[threads] = onnxruntime.InferenceSession(
                self._file, options, providers=["CPUExecutionProvider"]
            )
        return self._sessions[threads]
