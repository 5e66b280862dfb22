from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from evaluation.metrics import (
    average_precision,
    image_levels,
    pixel_levels,
    precision_recall_curve,
)
from evaluation.plots import MOST_POINTS, histograms, image_curves, pixel_curves

SCORES = np.array([0.1, 0.4, 0.35, 0.8])
LEVELS = image_levels(SCORES, np.array([False, False, True, True]))
ONLY_GOOD = image_levels(SCORES, np.zeros(4, bool))


def test_each_kind_has_a_line_and_those_without_defects_none() -> None:
    figure = image_curves({"dent": LEVELS, "stain": ONLY_GOOD, "all": LEVELS})
    assert figure is not None
    roc, precision_recall = figure.axes
    assert len(precision_recall.lines) == 2
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["dent", "all"]
    assert np.asarray(roc.lines[0].get_ydata()).tolist() == [0, 0.5, 0.5, 1, 1]
    assert image_curves({"stain": ONLY_GOOD, "all": ONLY_GOOD}) is None


def test_the_area_under_the_drawn_precision_is_the_average_precision() -> None:
    figure = image_curves({"all": LEVELS})
    assert figure is not None
    line = figure.axes[1].lines[0]
    assert line.get_drawstyle() == "steps-pre"
    x, y = np.asarray(line.get_xdata()), np.asarray(line.get_ydata())
    assert np.sum(np.diff(x) * y[1:]) == pytest.approx(average_precision(LEVELS))


def test_curves_of_many_pixels_are_drawn_with_few_points() -> None:
    rng = np.random.default_rng(0)
    maps, masks = [rng.random((96, 96)).astype(np.float16)], [rng.random((96, 96)) < 0.1]
    levels = pixel_levels(maps, masks)
    assert len(precision_recall_curve(levels).x) > MOST_POINTS
    figure = pixel_curves({"all": levels})
    assert figure is not None
    roc, precision_recall, overlap = figure.axes
    for panel in (roc, precision_recall, overlap):
        x = np.asarray(panel.lines[0].get_xdata())
        assert len(x) <= MOST_POINTS + 1
        assert x[-1] == 1
    assert overlap.get_xlim() == (0, 0.3)


def test_histograms_show_shares_and_the_threshold() -> None:
    good = np.array([0.1, 0.12, 0.15, 0.2])
    figure = histograms(good, {"dent": np.array([0.4, 0.5]), "pit": np.array([0.11])}, 0.3)
    assert figure is not None
    assert len(figure.axes) == 2
    for panel in figure.axes:
        assert panel.get_xscale() == "linear"
        heights = [sum(bar.get_height() for bar in bars) for bars in panel.containers]
        assert heights == pytest.approx([1.0, 1.0])
        assert np.asarray(panel.lines[0].get_xdata()).tolist() == [0.3, 0.3]


def test_scores_over_many_decades_are_drawn_on_a_logarithmic_axis() -> None:
    figure = histograms(np.array([1e-6, 1e-5]), {"dent": np.array([0.5])}, None)
    assert figure is not None
    assert figure.axes[0].get_xscale() == "log"
    assert not figure.axes[0].lines


def test_a_kind_may_be_called_anything(tmp_path: Path) -> None:
    odd = {"_hidden": LEVELS, "a $\\bad $ name": LEVELS}
    figure = image_curves(odd)
    assert figure is not None
    assert [text.get_text() for text in figure.legends[0].get_texts()] == list(odd)
    figure.savefig(tmp_path / "curves.png")
    histogram = histograms(SCORES, dict.fromkeys(odd, SCORES), None)
    assert histogram is not None
    histogram.savefig(tmp_path / "histograms.png")


def test_equal_scores_and_missing_classes_can_be_drawn() -> None:
    assert histograms(np.array([0.5]), {"dent": np.array([0.5])}, 0.5) is not None
    assert histograms(np.zeros(0), {"dent": np.array([0.5, 0.6])}, None) is not None
    assert histograms(np.array([0.5]), {}, None) is None


@pytest.mark.slow
def test_the_plotting_library_is_loaded_for_a_report_alone() -> None:
    code = "import evaluation.command, run_line, sys; sys.exit('matplotlib' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=240)
