from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from training.contact_sheet import CELL_PX, EXAMPLES, contact_sheet, main
from training.synthesis import AnomalyKind, Synthesizer


def test_every_kind_has_its_row_and_shows_on_the_parts(normals: np.ndarray) -> None:
    marked = normals.copy()
    for y in range(6, 64, 20):
        marked[:, y : y + 8, y : y + 8] = 20
    plain = cv2.resize(marked[0], (CELL_PX, CELL_PX)).astype(int)

    sheet = contact_sheet(marked, 0, Synthesizer())

    rows = np.array_split(sheet, len(AnomalyKind))
    assert len({row.shape for row in rows}) == 1
    assert sheet.shape[1] >= EXAMPLES * CELL_PX
    for row in rows:
        first = row[-CELL_PX - 4 : -4, :CELL_PX, 0].astype(int)
        assert np.abs(first - plain).max() > 30
    assert np.array_equal(sheet, contact_sheet(marked, 0, Synthesizer()))


def test_only_the_kinds_that_are_asked_for_have_a_row(normals: np.ndarray) -> None:
    kinds = (AnomalyKind.CRACK, AnomalyKind.BLOB)

    two = contact_sheet(normals, 0, Synthesizer(), kinds)
    one = contact_sheet(normals, 0, Synthesizer(), kinds[:1])

    assert len(two) == 2 * len(one)
    assert np.array_equal(two[: len(one)], one)


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


def test_kinds_are_left_out_and_textures_painted_with(
    tmp_path: Path, tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, folder = tmp_path / "painted.png", tmp_path / "textures"
    folder.mkdir()
    cv2.imwrite(str(folder / "stripes.png"), np.tile(np.uint8([0, 255]), (64, 32)))
    asked = ["--config", str(tiny_line), "--parts", "24", "--out", str(out)]
    without = [word for kind in AnomalyKind if kind != "blob" for word in ("--without", kind.value)]

    assert main([*asked, *without]) == 0
    plain = cv2.imread(str(out))
    assert main([*asked, *without, "--textures", str(folder)]) == 0
    told = capsys.readouterr().out

    assert told.count("1 kinds of painted defects on 24 good parts") == 2
    assert "1 texture to paint with" in told
    assert not np.array_equal(cv2.imread(str(out)), plain)


def test_a_sheet_of_no_kind_is_a_wrong_option(
    tmp_path: Path, tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    every = [word for kind in AnomalyKind for word in ("--without", kind.value)]
    out = str(tmp_path / "painted.png")

    assert main(["--config", str(tiny_line), "--parts", "24", "--out", out, *every]) == 2
    assert "leaves no kinds" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["painted.txt", "nowhere/painted.png"])
def test_a_picture_that_cannot_be_written_is_a_wrong_option(
    name: str, tmp_path: Path, tiny_line: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / name

    assert main(["--config", str(tiny_line), "--parts", "24", "--out", str(out)]) == 2
    assert "--out" in capsys.readouterr().err
