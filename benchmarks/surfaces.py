"""What a surface model should be made of, told by the defects of simulated products.

    python -m benchmarks.surfaces --json surfaces.json
    python -m benchmarks.surfaces --cells 8,16 --components 0,80 --products woven_fabric

For each product a surface model (`stages.segmentation.surface`) is fitted to good parts, in seconds
and without networks: with cells of each size and of all together, and without and with principal
components taken away. Fresh parts, every other one with a defect, are scored by its highest logit.
The tables show how well that score tells defective parts.

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
import torch
from sklearn.metrics import roc_auc_score

from benchmarks.material import Material, from_product, square_frame
from benchmarks.table import list_of, names_of, text_table
from evaluation.datasets import GOOD
from evaluation.output import check_file, write_text
from pipeline.command_line import plain_parser, run_command, whole_number
from stages.acquisition.simulation import DEFECT_KINDS, PRODUCTS
from stages.exposure import to_network_range
from stages.segmentation.surface import CELLS_PX, SurfaceModel
from training.surface import MOST_COMPONENTS, fitted, set_odds

SIDE_PX = 256
HELD_OUT = 5
"""One part of so many is not fitted to, but sets the odds."""
SPREAD = 0.4
"""Of the logits of good parts; networks gave 0.2 to 0.5 after 5 to 80 minutes of training."""
BATCH = 16
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
    parser.add_argument(
        "--components",
        type=list_of(whole_number(0)),
        default=[0, MOST_COMPONENTS],
        metavar="N,N",
        help=f"how many are taken away at most (0,{MOST_COMPONENTS})",
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
    cells: list[int] = options.cells
    forms = [(cell,) for cell in cells] + ([tuple(cells)] if len(cells) > 1 else [])
    found: dict[int, dict[str, dict[str, Areas]]] = {count: {} for count in options.components}
    for product in options.products:
        material = from_product(
            product, square_frame("rgb", SIDE_PX), options.parts, options.test_parts
        )
        for count in options.components:
            found[count][product] = {_name(form): areas(material, form, count) for form in forms}
    for count, of_products in found.items():
        print(_text(of_products, count, [_name(form) for form in forms]), end="\n\n")
    if options.json is not None:
        settings = {"parts": options.parts, "test_parts": options.test_parts, "side_px": SIDE_PX}
        write_text(options.json, json.dumps({**settings, "image_auroc": found}, indent=2) + "\n")
    return 0


def areas(material: Material, cells_px: Sequence[int], components: int) -> Areas:
    """How well the highest logit tells each kind of defective part, and all of them."""
    good_parts = material.training.images
    held_out = np.arange(len(good_parts)) % HELD_OUT == 0
    model = fitted(good_parts[~held_out], None, cells_px, components)
    set_odds(model, good_parts[held_out], None, median=0.0, spread=SPREAD)
    scores = _scores(model, np.stack([part.image for part in material.test.parts]))
    kinds = np.array([part.kind for part in material.test.parts])
    good = kinds == GOOD
    found = {
        str(kind): _area(scores[good], scores[kinds == kind]) for kind in sorted(set(kinds[~good]))
    }
    return {**found, ALL: _area(scores[good], scores[~good])}


def _scores(model: SurfaceModel, images: np.ndarray) -> np.ndarray:
    highest = []
    for start in range(0, len(images), BATCH):
        levels = torch.from_numpy(images[start : start + BATCH]).permute(0, 3, 1, 2)
        highest.append(model(to_network_range(levels, None)).flatten(1).amax(dim=1))
    return torch.cat(highest).numpy()


def _area(good: np.ndarray, defective: np.ndarray) -> float:
    truth = np.concatenate([np.zeros(len(good)), np.ones(len(defective))])
    return float(roc_auc_score(truth, np.concatenate([good, defective])))


def _name(cells_px: Sequence[int]) -> str:
    return " + ".join(map(str, cells_px)) + " px"


def _text(found: dict[str, dict[str, Areas]], components: int, forms: Sequence[str]) -> str:
    """Image AUROC: a row for each product and kind, a column for each form."""
    rows = [
        [f"{product}, {kind}", *(f"{by_form[form][kind]:.4f}" for form in forms)]
        for product, by_form in found.items()
        for kind in by_form[forms[0]]
    ]
    means = [statistics.mean(by_form[form][ALL] for by_form in found.values()) for form in forms]
    rows.append(["mean of the products", *(f"{mean:.4f}" for mean in means)])
    ships = (_name(CELLS_PX), MOST_COMPONENTS)
    columns = [f"{form}{' (ships)' if (form, components) == ships else ''}" for form in forms]
    title = f"image AUROC of the surface alone, at most {components} components"
    return text_table((title, *columns), rows)


if __name__ == "__main__":
    sys.exit(main())
