from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.material import Material, square_frame
from benchmarks.surfaces import areas, main
from evaluation.datasets import LabelledPart
from evaluation.evaluate import LabelledParts
from stages.acquisition.simulation import DEFECT_KINDS
from training.images import image_set

pytestmark = pytest.mark.usefixtures("one_thread")


def rough(count: int, seed: int) -> np.ndarray:
    """(N, 64, 64, 1) uint8 of noise about 120."""
    noise = np.random.default_rng(seed).normal(120, 12, (count, 64, 64, 1))
    return np.clip(np.rint(noise), 0, 255).astype(np.uint8)


def test_cells_as_large_as_the_defect_tell_it_best() -> None:
    """A patch of 8 x 8 pixels fills one small cell, and a sixteenth of a large one."""
    good, bad = rough(30, 1), rough(30, 2)
    bad[:, 16:24, 16:24] = bad[:, 16:24, 16:24] // 4 + 102  # 12 levels lighter, a quarter as rough
    mask = np.zeros((64, 64), bool)
    parts = [LabelledPart("good", "good", image, mask) for image in good]
    parts += [LabelledPart("smooth", "smooth", image, ~mask) for image in bad]
    names = [str(number) for number in range(60)]
    test = LabelledParts(tuple(parts), (), ("good", "smooth"), "noise")
    material = Material(square_frame("grey", 64), image_set(rough(60, 3), names), test)

    small, large = (areas(material, (cell_px,), 0) for cell_px in (8, 32))

    assert small.keys() == {"smooth", "all"}
    assert small["all"] == small["smooth"] > 0.99
    assert large["all"] < small["all"] - 0.1


def test_products_and_cells_stand_in_the_table_and_the_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "surfaces.json"
    few = ["--products", "brushed_metal", "--parts", "50", "--test-parts", "24"]

    assert main([*few, "--cells", "8,32", "--json", str(report)]) == 0

    found = json.loads(report.read_text())["image_auroc"]
    assert set(found) == {"0", "160"}
    forms = found["0"]["brushed_metal"]
    assert set(forms) == {"8 px", "32 px", "8 + 32 px"}
    assert set(forms["8 px"]) == {*DEFECT_KINDS, "all"}
    assert forms["8 px"]["all"] > 0.5, "better than guessing, after fifty parts already"
    shown = capsys.readouterr().out
    first, second = (line for line in shown.splitlines() if line.startswith("brushed_metal, all"))
    assert first.split()[-3:] == [f"{form['all']:.4f}" for form in forms.values()]
    assert second != first


def test_what_ships_is_marked(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--products", "brushed_metal", "--parts", "50", "--test-parts", "24"]
    assert main([*few, "--components", "160"]) == 0
    assert "8 + 16 + 32 px (ships)" in capsys.readouterr().out


def test_a_cell_must_have_a_size(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--cells", "8,none"])
    assert ended.value.code == 2
    assert "--cells" in capsys.readouterr().err
