"""A picture of what the training paints: each kind of defect on good parts, with its mask.

python -m training.contact_sheet --line 3 --parts 40 --out painted.png
python -m training.contact_sheet --line 1 --images DIR --out painted.png
python -m training.contact_sheet --line 1 --images DIR --textures DIR --without chip --out F.png

A red contour runs around what is painted. A part without one could not be painted with this kind.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from pipeline.command_line import line_parser, load_arguments_line, run_command, whole_number
from pipeline.errors import ConfigError, InputError
from training.command import (
    add_images_options,
    add_painting_options,
    painted_kinds,
    training_images,
)
from training.foreground import find_background, foreground_mask
from training.images import ImageSet
from training.synthesis import AnomalyKind, Synthesizer
from training.texture_bank import load_textures
from training.validation import painted_part

EXAMPLES = 8
CELL_PX, GAP_PX, LABEL_PX = 192, 4, 20
PAPER, TEXT, OUTLINE = (248, 248, 248), (40, 40, 40), (40, 40, 235)

Picture = NDArray[np.uint8]
"""(h, w, 3) uint8 BGR."""


def contact_sheet(
    images: NDArray[np.uint8],
    seed: int,
    synthesizer: Synthesizer,
    kinds: Sequence[AnomalyKind] = tuple(AnomalyKind),
) -> Picture:
    """One row a kind, `EXAMPLES` parts each, of (N, H, W, C) uint8 images; the mask outlined."""
    rng = np.random.default_rng(seed)
    background = find_background(images)
    rows = []
    for kind in kinds:
        cells = []
        for _ in range(EXAMPLES):
            image = images[int(rng.integers(len(images)))]
            foreground = foreground_mask(image, background)
            cells.append(_cell(*painted_part(image, foreground, synthesizer, kind, rng)))
        rows += [_label(kind.value, EXAMPLES * (CELL_PX + GAP_PX)), np.hstack(cells)]
    return np.vstack(rows)


def _cell(painted: NDArray[np.uint8], mask: NDArray[np.bool_]) -> Picture:
    """The part, and a thin contour a little outside of what is painted."""
    code = cv2.COLOR_GRAY2BGR if painted.shape[2] == 1 else cv2.COLOR_RGB2BGR
    picture = cv2.resize(cv2.cvtColor(painted, code), (CELL_PX, CELL_PX))
    marked = cv2.resize(mask.astype(np.uint8), (CELL_PX, CELL_PX), interpolation=cv2.INTER_NEAREST)
    around = cv2.dilate(marked, np.ones((7, 7), np.uint8))
    contours, _ = cv2.findContours(around, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, OUTLINE, 1, cv2.LINE_AA)
    cell = np.full((CELL_PX + GAP_PX, CELL_PX + GAP_PX, 3), PAPER, np.uint8)
    cell[:CELL_PX, :CELL_PX] = picture
    return cell


def _label(text: str, width: int) -> Picture:
    label = np.full((LABEL_PX, width, 3), PAPER, np.uint8)
    place = (GAP_PX, LABEL_PX - 6)
    cv2.putText(label, text, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, TEXT, 1, cv2.LINE_AA)
    return label


def main(argv: Sequence[str] | None = None) -> int:
    """Writes the sheet; returns the exit code."""
    parser = line_parser("python -m training.contact_sheet", __doc__ or "")
    add_images_options(parser)
    add_painting_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="the picture: .png")
    parser.add_argument("--seed", type=whole_number(0), default=0, metavar="S", help="default 0")
    arguments = parser.parse_args(argv)
    return run_command(lambda: _write(arguments))


def _write(arguments: argparse.Namespace) -> int:
    out: Path = arguments.out
    if out.suffix.lower() != ".png":
        raise InputError(f"--out {out}: not a .png file; give a name that ends so")
    kinds = painted_kinds(arguments)
    images = training_images(arguments, load_arguments_line(arguments))
    synthesizer = Synthesizer(kinds, _bank(arguments, images))
    sheet = contact_sheet(images.images, arguments.seed, synthesizer, kinds)
    _, data = cv2.imencode(".png", sheet)
    try:
        out.write_bytes(data.tobytes())
    except OSError as error:
        raise ConfigError(f"--out {out}: cannot be written ({error.strerror})") from error
    print(f"{out}: {len(kinds)} kinds of painted defects on {len(images.images)} good parts")
    return 0


def _bank(arguments: argparse.Namespace, images: ImageSet) -> NDArray[np.uint8] | None:
    if arguments.textures is None:
        return None
    bank = load_textures(Path(arguments.textures), images.images.shape[1:], arguments.seed)
    print(bank.summary)
    return bank.images


if __name__ == "__main__":
    sys.exit(main())
