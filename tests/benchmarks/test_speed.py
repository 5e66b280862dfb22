from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from benchmarks.speed import count_operations, count_parameters, machine_content, measure_speeds
from stages.bundle import Bundle, load_bundle, save_bundle
from stages.inspector import Inspection, Inspector
from stages.model_profiles import build_networks
from stages.reconstruction.unet import Attention


@pytest.fixture
def bundle(tiny_line: Path) -> Bundle:
    return load_bundle(tiny_line.parent / "bundle")


@pytest.fixture
def with_attention(bundle: Bundle, tmp_path: Path) -> Bundle:
    profile = bundle.manifest.profile
    profile = replace(profile, unet=replace(profile.unet, attention_levels=(1,)))
    manifest = bundle.manifest.model_copy(update={"profile": profile})
    return save_bundle(tmp_path / "bundle", manifest, *build_networks(profile, 1))


class CountingHooks:
    """Operations of convolutions, linear layers and attention, from the shapes of their output."""

    def __init__(self, *networks: nn.Module) -> None:
        self.operations = 0
        for network in networks:
            for module in network.modules():
                if isinstance(module, nn.Conv2d | nn.Linear):
                    module.register_forward_hook(self._count)
                elif isinstance(module, Attention):
                    module.register_forward_hook(self._count_attention)

    def _count(self, module: nn.Module, _inputs: object, out: torch.Tensor) -> None:
        weight = module.weight
        assert isinstance(weight, torch.Tensor)
        places = out.numel() // weight.shape[0]
        self.operations += 2 * weight.numel() * places

    def _count_attention(self, _module: nn.Module, _inputs: object, out: torch.Tensor) -> None:
        """Every position with every other, once for the weights and once for the values."""
        batch, channels, height, width = out.shape
        self.operations += 2 * 2 * batch * channels * (height * width) ** 2


def counted_by_layer(bundle: Bundle) -> int:
    """Norm guidance looks at two noise scales."""
    unet, segmentation = bundle.networks()
    counted = CountingHooks(unet, segmentation)
    image = torch.zeros(1, 1, 64, 64)
    with torch.inference_mode():
        unet(image.expand(2, -1, -1, -1), torch.tensor([200, 400]))
        segmentation(image, image)
    return counted.operations


def test_operations_agree_with_a_count_by_layer(bundle: Bundle, with_attention: Bundle) -> None:
    plain, attentive = count_operations(bundle), count_operations(with_attention)
    assert plain == counted_by_layer(bundle)
    assert attentive == counted_by_layer(with_attention)
    assert attentive > plain


def test_the_count_leaves_the_threads_as_they_were(bundle: Bundle) -> None:
    before = torch.get_num_threads()
    count_operations(bundle)
    assert torch.get_num_threads() == before


def test_parameters_are_those_of_both_networks(bundle: Bundle) -> None:
    sizes = [sum(p.numel() for p in network.parameters()) for network in bundle.networks()]
    assert count_parameters(bundle) == sum(sizes)
    assert min(sizes) > 0


def test_inspectors_take_turns(bundle: Bundle) -> None:
    calls: list[str] = []

    class Noting(Inspector):
        def __init__(self, name: str) -> None:
            super().__init__(bundle, "cpu")
            self.name = name

        def inspect(self, images: np.ndarray) -> Inspection:
            calls.append(self.name)
            return super().inspect(images)

    images = np.zeros((3, 64, 64, 1), np.uint8)
    speeds = measure_speeds({name: Noting(name) for name in "ab"}, images, repeats=3)
    assert calls == ["a", "b"] * 3
    for speed in speeds.values():
        assert speed.images_per_second == pytest.approx(3e3 / speed.batch_ms_p50)
        assert speed.batch_ms_p99 >= speed.batch_ms_p50


def test_the_machine_is_named() -> None:
    machine = machine_content("cpu")
    assert machine["device"] == "cpu"
    assert machine["dtype"] in ("float32", "bfloat16")
    assert machine["device_name"]
