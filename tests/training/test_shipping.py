from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from stages.bundle import Bundle, load_bundle
from stages.inspector import Inspector
from stages.model_profiles import ModelProfile, build_networks
from stages.reconstruction.unet import UNet
from stages.segmentation.network import SegmentationNetwork
from training.images import ImageSet, split
from training.loop import Best
from training.settings import TrainingSettings
from training.shipping import Product, candidate, ship
from training.synthesis import Synthesizer
from training.validation import Figures, ValidationSet, validate, validation_set

KEPT = Figures(0.5, 0.5, 0.5, {})
"""What the networks alone are said to have reached; no real figures are all the same."""


@pytest.fixture
def product(good_parts: ImageSet, tiny: ModelProfile) -> Product:
    settings = TrainingSettings(profile="tiny", steps=1, surface=False, flip_horizontal=True)
    held_in, held_out = split(good_parts, 0.3, 0)
    return Product(tiny, settings, good_parts.digest, held_in, held_out, {"crop": [1, 2]}, None)


@pytest.fixture
def judged(product: Product) -> ValidationSet:
    synthesizer = Synthesizer()
    kinds = product.settings.kinds
    return validation_set(product.held_out.images, None, synthesizer, kinds, 0)


@pytest.fixture
def networks(tiny: ModelProfile) -> tuple[UNet, SegmentationNetwork]:
    torch.manual_seed(0)
    return build_networks(tiny, 1)


@pytest.fixture
def best(networks: tuple[UNet, SegmentationNetwork]) -> Best:
    return Best(7, KEPT, networks[0].state_dict(), networks[1].state_dict())


def scores(bundle: Bundle, product: Product) -> np.ndarray:
    return Inspector(bundle, "cpu").inspect(product.held_out.images).scores


def test_networks_alone_ship_with_the_figures_that_chose_them(
    product: Product, best: Best, judged: ValidationSet, tmp_path: Path
) -> None:
    bundle = ship(product, best, judged, "cpu", tmp_path / "bundle")

    manifest = load_bundle(tmp_path / "bundle").manifest
    assert bundle.surface() is None
    assert manifest.validation == {"image_auroc": 0.5, "image_ap": 0.5, "pixel_ap": 0.5, "step": 7}
    assert manifest.held_out == product.held_out.names
    assert manifest.preprocessing == {"crop": [1, 2]}


def test_with_a_surface_model_the_figures_are_those_of_both(
    product: Product, best: Best, judged: ValidationSet, tmp_path: Path
) -> None:
    alone = ship(product, best, judged, "cpu", tmp_path / "alone")
    settings = product.settings.model_copy(update={"surface": True})

    bundle = ship(replace(product, settings=settings), best, judged, "cpu", tmp_path / "bundle")

    found = validate(bundle, judged, "cpu").as_mapping()
    assert bundle.manifest.validation == {**found, "step": 7}
    assert (scores(bundle, product) > scores(alone, product)).all()
    assert bundle.manifest.training["surface"] is True


def test_a_candidate_is_gone_afterwards(
    product: Product, networks: tuple[UNet, SegmentationNetwork]
) -> None:
    with candidate(product, *networks) as bundle:
        assert load_bundle(bundle.folder).id == bundle.id
    assert not bundle.folder.parent.exists()


def test_images_are_seen_at_the_products_exposure(product: Product) -> None:
    dark = product.held_out.images // 3
    assert product.seen(dark) is dark
    evened = replace(product, exposure_level=110.0).seen(dark)
    assert np.median(evened, axis=(1, 2, 3)) == pytest.approx(110, abs=2)


def test_what_a_checkpoint_belongs_to(product: Product, good_parts: ImageSet) -> None:
    identity = product.identity

    assert identity["profile"] == "tiny"
    assert identity["images"] == f"32 with digest {good_parts.digest}"
    free = {"minutes", "steps", "device", "validation_minutes", "checkpoint_minutes"}
    assert identity["textures"] == "None"
    assert replace(product, textures="12 with digest 0a").identity["textures"].endswith("digest 0a")
    assert identity.keys() == (TrainingSettings.model_fields.keys() - free) | {"images"}
