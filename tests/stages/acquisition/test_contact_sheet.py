import cv2
import numpy as np
import pytest

from stages.acquisition.contact_sheet import main
from stages.acquisition.simulation import PRODUCTS


@pytest.mark.parametrize("ending", ["jpg", "png"])
def test_the_sheet_is_written(tmp_path, ending):
    out = tmp_path / "images" / f"sheet.{ending}"
    assert main(["--out", str(out), "--product", "brushed_metal"]) == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape[1] <= 1600
    assert sheet.std() > 20


def test_all_products_fit_into_the_documentation(tmp_path):
    out = tmp_path / "sheet.jpg"
    assert main(["--out", str(out)]) == 0
    assert out.stat().st_size < 700_000


def test_the_seed_changes_the_sheet(tmp_path):
    sheets = []
    for seed in ("1", "2"):
        out = tmp_path / "sheet.png"
        main(["--out", str(out), "--product", PRODUCTS[0], "--seed", seed])
        sheets.append(cv2.imread(str(out)))
    assert not np.array_equal(sheets[0], sheets[1])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--out", "sheet.jpg", "--product", "velvet"], "brushed_metal"),
        (["--out", "sheet.gif"], ".png"),
        (["--out", "sheet.jpg", "--seed", "-3"], "seed"),
    ],
)
def test_wrong_arguments_are_told(tmp_path, monkeypatch, capsys, arguments, said):
    monkeypatch.chdir(tmp_path)
    assert main(arguments) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())
