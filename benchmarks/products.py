"""How well the simulated products are learnt, each in the same time and with the same settings.

    python -m benchmarks.products --minutes 30 --json products.json
    python -m benchmarks.products --minutes 10 --products brushed_metal,woven_fabric

For each product a model is trained on good parts alone and evaluated on fresh parts, every other
one with a defect, all kinds in turn: the figures of `evaluate_line`, per kind and over all.

exit codes: 0 done; 1 a training failed; 2 arguments
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.material import Material, from_product, square_frame
from benchmarks.speed import machine_content, machine_text
from benchmarks.table import names_of, text_table
from benchmarks.trial import (
    BATCH,
    Trial,
    add_trial_options,
    bundle_folder,
    overall,
    per_type,
    run_trial,
    training_settings,
    trials_content,
)
from evaluation.output import check_file, write_text
from evaluation.report import counts_text
from evaluation.results import AREAS, Summary, cell
from pipeline.command_line import plain_parser, run_command
from stages.acquisition.simulation import PRODUCTS
from stages.model_profiles import PROFILES

COLUMNS = (
    "kind",
    "good + defective",
    "image AUROC",
    "image AP",
    "pixel AUROC",
    "pixel AP",
    "PRO 30 %",
    "PRO 5 %",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _main(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_file("--json", options.json)
    training_settings(options, PROFILES[options.profile], 0)  # a mistake is said before the work
    machine = machine_content(options.device)
    found: dict[str, tuple[Trial, ...]] = {}
    with bundle_folder(options) as folder:
        for product in options.products:
            found[product] = _trials(product, options, folder)
            print(_text(product, found[product], machine), flush=True)
    if len(found) > 1:
        print(_summary(found))
    if options.json is not None:
        write_text(options.json, _json(found, options, machine))
    return 0


def _trials(product: str, options: argparse.Namespace, folder: Path) -> tuple[Trial, ...]:
    profile, trials = PROFILES[options.profile], []
    material = _material(product, options)
    for seed in range(options.seeds):
        print(f"{product}, seed {seed}", flush=True)
        settings = training_settings(options, profile, seed)
        trials.append(run_trial(material, profile, settings, folder / f"{product}_seed_{seed}"))
    return tuple(trials)


def _material(product: str, options: argparse.Namespace) -> Material:
    frame = square_frame("rgb", options.input_px)
    return from_product(product, frame, options.parts, options.test_parts)


def _text(product: str, trials: Sequence[Trial], machine: Mapping[str, Any]) -> str:
    over = overall(trials)
    rows = [_cells(kind, summary) for kind, summary in per_type(trials).items()]
    rate = cell(over, "images_per_second")
    return "\n".join(
        [
            "",
            product,
            text_table(COLUMNS, [*rows, _cells("overall", over)]),
            f"{rate} images/s through the networks ({machine_text(machine)}, batches of {BATCH})",
            "",
        ]
    )


def _summary(found: Mapping[str, Sequence[Trial]]) -> str:
    rows = []
    for product, trials in found.items():
        over = overall(trials)
        rows.append([*_cells(product, over), cell(over, "images_per_second")])
    return text_table(["product", *COLUMNS[1:], "images/s"], rows)


def _cells(name: str, summary: Summary) -> list[str]:
    return [name, counts_text(summary.mean), *(cell(summary, key) for key in AREAS)]


def _json(
    found: Mapping[str, Sequence[Trial]], options: argparse.Namespace, machine: Mapping[str, Any]
) -> str:
    content = {
        **machine,
        "profile": options.profile,
        "minutes": options.minutes,
        "steps": options.steps,
        "training_images": options.parts,
        "batch_size": BATCH,
        "products": {product: trials_content(trials) for product, trials in found.items()},
    }
    return json.dumps(content, indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("benchmarks.products", __doc__)
    parser.add_argument(
        "--products",
        type=names_of(PRODUCTS),
        default=list(PRODUCTS),
        metavar="A,B,...",
        help=f"of {', '.join(PRODUCTS)} (default: all)",
    )
    parser.add_argument(
        "--profile", choices=sorted(PROFILES), default="compact", help="sizes of the networks"
    )
    add_trial_options(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
