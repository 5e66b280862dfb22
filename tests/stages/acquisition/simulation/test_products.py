import hashlib
import itertools
import subprocess
import sys

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.messages import Truth
from stages.acquisition.simulation import DEFECT_KINDS, PRODUCTS, PartRenderer

SIZE_PX = (256, 256)
CHANNELS = {"brushed_metal": 1, "woven_fabric": 3, "moulded_cap": 3, "worn_metal": 1}


@pytest.fixture(scope="module", params=PRODUCTS)
def renderer(request):
    return PartRenderer(request.param, SIZE_PX, seed=5, defect_share=0.5)


def digest(renderer):
    parts = [renderer.render(sequence) for sequence in range(6)]
    data = b"".join(part.image.tobytes() + part.mask.tobytes() for part in parts)
    return hashlib.sha256(data + repr([part.truth for part in parts]).encode()).hexdigest()


def shape_for(product, size_px):
    return size_px if CHANNELS[product] == 1 else (*size_px, CHANNELS[product])


def test_two_renderers_with_the_same_arguments_give_the_same_bytes(renderer):
    again = PartRenderer(renderer.product, SIZE_PX, seed=5, defect_share=0.5)
    assert digest(again) == digest(renderer)


def test_the_order_of_the_calls_does_not_matter(renderer):
    late = renderer.render(9).image
    renderer.render(2)
    np.testing.assert_array_equal(renderer.render(9).image, late)


def test_a_fresh_process_gives_the_same_bytes(renderer):
    program = (
        "import hashlib; from stages.acquisition.simulation import PartRenderer\n"
        f"renderer = PartRenderer({renderer.product!r}, {SIZE_PX}, seed=5, defect_share=0.5)\n"
        "parts = [renderer.render(sequence) for sequence in range(6)]\n"
        "data = b''.join(part.image.tobytes() + part.mask.tobytes() for part in parts)\n"
        "data += repr([part.truth for part in parts]).encode()\n"
        "print(hashlib.sha256(data).hexdigest())"
    )
    command = [sys.executable, "-c", program]
    answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == digest(renderer)


def test_the_seed_changes_the_parts(renderer):
    other = PartRenderer(renderer.product, SIZE_PX, seed=6, defect_share=0.5)
    assert digest(other) != digest(renderer)


def test_the_share_of_defects_is_kept_and_every_kind_occurs():
    renderer = PartRenderer("brushed_metal", (128, 128), seed=1, defect_share=0.3)
    truths = [renderer.render(sequence).truth for sequence in range(600)]
    kinds = [truth.kind for truth in truths if truth.defective]
    # 180 expected, standard deviation 11.
    assert 140 < len(kinds) < 220
    assert set(kinds) == set(DEFECT_KINDS)
    assert all(truth.kind is None for truth in truths if not truth.defective)


@pytest.mark.parametrize(("share", "defective"), [(0.0, False), (1.0, True)])
def test_a_share_of_none_or_all(share, defective):
    renderer = PartRenderer("brushed_metal", (128, 128), seed=1, defect_share=share)
    assert {renderer.render(n).truth.defective for n in range(40)} == {defective}


def test_the_share_leaves_good_parts_as_they_are():
    none, half = (PartRenderer("brushed_metal", (128, 128), 1, share) for share in (0.0, 0.5))
    good = [n for n in range(20) if not half.render(n).truth.defective]
    assert good
    for sequence in good:
        np.testing.assert_array_equal(half.render(sequence).image, none.render(sequence).image)


def test_worn_metal_is_brushed_metal_with_marks_on_some_parts_that_are_no_defects():
    clean, worn = (PartRenderer(name, SIZE_PX, 1, 0.0) for name in ("brushed_metal", "worn_metal"))
    marked = 0
    for sequence in range(100):
        part, without = worn.render(sequence), clean.render(sequence)
        assert part.truth == Truth(defective=False)
        assert not part.mask.any()
        apart = np.abs(part.image.astype(int) - without.image)
        marked += bool(apart.any())
        assert apart.max() < 60  # a third of what a defect may be, and rounding
        assert (apart > 0).mean() < 0.15
    # 40 expected, standard deviation 5.
    assert 25 < marked < 55


def test_a_defect_of_worn_metal_lies_beside_or_on_its_marks():
    worn = PartRenderer("worn_metal", SIZE_PX, 1, 1.0)
    for sequence in range(20):
        part, good = worn.render(sequence), worn.render(sequence, None)
        np.testing.assert_array_equal(part.image != good.image, part.mask)


def test_the_kind_can_be_chosen(renderer):
    good = renderer.render(3, None)
    assert good.truth == Truth(defective=False)
    assert not good.mask.any()
    for kind in DEFECT_KINDS:
        part = renderer.render(3, kind)
        assert part.truth == Truth(defective=True, kind=kind)
        assert part.mask.any()


def test_good_parts_differ_in_position_light_and_texture(renderer):
    images = np.stack([renderer.render(n, None).image for n in range(12)]).astype(float)
    levels = images.reshape(len(images), -1).mean(axis=1)
    assert np.ptp(levels) > 5
    assert images.std(axis=0).mean() > 3
    for first, second in itertools.pairwise(images):
        assert np.abs(first - second).mean() > 2


def test_good_parts_are_exposed_well(renderer):
    for sequence in range(20):
        image = renderer.render(sequence, None).image
        assert 25 < image.mean() < 215
        assert (image == 255).mean() < 0.02


@pytest.mark.parametrize("size_px", [(256, 256), (512, 512), (384, 640), (640, 384), (1024, 768)])
@pytest.mark.parametrize("product", PRODUCTS)
def test_sizes(product, size_px):
    renderer = PartRenderer(product, size_px, seed=2, defect_share=0.0)
    for kind in (None, "material"):
        part = renderer.render(1, kind)
        assert part.image.shape == shape_for(product, size_px)
        assert part.image.dtype == np.uint8
        assert part.mask.shape == size_px
        assert part.mask.dtype == np.bool_


def test_an_unknown_product_names_the_known_ones():
    with pytest.raises(ConfigError) as caught:
        PartRenderer("velvet", SIZE_PX, 0, 0.1)
    assert "velvet" in str(caught.value)
    assert all(product in str(caught.value) for product in PRODUCTS)


def test_an_unknown_kind_names_the_known_ones(renderer):
    with pytest.raises(ConfigError) as caught:
        renderer.render(0, "rust")
    assert "rust" in str(caught.value)
    assert all(kind in str(caught.value) for kind in DEFECT_KINDS)


@pytest.mark.parametrize(
    ("size_px", "seed", "share", "said"),
    [
        ((8, 512), 0, 0.1, "512x8"),
        ((512, 9000), 0, 0.1, "9000x512"),
        (SIZE_PX, -1, 0.1, "-1"),
        (SIZE_PX, 0, 1.5, "1.5"),
        (SIZE_PX, 0, float("nan"), "nan"),
    ],
)
def test_arguments_out_of_range_are_told(size_px, seed, share, said):
    with pytest.raises(ConfigError, match=said):
        PartRenderer("brushed_metal", size_px, seed, share)
