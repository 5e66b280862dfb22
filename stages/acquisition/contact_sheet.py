"""A picture of the simulated products: good parts, and one part for each kind of defect.

python -m stages.acquisition.contact_sheet --out docs/images/simulated_products.jpg
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from pipeline.errors import InputError, LineError
from stages.acquisition.simulation import DEFECT_KINDS, PRODUCTS, PartRenderer, RenderedPart
from stages.acquisition.simulation.scene import Bools, Bytes, as_bytes

PART_PX, CLOSE_PX, GAP_PX, TITLE_PX, LABEL_PX = 384, 184, 8, 40, 26
COLUMNS = 4
GOOD_PARTS = 2
PAPER, TEXT, OUTLINE = (248, 248, 248), (40, 40, 40), (40, 40, 235)
JPEG_QUALITY = 72

Picture = Bytes
"""(h, w, 3) uint8 BGR."""


def contact_sheet(products: Sequence[str], seed: int) -> Picture:
    """The sheet as (h, w, 3) uint8 BGR, 1600 px wide; ConfigError for an unknown product."""
    return np.vstack([_block(product, seed) for product in products])


def _block(product: str, seed: int) -> Picture:
    """One product: its name, then rows of parts."""
    renderer = PartRenderer(product, (512, 512), seed, 0.0)
    cells = [_cell(renderer.render(number, None)) for number in range(GOOD_PARTS)]
    cells += [_cell(renderer.render(100 + n, kind)) for n, kind in enumerate(DEFECT_KINDS)]
    rows = [np.hstack(cells[at : at + COLUMNS]) for at in range(0, len(cells), COLUMNS)]
    title = _paper(TITLE_PX, rows[0].shape[1])
    _write(title, product, (GAP_PX, TITLE_PX - 12), 0.8)
    return np.vstack([title, *rows])


def _cell(part: RenderedPart) -> Picture:
    """The part and its label; the defect outlined in a close-up in the corner opposite to it."""
    cell = _paper(PART_PX + LABEL_PX + GAP_PX, PART_PX + 2 * GAP_PX)
    picture = cell[LABEL_PX : LABEL_PX + PART_PX, GAP_PX : GAP_PX + PART_PX]
    picture[:] = _resized(_coloured(part.image), PART_PX)
    _write(cell, part.truth.kind or "good", (GAP_PX, LABEL_PX - 8), 0.55)
    if part.mask.any():
        corner = picture[_far_corner(part.mask)]
        corner[:] = _close_up(_coloured(part.image), part.mask)
        cv2.rectangle(corner, (0, 0), (CLOSE_PX - 1, CLOSE_PX - 1), PAPER, 2)
    return cell


def _far_corner(mask: Bools) -> tuple[slice, slice]:
    """The corner of the picture that is farthest from the defect's middle."""
    middle = np.argwhere(mask).mean(axis=0) / mask.shape
    first, last = slice(0, CLOSE_PX), slice(PART_PX - CLOSE_PX, PART_PX)
    return last if middle[0] < 0.5 else first, last if middle[1] < 0.5 else first


def _close_up(image: Picture, mask: Bools) -> Picture:
    """The square around the defect, with a thin contour a little outside of it."""
    rows, columns = (np.flatnonzero(mask.any(axis=axis)) for axis in (1, 0))
    side = int(np.clip(1.3 * max(np.ptp(rows), np.ptp(columns)) + 16, 72, min(mask.shape)))
    top, left = (
        int(np.clip((line[0] + line[-1] - side) // 2, 0, length - side))
        for line, length in ((rows, mask.shape[0]), (columns, mask.shape[1]))
    )
    square = (slice(top, top + side), slice(left, left + side))
    close = _resized(image[square], CLOSE_PX)
    grown = cv2.dilate(_resized(mask[square].astype(np.uint8) * 255, CLOSE_PX), np.ones((9, 9)))
    contours, _ = cv2.findContours(
        (grown > 127).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
    )
    cv2.drawContours(close, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    return close


def _coloured(image: Bytes) -> Picture:
    """A grey or BGR picture as BGR."""
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _resized(image: Bytes, side_px: int) -> Bytes:
    enlarged = side_px > image.shape[0]
    method = cv2.INTER_CUBIC if enlarged else cv2.INTER_AREA
    return as_bytes(cv2.resize(image, (side_px, side_px), interpolation=method))


def _paper(height_px: int, width_px: int) -> Picture:
    return np.full((height_px, width_px, 3), PAPER, np.uint8)


def _write(picture: Picture, text: str, origin: tuple[int, int], size: float) -> None:
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, size, TEXT, 1, cv2.LINE_AA)


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m stages.acquisition.contact_sheet",
        description="Write a picture of the simulated products and their kinds of defects.",
    )
    parser.add_argument("--out", type=Path, required=True, help="the picture: a .jpg or .png file")
    parser.add_argument("--seed", type=int, default=7, help="another seed, other parts (default 7)")
    parser.add_argument(
        "--product",
        nargs="+",
        default=list(PRODUCTS),
        metavar="P",
        help=f"products to show, of {', '.join(PRODUCTS)} (default: all)",
    )
    return parser.parse_args(argv)


def _save(picture: Picture, path: Path) -> None:
    if path.suffix.lower() not in {".jpg", ".jpeg", ".png"}:
        raise InputError(f"{path} is no .jpg or .png file: give --out one of these endings")
    path.parent.mkdir(parents=True, exist_ok=True)
    _, data = cv2.imencode(path.suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    path.write_bytes(data.tobytes())


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the sheet; the exit code is 2 for wrong arguments."""
    arguments = _arguments(argv)
    try:
        _save(contact_sheet(arguments.product, arguments.seed), arguments.out)
    except LineError as error:
        print(f"contact_sheet: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{arguments.out}: {', '.join(arguments.product)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
