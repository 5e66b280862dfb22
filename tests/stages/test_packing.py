import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - the name that every torch program uses

from stages.packing import ConvRelu, can_pack, pack, with_relu

packable = pytest.mark.skipif(not can_pack(), reason="this PyTorch has no oneDNN")
EXACT = {torch.float32: 1e-5, torch.bfloat16: 0.0}


def convolution(dtype: torch.dtype, **changes: object) -> nn.Conv2d:
    torch.manual_seed(0)
    conv = nn.Conv2d(8, 16, 3, **{"padding": 1, **changes}).to(dtype)  # type: ignore[arg-type]
    return conv.requires_grad_(False)


def picture(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    torch.manual_seed(1)
    return torch.randn(2, 8, 12, 20).to(dtype).contiguous(memory_format=torch.channels_last)


def test_a_relu_belongs_to_the_convolution_and_shares_its_weights() -> None:
    conv = convolution(torch.float32)
    both = with_relu(conv)
    assert both.weight is conv.weight
    torch.testing.assert_close(both(picture()), F.relu(conv(picture())))


@packable
@pytest.mark.parametrize("dtype", list(EXACT))
@pytest.mark.parametrize(
    "changes", [{}, {"stride": 2}, {"padding": 0}, {"groups": 2}, {"bias": False}]
)
def test_a_packed_convolution_gives_what_it_was_made_of(
    dtype: torch.dtype, changes: dict[str, object]
) -> None:
    conv = convolution(dtype, **changes)
    network = nn.Sequential(conv)
    pack(network)
    assert type(network[0]) is not nn.Conv2d
    with torch.inference_mode():
        expected, found = conv(picture(dtype)), network(picture(dtype))
    torch.testing.assert_close(found, expected, rtol=0, atol=EXACT[dtype])
    assert found.is_contiguous(memory_format=torch.channels_last)


@packable
def test_a_relu_is_packed_with_its_convolution() -> None:
    conv = convolution(torch.bfloat16)
    network = nn.Sequential(nn.Sequential(with_relu(conv)))
    pack(network)
    assert not any(isinstance(module, ConvRelu) for module in network.modules())
    with torch.inference_mode():
        found = network(picture(torch.bfloat16))
        assert torch.equal(found, F.relu(conv(picture(torch.bfloat16))))
    assert float(found.min()) == 0.0


@packable
def test_input_is_rounded_to_the_type_of_the_weights() -> None:
    conv = convolution(torch.bfloat16)
    network = nn.Sequential(conv)
    pack(network)
    with torch.inference_mode():
        assert torch.equal(network(picture()), conv(picture().bfloat16()))


@packable
def test_a_convolution_with_a_way_of_its_own_stays() -> None:
    class Negative(nn.Conv2d):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return -super().forward(x)

    network = nn.Sequential(Negative(8, 16, 3), nn.ReLU())
    pack(network)
    assert [type(module) for module in network] == [Negative, nn.ReLU]
