import numpy as np
import pytest
import torch

from pipeline.messages import Defect
from stages.segmentation.anomaly import MOST_DEFECTS, find_defects, image_score

AS_IS = (1.0, 1.0)


def test_score_of_known_maps() -> None:
    maps = torch.zeros(3, 32, 32)
    maps[0].view(-1)[100:150] = 0.5  # 50 pixels
    maps[1].view(-1)[:25] = 1.0  # 25 pixels of 50
    assert image_score(maps, 50).tolist() == [0.5, 0.5, 0.0]


def test_score_against_sorting() -> None:
    maps = torch.rand(4, 33, 47, generator=torch.Generator().manual_seed(9))
    oracle = np.sort(maps.numpy().reshape(4, -1).astype(np.float64), axis=1)[:, -50:].mean(axis=1)
    np.testing.assert_allclose(image_score(maps, 50).numpy(), oracle, rtol=1e-6)


def test_scores_of_very_sure_maps_stay_apart() -> None:
    logits = torch.tensor([-60.0, -61.0, -62.0])[:, None, None].expand(3, 16, 16)
    scores = image_score(logits.sigmoid(), 50)
    assert bool((scores.diff() < 0).all())
    assert bool((scores > 0).all())


def test_a_small_map_counts_whole_and_a_nan_is_not_hidden() -> None:
    assert image_score(torch.tensor([[[0.25, 0.75]]]), 50).tolist() == [0.5]
    broken = torch.zeros(1, 16, 16)
    broken[0, 3, 3] = torch.nan
    assert bool(image_score(broken, 50).isnan())


def test_defects_of_a_drawn_map_in_pixels_of_the_view() -> None:
    anomaly_map = np.zeros((32, 32), np.float16)
    anomaly_map[4:6, 10:13] = 0.75  # 3 wide, 2 high
    anomaly_map[5, 11] = 0.875
    anomaly_map[20:30, 2:4] = 0.625  # 2 wide, 10 high
    assert find_defects(anomaly_map, 0.5, scale=(2.0, 1.5)) == (
        Defect(x_px=4, y_px=30, width_px=4, height_px=15, area_px=60, peak=0.625),
        Defect(x_px=20, y_px=6, width_px=6, height_px=3, area_px=18, peak=0.875),
    )


def test_the_threshold_itself_is_not_a_defect() -> None:
    assert find_defects(np.full((8, 8), 0.5, np.float16), 0.5, AS_IS) == ()


def test_peak_belongs_to_its_own_region() -> None:
    anomaly_map = np.zeros((9, 9), np.float16)
    anomaly_map[0, :] = anomaly_map[:, 0] = 0.75
    anomaly_map[4, 4] = 1.0  # inside the box of the other region
    assert [defect.peak for defect in find_defects(anomaly_map, 0.5, AS_IS)] == [0.75, 1.0]


def test_corners_join_and_only_the_largest_are_named() -> None:
    assert len(find_defects(np.eye(8, dtype=np.float16), 0.5, AS_IS)) == 1
    anomaly_map = np.zeros((64, 64), np.float16)
    anomaly_map[::4, ::4] = 1
    anomaly_map[60, 61] = 1
    defects = find_defects(anomaly_map, 0.5, AS_IS)
    assert len(defects) == MOST_DEFECTS
    assert [defect.area_px for defect in defects[:2]] == [2, 1]


@pytest.mark.parametrize("scale", [(0.1, 0.1), (0.3, 2.7)])
def test_a_region_never_shrinks_to_nothing(scale: tuple[float, float]) -> None:
    anomaly_map = np.zeros((16, 16), np.float16)
    anomaly_map[7, 7] = 1
    (defect,) = find_defects(anomaly_map, 0.5, scale)
    assert min(defect.width_px, defect.height_px, defect.area_px) >= 1
