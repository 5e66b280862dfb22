"""The two processes with networks, called directly: batches in, one answer for each part out."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from calibration.record import CalibrationRecord, save_and_activate
from calibration.record_parity import save_parity
from calibration_records import calibration_record, parity_statement
from pipeline.chain import Chain, build_stage
from pipeline.config import LineConfig, Reconstruction
from pipeline.config_file import line_file, load_line
from pipeline.config_stages import Stages
from pipeline.control import StageReport
from pipeline.errors import BundleError, CalibrationError, ConfigError, InputError
from pipeline.line import row_named, rows
from pipeline.messages import (
    InspectionResult,
    Message,
    Part,
    PreparedFrame,
    ReconstructedFrame,
    Stamp,
)
from pipeline.stage import StageContext
from pipeline.wire import Decoder, Encoder
from stages.bundle import Bundle
from stages.device import compute_dtype
from stages.execution import Execution
from stages.inspector import Inspector
from stages.lanes.cpu import CpuLane
from stages.lanes.cuda import SLOTS, CudaLane
from stages.preprocessing.prepare import preparation_settings
from stages.readiness import load_line_bundle
from stages.reconstruction.stage import ReconstructionStage, check_bundle
from stages.reconstruction.stage import build as build_reconstruction
from stages.segmentation.stage import SegmentationStage, check_calibration
from stages.segmentation.stage import build as build_segmentation

STAMPS = (Stamp("preprocessing", 1, 2),)
HERE = str(compute_dtype(torch.device("cpu"))).removeprefix("torch.")
"""The precision of this machine's scores."""
BATCHES = 2 * SLOTS + 1
"""So many that each slot of a GPU's lane is used again, and once more."""
NEEDS_GPU = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device; see docs/gpu-checklist.md"
)
CHANGES: dict[str, Any] = {
    "frame.colour": "grey",
    "frame.input_px": [64, 64],
    "model.device": "cpu",
    "batch.size": 4,
    "stages": {"reconstruction": {"threads": 1}, "segmentation": {"threads": 1}},
}


@pytest.fixture
def config(tmp_path: Path) -> LineConfig:
    own = {"model.bundle": str(tmp_path / "bundle"), "calibration.folder": str(tmp_path / "c")}
    return load_line(line_file(3), [*CHANGES.items(), *own.items()])


@pytest.fixture
def bundle(config: LineConfig, make_bundle: Callable[..., Bundle]) -> Bundle:
    """A small bundle made for the line's frames, and a calibration that belongs to it."""
    made = make_bundle(
        channels=1, image_size_px=(64, 64), preprocessing=preparation_settings(config.frame)
    )
    save_and_activate(config.calibration.folder, calibration(made.id))
    return made


def calibration(
    bundle_id: str, paradigm: str | None = None, dtype: str = HERE
) -> CalibrationRecord:
    return calibration_record(
        bundle_id=bundle_id, paradigm=paradigm, dtype=dtype, pixel_threshold=0.0
    )


def context(config: LineConfig, worker: int = 0) -> StageContext:
    return StageContext(config, "s", worker, logging.getLogger("networks"))


@pytest.fixture
def reconstruction(config: LineConfig, bundle: Bundle, threads: Any) -> ReconstructionStage:
    stage = build_reconstruction(context(config))
    assert isinstance(stage, ReconstructionStage)
    stage.open()
    return stage


@pytest.fixture
def segmentation(config: LineConfig, bundle: Bundle, threads: Any) -> SegmentationStage:
    stage = build_segmentation(context(config))
    assert isinstance(stage, SegmentationStage)
    stage.open()
    return stage


def images(count: int) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (count, 64, 64, 1), dtype=np.uint8)


def prepared(image: np.ndarray, sequence: int) -> PreparedFrame:
    """As it comes off the wire: read-only."""
    view = np.full((32, 128, 1), sequence, np.uint8)
    message = PreparedFrame(Part(3, "s", sequence), 99, image, view, STAMPS)
    frames = [bytes(frame) for frame in Encoder().encode(message)]
    read = Decoder([PreparedFrame]).decode(frames)
    assert isinstance(read, PreparedFrame)
    return read


def through(stage: ReconstructionStage | SegmentationStage, frames: Sequence[Message]) -> Any:
    """What a stage makes of a batch."""
    assert list(stage.take(frames)) == []
    return list(stage.settle(wait=True))


@pytest.mark.usefixtures("bundle", "threads")
@pytest.mark.parametrize("build", [build_reconstruction, build_segmentation])
def test_all_that_a_lane_has_to_prepare_is_prepared_before_the_first_part(
    config: LineConfig, build: Callable[[StageContext], Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    submit = CpuLane.submit

    def submitting(lane: CpuLane, *arrays: np.ndarray) -> Any:
        sizes.append(len(arrays[0]))
        return submit(lane, *arrays)

    monkeypatch.setattr(CpuLane, "submit", submitting)
    monkeypatch.setattr(CpuLane, "warm_sizes", CudaLane.warm_sizes)
    build(context(config)).open()
    assert sizes == [4, 2, 1], "batches of up to four parts"


def test_a_batch_is_reconstructed_part_by_part(
    reconstruction: ReconstructionStage, bundle: Bundle
) -> None:
    batch = images(3)
    frames = [prepared(image, sequence) for sequence, image in enumerate(batch, start=1)]
    answers = through(reconstruction, frames)
    expected = Inspector(bundle, "cpu").inspect(batch).reconstructions
    for frame, answer, wanted in zip(frames, answers, expected, strict=True):
        assert isinstance(answer, ReconstructedFrame)
        assert (answer.part, answer.bundle_id) == (frame.part, bundle.id)
        assert (answer.deadline_monotonic_ns, answer.stamps) == (99, STAMPS)
        assert answer.view is frame.view
        np.testing.assert_array_equal(answer.reconstruction, wanted)
        Encoder().encode(answer)


def test_both_stages_give_the_score_that_the_inspector_gives(
    reconstruction: ReconstructionStage, segmentation: SegmentationStage, bundle: Bundle
) -> None:
    batch = images(4)
    frames = [prepared(image, sequence) for sequence, image in enumerate(batch, start=1)]
    answers = through(segmentation, through(reconstruction, frames))
    inspected = Inspector(bundle, "cpu").inspect(batch)
    for index, answer in enumerate(answers):
        assert isinstance(answer, InspectionResult)
        assert answer.part.sequence == index + 1
        assert answer.score == float(inspected.scores[index])
        assert answer.bundle_id == bundle.id
        np.testing.assert_array_equal(answer.anomaly_map, inspected.anomaly_maps[index])
        levels = (inspected.reconstructions[index].astype(np.float32) + 1) * 127.5
        np.testing.assert_allclose(answer.reconstruction, np.clip(levels, 0, 255), atol=0.51)
        assert answer.reconstruction.dtype == np.uint8


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda:0", marks=NEEDS_GPU)])
@pytest.mark.usefixtures("threads")
def test_both_stages_in_one_process_give_the_scores_of_the_inspector(
    config: LineConfig, bundle: Bundle, device: str
) -> None:
    """Batch after batch, as they come back from a device that may work on several at a time."""
    stages = {"segmentation": {"with": "reconstruction"}}
    model = config.model.model_copy(update={"device": device})
    shared = with_stages(config.model_copy(update={"model": model}), stages)
    dtype = Execution(device).computes_in
    save_and_activate(config.calibration.folder, calibration(bundle.id, dtype=dtype))
    chain = build_stage(row_named("reconstruction+segmentation", rows(shared)), context(shared))
    assert isinstance(chain, Chain)
    chain.open()
    batch = images(2 * BATCHES)
    frames = [prepared(image, sequence) for sequence, image in enumerate(batch, start=1)]
    answers: list[Message] = []
    for start in range(0, len(frames), 2):
        answers += chain.take(frames[start : start + 2])
        answers += chain.settle(wait=False)
    answers += chain.settle(wait=True)
    chain.close()
    inspector = Inspector(bundle, device)
    allowed = 0.0 if device == "cpu" else 0.01  # a GPU's kernels depend on the size of a batch
    assert [answer.part.sequence for answer in answers] == list(range(1, len(frames) + 1))
    for index, answer in enumerate(answers):
        assert isinstance(answer, InspectionResult)
        assert answer.bundle_id == bundle.id
        assert answer.view is frames[index].view
        alone = inspector.inspect(batch[index : index + 1])
        assert answer.score == pytest.approx(float(alone.scores[0]), rel=allowed, abs=0)
        np.testing.assert_allclose(answer.anomaly_map, alone.anomaly_maps[0], rtol=0, atol=allowed)


def with_stages(config: LineConfig, stages: dict[str, Any]) -> LineConfig:
    return config.model_copy(update={"stages": Stages.model_validate(stages, strict=False)})


@pytest.mark.usefixtures("bundle")
def test_each_worker_runs_on_its_own_device(config: LineConfig) -> None:
    devices = {"workers": 2, "devices": ["cpu", "cuda:99"]}
    two = with_stages(config, {"reconstruction": devices})
    build_reconstruction(context(two)).open()
    with pytest.raises(ConfigError, match="device 'cuda:99' is asked for"):
        build_reconstruction(context(two, worker=1)).open()
    check_bundle(two)
    with pytest.raises(ConfigError, match="device 'cuda:99' is asked for"):
        check_calibration(two)
    doubled = with_stages(config, {"segmentation": {"workers": 2, "devices": ["cpu", "cpu"]}})
    check_calibration(doubled)
    build_segmentation(context(doubled, worker=1)).open()


def test_defects_are_in_pixels_of_the_view(
    reconstruction: ReconstructionStage, segmentation: SegmentationStage
) -> None:
    """The map is 64 x 64, the view 128 wide and 32 high; everything lies above a threshold of 0."""
    (answer,) = through(segmentation, through(reconstruction, [prepared(images(1)[0], 1)]))
    assert isinstance(answer, InspectionResult)
    largest = answer.defects[0]
    assert largest.x_px + largest.width_px <= 128
    assert largest.y_px + largest.height_px <= 32
    assert largest.width_px > 64
    assert 0 < largest.peak <= 1


def test_a_reconstruction_of_another_model_gets_no_bundle_to_pass_with(
    reconstruction: ReconstructionStage, segmentation: SegmentationStage
) -> None:
    (frame,) = through(reconstruction, [prepared(images(1)[0], 1)])
    (answer,) = through(segmentation, [msgspec.structs.replace(frame, bundle_id="another")])
    assert isinstance(answer, InspectionResult)
    assert answer.bundle_id == ""


def test_a_frame_of_another_size_is_refused(reconstruction: ReconstructionStage) -> None:
    with pytest.raises(InputError, match="the networks take a batch"):
        reconstruction.take([prepared(np.zeros((32, 64, 1), np.uint8), 1)])
    assert list(reconstruction.settle(wait=True)) == [], "nothing of it was begun"


@pytest.mark.usefixtures("bundle")
def test_a_bundle_for_other_frames_does_not_start(config: LineConfig) -> None:
    check_bundle(config)
    other = config.model_copy(update={"frame": config.frame.model_copy(update={"bit_depth": 12})})
    with pytest.raises(BundleError, match="bit_depth"):
        build_reconstruction(context(other)).open()
    with pytest.raises(BundleError, match="bit_depth"):
        check_bundle(other)


def test_segmentation_needs_the_calibration_of_its_bundle(
    config: LineConfig, bundle: Bundle
) -> None:
    save_and_activate(config.calibration.folder, calibration("another"))
    with pytest.raises(CalibrationError, match="calibrate_line --line 3"):
        build_segmentation(context(config)).open()


def test_segmentation_needs_the_calibration_of_its_precision(
    config: LineConfig, bundle: Bundle
) -> None:
    other = "float32" if HERE == "bfloat16" else "bfloat16"
    own, foreign = calibration(bundle.id), calibration(bundle.id, dtype=other)
    save_and_activate(config.calibration.folder, own)
    check_calibration(config)
    save_and_activate(config.calibration.folder, foreign)
    with pytest.raises(CalibrationError, match=f"made in {other}, and the networks compute"):
        build_segmentation(context(config)).open()
    with pytest.raises(CalibrationError, match=f"compute in {HERE} here"):
        check_calibration(config)
    save_parity(
        config.calibration.folder, foreign, parity_statement(foreign, "float32", "bfloat16")
    )
    build_segmentation(context(config)).open()
    check_calibration(config)


def with_paradigm(config: LineConfig, name: str) -> LineConfig:
    section = config.reconstruction.model_copy(update={"paradigm": name})
    return config.model_copy(update={"reconstruction": section})


def test_the_line_chooses_the_paradigm(
    reconstruction: ReconstructionStage, config: LineConfig, bundle: Bundle
) -> None:
    other = build_reconstruction(context(with_paradigm(config, "one_step")))
    other.open()
    frame = prepared(images(1)[0], 1)
    (own,), (answer,) = through(reconstruction, [frame]), through(other, [frame])
    assert isinstance(own, ReconstructedFrame)
    assert isinstance(answer, ReconstructedFrame)
    expected = Inspector(bundle, "cpu", paradigm="one_step").inspect(images(1)).reconstructions[0]
    np.testing.assert_array_equal(answer.reconstruction, expected)
    assert not np.array_equal(own.reconstruction, expected)


def test_the_line_chooses_steps_and_eta_of_ddim(config: LineConfig, bundle: Bundle) -> None:
    section = Reconstruction(paradigm="ddim", ddim_steps=3, ddim_eta=0.5)
    line = config.model_copy(update={"reconstruction": section})
    stage = build_reconstruction(context(line))
    stage.open()

    (answer,) = through(stage, [prepared(images(1)[0], 1)])

    assert isinstance(answer, ReconstructedFrame)
    assert answer.bundle_id == bundle.id
    of_line, own = (
        Inspector(used, "cpu", paradigm="ddim").inspect(images(1)).reconstructions[0]
        for used in (load_line_bundle(line), bundle)
    )
    np.testing.assert_array_equal(answer.reconstruction, of_line)
    assert not np.array_equal(of_line, own)
    diffusion = load_line_bundle(line).manifest.profile.diffusion
    assert (diffusion.ddim_steps, diffusion.ddim_eta) == (3, 0.5)


def test_segmentation_needs_the_calibration_of_its_paradigm(
    config: LineConfig, bundle: Bundle
) -> None:
    other = context(with_paradigm(config, "one_step"))
    with pytest.raises(CalibrationError, match=r"--set reconstruction\.paradigm=one_step"):
        build_segmentation(other).open()
    save_and_activate(config.calibration.folder, calibration(bundle.id, "one_step"))
    build_segmentation(other).open()


def test_nothing_is_due_by_time(
    reconstruction: ReconstructionStage, segmentation: SegmentationStage
) -> None:
    for stage in (reconstruction, segmentation):
        assert list(stage.tick(0, None, True)) == []
        assert stage.report() == StageReport()
        stage.close()
