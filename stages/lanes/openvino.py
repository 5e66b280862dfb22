"""A lane on a CPU whose networks OpenVINO runs: converted once, each image on a thread of its own.

OpenVINO plans the memory of a whole network beforehand and joins its small operations, which
PyTorch runs one by one. It is an optional package, for x86 and ARM processors.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Sequence
from functools import cache

import numpy as np
import openvino
import torch
from numpy.typing import NDArray
from openvino.frontend import FrontEndManager
from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder
from torch import Tensor, nn

from stages.execution import Execution
from stages.lanes.cpu import Landed, alone_and_full
from stages.lanes.flight import Arrays, Flight, Function

PRECISIONS = {torch.float32: "f32", torch.bfloat16: "bf16"}


class OpenVinoLane:
    """Computes what is submitted at once, on as many threads as PyTorch is set to.

    An image is computed alone and by one thread, so that its results depend on nothing else.
    """

    def __init__(
        self, execution: Execution, function: Function, rows: Sequence[NDArray[np.generic]]
    ) -> None:
        self._precision = PRECISIONS[execution.dtype]
        self._model = converted(function, rows)
        self._queues: dict[int, openvino.AsyncInferQueue] = {}

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """The computed batch."""
        started_s = time.perf_counter()
        queue, outputs = self._queue(torch.get_num_threads()), _Outputs(len(arrays[0]))
        queue.set_callback(outputs.take)
        for index in range(len(arrays[0])):
            image = [np.ascontiguousarray(array[index : index + 1]) for array in arrays]
            queue.start_async(image, userdata=index)
        queue.wait_all()
        return Landed(outputs.joined(), 1e3 * (time.perf_counter() - started_s))

    def warm_sizes(self, most: int) -> tuple[int, ...]:
        """One image, and a full batch."""
        return alone_and_full(most)

    def _queue(self, threads: int) -> openvino.AsyncInferQueue:
        """As many images at a time as there are threads."""
        if threads not in self._queues:
            plan = {
                "INFERENCE_PRECISION_HINT": self._precision,
                "INFERENCE_NUM_THREADS": threads,
                "NUM_STREAMS": threads,
                "ENABLE_CPU_PINNING": False,  # other processes of the line compute here too
            }
            compiled = core().compile_model(self._model, "CPU", plan)
            self._queues[threads] = openvino.AsyncInferQueue(compiled, threads)
        return self._queues[threads]


@cache
def core() -> openvino.Core:
    """OpenVINO, one for the life of the process: each puts up a stack for signals, and of two that
    end in the order in which they began, the second puts the first one's back, which is gone. The
    next signal would then end the process.
    """
    return openvino.Core()


class _Outputs:
    """What the images of a batch give, in the order of the images."""

    def __init__(self, count: int) -> None:
        self._images: list[Arrays] = [()] * count

    def take(self, request: openvino.InferRequest, index: int) -> None:
        """Copies what a request found, whose memory the next image will use."""
        self._images[index] = tuple(tensor.data.copy() for tensor in request.output_tensors)

    def joined(self) -> Arrays:
        """Each output (B, ...)."""
        return tuple(np.concatenate(rows) for rows in zip(*self._images, strict=True))


class _OfRows(nn.Module):
    """The function on batches (B, H, W, C)."""

    def __init__(self, function: Function) -> None:
        super().__init__()
        self._function = function

    def forward(self, *rows: Tensor) -> tuple[Tensor, ...]:
        return self._function(*(batch.permute(0, 3, 1, 2) for batch in rows))


def converted(function: Function, rows: Sequence[NDArray[np.generic]]) -> openvino.Model:
    """The function for a batch of one image, in OpenVINO's form; `rows` as in `open_lane`."""
    examples = tuple(torch.from_numpy(row)[None] for row in rows)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are constants, as meant
        traced = TorchScriptPythonDecoder(_OfRows(function).eval(), example_input=examples)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(traced))
    for given, row in zip(model.inputs, rows, strict=True):
        given.get_node().set_element_type(openvino.Type(row.dtype))
        given.get_node().set_partial_shape(openvino.PartialShape([1, *row.shape]))
    model.validate_nodes_and_infer_types()
    return model
