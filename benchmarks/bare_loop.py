"""The reference of the line's benchmark: the same networks in one process, with nothing around.

    python -m benchmarks.bare_loop --line 3 --batches 30

Prints one JSON object: full batches one after another (`batch_ms`), then single images
(`alone_ms`). It runs as a process of its own, so that its memory and threads are not those of the
benchmark that asks for it.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

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
    seconds = [_seconds(inspector, images) for _ in range(options.batches)]
    alone_s = [_seconds(inspector, images[:1]) for _ in range(options.batches)]
    execution = inspector.reconstructor.execution
    report = {
        "device": str(execution.device),
        "dtype": execution.computes_in,
        "threads": options.threads,
        "batch": size,
        "images_per_second": size * len(seconds) / sum(seconds),
        "batch_ms_p50": 1e3 * float(np.percentile(seconds, 50)),
        "batch_ms_p99": 1e3 * float(np.percentile(seconds, 99)),
        "alone_ms_p50": 1e3 * float(np.percentile(alone_s, 50)),
        "alone_ms_p99": 1e3 * float(np.percentile(alone_s, 99)),
    }
    print(json.dumps(report))
    return 0


def _seconds(inspector: Inspector, images: NDArray[np.uint8]) -> float:
    started_s = time.perf_counter()
    inspector.inspect(images)
    return time.perf_counter() - started_s


if __name__ == "__main__":
    sys.exit(main())
