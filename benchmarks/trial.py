"""A trial: one profile trained on a material and judged by it. Options, settings, figures."""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.material import Material
from calibration.progress import progress_bar
from evaluation.cases import Extremes
from evaluation.evaluate import figures_of, run
from evaluation.report import summaries_content
from evaluation.results import Figures, Summary, summarise
from pipeline.command_line import above_zero, whole_number
from stages.bundle import Bundle
from stages.inspector import Inspector
from stages.model_profiles import ModelProfile
from stages.preprocessing.prepare import preparation_settings
from training.images import MINIMUM_IMAGES
from training.options import parse_settings, settings_of
from training.session import train
from training.settings import TrainingSettings

BATCH = 8
SIDES_PX = range(64, 1025, 32)


@dataclass(frozen=True)
class Trial:
    """A bundle, the seed and the seconds of its training, and how well it tells parts apart."""

    bundle: Bundle
    seed: int
    training_s: float
    figures: Figures


def run_trial(
    material: Material, profile: ModelProfile, settings: TrainingSettings, folder: Path
) -> Trial:
    """Train networks of `profile` into `folder` and evaluate them in batches of 8.

    Raises TrainingError and InputError as the training and the evaluation do.
    """
    started_s = time.monotonic()
    preparation = preparation_settings(material.frame)
    bundle = train(material.training, settings, folder, preparation, profile=profile)
    training_s = time.monotonic() - started_s
    inspector = Inspector(bundle, settings.device)
    with progress_bar(f"evaluating {profile.name}", len(material.test.parts)) as advance:
        done = run(inspector, material.test, BATCH, Extremes(0), advance)
    return Trial(bundle, settings.seed, training_s, figures_of(material.test, done))


def add_trial_options(parser: argparse.ArgumentParser) -> None:
    """The options that every benchmark with a training has."""
    budget = parser.add_mutually_exclusive_group(required=True)
    budget.add_argument("--minutes", type=above_zero, metavar="M", help="time of each training")
    budget.add_argument("--steps", type=whole_number(1), metavar="S", help="its steps instead")
    parser.add_argument("--device", default="auto", metavar="D", help="auto, cpu or cuda:0")
    parser.add_argument(
        "--seeds",
        type=whole_number(1),
        default=1,
        metavar="K",
        help="train K times, with seeds from 0 on: mean and standard deviation (default 1)",
    )
    parser.add_argument(
        "--set",
        dest="overrides",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a setting of all trainings (docs/training.md), as in flip_horizontal=true",
    )
    parser.add_argument(
        "--input-px",
        type=int,
        choices=SIDES_PX,
        default=256,
        metavar="N",
        help="side of what the networks see, a multiple of 32 (default 256)",
    )
    parser.add_argument(
        "--parts",
        type=whole_number(MINIMUM_IMAGES),
        default=800,
        metavar="N",
        help="simulated good parts to train on (default 800)",
    )
    parser.add_argument(
        "--test-parts",
        type=whole_number(2),
        default=300,
        metavar="N",
        help="fresh simulated parts to test with, every other one defective (default 300)",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep the bundles and logs here")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")


def training_settings(
    options: argparse.Namespace, profile: ModelProfile, seed: int
) -> TrainingSettings:
    """The settings that the options ask for. Raises ConfigError that lists every mistake."""
    given = {
        "minutes": options.minutes,
        "steps": options.steps,
        "device": options.device,
        "seed": seed,
    }
    return settings_of(profile.name, given, parse_settings(options.overrides, "--set"))


@contextmanager
def bundle_folder(options: argparse.Namespace) -> Iterator[Path]:
    """Where the bundles go: the folder of --keep, or one that disappears at the end."""
    if options.keep is not None:
        yield options.keep
        return
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


def overall(trials: Sequence[Trial]) -> Summary:
    """All parts, over the trials."""
    return summarise([trial.figures.overall for trial in trials])


def per_type(trials: Sequence[Trial]) -> dict[str, Summary]:
    """Each kind of defect against all good parts, over the trials."""
    return {
        kind: summarise([trial.figures.per_type[kind] for trial in trials])
        for kind in trials[0].figures.per_type
    }


def trials_content(trials: Sequence[Trial]) -> dict[str, Any]:
    """The figures for JSON, in the form of `evaluate_line --json`, and each training's own."""
    content = summaries_content(overall(trials), per_type(trials))
    content["trainings"] = [_training_content(trial) for trial in trials]
    return content


def _training_content(trial: Trial) -> dict[str, Any]:
    manifest = trial.bundle.manifest
    return {
        "bundle": trial.bundle.id,
        "seed": trial.seed,
        "training_s": round(trial.training_s, 1),
        "validation": manifest.validation,
        "settings": manifest.training,
        "overall": asdict(trial.figures.overall),
    }
