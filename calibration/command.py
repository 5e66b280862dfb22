"""The command `calibrate_line`: from images of good parts to the line's active threshold."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from calibration.calibrate import (
    calibrate,
    check_count,
    score_normals,
    skipped_text,
    unseen_images,
)
from calibration.images import NormalImages, collect, folder_parts, normal_files, simulated_parts
from calibration.progress import progress_bar
from calibration.record import CalibrationRecord, check_folder, save_and_activate
from calibration.threshold import parts_needed, require_parts
from pipeline.command_line import (
    drawing_camera,
    line_parser,
    load_arguments_line,
    number,
    run_command,
    whole_number,
)
from pipeline.config import LineConfig
from pipeline.errors import ConfigError
from pipeline.names import printable
from pipeline.next_command import line_arguments
from stages.readiness import load_line_bundle

DESCRIPTION = """\
Set the threshold of a line: the networks score images of good parts, and the threshold becomes
the score that only the wanted share of good parts exceeds. A line runs only when calibrated.

Calibrate after each training, and whenever camera, lens, light or product have changed."""

EPILOG = """\
the rate
  --false-reject-rate R is the share of good parts that may be rejected: 0.01 is one in a
  hundred. It needs at least 1/R - 1 images, so 99 for 0.01 and 999 for 0.001; with several
  times as many, the threshold varies less from one calibration to the next.

the images
  Only good parts, from the line's own camera and light, over the whole range of what passes for
  good: a defective part among them raises the threshold, and defects escape. Take other images
  than those of the training: the model knows these, so their scores are too low. Of a data set
  (docs/datasets.md) only the good training images are used.

the machine
  Calibrate on the machine that runs the line: scores move a little with the precision in which it
  computes, bfloat16 or float32, and a line refuses a calibration made in the other one, unless
  evaluate_line --parity --accept has shown that the verdicts are the same.

examples
  calibrate_line --line 1 --images DIR --false-reject-rate 0.01
  calibrate_line --line 3 --parts 500 --false-reject-rate 0.01     the line's simulated camera

Each calibration is kept in the line's calibration folder; the file `active` there names the one
that counts. To go back to an older one, write its file name into `active` and restart the line.

exit codes: 0 calibrated; 2 configuration or images; 3 no model bundle, or not one for this line,
or a calibration folder that cannot be written"""


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `calibrate_line`; ends the process with the exit code."""
    sys.exit(run_command(lambda: calibrate_line(_arguments(argv))))


def calibrate_line(arguments: argparse.Namespace) -> int:
    """Calibrate, store, activate and report. Raises the LineErrors that end the command."""
    if arguments.seed is not None and arguments.parts is None:
        raise ConfigError("--seed goes with --parts N: it draws these; a folder has its own images")
    config = load_arguments_line(arguments)
    rate = float(arguments.false_reject_rate)
    parts_needed(rate)  # a wrong rate is said before anything long starts
    bundle = load_line_bundle(config)
    check_folder(config.calibration.folder)
    images = unseen_images(bundle, _images(arguments, config, rate))
    check_count(images, rate)
    scored = score_normals(config, bundle, images)
    record = calibrate(config, bundle, scored, rate, datetime.now(UTC))
    path = save_and_activate(config.calibration.folder, record)
    print(printable(report(record, images, path, line_arguments(config))))
    return 0


def report(record: CalibrationRecord, images: NormalImages, path: Path, line: str) -> str:
    """What was found, in words for the people of the line; `line` are the options that name it."""
    scores = record.score_quantiles
    expected, bound, wanted = (
        f"{1000 * rate:.3g}"
        for rate in (
            record.expected_false_reject_rate,
            record.false_reject_bound_95,
            record.wanted_false_reject_rate,
        )
    )
    return f"""\
Line {record.line} is calibrated on {record.used} images of good parts ({record.source}).

  threshold      {record.threshold:.6g}: a part with a higher score is a REJECT
  scores         {scores["minimum"]:.4g} lowest, {scores["median"]:.4g} median, \
{scores["maximum"]:.4g} highest
  false rejects  {expected} of 1000 good parts are to be expected (wanted: at most {wanted})
                 at most {bound} of 1000, at 95 % confidence, from {record.used} images
  model          bundle {record.bundle_id}, scored on {record.device} in {record.dtype}
  stored         {path}
                 and active from the line's next start
{_warnings(record, images)}
Next: run_line {line}"""


def _warnings(record: CalibrationRecord, images: NormalImages) -> str:
    text = ""
    if images.skipped:
        text += f"\nNote{skipped_text(images).removeprefix('.')}\n"
    if 0 < record.maybe_trained_on < record.used:
        known = record.used - record.maybe_trained_on
        text += (
            "\nWARNING: these seem to be the images of the training, with others added or removed: "
            f"{known} have\nnames of images that it held out, and the {record.maybe_trained_on} "
            "others were used as well. The model knows\nwhat it learnt from, so such scores are "
            "too low, and more good parts may be rejected than stated\nabove. Give the folder as "
            "it was at the training, of which only what was held out is used, or\nother parts "
            "alone. If these are other parts under the same names, nothing is wrong.\n"
        )
    elif record.maybe_trained_on:
        text += (
            "\nWARNING: the model was trained on these very images. It knows them, so their scores "
            "are\ntoo low, and more good parts may be rejected than stated above. Calibrate again "
            "with images\nthat were not used for training.\n"
        )
    return text


def _images(arguments: argparse.Namespace, config: LineConfig, rate: float) -> NormalImages:
    """The images that the arguments name, prepared."""
    if arguments.images is not None:
        root, files = normal_files(arguments.images)
        source = printable(f"folder {root}")
        with progress_bar("preparing", len(files)) as advance:
            return collect(folder_parts(root, files, config.frame), source, advance)
    return _simulated(arguments, config, rate)


def _simulated(arguments: argparse.Namespace, config: LineConfig, rate: float) -> NormalImages:
    camera, count = drawing_camera(config, "--images DIR"), int(arguments.parts)
    require_parts(count, rate)
    seed = camera.seed if arguments.seed is None else int(arguments.seed)
    parts = simulated_parts(camera, config.frame, count, seed)
    with progress_bar("drawing", count) as advance:
        return collect(parts, f"simulated {camera.product}, seed {seed}", advance)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = line_parser("calibrate_line", DESCRIPTION, EPILOG)
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="DIR", help="folder with good parts only")
    images.add_argument(
        "--parts",
        type=whole_number(1),
        metavar="N",
        help="draw N good parts of the simulated camera",
    )
    parser.add_argument(
        "--false-reject-rate",
        type=number,
        required=True,
        metavar="R",
        help="share of good parts that may be rejected, for instance 0.01",
    )
    parser.add_argument(
        "--seed",
        type=whole_number(0),
        metavar="S",
        help="seed of the drawn parts (default: the camera's own, with parts that it never shows)",
    )
    return parser.parse_args(argv)


if __name__ == "__main__":
    main()
