"""The command `train_line`: from images of good parts to the line's model bundle."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import get_args

from pipeline.command_line import (
    above_zero,
    drawing_camera,
    line_options,
    line_parser,
    load_arguments_line,
    one_of,
    run_command,
    share,
    whole_number,
)
from pipeline.config import DEFAULT_RECIPE, LineConfig
from pipeline.errors import ConfigError, InputError
from stages.bundle import Bundle, check_place
from stages.exposure import Exposure
from stages.model_profiles import PROFILES
from stages.preprocessing.prepare import preparation_settings, prepare
from training.checkpoint import writing
from training.distributed import speaks_for_all
from training.images import MINIMUM_IMAGES, ImageSet, listed, load_images
from training.options import parse_settings, settings_of
from training.parts import VIEW_PX, simulated_parts
from training.session import train, work_folder
from training.settings import JOINTLY, OF_PROFILE, TrainingSettings
from training.synthesis import AnomalyKind
from training.texture_bank import MOST_TEXTURES

DESCRIPTION = """\
Train the networks of a line on images of good parts. No image of a defect is needed: the training
paints its own. The result is the line's model bundle; calibrate the line afterwards."""

EPILOG = """\
the images
  Only good parts, from the line's own camera and light, over the whole range of what passes for
  good; some hundred are better than some dozen. Files of any size are prepared as the line's
  configuration says (`frame`). Of a data set (docs/datasets.md: MVTec AD, VisA, DAGM 2007 and
  their likes) only the good training images are used. 15 in 100 are held out to validate on, those
  that show nearly the same together, and calibrate_line on the same folder uses just these; better,
  keep others aside for it.

the time
  --minutes M trains for that long; on two cores 60 is a good start. The same figure on a faster
  machine gives a better model. --steps S is for results that can be repeated: on the CPU of one
  machine the same command gives the same weights, stopped and resumed or not.

several GPUs or machines
  The same command under torchrun, one process for each GPU. Each process draws batches of its own:
  N processes learn from N times as many samples a step. All need the same images; the first one
  validates, reports and writes. Ctrl-C ends all after the step in hand, and --resume may go on with
  another number of processes. On CPUs, set OMP_NUM_THREADS to the cores of each process.

what it leaves
  The bundle goes to the folder `model.bundle` of the configuration, or to --out. Beside it, in
  the folder of that name with `.training`, lie checkpoint, log, curves.png and preview.png: look
  at the preview before you use the model; skipped.txt lists the images that could not be used, and
  why. Ctrl-C stops after the step in hand; the same command
  with --resume goes on from there, and after a fault from the last checkpoint, which is written
  every few minutes; only budget and device may be others than before. A checkpoint takes five
  times the weights in float32: 90 MB, with profile paper 3 GB.

examples
  train_line --line 1 --images DIR --minutes 60
  train_line --line 3 --parts 800 --minutes 40          the line's simulated camera
  train_line --line 1 --images DIR --minutes 60 --flip both
  train_line --line 1 --images DIR --minutes 600 --profile paper --device cuda:0
  torchrun --standalone --nproc-per-node 4 -m training.command --line 1 --images DIR --minutes 60
  train_line export --line 1 --onnx FILE                 a trained bundle for other runtimes

exit codes: 0 trained; 1 stopped before the end; 2 configuration or images"""

EVENED = """\
All images are brought to one brightness, in this training and in every use of its model: good
parts come clearly lighter and darker, or --exposure asked for it. A part that is wrong only in
being lighter or darker as a whole is then not found; --exposure as_is leaves images as they are."""

SKIPPED_FILE = "skipped.txt"
RATE = 0.01
"""Of good parts that the next command's calibration would let be rejected; meant to be changed."""
KINDS = ", ".join(kind.value for kind in AnomalyKind)


def main(argv: Sequence[str] | None = None) -> None:
    """Entry point of `train_line`; ends the process with the exit code."""
    given = sys.argv[1:] if argv is None else argv
    if given and given[0] == "export":
        sys.exit(run_command(lambda: _export(given[1:])))
    sys.exit(run_command(lambda: train_line(_arguments(given))))


def train_line(arguments: argparse.Namespace) -> int:
    """Train, save and report. Raises the LineErrors that end the command."""
    config = load_arguments_line(arguments)
    settings = _settings(arguments, config)
    out: Path = arguments.out or config.model.bundle
    work = work_folder(out)
    check_place(out)
    images = training_images(arguments, config)
    if speaks_for_all():
        _announce(images, work / SKIPPED_FILE)
    bundle = train(images, settings, out, preparation_settings(config.frame), arguments.resume)
    if speaks_for_all():
        _report(bundle, work, _calibration(arguments, config, bundle))
    return 0


def _export(given: Sequence[str]) -> int:
    from training.export.command import export_line  # noqa: PLC0415 - no training needs evaluation

    return export_line(given)


def _report(bundle: Bundle, work: Path, calibration: str) -> None:
    if bundle.manifest.exposure_level is not None:
        print(EVENED)
    figures = ", ".join(f"{name} {value:g}" for name, value in bundle.manifest.validation.items())
    print(
        f"Bundle {bundle.id} is in {bundle.folder}.\n"
        f"  validation  {figures} (held-out good parts against painted defects)\n"
        f"  pictures    {work}\n"
        f"Next: {calibration}"
    )


def _calibration(arguments: argparse.Namespace, config: LineConfig, bundle: Bundle) -> str:
    """The command, as a shell reads it, that calibrates the line for this very bundle."""
    changes = []
    if arguments.out is not None and config.recipe != DEFAULT_RECIPE:
        # the recipe's own bundle would outweigh model.bundle
        folder = config.calibration.folder
        changes += [f"recipe={DEFAULT_RECIPE}", f"calibration.folder={folder}"]
    if arguments.out is not None:
        changes.append(f"model.bundle={bundle.folder}")
    images = ("--parts", 200) if arguments.images is None else ("--images", arguments.images)
    rest = (*images, "--false-reject-rate", RATE)
    return shlex.join(["calibrate_line", *line_options(arguments, changes), *map(str, rest)])


def _settings(arguments: argparse.Namespace, config: LineConfig) -> TrainingSettings:
    given = {
        "minutes": arguments.minutes,
        "steps": arguments.steps,
        "seed": arguments.seed,
        "device": arguments.device or config.model.device,
        "flip_horizontal": arguments.flip in ("horizontal", "both"),
        "flip_vertical": arguments.flip in ("vertical", "both"),
        "kinds": _kinds(arguments),
        "textures": arguments.textures,
        "exposure": arguments.exposure,
        "surface": False if arguments.no_surface else None,
        "learning_rate": arguments.learning_rate,
        "whole_share": arguments.whole_share,
    }
    return settings_of(
        arguments.profile,
        {
            **(JOINTLY if arguments.joint else {}),
            **{name: value for name, value in given.items() if value is not None},
        },
        parse_settings(arguments.options, "--option"),
    )


def _kinds(arguments: argparse.Namespace) -> tuple[AnomalyKind, ...] | None:
    """Those of the profile without those that are not wanted; None leaves them to the profile."""
    if not arguments.without:
        return None
    whole = TrainingSettings.model_validate({"steps": 1, **OF_PROFILE.get(arguments.profile, {})})
    return painted_kinds(arguments, whole.kinds)


def training_images(arguments: argparse.Namespace, config: LineConfig) -> ImageSet:
    """The good parts that --images or --parts ask for, prepared. Raises InputError, ConfigError."""
    frame = config.frame
    if arguments.images is not None:
        return load_images(
            arguments.images,
            lambda image: prepare(image, frame, VIEW_PX).image,
            max_megapixels=frame.max_megapixels,
        )
    camera, count = drawing_camera(config, "--images DIR"), int(arguments.parts)
    if count < MINIMUM_IMAGES:
        raise InputError(f"--parts {count}: training needs at least {MINIMUM_IMAGES} good parts")
    return simulated_parts(camera, frame, count)


def _announce(images: ImageSet, listing: Path) -> None:
    """Say what is trained on, and list in a file what is not. Raises TrainingError where it cannot
    be written.
    """
    counted = f"Training on {len(images.images)} images of good parts (digest {images.digest})."
    with writing(listing):
        if not images.skipped:
            listing.unlink(missing_ok=True)
        else:
            listing.parent.mkdir(parents=True, exist_ok=True)
            lines = [f"{name}: {why}\n" for name, why in images.skipped]
            listing.write_text("".join(lines), encoding="utf-8")
    where = f"\n  all that was skipped: {listing}" if images.skipped else ""
    print(counted + listed(images.skipped) + where)


def add_images_options(parser: argparse.ArgumentParser) -> None:
    """--images and --parts, of which one is wanted."""
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="DIR", help="folder with good parts only")
    images.add_argument(
        "--parts",
        type=whole_number(1),
        metavar="N",
        help="draw N good parts of the simulated camera",
    )


def add_painting_options(parser: argparse.ArgumentParser) -> None:
    """--without and --textures: what is painted onto the good parts."""
    parser.add_argument(
        "--without",
        type=one_of(AnomalyKind),
        action="append",
        default=[],
        metavar="KIND",
        help=f"leave out a kind of painted defect; may be repeated ({KINDS}; profile paper "
        f"has only {AnomalyKind.PERLIN.value})",
    )
    parser.add_argument(
        "--textures",
        metavar="DIR",
        help=f"folder of texture images to paint with (of more than {MOST_TEXTURES} as many, drawn "
        "by the seed)",
    )


def painted_kinds(
    arguments: argparse.Namespace, among: Sequence[AnomalyKind] = tuple(AnomalyKind)
) -> tuple[AnomalyKind, ...]:
    """Those kinds that --without leaves. Raises ConfigError where none is left."""
    kinds = tuple(kind for kind in among if kind not in arguments.without)
    if not kinds:
        raise ConfigError("--without leaves no kinds of painted defects: leave out fewer")
    return kinds


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = line_parser("train_line", DESCRIPTION, EPILOG)
    add_images_options(parser)
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=above_zero, metavar="M", help="time to train")
    budget.add_argument("--steps", type=whole_number(1), metavar="S", help="steps to train")
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--out", type=Path, metavar="DIR", help="bundle folder of its own")
    parser.add_argument(
        "--profile",
        choices=sorted(PROFILES),
        default="compact",
        help="sizes of the networks: compact, texture for surfaces that differ from part to part "
        "in every detail, or the paper's for a GPU",
    )
    parser.add_argument(
        "--joint",
        action="store_true",
        help="train both networks together to the end, as the paper does; by default the U-Net "
        "comes first, which reaches further in minutes to hours",
    )
    parser.add_argument("--device", metavar="D", help="auto, cpu or cuda:0 (default: the line's)")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="default 0")
    _add_synthesis_options(parser)
    return parser.parse_args(argv)


def _add_synthesis_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--flip",
        choices=("none", "horizontal", "vertical", "both"),
        default="none",
        help="mirror images at random, where a mirrored part is a good part too; the surface model "
        "learns from the images as they are, so let them show every way in which parts lie",
    )
    parser.add_argument(
        "--exposure",
        choices=get_args(Exposure),
        help="bring all images to one brightness (evened) or not (as_is); auto, the default but "
        "for profile paper, does so where good parts come clearly lighter and darker",
    )
    parser.add_argument(
        "--no-surface",
        action="store_true",
        help="do not compare brightness and grain with those of good parts, place by place, which "
        "finds what is wrong with a large area (profile paper does not either)",
    )
    add_painting_options(parser)
    parser.add_argument(
        "--whole-share",
        type=share,
        metavar="P",
        help="share of the steps on whole images instead of crops (default 0.5); with 1, a part "
        "that always lies in the same place is learnt soonest",
    )
    parser.add_argument(
        "--learning-rate", type=above_zero, metavar="R", help="peak rate of the U-Net"
    )
    parser.add_argument(
        "--option",
        dest="options",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="any setting of the training (docs/training.md), as in rate_schedule=constant or "
        "ema_decay=0.99; may be repeated, and outweighs the other options",
    )


if __name__ == "__main__":
    main()
