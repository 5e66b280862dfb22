"""From images of normal parts to a model bundle: everything of one training put together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console

from pipeline.errors import InputError, TrainingError
from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.exposure import evened, exposure_level
from stages.model_profiles import PROFILES, ModelProfile, build_networks
from training.augment import ViewSource
from training.checkpoint import writing
from training.distributed import World, joined
from training.images import ImageSet, split
from training.loop import Best, Loop, Surroundings
from training.preview import write_curves, write_preview
from training.progress import LOG_FILE, ProgressReporter
from training.settings import TrainingSettings
from training.synthesis import Synthesizer
from training.textures import load_textures
from training.trainer import Trainer
from training.validation import Figures, ValidationSet, validate, validation_set

VALIDATION_SEED = 20_241
WORK_FOLDER = "training"

Preprocessing = Mapping[str, Any]
"""Settings that the preprocessing stage understands: scalars and lists; opaque here."""


@dataclass(frozen=True)
class Product:
    """What a training makes its bundle from: sizes, the images, how they were prepared and at
    what exposure they are seen, and by how many processes together.
    """

    profile: ModelProfile
    images: ImageSet
    preprocessing: Preprocessing
    exposure_level: float | None
    held_out: tuple[str, ...]
    processes: int = 1


def train(
    image_set: ImageSet,
    settings: TrainingSettings,
    out_folder: Path,
    preprocessing: Preprocessing | None = None,
    resume: bool = False,
    profile: ModelProfile | None = None,
) -> Bundle:
    """Train both networks and save the best weights as a bundle in `out_folder`.

    `profile` takes the place of the one that the settings name. Checkpoint, log and pictures lie
    in `<out_folder>.training` beside it. Under torchrun all processes train together and get the
    bundle; the first one writes. Raises TrainingError when a loss is not finite, the disk is full
    or the training was interrupted, InputError when there is nothing to resume, ConfigError for a
    device or torchrun's environment.
    """
    folder = work_folder(out_folder)
    cv2.setNumThreads(1)  # the networks' threads need the cores
    with joined(settings.device) as world:
        profile = profile or PROFILES[settings.profile]
        level = exposure_level(image_set.images, settings.exposure)
        seen = (
            image_set
            if level is None
            else replace(image_set, images=evened(image_set.images, level))
        )
        held_in, held_out = split(seen, settings.validation_share, settings.seed)
        product = Product(
            profile, image_set, preprocessing or {}, level, held_out.names, world.size
        )
        source = ViewSource(held_in.images, settings)
        synthesizer = _synthesizer(settings, image_set)
        channels = image_set.images.shape[3]
        trainer = Trainer(source, synthesizer, settings, channels, world.device, world, profile)
        judged = validation_set(
            held_out.images[: settings.validation_images],
            source.background,
            synthesizer,
            settings.kinds,
            VALIDATION_SEED,
        )
        judge = _judge(trainer, product, settings, judged, world.device)
        best = _run(trainer, settings, folder, _identity(product, settings), judge, world, resume)
        bundle = world.of_first(lambda: _shipped(best, product, settings, out_folder))
        world.of_first(lambda: _draw(folder, bundle, judged, world.device))
    return bundle


def _run(
    trainer: Trainer,
    settings: TrainingSettings,
    folder: Path,
    identity: str,
    judge: Callable[[], Figures],
    world: World,
    resume: bool,
) -> Best:
    """The best weights of a whole training. Raises TrainingError where it ends before."""
    _check_all_alike(identity, world)
    with ProgressReporter(folder, Console(quiet=not world.first)) as reporter:
        surroundings = Surroundings(folder, identity, judge, reporter, time.monotonic, world)
        loop = Loop(trainer, settings, surroundings)
        if resume:
            loop.resume()
        world.of_first(lambda: reporter.began(trainer.step_count, world.size))
        finished = loop.run()
    if not finished or loop.best is None:
        raise TrainingError(
            f"the training was stopped at step {trainer.step_count}, {loop.progress:.0%} of its "
            "budget; the same command with --resume goes on from there"
        )
    return loop.best


def work_folder(out_folder: Path) -> Path:
    """Where a training keeps its checkpoint, log and pictures: beside the bundle, not in it."""
    return out_folder.with_name(f"{out_folder.name}.{WORK_FOLDER}")


def _identity(product: Product, settings: TrainingSettings) -> str:
    count = len(product.images.images)
    return (
        f"profile {product.profile.name}, {count} images with digest {product.images.digest}, "
        f"seed {settings.seed}"
    )


def _check_all_alike(identity: str, world: World) -> None:
    """Raises InputError in all processes where one of them trains on something else."""
    of_first = world.of_first(lambda: identity)
    if world.largest(identity != of_first) != [0]:
        raise InputError(
            f"the processes do not all train on the same as the first, which has {of_first}: give "
            "all of them the same command and the same images"
        )


def _synthesizer(settings: TrainingSettings, image_set: ImageSet) -> Synthesizer:
    if settings.textures is None:
        return Synthesizer(settings.kinds, optics_share=settings.optics_share)
    bank = load_textures(Path(settings.textures), *image_set.images.shape[1:])
    return Synthesizer(settings.kinds, bank, settings.optics_share)


def _judge(
    trainer: Trainer,
    product: Product,
    settings: TrainingSettings,
    images: ValidationSet,
    device: torch.device,
) -> Callable[[], Figures]:
    """Validation of the averaged weights as they are now, through a bundle as it would ship."""

    def judge() -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            unet, segmentation = trainer.averaged()
            manifest = _manifest(product, settings, {})
            candidate = Path(folder) / "candidate"
            with writing(candidate):
                bundle = save_bundle(candidate, manifest, unet, segmentation)
            return validate(bundle, images, str(device))

    return judge


def _shipped(best: Best, product: Product, settings: TrainingSettings, out_folder: Path) -> Bundle:
    channels = product.images.images.shape[3]
    unet, segmentation = build_networks(product.profile, channels)
    unet.load_state_dict(best.unet)
    segmentation.load_state_dict(best.segmentation)
    manifest = _manifest(product, settings, {**best.figures.as_mapping(), "step": float(best.step)})
    with writing(out_folder):
        return save_bundle(out_folder, manifest, unet, segmentation)


def _draw(folder: Path, bundle: Bundle, judged: ValidationSet, device: torch.device) -> None:
    """The pictures for people."""
    write_preview(folder, bundle, judged, str(device))
    write_curves(folder, folder / LOG_FILE)


def _manifest(
    product: Product, settings: TrainingSettings, validation: dict[str, float]
) -> BundleManifest:
    height, width, channels = product.images.images.shape[1:]
    options = settings.model_dump(mode="json", exclude={"profile", "seed"})
    return BundleManifest(
        profile=product.profile,
        channels=channels,
        image_size_px=(height, width),
        noise_seed=settings.seed,
        exposure_level=product.exposure_level,
        preprocessing=dict(product.preprocessing),
        training={**options, "processes": product.processes},
        data_digest=product.images.digest,
        held_out=tuple(product.held_out),
        versions={"torch": str(torch.__version__), "inspection-line": version("inspection-line")},
        validation=validation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
