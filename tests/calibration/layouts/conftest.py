"""Small trees with the layouts of public data sets."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest


class Tree:
    """Writes small images and masks below a folder; each image differs from the others."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._random = np.random.default_rng(0)

    def image(self, *names: str, size_px: tuple[int, int] = (24, 32)) -> None:
        for name in names:
            self._write(name, self._random.integers(20, 200, (*size_px, 3), dtype=np.uint8))

    def mask(self, *names: str, level: int = 255) -> None:
        drawn = np.zeros((24, 32), np.uint8)
        drawn[6:12, 8:16] = level
        for name in names:
            self._write(name, drawn)

    def text(self, name: str, text: str) -> None:
        (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(text, encoding="utf-8")

    def _write(self, name: str, pixels: np.ndarray) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path), pixels)

    def mvtec(self, name: str) -> None:
        """Four normal parts, two good ones to test with, a scratched and a dented one."""
        self.image(*(f"{name}/train/good/{number:03d}.png" for number in range(4)))
        self.image(f"{name}/test/good/000.png", f"{name}/test/good/001.png")
        self.image(f"{name}/test/scratch/000.png", f"{name}/test/dent/000.png")
        for kind in ("scratch", "dent"):
            self.mask(f"{name}/ground_truth/{kind}/000_mask.png")

    def visa(self, name: str) -> None:
        """Twelve normal parts, three defective ones, their masks and types; no split file."""
        self.image(*(f"{name}/Data/Images/Normal/{number:04d}.JPG" for number in range(12)))
        rows = [f"{name}/Data/Images/Normal/{number:04d}.JPG,normal," for number in range(12)]
        for number, label in enumerate(("bent", '"melt,scratch"', "anomaly")):
            image, mask = (f"{name}/Data/{part}/Anomaly/00{number}" for part in ("Images", "Masks"))
            self.image(f"{image}.JPG")
            self.mask(f"{mask}.png", level=number + 1)
            rows.append(f"{image}.JPG,{label},{mask}.png")
        self.text(f"{name}/image_anno.csv", "\n".join(["image,label,mask", *rows]))

    def dagm(self, name: str) -> None:
        """In each half three images without a defect and one with it."""
        for half, first in (("Train", 574), ("Test", 1)):
            numbers = range(first, first + 4)
            self.image(*(f"{name}/{half}/{number:04d}.PNG" for number in numbers))
            bad = f"{numbers[2]:04d}"
            self.mask(f"{name}/{half}/Label/{bad}_label.PNG")
            rows = [
                f"{number}\t1\t{bad}.PNG\t0\t{bad}_label.PNG"
                if f"{number:04d}" == bad
                else f"{number}\t0\t{number:04d}.PNG\t0\t0"
                for number in numbers
            ]
            self.text(f"{name}/{half}/Label/Labels.txt", "\n".join(["1", *rows]))


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)
