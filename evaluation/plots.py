"""Curves and histograms of an evaluation, as figures. The only user of the plotting library."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from evaluation.metrics import Curve, Levels, precision_recall_curve, pro_curve, roc_curve

Scores = NDArray[np.float64]

DPI = 144
GOOD_COLOUR = "#8a94a0"
OVERALL_COLOUR = "#1f2933"
THRESHOLD_COLOUR = "#c62828"
KIND_COLOURS = (
    "#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#7b5fb2", "#a6761d",
    "#66a61e", "#e7298a",
)  # fmt: skip
"""Okabe and Ito's colours, which colour-blind readers tell apart, and four more."""

PRO_LIMIT, PRO_STRICT_LIMIT = 0.3, 0.05
MOST_POINTS = 2000
BINS = 40
LEGEND_COLUMNS = 7
WIDE = 100.0
"""Scores that span more than this factor are shown on a logarithmic axis."""


def colour_of(index: int) -> str:
    """The colour of a kind of defect by its place in the tables."""
    return KIND_COLOURS[index % len(KIND_COLOURS)]


def image_curves(levels: Mapping[str, Levels]) -> Figure | None:
    """ROC and precision-recall of the scores, one line for each entry; None where none has any."""
    if not any(level.both_classes for level in levels.values()):
        return None
    figure, (roc, precision_recall) = _panels(2)
    lines = _draw(roc, levels, roc_curve)
    _name(roc, "ROC of the scores", "good parts rejected", "defective parts rejected")
    roc.plot([0, 1], [0, 1], color=GOOD_COLOUR, linewidth=0.8, linestyle=":")
    _draw(precision_recall, levels, precision_recall_curve)
    _name(
        precision_recall, "Precision and recall", "defective parts rejected", "rejects that are due"
    )
    _legend(figure, lines)
    return figure


def pixel_curves(levels: Mapping[str, Levels]) -> Figure | None:
    """ROC, precision-recall and overlap of the regions of the pixels; None where none has any."""
    if not any(level.both_classes for level in levels.values()):
        return None
    figure, (roc, precision_recall, overlap) = _panels(3)
    lines = _draw(roc, levels, roc_curve)
    _name(roc, "ROC of the pixels", "good pixels marked", "defect pixels marked")
    _draw(precision_recall, levels, precision_recall_curve)
    _name(precision_recall, "Precision and recall", "defect pixels marked", "marks that are due")
    _draw(overlap, levels, pro_curve)
    _name(overlap, "Overlap of the regions", "good pixels marked", "mean share of a region marked")
    overlap.set_xlim(0, PRO_LIMIT)
    overlap.axvline(PRO_STRICT_LIMIT, color=GOOD_COLOUR, linewidth=0.8, linestyle=":")
    _legend(figure, lines)
    return figure


def histograms(good: Scores, kinds: Mapping[str, Scores], threshold: float | None) -> Figure | None:
    """The raw scores of each kind before those of the good parts; None without defective parts."""
    if not kinds:
        return None
    everything = np.concatenate([good, *kinds.values()])
    bins, wide = _bins(everything)
    columns = min(3, len(kinds))
    rows = -(-len(kinds) // columns)
    figure = Figure(figsize=(10.5, 0.7 + 2.1 * rows), dpi=DPI, layout="constrained")
    panels = list(figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel())
    for index, (kind, scores) in enumerate(kinds.items()):
        panel = panels[index]
        _shares(panel, good, bins, GOOD_COLOUR)
        _shares(panel, scores, bins, colour_of(index))
        title = f"{kind} ({len(scores)}), good in grey ({len(good)})"
        panel.set_title(title, fontsize=9, parse_math=False)
        if threshold is not None:
            panel.axvline(threshold, color=THRESHOLD_COLOUR, linewidth=1.2)
        if wide:
            panel.set_xscale("log")
        panel.tick_params(labelbottom=index >= len(kinds) - columns)
        _dress(panel)
    for panel in panels[len(kinds) :]:
        figure.delaxes(panel)
    axis = "score, raw" + (", logarithmic" if wide else "")
    figure.supxlabel(axis + ("" if threshold is None else "; red: the threshold"), fontsize=9)
    figure.supylabel("share of the parts", fontsize=9)
    return figure


def _panels(count: int) -> tuple[Figure, list[Axes]]:
    figure = Figure(figsize=(10.5, 4.1 if count > 2 else 5.2), dpi=DPI, layout="constrained")
    return figure, list(figure.subplots(1, count, squeeze=False)[0])


def _draw(
    panel: Axes, levels: Mapping[str, Levels], curve_of: Callable[[Levels], Curve]
) -> dict[str, Line2D]:
    """One line for each entry with positives and negatives; the last, all kinds, in dark.

    Precision holds for the whole step of recall before it, so that the area drawn is the AP.
    """
    lines, last = {}, list(levels)[-1]
    for index, (name, level) in enumerate(levels.items()):
        if not level.both_classes:
            continue
        x, y = curve_of(level)
        kept, how = _few(len(x)), "default"
        if curve_of is precision_recall_curve:
            x, y, kept = np.append(0.0, x), np.append(y[0], y), np.append(0, kept + 1)
            how = "steps-pre"
        colour, width = (OVERALL_COLOUR, 2.2) if name == last else (colour_of(index), 1.4)
        [lines[name]] = panel.plot(x[kept], y[kept], color=colour, linewidth=width, drawstyle=how)
    return lines


def _few(count: int) -> NDArray[np.intp]:
    """The places of at most MOST_POINTS points, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, MOST_POINTS)).round().astype(np.intp))


def _shares(panel: Axes, scores: Scores, bins: Scores, colour: str) -> None:
    if len(scores):
        weights = np.full(len(scores), 1 / len(scores))
        shown = np.clip(scores, bins[0], bins[-1])
        panel.hist(shown, bins.tolist(), weights=weights, color=colour, alpha=0.6)


def _bins(scores: Scores) -> tuple[Scores, bool]:
    """Edges (BINS + 1,) over all scores, and whether they are logarithmic."""
    low, high = float(scores.min()), float(scores.max())
    if low > 0 and high / low > WIDE:
        return np.geomspace(low, high, BINS + 1), True
    margin = 0.0 if high > low else max(abs(high), 1.0) * 0.05
    return np.linspace(low - margin, high + margin, BINS + 1), False


def _name(panel: Axes, title: str, x: str, y: str) -> None:
    panel.set_title(title, fontsize=10)
    panel.set_xlabel(x, fontsize=9)
    panel.set_ylabel(y, fontsize=9)
    panel.set_xlim(0, 1)
    panel.set_ylim(0, 1.02)
    _dress(panel)


def _dress(panel: Axes) -> None:
    panel.tick_params(labelsize=8)
    panel.grid(color="#e3e7eb", linewidth=0.6)
    panel.set_axisbelow(True)
    for side in ("top", "right"):
        panel.spines[side].set_visible(False)


def _legend(figure: Figure, lines: Mapping[str, Line2D]) -> None:
    columns = -(-len(lines) // -(-len(lines) // LEGEND_COLUMNS))  # rows of equal length
    legend = figure.legend(
        list(lines.values()),
        list(lines),
        loc="outside lower center",
        ncols=columns,
        fontsize=8,
        frameon=False,
    )
    for name in legend.get_texts():
        name.set_parse_math(False)  # a kind of defect may be called anything
