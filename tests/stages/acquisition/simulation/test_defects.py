import numpy as np
import pytest

from stages.acquisition.simulation import DEFECT_KINDS, PRODUCTS, PartRenderer
from stages.acquisition.simulation.defects import LEAST_CONTRAST, NOTICEABLE, least_area_px

SEEDS = 3
PARTS = 5


def differences(image, good):
    apart = np.abs(image.astype(int) - good.astype(int))
    return apart.max(axis=2) if apart.ndim == 3 else apart


@pytest.fixture(scope="module", params=PRODUCTS)
def pairs(request):
    """(kind, mask, difference) of many parts with and without their defect, at 512x512."""
    found = []
    for seed in range(SEEDS):
        renderer = PartRenderer(request.param, (512, 512), seed, 0.5)
        for sequence in range(PARTS):
            good = renderer.render(sequence, None)
            for kind in DEFECT_KINDS:
                part = renderer.render(sequence, kind)
                found.append((kind, part.mask, differences(part.image, good.image)))
    return found


def of_kind(pairs, kind):
    return [(mask, apart) for found, mask, apart in pairs if found == kind]


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_the_mask_is_where_the_image_differs(pairs, kind):
    for mask, apart in of_kind(pairs, kind):
        np.testing.assert_array_equal(mask, apart > 0)
        assert apart[mask].min() >= NOTICEABLE


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_no_defect_is_invisible(pairs, kind):
    for mask, apart in of_kind(pairs, kind):
        assert apart[mask].mean() >= LEAST_CONTRAST
        assert mask.sum() >= 30


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_no_defect_covers_the_part(pairs, kind):
    assert all(mask.mean() < 0.15 for mask, _ in of_kind(pairs, kind))


@pytest.mark.parametrize("kind", DEFECT_KINDS)
def test_sizes_and_contrasts_vary(pairs, kind):
    areas = [mask.sum() for mask, _ in of_kind(pairs, kind)]
    contrasts = [apart[mask].mean() for mask, apart in of_kind(pairs, kind)]
    assert max(areas) > 2 * min(areas)
    assert max(contrasts) > 1.3 * min(contrasts)


def test_defects_lie_all_over_the_part(pairs):
    middles = np.array([np.argwhere(mask).mean(axis=0) for _, mask, _ in pairs])
    assert (np.ptp(middles, axis=0) > 200).all()
    assert (middles.std(axis=0) > 50).all()


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("side", [256, 384])
def test_no_defect_is_invisible_at_smaller_sizes(product, side):
    renderer = PartRenderer(product, (side, side), 11, 0.5)
    for sequence in range(4):
        good = renderer.render(sequence, None)
        for kind in DEFECT_KINDS:
            part = renderer.render(sequence, kind)
            apart = differences(part.image, good.image)[part.mask]
            assert part.mask.sum() >= least_area_px((side, side))
            assert apart.mean() >= LEAST_CONTRAST


def test_metal_defects_stay_on_the_plate():
    renderer = PartRenderer("brushed_metal", (512, 512), 3, 0.5)
    border = np.ones((512, 512), bool)
    border[90:422, 40:472] = False
    for sequence in range(5):
        for kind in DEFECT_KINDS:
            assert not (renderer.render(sequence, kind).mask & border).any()


def test_the_least_area_goes_with_the_size():
    assert least_area_px((512, 512)) == 30
    assert least_area_px((1024, 2048)) == 120
    assert least_area_px((256, 512)) == 8
