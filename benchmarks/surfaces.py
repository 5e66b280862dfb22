"""How large the cells of a surface model should be, told by the defects of simulated products.

    python -m benchmarks.surfaces --json surfaces.json
    python -m benchmarks.surfaces --cells 8,16 --products woven_fabric

For each product a surface model (`stages.segmentation.surface`) with cells of each size is fitted
to good parts, in seconds and without networks; fresh parts, every other one with a defect, are
scored by their farthest cell. The table shows how well that score tells defective parts.

exit codes: 0 done; 2 arguments
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from sklearn.metrics import roc_auc_score

from benchmarks.material import Material, from_product, square_frame
from benchmarks.table import list_of, names_of, text_table
from evaluation.datasets import GOOD
from evaluation.output import check_file, write_text
from pipeline.command_line import plain_parser, run_command, whole_number
from stages.acquisition.simulation import DEFECT_KINDS, PRODUCTS
from stages.segmentation.surface import CELL_PX
from training.surface import farthest_cells, fitted

CELLS_PX = (4, 8, 16, 32)
SIDE_PX = 256
LEAST_PARTS, LEAST_TEST_PARTS = 50, 2 * len(DEFECT_KINDS)
ALL = "all"

Areas = dict[str, float]
"""Area under the ROC curve by kind of defect, and over `ALL`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parser().parse_args(arguments)
    return run_command(lambda: _main(options))


def _parser() -> argparse.ArgumentParser:
    parser = plain_parser("benchmarks.surfaces", __doc__)
    parser.add_argument(
        "--cells", type=list_of(whole_number(2)), default=list(CELLS_PX), metavar="PX,PX"
    )
    parser.add_argument("--products", type=names_of(PRODUCTS), default=list(PRODUCTS))
    parser.add_argument(
        "--parts", type=whole_number(LEAST_PARTS), default=600, help="good parts to fit (600)"
    )
    parser.add_argument(
        "--test-parts",
        type=whole_number(LEAST_TEST_PARTS),
        default=600,
        help="parts to judge by, every other one defective (600)",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures as JSON")
    return parser


def _main(options: argparse.Namespace) -> int:
    if options.json is not None:
        check_file("--json", options.json)
    found: dict[str, dict[int, Areas]] = {}
    for product in options.products:
        material = from_product(
            product, square_frame("rgb", SIDE_PX), options.parts, options.test_parts
        )
        found[product] = {cell_px: areas(material, cell_px) for cell_px in options.cells}
    print(_text(found, options.cells))
    if options.json is not None:
        settings = {"parts": options.parts, "test_parts": options.test_parts, "side_px": SIDE_PX}
        write_text(options.json, json.dumps({**settings, "image_auroc": found}, indent=2) + "\n")
    return 0


def areas(material: Material, cell_px: int) -> Areas:
    """How well the farthest cell tells each kind of defective part, and all of them."""
    model = fitted(material.training.images, None, cell_px)
    images = np.stack([part.image for part in material.test.parts])
    kinds = np.array([part.kind for part in material.test.parts])
    scores = farthest_cells(model, images, None).numpy()
    good = kinds == GOOD
    found = {
        str(kind): _area(scores[good], scores[kinds == kind]) for kind in sorted(set(kinds[~good]))
    }
    return {**found, ALL: _area(scores[good], scores[~good])}


def _area(good: np.ndarray, defective: np.ndarray) -> float:
    truth = np.concatenate([np.zeros(len(good)), np.ones(len(defective))])
    return float(roc_auc_score(truth, np.concatenate([good, defective])))


def _text(found: dict[str, dict[int, Areas]], cells_px: Sequence[int]) -> str:
    """Image AUROC: a row for each product and kind, a column for each size of cell."""
    rows = [
        [f"{product}, {kind}", *(f"{by_cell[cell][kind]:.4f}" for cell in cells_px)]
        for product, by_cell in found.items()
        for kind in by_cell[cells_px[0]]
    ]
    means = [statistics.mean(by_cell[cell][ALL] for by_cell in found.values()) for cell in cells_px]
    rows.append(["mean of the products", *(f"{mean:.4f}" for mean in means)])
    columns = [f"{cell} px{' (ships)' if cell == CELL_PX else ''}" for cell in cells_px]
    return text_table(("image AUROC of the surface alone, by cell", *columns), rows)


if __name__ == "__main__":
    sys.exit(main())
