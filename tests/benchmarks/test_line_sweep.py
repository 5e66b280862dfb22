"""The lines that a sweep compares."""

from __future__ import annotations

from benchmarks.line_choice import LineChoice
from benchmarks.line_sweep import size_points, worker_points
from pipeline.config_file import line_file

LINE_3 = LineChoice(line_file(3), ("camera.size_px=[480, 640]", "frame.size_px=[480, 640]"))


def test_frames_have_the_asked_size_and_the_camera_proportions() -> None:
    points = size_points(LINE_3, [0.3072, 5.0])
    assert [point.name for point in points] == ["0.3072 MP, 480 x 640", "5 MP, 1936 x 2580"]
    for point in points:
        config = point.choice.load()
        assert config.camera.size_px == config.frame.size_px
        assert config.frame.input_px == (256, 256)
    height, width = points[1].choice.load().camera.size_px
    assert abs(height * width / 5e6 - 1) < 0.01
    assert abs(width / height - 640 / 480) < 0.01


def test_workers_change_one_stage_at_a_time() -> None:
    separate = LINE_3.changed({"stages": "{}"})
    own = separate.load().stages
    points = worker_points(separate, [1, 3])
    assert [point.name for point in points][:2] == ["preprocessing x 1", "preprocessing x 3"]
    assert len(points) == 6
    stages = points[3].choice.load().stages
    assert points[3].name == "reconstruction x 3"
    assert stages.reconstruction.workers == 3
    assert (stages.preprocessing, stages.segmentation) == (own.preprocessing, own.segmentation)


def test_stages_in_shared_processes_have_their_workers_together() -> None:
    points = worker_points(LINE_3, [1, 2])
    assert [point.name for point in points][2:] == ["reconstruction x 1", "reconstruction x 2"]
    assert [point.choice.load().stages.reconstruction.workers for point in points[2:]] == [1, 2]
