from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from evaluation.reference import EagerReference, on_threads
from stages.bundle import Bundle, save_bundle
from stages.inspector import Inspector
from stages.reconstruction.paradigms import PARADIGMS
from training.export.onnx_file import OPSET, read_metadata, write_onnx
from training.export.runtime import OnnxInspector


@pytest.mark.parametrize("size", [1, 2, 5])
def test_another_runtime_scores_as_the_line_does(
    lively: Bundle, exported: Path, images: np.ndarray, size: int
) -> None:
    plain = EagerReference(lively, "cpu", PARADIGMS["norm_guided"])
    with on_threads(1):
        found = OnnxInspector(exported).inspect(images[:size])
    expected = [plain.inspect(image) for image in images[:size]]
    np.testing.assert_allclose(found.scores, [one.score for one in expected], rtol=1e-5)
    np.testing.assert_allclose(found.anomaly_maps, [one.anomaly_map for one in expected], atol=1e-3)
    np.testing.assert_allclose(
        found.reconstructions, [one.reconstruction for one in expected], atol=2e-3
    )


def test_scores_of_very_good_parts_are_told_apart_there_too(
    lively: Bundle, images: np.ndarray, tmp_path: Path
) -> None:
    unet, segmentation = lively.networks()
    with torch.no_grad():
        segmentation.head.weight.mul_(0.1)
        segmentation.head.bias.fill_(-40.0)  # odds of 1e-17
    sure = save_bundle(tmp_path / "sure", lively.manifest, unet, segmentation)
    write_onnx(sure, "norm_guided", tmp_path / "sure.onnx")

    found = OnnxInspector(tmp_path / "sure.onnx").inspect(images).scores

    plain = EagerReference(sure, "cpu", PARADIGMS["norm_guided"])
    expected = [plain.inspect(image).score for image in images]
    assert max(expected) < 1e-12
    np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_its_outputs_are_those_of_the_lines_engines(
    lively: Bundle, exported: Path, images: np.ndarray
) -> None:
    found = OnnxInspector(exported).inspect(images)
    line = Inspector(lively, "cpu", "float32").inspect(images)
    assert [one.dtype for one in found] == [one.dtype for one in line]
    assert [one.shape for one in found] == [one.shape for one in line]


def test_the_file_says_what_it_is(lively: Bundle, exported: Path) -> None:
    said = read_metadata(exported)
    assert said["bundle_id"] == lively.id
    assert (said["paradigm"], said["profile"]) == ("norm_guided", "tiny")
    assert (said["height_px"], said["width_px"], said["channels"]) == ("64", "48", "grey")
    assert (said["exposure_level"], said["surface_model"]) == ("110.0", "yes")
    assert said["project"].startswith("inspection-line ")


def test_it_is_one_file_for_batches_of_any_size_and_tells_nothing_of_the_machine(
    exported: Path,
) -> None:
    model = onnx.load_model(exported, load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if not entry.domain] == [OPSET]
    values = (*model.graph.input, *model.graph.output)
    assert {value.type.tensor_type.shape.dim[0].dim_param for value in values} == {"batch"}
    assert [value.name for value in values] == [
        "images", "scores", "anomaly_maps", "reconstructions"
    ]  # fmt: skip
    here = str(Path(__file__).resolve().parents[3]).encode()
    assert here not in exported.read_bytes()


def test_it_rounds_what_the_line_rounds_between_its_processes(exported: Path) -> None:
    casts = [
        (node, onnx.helper.get_node_attr_value(node, "to"))
        for node in onnx.load_model(exported).graph.node
        if node.op_type == "Cast"
    ]
    rounded = {node.output[0] for node, to in casts if to == onnx.TensorProto.FLOAT16}
    widened = {node.input[0] for node, to in casts if to == onnx.TensorProto.FLOAT}
    assert len(rounded & widened) == 1
