from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.contact_sheet import CELL_PX, EXAMPLES, contact_sheet, main
from training.synthesis import AnomalyKind


def test_every_kind_has_its_row_and_shows_on_the_parts(normals: np.ndarray) -> None:
    plain = cv2.resize(normals[0], (CELL_PX, CELL_PX)).astype(int)

    sheet = contact_sheet(normals, seed=0)

    rows = np.array_split(sheet, len(AnomalyKind))
    assert len({row.shape for row in rows}) == 1
    assert sheet.shape[1] >= EXAMPLES * CELL_PX
    for row in rows:
        first = row[-CELL_PX - 4 : -4, :CELL_PX, 0].astype(int)
        assert np.abs(first - plain).max() > 30
    assert np.array_equal(sheet, contact_sheet(normals, seed=0))


def test_the_command_writes_a_picture_of_the_lines_own_parts(
    tmp_path: Path, tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "painted.png"

    code = main(["--config", str(tiny_line), "--parts", "24", "--out", str(out)])

    assert code == 0
    assert cv2.imread(str(out)) is not None
    assert (
        f"{len(AnomalyKind)} kinds of painted defects on 24 good parts" in capsys.readouterr().out
    )


@pytest.mark.parametrize("name", ["painted.txt", "nowhere/painted.png"])
def test_a_picture_that_cannot_be_written_is_a_wrong_option(
    name: str, tmp_path: Path, tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name

    assert main(["--config", str(tiny_line), "--parts", "24", "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err
