"""The command `evaluate_line`: how good a line's model is, on labelled images."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from calibration.images import SkippedPart
from calibration.progress import progress_bar
from calibration.record import load_active
from evaluation.datasets import LabelledPart, mvtec_files, mvtec_parts, simulated_parts
from evaluation.evaluate import (
    ScoredParts,
    VerdictCounts,
    count_verdicts,
    metrics_of,
    metrics_per_type,
    score_labelled,
)
from evaluation.report import Evaluation, as_json, show
from pipeline.command_line import (
    drawing_camera,
    line_parser,
    load_arguments_line,
    run_command,
    whole_number,
)
from pipeline.config import LineConfig
from pipeline.errors import CalibrationError, ConfigError, InputError
from stages.inspector import Inspector
from stages.readiness import load_line_bundle

DESCRIPTION = """\
Measure a line's model on labelled images: how well its score tells good parts from defective
ones (image AUROC and AP), how well its map shows where the defect is (pixel AUROC and AP, PRO),
for each kind of defect and overall, and what the line would decide at its present threshold."""

EPILOG = """\
the images
  --dataset DIR   a folder in the MVTec layout: test/good/, test/<kind>/ and, for the pixel
                  metrics, ground_truth/<kind>/<name>_mask.png
  --parts N       fresh parts of the line's simulated camera, every other one defective, all kinds
                  of defects in turn, drawn by a seed of their own

the numbers
  AUROC  1 is perfect, 0.5 is guessing. AP weighs how many of the alarms are true, and depends on
  how many defective images or pixels there are. PRO gives each defect region the same weight,
  large or small, up to a false-positive rate of 30 % or 5 % of the pixels. Pixels are those that
  the networks see. A dash stands where a metric is not defined. An escape is a defective part
  that passes, overkill is a good part that is rejected.

examples
  evaluate_line --line 1 --dataset DIR --json out.json
  evaluate_line --line 3 --parts 500

exit codes: 0 done; 2 configuration or images; 3 no model bundle, or not one for this line"""

SEED_OFFSET = 5000
"""Added to the camera's seed: the parts are those of no line, training or calibration."""


@dataclass(frozen=True)
class EvaluationParts:
    """Labelled parts to come, how many, and where from."""

    parts: Iterator[LabelledPart | SkippedPart]
    count: int
    source: str


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `evaluate_line`; ends the process with the exit code."""
    sys.exit(run_command(lambda: evaluate_line(_arguments(argv))))


def evaluate_line(arguments: argparse.Namespace) -> int:
    """Evaluate and report. Raises the LineErrors that end the command."""
    extra: list[tuple[str, Any]] = []
    if arguments.bundle is not None:
        extra = [("model.bundle", str(arguments.bundle.resolve()))]
    config = load_arguments_line(arguments, extra)
    _check_writable(arguments.json)
    evaluation = evaluate(config, _evaluation_parts(arguments, config))
    show(evaluation, Console())
    if arguments.json is not None:
        arguments.json.write_text(as_json(evaluation), encoding="utf-8")
    return 0


def evaluate(config: LineConfig, test: EvaluationParts) -> Evaluation:
    """The line's model on labelled parts. Raises BundleError, and InputError without parts."""
    bundle = load_line_bundle(config)
    inspector = Inspector(bundle, config.model.device)
    with progress_bar("evaluating", test.count) as advance:
        scored = score_labelled(inspector, test.parts, config.batch.size, advance)
    if not scored.parts:
        raise InputError(_nothing_usable(test, scored))
    verdicts, missing = _verdicts(config, bundle.id, scored)
    execution = inspector.segmenter.execution
    return Evaluation(
        line=config.line,
        source=test.source,
        bundle_id=bundle.id,
        paradigm=bundle.manifest.paradigm,
        device=str(execution.device),
        dtype=str(execution.dtype).removeprefix("torch."),
        batch_size=config.batch.size,
        overall=metrics_of(scored.parts),
        per_type=metrics_per_type(scored.parts),
        images_per_second=scored.images_per_second,
        skipped=scored.skipped,
        mask_faults=scored.mask_faults,
        verdicts=verdicts,
        verdicts_missing=missing,
    )


def _verdicts(
    config: LineConfig, bundle_id: str, scored: ScoredParts
) -> tuple[VerdictCounts | None, str]:
    """Verdicts at the active threshold; None, and why, where the line has none for this bundle."""
    hint = f"calibrate_line --line {config.line} --images DIR --false-reject-rate 0.01"
    try:
        active = load_active(config.calibration.folder, bundle_id, hint)
    except CalibrationError as error:
        return None, str(error)
    return count_verdicts(scored.parts, active.threshold, active.id), ""


def _evaluation_parts(arguments: argparse.Namespace, config: LineConfig) -> EvaluationParts:
    if arguments.dataset is not None:
        files = mvtec_files(arguments.dataset)
        source = f"folder {arguments.dataset.resolve()}"
        return EvaluationParts(mvtec_parts(files, config.frame), len(files), source)
    camera, count = drawing_camera(config, "--dataset DIR"), int(arguments.parts)
    seed = camera.seed + SEED_OFFSET if arguments.seed is None else int(arguments.seed)
    parts = simulated_parts(camera, config.frame, count, seed)
    return EvaluationParts(parts, count, f"{count} simulated parts, {camera.product}, seed {seed}")


def _check_writable(file: Path | None) -> None:
    """Raises ConfigError before the work begins rather than after it."""
    if file is not None and (file.is_dir() or not file.absolute().parent.is_dir()):
        raise ConfigError(f"--json {file}: not a file in a folder that exists")


def _nothing_usable(test: EvaluationParts, scored: ScoredParts) -> str:
    text = f"{test.source}: none of {test.count} images can be used"
    if scored.skipped:
        text += f"; the first, {scored.skipped[0].name}: {scored.skipped[0].why}"
    return text


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = line_parser("evaluate_line", DESCRIPTION, EPILOG)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--dataset", type=Path, metavar="DIR", help="folder in the MVTec layout")
    images.add_argument(
        "--parts", type=whole_number(1), metavar="N", help="draw N parts of the simulated camera"
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="S",
        help=f"seed of the drawn parts (default: the camera's seed + {SEED_OFFSET})",
    )
    parser.add_argument("--bundle", type=Path, metavar="DIR", help="another bundle than the line's")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers as JSON too")
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
