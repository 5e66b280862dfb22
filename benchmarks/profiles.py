"""The table that `compact` is chosen by: networks of several sizes after equal time of training.

    python -m benchmarks.profiles --product moulded_cap --minutes 30 --json profiles.json
    python -m benchmarks.profiles --dataset DIR --minutes 30 --colour grey --sizes tiny,compact

Each size is trained for the same time with the same settings on the same images, then judged on
the same test images. Their speeds are measured at the end, in turns, in batches of 8.

exit codes: 0 done; 1 a training failed; 2 arguments or images
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.material import Material, from_dataset, from_product, square_frame
from benchmarks.sizes import SIZES
from benchmarks.speed import (
    Speed,
    count_operations,
    count_parameters,
    machine_content,
    machine_text,
    measure_speeds,
)
from benchmarks.table import names_of, text_table
from benchmarks.trial import (
    BATCH,
    Trial,
    add_trial_options,
    bundle_folder,
    overall,
    run_trial,
    training_settings,
    trials_content,
)
from evaluation.output import check_file, write_text
from evaluation.results import cell
from pipeline.command_line import plain_parser, run_command, whole_number
from stages.acquisition.simulation import PRODUCTS
from stages.inspector import Inspector

REFERENCE = "compact"
COLUMNS = (
    "size",
    "M parameters",
    "GFLOP",
    "bundle MB",
    "image AUROC",
    "pixel AP",
    "PRO 30 %",
    "images/s",
    "p50 ms",
    "p99 ms",
)
ACCURACY = ("image_auroc", "pixel_ap", "pro_30")


@dataclass(frozen=True)
class Measured:
    """One size: its trainings, operations of an inspection, and the engine's speed."""

    name: str
    trials: tuple[Trial, ...]
    parameters: int
    operations: int
    speed: Speed


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_file("--json", options.json)
    for name in options.sizes:
        training_settings(options, SIZES[name], 0)  # a mistake is said before the work
    machine = machine_content(options.device)
    material = _material(options)
    with bundle_folder(options) as folder:
        trials = {name: _trials(name, options, material, folder) for name in options.sizes}
    found = _measured(trials, options, material)
    print(_text(found, options, machine, material))
    if options.json is not None:
        write_text(options.json, _json(found, options, machine, material))
    return 0


def _material(options: argparse.Namespace) -> Material:
    frame = square_frame(options.colour, options.input_px)
    if options.dataset is not None:
        return from_dataset(options.dataset, frame)
    return from_product(options.product, frame, options.parts, options.test_parts)


def _trials(
    name: str, options: argparse.Namespace, material: Material, folder: Path
) -> tuple[Trial, ...]:
    trials = []
    for seed in range(options.seeds):
        print(f"{name}, seed {seed}", flush=True)
        settings = training_settings(options, SIZES[name], seed)
        trials.append(run_trial(material, SIZES[name], settings, folder / f"{name}_seed_{seed}"))
    return tuple(trials)


def _measured(
    trials: dict[str, tuple[Trial, ...]], options: argparse.Namespace, material: Material
) -> list[Measured]:
    """The costs of every size, all measured together."""
    parts = material.test.parts
    images = np.stack([parts[index % len(parts)].image for index in range(BATCH)])
    bundles = {name: of[0].bundle for name, of in trials.items()}
    inspectors = {name: Inspector(bundle, options.device) for name, bundle in bundles.items()}
    speeds = measure_speeds(inspectors, images, options.repeats)
    return [
        Measured(name, trials[name], count_parameters(bundle), count_operations(bundle), speed)
        for (name, bundle), speed in zip(bundles.items(), speeds.values(), strict=True)
    ]


def _text(
    found: Sequence[Measured],
    options: argparse.Namespace,
    machine: dict[str, Any],
    material: Material,
) -> str:
    reference = _reference(found)
    rows = [[*_cells(size), f"{_ratio(size, reference):.2f}"] for size in found]
    return "\n".join(
        [
            "",
            f"{machine_text(machine)}, batches of {BATCH}, {options.repeats} in turn",
            f"each size trained {_budget(options)} on {len(material.training.images)} images, "
            f"tested on {material.test.source}",
            "",
            text_table([*COLUMNS, f"x {reference.name}"], rows),
        ]
    )


def _cells(size: Measured) -> list[str]:
    summary = overall(size.trials)
    return [
        size.name,
        f"{size.parameters / 1e6:.2f}",
        f"{size.operations / 1e9:.2f}",
        f"{len(size.trials[0].bundle.weights) / 1e6:.1f}",
        *(cell(summary, key) for key in ACCURACY),
        f"{size.speed.images_per_second:.1f}",
        f"{size.speed.batch_ms_p50:.1f}",
        f"{size.speed.batch_ms_p99:.1f}",
    ]


def _reference(found: Sequence[Measured]) -> Measured:
    return next((size for size in found if size.name == REFERENCE), found[0])


def _ratio(size: Measured, reference: Measured) -> float:
    return size.speed.images_per_second / reference.speed.images_per_second


def _budget(options: argparse.Namespace) -> str:
    if options.steps is not None:
        budget = f"{options.steps} steps"
    else:
        budget = f"{options.minutes:g} minutes"
    return budget if options.seeds == 1 else f"{options.seeds} times {budget}"


def _json(
    found: Sequence[Measured],
    options: argparse.Namespace,
    machine: dict[str, Any],
    material: Material,
) -> str:
    content = {
        **machine,
        "source": material.test.source,
        "training_images": len(material.training.images),
        "data_digest": material.training.digest,
        "minutes": options.minutes,
        "steps": options.steps,
        "batch_size": BATCH,
        "repeats": options.repeats,
        "sizes": {size.name: _size_content(size) for size in found},
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _size_content(size: Measured) -> dict[str, Any]:
    return {
        "profile": asdict(SIZES[size.name]),
        "parameters": size.parameters,
        "gflop": size.operations / 1e9,
        "bundle_bytes": len(size.trials[0].bundle.weights),
        "engine": asdict(size.speed),
        **trials_content(size.trials),
    }


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("benchmarks.profiles", __doc__)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument(
        "--dataset", type=Path, metavar="DIR", help="data set in a known layout (docs/datasets.md)"
    )
    images.add_argument("--product", choices=PRODUCTS, help="simulated product instead")
    parser.add_argument(
        "--colour", choices=("grey", "rgb"), default="rgb", help="of the input (default rgb)"
    )
    parser.add_argument(
        "--sizes",
        type=names_of(SIZES),
        default=list(SIZES),
        metavar="A,B,...",
        help=f"of {', '.join(SIZES)} (default: all)",
    )
    parser.add_argument(
        "--repeats",
        type=whole_number(1),
        default=40,
        metavar="N",
        help="batches of each size that are timed (default 40)",
    )
    add_trial_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
