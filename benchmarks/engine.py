"""The engine, both networks together, against the published evaluation and the device's limit.

    python -m benchmarks.engine
    python -m benchmarks.engine --profile compact --profile paper --device cuda:0 --json engine.json
    python -m benchmarks.engine --line 3 --batch 1 --batch 8

The reference is float32 in the default memory layout, one image at a time, both noise scales one
after the other; the engine must give its results within a tolerance, or nothing is measured. The
limit is a large matrix product in the engine's type. Reference, batch sizes and limit take turns,
so that a machine whose speed drifts is fair to all, and ratios are formed within a round.

--against FILE compares the ratios of the engine's rows with those that an earlier run wrote with
--json: they should be within 10 %.

exit codes: 0 done; 1 the engine disagrees with the reference, or this run with an earlier one;
2 arguments; 3 no usable bundle
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.eager import TOLERANCES, Disagreement, EagerEvaluation, disagreement
from benchmarks.engine_timing import (
    Plan,
    Row,
    Way,
    engine_way,
    gpu_of,
    row_of,
    time_in_turns,
)
from benchmarks.hardware import MatrixProduct, peak_memory_mb
from benchmarks.line_report import agreement, read_ratios
from benchmarks.sizes import SIZES
from benchmarks.speed import count_operations, count_parameters, machine_content, machine_text
from benchmarks.spread import Spread, spread
from benchmarks.table import text_table
from benchmarks.untrained import PARADIGM, drawn_images, norm_guided, untrained_bundle
from evaluation.output import check_file, write_text
from pipeline.command_line import load_arguments_line, plain_parser, run_command, whole_number
from pipeline.errors import LineError
from pipeline.telemetry import GpuReading, gpu_text, read_gpus
from stages.bundle import Bundle
from stages.device import set_threads
from stages.inspector import Inspector
from stages.model_profiles import PROFILES, ModelProfile
from stages.readiness import load_line_bundle

KNOWN: Mapping[str, ModelProfile] = {**SIZES, **PROFILES}
BATCHES = (1, 2, 4, 8, 16, 32)
HEAVY = 10**11
"""Operations of an inspection from which a CPU is asked for single images only, a few times."""
HEAVY_ROUNDS = 2
COMPARED = 4
"""Images that engine and reference must agree about."""
COLUMNS = (
    "way",
    "batch",
    "device",
    "type",
    "threads",
    "images/s",
    "p50 ms",
    "p90 ms",
    "p99 ms",
    "x eager",
    "of limit",
    "MB",
)
GPU_COLUMNS = ("copy ms", "of it hidden", "compute ms", "idle")


@dataclass(frozen=True)
class Measured:
    """One pair of networks; `operations` of an image, `limit` in operations per second."""

    name: str
    weights: str
    image: tuple[int, int, int]
    plan: Plan
    parameters: int
    operations: int
    difference: Disagreement
    tolerance: float
    matrix_side: int
    matrix_type: str
    limit: Spread
    rows: tuple[Row, ...]
    gpus: tuple[GpuReading, ...]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_file("--json", options.json)
    before = None if options.against is None else read_ratios(options.against)
    if options.threads is not None:
        set_threads(options.threads)
    machine = machine_content(options.device)
    print(machine_text(machine), flush=True)
    found = []
    for bundle, weights in _subjects(options):
        found.append(measure(bundle, weights, options))
        print(_text(found[-1]), flush=True)
    ratios = {name: ratio for one in found for name, ratio in ratios_of(one).items()}
    if options.json is not None:
        stated = {name: asdict(ratio) for name, ratio in ratios.items()}
        content = {**machine, "measured": [asdict(one) for one in found], "ratios": stated}
        text = json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False)
        write_text(options.json, text + "\n")
    if before is not None:
        compared = agreement(before, ratios)
        print(f"\n{compared.text}")
        if compared.faults:
            raise LineError("; ".join(compared.faults))
    return 0


def ratios_of(found: Measured) -> dict[str, Spread]:
    """What can be compared with another run, by name: the engine as a multiple of the reference and
    as a share of the limit.
    """
    return {
        f"{found.name}, {row.device} {row.dtype}, batch {row.batch}: {name}": ratio
        for row in found.rows
        if row.way != "eager"
        for name, ratio in (("x eager", row.x_eager), ("of limit", row.of_limit))
    }


def _subjects(options: argparse.Namespace) -> Iterator[tuple[Bundle, str]]:
    """The line's networks, or untrained ones of each profile; with what their weights are."""
    if options.line is not None or options.config is not None:
        bundle = load_line_bundle(load_arguments_line(options))
        yield norm_guided(bundle), f"bundle {bundle.id}"
        return
    for name in dict.fromkeys(options.profile or ["compact"]):
        with tempfile.TemporaryDirectory(prefix="engine-") as folder:
            bundle = untrained_bundle(KNOWN[name], options.input_px, Path(folder) / "bundle")
            yield bundle, "random weights"


def measure(bundle: Bundle, weights: str, options: argparse.Namespace) -> Measured:
    """One bundle, whose paradigm is norm guidance. Raises LineError where engine and reference
    disagree.
    """
    inspector = Inspector(bundle, options.device)
    execution = inspector.reconstructor.execution
    operations = count_operations(bundle)
    plan = plan_of(options, operations, execution.device)
    images = drawn_images(bundle, max(plan.batches))
    eager = EagerEvaluation(bundle, options.device)
    ways = [Way("eager", 1, "float32", lambda: eager.inspect(images[:1]))]
    ways += [engine_way(inspector, images[:batch]) for batch in plan.batches]
    precision = str(execution.dtype).removeprefix("torch.")
    tolerance = TOLERANCES[precision]
    difference = checked_difference(inspector, eager, images[:COMPARED], tolerance)
    memory_mb = [peak_memory_mb(execution.device, way.inspect) for way in ways]
    product = MatrixProduct(execution.device, execution.dtype, options.matrix)
    timed, limits = time_in_turns(ways, product, plan)
    gpus = read_gpus(str(execution.device))
    rows = []
    for way, of_way, mb in zip(ways, timed, memory_mb, strict=True):
        row = row_of(way, of_way, timed[0], limits, operations, execution.device, mb)
        work, idle = gpu_of(way, of_way, plan)
        rows.append(replace(row, gpu=work, gpu_idle=idle))
    return Measured(
        name=bundle.manifest.profile.name,
        weights=weights,
        image=(*bundle.manifest.image_size_px, bundle.manifest.channels),
        plan=plan,
        parameters=count_parameters(bundle),
        operations=operations,
        difference=difference,
        tolerance=tolerance,
        matrix_side=product.side,
        matrix_type=precision,
        limit=spread(limits),
        rows=tuple(rows),
        gpus=tuple(gpus),
    )


def plan_of(options: argparse.Namespace, operations: int, device: torch.device) -> Plan:
    """What was asked for; of networks that take a CPU many seconds an image only single images."""
    if device.type == "cpu" and operations >= HEAVY:
        return Plan((1,), min(options.rounds, HEAVY_ROUNDS), 1)
    return Plan(tuple(dict.fromkeys(options.batch or BATCHES)), options.rounds, options.repeats)


def checked_difference(
    inspector: Inspector, eager: EagerEvaluation, images: NDArray[np.uint8], tolerance: float
) -> Disagreement:
    """How far the engine is from the reference; LineError where that is more than `tolerance`."""
    found = disagreement(inspector.inspect(images), eager.inspect(images))
    if not found.largest <= tolerance:
        raise LineError(
            f"the engine and float32 eager disagree by {_difference_text(found)} on average, more "
            f"than {tolerance:g}: its speed means nothing; find out why with "
            f"`evaluate_line --line N --parity`"
        )
    return found


def _text(found: Measured) -> str:
    height, width, channels = found.image
    plan, limit = found.plan, found.limit
    by_gpu = any(row.gpu for row in found.rows)
    table = text_table(
        [*COLUMNS, *(GPU_COLUMNS if by_gpu else ())],
        [[*_cells(row), *(_gpu_cells(row) if by_gpu else ())] for row in found.rows],
    )
    lines = [
        "",
        f"{found.name}, {found.weights}: {found.parameters / 1e6:.1f} M parameters, "
        f"{found.operations / 1e9:.1f} GFLOP an image of {height} x {width} x {channels}, "
        f"{PARADIGM}",
        f"engine and eager float32 differ by {_difference_text(found.difference)} on average "
        f"(allowed {found.tolerance:g})",
        f"limit: {found.matrix_side} x {found.matrix_side} matrix product in "
        f"{found.matrix_type}, {limit.text(3, 1e-12)} TFLOP/s",
        f"{plan.rounds} rounds of {plan.repeats} batches each, all in turn",
        *(f"at the end {gpu_text(gpu)}" for gpu in found.gpus),
        "",
        table,
    ]
    return "\n".join(lines)


def _cells(row: Row) -> list[str]:
    return [
        row.way,
        str(row.batch),
        row.device,
        row.dtype,
        str(row.threads),
        f"{row.images_per_second.median:.2f}",
        f"{row.batch_ms_p50:.1f}",
        f"{row.batch_ms_p90:.1f}",
        f"{row.batch_ms_p99:.1f}",
        row.x_eager.text(),
        row.of_limit.text(3),
        f"{row.memory_mb:.0f}",
    ]


def _gpu_cells(row: Row) -> list[str]:
    if row.gpu is None or row.gpu_idle is None:
        return [""] * len(GPU_COLUMNS)
    return [
        f"{row.gpu.copy_ms:.3f}",
        f"{row.gpu.hidden:.2f}",
        f"{row.gpu.compute_ms:.3f}",
        f"{row.gpu_idle:.3f}",
    ]


def _difference_text(found: Disagreement) -> str:
    return (
        f"{found.score:.1e} (scores), {found.anomaly_map:.1e} (maps), "
        f"{found.reconstruction:.1e} (reconstructions)"
    )


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("benchmarks.engine", __doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument(
        "--profile",
        action="append",
        choices=sorted(KNOWN),
        help="networks with random weights; may be repeated (default compact)",
    )
    which.add_argument("--line", type=int, metavar="N", help="the bundle of line N instead")
    which.add_argument("--config", type=Path, metavar="FILE", help="or of a configuration file")
    number = whole_number(1)
    parser.add_argument(
        "--batch",
        action="append",
        type=number,
        metavar="B",
        help=f"images in a batch; may be repeated (default {', '.join(map(str, BATCHES))})",
    )
    parser.add_argument("--input-px", type=number, default=256, metavar="S", help="side (256)")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu, openvino, cuda:0")
    parser.add_argument("--threads", type=number, metavar="T", help="of the CPU (PyTorch's choice)")
    parser.add_argument("--rounds", type=number, default=5, metavar="N", help="(default 5)")
    parser.add_argument(
        "--repeats", type=number, default=10, metavar="N", help="batches a round (default 10)"
    )
    parser.add_argument(
        "--matrix", type=number, metavar="N", help="side of the product (2048, on a GPU 8192)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    parser.add_argument("--against", type=Path, metavar="FILE", help="JSON of an earlier run")
    parser.set_defaults(overrides=[])
    return parser


if __name__ == "__main__":
    sys.exit(main())
