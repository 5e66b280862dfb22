"""From images of normal parts to a model bundle: everything of one training put together."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import torch
from rich.console import Console

from pipeline.errors import ConfigError, InputError, TrainingError
from stages.bundle import Bundle
from stages.exposure import exposure_level
from stages.model_profiles import PROFILES, ModelProfile
from training.augment import ViewSource
from training.distributed import World, joined
from training.identity import Identity, differences, in_words, together
from training.images import ImageSet, split
from training.loop import Best, Loop, Surroundings
from training.preview import write_curves, write_preview
from training.progress import LOG_FILE, ProgressReporter
from training.settings import TrainingSettings
from training.shipping import Preprocessing, Product, candidate, ship
from training.sole_training import sole_training
from training.synthesis import Synthesizer
from training.texture_bank import TextureBank, load_textures
from training.trainer import Trainer
from training.validation import Figures, ValidationSet, validate, validation_set

VALIDATION_SEED = 20_241
WORK_FOLDER = "training"


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
    bundle; the first one writes. Raises TrainingError when a loss is not finite, the disk is full,
    the training was interrupted or another one has the folder, InputError when there is nothing to
    resume or no painted defect shows, ConfigError for a device, torchrun's environment or the
    current folder as `out_folder`.
    """
    out_folder, folder = out_folder.resolve(), work_folder(out_folder)
    cv2.setNumThreads(1)  # the networks' threads need the cores
    with joined(settings.device) as world, sole_training(folder, world):
        profile = _with_schedule(profile or PROFILES[settings.profile], settings)
        bank = _texture_bank(settings, image_set, world)
        product = _product(image_set, bank, settings, preprocessing or {}, profile, world.size)
        source = ViewSource(product.seen(product.held_in.images), settings)
        synthesizer = Synthesizer(
            settings.kinds, None if bank is None else bank.images, settings.optics_share
        )
        channels = image_set.images.shape[3]
        trainer = Trainer(source, synthesizer, settings, channels, world.device, world, profile)
        judged = validation_set(
            product.seen(product.held_out.images[: settings.validation_images]),
            source.background,
            synthesizer,
            settings.kinds,
            VALIDATION_SEED,
        )
        device = str(world.device)
        judge = _judge(trainer, product, judged, device)
        best = _run(trainer, settings, folder, product.identity, judge, world, resume)
        bundle = world.of_first(lambda: ship(product, best, judged, device, out_folder))
        world.of_first(lambda: _draw(folder, bundle, judged, world.device))
    return bundle


def _run(
    trainer: Trainer,
    settings: TrainingSettings,
    folder: Path,
    identity: Identity,
    judge: Callable[[], Figures],
    world: World,
    resume: bool,
) -> Best:
    """The best weights of a whole training. Raises TrainingError where it ends before."""
    _check_all_alike(together(identity, settings, resume), world)
    with ProgressReporter(folder, Console(quiet=not world.first)) as reporter:
        surroundings = Surroundings(folder, identity, judge, reporter, time.monotonic, world)
        loop = Loop(trainer, settings, surroundings)
        if resume:
            loop.resume()
        else:
            loop.begin()
        world.of_first(lambda: reporter.began(trainer.step_count, world.size))
        finished = loop.run()
    if not finished or loop.best is None:
        raise TrainingError(
            f"the training was stopped at step {trainer.step_count}, {loop.progress:.0%} of its "
            "budget; the same command with --resume goes on from there"
        )
    if trainer.step_count == 0:
        raise TrainingError("the time was over before the first step: give more --minutes")
    return loop.best


def work_folder(out_folder: Path) -> Path:
    """Where a training keeps its checkpoint, log and pictures: beside the bundle, not in it.

    Raises ConfigError where the bundle would take the place of the current folder.
    """
    folder = out_folder.resolve()
    if Path.cwd().is_relative_to(folder):
        raise ConfigError(
            f"{out_folder} is the current folder or holds it, and a model bundle would replace it; "
            "give a folder of its own"
        )
    return folder.with_name(f"{folder.name}.{WORK_FOLDER}")


def _with_schedule(profile: ModelProfile, settings: TrainingSettings) -> ModelProfile:
    """The profile with the noise schedule that the settings ask for in place of its own."""
    diffusion = profile.diffusion
    wanted = replace(
        diffusion,
        schedule=settings.noise_schedule or diffusion.schedule,
        beta_end=settings.beta_end or diffusion.beta_end,
    )
    return replace(profile, diffusion=wanted)


def _product(
    images: ImageSet,
    bank: TextureBank | None,
    settings: TrainingSettings,
    preprocessing: Preprocessing,
    profile: ModelProfile,
    processes: int,
) -> Product:
    held_in, held_out = split(images, settings.validation_share, settings.seed)
    level = exposure_level(images.images, settings.exposure)
    textures = None if bank is None else f"{len(bank.images)} with digest {bank.digest}"
    return Product(
        profile,
        settings,
        images.digest,
        held_in,
        held_out,
        preprocessing,
        level,
        processes,
        textures,
    )


def _check_all_alike(told: Identity, world: World) -> None:
    """Raises InputError in all processes, with what differs, where one of them was told otherwise
    than the first.
    """
    of_first = world.of_first(lambda: told)
    differing = set(differences(of_first, told))
    found = world.largest(*(name in differing for name in of_first))
    names = [name for name, differs in zip(of_first, found, strict=True) if differs]
    if names:
        raise InputError(
            "the processes do not all train on the same as the first, which has "
            f"{in_words(of_first, names)}: give all of them the same command and the same images"
        )


def _texture_bank(
    settings: TrainingSettings, image_set: ImageSet, world: World
) -> TextureBank | None:
    if settings.textures is None:
        return None
    bank = load_textures(Path(settings.textures), image_set.images.shape[1:], settings.seed)
    if world.first:
        print(bank.summary)
    return bank


def _judge(
    trainer: Trainer, product: Product, images: ValidationSet, device: str
) -> Callable[[], Figures]:
    """Validation of the averaged weights as they are now, through a bundle as it would ship."""

    def judge() -> Figures:
        with candidate(product, *trainer.averaged()) as bundle:
            return validate(bundle, images, device)

    return judge


def _draw(folder: Path, bundle: Bundle, judged: ValidationSet, device: torch.device) -> None:
    """The pictures for people."""
    write_preview(folder, bundle, judged, str(device))
    write_curves(folder, folder / LOG_FILE)
