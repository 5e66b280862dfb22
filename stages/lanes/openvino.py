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

    An image is computed alone and by one thread, so that its results depend on nothing else. Told
    to compute in bfloat16, OpenVINO rounds everything that a network runs: `finish`, as in
    `open_lane`, is a network of its own, in float32.
    """

    def __init__(
        self,
        execution: Execution,
        function: Function,
        rows: Sequence[NDArray[np.generic]],
        finish: Function | None = None,
    ) -> None:
        model = converted(function, rows)
        self._networks = [_Network(model, PRECISIONS[execution.dtype])]
        if finish is not None:
            made = [np.zeros(out.shape[1:], out.element_type.to_dtype()) for out in model.outputs]
            self._networks.append(
                _Network(converted(finish, rows, made), PRECISIONS[torch.float32])
            )

    def submit(self, *arrays: NDArray[np.generic]) -> Flight:
        """The computed batch."""
        started_s = time.perf_counter()
        given = [tuple(array[i : i + 1] for array in arrays) for i in range(len(arrays[0]))]
        made: list[Arrays] = [()] * len(given)
        for network in self._networks:
            made = network.run([image + more for image, more in zip(given, made, strict=True)])
        joined = tuple(np.concatenate(rows) for rows in zip(*made, strict=True))
        return Landed(joined, 1e3 * (time.perf_counter() - started_s))

    def warm_sizes(self, most: int) -> tuple[int, ...]:
        """One image, and a full batch."""
        return alone_and_full(most)


class _Network:
    """A converted function, planned for each number of threads that it is run on."""

    def __init__(self, model: openvino.Model, precision: str) -> None:
        self._model, self._precision = model, precision
        self._queues: dict[int, openvino.AsyncInferQueue] = {}

    def run(self, images: Sequence[Arrays]) -> list[Arrays]:
        """What it makes of the inputs of each image, each (1, ...); both in this order."""
        queue, outputs = self._queue(torch.get_num_threads()), _Outputs(len(images))
        queue.set_callback(outputs.take)
        for index, image in enumerate(images):
            queue.start_async([np.ascontiguousarray(array) for array in image], userdata=index)
        queue.wait_all()
        return outputs.images

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
        self.images: list[Arrays] = [()] * count

    def take(self, request: openvino.InferRequest, index: int) -> None:
        """Copies what a request found, whose memory the next image will use."""
        self.images[index] = tuple(tensor.data.copy() for tensor in request.output_tensors)


class _OfRows(nn.Module):
    """The function on batches (B, H, W, C) of its first `count` inputs, and others as they are."""

    def __init__(self, function: Function, count: int) -> None:
        super().__init__()
        self._function, self._count = function, count

    def forward(self, *given: Tensor) -> tuple[Tensor, ...]:
        rows, others = given[: self._count], given[self._count :]
        return self._function(*(batch.permute(0, 3, 1, 2) for batch in rows), *others)


def converted(
    function: Function,
    rows: Sequence[NDArray[np.generic]],
    others: Sequence[NDArray[np.generic]] = (),
) -> openvino.Model:
    """The function for a batch of one image, in OpenVINO's form; `rows` as in `open_lane`, `others`
    of inputs (B, ...) that a function made.
    """
    given = (*rows, *others)
    examples = tuple(torch.from_numpy(row)[None] for row in given)
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that sizes are constants, as meant
        of_rows = _OfRows(function, len(rows)).eval()
        traced = TorchScriptPythonDecoder(of_rows, example_input=examples)
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(traced))
    for found, row in zip(model.inputs, given, strict=True):
        found.get_node().set_element_type(openvino.Type(row.dtype))
        found.get_node().set_partial_shape(openvino.PartialShape([1, *row.shape]))
    model.validate_nodes_and_infer_types()
    return model
