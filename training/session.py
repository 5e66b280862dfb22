"""From images of normal parts to a model bundle: everything of one training put together."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import torch
from rich.console import Console

from pipeline.errors import TrainingError
from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.device import choose_device
from stages.model_profiles import PROFILES, build_networks
from training.augment import ViewSource
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
    """What a training makes its bundle from: the images, and how they were prepared."""

    images: ImageSet
    preprocessing: Preprocessing
    held_out: tuple[str, ...]


def train(
    image_set: ImageSet,
    settings: TrainingSettings,
    out_folder: Path,
    preprocessing: Preprocessing | None = None,
    resume: bool = False,
) -> Bundle:
    """Train both networks and save the best weights as a bundle in `out_folder`.

    Checkpoint and log lie in `<out_folder>.training` beside it, preview and curves too. Raises
    TrainingError when a loss is not finite or the training was interrupted, InputError when
    there is nothing to resume.
    """
    folder = work_folder(out_folder)
    cv2.setNumThreads(1)  # the networks' threads need the cores
    held_in, held_out = split(image_set, settings.validation_share, settings.seed)
    product = Product(image_set, preprocessing or {}, held_out.names)
    source = ViewSource(held_in.images, settings)
    synthesizer = _synthesizer(settings, image_set)
    trainer = Trainer(
        source,
        synthesizer,
        settings,
        channels=image_set.images.shape[3],
        device=choose_device(settings.device),
    )
    judged = validation_set(
        held_out.images[: settings.validation_images],
        source.background,
        synthesizer,
        settings.kinds,
        VALIDATION_SEED,
    )
    judge = _judge(trainer, product, settings, judged)
    with ProgressReporter(folder, Console()) as reporter:
        identity = _identity(product, settings)
        surroundings = Surroundings(folder, identity, judge, reporter, time.monotonic)
        loop = Loop(trainer, settings, surroundings)
        if resume:
            loop.resume()
        finished = loop.run()
    if not finished or loop.best is None:
        raise TrainingError(
            f"the training was stopped at step {trainer.step_count}, {loop.progress:.0%} of its "
            "budget; the same command with --resume goes on from there"
        )
    bundle = _shipped(loop.best, product, settings, out_folder)
    write_preview(folder, bundle, judged, settings.device)
    write_curves(folder, folder / LOG_FILE)
    return bundle


def work_folder(out_folder: Path) -> Path:
    """Where a training keeps its checkpoint, log and pictures: beside the bundle, not in it."""
    return out_folder.with_name(f"{out_folder.name}.{WORK_FOLDER}")


def _identity(product: Product, settings: TrainingSettings) -> str:
    count = len(product.images.images)
    return (
        f"profile {settings.profile}, {count} images with digest {product.images.digest}, "
        f"seed {settings.seed}"
    )


def _synthesizer(settings: TrainingSettings, image_set: ImageSet) -> Synthesizer:
    if settings.textures is None:
        return Synthesizer(settings.kinds)
    bank = load_textures(Path(settings.textures), *image_set.images.shape[1:])
    return Synthesizer(settings.kinds, bank)


def _judge(
    trainer: Trainer, product: Product, settings: TrainingSettings, images: ValidationSet
) -> Callable[[], Figures]:
    """Validation of the averaged weights as they are now, through a bundle as it would ship."""

    def judge() -> Figures:
        with tempfile.TemporaryDirectory() as folder:
            unet, segmentation = trainer.averaged()
            manifest = _manifest(product, settings, {})
            bundle = save_bundle(Path(folder) / "candidate", manifest, unet, segmentation)
            return validate(bundle, images, settings.device)

    return judge


def _shipped(best: Best, product: Product, settings: TrainingSettings, out_folder: Path) -> Bundle:
    channels = product.images.images.shape[3]
    unet, segmentation = build_networks(PROFILES[settings.profile], channels)
    unet.load_state_dict(best.unet)
    segmentation.load_state_dict(best.segmentation)
    manifest = _manifest(product, settings, {**best.figures.as_mapping(), "step": float(best.step)})
    return save_bundle(out_folder, manifest, unet, segmentation)


def _settings_of(settings: TrainingSettings) -> dict[str, Any]:
    """The settings as the manifest keeps them: plain values, lists of names."""
    return settings.model_dump(mode="json", exclude={"profile", "seed"})


def _manifest(
    product: Product, settings: TrainingSettings, validation: dict[str, float]
) -> BundleManifest:
    height, width, channels = product.images.images.shape[1:]
    return BundleManifest(
        profile=PROFILES[settings.profile],
        channels=channels,
        image_size_px=(height, width),
        noise_seed=settings.seed,
        preprocessing=dict(product.preprocessing),
        training=_settings_of(settings),
        data_digest=product.images.digest,
        held_out=tuple(product.held_out),
        versions={"torch": str(torch.__version__), "inspection-line": version("inspection-line")},
        validation=validation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
