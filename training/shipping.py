"""From trained networks to the bundle that ships: what belongs to it besides their weights."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from stages.bundle import Bundle, BundleManifest, save_bundle
from stages.exposure import evened
from stages.model_profiles import ModelProfile, build_networks
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork
from stages.segmentation.surface import SurfaceModel
from training.checkpoint import writing
from training.identity import Identity, identity_of
from training.images import ImageSet
from training.loop import Best
from training.settings import TrainingSettings
from training.surface import fitted, scaled
from training.validation import Figures, ValidationSet, validate

Preprocessing = Mapping[str, Any]
"""Settings that the preprocessing stage understands: scalars and lists; opaque here."""


@dataclass(frozen=True)
class Product:
    """What a training makes its bundle from: sizes, the images by their digest, those it learns
    from and those held out, how they were prepared and at what exposure they are seen, by how many
    processes together, and the textures to paint with by their digest.
    """

    profile: ModelProfile
    settings: TrainingSettings
    digest: str
    held_in: ImageSet
    held_out: ImageSet
    preprocessing: Preprocessing
    exposure_level: float | None
    processes: int = 1
    textures: str | None = None

    @property
    def identity(self) -> Identity:
        """What all processes must agree on, and a checkpoint belongs to."""
        count = len(self.held_in.images) + len(self.held_out.images)
        images = f"{count} with digest {self.digest}"
        return identity_of(self.settings, self.profile.name, images, self.textures)

    def seen(self, images: np.ndarray) -> np.ndarray:
        """(N, H, W, C) uint8 images at the exposure at which the networks see them."""
        return images if self.exposure_level is None else evened(images, self.exposure_level)


@contextmanager
def candidate(
    product: Product,
    unet: UNet,
    segmentation: SegmentationNetwork,
    surface: SurfaceModel | None = None,
) -> Iterator[Bundle]:
    """A bundle as it would ship, in a folder that is gone afterwards.

    Raises TrainingError where it cannot be written.
    """
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder) / "candidate"
        with writing(place):
            bundle = save_bundle(place, _manifest(product, {}), unet, segmentation, surface)
        yield bundle


def ship(
    product: Product, best: Best, judged: ValidationSet, device: str, out_folder: Path
) -> Bundle:
    """The bundle of the best weights, with a surface model if the settings say so; its figures are
    those of both together. Raises TrainingError where it cannot be written.
    """
    unet, segmentation = build_networks(product.profile, product.held_in.images.shape[3])
    unet.load_state_dict(best.unet)
    segmentation.load_state_dict(best.segmentation)
    surface, figures = None, best.figures
    if product.settings.surface:
        surface, figures = _with_surface(product, unet, segmentation, judged, device)
    manifest = _manifest(product, {**figures.as_mapping(), "step": float(best.step)})
    with writing(out_folder):
        return save_bundle(out_folder, manifest, unet, segmentation, surface)


def _with_surface(
    product: Product,
    unet: UNet,
    segmentation: SegmentationNetwork,
    judged: ValidationSet,
    device: str,
) -> tuple[SurfaceModel, Figures]:
    """A surface model for these networks, and the figures of all three."""
    surface = fitted(product.held_in.images, product.exposure_level)
    with candidate(product, unet, segmentation) as plain:
        surface = scaled(surface, plain, product.held_out.images, device)
    with candidate(product, unet, segmentation, surface) as bundle:
        return surface, validate(bundle, judged, device)


def _manifest(product: Product, validation: dict[str, float]) -> BundleManifest:
    height, width, channels = product.held_in.images.shape[1:]
    options = product.settings.model_dump(mode="json", exclude={"profile", "seed"})
    return BundleManifest(
        profile=product.profile,
        channels=channels,
        image_size_px=(height, width),
        noise_seed=product.settings.seed,
        exposure_level=product.exposure_level,
        preprocessing=dict(product.preprocessing),
        training={**options, "processes": product.processes},
        data_digest=product.digest,
        held_out=tuple(product.held_out.names),
        versions={"torch": str(torch.__version__), "inspection-line": version("inspection-line")},
        validation=validation,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )
