"""The reference of the line's benchmark: the same networks in one process, with nothing around.

    python -m benchmarks.bare_loop --line 3 --batches 30

Prints one JSON object: full batches one after another (`batch_ms`), then single images
(`alone_ms`). `images_per_second` is that of the batches; on a GPU, which the line gives the next
batch before the one in hand is done, that of as many with several in flight. It runs as a process
of its own, so that its memory and threads are not those of the benchmark that asks for it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from benchmarks.engine_timing import stream
from pipeline.command_line import line_parser, load_arguments_line, run_command, whole_number
from pipeline.config import SimulatedCamera
from pipeline.errors import ConfigError
from stages.acquisition.simulation import PartRenderer
from stages.device import set_threads
from stages.inspector import Inspector
from stages.preprocessing.prepare import prepare
from stages.readiness import load_line_bundle


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = line_parser("benchmarks.bare_loop", __doc__ or "")
    parser.add_argument("--batches", type=whole_number(1), default=30, help="batches to time")
    parser.add_argument("--threads", type=whole_number(1), default=2, help="threads of the process")
    options = parser.parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    config = load_arguments_line(options)
    if not isinstance(config.camera, SimulatedCamera):
        raise ConfigError("the benchmark needs a line with a simulated camera")
    set_threads(options.threads)
    paradigm = config.reconstruction.paradigm
    inspector = Inspector(load_line_bundle(config), config.model.device, paradigm=paradigm)
    camera, size = config.camera, config.batch.size
    renderer = PartRenderer(camera.product, camera.size_px, camera.seed, camera.defect_share)
    frames = [renderer.render(n).image for n in range(1, size + 1)]
    images = np.stack([prepare(frame, config.frame, 64).image for frame in frames])
    inspector.warm_up((1, size))
    execution = inspector.reconstructor.execution
    found = measure(inspector, images, options.batches, in_flight=execution.device.type == "cuda")
    report = {
        "device": str(execution.device),
        "dtype": execution.computes_in,
        "threads": options.threads,
        "batch": size,
        **found,
    }
    print(json.dumps(report))
    return 0


def measure(
    inspector: Inspector, images: NDArray[np.uint8], batches: int, *, in_flight: bool
) -> dict[str, float | bool]:
    """Figures of so many batches of all images (B, H, W, C), and of as many single ones."""
    batch_s = [_seconds(lambda: inspector.inspect(images)) for _ in range(batches)]
    alone_s = [_seconds(lambda: inspector.inspect(images[:1])) for _ in range(batches)]
    whole_s = _seconds(lambda: stream(inspector, images, batches)) if in_flight else sum(batch_s)
    return {
        "in_flight": in_flight,
        "images_per_second": len(images) * batches / whole_s,
        **_percentiles_ms("batch", batch_s),
        **_percentiles_ms("alone", alone_s),
    }


def _percentiles_ms(name: str, seconds: Sequence[float]) -> dict[str, float]:
    shares = (50, 90, 99)
    return {f"{name}_ms_p{it}": 1e3 * float(np.percentile(seconds, it)) for it in shares}


def _seconds(work: Callable[[], object]) -> float:
    started_s = time.perf_counter()
    work()
    return time.perf_counter() - started_s


if __name__ == "__main__":
    sys.exit(main())
