from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import pytest

from pipeline.config import Frame
from pipeline.config_file import line_file, load_line
from pipeline.errors import ConfigError
from stages.bundle import Bundle, BundleManifest
from stages.model_profiles import PROFILES
from stages.preprocessing.prepare import preparation_settings
from stages.readiness import computes_in, preparation_differences

FRAME = Frame(colour="grey", bit_depth=8, size_px="any", input_px=(256, 256))


def bundle_for(frame: Frame, **changes: Any) -> Bundle:
    values = {
        "profile": PROFILES["compact"],
        "channels": 1,
        "image_size_px": frame.input_px,
        "noise_seed": 1,
        "preprocessing": preparation_settings(frame),
        "data_digest": "0" * 16,
        "versions": {},
        "created": "2026-01-01T00:00:00+00:00",
    }
    return Bundle("id", BundleManifest(**(values | changes)), Path("bundle"), b"")


def test_the_same_preparation_has_no_differences() -> None:
    assert preparation_differences(bundle_for(FRAME), FRAME) == []


@pytest.mark.parametrize("key", ["size_px", "max_megapixels", "black_below"])
def test_what_does_not_reach_the_networks_may_differ(key: str) -> None:
    other = {"size_px": (512, 512), "max_megapixels": 5.0, "black_below": 9.0}
    assert (
        preparation_differences(bundle_for(FRAME), FRAME.model_copy(update={key: other[key]})) == []
    )


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"colour": "rgb"}, "colour is 'grey' in the bundle and 'rgb' in the line"),
        ({"bit_depth": 12}, "bit_depth is 8 in the bundle and 12 in the line"),
        ({"input_px": (256, 512)}, "input_px is [256, 256] in the bundle and [256, 512]"),
    ],
)
def test_each_difference_names_both_values(change: dict[str, Any], text: str) -> None:
    differences = preparation_differences(bundle_for(FRAME), FRAME.model_copy(update=change))
    assert len(differences) == 1
    assert text in differences[0]


def test_a_region_on_one_side_only() -> None:
    cropped = Frame.model_validate(
        FRAME.model_dump() | {"region": {"x": 0, "y": 8, "width": 64, "height": 32}}
    )
    assert preparation_differences(bundle_for(cropped), FRAME) == [
        "region is [0, 8, 64, 32] in the bundle and None in the line"
    ]


def test_networks_that_do_not_fit_the_recorded_preparation() -> None:
    foreign = bundle_for(FRAME, channels=3)
    assert preparation_differences(foreign, FRAME) == [
        "channels is 3 in the bundle and 1 in the line"
    ]


def test_a_bundle_that_records_no_preparation_is_refused() -> None:
    silent = bundle_for(FRAME, preprocessing={})
    assert any(
        "colour is not given in the bundle" in d for d in preparation_differences(silent, FRAME)
    )


class Computing:
    """Devices of a machine that is not this one, each with its precision."""

    WORDS: ClassVar = {
        "auto": "cuda-bfloat16",
        "cuda:0": "cuda-bfloat16",
        "cuda:1": "cuda-bfloat16",
        "cpu": "float32",
        "openvino": "openvino-float32",
    }

    def __init__(self, device: str) -> None:
        self.computes_in = self.WORDS[device]


def two_workers(*devices: str) -> dict[str, Any]:
    return {"workers": 2, "devices": list(devices)}


@pytest.mark.parametrize(
    ("changes", "dtype"),
    [
        ({}, "cuda-bfloat16"),
        ({"model.device": "cpu"}, "float32"),
        ({"model.device": "openvino"}, "openvino-float32"),
        ({"stages.reconstruction": two_workers("cuda:0", "cuda:1")}, "cuda-bfloat16"),
        (
            {
                "model.device": "cpu",
                "stages.reconstruction": two_workers("cpu", "cpu"),
                "stages.segmentation": {"with": "reconstruction"},
            },
            "float32",
        ),
    ],
)
def test_scores_have_the_precision_of_the_devices(
    changes: dict[str, Any], dtype: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stages.readiness.Execution", Computing)
    assert computes_in(load_line(line_file(3), list(changes.items()))) == dtype


@pytest.mark.parametrize(
    "changes",
    [
        {"stages.reconstruction": two_workers("cuda:0", "cpu")},
        {"stages.segmentation": two_workers("cpu", "cpu")},
        {
            "stages.reconstruction": two_workers("cpu", "cpu"),
            "stages.segmentation": {"with": "reconstruction"},
        },
    ],
)
def test_devices_of_different_precision_are_refused(
    changes: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A score would depend on the worker, or have another precision than its calibration."""
    monkeypatch.setattr("stages.readiness.Execution", Computing)
    with pytest.raises(ConfigError, match=r"auto in cuda-bfloat16.*cpu in float32.* of one kind"):
        computes_in(load_line(line_file(3), list(changes.items())))


def test_pytorch_and_openvino_do_not_share_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stages.readiness.Execution", Computing)
    changes = {"model.device": "openvino", "stages.segmentation": two_workers("openvino", "cpu")}
    with pytest.raises(ConfigError, match=r"openvino in openvino-float32, cpu in float32"):
        computes_in(load_line(line_file(3), list(changes.items())))
