from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.products import main
from evaluation.results import AREAS
from stages.acquisition.simulation import DEFECT_KINDS

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.mark.slow
def test_every_product_is_trained_and_judged_by_kind(
    short: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = tmp_path / "products.json"
    images = ["--products", "woven_fabric,moulded_cap", "--parts", "24", "--test-parts", "14"]

    assert main([*images, *short, "--json", str(report)]) == 0

    content = json.loads(report.read_text())
    assert list(content["products"]) == ["woven_fabric", "moulded_cap"]
    shown = capsys.readouterr().out
    for product, found in content["products"].items():
        assert set(found["per_type"]) == set(DEFECT_KINDS)
        assert (found["overall"]["good"], found["overall"]["defective"]) == (7, 7)
        assert all(0 <= found["overall"][key] <= 1 for key in AREAS)
        assert found["overall"]["images_per_second"] > 0
        row = next(line for line in shown.splitlines() if line.startswith(f"{product} "))
        assert f"{found['overall']['pixel_ap']:.4f}" in row
    assert f"cpu: {content['device_name']}, {content['dtype']}" in shown


def test_unknown_products_are_told_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--minutes", "1", "--products", "toaster"])
    assert ended.value.code == 2
    assert "brushed_metal" in capsys.readouterr().err
