"""The shipped bundles: whole, small, described, and as good as the figures beside them say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evaluation.command import main as evaluate
from evaluation.results import AREAS, MEASURED
from pipeline.config_file import load_line
from stages.bundle import load_bundle
from stages.readiness import load_line_bundle

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"
BUNDLES = BENCHMARKS / "bundles"
TILES_LINE = BENCHMARKS / "magnetic_tile.yaml"
TILES = BENCHMARKS.parents[1] / "shared" / "data" / "magnetic_tile"
MOST_BYTES = 16_000_000

shipped = pytest.mark.parametrize(
    "folder",
    sorted(file.parent for file in BUNDLES.glob("*/bundle.yaml")),
    ids=lambda folder: folder.name,
)


def figures_beside(folder: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((BUNDLES / f"{folder.name}.json").read_text("utf-8"))
    return content


@shipped
def test_a_bundle_is_whole_small_and_described(folder: Path) -> None:
    load_bundle(folder)
    assert sum(file.stat().st_size for file in folder.iterdir()) <= MOST_BYTES
    readme = (BUNDLES / "README.md").read_text(encoding="utf-8")
    assert f"`{folder.name}`" in readme
    assert "research only" in readme


@shipped
def test_the_figures_beside_a_bundle_are_of_this_bundle(folder: Path) -> None:
    bundle, content = load_bundle(folder), figures_beside(folder)
    assert bundle.id in [evaluated["id"] for evaluated in content["bundles"]]
    assert bundle.manifest.paradigm in content["paradigms"]
    for found in content["paradigms"].values():
        for row in (found["overall"], *found["per_type"].values()):
            assert set(MEASURED) <= set(row)
            assert all(row[key] is None or 0 <= row[key] <= 1 for key in AREAS)


def test_the_line_of_the_tiles_loads_and_fits_its_bundle() -> None:
    config = load_line(TILES_LINE)
    assert config.model.bundle == BUNDLES / "magnetic_tile"
    if not config.model.bundle.is_dir():
        pytest.skip("no bundle of the magnetic tiles is shipped: `make tiles DATASET=DIR` makes it")
    load_line_bundle(config)


@pytest.mark.slow
def test_the_figures_of_the_tiles_can_be_repeated(tmp_path: Path) -> None:
    if not TILES.is_dir():
        pytest.skip(f"the optional magnetic tiles are not in {TILES}")
    if not (BUNDLES / "magnetic_tile").is_dir():
        pytest.skip("no bundle of the magnetic tiles is shipped: `make tiles DATASET=DIR` makes it")
    report = tmp_path / "out.json"

    with pytest.raises(SystemExit) as ended:
        evaluate(["--config", str(TILES_LINE), "--dataset", str(TILES), "--json", str(report)])

    assert ended.value.code == 0
    [(paradigm, again)] = json.loads(report.read_text())["paradigms"].items()
    stated = figures_beside(BUNDLES / "magnetic_tile")["paradigms"][paradigm]
    assert again["per_type"].keys() == stated["per_type"].keys()
    for row, kind in ((again["overall"], None), *((r, k) for k, r in again["per_type"].items())):
        expected = stated["overall"] if kind is None else stated["per_type"][kind]
        for key in AREAS:
            assert row[key] == pytest.approx(expected[key], abs=0.01), (kind, key)
