import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from stages.model_profiles import COMPACT, PAPER, PROFILES, build_networks


def millions(network: nn.Module) -> float:
    return sum(parameter.numel() for parameter in network.parameters()) / 1e6


def gflop(network: nn.Module, *inputs: Tensor) -> float:
    with FlopCounterMode(display=False) as counter:
        network(*inputs)
    return counter.get_total_flops() / 1e9


def test_paper_has_the_published_sizes() -> None:
    with torch.device("meta"):
        unet, segmentation = build_networks(PAPER, channels=3)
        image, t = torch.zeros(1, 3, 256, 256), torch.zeros(1, dtype=torch.int64)
        assert millions(unet) == pytest.approx(131.7, abs=0.05)
        assert gflop(unet, image, t) == pytest.approx(563, abs=0.5)
        assert millions(segmentation) == pytest.approx(28.4, abs=0.05)
        assert gflop(segmentation, image, image) == pytest.approx(76, abs=0.5)
    assert PAPER.multiple_of_px == 32


def test_compact_fits_its_budget() -> None:
    with torch.device("meta"):
        unet, segmentation = build_networks(COMPACT, channels=3)
        image, t = torch.zeros(1, 3, 256, 256), torch.zeros(1, dtype=torch.int64)
        assert millions(unet) + millions(segmentation) < 6
        assert 2 * gflop(unet, image, t) + gflop(segmentation, image, image) < 12


@pytest.mark.parametrize("name", sorted(PROFILES))
@pytest.mark.parametrize("channels", [1, 3])
def test_networks_take_any_multiple_of_32(name: str, channels: int) -> None:
    assert 32 % PROFILES[name].multiple_of_px == 0
    with torch.device("meta"):
        unet, segmentation = build_networks(PROFILES[name], channels)
        image, t = torch.zeros(2, channels, 96, 160), torch.zeros(2, dtype=torch.int64)
        assert unet(image, t).shape == image.shape
        assert segmentation(image, image).shape == (2, 1, 96, 160)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=PROFILES)
def test_profiles_use_the_papers_settings(profile: object) -> None:
    settings = profile.diffusion
    assert (settings.t_small, settings.t_big, settings.tau, settings.w) == (200, 400, 300, 1)
    assert profile.top_k == 50
