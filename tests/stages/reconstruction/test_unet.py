import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812 - as in the module

from stages.model_profiles import ModelProfile
from stages.reconstruction.unet import Attention, TimeEmbedding, UNet


@pytest.fixture
def unet(tiny: ModelProfile) -> UNet:
    torch.manual_seed(0)
    return UNet(3, tiny.unet)


def test_a_new_network_predicts_nothing(unet: UNet) -> None:
    eps = unet(torch.rand(2, 3, 16, 24), torch.tensor([1, 2]))
    assert eps.shape == (2, 3, 16, 24)
    assert not bool(eps.any())


def test_the_time_step_and_every_weight_matter(unet: UNet) -> None:
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.2)
    x = torch.rand(1, 3, 16, 16)
    early, late = unet(x, torch.tensor([5])), unet(x, torch.tensor([500]))
    assert not torch.allclose(early, late)
    late.square().mean().backward()
    idle = [
        name
        for name, weight in unet.named_parameters()
        if weight.grad is None or not weight.grad.any()
    ]
    assert idle == []


def test_images_of_a_batch_do_not_mix(unet: UNet) -> None:
    for parameter in unet.parameters():
        nn.init.normal_(parameter, std=0.2)
    x, t = torch.rand(3, 3, 16, 16), torch.tensor([1, 20, 300])
    torch.testing.assert_close(unet(x, t)[1:2], unet(x[1:2], t[1:2]), rtol=1e-4, atol=1e-5)


def test_time_embedding_tells_neighbouring_steps_apart() -> None:
    embedding = TimeEmbedding(16)
    out = embedding(torch.arange(1000)).detach()
    assert out.shape == (1000, 64)
    assert float(torch.cdist(out, out).fill_diagonal_(1).min()) > 0


def test_attention_matches_the_formula(tiny: ModelProfile) -> None:
    torch.manual_seed(0)
    attention = Attention(16, tiny.unet)
    nn.init.normal_(attention.out.weight)
    x = torch.randn(2, 16, 3, 5)
    q, k, v = attention.qkv(attention.norm(x)).flatten(2).chunk(3, dim=1)  # each (B, C, H W)
    heads = []
    for part in range(2):
        rows = slice(8 * part, 8 * part + 8)
        weights = torch.softmax(q[:, rows].mT @ k[:, rows] / 8**0.5, dim=-1)
        heads.append((weights @ v[:, rows].mT).mT)
    oracle = x + attention.out(torch.cat(heads, dim=1).reshape(x.shape))
    torch.testing.assert_close(attention(x), oracle, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_fused_attention_finds_the_channels_of_a_position_side_by_side(
    tiny: ModelProfile, layout: torch.memory_format, monkeypatch: pytest.MonkeyPatch
) -> None:
    strides: list[int] = []
    attend = F.scaled_dot_product_attention

    def noting(*tensors: torch.Tensor) -> torch.Tensor:
        strides.extend(tensor.stride(-1) for tensor in tensors)
        return attend(*tensors)

    torch.manual_seed(0)
    attention = Attention(16, tiny.unet)
    nn.init.normal_(attention.out.weight)
    x = torch.randn(2, 16, 3, 5)
    expected = attention(x)
    monkeypatch.setattr(F, "scaled_dot_product_attention", noting)
    found = attention(x.contiguous(memory_format=layout))
    assert strides == [1, 1, 1]
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)
