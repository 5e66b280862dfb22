"""OpenVINO's form of an inspection scores as the reference does, in batches of any size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("openvino", reason="needs the package openvino, which is optional")

from evaluation.reference import EagerReference, on_threads
from stages.bundle import Bundle
from stages.inspector import Inspector
from stages.reconstruction.paradigms import PARADIGMS
from training.export.openvino_files import OpenvinoInspector, write_openvino


@pytest.fixture(scope="module")
def converted(exported: Path) -> Path:
    file = exported.with_name("lively.xml")
    write_openvino(exported, file)
    return file


@pytest.mark.parametrize("size", [1, 2, 5])
def test_it_scores_as_the_line_does(
    lively: Bundle, converted: Path, images: np.ndarray, size: int
) -> None:
    plain = EagerReference(lively, "cpu", PARADIGMS["norm_guided"])
    with on_threads(1):
        found = OpenvinoInspector(converted).inspect(images[:size])
    expected = [plain.inspect(image) for image in images[:size]]
    np.testing.assert_allclose(found.scores, [one.score for one in expected], rtol=1e-4)
    np.testing.assert_allclose(found.anomaly_maps, [one.anomaly_map for one in expected], atol=1e-3)
    np.testing.assert_allclose(
        found.reconstructions, [one.reconstruction for one in expected], atol=2e-3
    )


def test_its_outputs_are_those_of_the_lines_engines(
    lively: Bundle, converted: Path, images: np.ndarray
) -> None:
    found = OpenvinoInspector(converted).inspect(images)
    line = Inspector(lively, "cpu", "float32").inspect(images)
    assert [one.dtype for one in found] == [one.dtype for one in line]
    assert [one.shape for one in found] == [one.shape for one in line]


def test_weights_keep_their_precision_and_lie_beside(lively: Bundle, converted: Path) -> None:
    weights = sum(one.numel() for network in lively.networks() for one in network.parameters())
    assert converted.with_suffix(".bin").stat().st_size > 0.9 * 4 * weights
