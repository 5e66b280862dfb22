from __future__ import annotations

from dataclasses import replace

import pytest

from evaluation.results import MEASURED, Metrics, Summary, cell, summarise

ONE = Metrics(10, 5, 15, 0.8, 0.7, 0.9, None, 0.5, 0.4, 20.0)
OTHER = replace(ONE, image_auroc=0.9, images_per_second=22.0)


def test_one_bundle_has_no_deviation() -> None:
    assert summarise([ONE]) == Summary(ONE, None)


def test_mean_and_sample_deviation_of_two_bundles_by_hand() -> None:
    summary = summarise([ONE, OTHER])
    assert summary.mean.image_auroc == pytest.approx(0.85)
    assert summary.mean.images_per_second == pytest.approx(21.0)
    assert (summary.mean.good, summary.mean.defective, summary.mean.with_mask) == (10, 5, 15)
    assert summary.deviation is not None
    assert summary.deviation["image_auroc"] == pytest.approx(0.1 / 2**0.5)
    assert summary.deviation["image_ap"] == pytest.approx(0.0)


def test_what_is_not_defined_stays_so() -> None:
    summary = summarise([ONE, OTHER])
    assert summary.mean.pixel_ap is None
    assert summary.deviation is not None
    assert summary.deviation["pixel_ap"] is None
    assert cell(summary, "pixel_ap") == "-"


def test_measured_figures_are_all_but_the_counts() -> None:
    assert tuple(ONE.measured()) == MEASURED


@pytest.mark.parametrize(
    ("rate", "shown"), [(0.0931, "0.0931"), (7.254, "7.25"), (30.52, "30.5"), (412.4, "412")]
)
def test_a_rate_is_shown_to_three_digits(rate: float, shown: str) -> None:
    assert cell(summarise([replace(ONE, images_per_second=rate)]), "images_per_second") == shown


def test_an_area_is_shown_with_its_deviation() -> None:
    assert cell(summarise([ONE]), "image_auroc") == "0.8000"
    for area, shown in ((0.99997, "0.9999"), (1.0, "1.0000"), (0.0, "0.0000")):
        assert cell(summarise([replace(ONE, image_auroc=area)]), "image_auroc") == shown
    assert cell(summarise([ONE, OTHER]), "image_auroc") == "0.850 ± 0.071"
